//! CONFIG SET appendonly on a running server: from its +OK on the log keeps what it promises.

use crate::rig::{Client, Program, Server, copy_folder, files_below};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn fill(client: &mut Client, count: usize) {
    let set = |index: usize| vec![b"SET".to_vec(), format!("key:{index}").into_bytes(), vec![b'v'; 100]];
    client.pipeline(&(0..count).map(set).collect::<Vec<_>>());
}

#[test]
fn what_was_acknowledged_before_and_after_the_ok_survives_a_kill() {
    for policy in ["always", "everysec", "no"] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::start(&Program::ours(), dir.path(), &[("appendfsync", policy)]);
        fill(&mut server.client(), 50_000);
        let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let mut writer = server.client();
                while !is_over.load(Ordering::Relaxed) {
                    written.store(writer.line("INCR count").int() as u64, Ordering::Relaxed); // positive
                }
            });
            let mut client = server.client();
            client.line("CONFIG SET appendonly yes");
            let before = written.load(Ordering::Relaxed);
            assert!(before > 0, "nobody could write while the log came into being");
            while written.load(Ordering::Relaxed) < before + 1000 {
                std::thread::yield_now();
            }
            is_over.store(true, Ordering::Relaxed);
            writing.join().unwrap();
        });
        server.kill();
        let last = written.load(Ordering::Relaxed);
        let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
        let mut client = server.client();
        assert_eq!(client.line("DBSIZE").int(), 50_001, "{policy}");
        let count = client.line("GET count").text().parse::<u64>().unwrap();
        assert!(count >= last, "{policy}: {count} of {last} acknowledged");
    }
}

#[test]
fn a_log_switched_off_and_on_is_one_that_real_servers_load() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes"), ("flush-guard", "0")]);
    let mut client = server.client();
    fill(&mut client, 1000);
    client.line("CONFIG SET appendonly no");
    client.line("SET between 1");
    client.line("CONFIG SET appendonly yes");
    client.line("SET after 1");
    drop(server);
    for peer in [Some(Program::ours()), Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), copy.path());
        let server = Server::start(&peer, copy.path(), &[("appendonly", "yes")]);
        assert_eq!(server.client().line("DBSIZE").int(), 1002, "{}", peer.name);
    }
    let names: Vec<_> = files_below(&dir.path().join("appendonlydir")).into_iter().collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn in_a_transaction_the_log_is_not_switched_and_the_rest_runs() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[]);
    let mut client = server.client();
    for line in ["MULTI", "CONFIG SET appendonly yes", "SET after 1"] {
        client.line(line);
    }
    let replies = client.line("EXEC").array();
    assert!(replies[0].is_error() && !replies[1].is_error(), "{replies:?}");
    assert_eq!(client.line("INFO").field("aof_enabled"), None);
    assert_eq!(client.line("CONFIG GET appendonly").array()[1].clone().text(), "no");
}
