//! Changing the files of a log where they lie, with the old ones kept.
//!
//! 1. the original is put aside as `NAME.bak-<UTC>`: a single file by a second name for it, a folder as a folder of such
//!    names, durably, before anything changes;
//! 2. each file is replaced atomically by one of the same owner and permissions;
//! 3. the shell line that takes all of it back is for the caller to print.
//!
//! A second name (hard link) costs nothing, and the replaced file lives on under it alone. A file that stays in service
//! and may be appended to is copied instead, or what a server adds would appear in the copy too.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::locate::show;
use super::utc::Utc;
use crate::aof::{Log, LogFile, Role};
use crate::codec::{number, shell};
use crate::disk::{Disk, Draft, Mode, publish};

/// The original, put aside.
#[derive(Debug)]
pub struct Aside {
    /// What was put aside, and where.
    pub original: PathBuf,
    pub backup: PathBuf,
    is_folder: bool,
}

impl Aside {
    /// The shell line that brings the original back. It deletes nothing that it does not replace by the original.
    pub fn undo(&self) -> String {
        let (original, backup) = (quote(&self.original), quote(&self.backup));
        if self.is_folder {
            let mut undone = self.backup.clone().into_os_string();
            undone.push(".undone");
            return format!("mv {original} {} && mv {backup} {original}", quote(Path::new(&undone)));
        }
        format!("mv -f {backup} {original}")
    }

    /// Brings the original back, in one step where the file system can exchange two names. What it replaces is kept as
    /// `NAME.undone-<UTC>`, which is returned; `None` where nothing was there any more.
    pub fn swap_back(&self, disk: &dyn Disk) -> anyhow::Result<Option<PathBuf>> {
        let parent = self.original.parent().unwrap_or(Path::new("/"));
        let failed = || format!("{}: can't be brought back; by hand: {}", show(&self.backup), self.undo());
        let is_there = disk.exists(&self.original);
        let undone = free_name(disk, &self.original, "undone")?;
        if !is_there {
            disk.rename(&self.backup, &self.original).with_context(failed)?;
        } else if self.is_folder {
            match disk.exchange(&self.backup, &self.original) {
                Ok(()) => disk.rename(&self.backup, &undone).with_context(failed)?,
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    disk.rename(&self.original, &undone).with_context(failed)?;
                    disk.rename(&self.backup, &self.original).with_context(failed)?;
                }
                Err(error) => return Err(error).with_context(failed),
            }
        } else {
            disk.link(&self.original, &undone).with_context(failed)?;
            disk.rename(&self.backup, &self.original).with_context(failed)?;
        }
        disk.sync_dir(parent).with_context(failed)?;
        Ok(is_there.then_some(undone))
    }
}

/// What [`put_aside`] has put aside of an original and nobody has taken back, newest first.
pub fn asides_of(disk: &dyn Disk, original: &Path) -> anyhow::Result<Vec<Aside>> {
    let original = std::path::absolute(original).with_context(|| show(original))?;
    let parent = original.parent().unwrap_or(Path::new("/"));
    let mut prefix = original.file_name().unwrap_or_default().to_owned();
    prefix.push(".bak-");
    let names = disk.list(parent).with_context(|| show(parent))?;
    let stamped = names.iter().filter_map(|name| {
        let stamp = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes())?;
        Some((stamp_order(stamp)?, parent.join(name)))
    });
    let mut found: Vec<_> = stamped.collect();
    found.sort();
    let aside = |(_, backup): (_, PathBuf)| {
        let is_folder = disk.metadata(&backup).with_context(|| show(&backup))?.is_dir();
        Ok(Aside { original: original.clone(), backup, is_folder })
    };
    found.into_iter().rev().map(aside).collect()
}

/// `20261121T083000Z`, or with `-2` behind it, as something that can be ordered.
fn stamp_order(stamp: &[u8]) -> Option<([u8; 16], u32)> {
    let (time, count) = stamp.split_first_chunk::<16>()?;
    let is_digit = |at: usize| time[at].is_ascii_digit();
    let is_time = time[8] == b'T' && time[15] == b'Z' && (0..8).chain(9..15).all(is_digit);
    let count = match count {
        [] => 1,
        [b'-', digits @ ..] => u32::try_from(number::parse_u64(digits)?).ok()?,
        _ => return None,
    };
    is_time.then_some((*time, count))
}

