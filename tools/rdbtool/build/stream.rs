//! A stream out of its JSON; `output::stream` has the form.

use super::json::{Fault, Parser, shown};
use super::record::items;
use ironkeep::value::stream::{Counters, Group, Idempotence, Nacked, Pending, Producer, StreamId};
use ironkeep::value::{Limits, Stream};
use std::io::Read;

const ID: &str = "an id such as \"1526919030474-0\"";
const STREAM: &str = "entries, length, last_id, first_id, max_deleted_id, entries_added, groups or idempotence";

/// What is said of a stream beside its entries.
#[derive(Default)]
struct Said {
    last_id: Option<StreamId>,
    max_deleted_id: Option<StreamId>,
    entries_added: Option<u64>,
    length: Option<u64>,
    groups: Vec<(Vec<u8>, Group)>,
    idempotence: Option<Idempotence>,
}

pub fn read<R: Read>(parser: &mut Parser<R>, limits: &Limits) -> Result<Stream, Fault> {
    parser.begin_object("a stream, an object")?;
    let (mut stream, mut said) = (Stream::new(), Said::default());
    let (mut name, mut first) = (Vec::new(), true);
    while parser.next_member(first, &mut name)? {
        first = false;
        let read = match &name[..] {
            b"entries" => items(parser, "the entries, an array", |parser| read_entry(parser, &mut stream, limits)),
            b"last_id" => read_id(parser).map(|id| said.last_id = Some(id)),
            b"max_deleted_id" => read_id(parser).map(|id| said.max_deleted_id = Some(id)),
            // The entries tell it.
            b"first_id" => read_id(parser).map(drop),
            b"length" => parser.whole("a count").map(|count| said.length = Some(count)),
            b"entries_added" => parser.whole("a count").map(|count| said.entries_added = Some(count)),
            b"groups" => {
                items(parser, "the groups, an array", |parser| read_group(parser).map(|group| said.groups.push(group)))
            }
            b"idempotence" => read_idempotence(parser).map(|read| said.idempotence = Some(read)),
            _ => Err(parser.refused(STREAM, shown(&name))),
        };
        read.map_err(|fault| fault.inside(String::from_utf8_lossy(&name)))?;
    }
    said.complete(parser, stream)
}

impl Said {
    fn complete<R: Read>(self, parser: &Parser<R>, mut stream: Stream) -> Result<Stream, Fault> {
        let len = stream.len() as u64; // usize fits
        if let Some(length) = self.length.filter(|length| *length != len) {
            return Err(parser.refused(format!("{length} entries, as length says"), len.to_string()));
        }
        let counters = Counters {
            last_id: self.last_id.unwrap_or(stream.last_id()),
            max_deleted_id: self.max_deleted_id.unwrap_or(StreamId::MIN),
            entries_added: self.entries_added.unwrap_or(len),
        };
        if let Err(error) = stream.set_counters(counters) {
            return Err(parser.refused(format!("a last_id from {} on", error.top), error.last_id.to_string()));
        }
        for (name, group) in self.groups {
            if !stream.create_group(&name, group) {
                return Err(parser.refused("a group that did not come before", shown(&name)));
            }
        }
        stream.set_idempotence(self.idempotence);
        Ok(stream)
    }
}

fn read_id<R: Read>(parser: &mut Parser<R>) -> Result<StreamId, Fault> {
    let mut text = Vec::new();
    parser.text(&mut text, ID)?;
    let id = StreamId::parse(&text, 0).filter(|_| text.contains(&b'-'));
    id.ok_or_else(|| parser.refused(ID, shown(&text)))
}

