//! Files made by hand for what the corpus does not have, and files broken on purpose.

use super::*;
use crate::codec::crc64::crc64;
use crate::value::stream::{IdempotenceCounts, Retention, StreamId};
use crate::value::{ArrayItem, Compact, Element, Limits, Module, Object};

/// Puts a file together: header, pieces, end marker, checksum.
pub(super) fn file(magic: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = [magic, &pieces.concat(), &[255]].concat();
    bytes.extend(crc64(&bytes).to_le_bytes());
    bytes
}

/// Writes down every element as a word.
#[derive(Default)]
pub(super) struct Words(Vec<String>);

fn word(element: Element<'_>) -> String {
    element.with(|bytes| bytes.escape_ascii().to_string())
}

impl Visitor for Words {
    fn begin(&mut self, kind: Kind, count: Option<u64>) {
        self.0.push(format!("{}:{}", kind.name(), count.map_or("?".into(), |count| count.to_string())));
    }
    fn string(&mut self, value: Element<'_>) {
        self.0.push(word(value));
    }
    fn list_item(&mut self, item: Element<'_>) {
        self.0.push(word(item));
    }
    fn set_member(&mut self, member: Element<'_>) {
        self.0.push(word(member));
    }
    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        self.0.push(format!("{}={score}", word(member)));
    }
    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        let expiry = expire_at_ms.map_or(String::new(), |ms| format!("@{ms}"));
        self.0.push(format!("{}={}{expiry}", word(field), word(value)));
    }
    fn stream_entry(&mut self, id: StreamId, fields: &[(Element<'_>, Element<'_>)]) {
        let fields: Vec<_> = fields.iter().map(|(field, value)| format!("{}={}", word(*field), word(*value))).collect();
        self.0.push(format!("{id}:{}", fields.join(",")));
    }
    fn stream_counters(&mut self, counters: &StreamCounters) {
        let StreamCounters { len, first_id, last_id, max_deleted_id, entries_added } = counters;
        self.0.push(format!("{len} {first_id}..{last_id}-{max_deleted_id}+{entries_added}"));
    }
    fn stream_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
        self.0.push(format!("{} at {last_id} read {entries_read:?}", name.escape_ascii()));
    }
    fn stream_pending(&mut self, id: StreamId, delivery_ms: i64, count: u64) {
        self.0.push(format!("{id}@{delivery_ms}x{count}"));
    }
    fn stream_consumer(&mut self, name: &[u8], seen_ms: i64, active_ms: Option<i64>) {
        self.0.push(format!("{} {seen_ms} {active_ms:?}", name.escape_ascii()));
    }
    fn stream_consumer_pending(&mut self, id: StreamId) {
        self.0.push(format!("has {id}"));
    }
    fn stream_nacked(&mut self, id: StreamId) {
        self.0.push(format!("nacked {id}"));
    }
    fn stream_idempotence(&mut self, retention: &Retention) {
        self.0.push(format!("{}s {}", retention.duration_seconds, retention.max_entries));
    }
    fn stream_producer(&mut self, name: &[u8]) {
        self.0.push(format!("producer {}", name.escape_ascii()));
    }
    fn stream_produced(&mut self, idempotent_id: &[u8], id: StreamId) {
        self.0.push(format!("{}={id}", idempotent_id.escape_ascii()));
    }
    fn stream_idempotence_counts(&mut self, counts: &IdempotenceCounts) {
        self.0.push(format!("{}+{}", counts.added, counts.duplicates));
    }
    fn array(&mut self, insert_index: Option<u64>) {
        self.0.push(format!("next {insert_index:?}"));
    }
    fn array_item(&mut self, index: u64, item: ArrayItem<'_>) {
        let item = match item {
            ArrayItem::String(text) => format!("\"{}\"", word(text)),
            ArrayItem::SmallString(text) => format!("'{}'", word(text)),
            ArrayItem::Int(value) => value.to_string(),
            ArrayItem::Double(value) => format!("{value:?}"),
        };
        self.0.push(format!("{index}={item}"));
    }
    fn module(&mut self, module: &Module) {
        self.0.push(format!("{} {}", module.name(), module.raw.escape_ascii()));
    }
    fn end(&mut self) {
        self.0.push("end".into());
    }
}

