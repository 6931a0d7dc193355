//! The verbs of `rdbtool` that read a whole file, on a mixed file that a real server made: CPU seconds (user and system,
//! children included), the most memory held, and the same for crate `rdb` where its binary is at hand, in turns.
//!
//! ```text
//! cargo install rdb --root target/tools     # once
//! cargo bench --bench rdb -- [--mb 300] [--rounds 3]
//! ```
//!
//! Two sizes are measured, the second ten times the first: memory must be the same. The file is made once per size and
//! kept in `target/tmp`. Redis 7.0 makes it, since crate `rdb` reads nothing newer than version 11.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)] // a tool for us alone

#[path = "../tests/rig/mod.rs"]
#[allow(dead_code, unused_imports)] // it is there for the tests
mod rig;

use rig::{Client, Program, Server};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The kernel counts CPU time in these.
const TICKS_PER_SECOND: f64 = 100.0;
/// Requests that are sent before the replies are read.
const BATCH: usize = 256;

type Request = Vec<Vec<u8>>;

/// Words that sentences are made of.
const WORDS: usize = 2_000;

/// What applications store: tokens, sentences, JSON, numbers, now and then something binary.
struct Texts {
    random: fastrand::Rng,
    words: Vec<String>,
}

impl Texts {
    fn with_seed(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let words = (0..WORDS).map(|_| (0..random.usize(2..10)).map(|_| random.lowercase()).collect()).collect();
        Self { random, words }
    }

    /// One text of about `len` bytes.
    fn text(&mut self, len: usize) -> Vec<u8> {
        let random = &mut self.random;
        match random.u8(..20) {
            0 => (0..len).map(|_| random.u8(..)).collect(),
            1..4 => random.u64(..).to_string().into_bytes(),
            4..10 => (0..len).map(|_| random.alphanumeric() as u8).collect(), // ASCII
            10..13 => format!(
                r#"{{"id":{},"{}":"{}"}}"#,
                random.u32(..),
                self.words[random.usize(..WORDS)],
                (0..len.saturating_sub(25)).map(|_| random.alphanumeric()).collect::<String>(),
            )
            .into_bytes(),
            _ => {
                let mut text = Vec::with_capacity(len + 10);
                while text.len() < len {
                    text.extend_from_slice(self.words[random.usize(..WORDS)].as_bytes());
                    text.push(b' ');
                }
                text
            }
        }
    }

    /// What collections hold: ids, numbers, words.
    fn element(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        match random.u8(..8) {
            0..2 => random.u32(..).to_string().into_bytes(),
            2..4 => format!("user:{}", random.u32(..10_000_000)).into_bytes(),
            4..6 => self.words[random.usize(..WORDS)].clone().into_bytes(),
            6 => random.u8(..).to_string().into_bytes(),
            _ => self.text(16),
        }
    }

    /// The requests that make one key: a string in twelve of thirty-two, a stream in one, a set, list, hash or sorted
    /// set in the others; one collection in four hundred is large.
    fn requests(&mut self, index: u64) -> Vec<Request> {
        let key = format!("app:{}:{index}", self.random.u8(..)).into_bytes();
        let mut made = Vec::new();
        let verb: &[u8] = match self.random.u8(..32) {
            0..12 => b"SET",
            12..17 => b"SADD",
            17..22 => b"RPUSH",
            22..27 => b"HSET",
            27..31 => b"ZADD",
            _ => b"XADD",
        };
        let is_large = self.random.u16(..400) == 0;
        let count = if is_large { self.random.usize(300..1_000) } else { self.random.usize(2..16) };
        let of_numbers = self.random.bool();
        let mut request = vec![verb.to_vec(), key.clone()];
        match verb {
            b"SET" => {
                let len = self.random.usize(5..400);
                request.push(self.text(len));
            }
            b"SADD" if of_numbers => request.extend((0..count).map(|_| self.random.u32(..).to_string().into_bytes())),
            b"SADD" | b"RPUSH" => request.extend((0..count).map(|_| self.element())),
            b"HSET" => {
                for field in 0..count {
                    request.extend([format!("f{field}").into_bytes(), self.element()]);
                }
            }
            b"ZADD" => {
                for _ in 0..count {
                    let score = format!("{:.2}", self.random.f64() * 1e4);
                    request.extend([score.into_bytes(), self.element()]);
                }
            }
            _ => {
                for entry in 0..count {
                    let id = format!("{}-{entry}", 1_700_000_000_000 + index).into_bytes();
                    let fields = [b"temperature".to_vec(), self.element(), b"humidity".to_vec(), self.element()];
                    made.push([verb.to_vec(), key.clone(), id].into_iter().chain(fields).collect());
                }
                request.clear();
            }
        }
        made.extend((!request.is_empty()).then_some(request));
        if index.is_multiple_of(5) {
            made.push(vec![b"PEXPIREAT".to_vec(), key, b"4000000000000".to_vec()]);
        }
        made
    }
}

fn fill(client: &mut Client, texts: &mut Texts, keys: std::ops::Range<u64>) {
    let mut batch = Vec::new();
    for index in keys {
        batch.extend(texts.requests(index));
        if batch.len() >= BATCH {
            client.pipeline(&std::mem::take(&mut batch));
        }
    }
    client.pipeline(&batch);
}

