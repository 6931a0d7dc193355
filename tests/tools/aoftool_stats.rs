//! `aoftool stats` and `aoftool info` on small logs, to the letter.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::rig::log_file;
use serde_json::{Value, json};

fn aoftool(verb: &str, log: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aoftool"));
    command.arg(verb).arg(log).args(more).env_remove("IRONKEEP_DIR").stdin(Stdio::null()).output().unwrap()
}

const LINES: &[&str] = &[
    "SELECT 0",
    "SET user:1 a",
    "#TS:1700000000",
    "SET user:2 a",
    "SET user:2 b",
    "#TS:1700000002",
    "SELECT 3",
    "MULTI",
    "INCR <n>",
    "EXEC",
];

#[test]
fn steps_have_their_writes_bytes_and_hottest_key() {
    let (_folder, path) = log_file(LINES);
    let output = String::from_utf8(aoftool("stats", &path, &[]).stdout).unwrap();
    let bar = "#".repeat(40);
    let expected = format!(
        "{}: 4 writes, 119 bytes
in steps of 1 second:
before the first time            1           32
2023-11-14T22:13:20.000Z         2           64 {bar} \"user:2\" (0, 2)
2023-11-14T22:13:21.000Z         0            0 
2023-11-14T22:13:22.000Z         1           23 {} \"<n>\" (3, 1)
hot keys:
           2 db 0 \"user:2\"
           1 db 0 \"user:1\"
           1 db 3 \"<n>\"
",
        path.display(),
        &bar[..20]
    );
    assert_eq!(output, expected);
    let report: Value = serde_json::from_slice(&aoftool("stats", &path, &["--json", "--step", "60"]).stdout).unwrap();
    assert_eq!((&report["schema"], &report["step_seconds"]), (&json!("aoftool.stats/1"), &json!(60)));
    let keys = json!([{"db": 0, "key": "user:2", "count": 2}, {"db": 3, "key": "<n>", "count": 1}]);
    let step = json!([{"time_ms": 1_699_999_980_000_u64, "writes": 3, "bytes": 87, "hot_keys": keys}]);
    assert_eq!(report["steps"], step);
}

#[test]
fn a_long_time_gets_longer_steps_and_none_is_lost() {
    let lines: Vec<String> =
        (0..5000).flat_map(|at| [format!("#TS:{}", 1_700_000_000 + at * 7), format!("SET k{} 1", at % 3)]).collect();
    let (_folder, path) = log_file(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let report: Value = serde_json::from_slice(&aoftool("stats", &path, &["--json"]).stdout).unwrap();
    let steps = report["steps"].as_array().unwrap();
    assert!((10..=60).contains(&steps.len()), "{}", steps.len());
    assert_eq!(steps.iter().map(|step| step["writes"].as_u64().unwrap()).sum::<u64>(), 5000);
    assert_eq!(report["hot_keys"][0]["count"], 1667);
    let senseless = aoftool("stats", &path, &["--step", "1"]);
    assert_eq!(senseless.status.code(), Some(2), "{}", String::from_utf8_lossy(&senseless.stderr));
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let (folder, path) = log_file(LINES);
    let page = folder.path().join("page.html");
    let arguments = ["--html", page.to_str().unwrap()];
    assert_eq!(aoftool("stats", &path, &arguments).status.code(), Some(0));
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(!text.contains("<script") && !text.contains("http") && !text.contains("<n>"), "{text}");
    assert_eq!(text.matches("<rect ").count(), 6);
    assert!(text.contains("<title>2023-11-14T22:13:20.000Z: 64</title>"), "{text}");
    assert!(text.contains("<td>1</td><td>3</td><td>&quot;&lt;n&gt;&quot;</td>"), "{text}");
    assert_eq!(aoftool("stats", &path, &arguments).status.code(), Some(5), "it is there already");
}

#[test]
fn info_tells_keys_by_prefix_databases_and_what_a_start_does() {
    let (_folder, path) = log_file(LINES);
    let output = aoftool("info", &path, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = "\
keys by prefix:
             3              96 bytes  user:
             1              23 bytes  (none)
databases:
             3              96 bytes  db 0
             1              23 bytes  db 3
a start replays 8 commands
";
    assert!(text.ends_with(expected), "{text}");
    let report: Value = serde_json::from_slice(&aoftool("info", &path, &["--json"]).stdout).unwrap();
    assert_eq!(report["databases"][1], json!({"db": 3, "count": 1, "bytes": 23}));
    assert_eq!(report["start"], "replays 8 commands");
    let (_folder, unknown) = log_file(&["SET a 1", "NOSUCH a"]);
    let report: Value = serde_json::from_slice(&aoftool("info", &unknown, &["--json"]).stdout).unwrap();
    let start = report["start"].as_str().unwrap();
    assert!(start.starts_with("stops in a.aof at offset 27: unknown command"), "{start}");
    let torn = _folder.path().join("torn.aof");
    std::fs::write(&torn, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*3\r\n").unwrap();
    let report: Value = serde_json::from_slice(&aoftool("info", &torn, &["--json"]).stdout).unwrap();
    let start = report["start"].as_str().unwrap();
    assert!(start.ends_with("replays 1 command, and cuts 4 bytes of torn.aof behind offset 27"), "{start}");
}