/// All that a file says, a line per event.
pub(super) fn told(bytes: &[u8]) -> Result<Vec<String>, Error> {
    let mut reader = Reader::new(bytes, Options::default())?;
    let mut lines = Vec::new();
    loop {
        let event = reader.next()?;
        match &event {
            Event::Key(header) => {
                let mut words = Words::default();
                reader.value(&mut words)?;
                lines.push(format!("{} {}", header.key.escape_ascii(), words.0.join(" ")));
            }
            Event::End { .. } => return Ok(lines),
            other => lines.push(format!("{other:?}")),
        }
    }
}

/// One key under `type_byte` in a Redis file of version 12.
fn one_value(type_byte: u8, value: &[u8]) -> Vec<u8> {
    file(b"REDIS0012", &[&[type_byte], b"\x01k", value])
}

/// Prefixed with its length, as a string.
pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    super::primitive::put_plain(&mut out, bytes, None);
    out
}

pub(super) const LISTPACK_ABC: &[u8] = &[13, 0, 0, 0, 3, 0, 0x81, b'a', 2, 0x81, b'b', 2, 0xff];
const LISTPACK_F_V_9: &[u8] = &[15, 0, 0, 0, 3, 0, 0x81, b'f', 2, 0x81, b'v', 2, 9, 1, 0xff];

#[test]
fn elements_of_every_plain_type_come_in_order() {
    let two = |items: &[&[u8]]| [&[2][..], &items.concat()].concat();
    let half = 0.5f64.to_le_bytes();
    let ms = |ms: i64| ms.to_le_bytes();
    for (type_byte, value, expected) in [
        (0, b"\xc1\x39\x30".to_vec(), "STRING:? 12345"),
        (1, two(&[b"\x01a", b"\xc0\xff"]), "LIST:2 a -1"),
        (2, two(&[b"\x01a", b"\x01b"]), "SET:2 a b"),
        (
            3,
            [&[4][..], b"\x01a\x031.5", b"\x01b\xff", b"\x01c\xfe", b"\x01d\xfd"].concat(),
            "ZSET:4 a=1.5 b=-inf c=inf d=NaN",
        ),
        (4, two(&[b"\x01a\x01x", b"\x01b\x01y"]), "HASH:2 a=x b=y"),
        (5, two(&[b"\x01a", &half, b"\x01b", &half]), "ZSET_2:2 a=0.5 b=0.5"),
        (9, string(&[1, 1, b'f', 1, 0, b'v', 255]), "HASH_ZIPMAP:1 f=v"),
        (11, string(&[2, 0, 0, 0, 2, 0, 0, 0, 5, 0, 7, 0]), "SET_INTSET:2 5 7"),
        (22, two(&[b"\x00\x01a\x01x", b"\x09\x01b\x01y"]), "HASH_METADATA_PRE_GA:2 a=x b=y@9"),
        (23, string(LISTPACK_F_V_9), "HASH_LISTPACK_EX_PRE_GA:1 f=v@9"),
        (24, [&ms(100)[..], &two(&[b"\x00\x01a\x01x", b"\x03\x01b\x01y"])].concat(), "HASH_METADATA:2 a=x b=y@102"),
        (25, [&ms(9)[..], &string(LISTPACK_F_V_9)].concat(), "HASH_LISTPACK_EX:1 f=v@9"),
    ] {
        let expected = format!("k {expected} end");
        assert_eq!(told(&one_value(type_byte, &value)).unwrap(), [expected]);
    }
}

#[test]
fn valkey_gives_the_colliding_numbers_its_own_meaning() {
    let bytes = file(
        b"VALKEY080",
        &[
            b"\xf3\x04job1\x02\x00\x05\x40\x64\x40\xc8",
            b"\x16\x01k\x02\x01a\x01x",
            &(-1i64).to_le_bytes(),
            b"\x01b\x01y",
            &77i64.to_le_bytes(),
        ],
    );
    assert_eq!(
        told(&bytes).unwrap(),
        ["SlotImport { job: [106, 111, 98, 49], ranges: [(0, 5), (100, 200)] }", "k HASH_2:2 a=x b=y@77 end"]
    );
}

