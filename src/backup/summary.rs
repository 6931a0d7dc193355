//! What data comes to: counts, and 256 bits that two sets of data share only if they are equal in every field.
//!
//! ```text
//! digest   = sum of SHA-256 over all keys and function libraries, as four numbers of 64 bits that wrap
//! key      = "key", database u64, name, type, expiry i64 (Unix ms, the least i64 for none), body
//! body     = string  the bytes
//!            list    the items in order
//!            set     sum of SHA-256(member)
//!            hash    sum of SHA-256(field, value, expiry)
//!            zset    sum of SHA-256(member, score's 64 bits)
//!            others  what DUMP makes of it in the lowest version that holds it: groups and pending entries with it
//! library  = "function", code
//! ```
//!
//! Byte strings are preceded by their length (u64), numbers are little-endian. Sums make it independent of the order of
//! keys, members and fields, and of encodings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::keyspace::View;
use crate::rdb::{Version, dump};
use crate::value::{Element, Object};

/// A sum of hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum([u64; 4]);

impl Sum {
    fn add(&mut self, hash: Sha256) {
        let hash: [u8; 32] = hash.finalize().into();
        let words = hash.as_chunks::<8>().0;
        self.0.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(u64::from_le_bytes(*word)));
    }
}

/// Feeds a hash with what stands behind each other.
#[derive(Clone, Default)]
struct Parts(Sha256);

impl Parts {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes()); // usize has at most 64 bits
        self.0.update(bytes);
        self
    }

    fn element(self, element: Element<'_>) -> Self {
        element.with(|bytes| self.bytes(bytes))
    }

    fn number(mut self, number: u64) -> Self {
        self.0.update(number.to_le_bytes());
        self
    }

    fn expiry(self, expire_at_ms: Option<i64>) -> Self {
        self.number(expire_at_ms.unwrap_or(i64::MIN) as u64) // its bits
    }

    fn sum(self, sum: Sum) -> Self {
        sum.0.into_iter().fold(self, Self::number)
    }
}

/// Keys of one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub keys: u64,
    pub expires: u64,
    /// By the names that TYPE gives.
    pub types: BTreeMap<String, u64>,
}

/// What data comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// By number, those that have keys.
    pub databases: BTreeMap<u64, Counts>,
    pub functions: u64,
    sum: Sum,
}

impl Summary {
    pub fn add_key(&mut self, db: usize, key: &[u8], value: View<'_>, expire_at_ms: Option<i64>) {
        let db = db as u64; // usize has at most 64 bits
        let type_name = value.type_name();
        let counts = self.databases.entry(db).or_default();
        counts.keys += 1;
        counts.expires += u64::from(expire_at_ms.is_some());
        match counts.types.get_mut(type_name) {
            Some(count) => *count += 1,
            None => drop(counts.types.insert(type_name.to_owned(), 1)),
        }
        let head = Parts::default().bytes(b"key").number(db).bytes(key).bytes(type_name.as_bytes());
        let head = head.expiry(expire_at_ms);
        let whole = match (value.string(), value) {
            (Some(string), _) => head.element(string),
            (None, View::Object(object)) => body(head, object),
            (None, other) => body(head, &other.to_object()),
        };
        self.sum.add(whole.0);
    }

    pub fn add_function(&mut self, code: &[u8]) {
        self.functions += 1;
        self.sum.add(Parts::default().bytes(b"function").bytes(code).0);
    }

    pub fn keys(&self) -> u64 {
        self.databases.values().map(|counts| counts.keys).sum()
    }

