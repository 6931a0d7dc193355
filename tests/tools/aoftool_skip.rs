//! `aoftool check --fix=skip`: of a log with one damaged record, every other unit survives, byte for byte.
//!
//! `IRONKEEP_SKIPPED_LOGS` says on how many damaged logs this is tried.

use super::aoftool_undo::{increments, load, run, run_to, words_of};
use crate::rig::{Program, copy_folder, length, logs, records};
use ironkeep::aof::{Item, Place, Reader};
use ironkeep::resp::encode_request;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn record(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_request(&mut bytes, words);
    bytes
}

/// A unit of a kind: values that look like records, transactions, long and binary ones.
fn unit(number: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let key = format!("k{number}").into_bytes();
    let inner = record(&[b"SET", b"inner", b"x"]).repeat(random.usize(1..5));
    let binary: Vec<u8> = (0..random.usize(..60)).map(|_| random.u8(..)).collect();
    match random.u32(..6) {
        0 => record(&[b"SET", &key, &inner]),
        1 => {
            let commands = [&[&b"MULTI"[..]][..], &[b"SET", &key, b"v"], &[b"SADD", b"s", b"1", b"2"], &[b"EXEC"]];
            commands.iter().flat_map(|words| record(words)).collect()
        }
        2 => record(&[b"RPUSH", &key, b"e1", b"e2", b"e3"]),
        3 => record(&[b"SET", &key, &binary]),
        _ => record(&[b"SET", &key, b"value"]),
    }
}

/// The units of a log that can be read to its end; marks are no part of them.
fn units(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut open) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some((item, place)) = reader.next_placed().unwrap() {
        if matches!(item, Item::Record(_)) {
            open.extend_from_slice(item.raw());
            if matches!(place, Place::Alone | Place::Closes) {
                found.push(std::mem::take(&mut open));
            }
        }
    }
    found
}

#[test]
fn all_units_but_the_damaged_one_survive() {
    let (wanted, mut mended, mut whole) = (length("IRONKEEP_SKIPPED_LOGS", 150), 0, 0);
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..wanted as u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let parts: Vec<Vec<u8>> = (0..12).map(|number| unit(number, &mut random)).collect();
        let (mut bytes, at) = (parts.concat(), random.usize(..parts.concat().len()));
        bytes[at] ^= 1 << random.u32(..8);
        let path = dir.path().join(format!("{seed}.aof"));
        fs::write(&path, &bytes).unwrap();
        let output = run(&["check", "--fix=skip"], &path);
        let after = fs::read(&path).unwrap();
        if after == bytes {
            // The bytes can be read, and nothing proves them wrong.
            continue;
        }
        assert_eq!(output.status.code(), Some(0), "seed {seed}: {}", words_of(&output));
        let mut end = 0;
        let hit = parts.iter().position(|part| {
            end += part.len();
            at < end
        });
        let others: Vec<_> =
            parts.iter().enumerate().filter(|(index, _)| Some(*index) != hit).map(|part| part.1).collect();
        let found = units(&after);
        let is_whole = found.iter().eq(&parts);
        assert!(is_whole || found.iter().eq(others), "seed {seed}, byte {at}:\n{}", words_of(&output));
        (mended, whole) = (mended + 1, whole + usize::from(is_whole));
    }
    println!("{wanted} logs with one changed bit: {mended} could not be read and were mended, {whole} of them wholly");
    assert!(mended * 3 > wanted, "too few logs were damaged for this to say anything");
}

