//! Writing a file from front to back, in the version that the caller chooses.

use std::io::{self, Read, Write};

use super::error::Error;
use super::event::{KeyHeader, KeyMetadata};
use super::kind::{Header, Kind, Opcode};
use super::object;
use super::output::Output;
use super::reader::Reader;
use super::version::{Feature, Losses, Version, Weight};
use crate::value::{Element, Limits, Object};

const AUX: u8 = Opcode::Aux.number();
const EOF: u8 = Opcode::Eof.number();
const EXPIRE_MS: u8 = Opcode::ExpireMs.number();
const FREQUENCY: u8 = Opcode::Frequency.number();
const FUNCTION: u8 = Opcode::Function.number();
const KEY_META: u8 = Opcode::KeyMeta.number();
const IDLE: u8 = Opcode::Idle.number();
const MODULE_AUX: u8 = Opcode::ModuleAux.number();
const RESIZE_DB: u8 = Opcode::ResizeDb.number();
const SELECT_DB: u8 = Opcode::SelectDb.number();
const SLOT_IMPORT: u8 = Opcode::SlotImport.number();

/// Lengths had 32 bits before version 8.
const LONGEST_BEFORE_8: u64 = u32::MAX as u64; // widening

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
    /// What modules attached to the key.
    pub metadata: &'a [KeyMetadata],
}

