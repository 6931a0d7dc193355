//! `rdbtool` as a user meets it: the binary, on the corpus of real files and on files made here byte by byte.

use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus")
}

pub fn rdbtool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rdbtool"));
    command.env_remove("IRONKEEP_DIR").stdin(Stdio::null());
    command
}

pub fn run(verb: &str, file: &Path, more: &[&str]) -> Output {
    rdbtool().arg(verb).arg(file).args(more).output().unwrap()
}

pub fn json_of(verb: &str, file: &Path) -> Value {
    let output = run(verb, file, &["--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

pub fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The RDB files of the corpus that have a truth of their own.
pub fn samples() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for server in std::fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().path()) {
        if server.is_dir() {
            let names = ["types", "random", "lfu"].map(|name| server.join(name).with_extension("rdb"));
            found.extend(names.into_iter().filter(|path| path.exists()));
        }
    }
    found.sort();
    assert_eq!(found.len(), 40, "the corpus has 40 RDB files");
    found
}

pub fn truth_of(sample: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(sample.with_extension("truth.json")).unwrap()).unwrap()
}

/// The bytes behind a JSON string of ours.
pub fn ours(value: &Value) -> Vec<u8> {
    ironkeep::cli::json::bytes_of(value.as_str().unwrap()).unwrap()
}

/// The bytes behind a JSON string of the truth.
pub fn truly(value: &Value) -> Vec<u8> {
    ironkeep::cli::json::bytes_of(&format!("base64:{}", value.as_str().unwrap())).unwrap()
}

fn list<T>(value: &Value, each: impl FnMut(&Value) -> T) -> Vec<T> {
    value.as_array().unwrap().iter().map(each).collect()
}

/// Whether a number of ours is the score that a server printed. serde_json may be off by one in the last place.
fn same_score(ours: &Value, truth: &str) -> bool {
    let truth: f64 = truth.parse().unwrap();
    match ours.as_f64() {
        None => ours.as_str().unwrap().parse::<f64>().unwrap() == truth,
        Some(ours) => {
            let distance = ours.to_bits().abs_diff(truth.to_bits());
            distance <= 1 && ours.is_sign_negative() == truth.is_sign_negative()
        }
    }
}

/// Says what differs between a key's record and the truth about it; `None` where nothing does.
pub fn difference(record: &Value, truth: &Value) -> Option<String> {
    if record["type"] != truth["type"] {
        return Some(format!("type {} and not {}", record["type"], truth["type"]));
    }
    let slack = truth["expire_at_ms_slack"].as_i64().unwrap_or(0);
    let expiries = (record["expire_at_ms"].as_i64(), truth["expire_at_ms"].as_i64());
    let same_expiry = match expiries {
        (Some(ours), Some(truth)) => (ours - truth).abs() <= slack,
        (ours, truth) => ours == truth,
    };
    if !same_expiry {
        return Some(format!("expiry {expiries:?}, slack {slack}"));
    }
    let (value, expected) = (&record["value"], &truth["value"]);
    let same = match truth["type"].as_str().unwrap() {
        "string" => ours(value) == truly(expected),
        "list" => list(value, ours) == list(expected, truly),
        "set" => {
            let (mut members, mut truth) = (list(value, ours), list(expected, truly));
            members.sort();
            truth.sort(); // the truth sorts by base64 text
            members == truth
        }
        "zset" => {
            let pairs = value.as_array().unwrap().iter().zip(expected.as_array().unwrap());
            value.as_array().unwrap().len() == expected.as_array().unwrap().len()
                && pairs.clone().all(|(pair, truth)| ours(&pair[0]) == truly(&truth[0]))
                && pairs.clone().all(|(pair, truth)| same_score(&pair[1], truth[1].as_str().unwrap()))
        }
        "hash" => hash_of(record) == hash_of_truth(expected),
        "stream" => return stream_difference(value, expected),
        other => return Some(format!("a type {other} that the test does not know")),
    };
    (!same).then(|| format!("value {value} and not {expected}"))
}

