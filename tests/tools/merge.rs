//! `rdbtool merge`: whose key is kept, what a union holds, which version comes out, and what is refused.

use super::filter::{assert_counts_are_true, records};
use super::rdbtool::{corpus, json_of, rdbtool, stderr_of};
use ironkeep::rdb::{KeyMeta, Version, WriteOptions, Writer};
use ironkeep::value::stream::{Group, Pending, StreamId};
use ironkeep::value::{Hash, Limits, List, Object, Set, Stream, StringValue, Zset};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;

const SOON: i64 = 4_000_000_000_000;
const LATE: i64 = 4_100_000_000_000;

fn merge(inputs: &[&Path], output: &Path, more: &[&str]) -> Output {
    rdbtool().arg("merge").args(inputs).arg("--output").arg(output).args(more).output().unwrap()
}

type Key = (&'static str, Option<i64>, Object);

/// Writes keys of database 0 and libraries, and gives the file's path.
fn file(folder: &Path, name: &str, libraries: &[&str], keys: &[Key]) -> PathBuf {
    let mut writer = Writer::new(Vec::new(), Version::Rdb12, WriteOptions::default()).unwrap();
    libraries.iter().for_each(|code| writer.function(code.as_bytes()).unwrap());
    let expires = keys.iter().filter(|key| key.1.is_some()).count() as u64;
    writer.select_db(0, keys.len() as u64, expires).unwrap();
    for (key, expire_at_ms, value) in keys {
        let meta = KeyMeta { key: key.as_bytes(), expire_at_ms: *expire_at_ms, ..KeyMeta::default() };
        writer.key(&meta, value.into()).unwrap();
    }
    let path = folder.join(name);
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    path
}

fn string(text: &str) -> Object {
    Object::String(StringValue::from(text.as_bytes().to_vec()))
}

fn list(items: &[&str]) -> Object {
    let mut list = List::new();
    items.iter().for_each(|item| list.push_back(item.as_bytes(), &Limits::default()));
    Object::List(list)
}

fn set(members: &[&str]) -> Object {
    let mut set = Set::new();
    members.iter().for_each(|member| _ = set.insert(member.as_bytes(), &Limits::default()));
    Object::Set(set)
}

fn zset(members: &[(&str, f64)]) -> Object {
    let mut zset = Zset::new();
    members.iter().for_each(|(member, score)| _ = zset.insert(member.as_bytes(), *score, &Limits::default()));
    Object::Zset(zset)
}

fn hash(fields: &[(&str, &str, Option<i64>)]) -> Object {
    let mut hash = Hash::new();
    for (field, value, at) in fields {
        hash.set(field.as_bytes(), value.as_bytes(), &Limits::default());
        hash.set_expire(field.as_bytes(), *at, &Limits::default());
    }
    Object::Hash(hash)
}

/// Entries at ms 1, 2, ... with the texts; all but the last are pending for the consumer.
fn stream(entries: &[(u64, &str)], consumer: &str) -> Object {
    let mut stream = Stream::new();
    for (ms, text) in entries {
        let id = StreamId { ms: *ms, seq: 0 };
        stream.append(id, &[(b"text", text.as_bytes())], &Limits::default()).unwrap();
    }
    let mut group = Group::new(StreamId { ms: entries[entries.len() - 2].0, seq: 0 }, None);
    group.create_consumer(consumer.as_bytes(), 7);
    for (ms, _) in &entries[..entries.len() - 1] {
        let id = StreamId { ms: *ms, seq: 0 };
        group.deliver(Pending { id, consumer: consumer.as_bytes(), delivery_ms: 5, count: 1 });
    }
    stream.create_group(b"readers", group);
    Object::Stream(Box::new(stream))
}

fn value_of(file: &Path, key: &str) -> (Value, Option<i64>) {
    let records = json_of("dump", file);
    let record = records.as_array().unwrap().iter().find(|record| record["key"] == key).unwrap();
    (record["value"].clone(), record["expire_at_ms"].as_i64())
}

#[test]
fn a_key_of_several_inputs_is_kept_from_the_one_that_the_policy_names() {
    let folder = tempfile::tempdir().unwrap();
    let a = file(folder.path(), "a.rdb", &[], &[("k", Some(LATE), string("a")), ("only-a", None, string("1"))]);
    let b = file(folder.path(), "b.rdb", &[], &[("k", Some(SOON), string("b")), ("only-b", Some(SOON), string("2"))]);
    let c = file(folder.path(), "c.rdb", &[], &[("j", None, string("c")), ("k", Some(SOON), string("c"))]);
    let out = folder.path().join("out.rdb");
    for (policy, kept) in [("first", "a"), ("last", "c"), ("newest-expiry", "a")] {
        let done = merge(&[&a, &b, &c], &out, &["--on-conflict", policy, "--force", "--json"]);
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!((&report["keys"], &report["conflicts"]), (&4.into(), &1.into()), "{}", stderr_of(&done));
        assert_eq!(value_of(&out, "k").0, kept, "{policy}");
        assert_eq!(records(&out).len(), 4);
        assert_counts_are_true(&out);
    }
    let endless = file(folder.path(), "endless.rdb", &[], &[("k", None, string("endless"))]);
    merge(&[&endless, &a], &out, &["--on-conflict", "newest-expiry", "--force"]);
    assert_eq!(value_of(&out, "k"), (json!("endless"), None), "what never expires expires last of all");
    for policy in ["fail", "union"] {
        std::fs::remove_file(&out).unwrap_or(());
        let done = merge(&[&a, &b, &c], &out, &["--on-conflict", policy]);
        assert_eq!(done.status.code(), Some(1));
        assert!(stderr_of(&done).contains(r#"db 0 "k""#), "{}", stderr_of(&done));
        assert!(!out.exists() && std::fs::read_dir(folder.path()).unwrap().count() == 4);
    }
}

#[test]
fn a_union_holds_the_elements_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let ours = [
        ("list", None, list(&["a", "b"])),
        ("set", Some(SOON), set(&["1", "2"])),
        ("zset", Some(SOON), zset(&[("x", 1.0), ("y", 2.0)])),
        ("hash", None, hash(&[("f", "old", Some(LATE)), ("g", "1", None), ("h", "1", Some(SOON))])),
        ("stream", None, stream(&[(1, "one"), (3, "three"), (5, "five")], "alice")),
        ("same", None, string("same")),
    ];
    let theirs = [
        ("stream", None, stream(&[(2, "two"), (3, "other"), (9, "nine")], "bob")),
        ("hash", None, hash(&[("f", "new", Some(SOON)), ("g", "2", Some(SOON)), ("i", "3", None)])),
        ("zset", Some(LATE), zset(&[("y", 5.0), ("z", -1.0)])),
        ("set", None, set(&["2", "three"])),
        ("list", None, list(&["b", "c"])),
        ("same", None, string("same")),
    ];
    let (a, b) = (file(folder.path(), "a.rdb", &[], &ours), file(folder.path(), "b.rdb", &[], &theirs));
    let out = folder.path().join("out.rdb");
    let done = merge(&[&a, &b], &out, &["--on-conflict", "union"]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr_of(&done));
    assert_counts_are_true(&out);
    assert_eq!(value_of(&out, "list"), (json!(["a", "b", "b", "c"]), None));
    let (members, expiry) = value_of(&out, "set");
    let mut members: Vec<&str> = members.as_array().unwrap().iter().map(|member| member.as_str().unwrap()).collect();
    members.sort_unstable();
    assert_eq!((members, expiry), (vec!["1", "2", "three"], None));
    assert_eq!(value_of(&out, "zset"), (json!([["z", -1], ["x", 1], ["y", 5]]), Some(LATE)));
    assert_eq!(value_of(&out, "hash").0, json!({"f": "new", "g": "2", "h": "1", "i": "3"}));
    let dumped = json_of("dump", &out);
    let hash = dumped.as_array().unwrap().iter().find(|record| record["key"] == "hash").unwrap();
    assert_eq!(
        hash["field_expire_at_ms"],
        json!({"f": LATE, "h": SOON}),
        "the expiry that comes last, none last of all"
    );
    let (stream, _) = value_of(&out, "stream");
    let entries = |entry: &Value| (entry["id"].as_str().unwrap().to_owned(), entry["fields"][0][1].clone());
    let entries: Vec<_> = stream["entries"].as_array().unwrap().iter().map(entries).collect();
    let expected = [("1-0", "one"), ("2-0", "two"), ("3-0", "other"), ("5-0", "five"), ("9-0", "nine")];
    assert_eq!(entries, expected.map(|(id, text)| (id.to_owned(), json!(text))));
    assert_eq!((&stream["last_id"], &stream["groups"][0]["last_id"]), (&json!("9-0"), &json!("3-0")));
    let consumer = |consumer: &Value| {
        let pending = consumer["pending"].as_array().unwrap().iter().map(|entry| entry["id"].clone()).collect();
        (consumer["name"].as_str().unwrap().to_owned(), Value::Array(pending))
    };
    let mut consumers: Vec<_> = stream["groups"][0]["consumers"].as_array().unwrap().iter().map(consumer).collect();
    consumers.sort_by(|one, other| one.0.cmp(&other.0));
    // Of an entry that is pending on both sides, the later input's consumer has it.
    let expected = [("alice".to_owned(), json!(["1-0"])), ("bob".to_owned(), json!(["2-0", "3-0"]))];
    assert_eq!(consumers, expected);
    assert_eq!(value_of(&out, "same").0, "same");
}

#[test]
fn different_types_have_no_union_and_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let a = file(folder.path(), "a.rdb", &[], &[("mixed", None, set(&["1"])), ("fine", None, set(&["1"]))]);
    let b = file(folder.path(), "b.rdb", &[], &[("mixed", None, list(&["1"])), ("fine", None, set(&["2"]))]);
    let done = merge(&[&a, &b], &folder.path().join("out.rdb"), &["--on-conflict", "union"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(stderr_of(&done).contains("mixed") && !stderr_of(&done).contains("fine"), "{}", stderr_of(&done));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn libraries_come_once_and_differing_ones_are_decided_as_keys_are() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = ("#!lua name=lib\nreturn 1", "#!lua name=lib\nreturn 2");
    let a = file(folder.path(), "a.rdb", &[one], &[("a", None, string("1"))]);
    let b = file(folder.path(), "b.rdb", &[one], &[("b", None, string("1"))]);
    let c = file(folder.path(), "c.rdb", &[other], &[("c", None, string("1"))]);
    let out = folder.path().join("out.rdb");
    let code = |out: &Path| {
        let dump = json_of("dump", out);
        let functions: Vec<String> = dump
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|record| Some(record.get("function")?["code"].as_str().unwrap().to_owned()))
            .collect();
        functions
    };
    assert_eq!(merge(&[&a, &b], &out, &[]).status.code(), Some(0));
    assert_eq!(code(&out), [one]);
    let done = merge(&[&a, &c], &out, &["--force"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(stderr_of(&done).contains(r#"function library "lib""#), "{}", stderr_of(&done));
    merge(&[&a, &c], &out, &["--force", "--on-conflict", "last"]);
    assert_eq!(code(&out), [other]);
}

#[test]
fn the_version_is_the_lowest_that_holds_all_and_families_meet_in_one_that_says_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.rdb");
    let header_of = |inputs: &[&str], more: &[&str]| {
        let inputs: Vec<PathBuf> = inputs.iter().map(|name| corpus().join(name)).collect();
        let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
        let done = merge(&inputs, &out, &[&["--force", "--on-conflict", "last"], more].concat());
        assert_eq!(done.status.code(), Some(0), "{inputs:?}: {}", stderr_of(&done));
        assert_counts_are_true(&out);
        // Of every key the last input's is there.
        let held = records(&out);
        for (name, record) in records(inputs.last().unwrap()).iter().filter(|(name, _)| name.0.is_some()) {
            let value = if record["type"] == "hash" { "field_expire_at_ms" } else { "value" };
            assert_eq!(held[name][value], record[value], "{name:?}");
        }
        String::from_utf8_lossy(&std::fs::read(&out).unwrap()[..9]).into_owned()
    };
    assert_eq!(header_of(&["redis-2.8.24/types.rdb", "redis-6.2.16/types.rdb"], &[]), "REDIS0009");
    assert_eq!(header_of(&["redis-7.2.6/types.rdb", "valkey-9.1.2/types.rdb"], &[]), "VALKEY080");
    assert_eq!(header_of(&["redis-8.0.6/types.rdb", "valkey-9.1.2/types.rdb"], &[]), "REDIS0012");
    assert_eq!(header_of(&["valkey-9.1.2/types.rdb", "redis-8.0.6/types.rdb"], &["--to", "valkey-80"]), "VALKEY080");
    let inputs = ["redis-8.0.6/types.rdb", "redis-7.2.6/types.rdb"].map(|name| corpus().join(name));
    let done = merge(&[&inputs[0], &inputs[1]], &out, &["--force", "--on-conflict", "first", "--to", "11"]);
    assert_eq!(done.status.code(), Some(4));
    assert!(stderr_of(&done).contains("fields that expire"), "{}", stderr_of(&done));
}

#[test]
fn damage_in_any_input_names_it_and_leaves_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let a = file(folder.path(), "a.rdb", &[], &[("a", None, string("1"))]);
    let b = file(folder.path(), "b.rdb", &[], &[("b", None, string("a longer text to be damaged"))]);
    let mut bytes = std::fs::read(&b).unwrap();
    let at = bytes.len() - 15;
    bytes[at] ^= 1;
    std::fs::write(&b, bytes).unwrap();
    let done = merge(&[&a, &b], &folder.path().join("out.rdb"), &[]);
    assert_eq!(done.status.code(), Some(3));
    assert!(stderr_of(&done).contains("b.rdb: at offset"), "{}", stderr_of(&done));
    assert_eq!(merge(&[&a, &b], &a, &["--force"]).status.code(), Some(5), "an input is not overwritten");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// `merge - -` said that the header of an empty file was cut.
#[test]
fn standard_input_is_one_input_at_most() {
    let done = merge(&[Path::new("-"), Path::new("-")], Path::new("-"), &[]);
    assert_eq!(done.status.code(), Some(2), "{}", stderr_of(&done));
    assert!(stderr_of(&done).contains("only one of the inputs"), "{}", stderr_of(&done));
}
