//! `rdbtool diff`: what differs is found, exactly, and nothing else.

use super::rdbtool::{rdbtool, run, samples, stderr_of};
use ironkeep::rdb::{Event, KeyMeta, ObjectRef, Options, Reader, Version, WriteOptions, Writer};
use ironkeep::value::{Hash, Limits, List, Object, Set, StringValue, Zset};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

fn diff(old: &Path, new: &Path, more: &[&str]) -> Output {
    rdbtool().arg("diff").args([old, new]).args(more).output().unwrap()
}

fn report(old: &Path, new: &Path, more: &[&str]) -> Value {
    let output = diff(old, new, &[&["--json"], more].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", String::from_utf8_lossy(&output.stdout), stderr_of(&output));
    });
    let differs = if report["same"] == true { 0 } else { 1 };
    assert_eq!((output.status.code(), &report["schema"]), (Some(differs), &"rdbtool.diff/1".into()));
    report
}

type Key = (Object, Option<i64>);
type Keys = BTreeMap<(u64, Vec<u8>), Key>;

/// Writes keys in an order of its own.
fn write(path: &Path, keys: &Keys, functions: &[&[u8]], version: Version, seed: u64) {
    let mut writer = Writer::new(std::fs::File::create(path).unwrap(), version, WriteOptions::default()).unwrap();
    functions.iter().for_each(|code| writer.function(code).unwrap());
    let mut order: Vec<_> = keys.iter().collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut order);
    order.sort_by_key(|((db, _), _)| *db);
    let mut db = None;
    for ((in_db, key), (value, expire_at_ms)) in order {
        if db != Some(in_db) {
            writer.select_db(*in_db, 0, 0).unwrap();
            db = Some(in_db);
        }
        let meta = KeyMeta { key, expire_at_ms: *expire_at_ms, ..KeyMeta::default() };
        writer.key(&meta, ObjectRef::Object(value)).unwrap();
    }
    writer.finish().unwrap();
}

fn saved(dir: &tempfile::TempDir, name: &str, keys: &Keys) -> PathBuf {
    let path = dir.path().join(name);
    write(&path, keys, &[], Version::Rdb12, name.len() as u64);
    path
}

fn one(key: &str, value: Object) -> Keys {
    Keys::from([((0, key.as_bytes().to_vec()), (value, None))])
}

fn limits() -> Limits {
    Limits::default()
}

fn list<I: AsRef<[u8]>>(items: impl IntoIterator<Item = I>) -> Object {
    let mut list = List::new();
    items.into_iter().for_each(|item| list.push_back(item.as_ref(), &limits()));
    Object::List(list)
}

fn set(members: &[&str]) -> Object {
    let mut set = Set::new();
    members.iter().for_each(|member| {
        set.insert(member.as_bytes(), &limits());
    });
    Object::Set(set)
}

fn hash(fields: &[(&str, &str)]) -> Object {
    let mut hash = Hash::new();
    fields.iter().for_each(|(field, value)| {
        hash.set(field.as_bytes(), value.as_bytes(), &limits());
    });
    Object::Hash(hash)
}

#[test]
fn every_file_of_the_corpus_is_the_same_as_itself() {
    for sample in samples() {
        let report = report(&sample, &sample, &[]);
        assert_eq!((&report["same"], &report["differences"]), (&true.into(), &Value::Array(vec![])));
        assert!(report["old_counts"]["keys"].as_u64().unwrap() > 0);
    }
}

/// All that the file holds, for a file of another version.
fn convert(sample: &Path, to: &Path, version: Version) -> bool {
    let mut reader = Reader::new(std::fs::File::open(sample).unwrap(), Options::default()).unwrap();
    let mut writer = Writer::new(std::fs::File::create(to).unwrap(), version, WriteOptions::default()).unwrap();
    // A larger limit for one kind and a smaller for another: encodings must not matter.
    let limits = Limits { hash_max_listpack_entries: 1, zset_max_listpack_entries: 500, ..Limits::default() };
    loop {
        match reader.next().unwrap() {
            Event::SelectDb(db) => writer.select_db(db, 0, 0).unwrap(),
            Event::Function { code } => writer.function(&code).unwrap(),
            Event::Key(key) => {
                let value = reader.object(&limits).unwrap().unwrap();
                let meta = KeyMeta { key: &key.key, expire_at_ms: key.expire_at_ms, ..KeyMeta::default() };
                if writer.key(&meta, ObjectRef::Object(&value)).is_err() {
                    return false;
                }
            }
            Event::End { .. } => break,
            _ => {}
        }
    }
    writer.finish().unwrap();
    true
}

