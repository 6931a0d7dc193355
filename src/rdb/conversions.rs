//! What is written in any version, read back: equal, but for what the writer says that it lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::corpus::{describe_object, files};
use super::kind::Kind;
use super::{
    Event, Feature, KeyMeta, Losses, ObjectRef, Options, Reader, Version, Weight, WriteError, WriteOptions, Writer,
    dump,
};
use crate::value::stream::{Group, Idempotence, IdempotenceCounts, Nacked, Pending, Producer, StreamId};
use crate::value::{Array, ArrayItem, Limits, Module, Object, Stream};

type Place = (u64, Vec<u8>);
type Lost = BTreeMap<Place, BTreeSet<Feature>>;

/// All that a file says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    aux: Vec<(Vec<u8>, Vec<u8>)>,
    functions: Vec<Vec<u8>>,
    modules: Vec<(u64, Vec<u8>)>,
    keys: BTreeMap<Place, Value>,
}

fn describe(object: &Object) -> Value {
    match object {
        Object::Stream(stream) => json!({"stream": describe_object(object), "more": beyond_truth(stream)}),
        Object::Module(module) => json!([module.id, *module.raw]),
        _ => describe_object(object),
    }
}

/// What the truth files leave out.
fn beyond_truth(stream: &Stream) -> Value {
    let of_group = |(name, group): (&[u8], &crate::value::stream::Group)| {
        let consumers: Vec<Value> = group
            .consumers()
            .map(|(name, consumer)| json!([name, consumer.seen_ms(), consumer.active_ms(), consumer.pending_len()]))
            .collect();
        let pending: Vec<Value> = group
            .pending_from(StreamId::MIN)
            .map(|pending| json!([pending.id.to_text(), pending.consumer, pending.delivery_ms, pending.count]))
            .collect();
        json!({"name": name, "entries_read": group.entries_read(), "consumers": consumers, "pending": pending})
    };
    json!(stream.groups().map(of_group).collect::<Vec<_>>())
}

fn said(bytes: &[u8]) -> Said {
    let mut reader = Reader::new(bytes, Options::default()).unwrap();
    let mut said = Said::default();
    loop {
        match reader.next().unwrap() {
            Event::Aux { name, value } => said.aux.push((name, value)),
            Event::Function { code } => said.functions.push(code),
            Event::ModuleAux { id, raw, .. } => said.modules.push((id, raw)),
            Event::Key(header) => {
                assert!(Version::of(reader.header().version).is_none_or(|version| version.knows(header.kind)));
                let value = describe(&reader.object(&Limits::default()).unwrap().unwrap());
                let value = json!({
                    "type": header.kind.type_name(), "expire": header.expire_at_ms, "value": value,
                    "access": [header.idle_seconds, header.frequency.map(u64::from)],
                });
                assert!(said.keys.insert((header.db, header.key), value).is_none());
            }
            Event::End { .. } => return said,
            _ => {}
        }
    }
}

/// Writes what `bytes` hold in `version`, and says what was lost of each key.
fn convert(bytes: &[u8], version: Version, compress: bool, lossy: bool) -> Result<(Vec<u8>, Lost, Losses), WriteError> {
    let mut reader = Reader::new(bytes, Options::default()).unwrap();
    let mut writer = Writer::new(Vec::new(), version, WriteOptions { checksum: true, compress })?.lossy(lossy);
    let mut lost = Lost::new();
    loop {
        match reader.next().unwrap() {
            Event::Aux { name, value } => writer.aux(&name, &value)?,
            Event::ModuleAux { id, raw, .. } => writer.module_aux(id, &raw)?,
            Event::Function { code } => writer.function(&code)?,
            Event::SelectDb(db) => writer.select_db(db, 1, 0)?,
            Event::Key(header) => {
                let object = reader.object(&Limits::default()).unwrap().unwrap();
                let meta = KeyMeta::of(&header);
                let before = writer.losses().clone();
                writer.key(&meta, ObjectRef::Object(&object))?;
                let count = |losses: &Losses, feature| losses.of(feature).map_or(0, |loss| loss.count);
                let new = writer.losses().iter().map(|(feature, _)| feature);
                let new = new.filter(|feature| count(writer.losses(), *feature) > count(&before, *feature)).collect();
                lost.insert((header.db, header.key), new);
            }
            Event::End { .. } => {
                let losses = writer.losses().clone();
                return Ok((writer.finish()?, lost, losses));
            }
            _ => {}
        }
    }
}

