//! `aoftool replay`: what arrives in real servers, and where it stops and goes on.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::rig::{Client, Program, Server, Value, differences, log_file, logs, read_contents, truth_of};
use serde_json::Value as Json;
use tempfile::TempDir;

fn replay(server: &Server, log: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aoftool"));
    command.args(["replay", &format!("redis://127.0.0.1:{}", server.port())]).arg(log).args(more);
    command.env_remove("IRONKEEP_DIR").stdin(Stdio::null()).output().unwrap()
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn started(program: &Program) -> (TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(program, folder.path(), &[("databases", "16")]);
    (folder, server)
}

fn peers() -> Vec<Program> {
    [Program::redis_8(), Program::valkey_9(), Some(Program::ours())].into_iter().flatten().collect()
}

fn get(client: &mut Client, key: &str) -> Option<String> {
    match client.line(&format!("GET {key}")) {
        Value::Null => None,
        value => Some(value.text()),
    }
}

#[test]
fn real_servers_hold_the_truth_after_a_replay() {
    for program in peers() {
        for log in logs() {
            let origin = log.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
            // Since they parted, neither knows all that is new in the other.
            let parted = if program.name.contains("alkey") { ["redis-7.4", "redis-8"] } else { ["valkey-9", "-"] };
            if parted.iter().any(|prefix| origin.starts_with(prefix)) && program.name != Program::ours().name {
                continue;
            }
            let (_folder, server) = started(&program);
            let output = replay(&server, &log, &["--pipeline", "97"]);
            assert_eq!(output.status.code(), Some(0), "{} {}: {}", program.name, log.display(), stderr_of(&output));
            let found = differences(&read_contents(&mut server.client()), &truth_of(&log));
            assert!(found.is_empty(), "{} {}:\n{}", program.name, log.display(), found.join("\n"));
        }
    }
}

#[test]
fn a_server_with_data_is_not_written_to_unasked() {
    let (_folder, server) = started(&Program::ours());
    let (_log, path) = log_file(&["FLUSHALL", "SET a 1"]);
    let mut client = server.client();
    client.line("SET precious 1");
    let output = replay(&server, &path, &[]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr_of(&output));
    assert!(stderr_of(&output).contains("--force"), "{}", stderr_of(&output));
    let dry = replay(&server, &path, &["--dry-run"]);
    assert_eq!((dry.status.code(), dry.stdout), (Some(0), b"would send 2 commands\n".to_vec()));
    assert_eq!(get(&mut client, "precious").as_deref(), Some("1"));
    assert_eq!(replay(&server, &path, &["--force"]).status.code(), Some(0));
    assert_eq!((get(&mut client, "precious"), get(&mut client, "a").as_deref()), (None, Some("1")));
}

#[test]
fn a_refused_command_stops_it_and_a_later_replay_goes_on_behind() {
    let (_folder, server) = started(&Program::ours());
    let (folder, path) = log_file(&["SELECT 2", "INCR n", "NOSUCHCOMMAND x", "INCR n", "SELECT 0", "INCR n"]);
    let state = folder.path().join("state");
    let arguments = ["--pipeline", "1", "--resume", state.to_str().unwrap()];
    let output = replay(&server, &path, &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stderr_of(&output));
    let said = stderr_of(&output);
    assert!(said.contains("a.aof offset 44: the server refuses 'NOSUCHCOMMAND x': ERR unknown command"), "{said}");
    let mut client = server.client();
    assert_eq!(get(&mut client, "n"), None);
    client.line("SELECT 2");
    assert_eq!(get(&mut client, "n").as_deref(), Some("1"));
    let output = replay(&server, &path, &[&arguments[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["schema"], &report["commands"]), (&"aoftool.replay/1".into(), &2.into()));
    assert_eq!(get(&mut client, "n").as_deref(), Some("2"));
    client.line("SELECT 0");
    assert_eq!(get(&mut client, "n").as_deref(), Some("1"));
    assert!(!state.exists(), "the state goes with the end");
}

#[test]
fn refused_commands_are_counted_where_it_is_to_go_on() {
    let (_folder, server) = started(&Program::ours());
    let (_log, path) = log_file(&["SET s x", "MULTI", "LPUSH s 1", "INCR n", "EXEC", "NOSUCHCOMMAND", "INCR n"]);
    let output = replay(&server, &path, &["--continue", "--json"]);
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["refused"]), (Some(1), &2.into()), "{report}");
    let refusal = report["first_refusal"].as_str().unwrap();
    assert!(refusal.starts_with("command 1 of the transaction: WRONGTYPE"), "{refusal}");
    assert_eq!(get(&mut server.client(), "n").as_deref(), Some("2"));
}

#[test]
fn what_a_cut_connection_leaves_in_doubt_is_for_the_user_to_decide() {
    let (_folder, server) = started(&Program::ours());
    let (folder, path) = log_file(&["INCR n", "INCR n", "INCR n"]);
    let state = folder.path().join("state");
    let place = |offset: u64| format!(r#"{{"index":0,"file":"a.aof","in_records":true,"offset":{offset},"db":0}}"#);
    // One INCR is 21 bytes; the second one was sent, and nobody knows more.
    let cut = format!(r#"{{"schema":"aoftool.replay.state/1","done":{},"sent":{}}}"#, place(21), place(42));
    let mut client = server.client();
    for (more, code, n) in [(&[][..], 5, None), (&["--repeat"][..], 0, Some("2")), (&["--skip"][..], 0, Some("1"))] {
        client.line("DEL n");
        std::fs::write(&state, &cut).unwrap();
        let output = replay(&server, &path, &[&["--resume", state.to_str().unwrap()], more].concat());
        assert_eq!(output.status.code(), Some(code), "{more:?}: {}", stderr_of(&output));
        assert_eq!(get(&mut client, "n").as_deref(), n, "{more:?}");
    }
    std::fs::write(&state, "{}").unwrap();
    assert_eq!(replay(&server, &path, &["--resume", state.to_str().unwrap()]).status.code(), Some(2));
}

#[test]
fn times_choose_and_pace() {
    let (_folder, server) = started(&Program::ours());
    let lines = ["SET a 1", "#TS:1700000000", "SET b 1", "#TS:1700000010", "SET c 1", "#TS:1700000020", "SET d 1"];
    let (_log, path) = log_file(&lines);
    let begun = Instant::now();
    let output = replay(&server, &path, &["--from", "1700000000", "--to", "1700000010", "--speed", "10"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert!(begun.elapsed() >= Duration::from_secs(1), "10 s at ten times the speed");
    let mut client = server.client();
    let found = ["a", "b", "c", "d"].map(|key| get(&mut client, key).is_some());
    assert_eq!(found, [false, true, true, false]);
}
