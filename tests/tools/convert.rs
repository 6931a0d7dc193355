//! `rdbtool convert`: what it writes, what it refuses, what it says; to and from logs. That real servers load the
//! results is in `conversions`, that every version reads back the same in the library.

use super::rdbtool::{corpus, difference, json_of, rdbtool, run, samples, stderr_of, truth_of};
use ironkeep::rdb::{Event, Options, Reader, Version};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// Converts `file` to `folder/out.rdb`.
fn convert(file: &Path, folder: &Path, more: &[&str]) -> (Output, PathBuf) {
    let out = folder.join("out.rdb");
    let output = run("convert", file, &[&["--output", out.to_str().unwrap()], more].concat());
    (output, out)
}

fn report_of(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn sample(name: &str) -> PathBuf {
    corpus().join(name)
}

fn magic(file: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(file).unwrap()[..9]).into_owned()
}

#[test]
fn without_a_version_it_is_the_lowest_from_11_on_that_holds_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let expected = [
        ("redis-2.4.18/types.rdb", "REDIS0011"),
        ("redis-7.0.15/types.rdb", "REDIS0011"),
        ("redis-8.0.6/types.rdb", "REDIS0012"),
        ("redis-8.0.6/lfu.rdb", "REDIS0011"),
        ("valkey-9.1.2/types.rdb", "VALKEY080"),
        ("valkey-9.1.2/lfu.rdb", "REDIS0011"),
    ];
    for (name, header) in expected {
        let (output, out) = convert(&sample(name), folder.path(), &["--json", "--force"]);
        let report = report_of(&output);
        assert_eq!((magic(&out).as_str(), report["to"].as_str()), (header, Some(header)), "{name}");
        assert_eq!((&report["schema"], &report["lost"]), (&"rdbtool.convert/1".into(), &Value::Array(Vec::new())));
        let keys = truth_of(&sample(name))["keys"].as_array().unwrap().len();
        assert_eq!(report["keys"].as_u64(), Some(keys as u64), "{name}");
    }
}

