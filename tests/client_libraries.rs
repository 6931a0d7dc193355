//! Clients that people use, in sessions of their own: redis-py and ioredis, as pip and npm have them, with the scripts of
//! `tests/clients`; and redis-cli with its modes.
//!
//! `IRONKEEP_CLIENTS` is the folder where `.ci/run` has installed the libraries: `python/bin/python` with redis-py in it,
//! and `node_modules` with ioredis. Every script passes against real Redis 8 too, where that is at hand.

use crate::rig::{Program, Server, skip};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where the libraries are; `None`, said aloud, where `file` is not among them.
fn libraries(file: &str) -> Option<PathBuf> {
    let cache = || {
        let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
        home.unwrap_or_default().join("ironkeep/clients")
    };
    let folder = std::env::var_os("IRONKEEP_CLIENTS").map_or_else(cache, PathBuf::from);
    if folder.join(file).exists() {
        return Some(folder);
    }
    skip(&format!("no {file} at {}: .ci/run installs it", folder.display()));
    None
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs sessions against ours, and against Redis 8: what they assert is what that does.
fn assert_sessions_pass(mut command: impl FnMut() -> Command) {
    for program in [Some(Program::ours()), Program::redis_8()].into_iter().flatten() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&program, dir.path(), &[]);
        let output = command().arg(server.port().to_string()).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{}: {}", program.name, text.trim_end());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:\n{text}{errors}", program.name);
        assert!(text.contains(" 0 failed"), "{text}");
    }
}

#[test]
fn redis_py_works() {
    let Some(folder) = libraries("python/bin/python") else { return };
    assert_sessions_pass(|| {
        let mut python = Command::new(folder.join("python/bin/python"));
        // Some options are deprecated, not gone: both are used.
        python.args(["-W", "ignore"]).arg(script("redis_py.py"));
        python
    });
}

#[test]
fn ioredis_works() {
    let Some(folder) = libraries("node_modules/ioredis") else { return };
    assert_sessions_pass(|| {
        let mut node = Command::new("node");
        node.env("NODE_PATH", folder.join("node_modules")).arg(script("ioredis.js"));
        node
    });
}

/// A server with keys of every type, some of them large, and redis-cli.
struct Bench {
    cli: PathBuf,
    server: Server,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Option<Self> {
        let cli = Program::redis_8()?.tool("cli");
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
        let mut client = server.client();
        for index in 0..200 {
            client.line(&format!("SET string:{index} {}", "x".repeat(index + 1)));
        }
        client.line(&format!("RPUSH list:large{}", " element".repeat(500)));
        client.line("RPUSH list:small a");
        client.line("HSET hash:large a 1 b 2 c 3");
        client.line("SADD set:large a b c d");
        client.line("ZADD zset:large 1 a 2 b");
        client.line("XADD stream:large 1-1 f v");
        Some(Self { cli, server, dir })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.cli);
        command.args(["-h", "127.0.0.1", "-p", &self.server.port().to_string()]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What it prints, which must end well.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        self.text(arguments, &output)
    }

