//! Two values of one key made one.
//!
//! | type | union |
//! |---|---|
//! | set | the members of both |
//! | hash | the fields of both; of a field in both the later input's value, and the expiry that comes last (none comes last of all) |
//! | zset | the members of both; of a member in both the later input's score |
//! | list | the items of the earlier input, then those of the later |
//! | stream | the entries of both by id, of one id in both the later input's; groups, consumers and pending entries of both; the higher counters |
//! | array | the items of both; of an index in both the later input's |
//! | string, module | only where both are the same |

use ironkeep::value::stream::{Counters, Group, Pending, StreamId};
use ironkeep::value::{Array, Hash, Limits, Object, Stream};
use std::collections::BTreeMap;

/// The union of values, the earlier input's first; `None` where they have none.
pub fn unite(earlier: Object, later: Object, limits: &Limits) -> Option<Object> {
    Some(match (earlier, later) {
        (Object::String(one), Object::String(other)) => {
            return (one.element().to_vec() == other.element().to_vec()).then_some(Object::String(other));
        }
        (Object::Module(one), Object::Module(other)) => {
            return ((one.id, &one.raw) == (other.id, &other.raw)).then_some(Object::Module(other));
        }
        (Object::List(mut list), Object::List(other)) => {
            other.iter().for_each(|item| item.with(|item| list.push_back(item, limits)));
            Object::List(list)
        }
        (Object::Set(mut set), Object::Set(other)) => {
            other.iter().for_each(|member| _ = member.with(|member| set.insert(member, limits)));
            Object::Set(set)
        }
        (Object::Zset(mut zset), Object::Zset(other)) => {
            other.iter().for_each(|(member, score)| _ = member.with(|member| zset.insert_exact(member, score, limits)));
            Object::Zset(zset)
        }
        (Object::Hash(hash), Object::Hash(other)) => Object::Hash(unite_hashes(hash, &other, limits)),
        (Object::Stream(one), Object::Stream(other)) => Object::Stream(Box::new(unite_streams(&one, &other, limits)?)),
        (Object::Array(one), Object::Array(other)) => Object::Array(unite_arrays(&one, &other)),
        _ => return None,
    })
}

/// The later of two expiries, where none is never.
pub fn last_expiry(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.zip(other).map(|(one, other)| one.max(other))
}

fn unite_hashes(mut hash: Hash, other: &Hash, limits: &Limits) -> Hash {
    for (field, value, expire_at_ms) in other.iter() {
        field.with(|field| {
            let before = hash.expire_at(field);
            value.with(|value| hash.set(field, value, limits));
            let expire_at_ms = before.map_or(expire_at_ms, |before| last_expiry(before, expire_at_ms));
            if expire_at_ms.is_some() {
                hash.set_expire(field, expire_at_ms, limits);
            }
        });
    }
    hash
}

fn unite_arrays(one: &Array, other: &Array) -> Array {
    let items: BTreeMap<_, _> = one.iter().chain(other.iter()).collect();
    let mut array = Array::new(one.insert_index().max(other.insert_index()));
    for (index, item) in items {
        array.push(index, item);
    }
    array
}

/// `None` where an entry cannot be appended, which no stream of a server holds.
fn unite_streams(one: &Stream, other: &Stream, limits: &Limits) -> Option<Stream> {
    let mut stream = Stream::new();
    let mut earlier = one.range(StreamId::MIN, StreamId::MAX).peekable();
    let mut later = other.range(StreamId::MIN, StreamId::MAX).peekable();
    loop {
        let entry = match (earlier.peek(), later.peek()) {
            (None, None) => break,
            (Some(_), None) => earlier.next()?,
            (Some(entry), Some(rival)) if entry.id < rival.id => earlier.next()?,
            (Some(entry), Some(rival)) if entry.id == rival.id => {
                earlier.next();
                later.next()?
            }
            _ => later.next()?,
        };
        let fields: Vec<(Vec<u8>, Vec<u8>)> =
            entry.fields.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect();
        let fields: Vec<(&[u8], &[u8])> = fields.iter().map(|(field, value)| (&field[..], &value[..])).collect();
        stream.append(entry.id, &fields, limits).ok()?;
    }
    let added = one.entries_added().max(other.entries_added()).max(stream.len() as u64); // usize fits
    let counters = Counters {
        last_id: one.last_id().max(other.last_id()),
        max_deleted_id: one.max_deleted_id().max(other.max_deleted_id()),
        entries_added: added,
    };
    stream.set_counters(counters).ok()?;
    stream.set_idempotence(other.idempotence().or(one.idempotence()).cloned());
    for (name, group) in one.groups() {
        let group = other.group(name).map_or_else(|| group.clone(), |rival| unite_groups(group, rival));
        stream.create_group(name, group);
    }
    for (name, group) in other.groups() {
        stream.create_group(name, group.clone()); // those of both are there already
    }
    Some(stream)
}

fn unite_groups(one: &Group, other: &Group) -> Group {
    let read = one.entries_read().filter(|read| other.entries_read() == Some(*read));
    let mut group = Group::new(one.last_id().max(other.last_id()), read);
    for from in [one, other] {
        for (name, consumer) in from.consumers() {
            let before = group.consumer(name).map(|before| (before.seen_ms(), before.active_ms()));
            group.create_consumer(name, consumer.seen_ms());
            if let Some((seen_ms, active_ms)) = before {
                group.set_seen(name, seen_ms.max(consumer.seen_ms()));
                group.set_active(name, active_ms.max(consumer.active_ms()));
            } else {
                group.set_active(name, consumer.active_ms());
            }
        }
        for pending in from.pending_from(StreamId::MIN) {
            group.deliver(Pending { ..pending });
        }
    }
    for from in [one, other] {
        for nacked in from.nacked() {
            let is_there =
                group.pending(nacked.id).is_some() || group.nacked().iter().any(|there| there.id == nacked.id);
            if !is_there {
                group.push_nacked(*nacked);
            }
        }
    }
    group
}