impl<'a> KeyMeta<'a> {
    /// What a file says of a key.
    pub fn of(header: &'a KeyHeader) -> Self {
        KeyMeta {
            key: &header.key,
            expire_at_ms: header.expire_at_ms,
            idle_seconds: header.idle_seconds,
            frequency: header.frequency,
            metadata: &header.metadata,
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
    /// A key is or has something that the version cannot say.
    #[error("key \"{}\" {}, which RDB version {version} cannot hold: it takes {}", key.escape_ascii(), feature.row().phrase, feature.holders())]
    Lacks { feature: Feature, key: Vec<u8>, version: Version },
    /// The file has something beside its keys that the version cannot say.
    #[error("the file {}, which RDB version {version} cannot hold: it takes {}", feature.row().phrase, feature.holders())]
    LacksBeside { feature: Feature, version: Version },
    /// The file that is copied has something that none of the versions holds.
    #[error("the file has {0}")]
    Refused(&'static str),
    /// A value was to be copied as it stands into a version that does not know its type.
    #[error("key \"{}\" is a {kind}, a type that {header} does not know or that refers to other parts of its file: it cannot be copied there as it stands", key.escape_ascii())]
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
/// Values are written in the newest encoding that the version knows; packed ones byte for byte where it has listpacks.
/// The order is the caller's: remarks, module data and functions first, then each database with its keys. What the
/// version cannot say is an error, after which the file can go on without it, or is dropped where
/// [`Writer::lossy`] allows; hints are dropped in any case. [`Writer::losses`] counts both.
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
    is_lossy: bool,
    losses: Losses,
}

impl<W: Write> Writer<W> {
    /// Begins a file with its header. `out` gets large blocks; it need not be buffered.
    pub fn new(out: W, version: Version, options: WriteOptions) -> Result<Self, WriteError> {
        let mut output = Output::new(out, options.checksum, options.compress);
        if version < Version::Rdb8 {
            output = output.limited_to(LONGEST_BEFORE_8);
        }
        output.raw(version.header().to_string().as_bytes());
        Ok(Writer { output, version, is_lossy: false, losses: Losses::default() })
    }

    /// Whether data that the version cannot hold is dropped and counted, instead of an error.
    pub fn lossy(mut self, is_lossy: bool) -> Self {
        self.is_lossy = is_lossy;
        self
    }

    /// The version that is written.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What was dropped so far.
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    /// Writes a named remark.
    pub fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), WriteError> {
        if !self.admits(Feature::Remark, None)? {
            return Ok(());
        }
        self.output.raw(&[AUX]);
        self.output.string(name)?;
        Ok(self.output.string(value)?)
    }

    /// Writes module data that belongs to no key; `raw` as in [`Event::ModuleAux`](super::Event::ModuleAux).
    pub fn module_aux(&mut self, id: u64, raw: &[u8]) -> Result<(), WriteError> {
        if !self.admits(Feature::ModuleAux, None)? {
            return Ok(());
        }
        self.output.raw(&[MODULE_AUX]);
        self.output.length(id);
        Ok(self.output.bytes(raw)?)
    }

    /// Writes the source of a function library.
    pub fn function(&mut self, code: &[u8]) -> Result<(), WriteError> {
        if !self.admits(Feature::Function, None)? {
            return Ok(());
        }
        self.output.raw(&[FUNCTION]);
        Ok(self.output.blob(code)?)
    }

    /// Writes a slot import that was under way; its ranges are inclusive.
    pub fn slot_import(&mut self, job: &[u8], ranges: &[(u64, u64)]) -> Result<(), WriteError> {
        if !self.admits(Feature::SlotImport, None)? {
            return Ok(());
        }
        self.output.raw(&[SLOT_IMPORT]);
        self.output.blob(job)?;
        self.output.count(ranges.len());
        for (from, to) in ranges {
            self.output.length(*from);
            self.output.length(*to);
        }
        Ok(self.output.spill()?)
    }

    /// Begins a database, saying how many keys, and keys with an expiry, it holds.
    pub fn select_db(&mut self, db: u64, keys: u64, expires: u64) -> Result<(), WriteError> {
        self.output.raw(&[SELECT_DB]);
        self.output.length(db);
        if self.version >= Version::Rdb7 {
            self.output.raw(&[RESIZE_DB]);
            self.output.length(keys);
            self.output.length(expires);
        }
        Ok(())
    }

    /// Writes a key with its value. Nothing is allocated for strings and packed values, from version 10 on. After an
    /// error of the output the file is lost; after any other, nothing of the key was written.
    pub fn key(&mut self, meta: &KeyMeta<'_>, value: ObjectRef<'_>) -> Result<(), WriteError> {
        let kind = match value {
            ObjectRef::String(_) => Kind::String,
            ObjectRef::Object(object) => {
                for feature in object::lacking(object, self.version) {
                    if !self.admits(feature, Some(meta.key))? && feature.row().weight == Weight::Key {
                        return Ok(());
                    }
                }
                object::kind_for(object, self.version)
            }
        };
        self.begin_key(meta, kind)?;
        match value {
            ObjectRef::String(value) => Ok(self.output.element(value)?),
            ObjectRef::Object(object) => object::write(&mut self.output, object, kind),
        }
    }

    /// Writes what stands before a value.
    fn begin_key(&mut self, meta: &KeyMeta<'_>, kind: Kind) -> Result<(), WriteError> {
        let has_metadata = !meta.metadata.is_empty() && self.admits(Feature::KeyMetadata, Some(meta.key))?;
        if let Some(ms) = meta.expire_at_ms {
            self.output.raw(&[EXPIRE_MS]);
            self.output.raw(&ms.to_le_bytes());
        }
        let has_access = meta.idle_seconds.is_some() || meta.frequency.is_some();
        if has_access && self.admits(Feature::Access, Some(meta.key))? {
            if let Some(seconds) = meta.idle_seconds {
                self.output.raw(&[IDLE]);
                self.output.length(seconds);
            }
            if let Some(counter) = meta.frequency {
                self.output.raw(&[FREQUENCY, counter]);
            }
        }
        if has_metadata {
            self.output.raw(&[KEY_META]);
            self.output.count(meta.metadata.len());
            for metadata in meta.metadata {
                self.output.raw(&metadata.class);
                self.output.bytes(&metadata.raw)?;
            }
        }
        self.output.raw(&[kind.number()]);
        Ok(self.output.string(meta.key)?)
    }

    /// Writes a key whose value follows as it stood in a file: all of [`Reader::copy_value`](super::Reader::copy_value)
    /// is to go into what this gives, and nothing else. A `kind` that the version does not know, or that does not stand
    /// alone, is refused, nothing of the key being written then.
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
        if !(kind.is_known_to(header) && kind.stands_alone()) {
            return Err(WriteError::UnknownType { key: meta.key.to_vec(), kind: kind.name(), header });
        }
        self.begin_key(meta, kind)?;
        Ok(RawValue { output: &mut self.output })
    }

    /// Copies the key that is next in `reader`: byte for byte where the version knows the type; any other value, and one that
    /// refers to a template, is decoded and written anew.
    pub fn copy_key<R: Read>(&mut self, reader: &mut Reader<R>, key: &KeyHeader) -> Result<(), CopyError> {
        let meta = KeyMeta::of(key);
        if self.version.knows(key.kind) && key.kind.stands_alone() {
            return reader.copy_value(&mut self.raw_key(&meta, key.kind)?);
        }
        if let Some(object) = reader.object(&Limits::default())? {
            self.key(&meta, (&object).into())?;
        }
        Ok(())
    }

    /// Whether the version holds the feature; what it does not is counted as lost, if that is allowed.
    fn admits(&mut self, feature: Feature, key: Option<&[u8]>) -> Result<bool, WriteError> {
        let version = self.version;
        if version.holds(feature) {
            return Ok(true);
        }
        if !self.is_lossy && feature.row().weight != Weight::Hint {
            return Err(match key {
                Some(key) => WriteError::Lacks { feature, key: key.to_vec(), version },
                None => WriteError::LacksBeside { feature, version },
            });
        }
        self.losses.add(feature, key);
        Ok(false)
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