/// A member that may be null.
fn or_null<R: Read, T>(
    parser: &mut Parser<R>,
    read: impl FnOnce(&mut Parser<R>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    if parser.null()? { Ok(None) } else { read(parser).map(Some) }
}

fn read_entry<R: Read>(parser: &mut Parser<R>, stream: &mut Stream, limits: &Limits) -> Result<(), Fault> {
    parser.begin_object("an entry, an object")?;
    let (mut name, mut first) = (Vec::new(), true);
    let (mut id, mut fields) = (None, Vec::<[Vec<u8>; 2]>::new());
    while parser.next_member(first, &mut name)? {
        first = false;
        let read = match &name[..] {
            b"id" => read_id(parser).map(|read| id = Some(read)),
            b"fields" => items(parser, "the fields, an array", |parser| {
                fields.push(Default::default());
                let (mut index, pair) = (0, fields.last_mut());
                let mut pair = pair.into_iter().flatten();
                items(parser, "an array of name and value", |parser| {
                    index += 1;
                    match pair.next() {
                        Some(text) => parser.bytes(text, "a string"),
                        None => Err(parser.unexpected("the end of the pair")),
                    }
                })?;
                if index == 2 { Ok(()) } else { Err(parser.refused("a name and a value", "less")) }
            }),
            _ => Err(parser.refused("id or fields", shown(&name))),
        };
        read.map_err(|fault| fault.inside(String::from_utf8_lossy(&name)))?;
    }
    let id = id.ok_or_else(|| parser.refused("an entry with an id", "one without"))?;
    let fields: Vec<(&[u8], &[u8])> = fields.iter().map(|[name, value]| (&name[..], &value[..])).collect();
    let last = stream.last_id();
    stream.append(id, &fields, limits).map_err(|_| parser.refused(format!("an id above {last}"), id.to_string()))
}

fn read_group<R: Read>(parser: &mut Parser<R>) -> Result<(Vec<u8>, Group), Fault> {
    parser.begin_object("a group, an object")?;
    let (mut member, mut first) = (Vec::new(), true);
    let (mut name, mut group) = (None, Group::new(StreamId::MIN, None));
    while parser.next_member(first, &mut member)? {
        first = false;
        let read = match &member[..] {
            b"name" => {
                let mut text = Vec::new();
                parser.bytes(&mut text, "the name of the group").map(|()| name = Some(text))
            }
            b"last_id" => read_id(parser).map(|id| group.set_last_id(id)),
            b"entries_read" => {
                or_null(parser, |parser| parser.whole("a count or null")).map(|read| group.set_entries_read(read))
            }
            b"nacked" => items(parser, "what is pending for nobody, an array", |parser| {
                let Delivery { id, ms, count } = read_delivery(parser)?;
                group.push_nacked(Nacked { id, delivery_ms: ms, count });
                Ok(())
            }),
            b"consumers" => items(parser, "the consumers, an array", |parser| read_consumer(parser, &mut group)),
            _ => Err(parser.refused("name, last_id, entries_read, consumers or nacked", shown(&member))),
        };
        read.map_err(|fault| fault.inside(String::from_utf8_lossy(&member)))?;
    }
    let name = name.ok_or_else(|| parser.refused("a group with a name", "one without"))?;
    Ok((name, group))
}

/// A pending entry as it stands in a list.
#[derive(Clone, Copy)]
struct Delivery {
    id: StreamId,
    ms: i64,
    count: u64,
}

fn read_consumer<R: Read>(parser: &mut Parser<R>, group: &mut Group) -> Result<(), Fault> {
    parser.begin_object("a consumer, an object")?;
    let (mut member, mut first) = (Vec::new(), true);
    let (mut name, mut seen_ms, mut active_ms, mut pending) = (None, 0, None, Vec::new());
    while parser.next_member(first, &mut member)? {
        first = false;
        let read = match &member[..] {
            b"name" => {
                let mut text = Vec::new();
                parser.bytes(&mut text, "the name of the consumer").map(|()| name = Some(text))
            }
            b"seen_time_ms" => parser.whole("a Unix time in ms").map(|ms| seen_ms = ms),
            b"active_time_ms" => {
                or_null(parser, |parser| parser.whole("a Unix time in ms or null")).map(|ms| active_ms = ms)
            }
            b"pending" => items(parser, "what is pending, an array", |parser| {
                read_delivery(parser).map(|delivery| pending.push(delivery))
            }),
            _ => Err(parser.refused("name, seen_time_ms, active_time_ms or pending", shown(&member))),
        };
        read.map_err(|fault| fault.inside(String::from_utf8_lossy(&member)))?;
    }
    let name = name.ok_or_else(|| parser.refused("a consumer with a name", "one without"))?;
    if !group.create_consumer(&name, seen_ms) {
        return Err(parser.refused("a consumer that did not come before", shown(&name)));
    }
    group.set_active(&name, active_ms);
    for Delivery { id, ms, count } in pending {
        if group.pending(id).is_some() {
            return Err(parser.refused("an entry that is pending once", format!("{id} again")));
        }
        group.deliver(Pending { id, consumer: &name, delivery_ms: ms, count });
    }
    Ok(())
}

fn read_delivery<R: Read>(parser: &mut Parser<R>) -> Result<Delivery, Fault> {
    parser.begin_object("a pending entry, an object")?;
    let (mut member, mut first) = (Vec::new(), true);
    let (mut id, mut ms, mut count) = (None, 0, 0);
    while parser.next_member(first, &mut member)? {
        first = false;
        let read = match &member[..] {
            b"id" => read_id(parser).map(|read| id = Some(read)),
            b"delivery_time_ms" => parser.whole("a Unix time in ms").map(|read| ms = read),
            b"delivery_count" => parser.whole("a count").map(|read| count = read),
            _ => Err(parser.refused("id, delivery_time_ms or delivery_count", shown(&member))),
        };
        read.map_err(|fault| fault.inside(String::from_utf8_lossy(&member)))?;
    }
    let id = id.ok_or_else(|| parser.refused("a pending entry with an id", "one without"))?;
    Ok(Delivery { id, ms, count })
}

fn read_idempotence<R: Read>(parser: &mut Parser<R>) -> Result<Idempotence, Fault> {
    const MEMBERS: &str = "duration_seconds, max_entries, producers, added or duplicates";
    parser.begin_object("what is known of producers, an object")?;
    let (mut member, mut first, mut known) = (Vec::new(), true, Idempotence::default());
    while parser.next_member(first, &mut member)? {
        first = false;
        let read = match &member[..] {
            b"duration_seconds" => parser.whole("seconds").map(|read| known.retention.duration_seconds = read),
            b"max_entries" => parser.whole("a count").map(|read| known.retention.max_entries = read),
            b"added" => parser.whole("a count").map(|read| known.counts.added = read),
            b"duplicates" => parser.whole("a count").map(|read| known.counts.duplicates = read),
            b"producers" => items(parser, "the producers, an array", |parser| {
                known.producers.push(read_producer(parser)?);
                Ok(())
            }),
            _ => Err(parser.refused(MEMBERS, shown(&member))),
        };
        read.map_err(|fault| fault.inside(String::from_utf8_lossy(&member)))?;
    }
    Ok(known)
}

fn read_producer<R: Read>(parser: &mut Parser<R>) -> Result<Producer, Fault> {
    const PAIR: &str = "an array of idempotent id and id";
    parser.begin_object("a producer, an object")?;
    let (mut member, mut first, mut producer) = (Vec::new(), true, Producer::default());
    while parser.next_member(first, &mut member)? {
        first = false;
        let read = match &member[..] {
            b"name" => parser.bytes(&mut producer.name, "the name of the producer"),
            b"entries" => items(parser, "what it sent, an array", |parser| {
                let mut sent = Vec::new();
                parser.begin_array(PAIR)?;
                if !parser.next_item(true)? {
                    return Err(parser.refused(PAIR, "an empty one"));
                }
                parser.bytes(&mut sent, "an idempotent id")?;
                if !parser.next_item(false)? {
                    return Err(parser.refused(PAIR, "one item"));
                }
                producer.entries.push((sent, read_id(parser)?));
                if parser.next_item(false)? { Err(parser.unexpected("the end of the pair")) } else { Ok(()) }
            }),
            _ => Err(parser.refused("name or entries", shown(&member))),
        };
        read.map_err(|fault| fault.inside(String::from_utf8_lossy(&member)))?;
    }
    Ok(producer)
}