    fn text(&self, arguments: &[&str], output: &Output) -> String {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// As [`Bench::run`] of what runs for ever: its first lines, behind which it is ended.
    fn first_lines(&self, arguments: &[&str], count: usize) -> String {
        let mut child = self.command(arguments).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(count);
        let text = lines.map(|line| line.unwrap() + "\n").collect();
        child.kill().unwrap();
        child.wait().unwrap();
        text
    }
}

#[test]
fn redis_cli_finds_large_and_hot_keys() {
    let Some(bench) = Bench::new() else { return };
    let text = bench.run(&["--bigkeys", "-i", "0"]);
    for line in [
        "Biggest   list found \"list:large\" has 500 items",
        "Biggest string found \"string:199\" has 200 bytes",
        "Biggest   hash found \"hash:large\" has 3 fields",
        "Biggest    set found \"set:large\" has 4 members",
        "Biggest   zset found \"zset:large\" has 2 members",
        "Biggest stream found \"stream:large\" has 1 entries",
        "200 strings with 20100 bytes",
    ] {
        assert!(text.replace('\'', "\"").contains(line), "{line}\n{text}");
    }
    let text = bench.run(&["--memkeys", "-i", "0"]);
    assert!(text.contains("Biggest   list found") && text.contains("list:large"), "{text}");
    assert!(text.contains("Sampled 206 keys in the keyspace!"), "{text}");
    let refused = bench.command(&["--hotkeys", "-i", "0"]).output().unwrap();
    let text = [refused.stdout, refused.stderr].concat();
    assert!(String::from_utf8_lossy(&text).contains("An LFU maxmemory policy is not selected"));
    let mut client = bench.server.client();
    client.line("CONFIG SET maxmemory-policy allkeys-lfu");
    (0..2000).for_each(|_| drop(client.line("GET string:7")));
    let text = bench.run(&["--hotkeys", "-i", "0"]);
    let hottest = text.lines().find(|line| line.starts_with("hot key found with counter")).unwrap_or_default();
    assert!(hottest.contains("string:7") && !hottest.contains("string:77"), "{text}");
}

#[test]
fn redis_cli_scans_and_measures() {
    let Some(bench) = Bench::new() else { return };
    let text = bench.run(&["--scan", "--pattern", "*:large"]);
    let mut keys: Vec<&str> = text.lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["hash:large", "list:large", "set:large", "stream:large", "zset:large"]);
    let text = bench.run(&["--latency", "-i", "1", "--raw"]);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers.len() == 4 && numbers[3] > 10.0 && numbers[2] < 100.0, "min, max, mean, samples: {text}");
    let text = bench.first_lines(&["--stat", "-i", "0.1"], 4);
    assert!(text.lines().nth(2).unwrap_or_default().starts_with("206 "), "{text}");
    let text = bench.run(&["--csv", "LRANGE", "list:small", "0", "-1"]);
    assert_eq!(text, "\"a\"\n");
    let text = bench.run(&["-3", "--json", "HGETALL", "hash:large"]);
    assert_eq!(text.trim_end(), r#"{"a":"1","b":"2","c":"3"}"#);
}

#[test]
fn redis_cli_loads_by_a_pipe() {
    let Some(bench) = Bench::new() else { return };
    let arguments = ["--pipe", "--pipe-timeout", "30"];
    let mut child = bench.command(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for index in 0..20_000 {
        let (key, value) = (format!("piped:{index}"), format!("value {index}"));
        write!(input, "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len()).unwrap();
    }
    write!(input, "*2\r\n$4\r\nINCR\r\n$7\r\npiped:1\r\n").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("errors: 1, replies: 20001"), "{text}");
    assert_eq!(bench.server.client().line("GET piped:19999").text(), "value 19999");
    assert_eq!(bench.server.client().line("DBSIZE").int(), 20_206);
}

#[test]
fn redis_cli_fetches_an_rdb_that_holds_everything() {
    let Some(bench) = Bench::new() else { return };
    let file = bench.dir.path().join("fetched.rdb");
    let shown = bench.server.client().line("DEBUG DIGEST").text();
    // Larger than what waits for a socket, so that the transfer has to wait for its reader.
    let (path, mut client) = (file.to_str().unwrap(), bench.server.client());
    for index in 0..40 {
        let value: String = (0..250_000).map(|at| char::from(b'a' + (at * (index + 7) % 23) as u8)).collect();
        client.line(&format!("SET huge:{index} {value}"));
    }
    let with_huge = client.line("DEBUG DIGEST").text();
    assert_ne!(shown, with_huge);
    bench.run(&["--rdb", path]);
    for program in [Some(Program::ours()), Program::redis_8()].into_iter().flatten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(&file, dir.path().join("dump.rdb")).unwrap();
        let server = Server::start(&program, dir.path(), &[("appendonly", "no")]);
        assert_eq!(server.client().line("DBSIZE").int(), 246, "{}", program.name);
        assert_eq!(server.client().line("DEBUG DIGEST").text(), with_huge, "{}", program.name);
    }
    assert_eq!(client.line("INCR after").int(), 1, "the server goes on");
}
