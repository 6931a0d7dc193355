//! Streams against a model, through their nodes, and against bytes that are no streams.

use super::*;
use crate::value::packed::Element;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
type Model = BTreeMap<StreamId, Pairs>;

fn owned(entry: &Entry<'_>) -> (StreamId, Pairs) {
    (entry.id, entry.fields.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect())
}

fn contents(stream: &Stream) -> Model {
    stream.range(StreamId::MIN, StreamId::MAX).map(|entry| owned(&entry)).collect()
}

fn append(stream: &mut Stream, id: StreamId, fields: &[(Vec<u8>, Vec<u8>)], limits: &Limits) {
    let fields: Vec<(&[u8], &[u8])> = fields.iter().map(|(field, value)| (&field[..], &value[..])).collect();
    stream.append(id, &fields, limits).unwrap();
}

fn random_fields(rng: &mut fastrand::Rng) -> Pairs {
    let count = if rng.u8(0..4) > 0 { 2 } else { rng.usize(1..6) };
    let value = |rng: &mut fastrand::Rng| match rng.u8(0..4) {
        0 => rng.i64(..).to_string().into_bytes(),
        1 => rng.i64(-200..200).to_string().into_bytes(),
        2 => vec![rng.u8(..); rng.usize(0..80)],
        _ => b"007".to_vec(),
    };
    (0..count)
        .map(|number| (if rng.u8(0..9) > 0 { format!("field{number}").into_bytes() } else { value(rng) }, value(rng)))
        .collect()
}

fn small() -> Limits {
    Limits { stream_node_max_bytes: 600, stream_node_max_entries: 7, ..Limits::default() }
}

/// The same stream, made of the bytes of its nodes.
fn reload(stream: &Stream) -> Stream {
    let mut copy = Stream::new();
    for (master, pack) in stream.nodes() {
        let pack = Listpack::from_bytes(pack.as_bytes()).unwrap();
        copy.push_node(Node::from_listpack(master, pack).unwrap()).unwrap();
    }
    let (last_id, max_deleted_id) = (stream.last_id(), stream.max_deleted_id());
    copy.set_counters(Counters { last_id, max_deleted_id, entries_added: stream.entries_added() }).unwrap();
    for (name, group) in stream.groups() {
        copy.create_group(name, group.clone());
    }
    copy
}

fn trim_model(model: &mut Model, keep: Keep) {
    match keep {
        Keep::Newest(newest) => {
            while model.len() as u64 > newest {
                model.pop_first();
            }
        }
        Keep::From(first) => *model = model.split_off(&first),
    }
}

#[test]
fn it_agrees_with_a_btree_and_clones_never_change() {
    let mut rng = fastrand::Rng::with_seed(5);
    let limits = small();
    let (mut stream, mut model, mut kept) = (Stream::new(), Model::new(), Vec::new());
    for step in 0..6_000 {
        match rng.u8(0..20) {
            0..=11 => {
                let last = stream.last_id();
                let id = if rng.bool() {
                    StreamId::new(last.ms, last.seq + rng.u64(1..3))
                } else {
                    StreamId::new(last.ms + rng.u64(1..4), rng.u64(0..3))
                };
                let fields = random_fields(&mut rng);
                append(&mut stream, id, &fields, &limits);
                model.insert(id, fields);
            }
            12..=15 => {
                let id = StreamId::new(rng.u64(0..=stream.last_id().ms), rng.u64(0..4));
                assert_eq!(stream.delete(id), model.remove(&id).is_some());
            }
            16 => {
                let keep = if rng.bool() {
                    Keep::Newest(rng.u64(0..300))
                } else {
                    Keep::From(StreamId::new(rng.u64(0..=stream.last_id().ms), 1))
                };
                let before = model.len();
                trim_model(&mut model, keep);
                let removed = stream.trim(Trim { keep, approximate: false, limit: 0 });
                assert_eq!(removed, before - model.len());
            }
            17 if step % 10 == 0 => kept.push((stream.clone(), model.clone())),
            _ => {
                let start = StreamId::new(rng.u64(0..=stream.last_id().ms), rng.u64(0..4));
                let end = StreamId::new(start.ms + rng.u64(0..30), rng.u64(0..4));
                let expected: Vec<_> = if start <= end { model.range(start..=end).collect() } else { Vec::new() };
                let found: Vec<_> = stream.range(start, end).map(|entry| owned(&entry)).collect();
                assert!(found.iter().map(|(id, fields)| (id, fields)).eq(expected.iter().copied()));
                let mut back: Vec<_> = stream.range(start, end).rev().map(|entry| owned(&entry)).collect();
                back.reverse();
                assert_eq!(back, found);
            }
        }
        assert_eq!(stream.len(), model.len());
        assert_eq!(stream.first_id(), model.first_key_value().map_or(StreamId::MIN, |(id, _)| *id));
        assert_eq!(stream.top_id(), model.last_key_value().map_or(StreamId::MIN, |(id, _)| *id));
    }
    kept.push((stream, model));
    assert!(kept.len() > 5);
    for (stream, model) in kept {
        assert_eq!(contents(&stream), model);
        let copy = reload(&stream);
        assert_eq!(contents(&copy), model);
        assert_eq!(copy.first_id(), stream.first_id());
        assert!(
            copy.nodes()
                .map(|(id, pack)| (id, pack.as_bytes()))
                .eq(stream.nodes().map(|(id, pack)| (id, pack.as_bytes())))
        );
    }
}

