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
