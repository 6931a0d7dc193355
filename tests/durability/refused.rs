//! Starts that find something broken: refused where going on would lose data, with nothing changed; and a torn tail,
//! which is cut and kept.

use crate::rig::{Program, Server, files_below};
use std::path::Path;

fn logged(dir: &Path) {
    let server = Server::start(&Program::ours(), dir, &[("appendonly", "yes")]);
    let mut client = server.client();
    client.line("SET key value");
    client.line("HSET hash field value");
    assert!(server.terminate().success());
}

fn snapshot(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files: Vec<_> =
        files_below(dir).into_iter().map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect();
    files.sort();
    files
}

fn is_refused(dir: &Path, options: &[(&str, &str)], reason: &str) {
    let before = snapshot(dir);
    let output = Server::try_start(&Program::ours(), dir, options).map(|_| ()).unwrap_err();
    assert!(output.contains(reason), "{output}");
    assert_eq!(snapshot(dir), before);
}

/// Symptom: a log whose manifest was lost had its base deleted at the start, and was overwritten by the next rewrite.
#[test]
fn a_log_without_its_manifest_is_neither_ignored_nor_touched() {
    let dir = tempfile::tempdir().unwrap();
    logged(dir.path());
    let manifest = dir.path().join("appendonlydir/appendonly.aof.manifest");
    let content = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    is_refused(dir.path(), &[("appendonly", "yes")], "they would not be loaded");
    std::fs::write(&manifest, content).unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    assert_eq!(server.client().line("DBSIZE").int(), 2);
}

#[test]
fn another_name_for_the_log_does_not_start_empty_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    logged(dir.path());
    is_refused(dir.path(), &[("appendonly", "yes"), ("appendfilename", "other.aof")], "they would not be loaded");
}

#[test]
fn a_log_that_is_switched_off_does_not_start_empty_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    logged(dir.path());
    is_refused(dir.path(), &[("appendonly", "no")], "appendonly is no");
}

#[test]
fn a_second_server_in_the_directory_is_refused_and_leaves_the_pid_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let options = [("appendonly", "yes"), ("pidfile", "server.pid")];
    let server = Server::start(&Program::ours(), dir.path(), &options);
    is_refused(dir.path(), &options, "held by another server");
    let pid = std::fs::read_to_string(dir.path().join("server.pid")).unwrap();
    assert!(server.output().contains(&format!("PID: {}", pid.trim())), "{pid}");
}

const INCREMENT: &str = "appendonlydir/appendonly.aof.1.incr.aof";

/// A log whose increment holds `SELECT 0`, then `SET key:<n> value` for n from 0 to 9, and the seal of a shutdown.
fn ten_keys(dir: &Path) {
    let server = Server::start(&Program::ours(), dir, &[("appendonly", "yes")]);
    let mut client = server.client();
    (0..10).for_each(|n| drop(client.line(&format!("SET key:{n} value"))));
    assert!(server.terminate().success());
}

/// Where the last `count` records of the increment begin.
fn last_records(bytes: &[u8], count: usize) -> usize {
    let starts: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"*3\r\n")).collect();
    starts[starts.len() - count]
}

/// The increment as it would be without the shutdown: up to the last record.
fn without_last_seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let seal = bytes.windows(6).rposition(|window| window == b"#SEAL ").unwrap();
    bytes.truncate(seal);
    bytes
}

#[test]
fn a_torn_tail_is_cut_at_the_last_whole_record_and_kept_beside() {
    for (missing, tail) in [(1, &b""[..]), (20, b""), (0, b"\0\0\0\0\0\0\0\0"), (0, b"*3\r\n$3\r\nSE"), (7, b"\0\0\0")]
    {
        let dir = tempfile::tempdir().unwrap();
        ten_keys(dir.path());
        let path = dir.path().join(INCREMENT);
        let mut bytes = without_last_seal(std::fs::read(&path).unwrap());
        let whole = if missing > 0 { last_records(&bytes, 1) } else { bytes.len() };
        bytes.truncate(bytes.len() - missing);
        bytes.extend_from_slice(tail);
        std::fs::write(&path, &bytes).unwrap();
        let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
        assert_eq!(server.client().line("DBSIZE").int(), if missing > 0 { 9 } else { 10 });
        assert_eq!(std::fs::read(&path).unwrap(), bytes[..whole]);
        let torn = files_below(dir.path()).into_iter().find(|path| path.to_string_lossy().contains(".torn-")).unwrap();
        assert_eq!(std::fs::read(torn).unwrap(), bytes[whole..]);
    }
}