type Fields = Vec<(Vec<u8>, Vec<u8>, Option<i64>)>;

fn hash_of(record: &Value) -> Fields {
    let expiries = &record["field_expire_at_ms"];
    let fields = record["value"].as_object().unwrap().iter();
    let mut fields: Fields = fields
        .map(|(name, value)| (ours(&Value::String(name.clone())), ours(value), expiries[name.as_str()].as_i64()))
        .collect();
    fields.sort();
    fields
}

fn hash_of_truth(expected: &Value) -> Fields {
    let mut fields = list(expected, |field| (truly(&field[0]), truly(&field[1]), field[2].as_i64()));
    fields.sort();
    fields
}

fn stream_difference(value: &Value, expected: &Value) -> Option<String> {
    let entries = list(&value["entries"], |entry| {
        let flat: Vec<Vec<u8>> = entry["fields"].as_array().unwrap().iter().flat_map(|pair| list(pair, ours)).collect();
        (entry["id"].as_str().unwrap().to_owned(), flat)
    });
    let truth = list(&expected["entries"], |entry| (entry[0].as_str().unwrap().to_owned(), list(&entry[1], truly)));
    if entries != truth {
        return Some(format!("{} entries and not {}, or other ones", entries.len(), truth.len()));
    }
    assert_eq!(value["length"].as_u64().unwrap(), entries.len() as u64);
    let pairs =
        [("last_id", "last_id"), ("max_deleted_id", "max-deleted-entry-id"), ("entries_added", "entries-added")];
    for (name, told_as) in pairs {
        if !expected[told_as].is_null() && value[name] != expected[told_as] {
            return Some(format!("{name} {} and not {}", value[name], expected[told_as]));
        }
    }
    if expected["groups"].is_null() {
        return None;
    }
    let mut groups = list(&value["groups"], Clone::clone);
    let mut truth = list(&expected["groups"], Clone::clone);
    groups.sort_by_key(|group| ours(&group["name"]));
    truth.sort_by_key(|group| truly(&group["name"]));
    if groups.len() != truth.len() {
        return Some(format!("{} groups and not {}", groups.len(), truth.len()));
    }
    groups.iter().zip(&truth).find_map(|(group, truth)| group_difference(group, truth))
}

fn group_difference(group: &Value, truth: &Value) -> Option<String> {
    let name = ours(&group["name"]);
    let read_differs = !truth["entries_read"].is_null() && group["entries_read"] != truth["entries_read"];
    if name != truly(&truth["name"]) || group["last_id"] != truth["last_id"] || read_differs {
        return Some(format!("group {group} and not {truth}"));
    }
    let pending = |entry: &Value| {
        let id = entry["id"].as_str().unwrap().to_owned();
        (id, entry["delivery_time_ms"].as_i64().unwrap(), entry["delivery_count"].as_u64().unwrap())
    };
    let mut consumers =
        list(&group["consumers"], |consumer| (ours(&consumer["name"]), list(&consumer["pending"], pending)));
    consumers.sort();
    let told =
        |entry: &Value| (entry[0].as_str().unwrap().to_owned(), entry[1].as_i64().unwrap(), entry[2].as_u64().unwrap());
    let mut expected =
        list(&truth["consumers"], |consumer| (truly(&consumer["name"]), list(&consumer["pending"], told)));
    expected.sort();
    if consumers != expected {
        return Some(format!("consumers {consumers:?} and not {expected:?}"));
    }
    None
}

