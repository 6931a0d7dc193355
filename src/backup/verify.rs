//! Reading a backup back from where it is kept.
//!
//! `quick` compares the file's length and SHA-256, unpacks it and reads the RDB to its end, checksum and all. `restore`
//! loads it through the same code as a start, and compares counts and digest with those of the snapshot that was in memory.
//! It does so a piece at a time, so that it needs the memory of a piece.

use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::disk::Mode;
use crate::engine::Engine;
use crate::engine::clock::Clock;
use crate::engine::params::Config;
use crate::persist::rests::Resting;
use crate::persist::{PersistError, load};
use crate::rdb;

use super::BackupError;
use super::catalogue::Catalogue;
use super::cipher::Keys;
use super::manifest::{Compression, Encryption, Manifest, Stored, Verification};
use super::summary::Summary;

/// A piece has no more keys than this, and is forgotten behind so many bytes of the RDB.
const PIECE_KEYS: usize = 1 << 16;
const PIECE_BYTES: u64 = 64 << 20;
/// Databases that an RDB may number.
pub(super) const MOST_DATABASES: u64 = 1 << 16;

/// How thoroughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Quick,
    Restore,
}

impl Level {
    pub fn word(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Restore => "restore",
        }
    }
}

/// Verifies a backup, the newest for `latest`, and has its manifest say what came of it. Damage is an error, which is in the
/// manifest first.
pub fn verify_and_note(catalogue: &Catalogue, id: &str, level: Level, now_ms: i64) -> Result<Manifest, BackupError> {
    let mut manifest = catalogue.find(id)?;
    let verification = verify(catalogue, &manifest, level, now_ms)?;
    // A quick look takes nothing back of what a thorough one has found good.
    let says_more =
        |known: &Verification| known.fault.is_some() || known.level <= level || verification.fault.is_some();
    if manifest.verification.as_ref().is_none_or(says_more) {
        let _hold = catalogue.hold()?;
        // It may be gone meanwhile, and must not come back.
        manifest = catalogue.read(&manifest.id)?;
        manifest.verification = Some(verification.clone());
        catalogue.publish(&manifest)?;
    }
    match verification.fault {
        None => Ok(manifest),
        Some(fault) => Err(BackupError::Damaged { id: manifest.id, fault }),
    }
}

/// Reads a backup back; what comes of it, at `now_ms` (Unix ms). An error says nothing of the backup: it can't
/// be reached now, or no key is at hand that opens it.
pub fn verify(
    catalogue: &Catalogue,
    manifest: &Manifest,
    level: Level,
    now_ms: i64,
) -> Result<Verification, BackupError> {
    let outcome = match level {
        Level::Quick => quick(catalogue, manifest),
        Level::Restore => restore(catalogue, manifest),
    };
    let fault = match outcome {
        Ok(()) => None,
        Err(BackupError::Damaged { fault, .. }) => Some(fault),
        Err(error) => return Err(error),
    };
    Ok(Verification { level, at_ms: now_ms, fault })
}

fn quick(catalogue: &Catalogue, manifest: &Manifest) -> Result<(), BackupError> {
    read_file(catalogue, manifest, |_, source| {
        let mut reader = rdb::Reader::new(source, rdb::Options { verify: true }).map_err(|error| error.to_string())?;
        while !matches!(reader.next().map_err(|error| error.to_string())?, rdb::Event::End { .. }) {}
        Ok(())
    })
}

fn restore(catalogue: &Catalogue, manifest: &Manifest) -> Result<(), BackupError> {
    let databases = manifest.databases.keys().max().map_or(0, |highest| highest.saturating_add(1));
    let summary = read_file(catalogue, manifest, |path, source| {
        load_summary(databases, path, source).map_err(|error| error.to_string())
    })?;
    let damaged = |fault| Err(BackupError::Damaged { id: manifest.id.clone(), fault });
    manifest.difference(&summary).map_or(Ok(()), damaged)
}

