//! Random requests, asked of ours and of Redis 8 side by side, over both protocols: every reply must be the same.
//!
//! `IRONKEEP_DIFFERENTIAL` says how many requests, `IRONKEEP_SEED` which. The commands are those that both have, by the
//! reference, but for those whose replies are random, tell the time, or are about the server itself.

use crate::rig::{Client, Program, Server, length};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Their replies are random, tell the time or the machine, wait, change what others see, or end the connection.
const LEFT_OUT: &[&str] = &[
    "acl",
    "asking",
    "auth",
    "bgrewriteaof",
    "bgsave",
    "client",
    "cluster",
    "command",
    "config",
    "copy",
    "debug",
    "discard",
    "dump",
    "eval",
    "eval_ro",
    "evalsha",
    "evalsha_ro",
    "exec",
    "expiretime",
    "failover",
    "fcall",
    "fcall_ro",
    "function",
    "hello",
    "hexpiretime",
    "hpexpiretime",
    "hpttl",
    "hrandfield",
    "hscan",
    "info",
    "keys",
    "lastsave",
    "latency",
    "lolwut",
    "memory",
    "migrate",
    "module",
    "monitor",
    "move",
    "multi",
    "object",
    "pexpiretime",
    "pfdebug",
    "pfselftest",
    "psubscribe",
    "psync",
    "pttl",
    "publish",
    "pubsub",
    "punsubscribe",
    "quit",
    "randomkey",
    "readonly",
    "readwrite",
    "replconf",
    "replicaof",
    "reset",
    "restore",
    "restore-asking",
    "role",
    "save",
    "scan",
    "script",
    "select",
    "shutdown",
    "slaveof",
    "slowlog",
    "spop",
    "spublish",
    "srandmember",
    "sscan",
    "ssubscribe",
    "subscribe",
    "sunsubscribe",
    "swapdb",
    "sync",
    "time",
    "unsubscribe",
    "unwatch",
    "wait",
    "waitaof",
    "watch",
    "zrandmember",
    "zscan",
];
/// Their elements come in any order.
const UNORDERED: &[&str] = &["hgetall", "hkeys", "hvals", "sdiff", "sinter", "smembers", "sunion"];
/// Requests behind which both begin with nothing again.
const ROUND: usize = 400;

const WORDS: &[&str] = &[
    "a",
    "b",
    "c",
    "abc",
    "1",
    "2",
    "-1",
    "0",
    "10",
    "3.5",
    "-inf",
    "+inf",
    "(1",
    "[a",
    "-",
    "+",
    "*",
    "$",
    "100-1",
    "0-0",
    "",
    "1e3",
    "LEFT",
    "RIGHT",
    "MIN",
    "MAX",
    "COUNT",
    "WITHSCORES",
    "LIMIT",
    "NX",
    "XX",
    "GT",
    "LT",
    "CH",
    "INCR",
    "GET",
    "KEEPTTL",
    "BYSCORE",
    "BYLEX",
    "REV",
    "FIELDS",
    "WEIGHTS",
    "AGGREGATE",
    "SUM",
    "RANK",
    "MAXLEN",
    "BEFORE",
    "AFTER",
    "STREAMS",
    "GROUP",
    "MKSTREAM",
    "BIT",
    "BYTE",
    "AND",
    "OR",
    "NOT",
    "u8",
    "i5",
    "SET",
    "9223372036854775807",
    "MATCH",
    "STORE",
    "ASC",
    "DESC",
    "ALPHA",
    "BY",
    "m",
    "km",
    "13.3",
    "38.1",
    "REPLACE",
    "NOMKSTREAM",
    "FULL",
    "g1",
    "c1",
    "IDX",
    "LEN",
    "EX",
    "PX",
];

/// A command by the reference.
struct Row {
    name: String,
    arity: i64,
    keys: (i64, i64, i64),
}

fn rows() -> Vec<Row> {
    let text = include_str!("../testdata/reference/redis-8.0.6.commands.json");
    let commands: BTreeMap<String, Json> = serde_json::from_str(text).unwrap();
    let number = |row: &Json, field: &str| row[field].as_i64().unwrap_or(0);
    let of = |(name, row): (String, Json)| Row {
        keys: (number(&row, "first_key"), number(&row, "last_key"), number(&row, "step")),
        arity: number(&row, "arity"),
        name: name.to_ascii_lowercase(),
    };
    let is_wanted = |row: &Row| {
        let is_of_module = row.name.contains('.') || row.name.starts_with('v');
        row.arity != 0 && !is_of_module && !LEFT_OUT.contains(&row.name.as_str())
    };
    commands.into_iter().map(of).filter(is_wanted).collect()
}

