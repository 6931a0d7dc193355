//! Streams.
//!
//! ```text
//! 15 STREAM_LISTPACKS, 19 .._2, 21 .._3, 26 .._4, 27 .._5:
//!
//! n, n x (string of 16 bytes: id of the node, big endian; listpack)
//! length
//! last id                                          an id here is two lengths: ms, seq
//! first id, greatest deleted id, entries added     from 19 on
//! n groups x {
//!   name, last id
//!   entries read (all ones: unknown)               from 19 on
//!   n pending x (16 bytes id, 8 bytes Unix ms, length: deliveries)
//!   n consumers x {
//!     name, 8 bytes Unix ms: seen
//!     8 bytes Unix ms: active (-1: never)          from 21 on
//!     n x 16 bytes id: which of the pending are this consumer's
//!   }
//!   n x 16 bytes id: which of the pending were given back and are nobody's      27
//! }
//! seconds that idempotent ids are known, most of them per producer              from 26 on
//! n producers x { name, n x (idempotent id, the entry's id) }                   from 26 on
//! idempotent ids ever added, duplicates refused                                 from 26 on
//! ```
//!
//! What an older type does not say is set as Redis sets it when it loads one: entries added are the length, entries
//! read are estimated from the group's last id, active is seen. The first id is never needed, the entries tell it.
//!
//! `walk` reads and checks a stream and holds one node of it, the names of its groups and of one group's consumers,
//! and one group's pending ids in a compact form; what is found goes to a `Sink`: elements to a visitor, or whole
//! nodes into a value.

mod build;
mod pending;
mod skip;
mod walk;
mod write;

pub(super) use build::{StreamBuilder, build};
pub(super) use skip::skip;
pub(super) use walk::visit;
pub(super) use write::{features, kind_for, write};

use crate::rdb::kind::Kind;

/// What one side calls unknown and the other never.
const NEVER: i64 = -1;

fn has_counters(kind: Kind) -> bool {
    kind != Kind::StreamListpacks
}

fn has_active_time(kind: Kind) -> bool {
    !matches!(kind, Kind::StreamListpacks | Kind::StreamListpacks2)
}

fn has_idempotence(kind: Kind) -> bool {
    matches!(kind, Kind::StreamListpacks4 | Kind::StreamListpacks5)
}

fn has_nacked(kind: Kind) -> bool {
    kind == Kind::StreamListpacks5
}