#[test]
fn module_values_are_kept_as_they_stand() {
    // A 64-bit id, then SINT, UINT, FLOAT, DOUBLE, STRING, EOF, the lengths not all in their shortest form.
    let id = 0x81u8;
    let opcodes = [&b"\x01\x05\x02\x80\0\0\0\x07\x03abcd\x04abcdefgh\x05\x03str"[..], &[0]].concat();
    let value = [&[id][..], &[0; 8], &opcodes].concat();
    let bytes = one_value(7, &value);
    let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
    reader.next().unwrap();
    let Some(Object::Module(module)) = reader.object(&Limits::default()).unwrap() else { panic!() };
    assert_eq!((module.id, &module.raw[..]), (0, &opcodes[..]));
    assert!(matches!(reader.next().unwrap(), Event::End { checksum: Checksum::Ok }));

    let aux = file(b"REDIS0011", &[b"\xf7", &[0x81], &u64::MAX.to_be_bytes(), b"\x02\x02", &opcodes]);
    let mut reader = Reader::new(&aux[..], Options::default()).unwrap();
    let Event::ModuleAux { id, module, raw } = reader.next().unwrap() else { panic!() };
    assert_eq!((id, &module[..]), (u64::MAX, "_________"));
    assert_eq!(raw, [&b"\x02\x02"[..], &opcodes].concat());
}

#[test]
fn expiry_and_access_belong_to_the_next_key_only() {
    let bytes = file(
        b"REDIS0009",
        &[
            b"\xfe\x03",
            b"\xfd\x10\0\0\0\xf8\x40\x80\x00\x01a\x01x",
            b"\xfc\x07\0\0\0\0\0\0\0\xf9\x0c\x00\x01b\x01x",
            b"\x00\x01c\x01x",
        ],
    );
    let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
    assert_eq!(reader.next().unwrap(), Event::SelectDb(3));
    for (key, expire_at_ms, idle_seconds, frequency, offset) in
        [(b"a", Some(16_000), Some(128), None, 11), (b"b", Some(7), None, Some(12), 24), (b"c", None, None, None, 40)]
    {
        let header = KeyHeader {
            db: 3,
            key: key.to_vec(),
            kind: Kind::String,
            expire_at_ms,
            idle_seconds,
            frequency,
            metadata: Vec::new(),
            offset,
        };
        assert_eq!(reader.next().unwrap(), Event::Key(header));
    }
}

#[test]
fn an_older_stream_gets_what_redis_gives_it_when_loading() {
    // The node holds 1-0 {f: v}: counts, then the master's fields, then the entry.
    let head = [29, 0, 0, 0, 10, 0, 1, 1, 0, 1, 1, 1, 0x81, b'f', 2, 0, 1];
    let entry = [2, 1, 0, 1, 0, 1, 0x81, b'v', 2, 4, 1, 0xff];
    let node = [&head[..], &entry].concat();
    let id = [1u64.to_be_bytes(), 0u64.to_be_bytes()].concat();
    let consumer = [&string(b"c")[..], &70i64.to_le_bytes(), &[1], &id].concat();
    let pending = [&[1][..], &id, &60i64.to_le_bytes(), &[2]].concat();
    let group = |entries_read: &[u8], consumer: &[u8]| {
        [&string(b"g")[..], &[1, 0], entries_read, &pending, &[1], consumer].concat()
    };
    let head = [&[1][..], &string(&id), &string(&node), &[1, 1, 0]].concat();
    let v1 = [&head[..], &[1], &group(&[], &consumer)].concat();
    assert_eq!(
        told(&one_value(15, &v1)).unwrap(),
        ["k STREAM_LISTPACKS:? 1-0:f=v 1 1-0..1-0-0-0+1 g at 1-0 read Some(1) 1-0@60x2 c 70 Some(70) has 1-0 end"]
    );
    let counters = [1, 0, 0, 0, 9];
    let v2 = [&head[..], &counters, &[1], &group(&[0x81, 255, 255, 255, 255, 255, 255, 255, 255], &consumer)].concat();
    assert_eq!(
        told(&one_value(19, &v2)).unwrap(),
        ["k STREAM_LISTPACKS_2:? 1-0:f=v 1 1-0..1-0-0-0+9 g at 1-0 read None 1-0@60x2 c 70 Some(70) has 1-0 end"]
    );
    let active = [&string(b"c")[..], &70i64.to_le_bytes(), &(-1i64).to_le_bytes(), &[1], &id].concat();
    let v3 = [&head[..], &counters, &[1], &group(&[4], &active)].concat();
    assert_eq!(
        told(&one_value(21, &v3)).unwrap(),
        ["k STREAM_LISTPACKS_3:? 1-0:f=v 1 1-0..1-0-0-0+9 g at 1-0 read Some(4) 1-0@60x2 c 70 None has 1-0 end"]
    );
}

