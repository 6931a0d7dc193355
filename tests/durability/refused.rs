//! Starts that are refused, since going on would lose data; and that nothing was changed by them.

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
