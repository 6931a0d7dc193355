//! Copy-on-write containers, on which snapshots rest: a clone is one counted pointer, and a write afterwards copies
//! only the path from the root to what it changes.
//!
//! - [`PackedMap`]: byte strings to byte strings, a hash trie with packed leaves (hashes, sets, members of sorted sets).
//! - [`Sequence`]: chunks in order, a counted B+tree (lists, the order of sorted sets, streams).
//!
//! Both are safe Rust over a counted pointer (`shared`); they know nothing of what Redis calls a value. Beside them stands
//! what values and tables are made of: [`segments`], the table of a database, and [`ThinBytes`], a small buffer.

mod exclusive;
pub mod packed_map;
pub mod segments;
pub mod sequence;
mod shared;
pub mod thin_bytes;

pub use packed_map::PackedMap;
pub use sequence::{Chunk, Path, Place, Position, Sequence};
pub use shared::Shared;
pub use thin_bytes::ThinBytes;
