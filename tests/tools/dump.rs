//! What `rdbtool dump` writes in each format, and that it holds little of it.

use super::rdbtool::{corpus, rdbtool, run, samples, stderr_of};
use ironkeep::rdb::{KeyMeta, ObjectRef, Version, WriteOptions, Writer};
use ironkeep::value::{Element, Hash, Limits, Object};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;

pub fn records(file: &Path) -> Vec<Value> {
    let output = run("dump", file, &["--ndjson"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn types_of_7() -> PathBuf {
    corpus().join("redis-7.2.6/types.rdb")
}

/// Splits CSV by RFC 4180.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => cell.push(letters.next().unwrap()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted && letters.peek() == Some(&'\n') => {
                letters.next();
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            _ => cell.push(letter),
        }
    }
    assert!(row.is_empty() && cell.is_empty() && !quoted);
    rows
}

#[test]
fn csv_holds_every_key_with_the_value_that_json_has() {
    for sample in samples() {
        let output = run("dump", &sample, &["--csv"]);
        let rows = rows(&String::from_utf8(output.stdout).unwrap());
        let names: Vec<&str> = rows[0].iter().map(String::as_str).collect();
        assert_eq!(names[..6], ["db", "key", "type", "encoding", "elements", "bytes"]);
        let keys: Vec<Value> = records(&sample).into_iter().filter(|record| record.get("key").is_some()).collect();
        assert_eq!(rows.len(), keys.len() + 1, "{}", sample.display());
        for (row, record) in rows[1..].iter().zip(&keys) {
            assert_eq!(row.len(), names.len());
            assert_eq!((&row[0], row[1].as_str()), (&record["db"].to_string(), record["key"].as_str().unwrap()));
            assert_eq!(serde_json::from_str::<Value>(&row[9]).unwrap(), record["value"]);
            let count = match &record["value"] {
                Value::Array(items) => items.len(),
                Value::Object(fields) if record["type"] == "hash" => fields.len(),
                Value::Object(stream) if record["type"] == "stream" => stream["entries"].as_array().unwrap().len(),
                _ => 1,
            };
            assert_eq!(row[4], count.to_string(), "{row:?}");
            let text = |name: &str| record.get(name).map_or(String::new(), ToString::to_string);
            assert_eq!(row[6..9], [text("expire_at_ms"), text("idle_seconds"), text("frequency")]);
            assert_eq!(text("field_expire_at_ms").is_empty(), row[10].is_empty());
        }
    }
}

#[test]
fn keys_and_templates_name_every_key() {
    for sample in samples() {
        let keys: Vec<Value> = records(&sample).into_iter().filter(|record| record.get("key").is_some()).collect();
        let names = run("dump", &sample, &["--keys", "--null"]).stdout;
        let wanted: Vec<u8> =
            keys.iter().flat_map(|record| [super::rdbtool::ours(&record["key"]), vec![0]].concat()).collect();
        assert_eq!(names, wanted, "{}", sample.display());
        let lines = run("dump", &sample, &["--format", r"{{{db}}}\t{key_json}\t{type}\t{encoding}\t{expire_at_ms}"]);
        let lines = String::from_utf8(lines.stdout).unwrap();
        for (line, record) in lines.lines().zip(&keys) {
            let expiry = record.get("expire_at_ms").map_or("-".to_owned(), ToString::to_string);
            let (kind, encoding) = (record["type"].as_str().unwrap(), record["encoding"].as_str().unwrap());
            assert_eq!(line, format!("{{{}}}\t{}\t{kind}\t{encoding}\t{expiry}", record["db"], record["key"]));
        }
        assert_eq!(lines.lines().count(), keys.len());
    }
}