#[test]
fn what_is_known_by_name_only_is_refused_by_name_and_place() {
    for (bytes, part) in [
        (file(b"VALKEY081", &[b"\xfe\x00\x17\x01k"]), "PATH_HASH (23) in a VALKEY081 file"),
        (file(b"REDIS0008", &[b"\xfe\x00\x06\x01k"]), "MODULE_PRE_GA (6) in a REDIS0008 file"),
        (file(b"REDIS0015", &[b"\xfe\x00\x21\x01k"]), "GCRA (33) in a REDIS0015 file"),
    ] {
        let error = told(&bytes).unwrap_err();
        assert!(error.is_unsupported());
        assert_eq!(error.offset(), 11);
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains("offset 11"), "{error}");
    }
    for magic in [b"REDIS0016", b"REDIS0080", b"VALKEY079", b"VALKEY082", b"REDIS0000"] {
        let error = told(magic).unwrap_err();
        assert!(matches!(error.cause(), Cause::NewerVersion(_)), "{error}");
        assert!(error.to_string().contains(std::str::from_utf8(magic).unwrap()));
    }
    for bytes in [&b"REDISabcd"[..], b"*1\r\n$4\r\nPING", b"redis0011"] {
        assert!(matches!(told(bytes).unwrap_err().cause(), Cause::NotRdb));
    }
}

#[test]
fn the_checksum_is_reported_and_a_wrong_one_is_an_error_where_asked_for() {
    let end = |bytes: &[u8], verify| {
        let mut reader = Reader::new(bytes, Options { verify }).unwrap();
        loop {
            if let Event::End { checksum } = reader.next()? {
                return Ok::<_, Error>(checksum);
            }
        }
    };
    let good = one_value(0, b"\x01v");
    assert_eq!(end(&good, true).unwrap(), Checksum::Ok);
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let error = end(&bad, true).unwrap_err();
    assert!(matches!(error.cause(), Cause::Checksum { .. }));
    assert_eq!(error.offset(), good.len() as u64 - 8);
    assert!(matches!(end(&bad, false).unwrap(), Checksum::Mismatch { .. }));
    let zeros = [&good[..good.len() - 8], &[0; 8]].concat();
    assert_eq!(end(&zeros, true).unwrap(), Checksum::Disabled);
    assert_eq!(end(b"REDIS0004\xff", true).unwrap(), Checksum::Absent);
    assert!(end(&good[..good.len() - 1], true).unwrap_err().is_cut_short());
}

#[test]
fn what_follows_the_file_is_handed_back() {
    let bytes = [&one_value(0, b"\x01v")[..], b"*1\r\n$4\r\nPING\r\n"].concat();
    let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
    while !matches!(reader.next().unwrap(), Event::End { .. }) {}
    assert!(matches!(reader.next().unwrap(), Event::End { .. }), "the end stays the end");
    let (rest, ahead) = reader.into_inner();
    assert_eq!([&ahead[..], rest].concat(), b"*1\r\n$4\r\nPING\r\n");
}

#[test]
fn collections_without_elements_are_nothing_and_repeated_elements_are_damage() {
    let limits = Limits::default();
    let object = |type_byte: u8, value: &[u8]| {
        let bytes = one_value(type_byte, value);
        let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
        reader.next().unwrap();
        reader.object(&limits)
    };
    let empty_listpack = string(&[7, 0, 0, 0, 0, 0, 255]);
    for type_byte in [1, 2, 3, 4, 5, 14, 18] {
        assert!(object(type_byte, &[0]).unwrap().is_none());
    }
    for type_byte in [16, 17, 20] {
        assert!(object(type_byte, &empty_listpack).unwrap().is_none());
    }
    assert!(object(18, &[&[1, 2][..], &empty_listpack].concat()).unwrap().is_none());
    assert!(matches!(object(0, &[0]).unwrap(), Some(Object::String(_))));
    assert!(matches!(object(15, &[0, 0, 0, 0, 0]).unwrap(), Some(Object::Stream(_))), "an empty stream is a key");
    for (type_byte, value) in [
        (2, b"\x02\x01a\x01a".to_vec()),
        (3, b"\x02\x01a\x011\x01a\x012".to_vec()),
        (3, b"\x01\x01a\xfd".to_vec()),
        (4, b"\x02\x01a\x01x\x01a\x01y".to_vec()),
        (16, string(LISTPACK_ABC)),
    ] {
        let error = object(type_byte, &value).unwrap_err();
        assert_eq!(error.key(), Some(&b"k"[..]));
        assert!(matches!(error.cause(), Cause::Damaged(_)), "{error}");
        assert!(error.to_string().contains("of key \"k\""), "{error}");
    }
}

