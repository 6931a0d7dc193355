//! Values that wait to be united: in a temporary file, found again in the order of their keys.
//!
//! ```text
//! file   = entry ..., entry = 1 where the key expires, else 0; Unix ms i64 LE; length of the key u64 LE, key; payload
//! record = database u64 BE, hash of the key (16 bytes), input u64 BE, offset of the entry u64 BE, its length u64 BE
//! ```
//!
//! A payload is one of DUMP in a version that holds all there is.

use super::conflict::Fingerprint;
use super::union::{last_expiry, unite};
use anyhow::Context;
use ironkeep::cli::escape::Quoted;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::disk::Sorter;
use ironkeep::rdb::{KeyHeader, Version, dump};
use ironkeep::value::{Limits, Object};
use std::io::{self, Read, Seek, SeekFrom, Write};
use tempfile::SpooledTempFile;

/// Bytes of values, and of what sorts them, that are held in memory.
const BUDGET: usize = 16 << 20;
/// The newest, which holds whatever any value has.
const ALL_THERE_IS: Version = Version::Rdb15;
/// Of an entry before its key.
const HEAD: usize = 17;

pub struct Pool {
    file: SpooledTempFile,
    len: u64,
    sorter: Sorter,
    /// The header of the last key, for the rest of what a header says.
    model: Option<KeyHeader>,
}

/// A key that waits.
struct Entry {
    header: KeyHeader,
    value: Object,
}

impl Pool {
    pub fn new() -> Pool {
        Pool { file: SpooledTempFile::new(BUDGET), len: 0, sorter: Sorter::new(BUDGET), model: None }
    }

    pub fn add(&mut self, key: Fingerprint, input: usize, header: KeyHeader, value: &Object) -> anyhow::Result<()> {
        if !header.metadata.is_empty() {
            let message = format!("key {} has metadata of modules, which have no union", Quoted(&header.key));
            return Err(Failure::error(Exit::Unsupported, message));
        }
        let payload = dump::encode(value, ALL_THERE_IS).context("keeping a value to be united")?;
        let mut entry = Vec::with_capacity(HEAD + header.key.len() + payload.len());
        entry.push(u8::from(header.expire_at_ms.is_some()));
        entry.extend_from_slice(&header.expire_at_ms.unwrap_or(0).to_le_bytes());
        entry.extend_from_slice(&(header.key.len() as u64).to_le_bytes()); // usize fits
        entry.extend_from_slice(&header.key);
        entry.extend_from_slice(&payload);
        let (offset, len) = (self.len, entry.len() as u64); // usize fits
        self.sorter.push_with(|out| {
            out.extend_from_slice(&header.db.to_be_bytes());
            out.extend_from_slice(&key);
            for number in [input as u64, offset, len] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        })?;
        self.file.write_all(&entry).context("keeping a value to be united")?;
        self.len += len;
        self.model = Some(header);
        Ok(())
    }

    /// Unites what belongs together, in the order of databases, and gives each key to `take`. Returns the names of the
    /// keys that have no union.
    pub fn empty(
        mut self,
        mut take: impl FnMut(&KeyHeader, &Object) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<String>> {
        let Some(model) = self.model.take() else { return Ok(Vec::new()) };
        let mut sorted = std::mem::replace(&mut self.sorter, Sorter::new(0)).finish()?;
        let mut failed = Vec::new();
        let mut open: Option<(Vec<u8>, Option<Entry>)> = None;
        while let Some(record) = sorted.next()? {
            let Some((name, rest)) = record.split_at_checked(24) else { continue };
            let number = |index: usize| rest[8 * index..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            let db = name.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            let (name, next) = (name.to_vec(), self.read(number(1), number(2), db, &model)?);
            open = match open.take() {
                Some((of, Some(entry))) if of == name => {
                    let shown = format!("db {db} {}", Quoted(&entry.header.key));
                    let united = join(entry, next);
                    failed.extend(united.is_none().then_some(shown));
                    Some((name, united))
                }
                // One of them had no union with another: the key is named already.
                Some((of, None)) if of == name => Some((of, None)),
                done => {
                    if let Some((_, Some(entry))) = done {
                        take(&entry.header, &entry.value)?;
                    }
                    Some((name, Some(next)))
                }
            };
        }
        if let Some((_, Some(entry))) = open {
            take(&entry.header, &entry.value)?;
        }
        Ok(failed)
    }

    fn read(&mut self, offset: u64, len: u64, db: u64, model: &KeyHeader) -> anyhow::Result<Entry> {
        self.file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        (&mut self.file).take(len).read_to_end(&mut bytes)?;
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (head, rest) = bytes.split_at_checked(HEAD).ok_or_else(cut)?;
        let number = |from: usize| head[from..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let expire_at_ms = (head[0] == 1).then(|| number(1).cast_signed());
        let key_len = usize::try_from(number(9)).map_err(|_| cut())?;
        let (key, payload) = rest.split_at_checked(key_len).ok_or_else(cut)?;
        let value = dump::decode(payload, &Limits::default()).context("reading a value to be united")?;
        // Two access times have no union.
        let access = KeyHeader { idle_seconds: None, frequency: None, ..model.clone() };
        let header = KeyHeader { db, key: key.to_vec(), expire_at_ms, ..access };
        Ok(Entry { header, value: value.ok_or_else(cut)? })
    }
}

fn join(earlier: Entry, later: Entry) -> Option<Entry> {
    let expire_at_ms = last_expiry(earlier.header.expire_at_ms, later.header.expire_at_ms);
    let value = unite(earlier.value, later.value, &Limits::default())?;
    Some(Entry { header: KeyHeader { expire_at_ms, ..later.header }, value })
}
