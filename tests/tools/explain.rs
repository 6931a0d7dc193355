//! `rdbtool explain`: each byte in one line, and what is said of it true.

use super::rdbtool::{corpus, json_of, run, samples, stderr_of, truth_of};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn pieces(path: &Path, more: &[&str]) -> Vec<Value> {
    let output = run("explain", path, &[&["--json"], more].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report["schema"], "rdbtool.explain/1");
    report["pieces"].as_array().unwrap().clone()
}

fn number(piece: &Value, name: &str) -> u64 {
    piece[name].as_u64().unwrap()
}

/// Where pieces that follow each other end.
fn end_of(pieces: &[Value], start: u64) -> u64 {
    pieces.iter().filter(|piece| piece.get("unpacked").is_none()).fold(start, |end, piece| {
        assert_eq!(number(piece, "offset"), end, "{piece}");
        end + number(piece, "bytes")
    })
}

fn saved(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.rdb");
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

#[test]
fn every_byte_of_every_sample_stands_in_one_line() {
    for sample in samples() {
        let content = std::fs::read(&sample).unwrap();
        let pieces = pieces(&sample, &[]);
        assert_eq!(end_of(&pieces, 0), content.len() as u64, "{}", sample.display());
        for piece in pieces.iter().filter(|piece| piece.get("unpacked").is_none()).step_by(97) {
            let at = usize::try_from(number(piece, "offset")).unwrap();
            let hex = piece["hex"].as_str().unwrap();
            let told: Vec<u8> = (0..hex.len() / 2)
                .map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap())
                .collect();
            assert_eq!(told, content[at..at + told.len()], "{piece}");
        }
        let keys = pieces.iter().filter(|piece| piece["what"] == "type").count();
        assert_eq!(keys, truth_of(&sample)["keys"].as_array().unwrap().len());
    }
}

#[test]
fn entries_of_packed_values_and_streams_are_named() {
    let (_folder, path) =
        saved(b"REDIS0011\xfe\x00\x10\x01h\x10\x10\0\0\0\x02\0\x81f\x02\xdf\xfe\x02\x00\x01\xff\xff\0\0\0\0\0\0\0\0");
    let output = run("explain", &path, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "a count that is not true is damage\n{text}");
    assert!(text.contains("BROKEN HERE"), "{text}");

    let sample = corpus().join("redis-7.2.6/types.rdb");
    let text = String::from_utf8(run("explain", &sample, &["--key", "stream:trimmed"]).stdout).unwrap();
    for words in [
        "21 STREAM_LISTPACKS_3 (stream)",
        "master id: 1-0 (16 bytes BE)",
        "head: living entries",
        "entry: flags (deleted, fields of the head)",
        "greatest deleted id, ms",
        "number of groups",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    assert!(!text.contains("AUX"), "only the key was asked for");
}

#[test]
fn a_key_and_a_range_narrow_it() {
    let sample = corpus().join("redis-7.2.6/types.rdb");
    let all = pieces(&sample, &[]);
    let key = pieces(&sample, &["--key", "geo", "--db", "0"]);
    let start = number(&key[0], "offset");
    let end = end_of(&key, start);
    assert_eq!(key[0]["meaning"], "17 ZSET_LISTPACK (zset)");
    let inside: Vec<&Value> = all
        .iter()
        .filter(|piece| piece.get("unpacked").is_none() && (start..end).contains(&number(piece, "offset")))
        .collect();
    assert_eq!(inside, key.iter().collect::<Vec<_>>());
    let by_range = pieces(&sample, &["--range", &format!("{start:#x}..{end}")]);
    assert_eq!(by_range, key);
    assert_eq!(pieces(&sample, &["--limit", "3"]).len(), 3);
    let missing = run("explain", &sample, &["--key", "no such key"]);
    assert_eq!((missing.status.code(), missing.stdout.len()), (Some(1), 0));
    assert!(stderr_of(&missing).contains("no such key"));
    assert_eq!(run("explain", &sample, &["--range", "5"]).status.code(), Some(2));
}

/// The expiry of a key stands before its name, and belongs to it.
#[test]
fn a_keys_lines_begin_with_what_stands_before_its_type() {
    let file = b"REDIS0003\xfe\x00\xfc\x01\0\0\0\0\0\0\0\x00\x01a\x011\x00\x01b\x012\xff";
    let (_folder, path) = saved(file);
    let a = pieces(&path, &["--key", "a"]);
    assert_eq!((number(&a[0], "offset"), a[1]["what"].as_str()), (11, Some("expires at")));
    assert_eq!(end_of(&a, 11), 25);
    assert_eq!(end_of(&pieces(&path, &["--key", "b"]), 25), 30);
    assert_eq!(run("explain", &path, &["--key", "b"]).status.code(), Some(0));
}

#[test]
fn damage_is_marked_at_the_byte_that_check_names() {
    let content = std::fs::read(corpus().join("redis-7.2.6/types.rdb")).unwrap();
    for cut in [3, 30, 82, 250, 5_000, 100_000] {
        let (_folder, path) = saved(&content[..cut]);
        let output = run("explain", &path, &["--json"]);
        assert_eq!(output.status.code(), Some(1), "{cut}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(end_of(report["pieces"].as_array().unwrap(), 0), cut as u64, "{}", report["fault"]);
        let fault = &json_of("check", &path)["fault"];
        assert!(report["fault"]["offset"].as_u64().unwrap() <= cut as u64, "{fault}");
    }
    let mut flipped = content;
    flipped[230] ^= 0xff;
    let (_folder, path) = saved(&flipped);
    let text = String::from_utf8(run("explain", &path, &["--range", "200.."]).stdout).unwrap();
    assert!(text.contains("BROKEN") || text.contains("WRONG"), "a changed byte shows");
}

#[test]
fn a_wrong_checksum_is_told_with_both_numbers() {
    let (_folder, path) = saved(b"REDIS0011\xff\x01\x02\x03\x04\x05\x06\x07\x08*1\r\n$4\r\nPING\r\n");
    let text = String::from_utf8(run("explain", &path, &[]).stdout).unwrap();
    assert!(
        text.contains("0807060504030201, WRONG") && text.contains("behind the end: a command log (14 bytes)"),
        "{text}"
    );
}