/// Takes every value in one of four ways; returns how it ended.
fn exhaust(bytes: &[u8], way: usize) -> Result<Checksum, Error> {
    let limits = Limits::default();
    let mut reader = Reader::new(bytes, Options { verify: way.is_multiple_of(2) })?;
    loop {
        match reader.next()? {
            Event::Key(_) => match way {
                0 => reader.value(&mut Discard)?,
                1 => drop(reader.object(&limits)?),
                3 => drop(reader.gather(&limits, &mut Vec::new())?),
                _ => reader.skip()?,
            },
            Event::End { checksum } => return Ok(checksum),
            _ => {}
        }
        assert!(reader.offset() <= bytes.len() as u64);
    }
}

/// Small files that together hold most types: a key of each from a corpus file, written again, and hand-made ones.
fn small_files() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for (path, _) in corpus::files() {
        if !path.ends_with("types.rdb") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
        let header = reader.header();
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        let mut seen = Vec::new();
        while let Event::Key(KeyHeader { kind, offset, .. }) = next_key(&mut reader) {
            reader.skip().unwrap();
            let span = usize::try_from(offset).unwrap()..usize::try_from(reader.offset()).unwrap();
            if span.len() < 400 && !seen.contains(&kind) {
                seen.push(kind);
                pieces.push(bytes[span].to_vec());
            }
        }
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        files.push(file(header.to_string().as_bytes(), &pieces));
    }
    assert_eq!(files.len(), 15);
    files.extend(newer::files());
    files
}

fn next_key<R: std::io::Read>(reader: &mut Reader<R>) -> Event {
    loop {
        if let event @ (Event::Key(_) | Event::End { .. }) = reader.next().unwrap() {
            return event;
        }
    }
}

/// So small that the values of the corpus lie on both sides of them.
fn small_limits() -> Limits {
    Limits {
        hash_max_listpack_entries: 3,
        set_max_listpack_entries: 3,
        set_max_listpack_value: 9,
        zset_max_listpack_entries: 3,
        list_max_listpack_size: 3,
        ..Limits::default()
    }
}

/// What each key holds, however it was read, or the error at it.
fn built(bytes: &[u8], limits: &Limits, gathering: bool) -> Vec<String> {
    let (mut values, mut out) = (Vec::new(), b"before".to_vec());
    let Ok(mut reader) = Reader::new(bytes, Options { verify: false }) else { return values };
    loop {
        let read = match reader.next() {
            Ok(Event::Key(_)) if gathering => reader.gather(limits, &mut out).map(|read| object_of(read, &out)),
            Ok(Event::Key(_)) => reader.object(limits),
            Ok(Event::End { .. }) => break,
            Ok(_) => continue,
            Err(error) => Err(error),
        };
        match read {
            Ok(None) => values.push("nothing".to_owned()),
            Ok(Some(object)) => values.push(format!("{} {}", object.encoding(), corpus::describe_object(&object))),
            Err(error) => {
                values.push(error.to_string());
                break;
            }
        }
    }
    assert!(out.starts_with(b"before"));
    values
}

fn assert_gathered_as_built(bytes: &[u8], limits: &Limits, what: impl std::fmt::Display) -> usize {
    let values = built(bytes, limits, true);
    assert_eq!(values, built(bytes, limits, false), "{what}");
    values.len()
}

fn object_of(gathered: Option<Gathered>, out: &[u8]) -> Option<Object> {
    Some(match gathered? {
        Gathered::Int(value) => Object::String(value.into()),
        Gathered::Bytes(range) => Object::String(out[range].into()),
        Gathered::Compact(shape, range) => Compact { shape, bytes: &out[range] }.to_object(),
        Gathered::Object(object) => object,
    })
}

#[test]
fn gathered_values_are_those_that_are_built() {
    let mut of_files = 0;
    for (path, _) in corpus::files() {
        let bytes = std::fs::read(&path).unwrap();
        for limits in [Limits::default(), small_limits()] {
            of_files += assert_gathered_as_built(&bytes, &limits, path.display());
        }
    }
    assert!(of_files > 1000, "{of_files}");
}