fn request(row: &Row, random: &mut fastrand::Rng) -> Vec<String> {
    let more = if row.arity < 0 { [0, 0, 1, 1, 2, 3, 4][random.usize(..7)] } else { 0 };
    let count = row.arity.abs() - 1 + more;
    let (first, last, step) = row.keys;
    let mut words = vec![row.name.clone()];
    for at in 1..=count {
        let is_key = first > 0 && (at == first || (last < 0 && at > first && (at - first) % step.max(1) == 0));
        let word = if is_key || random.u8(..100) < 15 {
            format!("k{}", random.u8(..6))
        } else {
            WORDS[random.usize(..WORDS.len())].to_owned()
        };
        words.push(word);
    }
    // Who waits does so for a short time.
    match row.name.as_str() {
        "blmpop" | "bzmpop" => words[1] = "0.01".to_owned(),
        name if name.starts_with('b') && !name.starts_with("bit") => *words.last_mut().unwrap() = "0.01".to_owned(),
        // Neither expires within the time of two replies, nor is named by the time.
        "pexpire" | "psetex" | "hpexpire" => {
            words[2..].iter_mut().filter(|word| word.parse().is_ok_and(|ms| (1..=10).contains(&ms))).for_each(|word| {
                word.push_str("00000");
            });
        }
        "xadd" => words[1..].iter_mut().filter(|word| *word == "*").for_each(|word| word.insert_str(0, "100-")),
        _ => {}
    }
    words
}

fn ask(client: &mut Client, words: &[String]) -> Vec<u8> {
    client.queue(words);
    client.flush().unwrap();
    client.raw_reply().unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// The reply, or what is in it where that comes in any order.
fn comparable(name: &str, reply: Vec<u8>) -> Vec<u8> {
    if !UNORDERED.contains(&name) {
        return reply;
    }
    let mut lines: Vec<_> = reply.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines.concat()
}

#[test]
fn random_requests_get_the_replies_of_redis() {
    let Some(redis) = Program::redis_8() else { return };
    let (count, rows) = (length("IRONKEEP_DIFFERENTIAL", 6_000), rows());
    assert!(rows.len() > 150, "{} commands", rows.len());
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let servers = [Server::start(&redis, dirs[0].path(), &[]), Server::start(&Program::ours(), dirs[1].path(), &[])];
    let mut random = fastrand::Rng::with_seed(length("IRONKEEP_SEED", 1) as u64); // any number will do
    let mut wrong: BTreeMap<String, (u32, String)> = BTreeMap::new();
    for is_resp3 in [false, true] {
        let mut clients = servers.each_ref().map(Server::client);
        if is_resp3 {
            clients.iter_mut().for_each(|client| drop(ask(client, &["HELLO".to_owned(), "3".to_owned()])));
        }
        for index in 0..count / 2 {
            if index % ROUND == 0 {
                clients.iter_mut().for_each(|client| drop(ask(client, &["FLUSHALL".to_owned()])));
            }
            let row = &rows[random.usize(..rows.len())];
            let words = request(row, &mut random);
            // BLOCK may wait for ever.
            if words.iter().any(|word| word == "BLOCK") {
                continue;
            }
            let [theirs, ours] =
                clients.each_mut().map(|client| comparable(&row.name, ask(client, &words)).escape_ascii().to_string());
            if theirs != ours {
                let what = format!("{}, Redis {theirs:.24}, ours {ours:.24}", row.name);
                wrong.entry(what).or_insert((0, format!("{words:?}\n  Redis {theirs:.200}\n  ours  {ours:.200}"))).0 +=
                    1;
                clients.iter_mut().for_each(|client| drop(ask(client, &["FLUSHALL".to_owned()])));
            }
        }
    }
    let texts: Vec<_> = wrong.values().map(|(count, text)| format!("{count} times {text}")).collect();
    println!("{count} random requests of {} commands: {} kinds of difference", rows.len(), texts.len());
    assert!(texts.is_empty(), "{}", texts.join("\n"));
}
