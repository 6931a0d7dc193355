//! Each line of "What breaks other tools" in the reference, over the tool and over a start of the server: what a user
//! of another tool saw is what opens the test.

use super::rdbtool::{json_of, made, ours, rdbtool, run, saved};
use crate::rig::{Client, Program, Server};
use ironkeep::rdb::check::{Rules, judge};
use serde_json::Value;
use std::io::Cursor;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The version with a checksum that is switched off.
fn file(header: &str, body: &[u8]) -> Vec<u8> {
    [header.as_bytes(), b"\xfe\x00", body, b"\xff\0\0\0\0\0\0\0\0"].concat()
}

/// What check says: exit code and report.
fn check(content: &[u8], more: &[&str]) -> (Option<i32>, Value) {
    let (_folder, path) = saved(content);
    let output = run("check", &path, &[&["--json"], more].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// The records of the keys that dump prints.
fn dump(content: &[u8]) -> Vec<Value> {
    let (_folder, path) = saved(content);
    let output = run("dump", &path, &["--ndjson"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record.get("key").is_some()).collect()
}

/// Starts the server on a file, and asks it; the error is what it said instead of starting.
fn start<T>(content: &[u8], ask: impl FnOnce(&mut Client) -> T) -> Result<T, String> {
    let (folder, _) = saved(content);
    let server = Server::try_start(&Program::ours(), folder.path(), &[("appendonly", "no")])?;
    Ok(ask(&mut server.client()))
}

#[test]
fn an_empty_stream_is_a_value_and_not_a_gap() {
    let content = file("REDIS0011", b"\x15\x01s\x00\x00\x05\x01\x00\x00\x05\x01\x01\x00");
    assert_eq!(check(&content, &[]).0, Some(0));
    let records = dump(&content);
    assert_eq!((&records[0]["type"], records[0]["value"]["entries"].as_array().unwrap().len()), (&"stream".into(), 0));
    assert_eq!(start(&content, |client| client.line("XLEN s").int()), Ok(0));
    assert_eq!(start(&content, |client| client.line("EXISTS s").int()), Ok(1));
}

#[test]
fn a_score_of_minus_zero_keeps_its_sign() {
    let content = file("REDIS0011", &[b"\x05\x01z\x01\x01m".as_slice(), &(-0.0f64).to_le_bytes()].concat());
    assert_eq!(check(&content, &[]).0, Some(0));
    let (_folder, path) = saved(&content);
    let text = String::from_utf8(run("dump", &path, &["--json"]).stdout).unwrap();
    assert!(text.contains("-0"), "{text}");
    assert_eq!(start(&content, |client| client.line("ZSCORE z m").text()), Ok("-0".to_owned()));
}

/// One of the others prints both as "\u00ff".
#[test]
fn byte_ff_and_its_two_bytes_in_utf_8_are_different_json() {
    let content = file("REDIS0011", b"\x00\x01\xff\x01a\x00\x02\xc3\xbf\x01b");
    let records = dump(&content);
    assert_ne!(records[0]["key"], records[1]["key"]);
    assert_eq!((ours(&records[0]["key"]), ours(&records[1]["key"])), (b"\xff".to_vec(), b"\xc3\xbf".to_vec()));
    assert_eq!(check(&content, &[]).0, Some(0));
}

#[test]
fn slot_info_and_key_metadata_are_no_unknown_opcodes() {
    let slot = file("REDIS0012", b"\xf4\x42\x75\x01\x00\x00\x01k\x01v");
    assert_eq!(check(&slot, &[]).0, Some(0));
    assert_eq!(start(&slot, |client| client.line("GET k").text()), Ok("v".to_owned()));
    // One class, one unsigned integer of its module, then the type.
    let meta = file("REDIS0013", b"\xf3\x01abcd\x02\x05\x00\x00\x01k\x01v");
    let (code, report) = check(&meta, &[]);
    assert_eq!((code, &report["verdict"]), (Some(4), &"unsupported".into()), "read, and not kept by us: {report}");
    assert_eq!(dump(&meta)[0]["metadata"][0]["class"], "base64:YWJjZA==");
    assert!(start(&meta, |client| client.line("GET k").text()).unwrap_err().contains("metadata of modules (KEY_META)"));
}

/// Several parsers take the length behind 254 for one byte.
#[test]
fn a_zipmap_with_five_byte_lengths_is_read() {
    let zipmap = [&[1, 1, b'f', 254, 0x2c, 1, 0, 0, 0][..], &[b'v'; 300], &[255]].concat();
    let length = u16::try_from(zipmap.len()).unwrap() | 0x4000;
    let content = [b"REDIS0002\xfe\x00\x09\x01h", &length.to_be_bytes()[..], &zipmap, b"\xff"].concat();
    assert_eq!(check(&content, &[]).0, Some(0));
    assert_eq!(dump(&content)[0]["value"]["f"].as_str().unwrap().len(), 300);
    assert_eq!(start(&content, |client| client.line("HSTRLEN h f").int()), Ok(300));
}

/// "Internal error in RDB reading", and the server is gone: where the second one stands is not said.
#[test]
fn a_key_that_comes_twice_is_named_with_both_places() {
    let content = made(&[(b"k", b"1"), (b"l", b"1"), (b"k", b"2")]);
    let (code, report) = check(&content, &[]);
    let twice = &report["duplicate_keys"]["first"][0];
    assert_eq!((code, &twice["key"], &twice["offset"]), (Some(1), &"k".into(), &21.into()), "{report}");
    assert!(twice["what"].as_str().unwrap().contains("offset 11"));
    let refused = start(&content, |_| ()).unwrap_err();
    assert!(refused.contains("offset 21"), "{refused}");
}

/// redis-check-rdb says nothing of it and exits with 0.
#[test]
fn garbage_and_zeros_behind_the_trailer_are_told_and_load() {
    for (tail, is_nul) in [(b"garbage".as_slice(), false), (&[0; 4096], true)] {
        let content = [&file("REDIS0011", b"\x00\x01k\x01v")[..], tail].concat();
        let (code, report) = check(&content, &[]);
        let trailing = &report["trailing"];
        assert_eq!((code, &report["loads"], &trailing["is_nul"]), (Some(1), &true.into(), &is_nul.into()));
        assert_eq!(trailing["bytes"], tail.len());
        assert_eq!(start(&content, |client| client.line("GET k").text()), Ok("v".to_owned()));
    }
}

#[test]
fn a_checksum_of_zero_is_none() {
    let content = file("REDIS0011", b"\x00\x01k\x01v");
    let (code, report) = check(&content, &[]);
    assert_eq!((code, &report["checksum"]), (Some(0), &"disabled".into()));
    let (_folder, path) = saved(&content);
    assert_eq!(json_of("info", &path)["checksum"], "disabled");
    assert_eq!(start(&content, |client| client.line("GET k").text()), Ok("v".to_owned()));
}

/// The most memory that a run of the tool held, in MB, and its exit code.
fn peak_mb(mut command: Command) -> (u64, Option<i32>) {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak_kb = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap();
        if let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            peak_kb = line.trim().trim_end_matches(" kB").parse().unwrap();
        }
        if let Some(code) = child.try_wait().unwrap() {
            return (peak_kb / 1024, code.code());
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Others hold it whole, up to 1.2 GB of memory for a file of 76 MB.
#[test]
fn a_hash_of_two_million_fields_is_checked_in_32_mb() {
    let count = 2_000_000u32;
    let mut content = b"REDIS0011\xfe\x00\x04\x01h\x80".to_vec();
    content.extend(count.to_be_bytes());
    for number in 0..count {
        content.extend(format!("\x10field:{number:010}\x05value").as_bytes());
    }
    content.extend(b"\xff\0\0\0\0\0\0\0\0");
    let (folder, path) = saved(&content);
    let run = |arguments: &[&str], input: Stdio| {
        let mut command = rdbtool();
        command.args(arguments).stdin(input);
        peak_mb(command)
    };
    let (name, out) = (path.to_str().unwrap(), folder.path().join("out.rdb"));
    let piped = || Stdio::from(std::fs::File::open(&path).unwrap());
    for (arguments, input) in [
        (vec!["check", name], Stdio::null()),
        (vec!["check", "-"], piped()),
        (vec!["repair", name, "--output", out.to_str().unwrap()], Stdio::null()),
    ] {
        let (peak, code) = run(&arguments, input);
        assert_eq!(code, Some(0), "{arguments:?}");
        assert!(peak > 0 && peak < 32, "{arguments:?} held {peak} MB");
    }
}

/// "1 lost (0 bytes)", although every key was there.
#[test]
fn a_file_that_only_lacks_its_end_has_lost_nothing() {
    let (folder, path) = saved(b"REDIS0003\xfe\x00\x00\x01k\x01a\x00\x01l\x01b");
    let report = json_of("check", &path);
    assert_eq!((&report["findings"][0]["kind"], &report["findings"][0]["offset"]), (&"end".into(), &21.into()));
    assert_eq!(report["loads"], false);
    let out = folder.path().join("out.rdb");
    let output = run("repair", &path, &["--output", out.to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("2 keys kept, 0 lost"), "{said}");
    assert_eq!(std::fs::read(out).unwrap(), b"REDIS0003\xfe\x00\x00\x01k\x01a\x00\x01l\x01b\xff");
}

#[test]
fn a_file_cut_at_any_byte_is_damaged_and_never_loads() {
    let hash = b"\x04\x01h\x02\x01a\x01x\x01b\xc0\x05";
    let rest = b"\xfc\0\0\0\0\0\x01\0\0\xf9\x05\x00\x01k\xc3\x05\x17\x00a\xe0\x0d\x00\xfe\x01\x01\x01l\x02\x01a\x01b";
    let whole = file("REDIS0011", &[&b"\x00\x00\x00"[..], hash, rest].concat());
    let loads = |content: &[u8]| {
        let report = judge(&mut Cursor::new(content), &Rules::default(), &mut |_| Ok(())).unwrap();
        (report.refusal().is_none(), report.is_healthy(), report.fault.map(|(error, _)| error.offset()))
    };
    assert_eq!(loads(&whole), (true, true, None));
    for at in 0..whole.len() {
        let (loads, is_healthy, fault) = loads(&whole[..at]);
        assert!(!loads && !is_healthy && fault.is_some_and(|offset| offset <= at as u64), "cut at {at}");
    }
    for at in [0, 5, 12, 30, whole.len() - 1] {
        assert_eq!(check(&whole[..at], &[]).0, Some(1), "cut at {at}");
        assert!(start(&whole[..at], |_| ()).is_err(), "cut at {at}");
    }
}

/// redis-check-rdb says "Unexpected EOF" of a file that the server loads.
#[test]
fn a_key_without_elements_is_skipped_and_counted() {
    let content = file("REDIS0011", b"\x02\x01s\x00\x04\x01h\x00\x00\x01k\x01v");
    let (code, report) = check(&content, &[]);
    assert_eq!((code, &report["empty_keys"]["count"], &report["loads"]), (Some(1), &2.into(), &true.into()));
    assert_eq!(start(&content, |client| client.line("DBSIZE").int()), Ok(1));
}

#[test]
fn a_database_beyond_those_configured_stops_a_start() {
    let content = file("REDIS0011", b"\xfe\x14\x00\x01k\x01v");
    let (code, report) = check(&content, &[]);
    assert_eq!((code, &report["loads"]), (Some(1), &false.into()));
    assert!(report["refusal"]["what"].as_str().unwrap().contains("databases"), "{report}");
    assert_eq!(check(&content, &["--databases", "21"]).0, Some(0));
    assert!(start(&content, |_| ()).unwrap_err().contains("databases"));
}

/// Type 22 is another one by either magic.
#[test]
fn the_magic_decides_what_a_number_means() {
    let none = (-1i64).to_le_bytes();
    let valkey = file("VALKEY080", &[b"\x16\x01h\x01\x01f\x01v".as_slice(), &none].concat());
    assert_eq!(check(&valkey, &[]).0, Some(0));
    assert_eq!(dump(&valkey)[0]["value"]["f"], "v");
    assert_eq!(start(&valkey, |client| client.line("HGET h f").text()), Ok("v".to_owned()));
    let redis = file("REDIS0012", b"\x16\x01h\x01\x00\x01f\x01v");
    assert_eq!(dump(&redis)[0]["value"]["f"], "v");
    assert_eq!(check(&file("REDIS0012", &[b"\x16\x01h\x01\x01f\x01v".as_slice(), &none].concat()), &[]).0, Some(1));
}

/// Without the module the others skip the value, or stop.
#[test]
fn a_module_value_is_kept_without_its_module() {
    let id = 0x1234_5678_9abc_def0_u64.to_be_bytes();
    let content = file("REDIS0011", &[b"\x07\x01m\x81".as_slice(), &id, b"\x02\x2a\x05\x03abc\x00"].concat());
    assert_eq!(check(&content, &[]).0, Some(0));
    let records = dump(&content);
    assert_eq!((&records[0]["key"], &records[0]["type"]), (&"m".into(), &"module".into()));
    assert_eq!(start(&content, |client| client.line("EXISTS m").int()), Ok(1));
    let (folder, path) = saved(&content);
    let out = folder.path().join("out.rdb");
    let arguments = [path.as_os_str(), "--output".as_ref(), out.as_os_str()];
    assert!(rdbtool().arg("repair").args(arguments).status().unwrap().success());
    let kept = std::fs::read(&out).unwrap();
    // From the type byte to the end of the value.
    let value = &content[11..content.len() - 9];
    assert!(kept.windows(value.len()).any(|window| window == value));
}
