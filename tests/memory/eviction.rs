//! `maxmemory`: who goes, who stays, and what the log says of it.

use crate::rig::{Client, Program, Server, Value};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

fn start(dir: &Path, options: &[(&str, &str)]) -> (Server, Client) {
    let server = Server::start(&Program::ours(), dir, options);
    let client = server.client();
    (server, client)
}

/// A number of INFO.
pub(super) fn info(client: &mut Client, field: &str) -> u64 {
    let text = client.line("INFO everything").text();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
    line.unwrap_or_else(|| panic!("{field} is not in INFO")).trim().parse().unwrap()
}

fn words(line: String) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn set(client: &mut Client, prefix: &str, numbers: std::ops::Range<usize>) {
    let value = "v".repeat(200);
    let requests: Vec<_> = numbers.map(|number| words(format!("SET {prefix}:{number} {value}"))).collect();
    client.pipeline(&requests);
}

fn get(client: &mut Client, prefix: &str, numbers: std::ops::Range<usize>) {
    client.pipeline(&numbers.map(|number| words(format!("GET {prefix}:{number}"))).collect::<Vec<_>>());
}

fn count(client: &mut Client, prefix: &str, numbers: std::ops::Range<usize>) -> usize {
    let requests: Vec<_> = numbers.map(|number| words(format!("EXISTS {prefix}:{number}"))).collect();
    client.pipeline(&requests).iter().filter(|reply| reply.int() == 1).count()
}

/// Sets the limit to what is in use now. Buffers and what threads keep in their caches of the allocator count too, some
/// hundred KB that come and go: the tests allow for that.
fn fill(client: &mut Client) {
    let used = info(client, "used_memory");
    client.line(&format!("CONFIG SET maxmemory {used}"));
}

#[test]
fn allkeys_lru_keeps_the_keys_that_were_used_of_late() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path(), &[("maxmemory-policy", "allkeys-lru")]);
    set(&mut client, "k", 0..8_000);
    std::thread::sleep(Duration::from_millis(2_100));
    get(&mut client, "k", 0..2_000);
    std::thread::sleep(Duration::from_millis(1_100));
    fill(&mut client);
    set(&mut client, "new", 0..4_000);
    let evicted = info(&mut client, "evicted_keys");
    let (hot, cold) = (count(&mut client, "k", 0..2_000), count(&mut client, "k", 2_000..8_000));
    println!("{evicted} evicted; {hot} of 2,000 hot and {cold} of 6,000 cold keys are left");
    assert!((2_000..5_500).contains(&evicted), "{evicted} for 4,000 new keys of the same size");
    assert!(hot >= 1_900 && cold <= 4_200, "{hot} hot, {cold} cold");
    let idle = client.line("OBJECT IDLETIME new:3999").int();
    assert!((0..60).contains(&idle), "{idle}");
    assert!(client.ask(&["OBJECT", "FREQ", "new:3999"]).unwrap().is_error());
}

#[test]
fn allkeys_lfu_keeps_the_keys_that_are_used_often() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path(), &[("maxmemory-policy", "allkeys-lfu")]);
    set(&mut client, "k", 0..4_000);
    for _ in 0..40 {
        get(&mut client, "k", 0..500);
    }
    fill(&mut client);
    set(&mut client, "new", 0..2_500);
    let (hot, cold) = (count(&mut client, "k", 0..500), count(&mut client, "k", 500..4_000));
    println!("{hot} of 500 hot and {cold} of 3,500 cold keys are left");
    assert!(hot >= 480 && cold <= 3_000, "{hot} hot, {cold} cold");
    assert!(client.line("OBJECT FREQ k:0").int() > 5);
    assert!(client.ask(&["OBJECT", "IDLETIME", "k:0"]).unwrap().is_error());
}

#[test]
fn volatile_policies_take_keys_with_an_expiry_only_and_ttl_the_next_to_go() {
    for policy in ["volatile-ttl", "volatile-lru", "volatile-lfu", "volatile-random"] {
        let dir = tempfile::tempdir().unwrap();
        let (_server, mut client) = start(dir.path(), &[("maxmemory-policy", policy)]);
        set(&mut client, "stays", 0..1_000);
        let value = "v".repeat(200);
        let with_expiry =
            (0..4_000).map(|number| words(format!("SET goes:{number} {value} EX {}", 1_000 + number * 20)));
        client.pipeline(&with_expiry.collect::<Vec<_>>());
        fill(&mut client);
        set(&mut client, "stays", 1_000..3_000);
        let (soon, late) = (count(&mut client, "goes", 0..1_000), count(&mut client, "goes", 3_000..4_000));
        println!("{policy}: {soon} of the 1,000 that expire first and {late} of the 1,000 that expire last are left");
        assert_eq!(count(&mut client, "stays", 0..3_000), 3_000, "{policy}");
        if policy == "volatile-ttl" {
            assert!(soon <= 400 && late >= 950, "{soon} soon, {late} late");
        } else {
            assert!(info(&mut client, "evicted_keys") >= 500);
        }
        // When the last of them is gone nothing may go any more.
        let refused = (3_000..20_000).any(|number| {
            let reply = client.ask(&["SET", &format!("stays:{number}"), &value]).unwrap();
            reply == Value::Error("OOM command not allowed when used memory > 'maxmemory'.".to_owned())
        });
        assert!(refused, "{policy}");
        assert_eq!(count(&mut client, "goes", 0..4_000), 0, "{policy}");
    }
}

