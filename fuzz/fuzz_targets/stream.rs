//! Streams, nodes and groups: a DUMP payload of the three common stream types. The first byte chooses the type; what is
//! accepted can be walked both ways, trimmed and written again.

#![no_main]

use ironkeep::codec::crc64::Crc64;
use ironkeep::rdb::{Version, dump};
use ironkeep::value::stream::{Keep, StreamId, Trim};
use ironkeep::value::{Limits, Object};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [choice, value @ ..] = bytes else { return };
    let (kind, version) = [(15_u8, 9_u16), (19, 10), (21, 11)][usize::from(choice % 3)];
    let mut payload = vec![kind];
    payload.extend_from_slice(value);
    payload.extend_from_slice(&version.to_le_bytes());
    let mut crc = Crc64::new();
    crc.update(&payload);
    payload.extend_from_slice(&crc.value().to_le_bytes());

    let limits = Limits::default();
    let Ok(Some(Object::Stream(mut stream))) = dump::decode(&payload, &limits) else { return };
    let forward: Vec<_> = stream.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).collect();
    let mut backward: Vec<_> = stream.range(StreamId::MIN, StreamId::MAX).rev().map(|entry| entry.id).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    assert_eq!(forward.len(), stream.len());
    assert!(forward.is_sorted_by(|left, right| left < right), "ids rise");
    assert!(forward.last().is_none_or(|last| *last <= stream.last_id()));

    let keep = stream.len() as u64 / 2;
    stream.trim(Trim { keep: Keep::Newest(keep), approximate: false, limit: 0 });
    assert_eq!(stream.len() as u64, keep);
    let written = dump::encode(&Object::Stream(stream), Version::Rdb12).expect("a stream fits version 12");
    assert!(dump::decode(&written, &limits).expect("what we wrote is whole").is_some());
});
