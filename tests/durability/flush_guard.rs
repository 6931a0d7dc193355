//! "You typed FLUSHALL": the server's log says who did, and the very line that it gives brings everything back.

use crate::rig::{Client, Program, Server, files_below};
use std::path::Path;
use std::process::{Command, Output};

const LOGGED: &[(&str, &str)] = &[("appendonly", "yes")];
const DUMPED: &[(&str, &str)] = &[("appendonly", "no")];

fn write(client: &mut Client, prefix: &str, count: usize) {
    let set = |index: usize| vec![b"SET".to_vec(), format!("{prefix}:{index}").into_bytes(), b"value".to_vec()];
    client.pipeline(&(0..count).map(set).collect::<Vec<_>>());
}

/// The last line of the server's output with these words, which may be on its way to us yet.
fn line_with(server: &Server, words: &str) -> String {
    for _ in 0..200 {
        let output = server.output();
        if let Some(line) = output.lines().rev().find(|line| line.contains(words)) {
            return line.to_owned();
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    panic!("no line with {words:?} in\n{}", server.output());
}

/// The command between backticks.
fn command_in(line: &str) -> String {
    line.split('`').nth(1).unwrap_or_else(|| panic!("no command in {line}")).to_owned()
}

/// Runs a line as someone would who stands in an empty folder, with our tools on the path.
fn in_a_shell(line: &str) -> Output {
    let tools = Path::new(env!("CARGO_BIN_EXE_aoftool")).parent().unwrap().to_owned();
    let path = std::env::join_paths([tools, "/usr/bin".into(), "/bin".into()]).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    Command::new("sh").args(["-c", line]).env("PATH", path).current_dir(elsewhere.path()).output().unwrap()
}

/// Stops the server as its log says, runs the line, and starts again.
fn undo(server: Server, line: &str, dir: &Path, options: &[(&str, &str)]) -> Server {
    assert!(server.client().ask(&["SHUTDOWN", "NOSAVE"]).is_err(), "SHUTDOWN answers only where it fails");
    drop(server);
    let command = command_in(line);
    let output = in_a_shell(&command);
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
    Server::start(&Program::ours(), dir, options)
}

fn size(server: &Server) -> i64 {
    server.client().line("DBSIZE").int()
}

#[test]
fn the_line_of_the_log_brings_back_what_flushall_removed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), LOGGED);
    let mut client = server.client();
    client.line("CLIENT SETNAME cron");
    write(&mut client, "before", 1000);
    client.line("FLUSHALL");
    write(&mut client, "after", 10);
    let line = line_with(&server, "FLUSHALL from 127.0.0.1:");
    for words in ["user default", "name \"cron\"", "removed 1000 keys", "for 3600 s", "SHUTDOWN NOSAVE"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    let server = undo(server, &line, dir.path(), LOGGED);
    assert_eq!(size(&server), 1010);
}

/// Symptom: "A rewrite has already swallowed it".
#[test]
fn rewrites_behind_the_flush_and_a_restart_take_nothing_away() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), LOGGED);
    let mut client = server.client();
    write(&mut client, "first", 1000);
    // An older one, which was meant.
    client.line("FLUSHALL");
    write(&mut client, "second", 500);
    client.line("FLUSHALL");
    let line = line_with(&server, "removed 500 keys");
    for round in ["a", "b"] {
        client.line("BGREWRITEAOF");
        client.wait_for_rewrite();
        write(&mut client, round, 10);
    }
    assert!(server.terminate().success());
    let server = Server::start(&Program::ours(), dir.path(), LOGGED);
    let mut client = server.client();
    assert_eq!(size(&server), 20);
    client.line("BGREWRITEAOF");
    client.wait_for_rewrite();
    write(&mut client, "c", 5);
    let server = undo(server, &line, dir.path(), LOGGED);
    assert_eq!(size(&server), 525);
    // The log that was put together is one like any other.
    let mut client = server.client();
    client.line("BGREWRITEAOF");
    client.wait_for_rewrite();
    drop(server);
    assert_eq!(size(&Server::start(&Program::ours(), dir.path(), LOGGED)), 525);
}

