//! Random requests, asked of ours and of Redis 8 side by side, over both protocols: every reply must be the same, and so
//! must the data, field by field, behind every round of requests; in between both load their data anew, and are ended and
//! started again.
//!
//! `IRONKEEP_DIFFERENTIAL` says how many requests, `IRONKEEP_SEED` which; `IRONKEEP_DIFFERENTIAL_ROUND` plays one round
//! of them alone. One half is well formed ([`grammar`]); the other is of words that may fit or not, for all commands that
//! both have by the reference, but for those whose replies are random, tell the time, or are about the server itself.

mod grammar;

use crate::rig::{Client, Contents, Data, Program, Server, differences, length, read_contents};
use grammar::Grammar;
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
const UNORDERED: &[&str] = &[
    "exec",
    "hgetall",
    "hkeys",
    "hrandfield",
    "hscan",
    "hvals",
    "keys",
    "scan",
    "sdiff",
    "sinter",
    "smembers",
    "spop",
    "srandmember",
    "sscan",
    "sunion",
    "zscan",
];
/// Requests behind which the data is compared, and both begin with nothing again.
const ROUND: usize = 400;
/// Rounds behind which both load what they have saved, and behind which both are ended and started again.
const RELOAD_EVERY: usize = 4;
const RESTART_EVERY: usize = 20;
const FROM_A_LOG: &str = "loaded from a log";
/// How far the times may lie apart at which the same request was executed, in ms.
const SLACK_MS: i64 = 30_000;

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
    lengthen_times(&mut words);
    // Who waits does so for a short time.
    match row.name.as_str() {
        "blmpop" | "bzmpop" => words[1] = "0.01".to_owned(),
        name if name.starts_with('b') && !name.starts_with("bit") => *words.last_mut().unwrap() = "0.01".to_owned(),
        // What is left in its order of two with one weight is up to the seed of a hash table.
        "sort" | "sort_ro" if words.iter().any(|word| word == "BY") => words.retain(|word| word != "ALPHA"),
        "xadd" => words[1..].iter_mut().filter(|word| *word == "*").for_each(|word| word.insert_str(0, "100-")),
        _ => {}
    }
    words
}

