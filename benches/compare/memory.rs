//! Bytes per key: what a server's resident memory (of its own, not the program's pages) grows by while it is filled, divided
//! by the number of keys, or of members where one key holds them all. It has been filled and emptied once before, with a
//! thousand, so that what any server comes to need is there. `used_memory`, as INFO tells it, stands behind the resident
//! figure.

use crate::contest::{Options, print_head, print_row};
use crate::rig::{Program, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub const OPTIONS: &[(&str, &str)] = &[
    ("rows", ""),          // names with commas; all where it is empty
    ("divisor", "1"),      // every count is divided by it, for a quick look
    ("settle-ms", "1500"), // from the last reply to the measurement
];

/// A way to fill a server.
struct Row {
    name: &'static str,
    title: &'static str,
    count: usize,
    /// Appends the one command that adds item number `index`.
    command: fn(&mut Vec<u8>, usize),
}

const ROWS: &[Row] = &[
    Row { name: "strings", title: "10 M strings, 16 B key, 32 B value", count: 10_000_000, command: string },
    Row { name: "strings-1m", title: "1 M strings", count: 1_000_000, command: string },
    Row { name: "strings-100k", title: "0.1 M strings", count: 100_000, command: string },
    Row { name: "integers", title: "10 M integers", count: 10_000_000, command: integer },
    Row { name: "hashes", title: "1 M hashes, 5 fields, 10 B values", count: 1_000_000, command: hash },
    Row { name: "zsets", title: "1 M sorted sets, 5 members of 10 B", count: 1_000_000, command: zset },
    Row { name: "lists", title: "1 M lists, 5 items of 10 B", count: 1_000_000, command: list },
    Row { name: "sets", title: "1 M sets, 5 members of 10 B", count: 1_000_000, command: set },
    Row { name: "intsets", title: "1 M sets, 5 integers", count: 1_000_000, command: intset },
    Row { name: "large-set", title: "a set, 5 M members of 16 B", count: 5_000_000, command: large_set },
    Row { name: "large-hash", title: "a hash, 5 M fields of 16 B, 10 B values", count: 5_000_000, command: large_hash },
    Row { name: "large-zset", title: "a sorted set, 5 M members of 16 B", count: 5_000_000, command: large_zset },
];

pub fn run(options: &Options) {
    let wanted = options.list("rows");
    let rows: Vec<&Row> = ROWS.iter().filter(|row| wanted.is_empty() || wanted.contains(&row.name)).collect();
    let peers = [Program::redis_8(), Program::valkey_9()].into_iter().flatten();
    let programs: Vec<Program> = std::iter::once(Program::ours()).chain(peers).collect();
    println!("bytes per key (or member): growth of resident memory (ours as a multiple), then of used_memory\n");
    let used: Vec<String> = programs.iter().map(|program| format!("used, {}", program.name)).collect();
    let names: Vec<&str> = programs.iter().map(|program| program.name).collect();
    print_head("", &names.iter().copied().chain(used.iter().map(String::as_str)).collect::<Vec<_>>());
    for row in rows {
        let count = row.count / options.count("divisor");
        let settle = Duration::from_millis(options.count("settle-ms") as u64);
        let grown: Vec<Grown> = programs.iter().map(|program| grow(program, row, count, settle)).collect();
        let resident: Vec<f64> = grown.iter().map(|grown| grown.resident).collect();
        let used: Vec<String> = grown.iter().map(|grown| format!("{:.1}", grown.used)).collect();
        print_row(row.title, &resident, &used);
    }
}

/// Bytes for each item.
struct Grown {
    resident: f64,
    used: f64,
}

fn grow(program: &Program, row: &Row, count: usize, settle: Duration) -> Grown {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(program, folder.path(), &[("appendonly", "no")]);
    let measure = || {
        std::thread::sleep(settle);
        (resident(&server), used(&server))
    };
    fill(server.port(), row, 1000);
    server.client().line("FLUSHALL");
    let before = measure();
    fill(server.port(), row, count);
    let after = measure();
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / count as f64;
    Grown { resident: each(before.0, after.0), used: each(before.1, after.1) }
}

/// Sends the commands in batches, and waits for the replies of each: one line each.
fn fill(port: u16, row: &Row, count: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut batch, mut replies) = (Vec::new(), vec![0; 1 << 16]);
    for start in (0..count).step_by(1000) {
        batch.clear();
        let end = count.min(start + 1000);
        (start..end).for_each(|index| (row.command)(&mut batch, index));
        stream.write_all(&batch).unwrap();
        let mut lines = 0;
        while lines < end - start {
            let len = stream.read(&mut replies).unwrap();
            assert!(len > 0, "the server has gone");
            lines += replies[..len].iter().filter(|&&byte| byte == b'\n').count();
            assert!(!replies[..len].contains(&b'-'), "{}", String::from_utf8_lossy(&replies[..len]));
        }
    }
}

fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn used(server: &Server) -> u64 {
    let info = server.client().call(&["INFO", "memory"]).text();
    info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
}

fn command(out: &mut Vec<u8>, words: &[String]) {
    write!(out, "*{}\r\n", words.len()).unwrap();
    words.iter().for_each(|word| write!(out, "${}\r\n{word}\r\n", word.len()).unwrap());
}

/// A verb, a key of its own of 16 bytes, and five items.
fn small(out: &mut Vec<u8>, verb: &str, index: usize, items: impl Fn(usize) -> Vec<String>) {
    let mut words = vec![verb.to_owned(), format!("key:{index:012}")];
    (0..5).for_each(|item| words.extend(items(item)));
    command(out, &words);
}

fn string(out: &mut Vec<u8>, index: usize) {
    write!(out, "*3\r\n$3\r\nSET\r\n$16\r\nkey:{index:012}\r\n$32\r\nv{:031}\r\n", index * 7919 % 1_000_003).unwrap();
}

fn integer(out: &mut Vec<u8>, index: usize) {
    command(out, &["SET".to_owned(), format!("key:{index:012}"), (index * 7919).to_string()]);
}

fn hash(out: &mut Vec<u8>, index: usize) {
    small(out, "HSET", index, |item| vec![format!("field{item}"), format!("value:{:04}", (index + item) % 10_000)]);
}

fn zset(out: &mut Vec<u8>, index: usize) {
    small(out, "ZADD", index, |item| {
        vec![((index + item) % 1000).to_string(), format!("member{item}:{:02}", index % 100)]
    });
}

fn list(out: &mut Vec<u8>, index: usize) {
    small(out, "RPUSH", index, |item| vec![format!("value:{:04}", (index + item) % 10_000)]);
}

fn set(out: &mut Vec<u8>, index: usize) {
    small(out, "SADD", index, |item| vec![format!("member:{:03}", (index + item) % 1000)]);
}

fn intset(out: &mut Vec<u8>, index: usize) {
    small(out, "SADD", index, |item| vec![((index + item * 7) % 30_000).to_string()]);
}

fn large_set(out: &mut Vec<u8>, index: usize) {
    command(out, &["SADD".to_owned(), "large".to_owned(), format!("mem:{index:012}")]);
}

fn large_hash(out: &mut Vec<u8>, index: usize) {
    let value = format!("value:{:04}", index % 10_000);
    command(out, &["HSET".to_owned(), "large".to_owned(), format!("fld:{index:012}"), value]);
}

fn large_zset(out: &mut Vec<u8>, index: usize) {
    let score = (index * 7919 % 5_000_011).to_string();
    command(out, &["ZADD".to_owned(), "large".to_owned(), score, format!("mem:{index:012}")]);
}
