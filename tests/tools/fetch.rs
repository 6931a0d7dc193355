//! `rdbtool fetch`: what it writes is what the server has, or nothing.

use super::inputs::Fake;
use super::rdbtool::{corpus, json_of, rdbtool, stderr_of};
use crate::rig::{Program, Server, differences, read_contents};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

fn fetch(url: &str, output: &Path, more: &[&str]) -> Output {
    rdbtool().args(["fetch", url, "--json", "--output"]).arg(output).args(more).output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr_of(output)))
}

/// Loads `rdb` into the server's program and gives a folder to fetch to.
fn serving(program: &Program, rdb: &Path, options: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(rdb, folder.path().join("dump.rdb")).unwrap();
    let server = Server::start(program, folder.path(), options);
    (folder, server)
}

#[test]
fn a_fetched_file_gives_a_server_the_same_data() {
    for program in [Program::redis_8(), Program::valkey_9(), Program::redis_7()].into_iter().flatten() {
        let sample = if program.name.starts_with("redis 8") { "redis-8.0.6" } else { "redis-7.0.15" };
        for diskless in ["yes", "no"] {
            let options = [("repl-diskless-sync", diskless), ("repl-diskless-sync-delay", "0"), ("save", "")];
            let (folder, server) = serving(&program, &corpus().join(sample).join("types.rdb"), &options);
            let target = folder.path().join("fetched.rdb");
            let output = fetch(&format!("redis://127.0.0.1:{}", server.port()), &target, &[]);
            let told = report(&output);
            assert_eq!(output.status.code(), Some(0));
            let wanted = read_contents(&mut server.client());
            assert_eq!(told["bytes"].as_u64().unwrap(), std::fs::metadata(&target).unwrap().len());
            assert_eq!((&told["keys"], &told["checksum"]), (&wanted.keys.len().into(), &"correct".into()));
            let (_again, copy) = serving(&program, &target, &options);
            let found = read_contents(&mut copy.client());
            assert_eq!(differences(&found, &wanted), Vec::<String>::new(), "{}", program.name);
        }
    }
}

/// Symptom: Valkey 9 breaks off before the first hash with fields that expire, for `valkey-cli --rdb` to this day, unless
/// it is told that the replica knows its own version.
#[test]
fn field_expiry_comes_along() {
    for program in [Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(&program, folder.path(), &[("repl-diskless-sync-delay", "0")]);
        let mut client = server.client();
        client.line("HSET h a 1 b 2");
        client.line("HPEXPIREAT h 4000000000000 FIELDS 1 a");
        let target = folder.path().join("fetched.rdb");
        let output = fetch(&format!("redis://127.0.0.1:{}", server.port()), &target, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
        let dump = rdbtool().args(["dump", "--ndjson"]).arg(&target).output().unwrap();
        let text = String::from_utf8(dump.stdout).unwrap();
        assert!(text.contains(r#""field_expire_at_ms":{"a":4000000000000}"#), "{}: {text}", program.name);
    }
}

#[test]
fn functions_alone_are_fetched_without_keys() {
    for program in [Program::redis_8(), Program::valkey_9(), Program::redis_7()].into_iter().flatten() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(&program, folder.path(), &[("repl-diskless-sync-delay", "0")]);
        let mut client = server.client();
        client.line("SET k v");
        client.call(&["FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)"]);
        let target = folder.path().join("functions.rdb");
        let told = report(&fetch(&format!("redis://127.0.0.1:{}", server.port()), &target, &["--functions-only"]));
        assert_eq!((&told["keys"], &told["functions"]), (&0.into(), &1.into()), "{}", program.name);
    }
    let old =
        Fake::start(|line| if line.contains("filter") { "-ERR Unrecognized REPLCONF\r\n" } else { "+OK\r\n" }, vec![]);
    let folder = tempfile::tempdir().unwrap();
    let output = fetch(&old.url, &folder.path().join("x.rdb"), &["--functions-only"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr_of(&output));
}

fn leaves_nothing(transfer: Vec<u8>, words: &str) {
    let server = Fake::sends(transfer);
    let folder = tempfile::tempdir().unwrap();
    let output = fetch(&server.url, &folder.path().join("dump.rdb"), &[]);
    let told = stderr_of(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains(words) && told.starts_with("127.0.0.1:"), "{told}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{words}");
}

#[test]
fn a_transfer_that_is_cut_or_changed_leaves_no_file() {
    let rdb = std::fs::read(corpus().join("redis-7.2.6/types.rdb")).unwrap();
    let head = format!("${}\r\n", rdb.len()).into_bytes();
    leaves_nothing([&head[..], &rdb[..rdb.len() - 1]].concat(), "the server closed the connection");
    leaves_nothing([&head[..], &rdb[..9]].concat(), "the server closed the connection");
    let mut changed = rdb.clone();
    let at = changed.windows(13).position(|window| window == b"the empty key").unwrap();
    changed[at] ^= 1;
    leaves_nothing([&head[..], &changed].concat(), "the checksum is");
    leaves_nothing(b"$9\r\nHTTP/1.1 ".to_vec(), "not an RDB");
}

#[test]
fn what_our_reader_does_not_know_is_copied_all_the_same() {
    let rdb = b"REDIS0015\xfe\x00\x21\x01k\x01\x02\x03\xff\x01\x02\x03\x04\x05\x06\x07\x08";
    let server = Fake::sends([format!("${}\r\n", rdb.len()).as_bytes(), rdb].concat());
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("dump.rdb");
    let told = report(&fetch(&server.url, &target, &[]));
    assert!(told["not_counted"].as_str().unwrap().contains("GCRA"), "{told}");
    assert_eq!(std::fs::read(&target).unwrap(), rdb);
}

#[test]
fn an_existing_file_is_left_alone_and_the_server_not_bothered() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("dump.rdb");
    std::fs::write(&target, "precious").unwrap();
    let output = fetch("redis://127.0.0.1:1", &target, &[]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr_of(&output));
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    let rdb = std::fs::read(corpus().join("redis-7.2.6/types.rdb")).unwrap();
    let server = Fake::sends([format!("${}\r\n", rdb.len()).as_bytes(), &rdb].concat());
    assert_eq!(fetch(&server.url, &target, &["--force"]).status.code(), Some(0));
    assert_eq!(json_of("check", &target)["verdict"], "healthy");
}

#[test]
fn a_silent_server_is_not_waited_for_without_end() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let output = fetch(&url, &folder.path().join("x.rdb"), &["--timeout", "1"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr_of(&output).contains("silent"), "{}", stderr_of(&output));
}