/// Has `read` take the RDB of a backup, and makes sure that the file is the one that was written: else it is damaged. Where
/// it is, and no key is at hand that opens it, it is refused.
pub(super) fn read_file<T>(
    catalogue: &Catalogue,
    manifest: &Manifest,
    read: impl FnOnce(&Path, Box<dyn Read + Send + '_>) -> Result<T, String>,
) -> Result<T, BackupError> {
    let damaged = |fault| BackupError::Damaged { id: manifest.id.clone(), fault };
    let path = catalogue.folder_of(&manifest.id).join(&manifest.file.name);
    let failed = |error: io::Error| match is_out_of_reach(&error) {
        true => BackupError::io(&path)(error),
        false => damaged(format!("{}: {error}", path.display())),
    };
    let file = catalogue.disk().open(&path, Mode::Read).map_err(failed)?;
    let mut hashing = Hashing::new(file);
    let mut no_key = None;
    let outcome = match unpacked(catalogue.keys(), &manifest.file, &mut hashing) {
        // One thread reads, and one loads.
        Ok(source) => read(&path, Box::new(Resting::new(source, catalogue.share()).among(2))),
        Err(error) => {
            no_key = (error.kind() == io::ErrorKind::PermissionDenied).then(|| error.to_string());
            Err(error.to_string())
        }
    };
    // What an unpacker leaves unread belongs to the file too.
    let drained = io::copy(&mut hashing, &mut io::sink());
    if let Some(error) = hashing.out_of_reach.take() {
        return Err(failed(error));
    }
    drained.map_err(failed)?;
    // A file that is another one says why it can't be read, if it can't.
    same_file(&manifest.file, &hashing).map_err(damaged)?;
    match no_key {
        Some(reason) => Err(BackupError::Refused { path: path.clone(), reason }),
        None => outcome.map_err(damaged),
    }
}

/// Whether an error says nothing of what is there, but that it can't be reached.
pub(super) fn is_out_of_reach(error: &io::Error) -> bool {
    use io::ErrorKind::{NetworkDown, PermissionDenied, TimedOut};
    matches!(error.kind(), NetworkDown | PermissionDenied | TimedOut)
}

/// The RDB in a file.
pub(super) fn unpacked<'a>(
    keys: &Keys,
    file: &Stored,
    source: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let source: Box<dyn Read + Send + 'a> = match file.encryption {
        None => Box::new(source),
        Some(Encryption::Age) => Box::new(keys.decrypt(source)?),
    };
    Ok(match file.compression {
        Compression::None => Box::new(io::BufReader::with_capacity(1 << 18, source)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(source)?),
    })
}

pub(super) fn same_file<R>(file: &Stored, read: &Hashing<R>) -> Result<(), String> {
    if read.bytes != file.bytes {
        return Err(format!(
            "the file {} has {} bytes and not the {} that were written",
            file.name, read.bytes, file.bytes
        ));
    }
    if read.digest() != file.sha256 {
        return Err(format!("the file {} has changed since it was written: its SHA-256 is another", file.name));
    }
    Ok(())
}

/// What an RDB comes to, which needs so many databases, when it is loaded.
pub(super) fn load_summary(databases: u64, path: &Path, source: impl Read + Send) -> Result<Summary, PersistError> {
    let mut config = Config::default();
    config.databases = config.databases.max(databases.min(MOST_DATABASES) as usize); // at most MOST_DATABASES
    let mut engine = Engine::new(config, Clock::system(), fastrand::Rng::new());
    let (mut summary, mut taken_until) = (Summary::default(), 0);
    let mut seen = |engine: &mut Engine, offset: u64| {
        if engine.keyspace.len() >= PIECE_KEYS || offset.saturating_sub(taken_until) >= PIECE_BYTES {
            take_keys(engine, &mut summary);
            taken_until = offset;
        }
    };
    load::look_through(&mut engine, path, source, &mut seen)?;
    take_keys(&mut engine, &mut summary);
    engine.functions.iter().for_each(|library| summary.add_function(&library.code));
    Ok(summary)
}

fn take_keys(engine: &mut Engine, summary: &mut Summary) {
    for db in 0..engine.keyspace.db_count() {
        engine.keyspace.db(db).visit(&mut |entry| summary.add_key(db, entry.key, entry.value, entry.expire_at_ms));
    }
    engine.keyspace.clear();
}

/// Counts and hashes what passes.
pub(super) struct Hashing<T> {
    inner: T,
    pub(super) bytes: u64,
    hash: Sha256,
    /// Why it could not be read on, where that says nothing of the content.
    out_of_reach: Option<io::Error>,
}

impl<T> Hashing<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, bytes: 0, hash: Sha256::new(), out_of_reach: None }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64; // usize has at most 64 bits
        self.hash.update(bytes);
    }

    /// In hexadecimal.
    pub(super) fn digest(&self) -> String {
        self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        if let Err(error) = &read
            && is_out_of_reach(error)
        {
            self.out_of_reach = Some(io::Error::new(error.kind(), error.to_string()));
        }
        let count = read?;
        self.take(&buffer[..count]);
        Ok(count)
    }
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.take(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
