//! A data folder out of a backup, or of what was [replayed](super::rewind) behind one: a new one, or one in the place of
//! another, which is kept beside.
//!
//! The backup is read to its end and found whole before anything is written. The folder is filled under another name and
//! gets its own when all of it is durable. It holds one RDB: a server with `appendonly yes` begins a new log on it, and so a
//! new timeline.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::glob;
use crate::disk::{Disk, Draft, Mode, publish};
use crate::engine::Engine;
use crate::persist::save::Image;
use crate::rdb::{CopyError, Event, KeyMeta, Options, Reader, Version, WriteOptions, Writer, dump};
use crate::value::{Limits, Object};

use super::BackupError;
use super::catalogue::Catalogue;
use super::manifest::Manifest;
use super::verify::{Hashing, read_file, same_file, unpacked};

/// What becomes of the times at which keys expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// They stay, so what has been due meanwhile is not there.
    #[default]
    Keep,
    /// They are later by the time since the backup.
    Shift,
    /// Nothing expires.
    Persist,
}

/// What is to be restored, and where to.
#[derive(Debug, Clone)]
pub struct Wishes {
    pub dir: PathBuf,
    /// A folder that is there gives way, and is kept beside.
    pub force: bool,
    /// Patterns, one of which a key must match; none for all keys.
    pub keys: Vec<Vec<u8>>,
    pub expiry: Expiry,
    /// Unix ms.
    pub now_ms: i64,
}

/// What a restore brings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub keys: u64,
    /// Keys that were not asked for.
    pub left_out: u64,
    /// Keys that a server will drop at once, since they have been due meanwhile.
    pub due: u64,
}

/// Reads all of a backup and says what would be restored; fails where it is not what was written.
pub fn rehearse(catalogue: &Catalogue, manifest: &Manifest, wishes: &Wishes) -> Result<Found, BackupError> {
    read_file(catalogue, manifest, |_, source| {
        let mut reader = Reader::new(source, Options { verify: true }).map_err(|error| error.to_string())?;
        let mut found = Found::default();
        loop {
            match reader.next().map_err(|error| error.to_string())? {
                Event::Key(key) => wishes.count(&key.key, key.expire_at_ms, &mut found),
                Event::End { .. } => return Ok(found),
                _ => {}
            }
        }
    })
}

/// Says what would be restored of data in memory.
pub fn look_at(engine: &mut Engine, wishes: &Wishes) -> Found {
    let mut found = Found::default();
    for db in 0..engine.keyspace.db_count() {
        engine.keyspace.db(db).visit(&mut |entry| wishes.count(entry.key, entry.expire_at_ms, &mut found));
    }
    found
}

/// A key that goes into a running server.
pub struct Loose {
    pub db: usize,
    pub key: Vec<u8>,
    /// Unix ms.
    pub expire_at_ms: Option<i64>,
    /// What RESTORE takes.
    pub payload: Vec<u8>,
}

/// Has `take` see the keys that are wanted of data of the time `as_of_ms`, with the times that are wanted. Those that would be
/// due are not among them.
pub fn take_apart(
    engine: &mut Engine,
    (wishes, as_of_ms): (&Wishes, i64),
    take: &mut dyn FnMut(Loose) -> Result<(), String>,
) -> Result<(), String> {
    let mut outcome = Ok(());
    for db in 0..engine.keyspace.db_count() {
        engine.keyspace.db(db).visit(&mut |entry| {
            let expire_at_ms = entry.expire_at_ms.and_then(|at_ms| wishes.expire_at(at_ms, as_of_ms));
            let is_due = expire_at_ms.is_some_and(|at_ms| at_ms <= wishes.now_ms);
            if outcome.is_err() || is_due || !wishes.wants(entry.key) {
                return;
            }
            let mut object = entry.value.to_object();
            if wishes.expiry != Expiry::Keep {
                wishes.change_fields(&mut object, as_of_ms);
            }
            let payload = dump::encode(&object, Version::needed(&object)).map_err(|error| error.to_string());
            let key = entry.key.to_vec();
            outcome = payload.and_then(|payload| take(Loose { db, key, expire_at_ms, payload }));
        });
    }
    outcome
}

/// Restores a backup that was [rehearsed](rehearse); the folder that was there, under its new name, if one was.
pub fn restore(catalogue: &Catalogue, manifest: &Manifest, wishes: &Wishes) -> Result<Option<PathBuf>, BackupError> {
    let fill = |folder: &Path| write_dump(catalogue, manifest, wishes, folder);
    put_in_place(catalogue.disk(), &manifest.id, wishes, fill)
}

