//! All that a server holds, as a value: read through its socket, and compared key by key.

use super::{Client, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

const DATABASES: u64 = 16;

/// What a server holds, or what a truth says that it should.
#[derive(Debug, Default)]
pub struct Contents {
    pub keys: BTreeMap<(u64, Vec<u8>), Key>,
    /// Names of function libraries; `None` where nobody knows.
    pub functions: Option<BTreeSet<String>>,
}

#[derive(Debug)]
pub struct Key {
    pub expire_at_ms: Option<i64>,
    /// How far off the expiry may be, where the teller of the truth knew only seconds.
    pub expire_slack_ms: i64,
    pub data: Data,
}

#[derive(Debug, PartialEq)]
pub enum Data {
    String(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Zset(Vec<(Vec<u8>, f64)>),
    /// Field to value and expiry.
    Hash(BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>),
    Stream(Stream),
}

/// What is `None` is not known, and not compared.
#[derive(Debug, PartialEq)]
pub struct Stream {
    pub entries: Vec<(String, Vec<Vec<u8>>)>,
    pub last_id: Option<String>,
    pub max_deleted_id: Option<String>,
    pub entries_added: Option<i64>,
    pub groups: Option<BTreeMap<Vec<u8>, Group>>,
}

#[derive(Debug, PartialEq)]
pub struct Group {
    pub last_id: String,
    /// `Some(None)` where the server itself does not know.
    pub entries_read: Option<Option<i64>>,
    /// Name to pending entries: id, time of delivery, count.
    pub consumers: BTreeMap<Vec<u8>, Vec<(String, i64, i64)>>,
    /// Name to times. A replay of a log sets them anew, so that [`differences`] leaves them out.
    pub times: BTreeMap<Vec<u8>, Times>,
}

/// When a consumer was last seen, and last got an entry; `None` where the server does not tell.
#[derive(Debug, PartialEq)]
pub struct Times {
    pub seen_ms: Option<i64>,
    pub active_ms: Option<i64>,
}

/// Reads all databases.
pub fn read_contents(client: &mut Client) -> Contents {
    let mut keys = BTreeMap::new();
    for db in 0..DATABASES {
        client.line(&format!("SELECT {db}"));
        for name in read_names(client) {
            let key = read_key(client, &name);
            assert!(keys.insert((db, name), key).is_none());
        }
        let count = client.line("DBSIZE").int();
        assert_eq!(
            count,
            keys.keys().filter(|(in_db, _)| *in_db == db).count() as i64,
            "DBSIZE and SCAN of {db} differ"
        );
    }
    client.line("SELECT 0");
    let libraries = client.line("FUNCTION LIST").array();
    let name_of = |library: &Value| library.field("library_name").unwrap().clone().text();
    Contents { keys, functions: Some(libraries.iter().map(name_of).collect()) }
}

fn read_names(client: &mut Client) -> BTreeSet<Vec<u8>> {
    let (mut names, mut cursor) = (BTreeSet::new(), "0".to_owned());
    loop {
        let mut reply = client.call(&["SCAN", &cursor, "COUNT", "1000"]).array();
        names.extend(reply.pop().unwrap().array().into_iter().map(Value::bytes));
        cursor = reply.pop().unwrap().text();
        if cursor == "0" {
            return names;
        }
    }
}

fn read_key(client: &mut Client, name: &[u8]) -> Key {
    let ask = |client: &mut Client, verb: &str, more: &[&str]| {
        let mut request = vec![verb.as_bytes(), name];
        request.extend(more.iter().map(|word| word.as_bytes()));
        client.call(&request)
    };
    let data = match ask(client, "TYPE", &[]).text().as_str() {
        "string" => Data::String(ask(client, "GET", &[]).bytes()),
        "list" => Data::List(all_bytes(ask(client, "LRANGE", &["0", "-1"]))),
        "set" => Data::Set(all_bytes(ask(client, "SMEMBERS", &[])).into_iter().collect()),
        "zset" => Data::Zset(
            pairs(ask(client, "ZRANGE", &["0", "-1", "WITHSCORES"]))
                .map(|(member, score)| (member, String::from_utf8(score).unwrap().parse().unwrap()))
                .collect(),
        ),
        "hash" => {
            let fields = pairs(ask(client, "HGETALL", &[])).collect();
            Data::Hash(with_expiry(client, name, fields))
        }
        "stream" => Data::Stream({
            let entries = ask(client, "XRANGE", &["-", "+"]);
            read_stream(&client.call(&[b"XINFO", b"STREAM".as_slice(), name, b"FULL", b"COUNT", b"0"]), entries)
        }),
        other => panic!("{} is of type {other}", name.escape_ascii()),
    };
    let expire_at_ms = Some(ask(client, "PEXPIRETIME", &[]).int()).filter(|at| *at >= 0);
    Key { expire_at_ms, expire_slack_ms: 0, data }
}

fn all_bytes(reply: Value) -> Vec<Vec<u8>> {
    reply.array().into_iter().map(Value::bytes).collect()
}

fn pairs(reply: Value) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let mut items = all_bytes(reply).into_iter();
    std::iter::from_fn(move || Some((items.next()?, items.next()?)))
}

/// The fields with the time at which each expires; peers that know no such thing have none that do.
fn with_expiry(
    client: &mut Client,
    name: &[u8],
    fields: Vec<(Vec<u8>, Vec<u8>)>,
) -> BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)> {
    let count = fields.len().to_string();
    let mut request: Vec<&[u8]> = vec![b"HPEXPIRETIME", name, b"FIELDS", count.as_bytes()];
    request.extend(fields.iter().map(|(field, _)| field.as_slice()));
    let times = match client.ask(&request).unwrap() {
        Value::Array(times) => times.iter().map(|time| Some(time.int()).filter(|at| *at >= 0)).collect(),
        Value::Error(text) if text.contains("unknown command") => vec![None; fields.len()],
        other => panic!("HPEXPIRETIME {}: {other:?}", name.escape_ascii()),
    };
    fields.into_iter().zip(times).map(|((field, value), time)| (field, (value, time))).collect()
}

