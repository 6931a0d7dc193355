//! MEMORY USAGE beside what the allocator says: the sum over all keys is what the server grew by.

use crate::rig::{Client, Program, Server};

fn allocated(client: &mut Client) -> i64 {
    client.line("MEMORY STATS").field("total.allocated").unwrap().int()
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Sends the commands that `line` makes of the numbers below `count`, `keys` in all, and compares.
fn compare(what: &str, keys: usize, count: usize, line: impl Fn(usize) -> String) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "no")]);
    let mut client = server.client();
    client.line("SET warm x");
    client.line("DEL warm");
    let before = allocated(&mut client);
    for start in (0..count).step_by(5_000) {
        client.pipeline(&(start..count.min(start + 5_000)).map(|number| words(&line(number))).collect::<Vec<_>>());
    }
    let grown = allocated(&mut client) - before;
    let mut told = 0;
    for start in (0..keys).step_by(5_000) {
        let requests: Vec<_> =
            (start..keys.min(start + 5_000)).map(|number| words(&format!("MEMORY USAGE key:{number:012}"))).collect();
        told += client.pipeline(&requests).iter().map(|reply| reply.int()).sum::<i64>();
    }
    let ratio = told as f64 / grown as f64;
    println!("{what}: {told} told, {grown} grown, {ratio:.3}");
    assert!((0.9..1.1).contains(&ratio), "{what}: {told} told, {grown} grown, {ratio:.3}");
}

/// `keys` small collections: the verb and what follows the key.
fn small(what: &str, verb: &str, rest: impl Fn(usize) -> String) {
    compare(what, 50_000, 50_000, |number| format!("{verb} key:{number:012} {}", rest(number)));
}

/// One collection of 400,000 elements, beside which what the allocator has kept of the start is little.
fn large(what: &str, verb: &str, element: impl Fn(usize) -> String) {
    compare(what, 1, 400_000, |number| format!("{verb} key:{:012} {}", 0, element(number)));
}

#[test]
fn usage_of_strings_adds_up_to_what_the_server_grew_by() {
    compare("strings", 60_000, 60_000, |number| format!("SET key:{number:012} {:032}", number));
    compare("strings that expire", 60_000, 60_000, |number| format!("SET key:{number:012} v{number:031} EX 9999"));
    compare("integers", 60_000, 60_000, |number| format!("SET key:{number:012} {number}"));
    compare("long strings", 500, 500, |number| format!("SET key:{number:012} {}", "v".repeat(20_000 + number)));
}

#[test]
fn usage_of_small_collections_adds_up_to_what_the_server_grew_by() {
    small("small hashes", "HSET", |number| format!("field0 value:{number} field1 value:{number} field2 v"));
    small("small sorted sets", "ZADD", |number| format!("1 a:{number} 2 b:{number} 3.5 c"));
    small("small lists", "RPUSH", |number| format!("a:{number} b:{number} {number}"));
    small("small sets", "SADD", |number| format!("a:{number} b:{number} {number}"));
    small("small sets of integers", "SADD", |number| format!("{number} 7 70000"));
}

#[test]
fn usage_of_large_collections_adds_up_to_what_the_server_grew_by() {
    large("a large hash", "HSET", |number| format!("field:{number:012} value:{number}"));
    large("a large set", "SADD", |number| format!("member:{number:012}"));
    large("a large sorted set", "ZADD", |number| format!("{} member:{number:012}", number * 7919 % 200_003));
    large("a large list", "RPUSH", |number| format!("item:{number:012}"));
    large("a large stream", "XADD", |number| format!("* field value:{number}"));
}
