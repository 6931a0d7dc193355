//! From a snapshot to a backup: written, made durable, read back, and only then known by a manifest.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::engine::clock::Clock;
use crate::engine::persistence::Progress;
use crate::persist::outlets::{Manner, Outlet, Outlets};
use crate::persist::save::Image;

use super::BackupError;
use super::catalogue::{Catalogue, new_id};
use super::manifest::{Compression, Manifest, SCHEMA, Stored};
use super::summary::Summary;
use super::verify::{Hashing, Level, verify};

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

/// Makes a backup in a catalogue that the caller holds. Where reading it back shows a fault it stays, with that in its
/// manifest. An error leaves nothing.
pub fn create(
    catalogue: &Catalogue,
    image: Image,
    order: &Order,
    progress: &Progress,
) -> Result<Manifest, BackupError> {
    let id = new_id(progress.started_ms);
    let folder = catalogue.begin(&id)?;
    let made = fill(catalogue, image, order, (&id, progress)).and_then(|manifest| {
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
    image: Image,
    order: &Order,
    (id, progress): (&str, &Progress),
) -> Result<Manifest, BackupError> {
    let (folder, name) = (catalogue.folder_of(id), order.file_name());
    let rdb_version = image.version().header().version;
    let outlet = Outlet { folder: folder.clone(), name: OsStr::new(name).to_owned(), progress: progress.clone() };
    let manner = Manner { max_rate: Arc::clone(&order.max_rate), syncs_early: true };
    let mut outlets = Outlets::create(catalogue.disk(), vec![outlet], &manner);
    let mut summary = Summary::default();
    image.functions().iter().for_each(|code| summary.add_function(code));
    let path = folder.join(name);
    let mut packer = Packer::new(Hashing::new(&mut outlets), order.compression).map_err(BackupError::io(&path))?;
    let written = image.write_seen(&mut packer, (&path, progress), &mut |db, entry| {
        summary.add_key(db, entry.key, entry.value, entry.expire_at_ms);
    });
    let packed = written.map_err(BackupError::from).and_then(|()| packer.finish().map_err(BackupError::io(&path)));
    let outcome = match &packed {
        Ok(_) => outlets.seal(),
        Err(error) => outlets.fail(&error.to_string()),
    };
    // The outlet knows best why nothing could be written.
    let sealed = outcome.into_iter().next().expect("one outlet gives one outcome")?;
    let written = packed?;
    sealed.commit().map_err(BackupError::io(&path))?;
    let (timeline, position) = order.position.clone().unzip();
    let Written { bytes, sha256, rdb_bytes } = written;
    let file = Stored { name: name.to_owned(), bytes, sha256, compression: order.kind(), rdb_bytes };
    let mut manifest = Manifest {
        schema: SCHEMA.to_owned(),
        id: id.to_owned(),
        label: order.label.clone(),
        cause: order.cause.to_owned(),
        started_ms: progress.started_ms,
        ended_ms: 0,
        timeline,
        position,
        file,
        functions: summary.functions,
        digest: summary.digest(),
        databases: summary.databases,
        server: env!("CARGO_PKG_VERSION").to_owned(),
        rdb_version,
        verification: None,
    };
    manifest.verification = order.verify.map(|level| verify(catalogue, &manifest, level, Clock::system().now_ms()));
    manifest.ended_ms = Clock::system().now_ms();
    Ok(manifest)
}

impl Order {
    fn kind(&self) -> Compression {
        if self.compression.is_some() { Compression::Zstd } else { Compression::None }
    }

    fn file_name(&self) -> &'static str {
        match self.kind() {
            Compression::None => "dump.rdb",
            Compression::Zstd => "dump.rdb.zst",
        }
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
    Plain(Hashing<W>),
    Zstd(zstd::stream::write::Encoder<'static, Hashing<W>>),
}

impl<W: Write> Packer<W> {
    fn new(out: Hashing<W>, level: Option<i32>) -> io::Result<Self> {
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
