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
mod shared;

use rig::{Client, Program, Server};
use shared::cost::{Cost, cost, median, option};
use shared::texts::Texts;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Requests that are sent before the replies are read.
const BATCH: usize = 256;

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
        println!("| | time | CPU | of dump | MB per CPU second | peak memory |\n|---|---:|---:|---:|---:|---:|");
        let dump = median(&costs[0]).cpu_seconds;
        for (contender, costs) in all.iter().zip(&costs) {
            let Cost { seconds, cpu_seconds, peak_kb } = median(costs);
            let (times, rate) = (cpu_seconds / dump, megabytes / cpu_seconds);
            let peak = peak_kb as f64 / 1024.0; // to be printed with one digit
            println!(
                "| {} | {seconds:.2} s | {cpu_seconds:.2} s | {times:.2} | {rate:.0} | {peak:.1} MB |",
                contender.name
            );
        }
    }
}
