//! `aoftool tail`: the last records, and those that a server adds, through rewrites and restarts.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::rig::{Program, Server};

fn tail(path: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aoftool"));
    command.arg("tail").arg(path).args(more).env_remove("IRONKEEP_DIR").stdin(Stdio::null());
    command
}

/// A `tail --follow` that is ended with the test.
struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    fn start(path: &Path) -> Self {
        let mut child = tail(path, &["--follow"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The command of the next record, without its place.
    fn next(&self) -> String {
        let line = self.lines.recv_timeout(Duration::from_secs(30)).unwrap();
        line.split_once(' ').unwrap().1.to_owned()
    }

    /// Passes over records up to this command.
    #[track_caller]
    fn wait_for(&self, command: &str) {
        let seen: Vec<String> = (0..50).map(|_| self.next()).take_while(|seen| seen != command).collect();
        assert!(seen.len() < 50, "{command} is not among {seen:?}");
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn record(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    ironkeep::resp::encode_request(&mut bytes, &line.split(' ').collect::<Vec<_>>());
    bytes
}

#[test]
fn the_last_records_are_those_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.aof");
    let lines = ["SELECT 2", "SET a 1", "SET b 2", "DEL a"];
    std::fs::write(&path, lines.map(record).concat()).unwrap();
    let out = |more: &[&str]| String::from_utf8(tail(&path, more).output().unwrap().stdout).unwrap();
    assert_eq!(out(&["-n", "2"]), "a.aof:50 [2] SET b 2\na.aof:77 [2] DEL a\n");
    assert_eq!(out(&["--key", "a", "-n", "1"]), "a.aof:77 [2] DEL a\n");
    assert_eq!(out(&["-n", "0"]), "");
    let senseless = tail(&path, &["-f", "--json"]).output().unwrap();
    assert_eq!(senseless.status.code(), Some(2));
}

#[test]
fn what_is_added_follows_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.aof");
    std::fs::write(&path, record("SET a 1")).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let following = Following::start(&path);
    assert_eq!(following.next(), "[0] SET a 1");
    let next = [record("MULTI"), record("SELECT 3"), record("SET b 2"), record("EXEC")].concat();
    let (first, second) = next.split_at(30);
    file.write_all(first).unwrap();
    assert_eq!(following.next(), "[0] MULTI");
    file.write_all(second).unwrap();
    for expected in ["[3] SELECT 3", "[3] SET b 2", "[3] EXEC"] {
        assert_eq!(following.next(), expected);
    }
}

#[test]
fn rewrites_and_restarts_are_followed() {
    for program in [Some(Program::ours()), Program::redis_8()].into_iter().flatten() {
        let folder = tempfile::tempdir().unwrap();
        let directives = [("appendonly", "yes")];
        let server = Server::start(&program, folder.path(), &directives);
        let mut client = server.client();
        client.line("SET before 1");
        let following = Following::start(folder.path());
        following.wait_for("[0] SET before 1");
        for round in 0..3 {
            client.line("BGREWRITEAOF");
            client.wait_for_rewrite();
            client.line(&format!("SET round {round}"));
            following.wait_for(&format!("[0] SET round {round}"));
        }
        drop(client);
        server.terminate();
        let server = Server::start(&program, folder.path(), &directives);
        server.client().line("SET after 1");
        following.wait_for("[0] SET after 1");
    }
}
