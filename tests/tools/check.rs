//! `rdbtool check`: it goes on behind damage and names every key that is wrong; and what is said of a checksum up front.

use super::rdbtool::{made, rdbtool, run, samples, saved, stderr_of};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

fn report_of(file: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let output = run("check", file, &[&["--json"], more].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

fn offset_of(file: &[u8], text: &[u8]) -> usize {
    file.windows(text.len()).position(|window| window == text).unwrap()
}

/// "It stops at the first fault": a second one, and a key that comes twice behind both, are found in the same run.
#[test]
fn every_bad_key_is_named_in_one_run() {
    let names: Vec<String> = (0..40).map(|number| format!("key:{number:02}")).collect();
    let mut keys: Vec<(&[u8], &[u8])> = names.iter().map(|name| (name.as_bytes(), b"a value".as_slice())).collect();
    keys.push((b"key:01", b"another"));
    let mut file = made(&keys);
    for name in ["key:07", "key:23"] {
        let at = offset_of(&file, name.as_bytes());
        file[at + 6] = 0xc9; // a form of a string that does not exist
    }
    let (_folder, path) = saved(&file);
    let (code, report) = report_of(&path, &[]);
    assert_eq!((code, &report["verdict"], &report["keys"]), (Some(1), &"damaged".into(), &39.into()), "{report}");
    let found: Vec<(&str, &str, usize)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let offset = finding["offset"].as_u64().unwrap();
            let text = |name: &str| finding[name].as_str().unwrap();
            (text("kind"), text("key"), usize::try_from(offset).unwrap())
        })
        .collect();
    let at = |name: &[u8]| offset_of(&file, name) - 2;
    let twice = file.len() - 1 - 2 - b"key:01".len() - 1 - b"another".len();
    assert_eq!(
        found,
        [("damage", "key:07", at(b"key:07")), ("damage", "key:23", at(b"key:23")), ("duplicate", "key:01", twice)]
    );
    assert_eq!(report["refusal"]["offset"], offset_of(&file, b"key:07") + 7, "where a server stops: {report}");
    assert!(report["findings"][2]["what"].as_str().unwrap().contains(&format!("offset {}", at(b"key:01"))));
    let text = String::from_utf8(run("check", &path, &[]).stdout).unwrap();
    assert!(text.contains("key:07") && text.contains("key:23") && text.contains("reading goes on at offset"), "{text}");
}

#[test]
fn standard_input_gets_the_same_report_as_the_file() {
    let mut whole =
        std::fs::read(samples().iter().find(|path| path.ends_with("redis-7.0.15/types.rdb")).unwrap()).unwrap();
    let middle = whole.len() / 2;
    whole[middle..middle + 20].fill(0xf1);
    let (_folder, path) = saved(&whole);
    let (code, by_name) = report_of(&path, &[]);
    assert_eq!(code, Some(1));
    let input = Stdio::from(std::fs::File::open(&path).unwrap());
    let output = rdbtool().args(["check", "-", "--json"]).stdin(input).output().unwrap();
    let mut by_pipe: Value = serde_json::from_slice(&output.stdout).unwrap();
    by_pipe["file"] = by_name["file"].clone();
    assert_eq!(by_pipe, by_name);
}

#[test]
fn a_wrong_checksum_is_told_before_the_first_key() {
    let mut file =
        std::fs::read(samples().iter().find(|path| path.ends_with("redis-7.2.6/types.rdb")).unwrap()).unwrap();
    let at = offset_of(&file, b"the empty key");
    file[at] ^= 1;
    let (_folder, path) = saved(&file);
    let dumped = run("dump", &path, &["--ndjson"]);
    assert_eq!(dumped.status.code(), Some(3));
    let told = stderr_of(&dumped);
    assert!(told.contains("checksum") && told.contains(&format!("offset {}", file.len() - 8)), "{told}");
    assert!(dumped.stdout.len() > 1000, "what is whole is printed");
    let unverified = run("dump", &path, &["--ndjson", "--no-verify"]);
    assert_eq!((unverified.status.code(), stderr_of(&unverified).as_str()), (Some(0), ""));
    assert!(unverified.stdout.len() >= dumped.stdout.len());
    let (code, report) = report_of(&path, &[]);
    assert_eq!((code, &report["checksum"], &report["loads"]), (Some(1), &"wrong".into(), &false.into()));
    let (code, report) = report_of(&path, &["--no-verify"]);
    assert_eq!((code, &report["checksum"], &report["loads"]), (Some(0), &"not verified".into(), &true.into()));
}

#[test]
fn counts_that_do_not_fit_are_told_and_hurt_nobody() {
    let (_folder, path) = saved(b"REDIS0011\xfe\x00\xfb\x07\x02\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0");
    let (code, report) = report_of(&path, &[]);
    assert_eq!((code, &report["verdict"]), (Some(0), &"healthy".into()), "{report}");
    let hint = &report["findings"][0];
    assert_eq!((&hint["kind"], &hint["offset"]), (&"hint".into(), &11.into()));
    assert!(hint["what"].as_str().unwrap().contains("announces 7 keys"), "{hint}");
}

#[test]
fn elements_that_come_twice_are_named() {
    let (_folder, path) =
        saved(b"REDIS0003\xfe\x00\x04\x04hash\x03\x01a\x01x\x01b\x01y\x01a\x01z\x02\x03set\x02\xc0\x05\x015\xff");
    let (code, report) = report_of(&path, &[]);
    assert_eq!((code, &report["verdict"]), (Some(1), &"damaged".into()));
    let what = |index: usize| report["refused_values"]["first"][index]["what"].as_str().unwrap().to_owned();
    assert_eq!(
        (what(0), what(1)),
        ("the field of the hash \"a\" stands there twice".to_owned(), {
            "the member of the set \"5\" stands there twice".to_owned()
        })
    );
}

/// Beyond 8 MB of fingerprints those of one value go to the disk, and are found there.
#[test]
fn one_field_twice_among_a_million_is_found_in_little_memory() {
    let count = 1_000_000u32;
    let mut file = b"REDIS0003\xfe\x00\x04\x01h\x80".to_vec();
    file.extend((count + 1).to_be_bytes());
    for number in (0..count).chain([77]) {
        file.extend(format!("\x0afld{number:07}\x01v").as_bytes());
    }
    file.push(0xff);
    let (_folder, path) = saved(&file);
    let (code, report) = report_of(&path, &[]);
    assert_eq!(code, Some(1));
    let what = report["refused_values"]["first"][0]["what"].as_str().unwrap();
    assert!(what.contains("fld0000077"), "{what}");
}