/// Takes what was reported as lost out of what was said, and out of what came back what stands in its place.
fn without_lost(mut said: Said, lost: &Lost, version: Version) -> Said {
    if !version.holds(Feature::Remark) {
        said.aux.clear();
    }
    if !version.holds(Feature::Function) {
        said.functions.clear();
    }
    if !version.holds(Feature::ModuleAux) {
        said.modules.clear();
    }
    for (place, features) in lost {
        for feature in features {
            if feature.row().weight == Weight::Key {
                said.keys.remove(place);
            }
            let Some(key) = said.keys.get_mut(place) else { continue };
            let groups = |key: &mut Value| key["value"]["more"].as_array_mut().unwrap().clone();
            match feature {
                Feature::Access => key["access"] = json!([null, null]),
                Feature::FieldExpiry => {
                    for field in key["value"].as_array_mut().unwrap() {
                        field[2] = Value::Null;
                    }
                }
                Feature::StreamCounters => {
                    key["value"]["stream"]["max-deleted-entry-id"] = Value::Null;
                    key["value"]["stream"]["entries-added"] = Value::Null;
                    (0..groups(key).len()).for_each(|at| key["value"]["more"][at]["entries_read"] = Value::Null);
                }
                Feature::ActiveTime => {
                    for at in 0..groups(key).len() {
                        for consumer in key["value"]["more"][at]["consumers"].as_array_mut().unwrap() {
                            consumer[2] = Value::Null;
                        }
                    }
                }
                _ => {}
            }
        }
    }
    said
}

#[test]
fn what_is_written_in_any_version_reads_the_same_but_for_what_is_reported() {
    let mut counts = BTreeMap::<Feature, u64>::new();
    for (path, _) in files() {
        let bytes = std::fs::read(&path).unwrap();
        let source = said(&bytes);
        for version in Version::ALL {
            let name = format!("{} in version {version}", path.display());
            let (written, lost, losses) = convert(&bytes, version, true, true).unwrap();
            let before = without_lost(source.clone(), &lost, version);
            let after = without_lost(said(&written), &lost, version);
            assert_eq!(before.keys.len(), after.keys.len(), "{name}");
            for (place, value) in &before.keys {
                assert_eq!(after.keys.get(place), Some(value), "{name}: {}", place.1.escape_ascii());
            }
            assert!(before == after, "{name}");
            losses.iter().for_each(|(feature, loss)| *counts.entry(feature).or_default() += loss.count);
            let has_lost_data = losses.iter().any(|(feature, _)| feature.row().weight != Weight::Hint);
            match convert(&bytes, version, false, false) {
                Ok((plain, again, _)) => {
                    assert!(!has_lost_data, "{name}");
                    assert!(without_lost(said(&plain), &again, version) == before, "{name}, not compressed");
                }
                Err(error) => {
                    assert!(has_lost_data && error.to_string().contains("it takes version"), "{name}: {error}")
                }
            }
        }
    }
    let reported: Vec<Feature> = counts.keys().copied().collect();
    use Feature::*;
    let expected = [FieldExpiry, Stream, Function, StreamCounters, ActiveTime, Access, Remark];
    assert_eq!(reported, expected, "the corpus has all of these: {counts:?}");
}

/// The kinds in the file, with how many keys have each.
fn kinds(bytes: &[u8]) -> BTreeMap<&'static str, usize> {
    let mut reader = Reader::new(bytes, Options::default()).unwrap();
    let mut kinds = BTreeMap::new();
    loop {
        match reader.next().unwrap() {
            Event::Key(header) => *kinds.entry(header.kind.name()).or_default() += 1,
            Event::End { .. } => return kinds,
            _ => {}
        }
    }
}