#[test]
fn a_flush_of_a_database_in_a_transaction_comes_back_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), LOGGED);
    let mut client = server.client();
    write(&mut client, "zero", 7);
    client.line("SELECT 3");
    write(&mut client, "three", 100);
    for line in ["MULTI", "SET x 1", "FLUSHDB", "SET y 1", "EXEC"] {
        client.line(line);
    }
    let line = line_with(&server, "FLUSHDB from");
    client.line("BGREWRITEAOF");
    client.wait_for_rewrite();
    let server = undo(server, &line, dir.path(), LOGGED);
    let mut client = server.client();
    assert_eq!(client.line("DBSIZE").int(), 7);
    client.line("SELECT 3");
    assert_eq!(client.line("DBSIZE").int(), 102);
}

#[test]
fn without_a_log_the_dump_before_the_flush_is_kept_beside_an_empty_one() {
    for save in ["SAVE", "BGSAVE", ""] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&Program::ours(), dir.path(), DUMPED);
        let mut client = server.client();
        write(&mut client, "key", 1000);
        client.line("SAVE");
        client.line("FLUSHALL");
        let line = line_with(&server, "removed 1000 keys");
        if !save.is_empty() {
            client.line(save);
            wait_for(&mut client, "rdb_kept_dumps", "1");
            // What is saved next replaces an empty dump only.
            client.line("SAVE");
        }
        let server = undo(server, &line, dir.path(), DUMPED);
        assert_eq!(size(&server), 1000, "{save}");
        let is_kept = |path: &std::path::PathBuf| path.to_string_lossy().contains(".flushed-");
        assert_eq!(files_below(dir.path()).into_iter().find(is_kept), None);
    }
}

fn wait_for(client: &mut Client, field: &str, value: &str) {
    for _ in 0..200 {
        let info = client.line("INFO persistence").text();
        if info.contains(&format!("{field}:{value}\r\n")) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{field} does not become {value}:\n{}", client.line("INFO persistence").text());
}

#[test]
fn a_shutdown_that_saves_keeps_the_dump_and_its_line_says_how_to_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), DUMPED);
    let mut client = server.client();
    write(&mut client, "key", 1000);
    client.line("SAVE");
    client.line("FLUSHALL");
    assert!(client.ask(&["SHUTDOWN", "SAVE"]).is_err());
    let line = line_with(&server, "is kept as");
    drop(server);
    let server = Server::start(&Program::ours(), dir.path(), DUMPED);
    assert_eq!(size(&server), 0);
    assert_eq!(size(&undo(server, &line, dir.path(), DUMPED)), 1000);
}

#[test]
fn nothing_is_kept_longer_than_the_guard_says_and_config_set_has_the_say() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), LOGGED);
    let mut client = server.client();
    client.line("CONFIG SET flush-guard 2h");
    assert_eq!(client.line("CONFIG GET flush-guard").field("flush-guard").unwrap().clone().text(), "7200");
    write(&mut client, "key", 100);
    client.line("SAVE");
    client.line("FLUSHALL");
    client.line("BGREWRITEAOF");
    client.wait_for_rewrite();
    client.line("SAVE");
    wait_for(&mut client, "aof_history_files", "2");
    wait_for(&mut client, "rdb_kept_dumps", "1");
    client.line("CONFIG SET flush-guard 0");
    wait_for(&mut client, "aof_history_files", "0");
    wait_for(&mut client, "aof_history_size", "0");
    wait_for(&mut client, "rdb_kept_dumps", "0");
    let names: Vec<String> = files_below(dir.path())
        .into_iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let expected = ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof", "appendonly.aof.manifest", "dump.rdb"];
    assert_eq!(names, expected);
    write(&mut client, "key", 100);
    client.line("FLUSHALL");
    assert!(line_with(&server, "flush-guard is 0").contains("until the next rewrite"));
}