/// Idle times and access counters go with their keys, raw and decoded, and are told where they cannot.
#[test]
fn access_hints_stay_with_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in.rdb");
    let keys = b"\xf8\x40\x64\x00\x01a\x011\xf9\x07\x00\x01b\x012\x00\x01c\x013";
    std::fs::write(&file, [&b"REDIS0009\xfe\x00"[..], keys, b"\xff\0\0\0\0\0\0\0\0"].concat()).unwrap();
    let hints = |file: &Path| -> Vec<(Value, Value)> {
        let dumped = json_of("dump", file);
        let records = dumped.as_array().unwrap().iter().filter(|record| record.get("key").is_some());
        records.map(|record| (record["idle_seconds"].clone(), record["frequency"].clone())).collect()
    };
    let expected: Vec<(Value, Value)> =
        vec![(100.into(), Value::Null), (Value::Null, 7.into()), (Value::Null, Value::Null)];
    assert_eq!(hints(&file), expected);
    for to in ["9", "11", "15", "valkey-80"] {
        let (output, out) = convert(&file, folder.path(), &["--to", to, "--force", "--json"]);
        assert!(report_of(&output)["lost"].as_array().unwrap().is_empty());
        assert_eq!(hints(&out), expected, "{to}");
        let filtered = folder.path().join("filtered.rdb");
        let arguments = ["--output", filtered.to_str().unwrap(), "--force", "--key", "[ab]"];
        assert_eq!(run("filter", &out, &arguments).status.code(), Some(0));
        assert_eq!(hints(&filtered), expected[..2], "{to}");
    }
    let (output, out) = convert(&file, folder.path(), &["--to", "8", "--force"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr_of(&output);
    assert!(said.contains("left out (a hint)"), "{said}");
    assert_eq!(hints(&out).len(), 3);
}

#[test]
fn what_the_version_cannot_hold_is_refused_with_key_offset_and_remedy_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (output, out) = convert(&sample("redis-8.0.6/types.rdb"), folder.path(), &["--to", "8"]);
    let said = stderr_of(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(!out.exists() && std::fs::read_dir(folder.path()).unwrap().next().is_none(), "not even a temporary file");
    for part in [
        "offset 34261: db 0 key \"hash:ttl:small\" has fields that expire (one of 3), which RDB version 8 cannot hold: \
         it takes version 12 or valkey-80",
        "is a stream (one of 4), which RDB version 8 cannot hold: it takes version 9",
        "the file has function libraries, which RDB version 8 cannot hold: it takes version 10",
        "Nothing was written; --lossy drops",
    ] {
        assert!(said.contains(part), "{part}\nis not in\n{said}");
    }
}

/// What the JSON report says was lost: kind to count.
fn lost(report: &Value) -> BTreeMap<&str, u64> {
    let rows = report["lost"].as_array().unwrap().iter();
    rows.map(|row| (row["kind"].as_str().unwrap(), row["count"].as_u64().unwrap())).collect()
}

#[test]
fn with_lossy_it_is_dropped_counted_by_kind_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (output, out) = convert(&sample("redis-8.0.6/types.rdb"), folder.path(), &["--to", "6", "--lossy", "--json"]);
    let report = report_of(&output);
    let expected = [("field-expiry", 3), ("function", 1), ("remark", 4), ("stream", 4)];
    assert_eq!(lost(&report), BTreeMap::from(expected), "{report}");
    assert_eq!(report["keys"], 155);
    let streams = report["lost"].as_array().unwrap().iter().find(|row| row["kind"] == "stream").unwrap();
    assert_eq!(streams["keys"].as_array().unwrap()[0], "stream:big");
    assert_eq!(streams["hint"], false);
    let (output, _) = convert(&sample("redis-8.0.6/types.rdb"), folder.path(), &["--to=6", "--lossy", "--force"]);
    let said = stderr_of(&output);
    assert!(said.contains("lost: 4 stream: \"stream:big\"") && said.contains("left out (a hint): 4 remark"), "{said}");
    // All else is there, as the server told it.
    let records = json_of("dump", &out);
    let records: BTreeMap<_, _> =
        records.as_array().unwrap().iter().map(|key| (key["key"].as_str().unwrap(), key)).collect();
    for truth in truth_of(&sample("redis-8.0.6/types.rdb"))["keys"].as_array().unwrap() {
        let name = super::rdbtool::truly(&truth["key"]);
        let is_lost = truth["type"] == "stream" || name.starts_with(b"hash:ttl:");
        if let (Ok(name), false, Some(0)) = (std::str::from_utf8(&name), is_lost, truth["db"].as_u64()) {
            assert_eq!(difference(records[name], truth), None, "{name}");
        }
    }
    let fields = records["hash:ttl:small"];
    assert!(fields["field_expire_at_ms"].is_null() && !fields["value"].as_object().unwrap().is_empty());
}

/// Number, keys, keys that expire.
type Databases = Vec<(u64, u64, u64)>;

/// The databases of a file as it announces them, and as it has them.
fn databases(file: &Path) -> (Databases, Databases) {
    let bytes = std::fs::read(file).unwrap();
    let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
    let (mut announced, mut counted) = (Vec::new(), Databases::new());
    loop {
        match reader.next().unwrap() {
            Event::SelectDb(db) => counted.push((db, 0, 0)),
            Event::ResizeDb { keys, expires } => announced.push((counted.last().unwrap().0, keys, expires)),
            Event::Key(key) => {
                let last = counted.last_mut().unwrap();
                last.1 += 1;
                last.2 += u64::from(key.expire_at_ms.is_some());
            }
            Event::End { .. } => return (announced, counted),
            _ => {}
        }
    }
}