#[test]
fn without_eviction_writes_are_refused_reads_and_deletions_are_not() {
    let oom = Value::Error("OOM command not allowed when used memory > 'maxmemory'.".to_owned());
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path(), &[]);
    client.line("SET key value");
    // A transaction that was queued before there was too little.
    let mut other = _server.client();
    other.line("MULTI");
    other.line("SET queued value");
    client.line("CONFIG SET maxmemory 1");
    assert_eq!(client.ask(&["SET", "other", "value"]).unwrap(), oom);
    assert_eq!(client.ask(&["LPUSH", "other", "value"]).unwrap(), oom);
    assert_eq!(client.line("GET key").text(), "value");
    let aborted = "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.";
    assert_eq!(other.ask(&["EXEC"]).unwrap(), Value::Error(aborted.to_owned()));
    assert_eq!(other.ask(&["EXEC"]).unwrap(), Value::Error("ERR EXEC without MULTI".to_owned()));
    client.line("MULTI");
    assert_eq!(client.ask(&["SET", "other", "value"]).unwrap(), oom);
    let aborted = "EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(client.ask(&["EXEC"]).unwrap(), Value::Error(aborted.to_owned()));
    client.line("MULTI");
    client.line("GET key");
    assert_eq!(client.line("EXEC").array().len(), 1, "a transaction that only reads goes on");
    assert_eq!(client.line("DEL key").int(), 1);
    assert!(info(&mut client, "current_eviction_exceeded_time") <= info(&mut client, "total_eviction_exceeded_time"));
    client.line("CONFIG SET maxmemory 0");
    client.line("SET other value");
    assert_eq!(info(&mut client, "current_eviction_exceeded_time"), 0);
}

fn names(client: &mut Client) -> BTreeSet<Vec<u8>> {
    client.line("KEYS *").array().into_iter().map(Value::bytes).collect()
}

#[test]
fn evictions_are_in_the_log_and_a_start_evicts_nothing() {
    for (lazy, verb) in [("no", "$3\r\nDEL\r\n"), ("yes", "$6\r\nUNLINK\r\n")] {
        let dir = tempfile::tempdir().unwrap();
        let log = [("appendonly", "yes"), ("lazyfree-lazy-eviction", lazy)];
        let (mut server, mut client) =
            start(dir.path(), &[&log[..], &[("maxmemory-policy", "allkeys-random")]].concat());
        set(&mut client, "k", 0..2_000);
        fill(&mut client);
        set(&mut client, "new", 0..1_000);
        let evicted = info(&mut client, "evicted_keys");
        client.line("CONFIG SET maxmemory 0");
        let left = names(&mut client);
        assert!(evicted >= 100 && left.len() < 2_900, "{evicted} evicted, {} left", left.len());
        server.kill();
        let file = dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
        assert!(String::from_utf8_lossy(&std::fs::read(file).unwrap()).contains(verb));
        let (_server, mut client) = start(dir.path(), &[&log[..], &[("maxmemory", "1")]].concat());
        assert!(names(&mut client) == left, "what was evicted is back, or more is gone");
    }
}

#[test]
fn a_lower_limit_takes_effect_without_another_command() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path(), &[("maxmemory-policy", "allkeys-lru")]);
    set(&mut client, "k", 0..10_000);
    let (used, startup) = (info(&mut client, "used_memory"), info(&mut client, "used_memory_startup"));
    assert!(used > startup + 10_000 * 200, "{used} in use, {startup} at the start");
    let limit = startup + (used - startup) / 2;
    client.line("CONFIG SET maxmemory-eviction-tenacity 0");
    client.line(&format!("CONFIG SET maxmemory {limit}"));
    std::thread::sleep(Duration::from_millis(1_000));
    // The first look is one at what the server did by itself; it evicts at most one batch more.
    let evicted = info(&mut client, "evicted_keys");
    assert!((2_000..8_000).contains(&evicted), "{evicted}");
    assert!(info(&mut client, "used_memory") <= limit + (64 << 10));
}