/// Restores data that was replayed up to a time (Unix ms) behind the backup `id`, as [`restore`] does.
pub fn restore_replayed(
    catalogue: &Catalogue,
    (id, engine, as_of_ms): (&str, &mut Engine, i64),
    wishes: &Wishes,
) -> Result<Option<PathBuf>, BackupError> {
    let fill = |folder: &Path| write_replayed(catalogue.disk(), (engine, as_of_ms), wishes, folder);
    put_in_place(catalogue.disk(), id, wishes, fill)
}

fn put_in_place(
    disk: &Arc<dyn Disk>,
    id: &str,
    wishes: &Wishes,
    fill: impl FnOnce(&Path) -> Result<(), BackupError>,
) -> Result<Option<PathBuf>, BackupError> {
    let dir = std::path::absolute(&wishes.dir).map_err(BackupError::io(&wishes.dir))?;
    let place = Place::look(&**disk, &dir, wishes.force)?;
    let fresh = beside(&dir, &format!("restoring-{id}"));
    disk.create_dir(&fresh).map_err(BackupError::io(&fresh))?;
    let done = fill(&fresh).and_then(|()| place.give_way(&**disk, (&dir, &fresh), id)).and_then(|aside| {
        disk.rename(&fresh, &dir).map_err(BackupError::io(&dir))?;
        let parent = dir.parent().unwrap_or(Path::new("/"));
        disk.sync_dir(parent).map_err(BackupError::io(parent))?;
        Ok(aside)
    });
    if done.is_err() {
        // An attempt leaves nothing; where it can't be removed its name says what it is.
        for name in disk.list(&fresh).unwrap_or_default() {
            let _ = disk.remove(&fresh.join(name));
        }
        let _ = disk.remove_dir(&fresh);
    }
    done
}

/// What is where the folder is to be.
enum Place {
    Free,
    Empty,
    /// Held, so that no server begins there meanwhile.
    Full(crate::disk::DirectoryLock),
}

impl Place {
    fn look(disk: &dyn Disk, dir: &Path, force: bool) -> Result<Self, BackupError> {
        let refused = |reason: &str| BackupError::Refused { path: dir.to_owned(), reason: reason.to_owned() };
        let names = match disk.list(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Free),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(refused("this is no folder")),
            Err(error) => return Err(BackupError::io(dir)(error)),
        };
        match disk.lock_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(refused("a server works here: stop it first, or restore into another folder"))
            }
            Err(error) => Err(BackupError::io(dir)(error)),
            Ok(_) if names.is_empty() => Ok(Self::Empty),
            Ok(lock) if force => Ok(Self::Full(lock)),
            Ok(_) => {
                Err(refused("the folder is not empty: name a new one, or say --force, which keeps the old one beside"))
            }
        }
    }

    fn give_way(self, disk: &dyn Disk, (dir, fresh): (&Path, &Path), id: &str) -> Result<Option<PathBuf>, BackupError> {
        match self {
            Self::Free => Ok(None),
            Self::Empty => disk.remove_dir(dir).map(|()| None).map_err(BackupError::io(dir)),
            Self::Full(_lock) => {
                disk.copy_permissions(dir, fresh).map_err(BackupError::io(fresh))?;
                let aside = beside(dir, &format!("before-{id}"));
                if disk.exists(&aside) {
                    let reason = "what was there before a restore is kept here already: move it away first".to_owned();
                    return Err(BackupError::Refused { path: aside, reason });
                }
                disk.rename(dir, &aside).map_err(BackupError::io(dir))?;
                // Or a power cut might remember only that something else took its name.
                let parent = dir.parent().unwrap_or(Path::new("/"));
                disk.sync_dir(parent).map_err(BackupError::io(parent))?;
                Ok(Some(aside))
            }
        }
    }
}

/// The name of a folder with something behind it.
fn beside(dir: &Path, what: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or(OsStr::new("data")).to_owned();
    name.push(OsString::from(format!(".{what}")));
    dir.with_file_name(name)
}

fn write_dump(catalogue: &Catalogue, manifest: &Manifest, wishes: &Wishes, folder: &Path) -> Result<(), BackupError> {
    let (disk, name) = (catalogue.disk(), OsStr::new("dump.rdb"));
    let from = catalogue.folder_of(&manifest.id).join(&manifest.file.name);
    let to = folder.join(name);
    let file = disk.open(&from, Mode::Read).map_err(BackupError::io(&from))?;
    let mut hashing = Hashing::new(file);
    let mut draft = Draft::create(disk, folder, name).map_err(BackupError::io(&to))?;
    {
        let mut source = unpacked(catalogue.keys(), &manifest.file, &mut hashing).map_err(BackupError::io(&from))?;
        let mut out = io::BufWriter::with_capacity(1 << 18, &mut draft);
        let copied = match wishes.is_plain() {
            true => io::copy(&mut source, &mut out).map(drop),
            false => wishes.select(source, &mut out, manifest.started_ms).map_err(io::Error::other),
        };
        copied.and_then(|()| out.flush()).map_err(BackupError::io(&to))?;
    }
    io::copy(&mut hashing, &mut io::sink()).map_err(BackupError::io(&from))?;
    same_file(&manifest.file, &hashing).map_err(|fault| BackupError::Damaged { id: manifest.id.clone(), fault })?;
    draft.seal().and_then(|sealed| sealed.commit()).map_err(BackupError::io(&to))
}