#[test]
fn a_template_that_names_nothing_exits_2_and_says_what_there_is() {
    let output = run("dump", &types_of_7(), &["--format", "{keey}"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr_of(&output).contains("there are db, key, key_json"), "{}", stderr_of(&output));
    for two in [["--json", "--csv"], ["--resp", "--keys"], ["--restore", "--format={key}"]] {
        assert_eq!(run("dump", &types_of_7(), &two).status.code(), Some(2));
    }
}

#[test]
fn sizes_and_limits_choose_whole_values() {
    let all = records(&types_of_7());
    let sized = run("dump", &types_of_7(), &["--ndjson", "--min-size", "2kb"]);
    let sized: Vec<Value> = String::from_utf8(sized.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|record: &Value| record.get("key").is_some())
        .collect();
    assert!(!sized.is_empty() && sized.len() < all.len());
    assert!(sized.iter().all(|record| all.contains(record)), "a value that was held back is the same value");
    let bytes = run("dump", &types_of_7(), &["--format", "{bytes}"]).stdout;
    let bytes = String::from_utf8(bytes).unwrap().lines().filter(|line| line.parse::<u64>().unwrap() >= 2048).count();
    assert_eq!(sized.len(), bytes);
    let limited = run("dump", &types_of_7(), &["--keys", "--null", "--limit", "3"]).stdout;
    assert_eq!(limited.iter().filter(|&&byte| byte == 0).count(), 3);
}

/// A file with one hash, field by field, so that this test does not hold it either.
fn hash_with_expiry(path: &Path, count: u32) {
    let mut file = b"REDIS0012\xfe\x00\x18\x01h".to_vec();
    // The smallest expiry, and the number of fields.
    file.extend_from_slice(&4_000_000_000_000_u64.to_le_bytes());
    file.push(0x80);
    file.extend_from_slice(&count.to_be_bytes());
    for number in 0..count {
        // Above the smallest, plus one; then field and value.
        file.push(0x80);
        file.extend_from_slice(&(number + 1).to_be_bytes());
        let field = format!("field:{number:08}");
        file.push(u8::try_from(field.len()).unwrap());
        file.extend_from_slice(field.as_bytes());
        file.extend_from_slice(b"\x05value");
    }
    file.push(0xff);
    file.extend_from_slice(&[0; 8]);
    std::fs::write(path, file).unwrap();
}

/// A file with one sorted set whose members come in no order.
fn zset_out_of_order(path: &Path, count: u32) {
    let mut file = b"REDIS0011\xfe\x00\x05\x01z\x80".to_vec();
    file.extend_from_slice(&count.to_be_bytes());
    for number in 0..count {
        let scattered = number.wrapping_mul(2_654_435_761);
        let member = format!("member:{number:08}");
        file.push(u8::try_from(member.len()).unwrap());
        file.extend_from_slice(member.as_bytes());
        file.extend_from_slice(&(f64::from(scattered) - 2e9).to_le_bytes());
    }
    file.push(0xff);
    file.extend_from_slice(&[0; 8]);
    std::fs::write(path, file).unwrap();
}

/// Runs the tool on a file, by name or on its standard input, and gives the most memory it held, in MB.
pub fn peak_mb(file: &Path, arguments: &[&str], by_pipe: bool, output: Stdio) -> u64 {
    let mut command = rdbtool();
    command.arg("dump").args(arguments).stdout(output);
    if by_pipe {
        command.arg("-").stdin(std::fs::File::open(file).unwrap());
    } else {
        command.arg(file);
    }
    let mut child = command.spawn().unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak_kb = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap();
        if let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            peak_kb = line.trim().trim_end_matches(" kB").parse().unwrap();
        }
        if let Some(code) = child.try_wait().unwrap() {
            assert!(code.success());
            return peak_kb / 1024;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Other tools hold such a value whole: up to 1.2 GB for a file of 76 MB.
#[test]
fn a_huge_value_is_never_held_in_any_format() {
    let folder = tempfile::tempdir().unwrap();
    let (hash, zset) = (folder.path().join("hash.rdb"), folder.path().join("zset.rdb"));
    hash_with_expiry(&hash, 2_000_000);
    zset_out_of_order(&zset, 2_000_000);
    for file in [&hash, &zset] {
        for (format, by_pipe) in
            [("--json", true), ("--ndjson", false), ("--csv", false), ("--resp", true), ("--restore", true)]
        {
            let peak = peak_mb(file, &[format], by_pipe, Stdio::null());
            assert!(peak > 0 && peak < 32, "{format} of {} held {peak} MB", file.display());
        }
    }
}

#[test]
fn a_sorted_set_out_of_order_comes_in_order_from_the_disk_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zset.rdb");
    zset_out_of_order(&file, 300_000);
    let record = records(&file).pop().unwrap();
    let members = record["value"].as_array().unwrap();
    assert_eq!(members.len(), 300_000);
    assert!(members.is_sorted_by(|left, right| left[1].as_f64().unwrap() < right[1].as_f64().unwrap()));
}

#[test]
fn expiries_beyond_memory_stand_behind_their_hash() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hash.rdb");
    hash_with_expiry(&file, 50_000);
    let record = records(&file).pop().unwrap();
    let (fields, expiries) = (record["value"].as_object().unwrap(), record["field_expire_at_ms"].as_object().unwrap());
    assert_eq!((fields.len(), expiries.len()), (50_000, 50_000));
    assert_eq!(expiries["field:00049999"], 4_000_000_049_999_u64);
}

