//! The verbs of `aoftool` on a large log, beside what does the same otherwise: `check` and redis-check-aof, `strip-command`
//! and `cp`, `convert` to an RDB and a server that loads the log and saves. Time, CPU time of the process, memory.
//!
//! ```text
//! cargo bench --bench aof -- [--mb 1000] [--rounds 3]
//! ```
//!
//! Two sizes are measured, the second ten times the first. The log is made once per size and kept in `target/tmp`: what
//! applications write, with a FLUSHALL in the middle. What is called cold begins with an empty page cache (as root).

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)] // a tool for us alone

#[path = "../tests/rig/mod.rs"]
#[allow(dead_code, unused_imports)] // it is there for the tests
mod rig;
mod shared;

use ironkeep::resp::encode_request;
use rig::{Program, Server};
use shared::cost::{Cost, cost, median, option};
use shared::texts::Texts;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// A log of about `mb` million bytes.
fn make(mb: u64) -> PathBuf {
    let path = Path::new(FOLDER).join(format!("mixed-{mb}.aof"));
    if path.exists() {
        return path;
    }
    eprintln!("making {}", path.display());
    let (mut texts, mut bytes, mut written, mut index) = (Texts::with_seed(mb), Vec::new(), 0, 0);
    let mut out = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let mut has_flush = false;
    encode_request(&mut bytes, &[&b"SELECT"[..], b"0"]);
    while written < mb * 1_000_000 {
        for request in texts.requests(index) {
            encode_request(&mut bytes, &request);
        }
        if !has_flush && written >= mb * 500_000 {
            encode_request(&mut bytes, &[&b"FLUSHALL"[..]]);
            has_flush = true;
        }
        index += 1;
        out.write_all(&bytes).unwrap();
        written += bytes.len() as u64; // usize fits
        bytes.clear();
    }
    out.into_inner().unwrap().sync_all().unwrap();
    path
}

/// What a server takes that starts on the log, saves, and ends.
fn load_and_save(program: &Program, log: &Path) -> Cost {
    let folder = tempfile::tempdir_in(FOLDER).unwrap();
    std::fs::hard_link(log, folder.path().join("appendonly.aof")).unwrap();
    let started = Instant::now();
    let server = Server::start(program, folder.path(), &[("appendonly", "yes"), ("auto-aof-rewrite-percentage", "0")]);
    let mut client = server.client();
    while client.line("INFO persistence").text().contains("loading:1") {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!client.line("SAVE").is_error());
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    Cost {
        seconds: started.elapsed().as_secs_f64(),
        cpu_seconds: server.cpu_seconds(),
        peak_kb: peak.trim().trim_end_matches(" kB").parse().unwrap(),
    }
}

/// What is measured on a log.
type Work = Box<dyn Fn(&Path) -> Cost>;

/// A program with words before and behind the log; what the last of them names is removed first.
fn command(program: impl Into<PathBuf>, before: &'static [&'static str], behind: &'static [&'static str]) -> Work {
    let program = program.into();
    Box::new(move |log| {
        if let Some(output) = behind.last() {
            let _ = std::fs::remove_file(output).or_else(|_| std::fs::remove_dir_all(output)); // the first time it is not there
        }
        cost(Command::new(&program).args(before).arg(log).args(behind))
    })
}

/// As `work`, of a log that is not in memory; where that can't be had (it takes root) it is said.
fn cold(work: Work) -> Work {
    Box::new(move |log| {
        rustix::fs::sync();
        if let Err(error) = std::fs::write("/proc/sys/vm/drop_caches", "3") {
            eprintln!("what should be cold is warm: /proc/sys/vm/drop_caches: {error}");
        }
        work(log)
    })
}

fn contenders() -> Vec<(String, Work)> {
    const STRIPPED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/stripped");
    const COPIED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/copied.aof");
    const CONVERTED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/converted.rdb");
    let ours = env!("CARGO_BIN_EXE_aoftool");
    let mut all = vec![("aoftool check".to_owned(), command(ours, &["check"], &[]))];
    for peer in [Program::redis_7(), Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        all.push((format!("check-aof of {}", peer.name), command(peer.tool("check-aof"), &[], &[])));
    }
    let strip = &["--output", STRIPPED];
    let strips = || command(ours, &["strip-command", "FLUSHALL"], strip);
    all.push(("aoftool strip-command".to_owned(), strips()));
    all.push(("aoftool strip-command, cold".to_owned(), cold(strips())));
    let copies = || command("/bin/sh", &["-c", "cp \"$0\" \"$1\" && sync \"$1\""], &[COPIED]);
    all.push(("cp and sync".to_owned(), copies()));
    all.push(("cp and sync, cold".to_owned(), cold(copies())));
    all.push(("cp".to_owned(), command("/bin/cp", &[], &[COPIED])));
    all.push(("aoftool convert to an RDB".to_owned(), command(ours, &["convert"], &["--output", CONVERTED])));
    const REWRITTEN: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/rewritten.aof");
    let rewrite = command(ours, &["convert", "--rewrite"], &["--output", REWRITTEN]);
    all.push(("aoftool convert --rewrite".to_owned(), rewrite));
    let servers = [Some(Program::ours()), Program::redis_7(), Program::redis_8(), Program::valkey_9()];
    for server in servers.into_iter().flatten() {
        all.push((format!("load and SAVE of {}", server.name), Box::new(move |log| load_and_save(&server, log))));
    }
    all
}

fn main() {
    let (mb, rounds) = (option("--mb", 1_000), option("--rounds", 3));
    let all = contenders();
    for mb in [mb / 10, mb] {
        let log = make(mb);
        let megabytes = std::fs::metadata(&log).unwrap().len() as f64 / 1e6; // to be printed with one digit
        let mut costs: Vec<Vec<Cost>> = all.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for ((_, work), costs) in all.iter().zip(&mut costs) {
                costs.push(work(&log));
            }
        }
        println!("\nA log of {megabytes:.1} MB, median of {rounds} rounds\n");
        println!("| | time | CPU | MB per CPU second | peak memory |\n|---|---:|---:|---:|---:|");
        for ((name, _), costs) in all.iter().zip(&costs) {
            let Cost { seconds, cpu_seconds, peak_kb } = median(costs);
            let (rate, peak) = (megabytes / cpu_seconds, peak_kb as f64 / 1024.0); // to be printed with few digits
            println!("| {name} | {seconds:.2} s | {cpu_seconds:.2} s | {rate:.0} | {peak:.1} MB |");
        }
    }
}
