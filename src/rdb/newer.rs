//! What came with RDB 13 to 15 and VALKEY 81, which no server at hand writes: bytes put together by hand from the
//! layouts, apart from the writer, and then through it.

use super::tests::{file, string, told};
use super::*;
use crate::codec::crc64::crc64;
use crate::value::{Limits, Object};

/// A node that is filed under 1-0 and holds 1-0 {f: v}.
const NODE: &[u8] =
    &[29, 0, 0, 0, 10, 0, 1, 1, 0, 1, 1, 1, 0x81, b'f', 2, 0, 1, 2, 1, 0, 1, 0, 1, 0x81, b'v', 2, 4, 1, 0xff];
/// A listpack of 7, "x", "yy".
const SEVEN_X_YY: &[u8] = &[16, 0, 0, 0, 3, 0, 7, 1, 0x81, b'x', 2, 0x82, b'y', b'y', 3, 0xff];
/// A listpack of "a", "bb".
const A_BB: &[u8] = &[14, 0, 0, 0, 2, 0, 0x81, b'a', 2, 0x82, b'b', b'b', 3, 0xff];

const ARRAY: &str = "ARRAY:4 next Some(9) 0=-5 7='abc' 8=-0.0 300=\"text\" end";
const PRODUCERS: &str = "40s 100 producer p1 iid1=1-0 3+2";
const GROUP: &str = "1-0:f=v 1 1-0..1-0-0-0+1 g at 1-0 read Some(1)";

fn id(ms: u64, seq: u64) -> [u8; 16] {
    crate::value::stream::StreamId { ms, seq }.to_bytes()
}

/// Entries and counters of the stream, up to its groups.
fn stream_head() -> Vec<u8> {
    [&[1][..], &string(&id(1, 0)), &string(NODE), &[1, 1, 0, 1, 0, 0, 0, 1]].concat()
}

fn idempotence() -> Vec<u8> {
    [&[40, 0x40, 100, 1][..], b"\x02p1\x01\x04iid1\x01\x00", &[3, 2]].concat()
}

fn stream_with_producers() -> Vec<u8> {
    let ms = |ms: i64| ms.to_le_bytes();
    let pending = [&[1][..], &id(1, 0), &ms(60), &[2]].concat();
    let consumers = [&b"\x01\x01c"[..], &ms(70), &ms(71), &[1], &id(1, 0)].concat();
    [&stream_head()[..], b"\x01\x01g\x01\x00\x01", &pending, &consumers, &idempotence()].concat()
}

fn stream_with_nacked() -> Vec<u8> {
    let ms = |ms: i64| ms.to_le_bytes();
    let pending = [&[2][..], &id(0, 9), &ms(50), &[1], &id(1, 0), &ms(60), &[2]].concat();
    let consumers = [&b"\x01\x01c"[..], &ms(70), &ms(71), &[1], &id(1, 0)].concat();
    let nacked = [&[1][..], &id(0, 9)].concat();
    [&stream_head()[..], b"\x01\x01g\x01\x00\x01", &pending, &consumers, &nacked, &idempotence()].concat()
}

fn array() -> Vec<u8> {
    let (int, double) = ((-5i64).to_le_bytes(), (-0.0f64).to_le_bytes());
    [&b"\x04\x01\x09"[..], b"\x00\x01", &int, b"\x07\x03\x03abc", b"\x08\x02", &double, b"\x41\x2c\x00\x04text"]
        .concat()
}

/// Template 7 with the fields a and bb.
const TEMPLATE: &[u8] = b"\xf2\x07\x02\x01a\x02bb";
/// Metadata of one class: UINT 5, STRING hi, EOF.
const METADATA: &[u8] = b"\xf3\x01KMT1\x02\x05\x05\x02hi\x00";