/// One string of many pieces of JSON, with what must be escaped at their edges.
#[test]
fn a_long_string_is_made_piece_by_piece_and_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.rdb");
    let text: Vec<u8> = "quote\" é\n\\ 😀 plain text, ".bytes().cycle().take(700_001).collect();
    let text = String::from_utf8_lossy(&text).into_owned().into_bytes();
    let binary: Vec<u8> = (0..700_001_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut hash = Hash::new();
    hash.set(&binary, &text, &Limits::default());
    let mut writer = Writer::new(Vec::new(), Version::Rdb11, WriteOptions::default()).unwrap();
    writer.select_db(0, 3, 0).unwrap();
    for (key, value) in [(b"text", &text), (b"bits", &binary)] {
        writer.key(&KeyMeta { key, ..KeyMeta::default() }, ObjectRef::String(Element::Bytes(value))).unwrap();
    }
    writer.key(&KeyMeta { key: b"hash", ..KeyMeta::default() }, (&Object::Hash(hash)).into()).unwrap();
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    let records = records(&path);
    let bytes = |value: &Value| super::rdbtool::ours(value);
    assert!(bytes(&records[0]["value"]) == text && bytes(&records[1]["value"]) == binary);
    let (field, value) = records[2]["value"].as_object().unwrap().iter().next().unwrap();
    assert!(bytes(&Value::String(field.clone())) == binary && bytes(value) == text);
}

/// `dump --key nothing` ended with 0 where `filter` with the same selection ends with 1.
#[test]
fn a_selection_without_a_match_is_exit_1_and_a_file_without_keys_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    let [some, none] = [("some.rdb", 1), ("none.rdb", 0)].map(|(name, count)| {
        let path = folder.path().join(name);
        let mut writer = Writer::new(Vec::new(), Version::Rdb11, WriteOptions::default()).unwrap();
        for _ in 0..count {
            writer.select_db(0, 1, 0).unwrap();
            writer.key(&KeyMeta { key: b"k", ..KeyMeta::default() }, ObjectRef::String(Element::Bytes(b"v"))).unwrap();
        }
        std::fs::write(&path, writer.finish().unwrap()).unwrap();
        path
    });
    let exit = |file, more: &[&str]| run("dump", file, more).status.code();
    assert_eq!(exit(&some, &["--key", "nothing", "--keys"]), Some(1));
    assert_eq!(exit(&some, &["--key", "k", "--keys"]), Some(0));
    assert_eq!(exit(&some, &["--limit", "0", "--keys"]), Some(0));
    assert_eq!(exit(&none, &["--key", "nothing", "--keys"]), Some(0));
}