#[test]
fn each_version_gets_the_packed_encodings_of_its_time() {
    let path = files().into_iter().find(|(path, _)| path.ends_with("redis-7.0.15/types.rdb")).unwrap().0;
    let bytes = std::fs::read(path).unwrap();
    let expected: [(Version, &[&str]); 6] = [
        (Version::Rdb6, &["HASH_ZIPLIST", "LIST_ZIPLIST", "LIST", "SET_INTSET", "ZSET", "ZSET_ZIPLIST"]),
        (Version::Rdb7, &["HASH_ZIPLIST", "LIST_QUICKLIST", "SET_INTSET", "ZSET", "ZSET_ZIPLIST"]),
        (Version::Rdb8, &["HASH_ZIPLIST", "LIST_QUICKLIST", "ZSET_2", "ZSET_ZIPLIST"]),
        (Version::Rdb9, &["HASH_ZIPLIST", "LIST_QUICKLIST", "STREAM_LISTPACKS", "ZSET_2", "ZSET_ZIPLIST"]),
        (Version::Rdb10, &["HASH_LISTPACK", "LIST_QUICKLIST_2", "SET", "STREAM_LISTPACKS_2", "ZSET_LISTPACK"]),
        (Version::Rdb11, &["HASH_LISTPACK", "LIST_QUICKLIST_2", "SET_LISTPACK", "STREAM_LISTPACKS_3", "ZSET_LISTPACK"]),
    ];
    for (version, names) in expected {
        let kinds = kinds(&convert(&bytes, version, true, true).unwrap().0);
        for name in names {
            assert!(kinds.contains_key(name), "{name} in version {version}: {kinds:?}");
        }
    }
}

fn one_key(version: Version, object: &Object) -> (Kind, Vec<u8>) {
    let options = WriteOptions { checksum: true, compress: false };
    let mut writer = Writer::new(Vec::new(), version, options).unwrap();
    writer.key(&KeyMeta { key: b"k", ..KeyMeta::default() }, object.into()).unwrap();
    let bytes = writer.finish().unwrap();
    let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
    let Event::Key(header) = reader.next().unwrap() else { panic!() };
    let again = reader.object(&Limits::default()).unwrap().unwrap();
    assert_eq!(describe(&again), describe(object), "version {version}");
    (header.kind, bytes)
}

fn list(items: &[&[u8]]) -> Object {
    let mut list = crate::value::List::new();
    items.iter().for_each(|item| list.push_back(item, &Limits::default()));
    Object::List(list)
}