#[test]
fn sets_that_stand_one_by_one_are_gathered_as_inserting_their_members_makes_them() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..3000 {
        let word = |random: &mut fastrand::Rng| match random.u8(..40) {
            0..20 => vec![b'w'; random.usize(1..12)],
            20..39 => random.i32(-9..9).to_string().into_bytes(),
            _ => vec![b'l'; random.usize(20..70)],
        };
        let members: Vec<Vec<u8>> = (0..random.usize(..7)).map(|_| word(&mut random)).collect();
        let value: Vec<u8> = members.iter().flat_map(|member| string(member)).collect();
        let bytes = one_value(2, &[&[members.len() as u8][..], &value].concat());
        for limits in [Limits::default(), small_limits()] {
            assert_gathered_as_built(&bytes, &limits, bytes.escape_ascii());
        }
    }
}

#[test]
fn a_cut_at_any_byte_is_an_error_with_its_place() {
    for bytes in small_files() {
        for way in 0..4 {
            exhaust(&bytes, way).unwrap();
            let end = if bytes.starts_with(b"REDIS0002") { bytes.len() - 8 } else { bytes.len() };
            for at in 0..end {
                let error = exhaust(&bytes[..at], way).unwrap_err();
                assert!(error.is_cut_short(), "{error}");
                assert!(error.offset() <= at as u64);
            }
        }
    }
}

#[test]
fn a_flip_of_any_byte_never_panics_and_is_never_taken_for_intact() {
    for bytes in small_files() {
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut broken = bytes.clone();
                broken[at] ^= flip;
                for way in 0..4 {
                    if let Ok(checksum) = exhaust(&broken, way) {
                        assert_ne!((checksum, bytes[8] >= b'5' && at > 8), (Checksum::Ok, true), "byte {at}");
                    }
                }
                if flip == 0x80 {
                    assert_gathered_as_built(&broken, &small_limits(), format_args!("byte {at}"));
                }
            }
        }
    }
}

#[test]
fn absurd_lengths_end_at_the_end_of_the_bytes() {
    let absurd = [0x81, 0x7f, 255, 255, 255, 255, 255, 255, 255];
    for type_byte in (0..34).filter(|number| Kind::of(*number, Lineage::Redis).is_some_and(|kind| kind.row().supported))
    {
        for behind in [&b""[..], b"\x01a", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
            let bytes = [&b"REDIS0015"[..], &[type_byte], b"\x01k", &absurd, behind].concat();
            for way in 0..4 {
                assert!(exhaust(&bytes, way).is_err());
            }
        }
    }
}

#[test]
fn payloads_are_checked_before_they_are_decoded() {
    let limits = Limits::default();
    let value = Object::String(b"value"[..].into());
    let payload = dump::encode(&value, Version::Rdb11).unwrap();
    assert_eq!(payload[..9], *b"\0\x05value\x0b\0");
    assert!(matches!(dump::decode(&payload, &limits).unwrap(), Some(Object::String(_))));
    for at in 0..payload.len() {
        assert!(dump::decode(&payload[..at], &limits).is_err());
        let mut broken = payload.clone();
        broken[at] ^= 0x40;
        assert!(dump::decode(&broken, &limits).is_err());
    }
    let mut newer = payload[..payload.len() - 10].to_vec();
    newer.extend([99, 0]);
    newer.extend(crc64(&newer).to_le_bytes());
    assert!(matches!(dump::decode(&newer, &limits).unwrap_err().cause(), Cause::NewerVersion(_)));
}

#[test]
fn field_expiry_is_refused_where_the_version_has_no_room_for_it() {
    let limits = Limits::default();
    let mut hash = crate::value::Hash::new();
    hash.set(b"f", b"v", &limits);
    hash.set_expire(b"f", Some(1_900_000_000_000), &limits);
    let object = Object::Hash(hash);
    let mut writer = Writer::new(Vec::new(), Version::Rdb11, WriteOptions::default()).unwrap();
    let meta = KeyMeta { key: b"k\xff", ..KeyMeta::default() };
    let error = writer.key(&meta, (&object).into()).unwrap_err();
    assert!(error.to_string().contains("\"k\\xff\" has fields that expire"), "{error}");
    assert_eq!(writer.written(), 9, "nothing of the key was written");
    assert_eq!(Version::needed(&object), Version::Rdb12);
}
