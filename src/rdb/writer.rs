//! Writing a file from front to back, in the version that the caller chooses.

use std::io::{self, Write};

use super::error::Error;
use super::event::KeyHeader;
use super::kind::{Header, Kind, Lineage, Opcode};
use super::object;
use super::output::Output;
use crate::value::{Element, Object};

const AUX: u8 = Opcode::Aux.number();
const EOF: u8 = Opcode::Eof.number();
const EXPIRE_MS: u8 = Opcode::ExpireMs.number();
const FREQUENCY: u8 = Opcode::Frequency.number();
const FUNCTION: u8 = Opcode::Function.number();
const IDLE: u8 = Opcode::Idle.number();
const MODULE_AUX: u8 = Opcode::ModuleAux.number();
const RESIZE_DB: u8 = Opcode::ResizeDb.number();
const SELECT_DB: u8 = Opcode::SelectDb.number();

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
    /// What the first nine bytes of a file of this version say.
    pub fn header(self) -> Header {
        let version = u32::from(self.number());
        Header { lineage: Lineage::of_version(version), version }
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

impl<'a> KeyMeta<'a> {
    /// What a file says of a key.
    pub fn of(header: &'a KeyHeader) -> Self {
        KeyMeta {
            key: &header.key,
            expire_at_ms: header.expire_at_ms,
            idle_seconds: header.idle_seconds,
            frequency: header.frequency,
        }
    }
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
    /// A value was to be copied as it stands into a version that does not know its type.
    #[error("key \"{}\" is a {kind}, a type that {header} does not know: it cannot be copied there as it stands", key.escape_ascii())]
    UnknownType { key: Vec<u8>, kind: &'static str, header: Header },
}

/// Why a value was not copied from one file into another.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The file that it comes from.
    #[error(transparent)]
    Read(#[from] Error),
    /// The file that it goes to.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Writes a file from front to back; the mirror of [`Reader`](super::Reader).
///
/// Values are written in the newest encoding that the version knows; packed ones byte for byte. The order is the
/// caller's: remarks, module data and functions first, then each database with its keys.
///
/// ```
/// use ironkeep::rdb::{KeyMeta, ObjectRef, Version, WriteOptions, Writer};
/// let options = WriteOptions { checksum: false, compress: true };
/// let mut writer = Writer::new(Vec::new(), Version::Rdb11, options)?;
/// writer.select_db(0, 1, 0)?;
/// writer.key(&KeyMeta { key: b"key", ..KeyMeta::default() }, ObjectRef::String(b"12".into()))?;
/// let file = writer.finish()?;
/// assert_eq!(file, b"REDIS0011\xfe\x00\xfb\x01\x00\x00\x03key\xc0\x0c\xff\0\0\0\0\0\0\0\0");
/// # Ok::<(), ironkeep::rdb::WriteError>(())
/// ```
pub struct Writer<W> {
    output: Output<W>,
    version: Version,
}

impl<W: Write> Writer<W> {
    /// Begins a file with its header. `out` gets large blocks; it need not be buffered.
    pub fn new(out: W, version: Version, options: WriteOptions) -> Result<Self, WriteError> {
        let mut output = Output::new(out, options.checksum, options.compress);
        output.raw(version.header().to_string().as_bytes());
        Ok(Writer { output, version })
    }

    /// Writes a named remark.
    pub fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), WriteError> {
        self.output.raw(&[AUX]);
        self.output.string(name)?;
        Ok(self.output.string(value)?)
    }

    /// Writes module data that belongs to no key; `raw` as in [`Event::ModuleAux`](super::Event::ModuleAux).
    pub fn module_aux(&mut self, id: u64, raw: &[u8]) -> Result<(), WriteError> {
        self.output.raw(&[MODULE_AUX]);
        self.output.length(id);
        Ok(self.output.bytes(raw)?)
    }

    /// Writes the source of a function library.
    pub fn function(&mut self, code: &[u8]) -> Result<(), WriteError> {
        self.output.raw(&[FUNCTION]);
        Ok(self.output.blob(code)?)
    }

    /// Begins a database, saying how many keys, and keys with an expiry, it holds.
    pub fn select_db(&mut self, db: u64, keys: u64, expires: u64) -> Result<(), WriteError> {
        self.output.raw(&[SELECT_DB]);
        self.output.length(db);
        self.output.raw(&[RESIZE_DB]);
        self.output.length(keys);
        self.output.length(expires);
        Ok(())
    }

    /// Writes a key with its value. Nothing is allocated for strings and packed values. After an error of the output
    /// the file is lost; after any other, nothing of the key was written.
    pub fn key(&mut self, meta: &KeyMeta<'_>, value: ObjectRef<'_>) -> Result<(), WriteError> {
        let kind = match value {
            ObjectRef::String(_) => Kind::String,
            ObjectRef::Object(object) => object::kind_for(object, self.version)
                .ok_or_else(|| WriteError::FieldExpiry { key: meta.key.to_vec(), version: self.version.number() })?,
        };
        self.begin_key(meta, kind)?;
        match value {
            ObjectRef::String(value) => Ok(self.output.element(value)?),
            ObjectRef::Object(object) => object::write(&mut self.output, object, kind),
        }
    }

    /// Writes what stands before a value.
    fn begin_key(&mut self, meta: &KeyMeta<'_>, kind: Kind) -> io::Result<()> {
        if let Some(ms) = meta.expire_at_ms {
            self.output.raw(&[EXPIRE_MS]);
            self.output.raw(&ms.to_le_bytes());
        }
        if let Some(seconds) = meta.idle_seconds {
            self.output.raw(&[IDLE]);
            self.output.length(seconds);
        }
        if let Some(counter) = meta.frequency {
            self.output.raw(&[FREQUENCY, counter]);
        }
        self.output.raw(&[kind.number()]);
        self.output.string(meta.key)
    }

    /// Writes a key whose value follows as it stood in a file: all of [`Reader::copy_value`](super::Reader::copy_value)
    /// is to go into what this gives, and nothing else. A `kind` that the version does not know is refused, nothing of
    /// the key being written then.
    ///
    /// ```
    /// use ironkeep::rdb::{Event, KeyMeta, Options, Reader, Version, WriteOptions, Writer};
    /// let file = b"REDIS0006\xfe\x00\x00\x03key\x05value\xff\0\0\0\0\0\0\0\0";
    /// let mut reader = Reader::new(&file[..], Options::default())?;
    /// let mut writer = Writer::new(Vec::new(), Version::Rdb11, WriteOptions { checksum: false, compress: true })?;
    /// writer.select_db(0, 1, 0)?;
    /// loop {
    ///     match reader.next()? {
    ///         Event::Key(header) => {
    ///             let mut value = writer.raw_key(&KeyMeta::of(&header), header.kind)?;
    ///             reader.copy_value(&mut value)?;
    ///         }
    ///         Event::End { .. } => break,
    ///         _ => {}
    ///     }
    /// }
    /// let copied = writer.finish()?;
    /// assert_eq!(copied, b"REDIS0011\xfe\x00\xfb\x01\x00\x00\x03key\x05value\xff\0\0\0\0\0\0\0\0");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn raw_key(&mut self, meta: &KeyMeta<'_>, kind: Kind) -> Result<RawValue<'_, W>, WriteError> {
        let header = self.version.header();
        if !kind.is_known_to(header) {
            return Err(WriteError::UnknownType { key: meta.key.to_vec(), kind: kind.name(), header });
        }
        self.begin_key(meta, kind)?;
        Ok(RawValue { output: &mut self.output })
    }

    /// Bytes written so far, those still in the buffer included.
    pub fn written(&self) -> u64 {
        self.output.written()
    }

    /// Writes the end marker and the checksum, and gives the output back, flushed.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.output.raw(&[EOF]);
        Ok(self.output.finish(true)?)
    }
}

/// Takes the bytes of a value as they stood in a file; see [`Writer::raw_key`].
pub struct RawValue<'a, W> {
    output: &'a mut Output<W>,
}

impl<W: Write> Write for RawValue<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.bytes(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
