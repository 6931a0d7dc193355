//! What a tool reads: a file, standard input, a running server, or the file that is found where no path was given.
//!
//! Files and standard input may be packed with gzip, zstd or in the envelope of Valkey 9.2; a server is written as a URL ([`super::url`]) and gives its
//! data as to a replica ([`super::sync`]).
//!
//! Nothing is judged by its name but a manifest (`*.manifest`): [`Magic`] looks at the first bytes, so that a tool can
//! say "that is a command log" instead of "wrong signature". Finding never consults a redis.conf: the folder is
//! `--dir`, else `IRONKEEP_DIR`, else the current one, and what was found there is named on stderr by the caller.

use super::client;
use super::exit::{Exit, Failure};
use super::sync::{SyncOptions, Transfer};
use super::unpack::Packing;
use super::url::ServerUrl;
use crate::aof::manifest::{self, MAX_MANIFEST, Manifest};
use crate::disk::{Disk, Mode};
use anyhow::Context;
use std::fmt;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

/// The environment variable that names the data folder.
pub const DIR_VARIABLE: &str = "IRONKEEP_DIR";

/// The folder to look in where no path was given: `dir`, else `IRONKEEP_DIR`, else the current one.
pub fn data_dir(dir: Option<&Path>) -> PathBuf {
    match dir {
        Some(dir) => dir.to_owned(),
        None => std::env::var_os(DIR_VARIABLE).filter(|dir| !dir.is_empty()).map_or_else(|| ".".into(), PathBuf::from),
    }
}

/// What the first bytes of an input say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Magic {
    /// `REDIS` or `VALKEY`: an RDB, or a command log that begins with one.
    Rdb,
    /// `*` or `#`: a command log.
    Commands,
    /// `file`: the manifest of a multi-part log.
    Manifest,
    /// No byte at all.
    Empty,
    /// None of these.
    Unknown,
}

impl Magic {
    /// Judges by the first (up to 16) bytes.
    pub fn of(head: &[u8]) -> Magic {
        match head {
            [] => Magic::Empty,
            _ if head.starts_with(b"REDIS") || head.starts_with(b"VALKEY") => Magic::Rdb,
            _ if head.starts_with(b"file ") || head.starts_with(manifest::SUM) => Magic::Manifest,
            [b'*' | b'#', ..] => Magic::Commands,
            _ => Magic::Unknown,
        }
    }
}

/// Where the bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard input, written `-`.
    Stdin,
    /// A file.
    File(PathBuf),
    /// A running server.
    Server(ServerUrl),
}

/// How often one packing may lie inside another.
const MOST_PACKINGS: usize = 2;

impl Source {
    /// The source a path argument means.
    pub fn of(path: &Path) -> Source {
        if path == Path::new("-") {
            return Source::Stdin;
        }
        match path.to_str().and_then(ServerUrl::of) {
            Some(url) => Source::Server(url),
            None => Source::File(path.to_owned()),
        }
    }

    /// Opens it, unpacks it where it is packed, and looks at the first bytes, which are still read afterwards. Errors
    /// name the source.
    pub fn open(&self, disk: &dyn Disk) -> anyhow::Result<Input> {
        let (mut reader, mut len) = self.open_raw(disk)?;
        for _ in 0..=MOST_PACKINGS {
            let mut head = Vec::with_capacity(16);
            reader.by_ref().take(16).read_to_end(&mut head).with_context(|| self.to_string())?;
            let (magic, packing) = (Magic::of(&head), Packing::of(&head));
            reader = Box::new(Cursor::new(head).chain(reader));
            let Some(packing) = packing else {
                return Ok(Input { name: self.to_string(), len, magic, reader });
            };
            // How much will come out is not known.
            len = None;
            reader = packing.unpack(reader).with_context(|| self.to_string())?;
        }
        let message = "is packed more often than twice: unpack it first";
        Err(Failure::error(Exit::Unreadable, message).context(self.to_string()))
    }