#[test]
fn old_lists_are_nodes_of_8_kb_and_plain_in_version_6_beyond_512_items_or_64_bytes() {
    let short = list(&[b"x".as_slice(); 512]);
    assert_eq!(one_key(Version::Rdb6, &short).0, Kind::ListZiplist);
    assert_eq!(one_key(Version::Rdb6, &list(&[b"x".as_slice(); 513])).0, Kind::List);
    assert_eq!(one_key(Version::Rdb6, &list(&[&[b'x'; 65]])).0, Kind::List);
    let (kind, bytes) = one_key(Version::Rdb7, &list(&[&[b'x'; 3000], &[b'y'; 3000], &[b'z'; 3000], &[b'!'; 20_000]]));
    assert_eq!(kind, Kind::ListQuicklist);
    // header, type, key "k", then the count of nodes: two items in 8 KB, one, and the one that is too long for any.
    assert_eq!(bytes[9..13], [14, 1, b'k', 3]);
    let many: Vec<Vec<u8>> = (0..50_000).map(|index| format!("item {index}").into_bytes()).collect();
    let many = list(&many.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert_eq!(one_key(Version::Rdb9, &many).0, Kind::ListQuicklist);
}

#[test]
fn old_hashes_and_sorted_sets_are_packed_within_the_old_limits_only() {
    let generous = Limits {
        hash_max_listpack_entries: 10_000,
        hash_max_listpack_value: 10_000,
        zset_max_listpack_entries: 10_000,
        zset_max_listpack_value: 10_000,
        ..Limits::default()
    };
    for (count, length, packs) in [(128, 64, true), (513, 10, false), (1, 65, false)] {
        let (mut hash, mut zset) = (crate::value::Hash::new(), crate::value::Zset::new());
        for index in 0..count {
            let text = format!("{index:0>length$}").into_bytes();
            hash.set(&text, b"12", &generous);
            zset.insert(&text, f64::from(index) / 3.0, &generous);
        }
        let (hash, zset) = (Object::Hash(hash), Object::Zset(zset));
        let kinds = [one_key(Version::Rdb6, &hash).0, one_key(Version::Rdb9, &zset).0];
        let expected = if packs { [Kind::HashZiplist, Kind::ZsetZiplist] } else { [Kind::Hash, Kind::Zset2] };
        assert_eq!(kinds, expected, "{count} of {length}");
    }
}

#[test]
fn scores_as_text_come_back_to_the_bit() {
    let limits = Limits { zset_max_listpack_entries: 0, ..Limits::default() };
    let scores = [
        -0.0,
        0.0,
        0.1,
        1.0 / 3.0,
        -1e300,
        5e-324,
        f64::MAX,
        f64::INFINITY,
        f64::NEG_INFINITY,
        9_007_199_254_740_993.0,
        1e17,
        -123_456_789.123_456_78,
    ];
    let mut zset = crate::value::Zset::new();
    for (index, score) in scores.into_iter().enumerate() {
        zset.insert(format!("m{index}").as_bytes(), score, &limits);
    }
    let object = Object::Zset(zset);
    for version in [Version::Rdb6, Version::Rdb7, Version::Rdb8] {
        let (kind, bytes) = one_key(version, &object);
        assert_eq!(kind == Kind::Zset, version < Version::Rdb8);
        let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
        reader.next().unwrap();
        let Some(Object::Zset(again)) = reader.object(&limits).unwrap() else { panic!() };
        for (index, score) in scores.into_iter().enumerate() {
            let found = again.score(format!("m{index}").as_bytes()).unwrap();
            assert_eq!(found.to_bits(), score.to_bits(), "{score} in version {version}");
        }
    }
}

#[test]
fn what_a_version_cannot_hold_is_an_error_by_name_after_which_the_file_goes_on() {
    let mut writer = Writer::new(Vec::new(), Version::Rdb6, WriteOptions::default()).unwrap();
    let stream = Object::Stream(Box::default());
    let meta = KeyMeta { key: b"s", ..KeyMeta::default() };
    let error = writer.key(&meta, (&stream).into()).unwrap_err().to_string();
    assert_eq!(error, "key \"s\" is a stream, which RDB version 6 cannot hold: it takes version 9");
    let error = writer.function(b"#!lua name=x\n").unwrap_err().to_string();
    assert_eq!(error, "the file has function libraries, which RDB version 6 cannot hold: it takes version 10");
    writer.aux(b"redis-ver", b"7.0.0").unwrap();
    writer.key(&meta, ObjectRef::String(b"12".into())).unwrap();
    assert_eq!(writer.losses().of(Feature::Remark).unwrap().count, 1, "remarks are hints");
    assert!(writer.finish().unwrap().starts_with(b"REDIS0006\0\x01s\xc0\x0c\xff"));
}

/// A stream as Redis 8.8 may have it: a producer is known, and an entry was given back by its consumer.
fn newest_stream() -> Object {
    let limits = Limits::default();
    let mut stream = Stream::new();
    for seq in 1..=3 {
        stream.append(StreamId { ms: 5, seq }, &[(b"f", b"v")], &limits).unwrap();
    }
    let mut group = Group::new(StreamId { ms: 5, seq: 2 }, Some(2));
    group.create_consumer(b"c", 7);
    group.set_active(b"c", Some(7));
    group.deliver(Pending { id: StreamId { ms: 5, seq: 1 }, consumer: b"c", delivery_ms: 7, count: 1 });
    group.push_nacked(Nacked { id: StreamId { ms: 5, seq: 2 }, delivery_ms: 6, count: 4 });
    assert!(stream.create_group(b"g", group));
    let entries = vec![(b"message 1".to_vec(), StreamId { ms: 5, seq: 1 })];
    stream.set_idempotence(Some(Idempotence {
        producers: vec![Producer { name: b"p".to_vec(), entries }],
        counts: IdempotenceCounts { added: 1, duplicates: 2 },
        ..Idempotence::default()
    }));
    Object::Stream(Box::new(stream))
}

/// What of the stream came back: whether producers, how many entries given back, how many pending.
fn came_back(object: &Object) -> (bool, usize, usize) {
    let Object::Stream(stream) = object else { panic!() };
    let group = stream.group(b"g").unwrap();
    let producers = stream.idempotence().map_or(0, |idempotence| idempotence.producers.len());
    (producers == 1, group.nacked().len(), group.pending_len())
}

#[test]
fn what_only_the_newest_servers_have_is_kept_from_their_version_on_and_reported_below() {
    let mut array = Array::new(Some(8));
    assert!(array.push(7, ArrayItem::Double(0.5)));
    let module = Module { id: 0x1234_5678_9abc_def0, raw: Arc::new(vec![2, 5, 0]) };
    let values = [newest_stream(), Object::Array(array), Object::Module(module)];
    for version in Version::ALL {
        let mut writer = Writer::new(Vec::new(), version, WriteOptions::default()).unwrap().lossy(true);
        let class = super::KeyMetadata { class: *b"meta", raw: vec![1, 3, 0] };
        for (name, value) in [b"s", b"a", b"m"].into_iter().zip(&values) {
            let metadata = std::slice::from_ref(&class);
            writer.key(&KeyMeta { key: name, metadata, ..KeyMeta::default() }, value.into()).unwrap();
        }
        let metadata = std::slice::from_ref(&class);
        let text = ObjectRef::String(b"any version has this".into());
        writer.key(&KeyMeta { key: b"t", metadata, ..KeyMeta::default() }, text).unwrap();
        writer.slot_import(b"job", &[(1, 5)]).unwrap();
        writer.module_aux(7, &[2, 2, 0]).unwrap();
        let lost = writer.losses().iter().map(|(feature, _)| feature);
        let lost: Vec<Feature> = lost.filter(|feature| feature.row().weight != Weight::Hint).collect();
        use Feature::*;
        let holds_most = [Stream, Module, Array, KeyMetadata, StreamProducers, StreamUnowned, ModuleAux, SlotImport];
        let missing: Vec<Feature> = holds_most.into_iter().filter(|feature| !version.holds(*feature)).collect();
        // What goes with the whole key is not counted besides.
        let expected = missing
            .iter()
            .copied()
            .filter(|feature| version.holds(Stream) || !matches!(feature, StreamProducers | StreamUnowned));
        assert_eq!(lost, expected.collect::<Vec<_>>(), "version {version}");
        let bytes = writer.finish().unwrap();
        let has_metadata = bytes.windows(6).any(|at| at == b"\xf3\x01meta");
        assert_eq!(has_metadata, version.holds(KeyMetadata), "version {version}");
    }
}

#[test]
fn streams_arrays_and_modules_come_back_from_each_version_but_for_what_it_lacks() {
    let stream = newest_stream();
    for version in Version::ALL.into_iter().filter(|version| version.holds(Feature::Stream)) {
        let mut writer = Writer::new(Vec::new(), version, WriteOptions::default()).unwrap().lossy(true);
        writer.key(&KeyMeta { key: b"s", ..KeyMeta::default() }, (&stream).into()).unwrap();
        let bytes = writer.finish().unwrap();
        let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
        assert!(matches!(reader.next().unwrap(), Event::Key(_)));
        let again = reader.object(&Limits::default()).unwrap().unwrap();
        let unowned = usize::from(version.holds(Feature::StreamUnowned));
        assert_eq!(came_back(&again), (version.holds(Feature::StreamProducers), unowned, 1), "version {version}");
        let strict = dump::encode(&stream, version);
        let holds_all = version.holds(Feature::StreamProducers) && version.holds(Feature::StreamUnowned);
        assert_eq!(strict.is_ok(), holds_all, "version {version}");
    }
    let mut array = Array::new(None);
    assert!(array.push(u64::MAX, ArrayItem::Int(-1)));
    for version in [Version::Rdb14, Version::Rdb15] {
        let payload = dump::encode(&Object::Array(array.clone()), version).unwrap();
        let Some(Object::Array(again)) = dump::decode(&payload, &Limits::default()).unwrap() else { panic!() };
        assert!(again.iter().eq(array.iter()));
    }
}