fn read_stream(facts: &Value, entries: Value) -> Stream {
    let text = |map: &Value, name: &str| map.field(name).map(|value| value.clone().text());
    let group_of = |group: &Value| {
        let consumers = group.field("consumers").unwrap().clone().array().into_iter().map(|consumer| {
            let pending = consumer.field("pel").or(consumer.field("pending")).unwrap().clone().array();
            let pending = pending.into_iter().map(|entry| {
                let entry = entry.array();
                (entry[0].clone().text(), entry[1].int(), entry[2].int())
            });
            (text(&consumer, "name").unwrap().into_bytes(), pending.collect())
        });
        let times = group.field("consumers").unwrap().clone().array().into_iter().map(|consumer| {
            let time = |name: &str| consumer.field(name).map(Value::int);
            let times = Times { seen_ms: time("seen-time"), active_ms: time("active-time") };
            (text(&consumer, "name").unwrap().into_bytes(), times)
        });
        let times = times.collect();
        let entries_read =
            group.field("entries-read").map(|read| if let Value::Int(read) = read { Some(*read) } else { None });
        let last_id = text(group, "last-delivered-id").unwrap();
        let group_facts = Group { last_id, entries_read, consumers: consumers.collect(), times };
        (group.field("name").unwrap().clone().bytes(), group_facts)
    };
    let entries = entries.array().into_iter().map(|entry| {
        let mut entry = entry.array();
        let fields = all_bytes(entry.pop().unwrap());
        (entry.pop().unwrap().text(), fields)
    });
    Stream {
        entries: entries.collect(),
        last_id: text(facts, "last-generated-id"),
        max_deleted_id: text(facts, "max-deleted-entry-id"),
        entries_added: facts.field("entries-added").map(Value::int),
        groups: facts.field("groups").map(|groups| groups.clone().array().iter().map(group_of).collect()),
    }
}

/// What of `wanted` is not so in `found`, and what is in `found` alone; a line for each.
pub fn differences(found: &Contents, wanted: &Contents) -> Vec<String> {
    let mut lines = Vec::new();
    for ((db, name), wanted) in &wanted.keys {
        let place = format!("{db}:{}", name.escape_ascii());
        match found.keys.get(&(*db, name.clone())) {
            None => lines.push(format!("{place} is missing")),
            Some(found) => key_differences(&place, found, wanted, &mut lines),
        }
    }
    for (db, name) in found.keys.keys().filter(|place| !wanted.keys.contains_key(place)) {
        lines.push(format!("{db}:{} should not be there", name.escape_ascii()));
    }
    compare_known(&mut lines, "functions", &found.functions, &wanted.functions);
    lines
}

fn key_differences(place: &str, found: &Key, wanted: &Key, lines: &mut Vec<String>) {
    let is_near = match (found.expire_at_ms, wanted.expire_at_ms) {
        (Some(found), Some(at)) => found.abs_diff(at) <= wanted.expire_slack_ms.unsigned_abs(),
        (found, wanted) => found == wanted,
    };
    if !is_near {
        lines.push(format!("{place} expires at {:?}, not {:?}", found.expire_at_ms, wanted.expire_at_ms));
    }
    match (&found.data, &wanted.data) {
        (Data::Stream(found), Data::Stream(wanted)) => stream_differences(place, found, wanted, lines),
        (found, wanted) => compare(lines, place, found, wanted),
    }
}

fn stream_differences(place: &str, found: &Stream, wanted: &Stream, lines: &mut Vec<String>) {
    compare(lines, &format!("{place} entries"), &found.entries, &wanted.entries);
    compare_known(lines, &format!("{place} last id"), &found.last_id, &wanted.last_id);
    compare_known(lines, &format!("{place} highest deleted id"), &found.max_deleted_id, &wanted.max_deleted_id);
    compare_known(lines, &format!("{place} entries added"), &found.entries_added, &wanted.entries_added);
    let Some(groups) = &wanted.groups else { return };
    let found = found.groups.as_ref().unwrap();
    compare(lines, &format!("{place} groups"), &found.keys().collect::<Vec<_>>(), &groups.keys().collect::<Vec<_>>());
    for (name, wanted) in groups {
        let Some(found) = found.get(name) else { continue };
        let place = format!("{place} group {}", name.escape_ascii());
        compare(lines, &format!("{place} last id"), &found.last_id, &wanted.last_id);
        compare_known(lines, &format!("{place} entries read"), &found.entries_read, &wanted.entries_read);
        compare(lines, &format!("{place} consumers"), &found.consumers, &wanted.consumers);
    }
}

fn compare_known<T: PartialEq + Debug>(lines: &mut Vec<String>, what: &str, found: &Option<T>, wanted: &Option<T>) {
    if wanted.is_some() && found.is_some() {
        compare(lines, what, found, wanted);
    }
}

fn compare<T: PartialEq + Debug>(lines: &mut Vec<String>, what: &str, found: &T, wanted: &T) {
    if found != wanted {
        let show = |value: &T| format!("{value:?}").chars().take(300).collect::<String>();
        lines.push(format!("{what} is {}, not {}", show(found), show(wanted)));
    }
}
