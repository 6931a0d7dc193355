//! Writing.
use crate::value::{Element, Object};
use std::io::{self, Write};

/// A version that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Redis 7.0.
    Rdb10,
    /// Redis 7.2 and every Valkey: the highest that all current servers load.
    Rdb11,
    /// Redis 7.4 and later: field expiry.
    Rdb12,
    /// Valkey 9: field expiry.
    Valkey80,
}

impl Version {
    /// The lowest version that today's servers share and that can hold the data.
    pub fn needed(has_field_expiry: bool) -> Version {
        if has_field_expiry { Version::Rdb12 } else { Version::Rdb11 }
    }
    /// The number in the header.
    pub fn number(self) -> u16 {
        match self {
            Version::Rdb10 => 10,
            Version::Rdb11 => 11,
            Version::Rdb12 => 12,
            Version::Valkey80 => 80,
        }
    }
    /// The version of a number, if it can be written.
    pub fn of(number: u32) -> Option<Version> {
        [Version::Rdb10, Version::Rdb11, Version::Rdb12, Version::Valkey80]
            .into_iter()
            .find(|version| u32::from(version.number()) == number)
    }
}

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Whether the file ends with a checksum (`rdbchecksum`); a zero stands there otherwise.
    pub checksum: bool,
    /// Whether strings are compressed where that saves space (`rdbcompression`).
    pub compress: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions { checksum: true, compress: true }
    }
}

/// A key and what stands before its value.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyMeta<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// Unix time in milliseconds at which the key expires.
    pub expire_at_ms: Option<i64>,
    /// Seconds since the last access, for eviction by LRU.
    pub idle_seconds: Option<u64>,
    /// The logarithmic access counter, for eviction by LFU.
    pub frequency: Option<u8>,
}

/// A value to be written: strings need no `Object`.
#[derive(Clone, Copy, Debug)]
pub enum ObjectRef<'a> {
    /// A string.
    String(Element<'a>),
    /// Any value.
    Object(&'a Object),
}

impl<'a> From<&'a Object> for ObjectRef<'a> {
    fn from(object: &'a Object) -> Self {
        ObjectRef::Object(object)
    }
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The output failed.
    #[error("writing failed: {0}")]
    Io(#[from] io::Error),
    /// A hash has fields that expire, and the version cannot say so.
    #[error("key \"{}\" has fields that expire, which RDB version {version} cannot hold: it takes version 12 or valkey-80", key.escape_ascii())]
    FieldExpiry { key: Vec<u8>, version: u16 },
}

/// Writes a file from front to back.
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    pub fn new(out: W, _version: Version, _options: WriteOptions) -> Result<Self, WriteError> {
        Ok(Writer { out })
    }
    /// Writes a named remark; they belong before the first database.
    pub fn aux(&mut self, _name: &[u8], _value: &[u8]) -> Result<(), WriteError> {
        Ok(())
    }
    /// Writes module data that belongs to no key; `raw` as in `Event::ModuleAux`.
    pub fn module_aux(&mut self, _id: u64, _raw: &[u8]) -> Result<(), WriteError> {
        Ok(())
    }
    /// Writes the source of a function library; they belong before the first database.
    pub fn function(&mut self, _code: &[u8]) -> Result<(), WriteError> {
        Ok(())
    }
    /// Begins a database, saying how many keys, and keys with an expiry, it holds.
    pub fn select_db(&mut self, _db: u64, _keys: u64, _expires: u64) -> Result<(), WriteError> {
        Ok(())
    }
    /// Writes a key with its value.
    pub fn key(&mut self, _meta: &KeyMeta<'_>, _value: ObjectRef<'_>) -> Result<(), WriteError> {
        Ok(())
    }
    /// Bytes written so far, those still in the buffer included.
    pub fn written(&self) -> u64 {
        0
    }
    /// Writes the end marker and the checksum, and gives the output back, flushed.
    pub fn finish(self) -> Result<W, WriteError> {
        Ok(self.out)
    }
}
