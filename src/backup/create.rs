//! From a snapshot, or an RDB of somebody else, to a backup: written, made durable, read back, and only then known by a manifest.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::UNIX_EPOCH;

use crate::codec::number;
use crate::disk::Mode;
use crate::engine::clock::Clock;
use crate::engine::persistence::Progress;
use crate::persist::PersistError;
use crate::persist::outlets::{Manner, Outlet, Outlets};
use crate::persist::rests::Resting;
use crate::persist::save::Image;
use crate::rdb::{self, Event, envelope};

use super::BackupError;
use super::catalogue::{Catalogue, new_id};
use super::cipher::Encrypting;
use super::manifest::{Compression, Encryption, Manifest, SCHEMA, Stored};
use super::summary::Summary;
use super::verify::{Hashing, Level, load_summary, verify};

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Order {
    /// A name that somebody gives it.
    pub label: Option<String>,
    pub cause: &'static str,
    /// A level of zstd, or none for the RDB as it is.
    pub compression: Option<i32>,
    /// How it is read back before it counts.
    pub verify: Option<Level>,
    /// The log's identity, and the position up to which the snapshot holds all writes.
    pub position: Option<(String, u64)>,
    /// Bytes per second that are written; 0 is no limit.
    pub max_rate: Arc<AtomicU64>,
}

/// Makes a backup of a snapshot in a catalogue that the caller holds. Where reading it back shows a fault it stays, with that
/// in its manifest. An error leaves nothing.
pub fn create(
    catalogue: &Catalogue,
    image: Image,
    order: &Order,
    progress: &Progress,
) -> Result<Manifest, BackupError> {
    let rdb_version = image.version().header().version;
    make(catalogue, order, progress, |out, path| {
        let mut summary = Summary::default();
        image.functions().iter().for_each(|code| summary.add_function(code));
        image.write_seen(out, (path, progress), &mut |db, entry| {
            summary.add_key(db, entry.key, entry.value, entry.expire_at_ms);
        })?;
        Ok((summary, rdb_version))
    })
}

/// Makes a backup of an RDB that somebody else has written, as [`create`] does of a snapshot. Its time is the one that the
/// file tells of itself, or that of its last change. What it holds is what a load of it brings.
pub fn import(catalogue: &Catalogue, rdb: &Path, order: &Order) -> Result<Manifest, BackupError> {
    let disk = catalogue.disk();
    let source = || {
        let file = disk.open(rdb, Mode::Read).map_err(BackupError::io(rdb))?;
        envelope::unwrap(file).map_err(BackupError::io(rdb))
    };
    let metadata = disk.metadata(rdb).map_err(BackupError::io(rdb))?;
    let changed = metadata.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let told = Told::by(rdb, source()?)?;
    let started_ms = told.saved_ms.unwrap_or(i64::try_from(changed.as_millis()).unwrap_or(i64::MAX));
    let progress = Progress::new(started_ms, 0);
    make(catalogue, order, &progress, |out, _| {
        io::copy(&mut source()?, out).map_err(BackupError::io(rdb))?;
        let summary = load_summary(told.databases, rdb, source()?)?;
        Ok((summary, told.rdb_version))
    })
}

/// What an RDB says of itself.
struct Told {
    saved_ms: Option<i64>,
    rdb_version: u32,
    /// How many there must be for all of it.
    databases: u64,
}

impl Told {
    fn by(path: &Path, source: impl Read) -> Result<Self, BackupError> {
        let failed = |source| PersistError::Rdb { path: path.to_owned(), source };
        let mut reader = rdb::Reader::new(source, rdb::Options { verify: true }).map_err(failed)?;
        let mut told = Self { saved_ms: None, rdb_version: reader.header().version, databases: 0 };
        loop {
            match reader.next().map_err(failed)? {
                Event::Aux { name, value } if name == b"ctime" => {
                    told.saved_ms = number::parse_i64(&value).map(|seconds| seconds.saturating_mul(1000));
                }
                Event::SelectDb(db) => told.databases = told.databases.max(db.saturating_add(1)),
                Event::End { .. } => break,
                _ => {}
            }
        }
        let (mut source, unread) = reader.into_inner();
        if unread.is_empty() && source.read(&mut [0]).map_err(BackupError::io(path))? == 0 {
            return Ok(told);
        }
        let reason = "more than an RDB is in this file: `aoftool convert` makes one out of a log".to_owned();
        Err(BackupError::Refused { path: path.to_owned(), reason })
    }
}

