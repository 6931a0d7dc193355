//! The files of real servers in `testdata/corpus`, and the truth about them.

use super::contents::{Contents, Data, Group, Key, Stream};
use ironkeep::cli::json::bytes_of;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub fn corpus_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus")
}

fn servers() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(corpus_root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    assert_eq!(found.len(), 15, "the corpus comes from 15 servers");
    found
}

/// The 40 RDB files.
pub fn rdb_files() -> Vec<PathBuf> {
    let names = ["lfu.rdb", "random.rdb", "types.rdb"];
    let found: Vec<_> =
        servers().iter().flat_map(|server| names.map(|name| server.join(name))).filter(|path| path.exists()).collect();
    assert_eq!(found.len(), 40);
    found
}

/// The 15 folders whose log ends in an accidental FLUSHALL and five writes.
pub fn flushed_logs() -> Vec<PathBuf> {
    servers().iter().map(|server| server.join("flushed-aof")).collect()
}

/// The 30 folders with a log.
pub fn logs() -> Vec<PathBuf> {
    servers().iter().flat_map(|server| ["aof", "flushed-aof"].map(|name| server.join(name))).collect()
}

/// What the server that wrote `sample` said of it: `sample.truth.json`.
pub fn truth_of(sample: &Path) -> Contents {
    let path = sample.with_extension("truth.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let json: Json = serde_json::from_slice(&text).unwrap();
    let keys = array(&json["keys"]).iter().map(|record| {
        let place = (record["db"].as_u64().unwrap(), bytes(&record["key"]));
        let key = Key {
            expire_at_ms: record["expire_at_ms"].as_i64(),
            expire_slack_ms: record["expire_at_ms_slack"].as_i64().unwrap_or(0),
            data: data(record["type"].as_str().unwrap(), &record["value"], record.get("expire_at_ms_slack").is_none()),
        };
        (place, key)
    });
    let functions = json["functions"].as_array().map(|names| names.iter().map(text_of).collect());
    Contents { keys: keys.collect(), functions }
}

/// `is_recent`: the server is Redis 7.0 or later, and knows how many entries a group has read, or that it doesn't.
fn data(kind: &str, value: &Json, is_recent: bool) -> Data {
    match kind {
        "string" => Data::String(bytes(value)),
        "list" => Data::List(array(value).iter().map(bytes).collect()),
        "set" => Data::Set(array(value).iter().map(bytes).collect()),
        "zset" => {
            Data::Zset(array(value).iter().map(|pair| (bytes(&pair[0]), text_of(&pair[1]).parse().unwrap())).collect())
        }
        "hash" => Data::Hash(
            array(value).iter().map(|field| (bytes(&field[0]), (bytes(&field[1]), field[2].as_i64()))).collect(),
        ),
        "stream" => Data::Stream(stream(value, is_recent)),
        other => panic!("a truth of type {other}"),
    }
}

fn stream(value: &Json, is_recent: bool) -> Stream {
    Stream {
        entries: array(&value["entries"])
            .iter()
            .map(|entry| (text_of(&entry[0]), array(&entry[1]).iter().map(bytes).collect()))
            .collect(),
        last_id: value["last_id"].as_str().map(str::to_owned),
        max_deleted_id: value["max-deleted-entry-id"].as_str().map(str::to_owned),
        entries_added: value["entries-added"].as_i64(),
        groups: value["groups"].as_array().map(|groups| groups.iter().map(|value| group(value, is_recent)).collect()),
    }
}

fn group(value: &Json, is_recent: bool) -> (Vec<u8>, Group) {
    let consumers = array(&value["consumers"]).iter().map(|consumer| {
        let pending = array(&consumer["pending"]).iter().map(|entry| {
            let int = |index: usize| entry[index].as_i64().unwrap();
            (text_of(&entry[0]), int(1), int(2))
        });
        (bytes(&consumer["name"]), pending.collect())
    });
    let entries_read = is_recent.then(|| value["entries_read"].as_i64());
    let last_id = text_of(&value["last_id"]);
    let group = Group { last_id, entries_read, consumers: consumers.collect(), times: BTreeMap::new() };
    (bytes(&value["name"]), group)
}

fn array(value: &Json) -> &[Json] {
    value.as_array().unwrap_or_else(|| panic!("an array was expected, not {value}"))
}

fn text_of(value: &Json) -> String {
    value.as_str().unwrap().to_owned()
}

fn bytes(value: &Json) -> Vec<u8> {
    bytes_of(&format!("base64:{}", value.as_str().unwrap())).unwrap()
}