#[test]
fn damage_in_the_middle_stops_the_start_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    ten_keys(dir.path());
    let path = dir.path().join(INCREMENT);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = last_records(&bytes, 5);
    bytes[at] = b'?';
    std::fs::write(&path, &bytes).unwrap();
    is_refused(dir.path(), &[("appendonly", "yes")], "intact records follow");
}

#[test]
fn a_torn_tail_stops_the_start_where_the_configuration_says_so() {
    let dir = tempfile::tempdir().unwrap();
    ten_keys(dir.path());
    let path = dir.path().join(INCREMENT);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    is_refused(dir.path(), &[("appendonly", "yes"), ("aof-load-truncated", "no")], "aof-load-truncated");
}

/// Symptom: a dump was copied into the folder to be restored, and the server came up with the old data, silently.
#[test]
fn a_dump_that_was_put_beside_a_log_is_told_of_with_the_way_to_start_from_it() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = [("appendonly", "yes")];
    // A log of its own, as another server has.
    let server = Server::start(&Program::ours(), other.path(), &options);
    server.client().line("SET restored 1");
    server.client().line("SAVE");
    drop(server);
    logged(dir.path());
    // A dump of the log's own server is no news, however new.
    let server = Server::start(&Program::ours(), dir.path(), &options);
    server.client().line("SAVE");
    assert!(!server.output().contains("WAS NOT LOADED"), "{}", server.output());
    drop(server);
    let server = Server::start(&Program::ours(), dir.path(), &options);
    assert!(!server.output().contains("WAS NOT LOADED"), "{}", server.output());
    drop(server);
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::fs::write(dir.path().join("dump.rdb"), std::fs::read(other.path().join("dump.rdb")).unwrap()).unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &options);
    let output = server.output();
    let line = output.lines().find(|line| line.contains("WAS NOT LOADED")).unwrap_or_else(|| panic!("{output}"));
    let command = line.split('`').nth(1).unwrap().to_owned();
    assert!(server.client().ask(&["SHUTDOWN", "NOSAVE"]).is_err());
    drop(server);
    assert!(std::process::Command::new("sh").args(["-c", &command]).status().unwrap().success());
    let server = Server::start(&Program::ours(), dir.path(), &options);
    assert_eq!(server.client().line("GET restored").text(), "1");
    assert_eq!(server.client().line("DBSIZE").int(), 1);
}

/// Symptom: what was written while the log was off, and saved, was gone when the log came on again at a start.
#[test]
fn a_dump_that_was_saved_while_the_log_was_off_stops_the_start_and_both_ways_on_work() {
    for wants_dump in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        logged(dir.path());
        std::fs::write(dir.path().join("dump.rdb"), b"REDIS0011\xff\0\0\0\0\0\0\0\0").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "no")]);
        server.client().line("SET unlogged 1");
        server.client().line("SAVE");
        drop(server);
        let options = [("appendonly", "yes")];
        is_refused(dir.path(), &options, "saved while the log was off");
        let output = Server::try_start(&Program::ours(), dir.path(), &options).map(|_| ()).unwrap_err();
        let line = output.lines().find(|line| line.contains("saved while")).unwrap();
        let command = line.split('`').nth(if wants_dump { 1 } else { 3 }).unwrap();
        assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
        let server = Server::start(&Program::ours(), dir.path(), &options);
        let expected = if wants_dump { ["unlogged"].as_slice() } else { &["hash", "key"] };
        let keys = server.client().line("KEYS *");
        let mut keys: Vec<String> = keys.array().into_iter().map(|key| key.text()).collect();
        keys.sort();
        assert_eq!(keys, expected);
    }
}

/// Symptom: an old single file beside a dump that was saved after it was taken for one without files, or not at all.
#[test]
fn a_single_file_that_is_upgraded_beside_an_older_dump_is_not_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dump.rdb"), b"REDIS0011\xff\0\0\0\0\0\0\0\0").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::fs::write(dir.path().join("appendonly.aof"), b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n").unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    assert!(!server.output().contains("WAS NOT LOADED"), "{}", server.output());
    assert_eq!(server.client().line("DBSIZE").int(), 1);
}
