//! Loading: the time from the start of the process to the first PING that is answered without LOADING, and the CPU time
//! that went into it, which other work on the machine disturbs less.
//!
//! The files: an RDB of strings (16-byte keys, 32-byte values), a mixed RDB as `cargo bench --bench rdb` makes it, where
//! one is given with `--mixed FILE`, and a log of SETs. A peer makes them, in a version that all read.

use crate::contest::{Options, median, print_head, print_row};
use crate::rig::{Client, Program, Server, Value, files_below};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const OPTIONS: &[(&str, &str)] = &[
    ("rounds", "3"),
    ("keys", "100000,1000000,10000000"), // of the RDBs of strings: what a key takes is to be the same for all
    ("records", "5000000"),
    ("mixed", ""),
];

/// Requests that are sent before their replies are read.
const BATCH: usize = 10_000;
/// The longest that a load may take.
const PATIENCE: Duration = Duration::from_secs(170);

/// A folder to load, by servers that are told these directives.
struct Task {
    name: String,
    folder: tempfile::TempDir,
    appendonly: &'static str,
}

pub fn run(options: &Options) {
    let maker = Program::redis_7().expect("Redis 7.0 makes files that all peers read");
    let peers = [Program::redis_8(), Program::valkey_9()].into_iter().flatten();
    let programs: Vec<Program> = std::iter::once(Program::ours()).chain(peers).collect();
    let rounds = options.count("rounds");
    println!("seconds from start to PONG, medians of {rounds} rounds (ours as a multiple); then CPU seconds\n");
    let names: Vec<String> = programs.iter().map(|program| program.name.to_owned()).collect();
    let cpu_names = names.iter().map(|name| format!("CPU {name}"));
    let head: Vec<String> = names.iter().cloned().chain(cpu_names).collect();
    print_head("", &head.iter().map(String::as_str).collect::<Vec<_>>());
    for keys in options.list("keys") {
        compare(&strings(&maker, keys.parse().unwrap()), &programs, rounds);
    }
    if !options.text("mixed").is_empty() {
        compare(&mixed(Path::new(options.text("mixed"))), &programs, rounds);
    }
    compare(&log(&maker, options.count("records")), &programs, rounds);
}

fn set(index: usize) -> Vec<Vec<u8>> {
    let value = format!("v{:031}", index * 7919 % 1_000_003);
    vec![b"SET".to_vec(), format!("key:{index:012}").into_bytes(), value.into_bytes()]
}

fn fill(client: &mut Client, count: usize) {
    for first in (0..count).step_by(BATCH) {
        client.pipeline(&(first..count.min(first + BATCH)).map(set).collect::<Vec<_>>());
    }
}

fn strings(maker: &Program, keys: usize) -> Task {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(maker, folder.path(), &[]);
    let mut client = server.client();
    fill(&mut client, keys);
    assert!(!client.line("SAVE").is_error());
    Task { name: format!("RDB of {keys} strings"), folder, appendonly: "no" }
}

fn mixed(file: &Path) -> Task {
    let folder = tempfile::tempdir().unwrap();
    let len = std::fs::copy(file, folder.path().join("dump.rdb")).unwrap();
    Task { name: format!("mixed RDB of {} MB", len / 1_000_000), folder, appendonly: "no" }
}

fn log(maker: &Program, records: usize) -> Task {
    let folder = tempfile::tempdir().unwrap();
    let options = [("appendonly", "yes"), ("appendfsync", "no"), ("auto-aof-rewrite-percentage", "0")];
    let server = Server::start(maker, folder.path(), &options);
    fill(&mut server.client(), records);
    assert!(server.terminate().success());
    Task { name: format!("log of {records} SETs"), folder, appendonly: "yes" }
}

fn compare(task: &Task, programs: &[Program], rounds: usize) {
    let mut wall = vec![Vec::new(); programs.len()];
    let mut cpu = vec![Vec::new(); programs.len()];
    // All that is read comes from memory, for everybody.
    files_below(task.folder.path()).iter().for_each(|path| drop(std::fs::read(path).unwrap()));
    for _ in 0..rounds {
        for (index, program) in programs.iter().enumerate() {
            let load = measure(program, task);
            wall[index].push(load.0);
            cpu[index].push(load.1);
        }
    }
    let wall: Vec<f64> = wall.iter_mut().map(|figures| median(figures)).collect();
    let cpu: Vec<String> = cpu.iter_mut().map(|figures| format!("{:.2}", median(figures))).collect();
    print_row(&task.name, &wall, &cpu);
}

/// Seconds until it is ready, and CPU seconds until then.
fn measure(program: &Program, task: &Task) -> (f64, f64) {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let started = Instant::now();
    let mut child = Command::new(program.path())
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", task.appendonly])
        .arg("--dir")
        .arg(task.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !is_ready(port) {
        assert!(started.elapsed() < PATIENCE, "{} does not become ready", program.name);
        assert!(child.try_wait().unwrap().is_none(), "{} gave up loading", program.name);
        std::thread::sleep(Duration::from_millis(2));
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = cpu_seconds(&child);
    child.kill().unwrap();
    child.wait().unwrap();
    (seconds, cpu)
}

fn is_ready(port: u16) -> bool {
    Client::connect(port)
        .is_ok_and(|mut client| matches!(client.ask(&["PING"]), Ok(Value::Simple(text)) if text == "PONG"))
}

/// User and system time of all threads so far, those that have ended included.
fn cpu_seconds(child: &Child) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}