/// Small files with everything that is new, for the tests that break files.
pub(super) fn files() -> Vec<Vec<u8>> {
    let key = |type_byte: u8, value: &[u8]| [&[type_byte, 1, b'k'], value].concat();
    vec![
        file(b"REDIS0013", &[METADATA, &key(26, &stream_with_producers())]),
        file(b"REDIS0014", &[&key(27, &stream_with_nacked()), &key(28, &array())]),
        file(b"REDIS0015", &[TEMPLATE, &key(30, &string(SEVEN_X_YY)), &key(32, b"\x07\x01x\xc0\x05")]),
        file(b"REDIS0015", &[&key(29, &[&[0][..], &string(A_BB), &string(SEVEN_X_YY)].concat())]),
        file(b"REDIS0015", &[&key(31, b"\x01\x02\x01a\x02bb\x01x\x02yy")]),
        file(b"REDIS0010", &[b"\xf6\x03lib\x03LUA\x01\x04what\x04code"]),
        file(b"VALKEY081", &[b"\xf2*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n"]),
    ]
}

fn only_key(version: &[u8], type_byte: u8, value: &[u8]) -> String {
    let lines = told(&file(version, &[TEMPLATE, &[type_byte, 1, b'k'], value])).unwrap();
    lines.last().unwrap().clone()
}

#[test]
fn streams_tell_their_producers_and_what_was_given_back() {
    assert_eq!(
        only_key(b"REDIS0015", 26, &stream_with_producers()),
        format!("k STREAM_LISTPACKS_4:? {GROUP} 1-0@60x2 c 70 Some(71) has 1-0 {PRODUCERS} end")
    );
    assert_eq!(
        only_key(b"REDIS0015", 27, &stream_with_nacked()),
        format!("k STREAM_LISTPACKS_5:? {GROUP} 0-9@50x1 1-0@60x2 c 70 Some(71) has 1-0 nacked 0-9 {PRODUCERS} end")
    );
}

