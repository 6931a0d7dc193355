//! What all tables share: options, servers side by side, turns, medians, Markdown.

use crate::rig::{Program, Server};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The options of a table: as given, or as usual.
pub struct Options(HashMap<String, String>);

impl Options {
    pub fn new(usual: &[(&str, &str)], given: &[(String, String)]) -> Self {
        let usual = usual.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut options: HashMap<String, String> = usual.collect();
        for (name, value) in given {
            options.entry(name.clone()).and_modify(|usual| usual.clone_from(value));
        }
        Self(options)
    }

    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("the table names no option {name}"))
    }

    pub fn count(&self, name: &str) -> usize {
        self.text(name).parse().unwrap_or_else(|_| panic!("--{name} {}: no count", self.text(name)))
    }

    /// A list with commas.
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.text(name).split(',').filter(|word| !word.is_empty()).collect()
    }
}

/// Running servers, ours first, each in a folder of its own.
pub struct Contest {
    pub programs: Vec<Program>,
    pub servers: Vec<Server>,
    _folders: Vec<tempfile::TempDir>,
}

impl Contest {
    /// Ours, Redis 8.0 and Valkey 9.1, with the same directives.
    pub fn start(directives: &[(&str, &str)]) -> Self {
        let peers = [Program::redis_8(), Program::valkey_9()].into_iter().flatten();
        Self::of(std::iter::once(Program::ours()).chain(peers).collect(), directives)
    }

    pub fn of(programs: Vec<Program>, directives: &[(&str, &str)]) -> Self {
        Self::of_in(programs, directives, &[])
    }

    /// As [`Contest::of`], with variables in the servers' environment.
    pub fn of_in(programs: Vec<Program>, directives: &[(&str, &str)], environment: &[(&str, &str)]) -> Self {
        let folders: Vec<_> = programs.iter().map(|_| tempfile::tempdir().unwrap()).collect();
        let start = |(program, folder): (&Program, &tempfile::TempDir)| {
            Server::start_in(program, folder.path(), directives, environment)
        };
        let servers = programs.iter().zip(&folders).map(start).collect();
        Self { programs, servers, _folders: folders }
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.programs.iter().map(|program| program.name).collect()
    }

    /// A tool of the peers: `benchmark`, `cli`.
    pub fn tool(&self, tool: &str) -> PathBuf {
        self.programs.get(1).expect("no peer is here to compare with").tool(tool)
    }

    /// Measures each server in turn, `rounds` times; the median of each.
    pub fn medians(&self, rounds: usize, mut measure: impl FnMut(&Server) -> f64) -> Vec<f64> {
        let mut figures = vec![Vec::new(); self.servers.len()];
        for _ in 0..rounds {
            for (server, figures) in self.servers.iter().zip(&mut figures) {
                figures.push(measure(server));
            }
        }
        figures.iter_mut().map(|figures| median(figures)).collect()
    }

    /// One run of redis-benchmark with these arguments: what it did for `requests` requests.
    pub fn benchmark(&self, server: &Server, requests: usize, arguments: &[&str]) -> Run {
        let (before, client_before) = (server.cpu_seconds(), childrens_cpu_seconds());
        let output = Command::new(self.tool("benchmark"))
            .args(["-p", &server.port().to_string(), "-n", &requests.to_string(), "--csv"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let cpu_us_each = (server.cpu_seconds() - before) * 1e6 / requests as f64;
        let client_seconds = childrens_cpu_seconds() - client_before;
        let text = String::from_utf8_lossy(&output.stdout);
        // The last line is the test asked for; those before are the heading and what prepares it.
        let cells: Vec<f64> = text.lines().last().map_or_else(Vec::new, |row| {
            row.rsplit("\",\"").map(|cell| cell.trim_matches('"').parse().unwrap_or(0.0)).collect()
        });
        // From the end: max, p99, p95, p50, min, avg latency in ms, requests per second.
        match cells.get(6) {
            Some(&rate) if rate > 0.0 => {
                let client_share = client_seconds * rate / requests as f64;
                Run { rate, p99_ms: cells[1], max_ms: cells[0], cpu_us_each, client_share }
            }
            _ => panic!("redis-benchmark said:\n{text}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

/// What one run of redis-benchmark gave.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code)] // not every table looks at everything
pub struct Run {
    /// Requests per second.
    pub rate: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// CPU time of the server for each request, in microseconds.
    pub cpu_us_each: f64,
    /// How much of one core redis-benchmark took: where that is all of it, no server could be asked for more.
    pub client_share: f64,
}

/// CPU time of all programs that have been run and waited for, in seconds; counted in hundredths.
fn childrens_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name in parentheses may hold anything; what follows it are fields from the third on.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    [16, 17].iter().map(|field: &usize| fields[field - 3].parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Builds `benches/compare/NAME.c` into `folder`, as a library to preload. None, and a line that says so, without `cc`.
pub fn build_preload(folder: &Path, name: &str) -> Option<PathBuf> {
    let library = folder.join(name).with_extension("so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare").join(name).with_extension("c");
    let compiled = Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    if !compiled.is_ok_and(|status| status.success()) {
        println!("skipped: no cc to build {}", source.display());
        return None;
    }
    Some(library)
}

pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The head of a table: one column for each name.
pub fn print_head(first: &str, names: &[&str]) {
    println!("| {first} | {} |\n|---{}|", names.join(" | "), "|---:".repeat(names.len()));
}

/// A row: our figure, then each peer's with ours as a multiple of it, then any further cells.
pub fn print_row(name: &str, figures: &[f64], more: &[String]) {
    let mut cells = vec![name.to_owned(), format_figure(figures[0])];
    cells.extend(figures[1..].iter().map(|peer| format!("{} ({:.2} x)", format_figure(*peer), figures[0] / peer)));
    cells.extend_from_slice(more);
    println!("| {} |", cells.join(" | "));
}

fn format_figure(figure: f64) -> String {
    if figure < 100.0 { format!("{figure:.2}") } else { format!("{figure:.0}") }
}
