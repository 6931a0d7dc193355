//! `aoftool` as `redis-check-aof`: beside the real program, on whole and broken logs, the lines, the exit code and the file
//! are the same. Only the bytes behind `got:` differ, which the real one prints as they are, or with a wrong sign.
//!
//! `IRONKEEP_NAMED_LOGS` says on how many broken logs this is tried.

use crate::rig::{copy_folder, length, logs, records, skip};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const REAL: &str = "/opt/peers/bin/redis-check-aof";

/// A link of that name to our tool.
fn ours(dir: &Path) -> PathBuf {
    let link = dir.join("redis-check-aof");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_aoftool"), &link).unwrap();
    link
}

/// What it prints, with what differs left out, and its exit code.
fn outcome(program: &Path, folder: &Path, words: &[&str], input: &str) -> (String, Option<i32>) {
    let mut child = Command::new(program)
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who does not ask does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(|line| line.split("got: ").next().unwrap());
    // The lines about an RDB are those of another program.
    let is_about_rdb = |line: &&str| line.starts_with('[');
    (lines.filter(|line| !is_about_rdb(line)).collect::<Vec<_>>().join("\n"), output.status.code())
}

fn assert_same(ours: &Path, folder: &Path, name: &str, words: &[&str], input: &str) {
    let copies = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [real, found] = [(Path::new(REAL), &copies[0]), (ours, &copies[1])].map(|(program, copy)| {
        copy_folder(folder, copy.path());
        let (text, code) = outcome(program, copy.path(), words, input);
        (text, code, fs::read(copy.path().join(name)).ok())
    });
    assert!(real == found, "{words:?}\nreal: {}\n{:?}\nours: {}\n{:?}", real.0, real.1, found.0, found.1);
}

#[test]
fn it_says_and_does_what_the_real_one_does() {
    if !Path::new(REAL).exists() {
        return skip("no redis-check-aof to compare with");
    }
    let dir = tempfile::tempdir().unwrap();
    let ours = ours(dir.path());
    let folder = dir.path().join("logs");
    fs::create_dir(&folder).unwrap();
    let name = "appendonly.aof";
    let whole = records(&["SELECT 0", "#TS:5", "SET a 1", "MULTI", "SET b 2", "EXEC", "#TS:9", "SET c 3"]);
    let count = length("IRONKEEP_NAMED_LOGS", 60);
    for seed in 0..count as u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut bytes, at) = (whole.clone(), random.usize(..whole.len()));
        match seed % 3 {
            0 => bytes[at] = random.u8(..),
            1 => bytes.truncate(at),
            _ => bytes.extend_from_slice(&[0; 3]),
        }
        fs::write(folder.join(name), &bytes).unwrap();
        assert_same(&ours, &folder, name, &[name], "");
        assert_same(&ours, &folder, name, &["--fix", name], if random.bool() { "y\n" } else { "n\n" });
    }
    fs::write(folder.join(name), &whole).unwrap();
    for time in ["4", "5", "8", "9", "soon"] {
        assert_same(&ours, &folder, name, &["--truncate-to-timestamp", time, name], "");
    }
    for words in [&["none.aof"][..], &[], &["--fix"], &["--other", name], &[name, name, name]] {
        assert_same(&ours, &folder, name, words, "");
    }
    println!("{count} broken logs: the same lines, exit codes and files as redis-check-aof");
}

#[test]
fn logs_of_real_servers_get_the_same_lines() {
    if !Path::new(REAL).exists() {
        return skip("no redis-check-aof to compare with");
    }
    let dir = tempfile::tempdir().unwrap();
    let ours = ours(dir.path());
    for sample in logs() {
        // The real one knows no base that a Valkey wrote.
        if sample.to_string_lossy().contains("valkey") {
            continue;
        }
        let folder = sample.join("appendonlydir");
        let (folder, name) = match folder.is_dir() {
            true => (folder, "appendonly.aof.manifest"),
            false => (sample.clone(), "appendonly.aof"),
        };
        assert_same(&ours, &folder, name, &[name], "");
    }
}

#[test]
fn what_it_cuts_is_kept_and_a_servers_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, path) = (ours(dir.path()), dir.path().join("appendonly.aof"));
    let torn = [records(&["SET a 1"]), b"*2\r\n$3".to_vec()].concat();
    fs::write(&path, &torn).unwrap();
    let words = ["--fix", "appendonly.aof"];
    let holder = fs::File::options().append(true).open(&path).unwrap();
    let other = Command::new("sleep").arg("60").stdout(holder).stdin(Stdio::null()).spawn();
    let mut other = other.unwrap();
    let (text, code) = outcome(&ours, dir.path(), &words, "y\n");
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!((code, fs::read(&path).unwrap()), (Some(1), torn.clone()), "{text}");
    assert!(text.contains("has this file open"), "{text}");
    assert_eq!(outcome(&ours, dir.path(), &words, "y\n").1, Some(0));
    assert_eq!(fs::read(&path).unwrap(), records(&["SET a 1"]));
    let kept = crate::rig::files_below(dir.path()).into_iter().find(|path| path.to_string_lossy().contains(".bak-"));
    assert_eq!(fs::read(kept.unwrap()).unwrap(), torn);
}