/// Has `write` write an RDB to a path of the catalogue, and tell what it holds and in which version.
fn make(
    catalogue: &Catalogue,
    order: &Order,
    progress: &Progress,
    write: impl FnOnce(&mut dyn Write, &Path) -> Result<(Summary, u32), BackupError>,
) -> Result<Manifest, BackupError> {
    let id = new_id(progress.started_ms);
    let folder = catalogue.begin(&id)?;
    let made = fill(catalogue, order, (&id, progress), write).and_then(|manifest| {
        if !progress.begin_commit() {
            return Err(BackupError::Cancelled);
        }
        catalogue.publish(&manifest)?;
        Ok(manifest)
    });
    if made.is_err() && catalogue.disk().exists(&folder) {
        // What can't be removed now has no manifest, and is removed by the next who works here.
        let _ = catalogue.remove(&id);
    }
    made
}

fn fill(
    catalogue: &Catalogue,
    order: &Order,
    (id, progress): (&str, &Progress),
    write: impl FnOnce(&mut dyn Write, &Path) -> Result<(Summary, u32), BackupError>,
) -> Result<Manifest, BackupError> {
    let keys = catalogue.keys().for_one_file();
    let encryption = keys.encrypts().then_some(Encryption::Age);
    let (folder, name) = (catalogue.folder_of(id), order.file_name(encryption));
    let path = folder.join(&name);
    let outlet = Outlet { folder, name: name.clone().into(), progress: progress.clone() };
    let manner = Manner { max_rate: Arc::clone(&order.max_rate), syncs_early: true };
    let mut outlets = Outlets::create(catalogue.disk(), vec![outlet], &manner);
    let out = keys.encrypt(Hashing::new(&mut outlets));
    let packer = out.and_then(|out| Packer::new(out, order.compression));
    let mut packer = packer.map_err(BackupError::io(&path))?;
    let written = write(&mut Resting::new(&mut packer, catalogue.share()), &path);
    let packed = written.and_then(|told| Ok((told, packer.finish().map_err(BackupError::io(&path))?)));
    let outcome = match &packed {
        Ok(_) => outlets.seal(),
        Err(error) => outlets.fail(&error.to_string()),
    };
    // The outlet knows best why nothing could be written.
    let sealed = outcome.into_iter().next().expect("one outlet gives one outcome")?;
    let ((summary, rdb_version), Written { bytes, sha256, rdb_bytes }) = packed?;
    sealed.commit().map_err(BackupError::io(&path))?;
    let (timeline, position) = order.position.clone().unzip();
    let mut manifest = Manifest {
        schema: SCHEMA.to_owned(),
        id: id.to_owned(),
        label: order.label.clone(),
        cause: order.cause.to_owned(),
        started_ms: progress.started_ms,
        ended_ms: 0,
        timeline,
        position,
        file: Stored { name, bytes, sha256, compression: order.kind(), encryption, rdb_bytes },
        functions: summary.functions,
        digest: summary.digest(),
        databases: summary.databases,
        server: env!("CARGO_PKG_VERSION").to_owned(),
        rdb_version,
        verification: None,
    };
    let catalogue = catalogue.clone().with_keys(keys);
    let verified = order.verify.map(|level| verify(&catalogue, &manifest, level, Clock::system().now_ms()));
    manifest.verification = verified.transpose()?;
    manifest.ended_ms = Clock::system().now_ms();
    Ok(manifest)
}

impl Order {
    fn kind(&self) -> Compression {
        if self.compression.is_some() { Compression::Zstd } else { Compression::None }
    }

    fn file_name(&self, encryption: Option<Encryption>) -> String {
        let name = match self.kind() {
            Compression::None => "dump.rdb",
            Compression::Zstd => "dump.rdb.zst",
        };
        format!("{name}{}", if encryption.is_some() { ".age" } else { "" })
    }
}

/// Packs an RDB, counts it, and hashes what comes out.
struct Packer<W: Write> {
    inner: Inner<W>,
    rdb_bytes: u64,
}

/// What came out of it, and how many bytes of an RDB went in.
struct Written {
    bytes: u64,
    sha256: String,
    rdb_bytes: u64,
}

enum Inner<W: Write> {
    Plain(Encrypting<Hashing<W>>),
    Zstd(zstd::stream::write::Encoder<'static, Encrypting<Hashing<W>>>),
}

impl<W: Write> Packer<W> {
    fn new(out: Encrypting<Hashing<W>>, level: Option<i32>) -> io::Result<Self> {
        let inner = match level {
            None => Inner::Plain(out),
            Some(level) => {
                let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
                encoder.include_checksum(true)?;
                Inner::Zstd(encoder)
            }
        };
        Ok(Self { inner, rdb_bytes: 0 })
    }

    fn finish(self) -> io::Result<Written> {
        let out = match self.inner {
            Inner::Plain(out) => out,
            Inner::Zstd(encoder) => encoder.finish()?,
        };
        let out = out.finish()?;
        Ok(Written { bytes: out.bytes, sha256: out.digest(), rdb_bytes: self.rdb_bytes })
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match &mut self.inner {
            Inner::Plain(out) => out.write(bytes)?,
            Inner::Zstd(encoder) => encoder.write(bytes)?,
        };
        self.rdb_bytes += count as u64; // usize has at most 64 bits
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
