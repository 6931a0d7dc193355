//! `aoftool merge`: files that belong together, without the manifest that said so.

use super::aoftool_undo::{load, run_to, words_of};
use crate::rig::{Program, Server, differences, files_below, logs, records, truth_of};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn merge(code: i32, files: &[PathBuf], words: &[&str], output: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aoftool"));
    command.arg("merge").args(files).args(words).arg("--output").arg(output);
    let done = command.env_remove("IRONKEEP_DIR").stdin(Stdio::null()).output().unwrap();
    assert_eq!(done.status.code(), Some(code), "{files:?} {words:?}:\n{}", words_of(&done));
    done
}

/// Files of a folder of their own, by name.
fn files(parts: &[(&str, Vec<u8>)]) -> (TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let write = |(name, content): &(&str, Vec<u8>)| {
        fs::write(dir.path().join(name), content).unwrap();
        dir.path().join(name)
    };
    let paths = parts.iter().map(write).collect();
    (dir, paths)
}

/// The files that a manifest of a real server names, the last first.
fn parts_of(log: &Path) -> Vec<PathBuf> {
    let mut parts = files_below(log);
    parts.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("appendonly.aof."));
    parts.retain(|path| path.extension().is_some_and(|extension| extension != "manifest"));
    parts.sort();
    parts.reverse();
    parts
}

#[test]
fn the_files_of_real_servers_load_to_the_truth_without_their_manifest() {
    let mut count = 0;
    for log in logs() {
        let parts = parts_of(&log);
        if parts.len() < 2 {
            continue;
        }
        let truth = truth_of(&log);
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("file/appendonly.aof");
        fs::create_dir(whole.parent().unwrap()).unwrap();
        merge(0, &parts, &[], &whole);
        let folder = dir.path().join("dir/appendonlydir");
        fs::create_dir(folder.parent().unwrap()).unwrap();
        merge(0, &parts, &["--to", "dir"], &folder);
        for data in [whole.parent().unwrap(), folder.parent().unwrap()] {
            let wrongs = differences(&load(&Program::ours(), data), &truth);
            assert!(wrongs.is_empty(), "{}:\n{}", data.display(), wrongs.join("\n"));
        }
        count += 1;
    }
    assert!(count >= 8, "{count} of the logs have several files");
}

/// By hand what `undo-flush` does: the files from before the rewrite are in history, the flush is cut out in an editor.
#[test]
fn a_record_taken_out_by_hand_is_told_and_the_result_proves_itself() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes"), ("aof-history-retention", "1d")]);
    let mut client = server.client();
    for line in ["SET a 1", "FLUSHALL", "SET b 2", "BGREWRITEAOF"] {
        client.line(line);
    }
    client.wait_for_rewrite();
    client.line("SELECT 3");
    client.line("SET c 3");
    drop(server);
    let folder = dir.path().join("appendonlydir");
    let named = |name: &str| folder.join(format!("appendonly.aof.{name}"));
    let parts = [named("2.incr.aof"), named("1.incr.aof"), named("1.base.rdb")];
    let (text, flush) = (fs::read(&parts[1]).unwrap(), records(&["FLUSHALL"]));
    let at = text.windows(flush.len()).position(|window| window == flush).expect("the flush is in history");
    fs::write(&parts[1], [&text[..at], &text[at + flush.len()..]].concat()).unwrap();

    let out = tempfile::tempdir().unwrap();
    let done = merge(0, &parts, &["--json"], &out.path().join("appendonly.aof"));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["schema"], "aoftool.merge/1");
    assert_eq!(report["files"][1]["file"], "appendonly.aof.1.incr.aof", "in the order of their numbers");
    let has_note = report["notes"].as_array().unwrap().len() == 1;
    assert!(
        has_note && words_of(&done).contains(&format!("{} bytes of records fewer", flush.len())),
        "{}",
        words_of(&done)
    );
    let checked = run_to(0, &["check"], out.path());
    assert!(words_of(&checked).contains("seal"), "{}", words_of(&checked));
    // The base is an RDB of a version that Redis 8 reads.
    for program in std::iter::once(Program::ours()).chain(Program::redis_8()) {
        assert_eq!(load(&program, out.path()).keys.len(), 3, "{}", program.name);
    }
    let reversed = [parts[0].clone(), parts[1].clone()];
    let refused = merge(5, &reversed, &["--as-named"], &out.path().join("other.aof"));
    assert!(words_of(&refused).contains("was written before"), "{}", words_of(&refused));
}

#[test]
fn what_can_not_be_one_log_is_refused_and_a_torn_tail_is_told() {
    let torn = [records(&["SET c 3"]), b"*3\r\n$3\r\nSE".to_vec()].concat();
    let (dir, parts) = files(&[("one.aof", records(&["SELECT 2", "SET a 1"])), ("two.aof", torn)]);
    let output = dir.path().join("whole.aof");
    let done = merge(0, &parts, &["--dry-run"], &output);
    assert!(words_of(&done).contains("left out") && !output.exists(), "{}", words_of(&done));
    merge(0, &parts, &[], &output);
    // Each file begins in database 0.
    let whole = fs::read(&output).unwrap();
    assert_eq!(whole, records(&["SELECT 2", "SET a 1", "SELECT 0", "SET c 3"]));
    merge(5, &parts, &[], &output);
    merge(0, &parts, &["--force"], &output);
    let reversed: Vec<_> = parts.iter().rev().cloned().collect();
    let done = merge(1, &reversed, &["--force"], &output);
    assert!(words_of(&done).contains("not the last file"), "{}", words_of(&done));
    assert_eq!(fs::read(&output).unwrap(), whole);
    let rdb = crate::rig::rdb_files().swap_remove(0);
    let done = merge(5, &[parts[0].clone(), rdb], &["--force"], &output);
    assert!(words_of(&done).contains("can only stand first"), "{}", words_of(&done));
}
