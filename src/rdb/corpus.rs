//! Every RDB file of the corpus against what the server that wrote it said of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Checksum, Event, KeyHeader, KeyMeta, ObjectBuilder, Options, Reader, StreamCounters, Version, Visitor,
    WriteOptions, Writer, dump,
};
use crate::value::stream::StreamId;
use crate::value::{Element, Limits, Object, Stream};

/// Every RDB file of the corpus with its truth, if it has one of its own.
pub(super) fn files() -> Vec<(PathBuf, Option<PathBuf>)> {
    fn walk(folder: &Path, files: &mut Vec<(PathBuf, Option<PathBuf>)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rdb") {
                let truth = path.with_extension("truth.json");
                files.push((path, truth.exists().then_some(truth)));
            }
        }
    }
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus"), &mut files);
    files.sort();
    files
}

fn text(element: Element<'_>) -> String {
    element.with(|bytes| STANDARD.encode(bytes))
}

fn id(id: StreamId) -> Value {
    json!(String::from_utf8(id.to_text()).unwrap())
}

/// The value as the truth files spell it; scores are numbers.
fn describe_stream(stream: &Stream) -> Value {
    let entries: Vec<Value> = stream
        .range(StreamId::MIN, StreamId::MAX)
        .map(|entry| {
            let fields: Vec<String> =
                entry.fields.into_iter().flat_map(|(field, value)| [text(field), text(value)]).collect();
            json!([id(entry.id), fields])
        })
        .collect();
    let groups: Vec<Value> = stream
        .groups()
        .map(|(name, group)| {
            let consumers: Vec<Value> = group
                .consumers()
                .map(|(name, _)| {
                    let pending: Vec<Value> = group
                        .pending_of(name, StreamId::MIN)
                        .map(|pending| json!([id(pending.id), pending.delivery_ms, pending.count]))
                        .collect();
                    json!({"name": STANDARD.encode(name), "pending": pending})
                })
                .collect();
            json!({"name": STANDARD.encode(name), "last_id": id(group.last_id()), "consumers": consumers})
        })
        .collect();
    json!({
        "entries": entries, "last_id": id(stream.last_id()), "max-deleted-entry-id": id(stream.max_deleted_id()),
        "entries-added": stream.entries_added(), "groups": groups,
    })
}

/// Collects a value as the truth files spell it.
#[derive(Default)]
struct Describe {
    value: Value,
    items: Vec<Value>,
    scored: Vec<(f64, Vec<u8>)>,
    /// Pending entries of the stream's group that is being told.
    pending: BTreeMap<StreamId, (i64, u64)>,
}

impl Describe {
    fn take(self, type_name: &str) -> Value {
        let Describe { value, mut items, mut scored, .. } = self;
        match type_name {
            "set" | "hash" => {
                items.sort_by_cached_key(|item| item.get(0).unwrap_or(item).as_str().unwrap().to_owned());
                json!(items)
            }
            "list" => json!(items),
            "zset" => {
                scored.sort_by(|a, b| a.partial_cmp(b).unwrap()); // by score, then by member
                scored.into_iter().map(|(score, member)| json!([STANDARD.encode(member), number(score)])).collect()
            }
            _ => value,
        }
    }
}

/// A score as something that compares as doubles do.
fn number(score: f64) -> Value {
    json!(format!("{score:?}"))
}