    /// The digest, in hexadecimal.
    pub fn digest(&self) -> String {
        self.sum.0.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn body(head: Parts, object: &Object) -> Parts {
    let mut sum = Sum::default();
    match object {
        Object::String(string) => return head.element(string.element()),
        Object::List(list) => return list.iter().fold(head, Parts::element),
        Object::Set(set) => set.iter().for_each(|member| sum.add(Parts::default().element(member).0)),
        Object::Hash(hash) => hash.iter().for_each(|(field, value, expire_at_ms)| {
            sum.add(Parts::default().element(field).element(value).expiry(expire_at_ms).0);
        }),
        Object::Zset(zset) => zset.iter().for_each(|(member, score)| {
            sum.add(Parts::default().element(member).number(score.to_bits()).0);
        }),
        Object::Stream(_) | Object::Module(_) | Object::Array(_) => {
            let payload =
                dump::encode(object, Version::needed(object)).or_else(|_| dump::encode(object, Version::Rdb15));
            return head.bytes(&payload.unwrap_or_default()); // version 15 holds all
        }
    }
    head.sum(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::replay::Replay;
    use crate::engine::Engine;
    use crate::engine::clock::Clock;
    use crate::engine::params::Config;

    fn summary(commands: &[&str]) -> Summary {
        let mut engine = Engine::new(Config::default(), Clock::fixed(1_000), fastrand::Rng::with_seed(1));
        let mut replay = Replay::strict();
        for command in commands {
            let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            replay.run(&mut engine, &words).unwrap();
        }
        let mut summary = Summary::default();
        for db in 0..engine.keyspace.db_count() {
            engine.keyspace.db(db).visit(&mut |entry| summary.add_key(db, entry.key, entry.value, entry.expire_at_ms));
        }
        summary
    }

    const STREAM: &str = "XADD s 1-1 a 1";

    #[test]
    fn neither_order_nor_encoding_matters() {
        let large = "x".repeat(100); // no listpack holds it
        let (with, without) = (format!("HSET h a 1 b 2 c {large}"), "HDEL h c");
        for (first, second) in [
            (&["SET a 1", "SET b 2"][..], &["SET b 2", "SET a 1"][..]),
            (&["SADD a x y z"], &["SADD a z", "SADD a x y"]),
            (&["HSET h a 1 b 2"], &[&with, without]),
            (&["ZADD z 1 a 2 b"], &["ZADD z 2 b", "ZADD z 1 a"]),
        ] {
            assert_eq!(summary(first), summary(second), "{first:?}");
        }
    }

    #[test]
    fn every_field_matters() {
        let all: [&[&str]; 21] = [
            &[],
            &["SET a 1"],
            &["SET a 2"],
            &["SET b 1"],
            &["SELECT 1", "SET a 1"],
            &["SET a 1", "PEXPIREAT a 9000"],
            &["SET a 1", "PEXPIREAT a 9001"],
            &["RPUSH a 1 2"],
            &["RPUSH a 2 1"],
            &["RPUSH a 12"],
            &["SADD a 1 2"],
            &["HSET a 1 2"],
            &["HSET a 2 1"],
            &["HSET a 1 2", "HPEXPIREAT a 9000 FIELDS 1 1"],
            &["ZADD a 1 2"],
            &["ZADD a 2 1"],
            &[STREAM],
            &[STREAM, "XGROUP CREATE s g 0"],
            &[STREAM, "XGROUP CREATE s g 0", "XCLAIM s g c 0 1-1 TIME 5 FORCE JUSTID"],
            &[STREAM, "XGROUP CREATE s g 0", "XCLAIM s g d 0 1-1 TIME 5 FORCE JUSTID"],
            &[STREAM, "XSETID s 9-9"],
        ];
        let digests: std::collections::BTreeSet<String> =
            all.iter().map(|commands| summary(commands).digest()).collect();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn counts_are_by_database_and_type() {
        let summary = summary(&["SET a 1", "PEXPIREAT a 9000", "RPUSH l 1", "SELECT 3", "SET b 1"]);
        let types = |db: u64| summary.databases[&db].types.iter().map(|(name, n)| (&**name, *n)).collect::<Vec<_>>();
        assert_eq!((summary.keys(), summary.databases[&0].expires), (3, 1));
        assert_eq!((types(0), types(3)), (vec![("list", 1), ("string", 1)], vec![("string", 1)]));
    }
}
