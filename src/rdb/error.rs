//! What can be wrong with a file, and where: one sentence with offset, part and key.

use std::fmt;
use std::io;

use super::kind::Header;

/// Why reading stopped.
#[derive(Debug)]
pub enum Cause {
    /// The input could not be read.
    Io(io::Error),
    /// The first bytes are not those of an RDB file.
    NotRdb,
    /// The header names a version that this library does not know.
    NewerVersion(Header),
    /// A type or opcode that is known by name but not read.
    Unsupported {
        /// Its name in the servers' sources.
        name: &'static str,
        /// Its number.
        number: u8,
        /// The version of the file.
        header: Header,
    },
    /// A type or opcode byte that no server writes.
    UnknownNumber(u8),
    /// The input ends before its end marker.
    CutShort,
    /// The bytes contradict the format; the text completes "the ... of key k is damaged: ".
    Damaged(&'static str),
    /// The checksum at the end does not fit the bytes before it.
    Checksum {
        /// What the file says.
        expected: u64,
        /// What its bytes give.
        found: u64,
    },
    /// Memory for a value could not be had.
    OutOfMemory {
        /// How many bytes were asked for.
        bytes: u64,
    },
}

#[derive(Debug)]
struct Fault {
    offset: u64,
    part: &'static str,
    key: Option<Vec<u8>>,
    cause: Cause,
}

/// Why reading stopped, at which byte, in which part and key. `Display` is one sentence; non-printing bytes of the
/// key are escaped in it.
#[derive(Debug)]
pub struct Error(Box<Fault>);

impl Error {
    pub(super) fn new(offset: u64, part: &'static str, cause: Cause) -> Error {
        Error(Box::new(Fault { offset, part, key: None, cause }))
    }

    /// Adds the key under which it happened.
    pub(super) fn with_key(mut self, key: &[u8]) -> Error {
        self.0.key.get_or_insert_with(|| key.to_vec());
        self
    }

    /// The file offset where the reader stood: of the type byte for an unknown type, of the string or number that
    /// is broken otherwise.
    pub fn offset(&self) -> u64 {
        self.0.offset
    }

    /// What was being read: "header", "hash field", "stream group", ...
    pub fn part(&self) -> &'static str {
        self.0.part
    }

    /// The key whose value was being read, if that far.
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key.as_deref()
    }

    /// What happened.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// Whether the file is of a version, or holds a type or opcode, that this library does not read.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.0.cause, Cause::NewerVersion(_) | Cause::Unsupported { .. })
    }

    /// Whether the file just ends too early.
    pub fn is_cut_short(&self) -> bool {
        matches!(self.0.cause, Cause::CutShort)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { offset, part, key, cause } = &*self.0;
        write!(f, "at offset {offset}, {part}")?;
        if let Some(key) = key {
            write!(f, " of key \"{}\"", key.escape_ascii())?;
        }
        match cause {
            Cause::Io(error) => write!(f, ": reading failed: {error}"),
            Cause::NotRdb => write!(f, ": this is not an RDB file, it does not begin with REDIS or VALKEY"),
            Cause::NewerVersion(header) => {
                write!(
                    f,
                    ": {header} is a version that this program does not read (it reads up to REDIS0015 and VALKEY081)"
                )
            }
            Cause::Unsupported { name, number, header } => {
                write!(f, ": {name} ({number}) in a {header} file is not supported{}", next_step(name))
            }
            Cause::UnknownNumber(number) => {
                write!(f, ": {number} is no type and no opcode, the file is damaged here or before")
            }
            Cause::CutShort => write!(f, ": the file ends in the middle of it"),
            Cause::Damaged(what) => write!(f, ": {what}"),
            Cause::Checksum { expected, found } => {
                write!(
                    f,
                    ": the checksum is {expected:016x} but the bytes give {found:016x}, some byte of the file has changed"
                )
            }
            Cause::OutOfMemory { bytes } => write!(f, ": no memory for {bytes} bytes"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.cause {
            Cause::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// What to do about a type or opcode that is not read.
fn next_step(name: &str) -> &'static str {
    match name {
        "MODULE_PRE_GA" => {
            ": only the module knows where it ends; load the file with the Redis 4.0 release candidate that wrote it, \
             and the module, then save with 4.0 or later"
        }
        "GCRA" => ": no released server writes it; delete such keys where the file came from and save again",
        "PATH_HASH" => {
            ": it is of a Valkey that is not released; copy such keys into plain hashes there and save again"
        }
        "KEY_META" => {
            ": what modules attached to the key would be lost; dump the key where no module attaches anything"
        }
        _ if name.ends_with("of Dragonfly") => {
            ": have Dragonfly write a plain RDB, with SAVE RDB and --compression_mode=0, and without types of its own"
        }
        _ if name.ends_with("of Redis Enterprise") => ": use the export of that product, which writes a plain RDB",
        _ => " by this version of the program",
    }
}