impl Visitor for Describe {
    fn string(&mut self, value: Element<'_>) {
        self.value = json!(text(value));
    }
    fn list_item(&mut self, item: Element<'_>) {
        self.items.push(json!(text(item)));
    }
    fn set_member(&mut self, member: Element<'_>) {
        self.items.push(json!(text(member)));
    }
    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        self.scored.push((score, member.to_vec()));
    }
    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        self.items.push(json!([text(field), text(value), expire_at_ms]));
    }
    fn stream_entry(&mut self, entry: StreamId, fields: &[(Element<'_>, Element<'_>)]) {
        let fields: Vec<String> = fields.iter().flat_map(|(field, value)| [text(*field), text(*value)]).collect();
        self.items.push(json!([id(entry), fields]));
    }
    fn stream_counters(&mut self, counters: &StreamCounters) {
        assert_eq!(counters.len, self.items.len() as u64);
        self.value = json!({
            "entries": self.items, "last_id": id(counters.last_id), "entries-added": counters.entries_added,
            "max-deleted-entry-id": id(counters.max_deleted_id), "groups": [],
        });
    }
    fn stream_group(&mut self, name: &[u8], last_id: StreamId, _entries_read: Option<u64>) {
        self.pending.clear();
        let group = json!({"name": STANDARD.encode(name), "last_id": id(last_id), "consumers": []});
        self.value["groups"].as_array_mut().unwrap().push(group);
    }
    fn stream_pending(&mut self, id: StreamId, delivery_ms: i64, count: u64) {
        self.pending.insert(id, (delivery_ms, count));
    }
    fn stream_consumer(&mut self, name: &[u8], _seen_ms: i64, _active_ms: Option<i64>) {
        let group = self.value["groups"].as_array_mut().unwrap().last_mut().unwrap();
        group["consumers"].as_array_mut().unwrap().push(json!({"name": STANDARD.encode(name), "pending": []}));
    }
    fn stream_consumer_pending(&mut self, pending: StreamId) {
        let group = self.value["groups"].as_array_mut().unwrap().last_mut().unwrap();
        let consumer = group["consumers"].as_array_mut().unwrap().last_mut().unwrap();
        let (delivery_ms, count) = self.pending[&pending];
        consumer["pending"].as_array_mut().unwrap().push(json!([id(pending), delivery_ms, count]));
    }
}

pub(super) fn describe_object(object: &Object) -> Value {
    let mut describe = Describe::default();
    match object {
        Object::String(value) => describe.string(value.element()),
        Object::List(value) => value.iter().for_each(|item| describe.list_item(item)),
        Object::Set(value) => value.iter().for_each(|member| describe.set_member(member)),
        Object::Zset(value) => value.iter().for_each(|(member, score)| describe.zset_member(member, score)),
        Object::Hash(value) => value.iter().for_each(|(field, value, at)| describe.hash_field(field, value, at)),
        Object::Stream(value) => describe.value = describe_stream(value),
        Object::Module(_) | Object::Array(_) => {}
    }
    describe.take(object.type_name())
}

/// How to take a value.
#[derive(Clone, Copy, Debug)]
enum Way {
    Visit,
    Build,
    VisitIntoBuilder,
}

/// Everything a file says, in the shape of the truth: (database, key) -> record; and the names of its libraries.
type Contents = (BTreeMap<(u64, Vec<u8>), (KeyHeader, Value)>, Vec<String>);

fn contents(bytes: &[u8], way: Way) -> Contents {
    let mut reader = Reader::new(bytes, Options::default()).unwrap();
    let (mut keys, mut functions) = (BTreeMap::new(), Vec::new());
    loop {
        match reader.next().unwrap() {
            Event::Key(header) => {
                let limits = Limits::default();
                let value = match way {
                    Way::Visit => {
                        let mut describe = Describe::default();
                        reader.value(&mut describe).unwrap();
                        describe.take(header.kind.type_name())
                    }
                    Way::Build => describe_object(&reader.object(&limits).unwrap().unwrap()),
                    Way::VisitIntoBuilder => {
                        let mut builder = ObjectBuilder::new(&limits);
                        reader.value(&mut builder).unwrap();
                        describe_object(&builder.finish().unwrap().unwrap())
                    }
                };
                let before = keys.insert((header.db, header.key.clone()), (header, value));
                assert!(before.is_none(), "a key twice");
            }
            Event::Function { code } => {
                let code = String::from_utf8(code).unwrap();
                let name = code.lines().next().unwrap().split("name=").nth(1).unwrap();
                functions.push(name.trim().to_owned());
            }
            Event::End { checksum } => {
                let expected = if reader.header().version < 5 { Checksum::Absent } else { Checksum::Ok };
                assert_eq!(checksum, expected);
                assert_eq!(reader.offset(), bytes.len() as u64);
                return (keys, functions);
            }
            _ => {}
        }
    }
}

