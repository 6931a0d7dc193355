//! `aoftool at` and `aoftool diff`: values at a time, and what two logs do not agree on, to the letter.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::rig::{Program, Server, flushed_logs, log_file, logs};
use serde_json::Value as Json;

fn aoftool(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aoftool"));
    command.args(arguments).env_remove("IRONKEEP_DIR").stdin(Stdio::null()).output().unwrap()
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn at(key: &str, path: &Path, more: &[&str]) -> (String, Option<i32>) {
    let output = aoftool(&[&["at", key, path.to_str().unwrap()], more].concat());
    assert_ne!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    (stdout_of(&output), output.status.code())
}

const LINES: &[&str] = &[
    "SELECT 0",
    "#TS:1700000000",
    "RPUSH source a b",
    "SET other 1",
    "#TS:1700000010",
    "RENAME source list",
    "RPUSH list c",
    "PEXPIREAT list 1700000025000",
    "#TS:1700000020",
    "MULTI",
    "DEL list other",
    "SADD list x",
    "EXEC",
    "SELECT 1",
    "SET list elsewhere",
    "FLUSHDB",
];

#[test]
fn a_key_is_what_it_was_also_where_it_came_from_another() {
    let (_folder, path) = log_file(LINES);
    let at = |key: &str, more: &[&str]| at(key, &path, more);
    let list = "db 0 key \"list\" at 2023-11-14T22:13:30.000Z: list, expires at 2023-11-14T22:13:45.000Z\n  \"0\" \"a\"\n  \"1\" \"b\"\n  \"2\" \"c\"\n";
    assert_eq!(at("list", &["--time", "1700000010"]), (list.to_owned(), Some(0)));
    let nothing = "db 0 key \"list\" at 2023-11-14T22:13:20.000Z: not there\n";
    assert_eq!(at("list", &["--time", "1700000000"]), (nothing.to_owned(), Some(1)));
    let end = "db 0 key \"list\" at the end of the log: set\n  \"x\"\n";
    assert_eq!(at("list", &[]), (end.to_owned(), Some(0)));
    assert_eq!(at("other", &["--time", "1700000010"]).1, Some(0));
    assert_eq!(at("other", &[]).1, Some(1));
    assert_eq!(at("list", &["--db", "1"]).1, Some(1));
}

#[test]
fn the_history_is_every_record_that_touched_it() {
    let (_folder, path) = log_file(LINES);
    let (said, _) = at("list", &path, &["--history"]);
    let places: Vec<&str> = said.lines().take_while(|line| line.contains("a.aof:")).collect();
    let expected = [
        "2023-11-14T22:13:30.000Z a.aof:127 RENAME source list",
        "2023-11-14T22:13:30.000Z a.aof:165 RPUSH list c",
        "2023-11-14T22:13:30.000Z a.aof:197 PEXPIREAT list 1700000025000",
        "2023-11-14T22:13:40.000Z a.aof:277 DEL list other",
        "2023-11-14T22:13:40.000Z a.aof:311 SADD list x",
    ];
    assert_eq!(places, expected, "{said}");
    let (json, _) = at("list", &path, &["--history", "--json", "--time", "1700000010"]);
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["schema"], &json["type"]), (&"aoftool.at/1".into(), &"list".into()));
    assert_eq!(json["history"].as_array().unwrap().len(), 3);
    assert_eq!(json["history"][1]["command"], serde_json::json!(["RPUSH", "list", "c"]));
}

#[test]
fn a_log_of_ours_tells_who_flushed_a_key_away_also_behind_a_rewrite() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), folder.path(), &[("appendonly", "yes")]);
    let mut client = server.client();
    client.line("SET precious 1");
    client.line("FLUSHALL");
    client.line("BGREWRITEAOF");
    client.wait_for_rewrite();
    server.terminate();
    let (json, code) = at("precious", folder.path(), &["--history", "--json"]);
    let json: Json = serde_json::from_str(&json).unwrap();
    let history = json["history"].as_array().unwrap();
    assert_eq!((code, &json["exists"], history.len()), (Some(1), &Json::Bool(false), 2), "{json}");
    assert_eq!(history[0]["command"], serde_json::json!(["SET", "precious", "1"]));
    assert_eq!((&history[1]["command"][0], &history[1]["user"]), (&"FLUSHALL".into(), &"default".into()));
    assert!(history[1]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{json}");
    // The first identity of a log says 0 for its time, which is none.
    let is_recent = |time: &Json| time.as_i64().is_some_and(|time_ms| time_ms > 1_600_000_000_000);
    assert!(is_recent(&history[1]["time_ms"]) && history[0].get("time_ms").is_none_or(is_recent), "{json}");
}