/// Whether [`confirm`] will ask.
pub fn asks(yes: bool) -> bool {
    !yes && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on a terminal; elsewhere, and with `yes`, the answer is yes.
pub fn confirm(question: &str, yes: bool) -> io::Result<bool> {
    if !asks(yes) {
        return Ok(true);
    }
    write!(io::stderr(), "{question} Continue? [y/N]: ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What [`put_aside`] puts aside of a log: its folder, or its only file.
pub fn original_of(log: &Log) -> anyhow::Result<PathBuf> {
    let original = if log.manifest.is_some() { &log.folder } else { &log.files[0].path };
    std::path::absolute(original).with_context(|| show(original))
}

/// Where [`put_aside`] will put the original of a log.
pub fn backup_path(disk: &dyn Disk, log: &Log) -> anyhow::Result<(PathBuf, PathBuf)> {
    let original = original_of(log)?;
    let backup = free_name(disk, &original, "bak")?;
    Ok((original, backup))
}

/// A name that nobody has: `NAME.<what>-<UTC>`, and from the second one in a second on with a count behind it.
fn free_name(disk: &dyn Disk, original: &Path, what: &str) -> anyhow::Result<PathBuf> {
    let stamp = Utc::now().compact();
    let candidate = |count: u32| {
        let mut name = original.file_name().unwrap_or(OsStr::new("log")).to_owned();
        name.push(format!(".{what}-{stamp}"));
        if count > 1 {
            name.push(format!("-{count}"));
        }
        original.with_file_name(name)
    };
    let free = (1..1000).map(candidate).find(|path| !disk.exists(path));
    free.context("a thousand backups in one second are enough")
}

/// Puts the original of a log aside; `replaced` tells which of its files are about to be replaced.
pub fn put_aside(disk: &Arc<dyn Disk>, log: &Log, replaced: impl Fn(&LogFile) -> bool) -> anyhow::Result<Aside> {
    let (original, backup) = backup_path(&**disk, log)?;
    let is_folder = log.manifest.is_some();
    let parent = backup.parent().unwrap_or(Path::new("/")).to_owned();
    let failed = || format!("{}: can't put the original aside", show(&backup));
    if is_folder {
        // Only the increment that servers append to stays in service and changes in place.
        let copied = log.files.iter().rfind(|file| file.role == Role::Increment).filter(|file| !replaced(file));
        let copied = copied.and_then(|file| file.path.file_name()).map(OsStr::to_owned);
        let mut temporary = OsString::from(format!("temp-{}-0-", std::process::id()));
        temporary.push(backup.file_name().unwrap_or_default());
        let temporary = parent.join(temporary);
        let copied = copy_folder(disk, &original, &temporary, copied.as_deref());
        if let Err(error) = copied.and_then(|()| disk.rename(&temporary, &backup)) {
            remove_folder(&**disk, &temporary);
            return Err(error).with_context(failed);
        }
    } else if disk.link(&original, &backup).is_err() {
        copy_file(disk, &original, &backup).with_context(failed)?;
    }
    disk.sync_dir(&parent).with_context(failed)?;
    Ok(Aside { original, backup, is_folder })
}

/// Replaces a file atomically by what `fill` writes; owner and permissions stay.
pub fn replace(
    disk: &Arc<dyn Disk>,
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let draft = Draft::create(disk, folder, path.file_name().unwrap_or_default())?;
    let mut writer = io::BufWriter::with_capacity(1 << 16, draft);
    fill(&mut writer)?;
    let sealed = writer.into_inner().map_err(io::IntoInnerError::into_error)?.seal()?;
    sealed.keep_permissions_of(path)?;
    sealed.commit()?;
    Ok(())
}

/// Gives every file below `from` a second name below `to`, but copies the one called `copied`.
fn copy_folder(disk: &Arc<dyn Disk>, from: &Path, to: &Path, copied: Option<&OsStr>) -> io::Result<()> {
    disk.create_dir(to)?;
    for name in disk.list(from)? {
        let (source, target) = (from.join(&name), to.join(&name));
        let metadata = disk.metadata(&source)?;
        if metadata.is_dir() {
            copy_folder(disk, &source, &target, None)?;
        } else if metadata.is_file() && (copied == Some(&name) || disk.link(&source, &target).is_err()) {
            copy_file(disk, &source, &target)?;
        }
    }
    disk.copy_permissions(from, to)?;
    disk.sync_dir(to)
}

/// Removes a half-made copy, as far as it goes: what stays has a name that a start knows for a leftover.
fn remove_folder(disk: &dyn Disk, folder: &Path) {
    for name in disk.list(folder).unwrap_or_default() {
        let path = folder.join(name);
        if disk.remove(&path).is_err() {
            remove_folder(disk, &path);
        }
    }
    let _ = disk.remove_dir(folder);
}

fn copy_file(disk: &Arc<dyn Disk>, from: &Path, to: &Path) -> io::Result<()> {
    let mut source = disk.open(from, Mode::Read)?;
    let folder = to.parent().unwrap_or(Path::new(""));
    publish(disk, folder, to.file_name().unwrap_or_default(), |out| io::copy(&mut source, out))?;
    disk.copy_permissions(from, to)
}

/// A path as one word of a shell line.
pub fn quote(path: &Path) -> String {
    shell::quote(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{RealDisk, publish_bytes};
    use std::process::Command;

    fn disk() -> Arc<dyn Disk> {
        Arc::new(RealDisk)
    }

    fn read(path: &Path) -> Vec<u8> {
        disk().read_small(path, 1 << 20).unwrap()
    }

    #[test]
    fn a_replaced_file_comes_back_by_the_printed_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it's a log.aof");
        publish_bytes(&disk(), folder.path(), path.file_name().unwrap(), b"*1\r\n$4\r\nPING\r\n").unwrap();
        let log = Log::open(&RealDisk, &path).unwrap();
        let aside = put_aside(&disk(), &log, |_| true).unwrap();
        replace(&disk(), &path, |out| Ok(out.write_all(b"new")?)).unwrap();
        assert_eq!((read(&path), read(&aside.backup).len()), (b"new".to_vec(), 14));
        assert!(Command::new("sh").args(["-c", &aside.undo()]).status().unwrap().success());
        assert_eq!(read(&path), b"*1\r\n$4\r\nPING\r\n");
        assert!(!disk().exists(&aside.backup));
    }

    #[test]
    fn the_newest_aside_is_swapped_back_and_what_it_replaces_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.aof");
        let set = |content: &[u8]| publish_bytes(&disk(), folder.path(), OsStr::new("a.aof"), content).unwrap();
        set(b"*1\r\n$4\r\nPING\r\n");
        for content in [&b"second"[..], b"third"] {
            let log = Log::open(&RealDisk, &path).unwrap();
            put_aside(&disk(), &log, |_| true).unwrap();
            set(content);
        }
        publish_bytes(&disk(), folder.path(), OsStr::new("a.aof.bak-mine"), b"not ours").unwrap();
        for (kept, back) in [(&b"third"[..], &b"second"[..]), (b"second", b"*1\r\n$4\r\nPING\r\n")] {
            let asides = asides_of(&RealDisk, &path).unwrap();
            let undone = asides[0].swap_back(&RealDisk).unwrap().unwrap();
            assert_eq!((read(&undone), read(&path)), (kept.to_vec(), back.to_vec()));
        }
        assert!(asides_of(&RealDisk, &path).unwrap().is_empty());
    }

    #[test]
    fn a_folder_put_aside_does_not_change_when_the_log_grows() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("appendonlydir");
        disk().create_dir(&folder).unwrap();
        let manifest = b"file a seq 1 type i\nfile b seq 2 type i\n";
        for (name, content) in [("x.manifest", &manifest[..]), ("a", b"first"), ("b", b"second")] {
            publish_bytes(&disk(), &folder, OsStr::new(name), content).unwrap();
        }
        disk().create_dir(&folder.join("history")).unwrap();
        let log = Log::open(&RealDisk, &folder).unwrap();
        let aside = put_aside(&disk(), &log, |file| file.name() == "a").unwrap();
        replace(&disk(), &folder.join("a"), |out| Ok(out.write_all(b"1")?)).unwrap();
        disk().open(&folder.join("b"), Mode::Append).unwrap().write_all(b" and more").unwrap();
        assert_eq!(read(&aside.backup.join("a")), b"first");
        assert_eq!(read(&aside.backup.join("b")), b"second");
        assert!(disk().exists(&aside.backup.join("history")));
        assert!(Command::new("sh").args(["-c", &aside.undo()]).status().unwrap().success());
        assert_eq!((read(&folder.join("a")), read(&folder.join("b"))), (b"first".to_vec(), b"second".to_vec()));
    }
}