#[test]
fn a_node_is_laid_out_as_redis_lays_it_out() {
    let mut stream = Stream::new();
    let limits = Limits::default();
    stream.append(StreamId::new(100, 1), &[(b"temp", b"21"), (b"unit", b"C")], &limits).unwrap();
    stream.append(StreamId::new(105, 0), &[(b"temp", b"-3"), (b"unit", b"F")], &limits).unwrap();
    stream.append(StreamId::new(105, 1), &[(b"other", b"x")], &limits).unwrap();
    assert!(stream.delete(StreamId::new(105, 0)));
    let (master, pack) = stream.nodes().next().unwrap();
    assert_eq!(master, StreamId::new(100, 1));
    let texts: Vec<_> = pack.iter().map(|element| String::from_utf8(element.to_vec()).unwrap()).collect();
    let expected = "2 1 2 temp unit 0 | 2 0 0 21 C 5 | 3 5 -1 -3 F 5 | 0 5 0 1 other x 6";
    assert_eq!(texts, expected.split_whitespace().filter(|word| *word != "|").collect::<Vec<_>>());
    assert!(pack.iter().nth(7).is_some_and(|element| matches!(element, Element::Int(0))));
}

#[test]
fn nodes_close_at_the_limits() {
    let limits = Limits { stream_node_max_entries: 10, ..Limits::default() };
    let mut stream = Stream::new();
    for ms in 1..=25 {
        stream.append(StreamId::new(ms, 0), &[(b"k", b"v")], &limits).unwrap();
    }
    assert_eq!(stream.node_count(), 3);
    let large = vec![b'x'; 5_000];
    stream.append(StreamId::new(26, 0), &[(b"k", &large)], &limits).unwrap();
    stream.append(StreamId::new(27, 0), &[(b"k", b"v")], &limits).unwrap();
    assert_eq!(stream.node_count(), 5);
    assert_eq!(stream.append(StreamId::new(27, 0), &[(b"k", b"v")], &limits), Err(AppendError::NotGreater));
    assert_eq!(stream.entries_added(), 27);
}

#[test]
fn approximate_trimming_drops_whole_nodes_within_the_limit() {
    let limits = Limits { stream_node_max_entries: 10, ..Limits::default() };
    let mut stream = Stream::new();
    for ms in 1..=100 {
        stream.append(StreamId::new(ms, 0), &[(b"k", b"v")], &limits).unwrap();
    }
    let about = |keep, limit| Trim { keep, approximate: true, limit };
    assert_eq!(stream.trim(about(Keep::Newest(85), 0)), 10);
    assert_eq!(stream.trim(about(Keep::Newest(0), 25)), 20);
    assert_eq!(stream.trim(about(Keep::From(StreamId::new(45, 0)), 0)), 10);
    assert_eq!(stream.first_id(), StreamId::new(41, 0));
    assert_eq!(stream.max_deleted_id(), StreamId::MIN);
    assert_eq!(stream.trim(Trim { keep: Keep::Newest(0), approximate: false, limit: 0 }), 60);
    assert!(stream.is_empty() && stream.node_count() == 0);
    assert_eq!(stream.last_id(), StreamId::new(100, 0));
}