#[test]
fn a_time_is_refused_where_the_log_tells_none_or_its_base_is_younger() {
    let (_folder, path) = log_file(&["SET a 1"]);
    let output = aoftool(&["at", "a", path.to_str().unwrap(), "--time", "1700000000"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tells no times"));
}

fn diff(old: &Path, new: &Path, more: &[&str]) -> (String, Option<i32>) {
    let output = aoftool(&[&["diff", old.to_str().unwrap(), new.to_str().unwrap()], more].concat());
    (stdout_of(&output), output.status.code())
}

#[test]
fn logs_that_end_in_the_same_data_do_not_differ() {
    let (_old, old) =
        log_file(&["RPUSH l a", "RPUSH l b", "HSET h f 1 g 2", "SELECT 2", "SADD s x y", "SET gone 1", "DEL gone"]);
    let (_new, new) = log_file(&["SELECT 2", "SADD s y x", "SELECT 0", "HSET h g 2 f 1", "RPUSH l a b"]);
    assert_eq!(diff(&old, &new, &[]), ("0 only in OLD, 0 only in NEW, 0 changed, 3 the same\n".to_owned(), Some(0)));
    for log in logs() {
        assert_eq!(diff(&log, &log, &[]).1, Some(0), "{}", log.display());
    }
    for log in flushed_logs() {
        assert_eq!(diff(&log, &log.with_file_name("aof"), &[]).1, Some(1), "{}", log.display());
    }
}

#[test]
fn differences_are_told_by_key_and_element() {
    let (_old, old) = log_file(&[
        "SET only-old 1",
        "SET type 1",
        "SET expiry 1",
        "PEXPIREAT expiry 4000000000000",
        "HSET h same 1 changed 1 gone 1",
        "RPUSH l a b",
        "SELECT 3",
        "ZADD z 1 m",
    ]);
    let (_new, new) = log_file(&[
        "RPUSH type 1",
        "SET expiry 1",
        "HSET h same 1 changed 2 come 1",
        "RPUSH l a c",
        "SELECT 3",
        "ZADD z 1.5 m",
        "SADD only-new x",
    ]);
    let expected = "\
db 0 key \"expiry\": string, expires 2096-10-02T07:06:40.000Z, in NEW never
db 0 key \"h\": hash
  - \"changed\" \"1\"
  + \"changed\" \"2\"
  + \"come\" \"1\"
  - \"gone\" \"1\"
db 0 key \"l\": list
  - \"1\" \"b\"
  + \"1\" \"c\"
db 0 key \"only-old\": only in OLD (string)
db 0 key \"type\": string, in NEW list
db 3 key \"only-new\": only in NEW (set)
db 3 key \"z\": zset
  - \"m\" \"1\"
  + \"m\" \"1.5\"
1 only in OLD, 1 only in NEW, 5 changed, 0 the same
";
    assert_eq!(diff(&old, &new, &[]), (expected.to_owned(), Some(1)));
    let (few, _) = diff(&old, &new, &["--show", "1", "--ignore-expiry", "--elements", "1"]);
    let expected = "\
db 0 key \"h\": hash
  - \"changed\" \"1\"
  + \"changed\" \"2\"
  and 2 other elements
and 5 other keys that differ
1 only in OLD, 1 only in NEW, 4 changed, 1 the same
";
    assert_eq!(few, expected);
    let (json, _) = diff(&old, &new, &["--json"]);
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["schema"], &json["changed"]), (&"aoftool.diff/1".into(), &5.into()));
    assert_eq!(json["differences"][1]["elements"][2], serde_json::json!({"name": "gone", "old": ["1"]}));
}