#[test]
fn a_file_is_the_same_as_its_conversion() {
    let dir = tempfile::tempdir().unwrap();
    let mut compared = 0;
    for sample in samples() {
        for version in [Version::Rdb11, Version::Rdb12, Version::Valkey80] {
            let path = dir.path().join("converted.rdb");
            if convert(&sample, &path, version) {
                let report = report(&sample, &path, &[]);
                assert_eq!(report["same"], true, "{} as {version:?}: {report}", sample.display());
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn each_type_tells_which_of_its_elements_differ() {
    let dir = tempfile::tempdir().unwrap();
    let elements = |old: Object, new: Object| -> Vec<String> {
        let (old, new) = (saved(&dir, "old", &one("k", old)), saved(&dir, "newer", &one("k", new)));
        let output = diff(&old, &new, &[]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr_of(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
    };
    let string = |text: &str| Object::String(StringValue::from(text.as_bytes()));
    assert_eq!(elements(string("a"), string("b")), [r#"~ value: "a" -> "b""#]);
    assert_eq!(elements(set(&["a", "b"]), set(&["b", "c"])), [r#"- member "a""#, r#"+ member "c""#]);
    assert_eq!(
        elements(hash(&[("a", "1"), ("b", "2"), ("same", "x")]), hash(&[("b", "3"), ("same", "x"), ("c", "4")])),
        [r#"- field "a": "1""#, r#"~ field "b": "2" -> "3""#, r#"+ field "c": "4""#]
    );
    let zset = |score: f64| {
        let mut zset = Zset::new();
        zset.insert_exact(b"m", score, &limits());
        zset.insert(b"n", 1.0, &limits());
        Object::Zset(zset)
    };
    assert_eq!(elements(zset(0.0), zset(-0.0)), [r#"~ member "m": 0 -> -0"#]);
    // An item in front moves all others, which is no difference of theirs.
    let long = || (0..500).map(|index| index.to_string());
    let more = std::iter::once("first".to_owned()).chain(long()).filter(|item| item != "77");
    assert_eq!(elements(list(long()), list(more)), [r#"+ item 0: "first""#, r#"- item 77: "77""#]);
}

#[test]
fn keys_types_expiries_and_functions_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = one("gone", set(&["a"]));
    old.insert((3, b"type".to_vec()), (set(&["a"]), None));
    old.insert((0, b"ttl".to_vec()), (set(&["a"]), Some(4_000_000_000_000)));
    let mut new = old.clone();
    new.remove(&(0, b"gone".to_vec()));
    new.insert((0, b"ttl".to_vec()), (set(&["a"]), None));
    new.insert((3, b"type".to_vec()), (list(["a"]), None));
    new.insert((3, b"\x1b\xff".to_vec()), (list(["a"]), None));
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    write(&first, &old, &[b"#!lua name=lib\nreturn 1"], Version::Rdb11, 1);
    write(&second, &new, &[b"#!lua name=lib\nreturn 2"], Version::Rdb11, 2);
    let text = String::from_utf8(diff(&first, &second, &[]).stdout).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("second") && !line.contains("first")).collect();
    assert_eq!(
        lines,
        [
            r#"- db 0 "gone" (set)"#,
            r#"~ db 0 "ttl" (set): 1 removed"#,
            "    - expire_at_ms: 4000000000000",
            r#"+ db 3 "\x1b\xff" (list)"#,
            r#"~ db 3 "type": was a set, is a list"#,
            r#"~ function library "lib": 1 changed"#,
            r##"    ~ code: "#!lua name=lib\nreturn 1" -> "#!lua name=lib\nreturn 2""##,
            "1 added, 1 removed, 3 changed",
        ]
    );
    let without = report(&first, &second, &["--ignore-expiry", "--show", "1"]);
    assert_eq!((&without["changed"], &without["not_listed"]), (&2.into(), &3.into()));
    let chosen = report(&first, &second, &["--db", "0", "--ignore-expiry", "--key", "t*", "--keys-only"]);
    assert_eq!(chosen["same"], true);
}

/// Members by what they hold: enough to say what an edit did.
fn random_keys(random: &mut fastrand::Rng) -> Keys {
    let word = |random: &mut fastrand::Rng| (0..random.usize(1..6)).map(|_| random.u8(b'a'..b'f')).collect::<Vec<u8>>();
    let mut keys = Keys::new();
    for _ in 0..random.usize(1..60) {
        let mut fields = Hash::new();
        for _ in 0..random.usize(1..30) {
            fields.set(&word(random), &word(random), &limits());
        }
        let key = (random.u64(0..3), word(random));
        keys.insert(key, (Object::Hash(fields), random.bool().then_some(4_000_000_000_000)));
    }
    keys
}

#[test]
fn random_edits_are_found_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..25 {
        let old = random_keys(&mut random);
        let mut new = old.clone();
        let mut expected = BTreeMap::new();
        for (name, (value, expire_at_ms)) in &old {
            match random.u8(..4) {
                0 => {
                    new.remove(name);
                    expected.insert(name.clone(), ("removed", [0; 3]));
                }
                1 => {
                    let (Object::Hash(mut fields), Some(entry)) = (value.clone(), new.get_mut(name)) else { panic!() };
                    let before = fields.len() as u64;
                    let first = fields.iter().next().unwrap().0.to_vec();
                    fields.set(&first, b"changed: no word is that long", &limits());
                    fields.set(b"added: no word is that long", b"1", &limits());
                    entry.0 = Object::Hash(fields);
                    assert!(before > 0);
                    expected.insert(name.clone(), ("changed", [1, 0, 1]));
                    if expire_at_ms.is_some() {
                        entry.1 = Some(4_000_000_000_001);
                        expected.insert(name.clone(), ("changed", [1, 0, 2]));
                    }
                }
                2 => {
                    let added = (name.0 + 10, name.1.clone());
                    new.insert(added.clone(), (value.clone(), None));
                    expected.insert(added, ("added", [0; 3]));
                }
                _ => {}
            }
        }
        let report = report(&saved(&dir, "old", &old), &saved(&dir, "newer", &new), &[]);
        let found: BTreeMap<_, _> = report["differences"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let name = (row["db"].as_u64().unwrap(), super::rdbtool::ours(&row["key"]));
                let counts = ["elements_added", "elements_removed", "elements_changed"];
                (name, (row["difference"].as_str().unwrap(), counts.map(|count| row[count].as_u64().unwrap())))
            })
            .collect();
        assert_eq!(found, expected);
    }
}

fn large_hash(path: &Path, changed: Option<u32>) {
    let mut fields = Hash::new();
    for index in 0..1_000_000_u32 {
        let value = if changed == Some(index) { u32::MAX } else { index };
        fields.set(format!("field:{index}").as_bytes(), value.to_string().as_bytes(), &limits());
    }
    write(path, &one("large", Object::Hash(fields)), &[], Version::Rdb11, 0);
}

/// 64 MB of elements are held, and 64 MB of digests; the buffers and the binary are the rest.
#[test]
fn one_field_of_a_million_is_found_in_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    large_hash(&old, None);
    large_hash(&new, Some(654_321));
    let mut child =
        rdbtool().arg("diff").args([&old, &new]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut peak_kb = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak_kb = peak.map_or(peak_kb, |peak| peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r#"    ~ field "field:654321": "654321" -> "4294967295""#), "{text}");
    assert!(text.contains(r#"~ db 0 "large" (hash): 1 changed"#), "{text}");
    println!("{peak_kb} kB at most");
    assert!(peak_kb < 150 * 1024, "{peak_kb} kB");
}

#[test]
fn standard_input_is_read_once_and_compared_in_full() {
    let dir = tempfile::tempdir().unwrap();
    let old = saved(&dir, "old", &one("k", hash(&[("a", "1")])));
    let new = std::fs::read(saved(&dir, "newer", &one("k", hash(&[("a", "2")])))).unwrap();
    let mut child =
        rdbtool().arg("diff").arg(&old).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&new).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r#"~ field "a": "1" -> "2""#), "{text}");
    let twice = rdbtool().args(["diff", "-", "-"]).output().unwrap();
    assert_eq!(twice.status.code(), Some(2));
}

#[test]
fn a_damaged_file_is_named_and_exits_3() {
    let dir = tempfile::tempdir().unwrap();
    let whole = saved(&dir, "old", &one("k", hash(&[("a", "1")])));
    let cut = dir.path().join("cut");
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 12]).unwrap();
    let output = diff(&whole, &cut, &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr_of(&output).contains("cut: "), "{}", stderr_of(&output));
    assert_eq!(run("diff", &whole, &["/nowhere"]).status.code(), Some(3));
}

/// Two servers with the same data, asked with --limit 5, were told to differ in ten keys: each gave its own first five.
#[test]
fn a_limit_on_sides_of_different_order_is_refused() {
    let sample = &samples()[0];
    let output = diff(sample, sample, &["--limit", "5"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr_of(&output).contains("--show"), "{}", stderr_of(&output));
}
