//! What rewrites have replaced, as other programs see it.

use crate::rig::{Client, Program, Server, copy_folder, files_below};
use std::path::Path;
use std::process::Command;

const KEPT: &[(&str, &str)] = &[("appendonly", "yes"), ("aof-history-retention", "1d")];

fn rewrite(client: &mut Client, value: &str) {
    client.call(&["SET", "key", value]);
    client.line("BGREWRITEAOF");
    client.wait_for_rewrite();
}

/// Two rewrites whose files are kept.
fn fill(dir: &Path) {
    let server = Server::start(&Program::ours(), dir, KEPT);
    let mut client = server.client();
    for value in ["one", "two"] {
        rewrite(&mut client, value);
    }
    client.line("SET last 1");
    assert!(server.terminate().success());
}

fn names(dir: &Path) -> Vec<String> {
    let name = |path: std::path::PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    files_below(&dir.join("appendonlydir")).into_iter().map(name).collect()
}

#[test]
fn real_servers_load_a_log_with_history_and_delete_that() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    assert_eq!(names(dir.path()).len(), 7, "{:?}", names(dir.path()));
    for peer in [Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), copy.path());
        let manifest = copy.path().join("appendonlydir/appendonly.aof.manifest");
        let check = Command::new(peer.tool("check-aof")).arg(&manifest).output().unwrap();
        assert!(check.status.success(), "{}: {}", peer.name, String::from_utf8_lossy(&check.stdout));
        let server = Server::start(&peer, copy.path(), &[("appendonly", "yes")]);
        let mut client = server.client();
        assert_eq!(client.line("GET key").text(), "two", "{}", peer.name);
        assert_eq!(client.line("GET last").text(), "1", "{}", peer.name);
        drop(server);
        let kept = names(copy.path());
        assert_eq!(kept.len(), 3, "{}: {kept:?}", peer.name);
        // And back: what is gone is missed by nobody.
        let server = Server::start(&Program::ours(), copy.path(), KEPT);
        assert_eq!(server.client().line("GET key").text(), "two", "{}", peer.name);
    }
}

#[test]
fn history_outlives_restarts_and_goes_when_it_is_wanted_no_more() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let server = Server::start(&Program::ours(), dir.path(), KEPT);
    let mut client = server.client();
    assert_eq!(client.line("GET key").text(), "two");
    rewrite(&mut client, "three");
    assert_eq!(names(dir.path()).len(), 9, "{:?}", names(dir.path()));
    drop(server);
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    for _ in 0..200 {
        if names(dir.path()).len() == 3 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(names(dir.path()).len(), 3, "{:?}", names(dir.path()));
    assert_eq!(server.client().line("GET key").text(), "three");
}

#[test]
fn the_tools_name_history_and_check_what_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    for verb in ["info", "check"] {
        let output = Command::new(env!("CARGO_BIN_EXE_aoftool")).arg(verb).arg(dir.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{verb}: {text}");
        if verb == "info" {
            assert!(text.contains("appendonly.aof.1.base.rdb"), "{text}");
        }
    }
}
