//! The RDB format: read in every version that servers wrote, from 1 to 15 and Valkey's 80 and 81, written in any from 6
//! to 15 and in 80.
//!
//! ```text
//! file    = "REDIS" 4 digits | "VALKEY" 3 digits, item ..., 255, checksum
//! item    = 250 AUX string string | 245 FUNCTION2 string | 247 MODULE_AUX ... | 244 SLOT_INFO ... | 243 SLOT_IMPORT ...
//!         | 254 SELECTDB length | 251 RESIZEDB length length
//!         | 242 HASH_TEMPLATE ... | 246 FUNCTION_PRE_GA name, engine, length: 1 and a description or 0, code
//!         | 242 UPDATE a command as clients send it
//!         | key
//! key     = [252 EXPIRETIME_MS i64 LE | 253 EXPIRETIME i32 LE] [248 IDLE length | 249 FREQ u8]
//!           [243 KEY_META n, n x (4 bytes class, module opcodes .. 0)] type string value
//! checksum = CRC-64/REDIS of all bytes before it, u64 LE, from version 5 on; 0 where the writer had it switched off
//! ```
//!
//! | version | first server | what came |
//! |---|---|---|
//! | 1, 2 | up to Redis 2.4 | 2: zipmap, ziplist, intset |
//! | 3 | 2.5 | expiry in ms |
//! | 4, 5 | 2.5 | 4: hashes as ziplists; 5: the checksum |
//! | 6 | 2.6 - 3.0 | small integers in ziplists |
//! | 7 | 3.2 | quicklists; AUX, RESIZEDB |
//! | 8 | 4.0 | binary scores, module values, 64-bit lengths |
//! | 9 | 5.0 - 6.2 | streams; IDLE, FREQ, MODULE_AUX |
//! | 10 | 7.0 | listpacks, FUNCTION2 |
//! | 11 | 7.2; Valkey 7.2 - 8.1 | sets as listpacks, active times of consumers. The highest that all current servers load |
//! | 12 | Redis 7.4 - 8.4 | field expiry of hashes, SLOT_INFO |
//! | 13 | Redis 8.6 | streams that know their producers, KEY_META |
//! | 14 | Redis 8.8 | arrays, pending entries of streams that were given back |
//! | 15 | Redis 8.10 | hashes that take their field names from a template, HASH_TEMPLATE |
//! | 80 | Valkey 9, magic `VALKEY080` | field expiry in its own way, SLOT_IMPORT |
//! | 81 | Valkey 9.2, magic `VALKEY081` | UPDATE, PATH_HASH; [`envelope`] |
//!
//! Three types are refused by name where they are met, with [`Cause::Unsupported`], since nothing public says where they
//! end: 6 (modules of Redis 4.0's release candidates, which have no framing), 33 GCRA and Valkey's 23 PATH_HASH (which no
//! released server writes). So are the opcodes and types of Dragonfly; its types 30 to 33 have the numbers of Redis 8.10's
//! and are told by its remark `df-ver`, or by a version below 15. FUNCTION_PRE_GA and UPDATE are read and, as servers do,
//! refused by whoever loads or copies ([`Event::refusal`]).
//!
//! Numbers 22, 23, 242 and 243 have two meanings: [`kind`] has the table, by lineage. Lengths and strings are in
//! `primitive`, values one type a file in `object`, templates of hashes in `template`, the packed layouts of old in
//! [`packed`], DUMP payloads in [`dump`].
//!
//! The reader takes any bytes: it never panics, ends when the bytes end, and asks for memory in proportion to what has
//! arrived (a compressed string gives at most 88 times its bytes). It looks at nothing twice and reports rather than
//! decides; servers skip a key without elements, drop what has expired and refuse a key that comes twice, and so may
//! the caller.

mod error;
mod event;
mod input;
mod object;
mod output;
mod primitive;
mod reader;
mod template;
mod version;
mod writer;

pub mod check;
pub mod dump;
pub mod envelope;
pub mod explain;
pub mod kind;
pub mod packed;

#[cfg(test)]
mod conversions;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod newer;
#[cfg(test)]
mod tests;

pub use error::{Cause, Error};
pub use event::{Checksum, Discard, Event, KeyHeader, KeyMetadata, StreamCounters, Visitor};
pub use kind::{Header, Kind, Lineage};
pub use object::{Gathered, ObjectBuilder};
pub use reader::{Options, Reader};
pub use version::{FEATURES, Feature, FeatureRow, Loss, Losses, Version, Weight, features};
pub use writer::{CopyError, KeyMeta, ObjectRef, RawValue, WriteError, WriteOptions, Writer};