#[test]
fn the_counts_in_front_of_a_database_are_those_of_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["redis-2.4.18/types.rdb", "redis-8.0.6/types.rdb", "redis-8.0.6/random.rdb"] {
        for version in ["7", "8", "11"] {
            let (output, out) = convert(&sample(name), folder.path(), &["--to", version, "--lossy", "--force"]);
            assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
            let (announced, counted) = databases(&out);
            assert!(!counted.is_empty() && announced == counted, "{name} {version}: {announced:?} {counted:?}");
        }
    }
}

#[test]
fn every_file_of_the_corpus_goes_to_its_own_version_and_on_to_every_later_one() {
    let folder = tempfile::tempdir().unwrap();
    for file in samples().iter().step_by(4) {
        for version in [Version::Rdb12, Version::Rdb15, Version::Valkey80] {
            let (output, out) = convert(file, folder.path(), &["--to", &version.to_string(), "--force"]);
            assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
            assert_eq!(magic(&out), version.header().to_string());
            let keys = |file| json_of("info", file)["keys"].as_u64();
            assert_eq!(keys(&out), keys(file), "{}", file.display());
        }
    }
}

#[test]
fn data_goes_through_pipes_and_the_report_to_stderr_then() {
    let file = std::fs::File::open(sample("redis-7.2.6/types.rdb")).unwrap();
    let output = rdbtool()
        .args(["convert", "-", "--output", "-", "--to", "valkey80", "--no-checksum", "--no-compress", "--json"])
        .stdin(Stdio::from(file))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert!(output.stdout.starts_with(b"VALKEY080") && output.stdout.ends_with(b"\xff\0\0\0\0\0\0\0\0"));
    let report: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&report["file"], &report["lost"]), (&"standard input".into(), &Value::Array(Vec::new())));
}

#[test]
fn a_damaged_input_writes_nothing_and_an_output_that_is_there_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(sample("redis-7.2.6/types.rdb")).unwrap();
    let file = folder.path().join("in.rdb");
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let (output, out) = convert(&file, folder.path(), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr_of(&output).contains("in.rdb: at offset") && !out.exists());
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    std::fs::write(&file, &flipped).unwrap();
    assert_eq!(convert(&file, folder.path(), &[]).0.status.code(), Some(3), "the checksum is verified");
    assert!(!out.exists());
    std::fs::write(&out, b"mine").unwrap();
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(convert(&file, folder.path(), &[]).0.status.code(), Some(5));
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
    assert_eq!(convert(&file, folder.path(), &["--to", "5"]).0.status.code(), Some(2));
}

/// What is behind an RDB's end must not vanish: commands are replayed, anything else is told.
#[test]
fn what_follows_the_end_of_an_rdb_is_replayed_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(sample("redis-7.2.6/lfu.rdb")).unwrap();
    let keys = truth_of(&sample("redis-7.2.6/lfu.rdb"))["keys"].as_array().unwrap().len() as u64;
    let file = folder.path().join("appendonly.aof");
    std::fs::write(&file, [&whole[..], b"*3\r\n$3\r\nSET\r\n$9\r\nbrand-new\r\n$1\r\nv\r\n"].concat()).unwrap();
    let (output, out) = convert(&file, folder.path(), &["--json"]);
    assert_eq!(report_of(&output)["keys"].as_u64(), Some(keys + 1));
    assert!(stderr_of(&output).contains("replayed 1 command,"), "{}", stderr_of(&output));
    assert_eq!(json_of("info", &out)["keys"].as_u64(), Some(keys + 1));
    std::fs::write(&file, [&whole[..], b"\0\0\0"].concat()).unwrap();
    let (output, _) = convert(&file, folder.path(), &["--force", "--json"]);
    assert_eq!(report_of(&output)["trailing_bytes"], 3);
    assert!(stderr_of(&output).contains("3 bytes behind the end"), "{}", stderr_of(&output));
}