    /// The bytes as they are, and how many, where that is known.
    fn open_raw(&self, disk: &dyn Disk) -> anyhow::Result<(Box<dyn Read>, Option<u64>)> {
        match self {
            Source::Stdin => Ok((Box::new(io::stdin().lock()), None)),
            Source::Server(url) => {
                let transfer = begin_sync(url, SyncOptions::default())?;
                let len = transfer.remaining();
                Ok((Box::new(transfer), len))
            }
            Source::File(path) => {
                let metadata = disk.metadata(path).with_context(|| self.to_string())?;
                if metadata.is_dir() {
                    return Err(Failure::error(Exit::Unreadable, "is a folder, not a file").context(self.to_string()));
                }
                let file = disk.open(path, Mode::Read).with_context(|| self.to_string())?;
                // Pipes and devices have no length that means anything.
                Ok((Box::new(file), metadata.is_file().then_some(metadata.len)))
            }
        }
    }
}

/// Asks a server for its data, which is that of all its databases.
fn begin_sync(url: &ServerUrl, options: SyncOptions) -> anyhow::Result<Transfer> {
    let address = url.address()?;
    if address.db.is_some_and(|db| db > 0) {
        let message = "a server gives all its databases: leave the number out of the URL, and choose by --db";
        return Err(Failure::error(Exit::Usage, message).context(url.to_string()));
    }
    Transfer::begin(&address, options, client::PATIENCE)
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Stdin => out.write_str("standard input"),
            Source::Server(url) => url.fmt(out),
            Source::File(path) => write!(out, "{}", super::escape::Escaped(path.as_os_str().as_encoded_bytes())),
        }
    }
}

/// An opened input.
pub struct Input {
    /// For messages; escaped for a terminal.
    pub name: String,
    /// Bytes, where it is a file.
    pub len: Option<u64>,
    /// What the first bytes say.
    pub magic: Magic,
    /// All bytes, from the first on.
    pub reader: Box<dyn Read>,
}

/// The RDB in a data folder: `dump.rdb`, else the base of the log in `appendonlydir` (or in the folder itself, where
/// it is such a folder). `None` where there is neither.
pub fn rdb_in(disk: &dyn Disk, dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    let dump = dir.join("dump.rdb");
    if is_file(disk, &dump) {
        return Ok(Some(dump));
    }
    for folder in [dir.join("appendonlydir"), dir.to_owned()] {
        if let Some(manifest) = manifest_in(disk, &folder)? {
            return rdb_of_manifest(disk, &manifest).map(Some);
        }
    }
    Ok(None)
}