#[test]
fn every_rdb_of_the_corpus_dumps_as_its_server_answered() {
    let mut wrong = Vec::new();
    for sample in samples() {
        let records = json_of("dump", &sample);
        let (records, truth) = (records.as_array().unwrap(), truth_of(&sample));
        let first_key = records.iter().position(|record| record.get("key").is_some()).unwrap();
        assert!(records[first_key..].iter().all(|record| record.get("key").is_some()), "what is no key comes first");
        let by_key = |db: &Value, key: Vec<u8>| (db.as_u64().unwrap(), key);
        let mut keys: std::collections::BTreeMap<_, _> =
            records[first_key..].iter().map(|record| (by_key(&record["db"], ours(&record["key"])), record)).collect();
        assert_eq!(keys.len(), records.len() - first_key, "{}: no key comes twice", sample.display());
        for expected in truth["keys"].as_array().unwrap() {
            let name = by_key(&expected["db"], truly(&expected["key"]));
            let found = keys.remove(&name).map_or(Some("is missing".to_owned()), |record| difference(record, expected));
            if let Some(what) = found {
                wrong.push(format!("{}: db {} key {}: {what:.400}", sample.display(), name.0, name.1.escape_ascii()));
            }
        }
        wrong.extend(
            keys.keys().map(|(db, key)| format!("{}: db {db} {} is too much", sample.display(), key.escape_ascii())),
        );
        let functions: Vec<&Value> = records.iter().filter_map(|record| record.get("function")).collect();
        let names: Vec<&Value> = functions.iter().map(|function| &function["name"]).collect();
        let told = truth["functions"].as_array().cloned().unwrap_or_default();
        assert_eq!(names, told.iter().collect::<Vec<_>>(), "{}", sample.display());
        assert!(functions.iter().all(|function| function["code"].as_str().unwrap().starts_with("#!lua name=")));
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn ndjson_holds_the_same_records_as_json_one_per_line() {
    for sample in samples() {
        let array = json_of("dump", &sample);
        let lines = run("dump", &sample, &["--ndjson"]);
        assert_eq!(lines.status.code(), Some(0));
        let lines: Vec<Value> =
            String::from_utf8(lines.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(array.as_array().unwrap(), &lines, "{}", sample.display());
    }
}

#[test]
fn every_rdb_of_the_corpus_is_healthy_and_counted_right() {
    for sample in samples() {
        let keys = truth_of(&sample)["keys"].as_array().unwrap().len();
        let check = run("check", &sample, &["--json"]);
        let report: Value = serde_json::from_slice(&check.stdout).unwrap();
        assert_eq!(check.status.code(), Some(0), "{report}");
        assert_eq!((&report["verdict"], &report["keys"]), (&"healthy".into(), &keys.into()), "{}", sample.display());
        let info = json_of("info", &sample);
        assert_eq!((&info["schema"], &info["keys"]), (&"rdbtool.info/1".into(), &keys.into()), "{}", sample.display());
        let size = std::fs::metadata(&sample).unwrap().len();
        assert_eq!((&info["bytes"], &report["bytes"]), (&size.into(), &size.into()));
        assert!(["correct", "absent"].contains(&info["checksum"].as_str().unwrap()));
    }
}

/// A file of version 3, which has no checksum: string keys in database 0.
pub fn made(keys: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut file = b"REDIS0003\xfe\x00".to_vec();
    for (key, value) in keys {
        file.push(0);
        for text in [key, value] {
            file.push(u8::try_from(text.len()).unwrap());
            file.extend_from_slice(text);
        }
    }
    file.push(0xff);
    file
}

pub fn saved(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.rdb");
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

/// librdb and others give the bytes FF and C3 BF the same JSON string.
#[test]
fn different_byte_strings_never_give_the_same_json() {
    let keys: [&[u8]; 5] = [b"\xff", b"\xc3\xbf", b"base64:/w==", b"base64:YmFzZTY0Oi93PT0=", b"\x00\"\\"];
    let (_folder, path) = saved(&made(&keys.map(|key| (key, key))));
    let records = json_of("dump", &path);
    let shown: Vec<&str> = records.as_array().unwrap().iter().map(|record| record["key"].as_str().unwrap()).collect();
    assert_eq!(shown[..3], ["base64:/w==", "ÿ", "base64:YmFzZTY0Oi93PT0="]);
    for (record, key) in records.as_array().unwrap().iter().zip(keys) {
        assert_eq!((ours(&record["key"]), ours(&record["value"])), (key.to_vec(), key.to_vec()));
    }
}

#[test]
fn scores_that_json_cannot_hold_are_strings_and_members_come_in_order() {
    let mut file = b"REDIS0003\xfe\x00\x03\x01z\x05".to_vec();
    for (member, score) in
        [(b"c", &b"\xfe"[..]), (b"d", b"\x03-0."), (b"b", b"\x011"), (b"a", b"\x011"), (b"e", b"\xff")]
    {
        file.push(1);
        file.extend_from_slice(member);
        file.extend_from_slice(score);
    }
    file.push(0xff);
    let (_folder, path) = saved(&file);
    let output = run("dump", &path, &["--ndjson"]);
    let line = String::from_utf8(output.stdout).unwrap();
    let value = r#""value":[["e","-inf"],["d",-0.0],["a",1],["b",1],["c","inf"]]}"#;
    assert!(line.trim_end().ends_with(value), "{line}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_closed_pipe_is_quiet() {
    let file: Vec<u8> = {
        let value = [b'v'; 60];
        let keys: Vec<Vec<u8>> = (0..40_000).map(|number| format!("key:{number}").into_bytes()).collect();
        made(&keys.iter().map(|key| (key.as_slice(), &value[..])).collect::<Vec<_>>())
    };
    let (_folder, path) = saved(&file);
    for format in [&["--json"][..], &["--ndjson"], &[]] {
        let mut child = rdbtool()
            .arg("dump")
            .arg(&path)
            .args(format)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 10];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr_of(&output).as_str()), (Some(0), ""));
    }
}

#[test]
fn a_missing_file_is_named_and_exits_3() {
    for verb in ["dump", "info", "check"] {
        let output = run(verb, Path::new("/nowhere/dump.rdb"), &[]);
        assert_eq!(output.status.code(), Some(3));
        assert!(stderr_of(&output).starts_with("/nowhere/dump.rdb: "), "{}", stderr_of(&output));
    }
}

#[test]
fn a_command_line_without_sense_exits_2() {
    assert_eq!(rdbtool().args(["dump", "x", "--json", "--ndjson"]).output().unwrap().status.code(), Some(2));
    assert_eq!(rdbtool().args(["polish"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn a_cut_file_dumps_what_is_whole_and_exits_3() {
    let whole = made(&[(b"one", b"1"), (b"two", b"2"), (b"three", b"3")]);
    let (_folder, path) = saved(&whole[..whole.len() - 3]);
    let output = run("dump", &path, &["--ndjson"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr_of(&output).contains("offset") && stderr_of(&output).contains("dump.rdb"), "{}", stderr_of(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    let keys: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].clone()).collect();
    assert_eq!(keys, ["one", "two"]);
}

#[test]
fn check_names_the_place_of_damage_and_exits_1() {
    let sample = corpus().join("redis-7.2.6/types.rdb");
    let content = std::fs::read(&sample).unwrap();
    let (_folder, path) = saved(&content[..content.len() / 2]);
    let output = run("check", &path, &["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["verdict"]), (Some(1), &"damaged".into()));
    assert_eq!(report["loads"], false);
    assert!(report["fault"]["offset"].as_u64().unwrap() <= content.len() as u64 / 2);
    assert!(report["fault"]["keys_before"].as_u64().unwrap() > 10);
}

#[test]
fn a_flipped_byte_is_found_by_its_checksum() {
    let mut content = std::fs::read(corpus().join("redis-7.2.6/types.rdb")).unwrap();
    let at = content.windows(13).position(|window| window == b"the empty key").unwrap();
    content[at] ^= 1;
    let (_folder, path) = saved(&content);
    let output = run("check", &path, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("checksum"));
    assert_eq!(json_of("info", &path)["checksum"], "wrong");
    // "info said wrong and ended with 0, so the script went on".
    assert_eq!(run("info", &path, &[]).status.code(), Some(1));
    assert_eq!(run("info", &path, &["--no-verify"]).status.code(), Some(0));
}

#[test]
fn a_version_from_the_future_is_unsupported_and_not_damaged() {
    let (_folder, path) = saved(b"REDIS0099\xff\0\0\0\0\0\0\0\0");
    for verb in ["dump", "info", "check"] {
        let output = run(verb, &path, &[]);
        assert_eq!(output.status.code(), Some(4), "{verb}: {}", stderr_of(&output));
    }
}

#[test]
fn what_servers_skip_refuse_or_overlook_is_a_finding() {
    let findings = |content: &[u8]| {
        let (_folder, path) = saved(content);
        let output = run("check", &path, &["--json"]);
        assert_eq!(output.status.code(), Some(1));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let twice = findings(&made(&[(b"k", b"1"), (b"l", b"1"), (b"k", b"2")]));
    assert_eq!((&twice["duplicate_keys"]["first"][0]["key"], &twice["loads"]), (&"k".into(), &false.into()));
    let empty = findings(b"REDIS0003\xfe\x00\x01\x01k\x00\xff");
    assert_eq!((&empty["empty_keys"]["count"], &empty["loads"]), (&1.into(), &true.into()));
    let mut garbage = made(&[(b"k", b"1")]);
    let end = garbage.len();
    garbage.extend_from_slice(b"\0\0\0\0\0");
    let garbage = findings(&garbage);
    assert_eq!((&garbage["trailing"]["offset"], &garbage["trailing"]["bytes"]), (&end.into(), &5.into()));
}

#[test]
fn standard_input_is_a_dash() {
    let mut child = rdbtool()
        .args(["dump", "-", "--ndjson"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&made(&[(b"k", b"v")])).unwrap();
    let output = child.wait_with_output().unwrap();
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &record["value"]), (Some(0), &"v".into()));
}

#[test]
fn without_a_path_the_rdb_is_found_and_named() {
    let (folder, _) = saved(&made(&[(b"k", b"v")]));
    let dir = folder.path();
    let by_flag = rdbtool().args(["info", "--dir"]).arg(dir).output().unwrap();
    let by_variable = rdbtool().arg("info").env("IRONKEEP_DIR", dir).output().unwrap();
    let by_place = rdbtool().arg("info").current_dir(dir).output().unwrap();
    let by_folder = run("info", dir, &[]);
    for output in [by_flag, by_variable, by_place, by_folder] {
        assert_eq!(output.status.code(), Some(0));
        assert!(stderr_of(&output).contains("dump.rdb"), "{}", stderr_of(&output));
    }
    let multi_part = corpus().join("redis-7.2.6/aof/appendonlydir");
    let output = run("check", &multi_part, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert!(stderr_of(&output).contains("appendonly.aof.2.base.rdb"));
}

#[test]
fn a_command_log_is_sent_to_the_other_tool() {
    let (_folder, path) = saved(b"*1\r\n$4\r\nPING\r\n");
    let output = run("dump", &path, &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr_of(&output).contains("aoftool"));
}

#[test]
fn the_listing_is_safe_for_a_terminal_and_filters_narrow_it() {
    let (_folder, path) = saved(&made(&[(b"\x1b[2J\x07", b"\r\xff"), (b"plain", b"v")]));
    let output = run("dump", &path, &[]);
    assert_eq!(output.stdout.iter().filter(|byte| byte.is_ascii_control()).count(), 2, "the two newlines");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with(r#"db0 "\x1b[2J\x07" string: "\r\xff""#));
    let filtered = run("dump", &path, &["--ndjson", "--key", "pl*", "--type", "string", "--db", "0"]);
    assert_eq!(String::from_utf8(filtered.stdout).unwrap().lines().count(), 1);
    assert!(run("dump", &path, &["--ndjson", "--type", "list"]).stdout.is_empty());
}
