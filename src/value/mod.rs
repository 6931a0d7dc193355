//! What a key holds: the value types, each with the encodings that Redis names.
//!
//! A small collection is one packed layout, byte for byte what the RDB stores ([`packed`]); a large one is a
//! copy-on-write container ([`crate::cow`]). Cloning a value is therefore cheap at any size, and a clone never changes
//! when the original does: that is what snapshots rest on. When a collection turns from small to large is decided by
//! [`Limits`], with Redis's numbers; it never turns back by itself, but for a list that shrinks to one short node.

pub mod array;
pub mod compact;
pub mod footprint;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod list;
pub mod module;
mod ordered;
pub mod packed;
pub mod set;
pub mod slot;
pub mod stream;
pub mod string;
pub mod zset;

pub use array::{Array, ArrayItem};
pub use compact::{Compact, Shape};
pub use hash::Hash;
pub use list::{List, ListNode};
pub use module::Module;
pub use packed::{Element, Intset, Listpack, PackedError};
pub use set::{Set, SetRepr};
pub use stream::Stream;
pub use string::StringValue;
pub use zset::{Insert, Zset};

use crate::codec::siphash::SipKey;
use std::sync::OnceLock;

/// When a collection changes its encoding; the fields are the directives of redis.conf with the same names.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most fields of a packed hash.
    pub hash_max_listpack_entries: usize,
    /// Longest field or value of a packed hash, in bytes.
    pub hash_max_listpack_value: usize,
    /// Most members of a set of integers.
    pub set_max_intset_entries: usize,
    /// Most members of a packed set.
    pub set_max_listpack_entries: usize,
    /// Longest member of a packed set, in bytes.
    pub set_max_listpack_value: usize,
    /// Most members of a packed sorted set.
    pub zset_max_listpack_entries: usize,
    /// Longest member of a packed sorted set, in bytes.
    pub zset_max_listpack_value: usize,
    /// Positive: entries per list node. Negative: -1 to -5 for 4, 8, 16, 32, 64 KB per node.
    pub list_max_listpack_size: i64,
    /// Most bytes of a stream node; 0 for no limit.
    pub stream_node_max_bytes: usize,
    /// Most entries of a stream node; 0 for no limit.
    pub stream_node_max_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            list_max_listpack_size: -2,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
        }
    }
}

/// A value of any type.
#[derive(Clone, Debug)]
pub enum Object {
    /// A string.
    String(StringValue),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A hash, with field expiry.
    Hash(Hash),
    /// A sorted set.
    Zset(Zset),
    /// A stream with its groups. Boxed, as what is large and rare must not make all others larger.
    Stream(Box<Stream>),
    /// A module's value, opaque.
    Module(Module),
    /// A sparse array of Redis 8.8, opaque to commands.
    Array(Array),
}

impl Object {
    /// The name that TYPE answers; for a module its nine-character name would stand there in Redis.
    pub fn type_name(&self) -> &'static str {
        match self {
            Object::String(_) => "string",
            Object::List(_) => "list",
            Object::Set(_) => "set",
            Object::Hash(_) => "hash",
            Object::Zset(_) => "zset",
            Object::Stream(_) => "stream",
            Object::Module(_) => "module",
            Object::Array(_) => "array",
        }
    }

    /// The name that OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            Object::String(value) => value.encoding(),
            Object::List(value) => value.encoding(),
            Object::Set(value) => value.encoding(),
            Object::Hash(value) => value.encoding(),
            Object::Zset(value) => value.encoding(),
            Object::Stream(_) => "stream",
            Object::Module(_) => "raw",
            Object::Array(_) => "array",
        }
    }
}

/// The hash under which names that clients choose are kept: SipHash-1-3 with a key drawn once per process, so that
/// nobody outside can make names collide.
pub fn hash_of(bytes: &[u8]) -> u64 {
    static KEY: OnceLock<SipKey> = OnceLock::new();
    KEY.get_or_init(SipKey::random).hash(bytes)
}

/// One of two iterators.
enum Either<L, R> {
    Left(L),
    Right(R),
}

impl<T, L: Iterator<Item = T>, R: Iterator<Item = T>> Iterator for Either<L, R> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Either::Left(items) => items.next(),
            Either::Right(items) => items.next(),
        }
    }
}

const _: () = {
    const fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<Object>();
    assert!(size_of::<Object>() <= 24, "every small collection pays for the largest kind");
};