fn is_file(disk: &dyn Disk, path: &Path) -> bool {
    disk.metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// The manifest in a folder; of several the one that servers name by default, else none can be chosen.
fn manifest_in(disk: &dyn Disk, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let usual = folder.join("appendonly.aof.manifest");
    if is_file(disk, &usual) {
        return Ok(Some(usual));
    }
    let Ok(names) = disk.list(folder) else { return Ok(None) };
    let mut manifests = names.into_iter().map(|name| folder.join(name)).filter(|path| is_manifest(path));
    match (manifests.next(), manifests.next()) {
        (Some(_), Some(_)) => {
            let message = "holds several manifests: name the one you mean";
            Err(Failure::error(Exit::Usage, message).context(Source::of(folder).to_string()))
        }
        (found, _) => Ok(found),
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "manifest")
}

/// The file behind a path argument of a tool that reads an RDB: a folder stands for the RDB in it, a manifest for its
/// base, and no path for the RDB of the data folder.
///
/// The second part says whether the file was found rather than named, so that the caller can say which it is.
pub fn find_rdb(disk: &dyn Disk, path: Option<&Path>, dir: Option<&Path>) -> anyhow::Result<(Source, bool)> {
    let folder = match path {
        Some(path) if path == Path::new("-") => return Ok((Source::Stdin, false)),
        Some(path) if is_manifest(path) => return Ok((Source::File(rdb_of_manifest(disk, path)?), true)),
        Some(path) if disk.metadata(path).is_ok_and(|metadata| metadata.is_dir()) => path.to_owned(),
        Some(path) => return Ok((Source::of(path), false)),
        None => data_dir(dir),
    };
    match rdb_in(disk, &folder)? {
        Some(found) => Ok((Source::File(found), true)),
        None => {
            let message =
                "there is no dump.rdb and no appendonlydir with a base here: give a file, or a folder by --dir";
            Err(Failure::error(Exit::Unreadable, message).context(Source::of(&folder).to_string()))
        }
    }
}

/// The base of a multi-part log, as its manifest names it.
fn rdb_of_manifest(disk: &dyn Disk, manifest: &Path) -> anyhow::Result<PathBuf> {
    let name = Source::of(manifest).to_string();
    let content = disk.read_small(manifest, MAX_MANIFEST).with_context(|| name.clone())?;
    let parsed = Manifest::parse(&content).with_context(|| name.clone())?;
    match parsed.base {
        // The parser refuses names with a slash, so that the base lies beside its manifest.
        Some(base) => Ok(manifest.with_file_name(base.name)),
        None => Err(Failure::error(Exit::Unreadable, "the manifest names no base").context(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use std::io::Write;

    fn put(folder: &Path, name: &str, content: &[u8]) {
        let path = folder.join(name);
        let parent = path.parent().unwrap();
        if !RealDisk.exists(parent) {
            RealDisk.create_dir(parent).unwrap();
        }
        RealDisk.open(&path, Mode::CreateNew).unwrap().write_all(content).unwrap();
    }

    #[test]
    fn dump_rdb_is_found_before_the_base_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert_eq!(rdb_in(&RealDisk, dir).unwrap(), None);
        put(dir, "appendonlydir/appendonly.aof.manifest", b"file appendonly.aof.2.base.rdb seq 2 type b\n");
        let base = dir.join("appendonlydir/appendonly.aof.2.base.rdb");
        assert_eq!(rdb_in(&RealDisk, dir).unwrap(), Some(base.clone()));
        assert_eq!(rdb_in(&RealDisk, &dir.join("appendonlydir")).unwrap(), Some(base.clone()));
        let manifest = dir.join("appendonlydir/appendonly.aof.manifest");
        assert_eq!(find_rdb(&RealDisk, Some(&manifest), None).unwrap(), (Source::File(base), true));
        put(dir, "dump.rdb", b"REDIS0011");
        assert_eq!(find_rdb(&RealDisk, None, Some(dir)).unwrap(), (Source::File(dir.join("dump.rdb")), true));
    }

    #[test]
    fn the_first_bytes_are_judged_and_still_read() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "any", b"REDIS0011 and more than sixteen bytes");
        let mut input = Source::File(folder.path().join("any")).open(&RealDisk).unwrap();
        let mut content = String::new();
        input.reader.read_to_string(&mut content).unwrap();
        assert_eq!((input.magic, content.as_str()), (Magic::Rdb, "REDIS0011 and more than sixteen bytes"));
        assert_eq!(Magic::of(b"*1\r\n$4\r\nPING\r\n"), Magic::Commands);
        assert_eq!(Magic::of(b"file a seq 1 type i\n"), Magic::Manifest);
        assert_eq!(Magic::of(&crate::aof::Manifest::default().render()), Magic::Manifest);
    }

    #[test]
    fn a_missing_file_is_unreadable_and_named() {
        let error = Source::of(Path::new("/nowhere/dump.rdb")).open(&RealDisk).err().unwrap();
        assert_eq!(Exit::of(&error), Exit::Unreadable);
        assert!(error.to_string().contains("/nowhere/dump.rdb"));
    }
}