/// No key and no field is to expire while two servers are asked one behind the other, nor between two readings of them.
fn lengthen_times(words: &mut [String]) {
    let is_all = matches!(words[0].as_str(), "expire" | "pexpire" | "setex" | "psetex" | "hexpire" | "hpexpire");
    for at in 2..words.len() {
        let is_time = at == 2 && is_all || matches!(words[at - 1].as_str(), "EX" | "PX");
        if is_time && words[at].parse().is_ok_and(|time: i64| (1..=10).contains(&time)) {
            words[at].push_str("00000");
        }
    }
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

/// Makes equal what may differ by the time between two servers.
fn align(ours: &mut Contents, theirs: &mut Contents) {
    for (place, their_key) in &mut theirs.keys {
        their_key.expire_slack_ms = SLACK_MS;
        let Some(our_key) = ours.keys.get_mut(place) else { continue };
        match (&mut our_key.data, &mut their_key.data) {
            (Data::Hash(ours), Data::Hash(theirs)) => {
                for (field, (_, our_time)) in ours {
                    let Some((_, their_time)) = theirs.get(field) else { continue };
                    if let (Some(ours), Some(theirs)) = (*our_time, *their_time)
                        && ours.abs_diff(theirs) <= SLACK_MS.unsigned_abs()
                    {
                        *our_time = *their_time;
                    }
                }
            }
            (Data::Stream(ours), Data::Stream(theirs)) => {
                for groups in [&mut ours.groups, &mut theirs.groups] {
                    let pending = groups.iter_mut().flat_map(|groups| groups.values_mut());
                    let pending = pending.flat_map(|group| group.consumers.values_mut()).flatten();
                    pending.for_each(|(_, delivered_ms, _)| *delivered_ms = 0);
                }
            }
            _ => {}
        }
    }
}

/// Two servers, ours behind the other, and what they have been found to differ in.
struct Pair {
    programs: [Program; 2],
    dirs: [tempfile::TempDir; 2],
    servers: [Server; 2],
    clients: [Client; 2],
    is_resp3: bool,
    /// By kind: how often, and the first of it.
    wrong: BTreeMap<String, (u32, String)>,
    /// Of the round, from 0 on.
    number: usize,
    /// What was asked since both had nothing.
    round: Vec<Vec<String>>,
}

const OPTIONS: &[(&str, &str)] = &[("appendonly", "yes"), ("appendfsync", "no")];

impl Pair {
    fn new(redis: Program) -> Self {
        let programs = [redis, Program::ours()];
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let servers = [0, 1].map(|at| Server::start(&programs[at], dirs[at].path(), OPTIONS));
        let clients = servers.each_ref().map(Server::client);
        let (wrong, round) = (BTreeMap::new(), Vec::new());
        Self { programs, dirs, servers, clients, is_resp3: false, wrong, number: 0, round }
    }

    fn greet(&mut self) {
        self.clients = self.servers.each_ref().map(Server::client);
        if self.is_resp3 {
            self.clients.iter_mut().for_each(|client| drop(ask(client, &["HELLO".to_owned(), "3".to_owned()])));
        }
    }

    fn note(&mut self, what: String, text: String) {
        // A round that is played alone is told in full.
        let shown = if std::env::var_os("IRONKEEP_DIFFERENTIAL_ROUND").is_some() { usize::MAX } else { 12 };
        let round: Vec<String> = self.round.iter().rev().take(shown).rev().map(|words| format!("{words:?}")).collect();
        let first = || (0, format!("round {}: {text}\n  behind {}", self.number, round.join("\n    ")));
        self.wrong.entry(what).or_insert_with(first).0 += 1;
        self.forget();
    }

    /// Both have nothing from here on, and are in no transaction.
    fn forget(&mut self) {
        self.greet();
        self.clients.iter_mut().for_each(|client| drop(ask(client, &["FLUSHALL".to_owned()])));
        self.round.clear();
    }

    fn compare_replies(&mut self, words: Vec<String>) {
        let name = words[0].to_ascii_lowercase();
        let replies = self.clients.each_mut().map(|client| comparable(&name, ask(client, &words)));
        let [theirs, ours] = replies.map(|reply| reply.escape_ascii().to_string());
        self.round.push(words.clone());
        if theirs != ours {
            let what = format!("{name}, Redis {theirs:.24}, ours {ours:.24}");
            let same = theirs.bytes().zip(ours.bytes()).take_while(|(one, other)| one == other).count();
            let from = same.saturating_sub(60);
            let (theirs, ours) = (&theirs[from..], &ours[from.min(ours.len())..]);
            self.note(what, format!("{words:?}, from byte {from}\n  Redis {theirs:.200}\n  ours  {ours:.200}"));
        }
    }

    fn compare_data(&mut self, when: &str) {
        self.greet_plainly();
        let [mut theirs, mut ours] = self.clients.each_mut().map(read_contents);
        align(&mut ours, &mut theirs);
        if when == FROM_A_LOG {
            // Redis does not log every consumer that a command has made in passing; ours does.
            for contents in [&mut ours, &mut theirs] {
                for key in contents.keys.values_mut() {
                    let Data::Stream(stream) = &mut key.data else { continue };
                    let groups = stream.groups.iter_mut().flat_map(|groups| groups.values_mut());
                    groups.for_each(|group| group.consumers.retain(|_, pending| !pending.is_empty()));
                }
            }
        }
        let found = differences(&ours, &theirs);
        if let Some(first) = found.first() {
            let what: String = first.chars().filter(|letter| !letter.is_ascii_digit()).take(60).collect();
            self.note(format!("data {when}, {what}"), format!("{when}: {}", found.join("\n  ")));
        }
    }

    /// Clients of their own for what is read in the protocol's second version.
    fn greet_plainly(&mut self) {
        self.clients = self.servers.each_ref().map(Server::client);
    }

    fn reload(&mut self) {
        self.greet_plainly();
        for client in &mut self.clients {
            assert_eq!(client.line("DEBUG RELOAD").text(), "OK");
        }
    }

    fn restart(&mut self) {
        self.greet_plainly();
        for at in 0..2 {
            self.clients[at].queue(&["SHUTDOWN", "NOSAVE"]);
            self.clients[at].flush().unwrap();
            assert!(self.clients[at].raw_reply().is_err(), "it ends");
            for _ in 0..1000 {
                if std::net::TcpStream::connect(("127.0.0.1", self.servers[at].port())).is_err() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            self.servers[at].kill();
            self.servers[at] = Server::start(&self.programs[at], self.dirs[at].path(), OPTIONS);
        }
    }

    /// Behind the round of this number.
    fn end_round(&mut self, number: usize) {
        self.compare_data("as it is");
        if number.is_multiple_of(RELOAD_EVERY) {
            self.reload();
            self.compare_data("loaded from an RDB");
        }
        if number.is_multiple_of(RESTART_EVERY) {
            self.restart();
            self.compare_data(FROM_A_LOG);
        }
        self.forget();
    }
}

#[test]
fn random_requests_get_the_replies_of_redis_and_leave_the_same_data() {
    let Some(redis) = Program::redis_8() else { return };
    let (count, rows, grammar) = (length("IRONKEEP_DIFFERENTIAL", 6_000), rows(), Grammar::new());
    assert!(rows.len() > 150, "{} commands", rows.len());
    let mut random = fastrand::Rng::with_seed(length("IRONKEEP_SEED", 1) as u64); // any number will do
    let mut pair = Pair::new(redis);
    let only = std::env::var("IRONKEEP_DIFFERENTIAL_ROUND").ok().map(|text| text.parse::<usize>().unwrap());
    let mut asked = 0;
    for is_resp3 in [false, true] {
        pair.is_resp3 = is_resp3;
        pair.forget();
        for index in 1..=count / 2 {
            let is_well_formed = random.bool();
            let words = if is_well_formed {
                grammar.request(&mut random)
            } else {
                request(&rows[random.usize(..rows.len())], &mut random)
            };
            if only.is_some_and(|only| pair.number != only) {
                pair.number += usize::from(index % ROUND == 0);
                continue;
            }
            // BLOCK may wait for ever.
            if !words.iter().any(|word| word == "BLOCK") {
                asked += 1;
                pair.compare_replies(words);
            }
            if index % ROUND == 0 {
                pair.end_round(index / ROUND);
                pair.number += 1;
            }
        }
    }
    let texts: Vec<_> = pair.wrong.values().map(|(count, text)| format!("{count} times {text}")).collect();
    let commands = rows.iter().map(|row| row.name.clone()).chain(grammar.commands());
    let commands = commands.collect::<std::collections::BTreeSet<_>>().len();
    println!("{asked} random requests of {commands} commands: {} kinds of difference", texts.len());
    assert!(texts.is_empty(), "{}", texts.join("\n"));
}
