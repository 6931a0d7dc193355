//! The base of a log as the commands that rebuild the data, for `aof-use-rdb-preamble no`:
//!
//! ```text
//! [#TS:<seconds>]                                   with aof-timestamp-enabled
//! FUNCTION LOAD code                                each library
//! SELECT db                                         each database that has keys
//!   SET key value | RPUSH | SADD | ZADD | HSET      each key, BATCH elements at a time
//!   HPEXPIREAT key ms FIELDS 1 field                each field that expires
//!   RESTORE key 0 payload                           what is no string, list, set, sorted set or hash
//!   PEXPIREAT key ms                                where the key expires
//! ```
//!
//! Nothing here is sealed, as nothing is in what a real server writes.

use std::io::{self, Write};

use crate::aof::writer::{append_record, append_timestamp};
use crate::codec::number;
use crate::keyspace::{SnapshotEntry, View};
use crate::rdb::{Version, WriteError, dump};
use crate::value::Object;

/// Elements of one command, as in the bases of real servers.
const BATCH: usize = 64;
/// Bytes that are written at once.
const PIECE: usize = 64 << 10;

/// Writes commands to `out`.
pub(super) struct Commands<W> {
    out: W,
    buffer: Vec<u8>,
    /// Of the payloads.
    version: Version,
}

impl<W: Write> Commands<W> {
    pub(super) fn new(out: W, version: Version) -> Self {
        Self { out, buffer: Vec::new(), version }
    }

    pub(super) fn timestamp(&mut self, unix_seconds: i64) {
        append_timestamp(&mut self.buffer, unix_seconds);
    }

    pub(super) fn command(&mut self, arguments: &[&[u8]]) -> io::Result<()> {
        append_record(&mut self.buffer, arguments);
        if self.buffer.len() >= PIECE { self.pour() } else { Ok(()) }
    }

    fn pour(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.pour()
    }

    /// A key with its value; `unpacked` is for one that is packed.
    pub(super) fn key(&mut self, entry: &SnapshotEntry<'_>, unpacked: &mut Object) -> Result<(), WriteError> {
        match (entry.value.string(), entry.value) {
            (Some(value), _) => value.with(|value| self.command(&[b"SET", entry.key, value]))?,
            (None, View::Object(object)) => self.object(entry.key, object)?,
            (None, View::Compact(compact)) => {
                compact.fill(unpacked);
                self.object(entry.key, unpacked)?;
            }
            (None, View::Int(_) | View::Bytes(_) | View::Edited(_)) => unreachable!("these are strings"),
        }
        if let Some(at_ms) = entry.expire_at_ms {
            self.command(&[b"PEXPIREAT", entry.key, at_ms.to_string().as_bytes()])?;
        }
        Ok(())
    }

    fn object(&mut self, key: &[u8], object: &Object) -> Result<(), WriteError> {
        match object {
            Object::List(list) => self.elements(b"RPUSH", key, list.iter().map(|item| [item.to_vec()]))?,
            Object::Set(set) => self.elements(b"SADD", key, set.iter().map(|member| [member.to_vec()]))?,
            Object::Zset(zset) => {
                let pairs = zset.iter().map(|(member, score)| {
                    let mut decimal = Vec::new();
                    number::write_f64(&mut decimal, score);
                    [decimal, member.to_vec()]
                });
                self.elements(b"ZADD", key, pairs)?;
            }
            Object::Hash(hash) => {
                self.elements(b"HSET", key, hash.iter().map(|(field, value, _)| [field.to_vec(), value.to_vec()]))?;
                for (field, _, expire_at_ms) in hash.iter() {
                    let Some(at_ms) = expire_at_ms else { continue };
                    let at_ms = at_ms.to_string();
                    self.command(&[b"HPEXPIREAT", key, at_ms.as_bytes(), b"FIELDS", b"1", &field.to_vec()])?;
                }
            }
            Object::String(_) | Object::Stream(_) | Object::Module(_) | Object::Array(_) => {
                let payload = dump::encode(object, self.version)?;
                self.command(&[b"RESTORE", key, b"0", &payload])?;
            }
        }
        Ok(())
    }

    /// Commands that take as many elements as there are, each of N arguments.
    fn elements<const N: usize>(
        &mut self,
        name: &[u8],
        key: &[u8],
        mut elements: impl Iterator<Item = [Vec<u8>; N]>,
    ) -> io::Result<()> {
        loop {
            let batch: Vec<[Vec<u8>; N]> = elements.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let arguments: Vec<&[u8]> =
                [name, key].into_iter().chain(batch.iter().flatten().map(Vec::as_slice)).collect();
            self.command(&arguments)?;
        }
    }
}