#[test]
fn sealed_logs_are_mended_to_logs_that_prove_themselves() {
    let lines: Vec<String> = (0..3000).map(|number| format!("SET key:{number} value:{number}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for seed in 0..10 {
        let dir = increments(&[records(&lines[..2000]), records(&lines[2000..])]);
        run_to(0, &["seal"], dir.path());
        let path = dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
        let mut bytes = fs::read(&path).unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        let at = random.usize(200..bytes.len());
        bytes[at] ^= 1 << random.u32(..7);
        fs::write(&path, &bytes).unwrap();
        run_to(1, &["check"], dir.path());
        let output = run_to(0, &["check", "--fix=skip"], dir.path());
        run_to(0, &["check"], dir.path());
        let keys = load(&Program::ours(), dir.path()).keys.len();
        assert!((2999..=3000).contains(&keys), "{keys} keys, seed {seed}:\n{}", words_of(&output));
    }
}

#[test]
fn it_says_which_keys_the_dropped_stretch_was_about() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("appendonly.aof");
    let mut bytes = records(&["SET first 1", "RPUSH second a b c", "SET third 3", "SET fourth 4"]);
    let at = bytes.windows(5).position(|window| window == b"$1\r\nb").unwrap();
    bytes[at] = b'%';
    fs::write(&path, &bytes).unwrap();
    let planned = run_to(0, &["check", "--fix=skip", "--dry-run", "--json"], &path);
    let report: Value = serde_json::from_slice(&planned.stdout).unwrap();
    assert_eq!(report["mended"][0]["dropped"][0]["keys"], serde_json::json!(["second"]), "{report}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let beside = dir.path().join("beside");
    run_to(0, &["check", "--fix=skip", "--output", beside.to_str().unwrap()], &path);
    assert_eq!(
        fs::read(beside.join("appendonly.aof")).unwrap(),
        records(&["SET first 1", "SET third 3", "SET fourth 4"])
    );
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let output = run_to(0, &["check", "--fix=skip"], &path);
    assert!(words_of(&output).contains("keys: \"second\"\n"), "{}", words_of(&output));
    assert!(words_of(&output).contains("To undo: "), "{}", words_of(&output));
}

#[test]
fn a_file_that_was_never_a_log_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("appendonly.aof");
    fs::write(&path, b"hello, world\n").unwrap();
    let output = run_to(1, &["check", "--fix=skip"], &path);
    assert!(words_of(&output).contains("no append-only log"), "{}", words_of(&output));
    assert_eq!(fs::read(&path).unwrap(), b"hello, world\n");
}

#[test]
fn a_log_is_cut_at_a_time_and_none_without_times() {
    let first = ["#TS:1700000000", "SELECT 0", "SET a 1", "#TS:1700000001", "SET b 2"];
    let second = ["#TS:1700000005", "SELECT 0", "MULTI", "SET c 3", "#TS:1700000006", "SET d 4", "EXEC", "SET e 5"];
    // Second, and the names that are there then.
    for (time, names) in [("1700000000", "a"), ("1700000004", "ab"), ("1700000005", "ab"), ("1700000006", "abcde")] {
        for is_sealed in [false, true] {
            let dir = increments(&[records(&first), records(&second)]);
            if is_sealed {
                run_to(0, &["seal"], dir.path());
            }
            run_to(0, &["truncate", "--to-time", time], dir.path());
            run_to(0, &["check"], dir.path());
            let contents = load(&Program::ours(), dir.path());
            let found: String =
                contents.keys.keys().map(|(_, name)| String::from_utf8_lossy(name).into_owned()).collect();
            assert_eq!(found, names, "{time}");
        }
    }
    let dir = increments(&[records(&first), records(&second)]);
    let early = run_to(1, &["truncate", "--to-time", "1699999999"], dir.path());
    assert!(words_of(&early).contains("nothing before 2023-11-14T22:13:19.000Z"), "{}", words_of(&early));
    let timeless = increments(&[records(&["SELECT 0", "SET a 1"])]);
    let output = run_to(1, &["check", "--truncate-to-timestamp", "1700000000"], timeless.path());
    assert!(words_of(&output).contains("tells no times"), "{}", words_of(&output));
}

/// The seconds that a log tells, and how many of its bytes are in front of the first later one.
fn seconds_of(log: &[u8]) -> Vec<(i64, usize)> {
    let mut times = Vec::new();
    let mut reader = Reader::new(log);
    while let Some((item, _)) = reader.next_placed().unwrap() {
        if let Item::Annotation(line) = &item {
            times.extend(line.timestamp().map(|second| (second, line.offset as usize)));
        }
    }
    let ends = times.iter().map(|(_, offset)| *offset).skip(1).chain([log.len()]);
    times.iter().map(|(second, _)| *second).zip(ends).collect()
}