#[test]
fn hostile_nodes_are_refused_or_read_without_harm() {
    let mut rng = fastrand::Rng::with_seed(17);
    let mut stream = Stream::new();
    for step in 1..40 {
        let fields = random_fields(&mut rng);
        append(&mut stream, StreamId::new(step, 0), &fields, &Limits::default());
        if step % 3 == 0 {
            stream.delete(StreamId::new(step - 1, 0));
        }
    }
    let (master, pack) = stream.nodes().next().unwrap();
    let good = pack.as_bytes().to_vec();
    let mut accepted = 0;
    for round in 0..60_000usize {
        let mut bytes = good.clone();
        for _ in 0..rng.usize(1..4) {
            let at = if round < good.len() * 8 { round / 8 } else { rng.usize(0..bytes.len()) };
            bytes[at] ^= 1 << (round % 8);
        }
        if let Ok(pack) = Listpack::from_bytes(&bytes) {
            let mut copy = Stream::new();
            if Node::from_listpack(master, pack).is_ok_and(|node| copy.push_node(node).is_ok()) {
                accepted += 1;
                walk(&mut copy);
            }
        }
    }
    assert!(accepted > 100, "flips inside values are not seen by the structure");
    for _ in 0..20_000 {
        let items: Vec<Vec<u8>> = (0..rng.usize(0..14)).map(|_| rng.i64(-2..6).to_string().into_bytes()).collect();
        let mut copy = Stream::new();
        let node = Node::from_listpack(StreamId::new(1, 0), items.iter().map(Vec::as_slice).collect());
        if node.is_ok_and(|node| copy.push_node(node).is_ok()) {
            walk(&mut copy);
        }
    }
}

/// Reads everything both ways and deletes it.
fn walk(stream: &mut Stream) {
    let ids: Vec<_> = stream.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).collect();
    let back: Vec<_> = stream.range(StreamId::MIN, StreamId::MAX).rev().map(|entry| entry.id).collect();
    assert!(ids.iter().eq(back.iter().rev()));
    assert_eq!(ids.len(), stream.len());
    for id in ids {
        assert!(stream.delete(id));
    }
    assert!(stream.is_empty() && stream.node_count() == 0);
}

#[test]
fn a_file_cannot_order_nodes_or_ids_wrongly() {
    let mut stream = Stream::new();
    for ms in 10..20 {
        stream.append(StreamId::new(ms, 0), &[(b"k", b"v")], &Limits::default()).unwrap();
    }
    let (master, pack) = stream.nodes().next().unwrap();
    let mut copy = Stream::new();
    let node = |master| Node::from_listpack(master, pack.clone()).unwrap();
    copy.push_node(node(master)).unwrap();
    assert!(copy.push_node(node(StreamId::new(19, 0))).is_err());
    assert!(copy.push_node(node(master)).is_err());
    copy.push_node(node(StreamId::new(19, 1))).unwrap();
    let counters = Counters { last_id: StreamId::new(20, 0), max_deleted_id: StreamId::MIN, entries_added: 20 };
    assert_eq!(copy.set_counters(counters).unwrap_err().last_id, StreamId::new(20, 0));
    assert_eq!(copy.last_id(), StreamId::new(28, 1));
}

#[test]
fn lag_is_known_until_a_deletion_blurs_it() {
    let mut stream = Stream::new();
    for ms in 1..=10 {
        stream.append(StreamId::new(ms, 0), &[(b"k", b"v")], &Limits::default()).unwrap();
    }
    stream.create_group(b"g", Group::new(StreamId::MIN, None));
    assert_eq!(stream.lag(stream.group(b"g").unwrap()), Some(10));
    for ms in 1..=4 {
        stream.advance_group(b"g", StreamId::new(ms, 0));
    }
    assert_eq!(stream.group(b"g").unwrap().entries_read(), Some(4));
    assert_eq!(stream.lag(stream.group(b"g").unwrap()), Some(6));
    stream.trim(Trim { keep: Keep::Newest(5), approximate: false, limit: 0 });
    assert_eq!(stream.lag(stream.group(b"g").unwrap()), Some(5), "what was trimmed unread is waited for no more");
    stream.delete(StreamId::new(8, 0));
    assert_eq!(stream.lag(stream.group(b"g").unwrap()), None);
    stream.advance_group(b"g", StreamId::new(10, 0));
    assert_eq!(stream.lag(stream.group(b"g").unwrap()), Some(0));
}

#[test]
fn groups_of_a_clone_stay_as_they_were() {
    let mut stream = Stream::new();
    stream.append(StreamId::new(1, 0), &[(b"k", b"v")], &Limits::default()).unwrap();
    assert!(stream.create_group(b"g", Group::new(StreamId::MIN, Some(0))));
    assert!(!stream.create_group(b"g", Group::new(StreamId::MIN, Some(0))));
    let before = stream.clone();
    let group = stream.group_mut(b"g").unwrap();
    group.create_consumer(b"c", 1);
    group.deliver(Pending { id: StreamId::new(1, 0), consumer: b"c", delivery_ms: 1, count: 1 });
    assert_eq!(before.group(b"g").unwrap().pending_len(), 0);
    assert_eq!(stream.group(b"g").unwrap().pending_len(), 1);
    assert!(stream.destroy_group(b"g") && !stream.destroy_group(b"g"));
    assert_eq!((before.group_count(), stream.group_count()), (1, 0));
    assert!(stream.group_mut(b"g").is_none());
}