#[test]
fn every_log_of_the_corpus_becomes_the_rdb_that_its_server_would_have_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for log in crate::rig::logs() {
        let (output, out) = convert(&log, folder.path(), &["--force", "--json"]);
        let truth = truth_of(&log);
        let keys = truth["keys"].as_array().unwrap();
        let report = report_of(&output);
        assert_eq!((report["keys"].as_u64(), &report["from"]), (Some(keys.len() as u64), &"log".into()));
        let records = json_of("dump", &out);
        let records = records.as_array().unwrap().iter().filter(|record| record.get("key").is_some());
        let place = |db: &Value, key: Vec<u8>| (db.as_u64().unwrap(), key);
        let records: BTreeMap<_, _> =
            records.map(|record| (place(&record["db"], super::rdbtool::ours(&record["key"])), record)).collect();
        for key in keys {
            let name = place(&key["db"], super::rdbtool::truly(&key["key"]));
            let found = records.get(&name).map_or(Some("is missing".to_owned()), |record| difference(record, key));
            wrong.extend(found.map(|what| format!("{}: {}: {what:.300}", log.display(), name.1.escape_ascii())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_torn_log_is_converted_without_its_tail_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("appendonly.aof");
    let bytes = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$9\r\n12";
    std::fs::write(&log, bytes).unwrap();
    let (output, _) = convert(&log, folder.path(), &["--json"]);
    assert_eq!(report_of(&output)["keys"], 1);
    assert!(stderr_of(&output).contains("behind offset 27 were never finished"), "{}", stderr_of(&output));
    assert_eq!(std::fs::read(&log).unwrap(), bytes);
    // A database that servers would have to be configured for.
    std::fs::write(&log, b"*2\r\n$6\r\nSELECT\r\n$2\r\n20\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n").unwrap();
    let (output, _) = convert(&log, folder.path(), &["--force"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr_of(&output).contains("--databases"), "{}", stderr_of(&output));
    let (output, out) = convert(&log, folder.path(), &["--force", "--databases", "32"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert_eq!(databases(&out).1, [(20, 1, 0)]);
}

#[test]
fn a_folder_with_a_dump_and_a_log_is_not_guessed_at() {
    let folder = tempfile::tempdir().unwrap();
    crate::rig::copy_folder(&sample("redis-7.2.6/aof"), folder.path());
    assert_eq!(convert(folder.path(), folder.path(), &[]).0.status.code(), Some(0));
    std::fs::copy(sample("redis-7.2.6/lfu.rdb"), folder.path().join("dump.rdb")).unwrap();
    let (output, _) = convert(folder.path(), folder.path(), &["--force"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr_of(&output).contains("both a dump.rdb and a log"), "{}", stderr_of(&output));
}

#[test]
fn a_log_is_made_in_a_new_folder_and_leads_back_to_the_same_data() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("appendonlydir");
    let file = sample("redis-8.0.6/types.rdb");
    let output = run("convert", &file, &["--to-log", log.to_str().unwrap(), "--json"]);
    let report = report_of(&output);
    assert!(report["output"].as_str().unwrap().ends_with("appendonlydir/appendonly.aof.manifest"), "{report}");
    let names: Vec<_> = crate::rig::files_below(&log).iter().map(|file| file.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof", "appendonly.aof.manifest"]);
    let (output, out) = convert(&log, folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    let keys = |file: &Path| {
        let records = json_of("dump", file);
        let mut keys: Vec<String> = records.as_array().unwrap().iter().map(Value::to_string).collect();
        keys.retain(|record| record.contains("\"key\":"));
        keys.sort();
        keys.len()
    };
    assert_eq!(keys(&out), keys(&file));
    let again = run("convert", &file, &["--to", "aof", "--output", log.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(5), "a folder with files is never written into");
    let refused = folder.path().join("refused");
    let output = run("convert", &file, &["--to", "10", "--to-log", refused.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4));
    assert!(!refused.exists());
}

/// `convert F --output F --force` replaced its input.
#[test]
fn the_input_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("out.rdb");
    std::fs::copy(sample("redis-7.0.15/types.rdb"), &input).unwrap();
    let before = std::fs::read(&input).unwrap();
    let (output, _) = convert(&input, folder.path(), &["--force"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr_of(&output));
    assert_eq!(std::fs::read(&input).unwrap(), before);
}