#[test]
fn every_log_of_a_real_server_is_cut_at_each_of_its_seconds() {
    let (mut cuts, mut timeless) = (0, 0);
    for sample in logs() {
        let newest = |dir: &Path| {
            let mut files = crate::rig::files_below(dir);
            let is_increment = |name: &str| name.ends_with(".incr.aof") && !name.contains(".bak-");
            files.retain(|path| is_increment(&path.to_string_lossy()));
            files.sort();
            files.pop()
        };
        let log = newest(&sample).map(|path| fs::read(path).unwrap()).unwrap_or_default();
        let seconds = seconds_of(&log);
        for (index, (second, end)) in seconds.iter().enumerate() {
            let next = seconds.get(index + 1).map_or(*second, |(next, _)| *next);
            // The last moment of this second, and the last before the log tells another.
            for time in [*second, next.max(second + 1) - 1] {
                let dir = tempfile::tempdir().unwrap();
                copy_folder(&sample, dir.path());
                run_to(0, &["truncate", "--to-time", &time.to_string()], dir.path());
                let kept = fs::read(newest(dir.path()).unwrap()).unwrap();
                assert!(kept == log[..*end], "{} at {time}: {} bytes, not {end}", sample.display(), kept.len());
                cuts += 1;
            }
        }
        if seconds.is_empty() {
            let dir = tempfile::tempdir().unwrap();
            copy_folder(&sample, dir.path());
            let output = run_to(1, &["truncate", "--to-time", "1700000000"], dir.path());
            // An RDB in front tells one time: its own.
            let says_so =
                ["tells no times", "the first time that it tells is"].map(|text| words_of(&output).contains(text));
            assert!(says_so.contains(&true), "{}: {}", sample.display(), words_of(&output));
            let is_whole = newest(dir.path()).is_none_or(|path| fs::read(path).unwrap() == log);
            assert!(is_whole && run(&["check"], dir.path()).status.success(), "{}", sample.display());
            timeless += 1;
        }
    }
    println!("{cuts} cuts at seconds that logs tell; {timeless} logs tell none, and say so");
    assert!(cuts >= 16 && timeless > 0, "{cuts}, {timeless}");
}

#[test]
fn a_cut_falls_between_units_and_files_behind_it_leave_the_manifest() {
    let first = records(&["SELECT 0", "SET a 1", "MULTI", "SET b 2", "SET c 3", "EXEC", "FLUSHALL", "SET d 4"]);
    let second = records(&["SELECT 0", "SET e 5"]);
    let multi = records(&["SELECT 0", "SET a 1"]).len();
    let exec = records(&["SELECT 0", "SET a 1", "MULTI", "SET b 2", "SET c 3", "EXEC"]).len();
    let manifest = |dir: &Path| fs::read_to_string(dir.join("appendonlydir/appendonly.aof.manifest")).unwrap();
    let name = "appendonly.aof.1.incr.aof";
    for (offset, wanted) in [(multi + 20, multi), (exec, exec), (exec + 1, exec), (0, 0)] {
        let dir = increments(&[first.clone(), second.clone()]);
        run_to(0, &["truncate", "--file", name, "--to-offset", &offset.to_string()], dir.path());
        assert_eq!(fs::read(dir.path().join("appendonlydir").join(name)).unwrap(), first[..wanted], "{offset}");
        assert!(!manifest(dir.path()).contains(".2.incr.aof"), "{}", manifest(dir.path()));
        assert!(!dir.path().join("appendonlydir/appendonly.aof.2.incr.aof").exists());
        run_to(0, &["undo"], dir.path());
        assert!(manifest(dir.path()).contains(".2.incr.aof"));
        assert_eq!(fs::read(dir.path().join("appendonlydir").join(name)).unwrap(), first);
    }
    let dir = increments(&[first.clone(), second]);
    let output = run_to(0, &["truncate", "--before", "flushall", "--json"], dir.path());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["schema"], report["offset"].as_u64()), (&"aoftool.truncate/1".into(), Some(exec as u64)));
    assert_eq!(load(&Program::ours(), dir.path()).keys.len(), 3);
    run_to(1, &["truncate", "--before", "FLUSHALL"], dir.path());
    run_to(2, &["truncate"], dir.path());
}

#[test]
fn logs_of_real_servers_are_sealed_and_unsealed_and_stay_what_they_are() {
    for sample in logs() {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(&sample, dir.path());
        let read = |dir: &Path| -> Vec<(std::path::PathBuf, Vec<u8>)> {
            let files =
                crate::rig::files_below(dir).into_iter().filter(|path| !path.to_string_lossy().contains(".bak-"));
            files.map(|path| (path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap())).collect()
        };
        let before = read(dir.path());
        run_to(0, &["seal"], dir.path());
        let checked = run_to(0, &["check"], dir.path());
        assert!(words_of(&checked).contains("prove all of it"), "{}", words_of(&checked));
        let again = run_to(0, &["seal", "--json"], dir.path());
        let report: Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!((&report["schema"], report["files"].as_u64()), (&"aoftool.seal/1".into(), Some(0)));
        run_to(0, &["unseal"], dir.path());
        assert!(read(dir.path()) == before, "{}", sample.display());
    }
}

#[test]
fn real_servers_load_a_sealed_log() {
    let dir =
        increments(&[records(&["SELECT 0", "SET a 1", "MULTI", "SET b 2", "EXEC"]), records(&["SELECT 3", "SET c 3"])]);
    run_to(0, &["seal"], dir.path());
    for program in [Program::redis_7(), Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        assert_eq!(load(&program, dir.path()).keys.len(), 3, "{}", program.name);
    }
}
