//! Large values and whole databases are given back by a thread. `IRONKEEP_LAZYFREE`: elements and keys of the largest.

use super::eviction::info;
use crate::rig::{Client, Program, Server};
use std::time::Duration;

fn zset(client: &mut Client, key: &str, count: usize) {
    let requests: Vec<Vec<Vec<u8>>> = (0..count)
        .step_by(500)
        .map(|first| {
            let mut request = vec![b"ZADD".to_vec(), key.as_bytes().to_vec()];
            for number in first..first + 500 {
                request.extend([number.to_string().into_bytes(), format!("member:{number}").into_bytes()]);
            }
            request
        })
        .collect();
    client.pipeline(&requests);
}

fn settled(client: &mut Client) {
    for _ in 0..500 {
        if info(client, "lazyfree_pending_objects") == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the thread has not freed all within 5 s");
}

#[test]
fn whatever_removes_a_large_value_leaves_it_to_the_thread() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[]);
    let mut client = server.client();
    let removals =
        ["UNLINK z", "DEL z", "SET z overwritten", "RENAME s z", "PEXPIRE z 0", "FLUSHDB", "FLUSHALL", "FLUSHALL SYNC"];
    for (number, removal) in removals.iter().enumerate() {
        client.line("SET s value");
        client.line("DEL z");
        settled(&mut client);
        client.line("CONFIG RESETSTAT");
        zset(&mut client, "z", 5_000);
        let full = info(&mut client, "used_memory");
        client.line(removal);
        settled(&mut client);
        let (freed, left) = (info(&mut client, "lazyfreed_objects"), info(&mut client, "used_memory"));
        assert!(freed >= 1, "{removal}");
        assert!(left + 30_000 < full, "{removal} ({number}): {left} of {full} bytes are left");
    }
}

#[test]
fn a_flush_while_a_snapshot_is_written_takes_nothing_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[]);
    let mut client = server.client();
    zset(&mut client, "z", 20_000);
    let strings = (0..5_000).map(|n| vec![b"SET".to_vec(), format!("k:{n}").into_bytes(), vec![b'v'; 50]]);
    client.pipeline(&strings.collect::<Vec<_>>());
    client.line("BGSAVE");
    client.line("FLUSHALL ASYNC");
    client.line("SET after flush");
    assert_eq!(client.line("DBSIZE").int(), 1);
    for _ in 0..500 {
        if info(&mut client, "rdb_bgsave_in_progress") == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(200));
    settled(&mut client);
    assert_eq!(info(&mut client, "snapshot_deferred_objects"), 0);
    drop(server);
    let server = Server::start(&Program::ours(), dir.path(), &[]);
    let mut client = server.client();
    assert_eq!((client.line("DBSIZE").int(), client.line("ZCARD z").int()), (5_001, 20_000));
}

/// Processor time of this thread so far: the clock on the wall would count what else the machine does.
fn thread_time() -> Duration {
    std::thread::yield_now(); // brings the kernel's count up to date
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// The least of three rounds.
fn best_of_three(mut round: impl FnMut() -> Duration) -> Duration {
    (0..3).map(|_| round()).min().unwrap()
}

/// Length: `IRONKEEP_LAZYFREE` elements and keys.
#[test]
fn removing_takes_no_time_at_any_size() {
    use ironkeep::keyspace::{Expiry, Keyspace};
    use ironkeep::value::{Limits, List, Object};
    let count = crate::rig::length("IRONKEEP_LAZYFREE", 100_000);
    let limits = Limits::default();
    let unlink = best_of_three(|| {
        let mut keyspace = Keyspace::new(1);
        let mut list = List::new();
        (0..count).for_each(|number| list.push_back(number.to_string().as_bytes(), &limits));
        keyspace.db(0).insert(b"list", Object::List(list), None);
        let started = thread_time();
        assert!(keyspace.db(0).remove(b"list"));
        thread_time() - started
    });
    let mut flush = [Duration::ZERO; 2];
    for is_saving in [false, true] {
        flush[usize::from(is_saving)] = best_of_three(|| {
            let mut keyspace = Keyspace::new(16);
            for number in 0..count {
                let expiry = if number % 2 == 0 { Expiry::At(2_000_000_000_000) } else { Expiry::Clear };
                keyspace.db(number % 3).set_string(number.to_string().as_bytes(), b"value", expiry);
            }
            let snapshot = is_saving.then(|| keyspace.snapshot());
            let started = thread_time();
            keyspace.clear();
            let taken = thread_time() - started;
            drop(snapshot);
            let reclaiming = thread_time();
            keyspace.reclaim();
            taken.max(thread_time() - reclaiming)
        });
    }
    println!(
        "{count} elements unlinked in {unlink:?}; {count} keys flushed in {:?}, beside a save in {:?}",
        flush[0], flush[1]
    );
    // Twice the bound of the server: this may be a build without optimization, on a busy machine.
    let most = Duration::from_millis(2);
    assert!(unlink < most, "{unlink:?}");
    assert!(flush.iter().all(|taken| *taken < most), "{flush:?}");
}
