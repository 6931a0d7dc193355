//! An end that was asked for: everything is kept, and the next start finds nothing to mend.

use crate::rig::{Client, Program, Server, files_below};
use std::path::Path;

fn write(client: &mut Client, prefix: &str) {
    let set = |index: usize| vec![b"SET".to_vec(), format!("{prefix}:{index}").into_bytes(), vec![b'v'; 50]];
    client.pipeline(&(0..5_000).map(set).collect::<Vec<_>>());
}

fn keys_after_restart(dir: &Path, options: &[(&str, &str)]) -> i64 {
    let server = Server::start(&Program::ours(), dir, options);
    let output = server.output();
    assert!(!output.to_lowercase().contains("truncat"), "{output}");
    server.client().line("DBSIZE").int()
}

#[test]
fn sigterm_keeps_everything_and_ends_with_zero() {
    for policy in ["always", "everysec", "no"] {
        let dir = tempfile::tempdir().unwrap();
        let options = [("appendonly", "yes"), ("appendfsync", policy)];
        let server = Server::start(&Program::ours(), dir.path(), &options);
        let mut client = server.client();
        write(&mut client, "before");
        client.line("BGREWRITEAOF");
        write(&mut client, "during");
        assert!(server.terminate().success());
        assert_eq!(keys_after_restart(dir.path(), &options), 10_000);
        let is_temporary = |path: &std::path::PathBuf| ironkeep::disk::is_temporary(path.file_name().unwrap());
        assert_eq!(files_below(dir.path()).into_iter().find(is_temporary), None);
    }
}

#[test]
fn shutdown_save_leaves_an_rdb_that_holds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "no")]);
    let mut client = server.client();
    write(&mut client, "key");
    let answer = client.ask(&["SHUTDOWN", "SAVE"]);
    assert!(answer.is_err(), "SHUTDOWN answers only where it fails: {answer:?}");
    drop(server);
    assert_eq!(keys_after_restart(dir.path(), &[("appendonly", "no")]), 5_000);
}

/// The log is switched on over data that lies in dump.rdb alone: it must not start empty (promise 4).
#[test]
fn switching_the_log_on_keeps_what_dump_rdb_holds() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "no")]);
    let mut client = server.client();
    write(&mut client, "key");
    client.line("SAVE");
    drop(server);
    let options = [("appendonly", "yes")];
    assert_eq!(keys_after_restart(dir.path(), &options), 5_000);
    std::fs::remove_file(dir.path().join("dump.rdb")).unwrap();
    assert_eq!(keys_after_restart(dir.path(), &options), 5_000);
}
