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

/// Text as applications store it: words, numbers, now and then something binary.
fn text(random: &mut fastrand::Rng, len: usize) -> Vec<u8> {
    if random.u8(..20) == 0 {
        return (0..len).map(|_| random.u8(..)).collect();
    }
    let words = ["session", "user", "\"id\":", "1024", " price ", "https://", "green", "ok, ", "{", "}"];
    let mut text = Vec::with_capacity(len + 10);
    while text.len() < len {
        text.extend_from_slice(words[random.usize(..words.len())].as_bytes());
        text.push(random.u8(b'a'..=b'z'));
    }
    text
}

/// The requests that make one key: seven strings to one collection, of which one in fifty is large.
fn requests(random: &mut fastrand::Rng, index: u64) -> Vec<Request> {
    let key = format!("app:{}:{index}", random.u16(..)).into_bytes();
    let mut made = Vec::new();
    if !index.is_multiple_of(8) {
        let len = random.usize(5..150);
        made.push(vec![b"SET".to_vec(), key.clone(), text(random, len)]);
    } else {
        let count = if random.u8(..50) == 0 { random.usize(500..2_000) } else { random.usize(2..40) };
        let verb: &[u8] = [&b"RPUSH"[..], b"SADD", b"HSET", b"ZADD", b"XADD"][random.usize(..5)];
        let mut request = vec![verb.to_vec(), key.clone()];
        for element in 0..count {
            match verb {
                b"RPUSH" => request.push(text(random, 20)),
                b"SADD" => request.push(random.u32(..).to_string().into_bytes()),
                b"HSET" => request.extend([format!("field:{element}").into_bytes(), text(random, 25)]),
                b"ZADD" => request.extend([format!("{:.3}", random.f64() * 1e4).into_bytes(), text(random, 15)]),
                _ => {
                    let id = format!("{}-{element}", 1_700_000_000_000 + index).into_bytes();
                    made.push(vec![
                        verb.to_vec(),
                        key.clone(),
                        id,
                        b"temperature".to_vec(),
                        text(random, 6),
                        b"humidity".to_vec(),
                        text(random, 6),
                    ]);
                }
            }
        }
        if verb != b"XADD" {
            made.push(request);
        }
    }
    if index.is_multiple_of(5) {
        made.push(vec![b"PEXPIREAT".to_vec(), key, b"4000000000000".to_vec()]);
    }
    made
}

fn fill(client: &mut Client, random: &mut fastrand::Rng, keys: std::ops::Range<u64>) {
    let mut batch = Vec::new();
    for index in keys {
        batch.extend(requests(random, index));
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
    let (mut client, mut random) = (server.client(), fastrand::Rng::with_seed(mb));
    let saved = folder.path().join("dump.rdb");
    fill(&mut client, &mut random, 0..SAMPLE);
    client.line("SAVE");
    let per_key = std::fs::metadata(&saved).unwrap().len() / SAMPLE;
    fill(&mut client, &mut random, SAMPLE..mb * 1_000_000 / per_key);
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

fn contenders() -> Vec<Contender> {
    let ours = |name, arguments| Contender { name, program: env!("CARGO_BIN_EXE_rdbtool").into(), arguments };
    let mut all = vec![
        ours("rdbtool dump --json", &["dump", "--json"]),
        ours("rdbtool check", &["check"]),
        ours("rdbtool memory", &["memory"]),
        ours("rdbtool info", &["info"]),
    ];
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/rdb");
    if theirs.exists() {
        all.push(Contender { name: "crate rdb 0.4.0, json", program: theirs, arguments: &["-f", "json"] });
    } else {
        eprintln!("left out: crate rdb (cargo install rdb --root target/tools)");
    }
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
