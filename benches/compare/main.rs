//! GET and SET by redis-benchmark, ours beside real servers in one run: for each pipeline all servers take turns, round
//! after round, so that whatever else the machine does falls on all of them. Prints medians as a Markdown table.
//!
//! ```text
//! cargo bench --bench compare -- [--rounds 5] [--requests 100000] [--appendonly yes]
//! ```
//!
//! 50 clients, 100,000 random keys, values of 32 bytes. Peers that are not at hand are left out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)] // a tool for us alone

#[path = "../../tests/rig/mod.rs"]
#[allow(dead_code, unused_imports)] // it is there for the tests
mod rig;

use rig::{Program, Server};
use std::path::Path;
use std::process::{Command, Stdio};

const CLIENTS: &str = "50";
const KEYS: &str = "100000";
const VALUE_BYTES: &str = "32";
const PIPELINES: [usize; 3] = [1, 16, 64];

struct Options {
    rounds: usize,
    /// Per run without pipelining; pipelined runs have more, so that they last as long.
    requests: usize,
    appendonly: String,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { rounds: 5, requests: 100_000, appendonly: "no".to_owned() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} wants a value"));
            match word.as_str() {
                "--rounds" => options.rounds = value().parse().unwrap(),
                "--requests" => options.requests = value().parse().unwrap(),
                "--appendonly" => options.appendonly = value(),
                "--bench" => {} // cargo says so
                other => panic!("unknown option {other}"),
            }
        }
        options
    }
}

/// Requests per second of one run.
fn measure(benchmark: &Path, port: u16, verb: &str, pipeline: usize, requests: usize) -> f64 {
    let (port, pipeline, requests) = (port.to_string(), pipeline.to_string(), requests.to_string());
    let output = Command::new(benchmark)
        .args(["-p", &port, "-c", CLIENTS, "-P", &pipeline, "-n", &requests, "-r", KEYS, "-d", VALUE_BYTES])
        .args(["-t", verb, "--csv"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let row = text.lines().find(|line| line.to_lowercase().starts_with(&format!("\"{verb}\"")));
    let rate = row.and_then(|row| row.split(',').nth(1)).and_then(|cell| cell.trim_matches('"').parse().ok());
    rate.unwrap_or_else(|| panic!("redis-benchmark said:\n{text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// One line of the table: the median of each server, and ours as a multiple of each peer's.
fn row(name: &str, rates: &mut [Vec<f64>]) -> String {
    let medians: Vec<f64> = rates.iter_mut().map(|rates| median(rates)).collect();
    let mut cells = vec![name.to_owned(), format!("{:.0}", medians[0])];
    cells.extend(medians[1..].iter().map(|peer| format!("{peer:.0} ({:.2} x)", medians[0] / peer)));
    format!("| {} |", cells.join(" | "))
}

fn main() {
    let options = Options::parse();
    let peers = [Program::redis_7(), Program::redis_8(), Program::valkey_9()];
    let programs: Vec<Program> = std::iter::once(Program::ours()).chain(peers.into_iter().flatten()).collect();
    let benchmark = programs.get(1).expect("no peer is here to compare with").tool("benchmark");
    let folders: Vec<_> = programs.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let start = |(program, folder): (&Program, &tempfile::TempDir)| {
        Server::start(program, folder.path(), &[("appendonly", &options.appendonly)])
    };
    let servers: Vec<Server> = programs.iter().zip(&folders).map(start).collect();
    for server in &servers {
        measure(&benchmark, server.port(), "set", 64, 500_000);
    }
    let names: Vec<_> = programs.iter().map(|program| program.name).collect();
    println!("requests per second, median of {} rounds, appendonly {};", options.rounds, options.appendonly);
    println!("in parentheses: ours as a multiple of it\n");
    println!("| | {} |\n|---{}|", names.join(" | "), "|---:".repeat(names.len()));
    for verb in ["get", "set"] {
        for pipeline in PIPELINES {
            let requests = options.requests * pipeline.min(16);
            let mut rates = vec![Vec::new(); servers.len()];
            for _ in 0..options.rounds {
                for (server, rates) in servers.iter().zip(&mut rates) {
                    rates.push(measure(&benchmark, server.port(), verb, pipeline, requests));
                }
            }
            println!("{}", row(&format!("{} P={pipeline}", verb.to_uppercase()), &mut rates));
        }
    }
}
