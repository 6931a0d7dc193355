//! `aoftool dump` with its filters, and `aoftool grep`: what comes out of small logs, to the byte.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::rig::{log_file, records};

fn run(arguments: &[&str], path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aoftool"));
    command.args(arguments).arg(path).env_remove("IRONKEEP_DIR").stdin(Stdio::null()).output().unwrap()
}

/// The commands that are printed, without their places; and the exit code.
fn commands(arguments: &[&str], path: &Path) -> (Vec<String>, Option<i32>) {
    let output = run(arguments, path);
    let text = String::from_utf8(output.stdout).unwrap();
    (text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect(), output.status.code())
}

const LINES: &[&str] = &[
    "SELECT 0",
    "SET user:1 ann",
    "#TS:1700000000",
    "MSET user:2 bob item:1 x",
    "SELECT 3",
    "#TS:1700000060",
    "DEL user:1",
    "SET item:2 Bob",
];

#[test]
fn filters_choose_by_key_command_database_time_offset_and_file() {
    let (_folder, path) = log_file(LINES);
    let cases: &[(&[&str], &[&str])] = &[
        (&["--key", "user:*"], &["[0] SET user:1 ann", "[0] MSET user:2 bob item:1 x", "[3] DEL user:1"]),
        (&["--command", "del", "--command", "MSET"], &["[0] MSET user:2 bob item:1 x", "[3] DEL user:1"]),
        (&["--db", "3"], &["[3] SELECT 3", "[3] DEL user:1", "[3] SET item:2 Bob"]),
        (&["--from", "1700000060"], &["[3] DEL user:1", "[3] SET item:2 Bob"]),
        (&["--to", "2023-11-14T22:13:19Z"], &["[0] SELECT 0", "[0] SET user:1 ann"]),
        (&["--from", "1700000000", "--to", "1700000000", "--key", "*"], &["[0] MSET user:2 bob item:1 x"]),
        (&["--from-offset", "23", "--to-offset", "59"], &["[0] SET user:1 ann"]),
        (&["--file", "a.*", "--key", "item:*", "--db", "3"], &["[3] SET item:2 Bob"]),
    ];
    for (filter, expected) in cases {
        let found = commands(&[&["dump"], *filter].concat(), &path);
        assert_eq!(found, (expected.iter().map(|line| (*line).to_owned()).collect(), Some(0)), "{filter:?}");
    }
    for filter in [&["--key", "none"], &["--file", "b*"]] {
        assert_eq!(commands(&[&["dump"], &filter[..]].concat(), &path), (Vec::new(), Some(1)));
    }
}

#[test]
fn selected_records_as_json_lines_have_time_database_and_keys() {
    let (_folder, path) = log_file(LINES);
    let output = run(&["dump", "--ndjson", "--key", "user:1", "--key", "item:1"], &path);
    let expected = r#"{"file":"a.aof","offset":23,"db":0,"command":["SET","user:1","ann"],"keys":["user:1"]}
{"file":"a.aof","offset":73,"time_ms":1700000000000,"db":0,"command":["MSET","user:2","bob","item:1","x"],"keys":["user:2","item:1"]}
{"file":"a.aof","offset":166,"time_ms":1700000060000,"db":3,"command":["DEL","user:1"],"keys":["user:1"]}
"#;
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn selected_records_as_bytes_come_with_the_selects_they_need() {
    let (_folder, path) = log_file(LINES);
    let expected = records(&["SET user:1 ann", "SELECT 3", "DEL user:1"]);
    let output = run(&["dump", "--resp", "--key", "user:1"], &path);
    assert_eq!(output.stdout.escape_ascii().to_string(), expected.escape_ascii().to_string());
    let whole = run(&["dump", "--resp"], &path).stdout;
    assert_eq!(whole, records(&LINES.iter().copied().filter(|line| !line.starts_with('#')).collect::<Vec<_>>()));
}

#[test]
fn times_that_the_log_does_not_tell_are_said() {
    let (_folder, path) = log_file(&["SET a 1"]);
    let output = run(&["dump", "--from", "1700000000"], &path);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("this log tells no times"));
}

#[test]
fn grep_finds_patterns_in_arguments() {
    let (_folder, path) = log_file(LINES);
    let cases: &[(&[&str], &[&str])] = &[
        (&["-i", "^bob$"], &["[0] MSET user:2 bob item:1 x", "[3] SET item:2 Bob"]),
        (&["^bob$"], &["[0] MSET user:2 bob item:1 x"]),
        (&["-F", "m:2"], &["[3] SET item:2 Bob"]),
        (&["-v", "user|SELECT"], &["[3] SET item:2 Bob"]),
        (&["user", "--command", "DEL"], &["[3] DEL user:1"]),
    ];
    for (arguments, expected) in cases {
        let found = commands(&[&["grep"], *arguments].concat(), &path);
        assert_eq!(found, (expected.iter().map(|line| (*line).to_owned()).collect(), Some(0)), "{arguments:?}");
    }
    assert_eq!(run(&["grep", "-c", "user"], &path).stdout, b"3\n");
    assert_eq!(run(&["grep", "nobody"], &path).status.code(), Some(1));
    assert_eq!(run(&["grep", "("], &path).status.code(), Some(2));
}
