//! What expires goes: on access, and by itself.

use super::eviction::info;
use crate::rig::{Client, Program, Server};
use std::time::{Duration, Instant};

/// Waits until INFO says so, some seconds at most.
fn wait_for(client: &mut Client, field: &str, value: u64) {
    let started = Instant::now();
    while info(client, field) != value {
        assert!(started.elapsed() < Duration::from_secs(20), "{field} is {}, not {value}", info(client, field));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn keys_and_fields_go_by_themselves_among_many_that_stay() {
    let dir = tempfile::tempdir().unwrap();
    let options = [("appendonly", "yes"), ("hash-max-listpack-entries", "64")];
    let mut server = Server::start(&Program::ours(), dir.path(), &options);
    let mut client = server.client();
    let words = |line: String| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    let mut requests: Vec<_> = (0..5_000).map(|number| words(format!("SET stays:{number} v"))).collect();
    requests.extend((0..2_000).map(|number| words(format!("SET goes:{number} v PX {}", 1 + number % 500))));
    for (hash, fields) in [("small", 20), ("large", 300)] {
        for field in 0..fields {
            requests.push(words(format!("HSET {hash} f{field} v")));
        }
        for field in 0..fields / 2 {
            requests.push(words(format!("HPEXPIRE {hash} 100 FIELDS 1 f{field}")));
        }
    }
    requests.push(words("HSETEX gone PX 100 FIELDS 2 a 1 b 2".to_owned()));
    client.pipeline(&requests);
    wait_for(&mut client, "expired_keys", 2_000);
    wait_for(&mut client, "expired_subkeys", 10 + 150 + 2);
    assert_eq!(client.line("DBSIZE").int(), 5_002);
    assert_eq!((client.line("HLEN small").int(), client.line("HLEN large").int()), (10, 150));
    server.kill();
    let server = Server::start(&Program::ours(), dir.path(), &options);
    let mut client = server.client();
    assert_eq!(client.line("DBSIZE").int(), 5_002);
    assert_eq!((client.line("HLEN small").int(), client.line("HLEN large").int()), (10, 150));
    assert_eq!(info(&mut client, "expired_keys"), 0);
}