#[test]
fn arrays_tell_index_and_form_of_every_item() {
    assert_eq!(only_key(b"REDIS0015", 28, &array()), format!("k {ARRAY}"));
    assert_eq!(only_key(b"REDIS0015", 28, b"\x01\x00\x05\x03\xc0\x07"), "k ARRAY:1 next None 5='7' end");
    for (value, what) in [
        (&b"\x02\x00\x05\x03\x01a\x05\x03\x01b"[..], "do not ascend"),
        (b"\x01\x00\x05\x04\x01a", "a form that does not exist"),
        (b"\x01\x02\x05\x03\x01a", "insert index"),
    ] {
        let error = told(&file(b"REDIS0014", &[b"\x1c\x01k", value])).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn hashes_of_a_template_come_as_plain_hashes() {
    let expected = |kind| format!("k {kind}:2 a=x bb=yy end");
    let values = &b"\x01x\x02yy"[..];
    for (type_byte, value, kind) in [
        (29, [&[0][..], &string(A_BB), &string(SEVEN_X_YY)].concat(), "HASH_TMPL_LP"),
        (29, [&b"\x01\x02\x01a\x02bb"[..], &string(SEVEN_X_YY)].concat(), "HASH_TMPL_LP"),
        (30, string(SEVEN_X_YY), "HASH_TMPL_LP_REF"),
        (31, [&[0][..], &string(A_BB), values].concat(), "HASH_TMPL_ARRAY"),
        (31, [&b"\x01\x02\x01a\x02bb"[..], values].concat(), "HASH_TMPL_ARRAY"),
        (32, [&[7][..], values].concat(), "HASH_TMPL_ARRAY_REF"),
    ] {
        assert_eq!(only_key(b"REDIS0015", type_byte, &value), expected(kind));
        let bytes = file(b"REDIS0015", &[TEMPLATE, &[type_byte, 1, b'k'], &value]);
        let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
        let Event::HashTemplate { id: 7, fields } = reader.next().unwrap() else { panic!() };
        assert_eq!(fields[..], [b"a".to_vec(), b"bb".to_vec()]);
        reader.next().unwrap();
        let Some(Object::Hash(hash)) = reader.object(&Limits::default()).unwrap() else { panic!() };
        assert_eq!((hash.len(), hash.get(b"bb").map(|value| value.to_vec())), (2, Some(b"yy".to_vec())));
    }
}

/// "A file of 1 MB kept check busy for six seconds, and the server asked for 50 GB": few bytes name a template, whose
/// fields every hash takes whole.
#[test]
fn templates_give_no_more_than_is_in_proportion_to_the_file() {
    let name = vec![b'n'; 1 << 20];
    let template = [&b"\xf2\x07\x01\x80"[..], &(name.len() as u32).to_be_bytes(), &name].concat();
    let keys: Vec<u8> =
        (0..2_000u32).flat_map(|number| [&[32, 4][..], &number.to_be_bytes(), b"\x07\x00"].concat()).collect();
    let bytes = file(b"REDIS0015", &[&template, &keys]);
    let report = check::judge(&mut std::io::Cursor::new(&bytes), &check::Rules::default(), &mut |_| Ok(())).unwrap();
    let refusal = report.refusal().unwrap();
    assert!(refusal.what.contains("256 times the bytes of the file"), "{}", refusal.what);
    // The server stops at the same place, before it has taken more than that.
    let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
    let mut taken = 0;
    let error = loop {
        match reader.next().unwrap() {
            Event::Key(_) => match reader.object(&Limits::default()) {
                Ok(_) => taken += name.len(),
                Err(error) => break error,
            },
            event => assert!(!matches!(event, Event::End { .. })),
        }
    };
    assert_eq!(error.offset(), refusal.offset);
    assert!(taken > 256 << 20 && taken < 400 << 20, "{taken}");
}

#[test]
fn a_template_with_a_field_twice_gives_no_hash() {
    let error = told(&file(b"REDIS0015", &[b"\xf2\x07\x02\x01a\x01a", b"\x20\x01k\x07\x01x\x01y"])).unwrap_err();
    assert!(error.to_string().contains("has a field twice"), "{error}");
    // One that nobody refers to hurts nobody.
    assert!(told(&file(b"REDIS0015", &[b"\xf2\x07\x02\x01a\x01a"])).is_ok());
}

#[test]
fn a_template_that_is_missing_or_does_not_fit_is_named() {
    for (pieces, what) in [
        (&[&b"\x20\x01k"[..], b"\x07\x01x\x02yy"][..], "refers to a hash template that nothing before it defines"),
        (&[TEMPLATE, TEMPLATE], "two hash templates have the same id"),
        (&[b"\xf2\x07\x01\x01a", b"\x1e\x01k", &string(SEVEN_X_YY)], "more or fewer values"),
        (&[TEMPLATE, b"\x1e\x01k", &string(A_BB)], "begin with no template id"),
    ] {
        let error = told(&file(b"REDIS0015", pieces)).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        let mut bytes = file(b"REDIS0015", pieces);
        bytes.truncate(bytes.len() - 9);
        assert!(told(&bytes).unwrap_err().to_string().contains(what));
    }
    let payload = |type_byte: u8, value: &[u8]| {
        let mut bytes = [&[type_byte], value, &[15, 0]].concat();
        bytes.extend(crc64(&bytes).to_le_bytes());
        dump::decode(&bytes, &Limits::default())
    };
    assert!(payload(32, b"\x07\x01x\x02yy").unwrap_err().to_string().contains("hash template"));
    assert!(matches!(payload(31, b"\x01\x01\x01a\x01x").unwrap(), Some(Object::Hash(_))));
    let error = payload(243, &METADATA[1..]).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("KEY_META"), "{error}");
}

#[test]
fn metadata_of_modules_belongs_to_the_next_key() {
    let bytes = file(b"REDIS0013", &[METADATA, b"\x00\x01k\x01v", b"\x00\x01l\x01v"]);
    let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
    let Event::Key(header) = reader.next().unwrap() else { panic!() };
    let metadata = KeyMetadata { class: *b"KMT1", raw: b"\x02\x05\x05\x02hi\x00".to_vec() };
    assert_eq!((header.metadata.clone(), header.offset), (vec![metadata], 9));
    let mut writer = Writer::new(Vec::new(), Version::Rdb13, WriteOptions::default()).unwrap();
    let object = reader.object(&Limits::default()).unwrap().unwrap();
    writer.key(&KeyMeta::of(&header), (&object).into()).unwrap();
    assert_eq!(writer.finish().unwrap(), file(b"REDIS0013", &[METADATA, b"\x00\x01k\x01v"]));
    let mut older = Writer::new(Vec::new(), Version::Rdb12, WriteOptions::default()).unwrap();
    let error = older.key(&KeyMeta::of(&header), (&object).into()).unwrap_err();
    assert!(matches!(error, WriteError::Lacks { feature: Feature::KeyMetadata, .. }), "{error}");
    assert_eq!(older.written(), 9, "nothing of the key was written");
    let Event::Key(header) = reader.next().unwrap() else { panic!() };
    assert!(header.metadata.is_empty());
}

#[test]
fn what_our_writer_makes_of_new_values_is_the_same_bytes() {
    for (type_byte, value, version) in [
        (26, stream_with_producers(), Version::Rdb13),
        (27, stream_with_nacked(), Version::Rdb14),
        (28, array(), Version::Rdb14),
    ] {
        let bytes = file(version.header().to_string().as_bytes(), &[b"\xfe\x00", &[type_byte, 1, b'k'], &value]);
        let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
        reader.next().unwrap();
        let Event::Key(header) = reader.next().unwrap() else { panic!() };
        let object = reader.object(&Limits::default()).unwrap().unwrap();
        assert_eq!(Version::needed(&object), version);
        let options = WriteOptions { compress: false, ..WriteOptions::default() };
        let mut writer = Writer::new(Vec::new(), version, options).unwrap();
        writer.key(&KeyMeta::of(&header), (&object).into()).unwrap();
        let written = writer.finish().unwrap();
        let plain = file(version.header().to_string().as_bytes(), &[&[type_byte, 1, b'k'], &value]);
        assert_eq!(written.escape_ascii().to_string(), plain.escape_ascii().to_string());
        for lower in Version::ALL.into_iter().filter(|lower| *lower < version || *lower == Version::Valkey80) {
            let mut writer = Writer::new(Vec::new(), lower, options).unwrap();
            let error = writer.key(&KeyMeta::of(&header), (&object).into()).unwrap_err();
            assert!(matches!(error, WriteError::Lacks { .. }), "{lower}: {error}");
        }
        let payload = dump::encode(&object, version).unwrap();
        let back = dump::decode(&payload, &Limits::default()).unwrap().unwrap();
        assert_eq!(dump::encode(&back, version).unwrap(), payload);
    }
}

#[test]
fn a_stream_whose_producers_nobody_configured_fits_every_version() {
    // As Redis 8.6 writes a stream that never saw a numbered message.
    let value = [&stream_head()[..], &[0], &[0x40, 100, 0x40, 100, 0, 0, 0]].concat();
    let bytes = file(b"REDIS0013", &[&[26, 1, b'k'], &value]);
    let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
    reader.next().unwrap();
    let object = reader.object(&Limits::default()).unwrap().unwrap();
    assert_eq!(Version::needed(&object), Version::Rdb11);
}

#[test]
fn pending_entries_that_contradict_each_other_are_damage() {
    let ms = 60i64.to_le_bytes();
    let stream = |pending: &[u8], owner: u8, nacked: &[u8]| {
        let consumer = [&b"\x01\x01c"[..], &ms, &ms, &[1], &id(u64::from(owner), 0)].concat();
        let tail = &[0x40, 100, 0x40, 100, 0, 0, 0];
        let value = [&stream_head()[..], b"\x01\x01g\x01\x00\x01", pending, &consumer, nacked, tail].concat();
        told(&file(b"REDIS0014", &[b"\x1b\x01k", &value]))
    };
    let one = [&[1][..], &id(1, 0), &ms, &[1]].concat();
    let two = [&[2][..], &id(1, 0), &ms, &[1], &id(2, 0), &ms, &[1]].concat();
    let twice = [&[2][..], &id(1, 0), &ms, &[1], &id(1, 0), &ms, &[1]].concat();
    let gives = |seq| [&[1][..], &id(seq, 0)].concat();
    assert!(stream(&two, 1, &gives(2)).is_ok());
    for (result, what) in [
        (stream(&two, 1, &[0]), "no consumer was given"),
        (stream(&one, 2, &[0]), "not pending in its group"),
        (stream(&one, 1, &gives(1)), "given back that a consumer has"),
        (stream(&one, 1, &gives(5)), "given back that is not pending"),
        (stream(&twice, 1, &[0]), "pending twice"),
    ] {
        assert!(result.unwrap_err().to_string().contains(what), "{what}");
    }
}

#[test]
fn what_no_server_loads_is_an_event_with_a_reason() {
    let [.., function, update] = &files()[..] else { panic!() };
    let mut reader = Reader::new(&function[..], Options::default()).unwrap();
    let event = reader.next().unwrap();
    let [name, engine, code] = [&b"lib"[..], b"LUA", b"code"].map(<[u8]>::to_vec);
    assert_eq!(event, Event::FunctionPreGa { name, engine, description: Some(b"what".to_vec()), code });
    assert!(event.refusal().unwrap().contains("FUNCTION LOAD"));
    let mut reader = Reader::new(&update[..], Options::default()).unwrap();
    let event = reader.next().unwrap();
    assert_eq!(event, Event::Update { arguments: vec![b"DEL".to_vec(), b"k".to_vec()] });
    assert!(event.refusal().unwrap().contains("BGSAVE"));
    for broken in [&b"\xf2*2\r\n$3\r\nDELE\r\n"[..], b"\xf2+2\r\n", b"\xf2*99999999999999999999\r\n", b"\xf2*\r\n"] {
        assert!(told(&file(b"VALKEY081", &[broken])).is_err());
    }
}

#[test]
fn other_products_are_named_and_remarks_that_nobody_knows_pass() {
    let remark = &b"\xfa\x07mystery\x01x"[..];
    let dragonfly = &b"\xfa\x06df-ver\x061.30.0"[..];
    for (magic, pieces, what) in [
        (b"REDIS0015", &[remark, dragonfly, b"\x1e\x01k\x00"][..], "JSON of Dragonfly (30)"),
        (b"REDIS0009", &[remark, b"\x21\x01k\x00"], "SBF of Dragonfly (33)"),
        (b"REDIS0009", &[remark, b"\x25\x01k\x00"], "a type of Dragonfly (37)"),
        (b"REDIS0009", &[b"\xc8\0\0\0\0\0\0\0\0"], "FULLSYNC_END of Dragonfly (200)"),
        (b"REDIS0009", &[b"\xca\x00"], "COMPRESSED_LZ4_BLOB_START of Dragonfly (202)"),
        (b"REDIS0009", &[b"\xde\x00"], "an opcode of Dragonfly (222)"),
        (b"REDIS0009", &[b"\x65\x00"], "an opcode of Redis Enterprise (101)"),
        (b"REDIS0015", &[b"\x21\x01k\x00"], "GCRA (33) in a REDIS0015 file"),
    ] {
        let error = told(&file(magic, pieces)).unwrap_err();
        assert!(error.is_unsupported() && error.to_string().contains(what), "{error}");
        assert!(error.to_string().split(": ").count() > 2, "it says what to do: {error}");
    }
    let lines = told(&file(b"REDIS0009", &[remark, b"\x6b\x05\x79\x06"])).unwrap();
    assert!(lines[0].contains("Aux") && lines[1].contains("RAM_LRU") && lines[2].contains("SLOT_NUM"), "{lines:?}");
}