/// A file of about `mb` million bytes, made by `program`: some keys tell how many it takes.
fn make(program: &Program, mb: u64) -> PathBuf {
    const SAMPLE: u64 = 20_000;
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mixed-{mb}.rdb"));
    if path.exists() {
        return path;
    }
    eprintln!("making {} by {}", path.display(), program.name);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(program, folder.path(), &[]);
    let (mut client, mut texts) = (server.client(), Texts::with_seed(mb));
    let saved = folder.path().join("dump.rdb");
    fill(&mut client, &mut texts, 0..SAMPLE);
    client.line("SAVE");
    let per_key = std::fs::metadata(&saved).unwrap().len() / SAMPLE;
    fill(&mut client, &mut texts, SAMPLE..mb * 1_000_000 / per_key);
    client.line("SAVE");
    std::fs::copy(&saved, &path).unwrap();
    path
}

/// What a process took, by what the kernel says of it.
#[derive(Clone, Copy)]
struct Cost {
    cpu_seconds: f64,
    peak_kb: u64,
}

/// Runs a command to its end, its output in a file.
fn cost(command: &mut Command) -> Cost {
    let out = std::fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench.out")).unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::null()).spawn().unwrap();
    let cost = watch(child.id());
    assert!(child.wait().unwrap().success(), "{command:?} failed");
    cost
}

/// Watches a process until it is a zombie, which still tells its CPU time and that of its children.
fn watch(pid: u32) -> Cost {
    let (folder, mut peak_kb) = (PathBuf::from(format!("/proc/{pid}")), 0);
    loop {
        let status = std::fs::read_to_string(folder.join("status")).unwrap();
        if let Some(peak) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            peak_kb = peak.trim().trim_end_matches(" kB").parse().unwrap();
        }
        let stat = std::fs::read_to_string(folder.join("stat")).unwrap();
        // The name in parentheses may hold anything; what follows it are fields from the third on.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        if fields[0] == "Z" {
            let ticks: f64 = (14..=17).map(|index: usize| fields[index - 3].parse::<f64>().unwrap()).sum();
            return Cost { cpu_seconds: ticks / TICKS_PER_SECOND, peak_kb };
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// What is measured: a name and the command line, to which the file is added.
struct Contender {
    name: &'static str,
    program: PathBuf,
    arguments: &'static [&'static str],
}

/// Output goes to a file: standard output is one, and crate `rdb` has an option for it.
fn contenders() -> Vec<Contender> {
    const OUT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/bench.json");
    let ours = |name, arguments| Contender { name, program: env!("CARGO_BIN_EXE_rdbtool").into(), arguments };
    let mut all = vec![
        ours("rdbtool dump --json", &["dump", "--json"]),
        ours("rdbtool check", &["check"]),
        ours("rdbtool memory", &["memory"]),
        ours("rdbtool info", &["info"]),
    ];
    let mut theirs = |name, program: PathBuf, arguments, hint| {
        if program.exists() {
            all.push(Contender { name, program, arguments });
        } else {
            eprintln!("left out: {name} ({hint})");
        }
    };
    let rdb = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/rdb");
    theirs("crate rdb 0.4.0, JSON", rdb, &["-f", "json", "-o", OUT], "cargo install rdb --root target/tools");
    theirs("redis-check-rdb 7.0", "/usr/bin/redis-check-rdb".into(), &[], "apt-get install redis-tools");
    all
}

fn median(costs: &[Cost]) -> Cost {
    let mut sorted = costs.to_vec();
    sorted.sort_by(|left, right| left.cpu_seconds.total_cmp(&right.cpu_seconds));
    sorted[sorted.len() / 2]
}

fn option(name: &str, default: u64) -> u64 {
    let mut words = std::env::args().skip_while(|word| word != name).skip(1);
    words.next().map_or(default, |word| word.parse().unwrap())
}

fn main() {
    let (mb, rounds) = (option("--mb", 300), option("--rounds", 3));
    let program = Program::redis_7().expect("a real server makes the file");
    let all = contenders();
    for mb in [mb / 10, mb] {
        let path = make(&program, mb);
        let megabytes = std::fs::metadata(&path).unwrap().len() as f64 / 1e6; // to be printed with one digit
        let mut costs: Vec<Vec<Cost>> = all.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for (contender, costs) in all.iter().zip(&mut costs) {
                costs.push(cost(Command::new(&contender.program).args(contender.arguments).arg(&path)));
            }
        }
        println!("\n{megabytes:.1} MB by {}, median of {rounds} rounds\n", program.name);
        println!("| | CPU | of dump | MB per CPU second | peak memory |\n|---|---:|---:|---:|---:|");
        let dump = median(&costs[0]).cpu_seconds;
        for (contender, costs) in all.iter().zip(&costs) {
            let Cost { cpu_seconds, peak_kb } = median(costs);
            let (times, rate) = (cpu_seconds / dump, megabytes / cpu_seconds);
            let peak = peak_kb as f64 / 1024.0; // to be printed with one digit
            println!("| {} | {cpu_seconds:.2} s | {times:.2} | {rate:.0} | {peak:.1} MB |", contender.name);
        }
    }
}