fn write_replayed(
    disk: &Arc<dyn Disk>,
    (engine, as_of_ms): (&mut Engine, i64),
    wishes: &Wishes,
    folder: &Path,
) -> Result<(), BackupError> {
    let image = Image::take(engine, false);
    let (version, options) = (image.version(), WriteOptions { checksum: true, compress: true });
    let (dump, whole) = (OsStr::new("dump.rdb"), OsStr::new("whole.rdb"));
    let name = if wishes.is_plain() { dump } else { whole };
    let path = folder.join(name);
    publish(disk, folder, name, |out| image.write_as(version, options, out, &path).map_err(io::Error::other))
        .map_err(BackupError::io(&path))?;
    if wishes.is_plain() {
        return Ok(());
    }
    let source = disk.open(&path, Mode::Read).map_err(BackupError::io(&path))?;
    let to = folder.join(dump);
    publish(disk, folder, dump, |out| wishes.select(source, out, as_of_ms).map_err(io::Error::other))
        .map_err(BackupError::io(&to))?;
    disk.remove(&path).map_err(BackupError::io(&path))
}

impl Wishes {
    /// Whether the RDB is wanted as it is.
    fn is_plain(&self) -> bool {
        self.keys.is_empty() && self.expiry == Expiry::Keep
    }

    fn wants(&self, key: &[u8]) -> bool {
        self.keys.is_empty() || self.keys.iter().any(|pattern| glob::matches(pattern, key))
    }

    fn count(&self, key: &[u8], expire_at_ms: Option<i64>, found: &mut Found) {
        if !self.wants(key) {
            found.left_out += 1;
            return;
        }
        found.keys += 1;
        let is_due = self.expiry == Expiry::Keep && expire_at_ms.is_some_and(|at| at <= self.now_ms);
        found.due += u64::from(is_due);
    }

    /// When a key or a field is to expire that had a time, in data of the time `as_of_ms`.
    fn expire_at(&self, at_ms: i64, as_of_ms: i64) -> Option<i64> {
        match self.expiry {
            Expiry::Keep => Some(at_ms),
            Expiry::Shift => Some(at_ms.saturating_add(self.now_ms.saturating_sub(as_of_ms))),
            Expiry::Persist => None,
        }
    }

    /// Writes the keys that are wanted, with other times where these are wanted.
    fn select(&self, source: impl Read, out: &mut dyn Write, as_of_ms: i64) -> Result<(), CopyError> {
        let mut reader = Reader::new(source, Options { verify: true })?;
        let mut writer = Writer::new(out, Version::nearest(reader.header()), WriteOptions::default())?;
        let mut db = None;
        loop {
            match reader.next()? {
                Event::Key(mut key) if self.wants(&key.key) => {
                    if db.replace(key.db) != Some(key.db) {
                        writer.select_db(key.db, 0, 0)?;
                    }
                    if self.expiry == Expiry::Keep {
                        writer.copy_key(&mut reader, &key)?;
                        continue;
                    }
                    key.expire_at_ms = key.expire_at_ms.and_then(|at_ms| self.expire_at(at_ms, as_of_ms));
                    if !key.kind.may_have_field_expiry() {
                        writer.copy_key(&mut reader, &key)?;
                    } else if let Some(mut object) = reader.object(&Limits::default())? {
                        self.change_fields(&mut object, as_of_ms);
                        writer.key(&KeyMeta::of(&key), (&object).into())?;
                    }
                }
                Event::Aux { name, value } => writer.aux(&name, &value)?,
                Event::Function { code } => writer.function(&code)?,
                Event::ModuleAux { id, raw, .. } => writer.module_aux(id, &raw)?,
                Event::End { .. } => break,
                _ => {}
            }
        }
        writer.finish()?;
        Ok(())
    }

    fn change_fields(&self, object: &mut Object, as_of_ms: i64) {
        let Object::Hash(hash) = object else { return };
        let limits = Limits::default();
        let timed = hash.iter().filter_map(|(field, _, at_ms)| Some((field.to_vec(), at_ms?)));
        for (field, at_ms) in timed.collect::<Vec<_>>() {
            hash.set_expire(&field, self.expire_at(at_ms, as_of_ms), &limits);
        }
    }
}