fn decode(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// Brings the scores of a truth to the form of [`number`], and drops what a value has beyond the truth.
fn same_form(truth: &Value, found: &Value, type_name: &str) -> (Value, Value) {
    let mut expected = truth.clone();
    match type_name {
        "zset" => {
            for pair in expected.as_array_mut().unwrap() {
                pair[1] = number(pair[1].as_str().unwrap().parse().unwrap());
            }
            (expected, found.clone())
        }
        "stream" => {
            let mut found = found.clone();
            found.as_object_mut().unwrap().retain(|name, _| truth.get(name).is_some());
            for group in expected.get_mut("groups").and_then(Value::as_array_mut).into_iter().flatten() {
                group.as_object_mut().unwrap().remove("entries_read");
            }
            (expected, found)
        }
        _ => (expected, found.clone()),
    }
}

fn assert_is_truth(path: &Path, (keys, functions): &Contents, truth: &Path) {
    let truth: Value = serde_json::from_slice(&std::fs::read(truth).unwrap()).unwrap();
    let expected = truth["keys"].as_array().unwrap();
    assert_eq!(keys.len(), expected.len(), "{}", path.display());
    for record in expected {
        let place = (record["db"].as_u64().unwrap(), decode(&record["key"]));
        let name = format!("{} db {} key {}", path.display(), place.0, place.1.escape_ascii());
        let (header, value) = keys.get(&place).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(header.kind.type_name(), record["type"], "{name}");
        let (expected, found) = same_form(&record["value"], value, header.kind.type_name());
        assert_eq!(expected, found, "{name} {:?}", header.kind);
        match (record["expire_at_ms"].as_i64(), header.expire_at_ms) {
            (Some(truth), Some(found)) => {
                let slack = record["expire_at_ms_slack"].as_i64().unwrap_or(0);
                assert!((truth - found).abs() <= slack, "{name} {truth} {found} {slack}");
            }
            (truth, found) => assert_eq!(truth, found, "{name}"),
        }
    }
    let names: Vec<&str> =
        truth["functions"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(*functions, names, "{}", path.display());
}

#[test]
fn every_file_says_what_its_server_said() {
    let (mut with_truth, mut all) = (0, 0);
    for (path, truth) in files() {
        let bytes = std::fs::read(&path).unwrap();
        let visited = contents(&bytes, Way::Visit);
        assert_eq!(visited, contents(&bytes, Way::Build), "{}", path.display());
        assert_eq!(visited, contents(&bytes, Way::VisitIntoBuilder), "{}", path.display());
        all += 1;
        if let Some(truth) = truth {
            assert_is_truth(&path, &visited, &truth);
            with_truth += 1;
        }
    }
    assert_eq!((with_truth, all), (40, 52));
}

#[test]
fn skipped_values_leave_the_reader_where_read_ones_do() {
    for (path, _) in files() {
        let bytes = std::fs::read(&path).unwrap();
        let mut skipping = Reader::new(&bytes[..], Options::default()).unwrap();
        let mut reading = Reader::new(&bytes[..], Options::default()).unwrap();
        loop {
            let event = skipping.next().unwrap();
            assert_eq!(event, reading.next().unwrap(), "{}", path.display());
            match event {
                Event::Key(_) => reading.value(&mut super::Discard).unwrap(),
                Event::End { .. } => break,
                _ => {}
            }
        }
    }
}

#[test]
fn payloads_of_any_version_decode_to_the_same_value() {
    let limits = Limits::default();
    for (path, _) in files().into_iter().filter(|(path, _)| path.ends_with("types.rdb")) {
        let bytes = std::fs::read(&path).unwrap();
        let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
        loop {
            match reader.next().unwrap() {
                Event::Key(_) => {
                    let object = reader.object(&limits).unwrap().unwrap();
                    for version in Version::ALL {
                        let Ok(payload) = dump::encode(&object, version) else { continue };
                        let again = dump::decode(&payload, &limits).unwrap().unwrap();
                        if version < Version::Rdb10 && object.type_name() == "stream" {
                            continue; // its counters are hints, which `conversions` compares
                        }
                        assert_eq!(describe_object(&again), describe_object(&object), "{}", path.display());
                        // A hash whose last expiry was taken away may have kept room for it.
                        let encoding = |object: &Object| object.encoding().replace("listpackex", "listpack");
                        assert_eq!(encoding(&again), encoding(&object));
                    }
                }
                Event::End { .. } => break,
                _ => {}
            }
        }
    }
}

/// The contents without what a rewrite may change: encodings and places.
fn essence((keys, functions): Contents) -> Value {
    let keys: Vec<Value> = keys
        .into_values()
        .map(|(header, value)| {
            json!([header.db, header.key, header.expire_at_ms, header.idle_seconds, header.frequency, value])
        })
        .collect();
    json!([keys, functions])
}

/// Copies a file without looking into its values; the number of keys, and the copy.
fn raw_copy(bytes: &[u8], version: Version) -> Result<(u64, Vec<u8>), super::CopyError> {
    let mut reader = Reader::new(bytes, Options::default())?;
    let mut writer = Writer::new(Vec::new(), version, WriteOptions::default())?;
    let mut keys = 0;
    loop {
        match reader.next()? {
            Event::Function { code } => writer.function(&code)?,
            Event::SelectDb(db) => writer.select_db(db, 1, 0)?,
            Event::Key(header) => {
                reader.copy_value(&mut writer.raw_key(&KeyMeta::of(&header), header.kind)?)?;
                keys += 1;
            }
            Event::End { .. } => return Ok((keys, writer.finish()?)),
            _ => {}
        }
    }
}

#[test]
fn values_copied_as_they_stand_read_the_same_in_their_old_encoding() {
    let (mut copied, mut refused) = (0, 0);
    for (path, _) in files() {
        let bytes = std::fs::read(&path).unwrap();
        let before = contents(&bytes, Way::Visit);
        for version in [Version::Rdb10, Version::Rdb11, Version::Rdb12, Version::Valkey80] {
            match raw_copy(&bytes, version) {
                Ok((keys, copy)) => {
                    let after = contents(&copy, Way::Visit);
                    assert!(essence(before.clone()) == essence(after.clone()), "{} {version:?}", path.display());
                    let kinds = |contents: &Contents| contents.0.values().map(|key| key.0.kind).collect::<Vec<_>>();
                    assert_eq!(kinds(&before), kinds(&after));
                    copied += keys;
                }
                Err(super::CopyError::Write(super::WriteError::UnknownType { .. })) => refused += 1,
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }
    assert!(copied > 1000 && refused > 10, "{copied} {refused}");
}

#[test]
fn a_sink_that_fails_loses_one_value_and_not_the_reader() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let file = b"REDIS0003\xfe\x00\x00\x01a\x01b\x00\x01c\x01d\xff";
    let mut reader = Reader::new(&file[..], Options::default()).unwrap();
    reader.next().unwrap();
    reader.next().unwrap();
    assert!(matches!(reader.copy_value(&mut Full), Err(super::CopyError::Write(super::WriteError::Io(_)))));
    let Event::Key(header) = reader.next().unwrap() else { panic!() };
    let mut value = Vec::new();
    reader.copy_value(&mut value).unwrap();
    reader.copy_value(&mut value).unwrap();
    assert_eq!((&header.key[..], &value[..]), (&b"c"[..], &b"\x01d"[..]), "nothing is next the second time");
}
