//! How a whole file appears: written under a temporary name in the folder it is for, synced, renamed, the folder
//! synced. Whoever looks, and whenever the power goes, sees the old file or the new one, whole.
//!
//! ```text
//! temp-<pid>-<n>-<name>   create new -> write ... -> fsync -> rename to <name> -> fsync of the folder
//! ```
//!
//! Temporary names begin with `temp-` as those of Redis do; [`is_temporary`] knows both, so that a start can remove
//! what a crash left. The steps can be taken apart: a [`Draft`] is filled on any thread, [`Draft::seal`] makes its
//! bytes durable there, and [`Sealed::commit`] gives it its name when its owner says so.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::early_sync::EarlySync;
use super::{Disk, File, Mode};

/// Writes a file with `fill` and publishes it as `folder/name`. On an error nothing has changed under that name,
/// unless the error came from syncing the folder: then the new file is there, but a power cut may take it back.
pub fn publish<T, E: From<io::Error>>(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    name: &OsStr,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let draft = Draft::create(disk, folder, name)?.sync_as_it_grows();
    let mut writer = io::BufWriter::with_capacity(1 << 16, draft);
    let value = fill(&mut writer)?;
    let draft = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    draft.seal()?.commit()?;
    Ok(value)
}

/// Publishes a file whose content is at hand.
pub fn publish_bytes(disk: &Arc<dyn Disk>, folder: &Path, name: &OsStr, content: &[u8]) -> io::Result<()> {
    let mut draft = Draft::create(disk, folder, name)?;
    draft.write_all(content)?;
    draft.seal()?.commit()
}

/// A file under way, under its temporary name. Dropped, it is removed.
pub struct Draft {
    place: Place,
    file: Box<dyn File>,
    early: Option<EarlySync>,
}

impl Draft {
    /// Begins a file that is to become `folder/name`.
    pub fn create(disk: &Arc<dyn Disk>, folder: &Path, name: &OsStr) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut temporary = format!("temp-{}-{}-", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // A long name must stay within the 255 bytes of a file name; what is cut off tells nobody anything.
        let room = 255usize.saturating_sub(temporary.len());
        temporary.extend(name.to_string_lossy().chars().map(|c| if c.is_ascii() { c } else { '_' }).take(room));
        let temporary = folder.join(temporary);
        // A leftover of a crashed process with our id (in a container every start is process 1) is nobody's.
        let file = disk.open(&temporary, Mode::Truncate)?;
        let place = Place {
            disk: Arc::clone(disk),
            temporary,
            folder: folder.to_owned(),
            target: folder.join(name),
            named: false,
        };
        Ok(Self { place, file, early: None })
    }

    /// Has it synced while it is written.
    pub fn sync_as_it_grows(self) -> Self {
        Self { early: Some(EarlySync::default()), ..self }
    }

    /// Where the bytes go until [`Sealed::commit`].
    pub fn temporary_path(&self) -> &Path {
        &self.place.temporary
    }

    /// Begins a file that gets its name in the end, by [`Sealed::commit_new_as`].
    pub fn create_unnamed(disk: &Arc<dyn Disk>, folder: &Path) -> io::Result<Self> {
        Self::create(disk, folder, OsStr::new(""))
    }

    /// Makes the bytes durable and closes the file. Nobody sees it yet.
    pub fn seal(mut self) -> io::Result<Sealed> {
        self.early.as_mut().map_or(Ok(()), EarlySync::finish)?;
        self.file.sync_all()?;
        let len = self.file.len()?;
        Ok(Sealed { place: self.place, len })
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        if let Some(early) = &mut self.early {
            early.wrote(&*self.file, count)?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A durable file that has not got its name yet. Dropped, it is removed.
pub struct Sealed {
    place: Place,
    len: u64,
}

impl Sealed {
    /// Bytes in the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives it the owner and the permissions of `model`, as an edit of that file would keep them.
    pub fn keep_permissions_of(&self, model: &Path) -> io::Result<()> {
        self.place.disk.copy_permissions(model, &self.place.temporary)
    }

    /// Gives the file another name than it was begun for, durably; one that nothing has (`AlreadyExists`).
    pub fn commit_new_as(mut self, name: &OsStr) -> io::Result<()> {
        self.place.target = self.place.folder.join(name);
        self.place.disk.rename_new(&self.place.temporary, &self.place.target)?;
        self.finish()
    }

    /// Gives the file its name, durably.
    pub fn commit(self) -> io::Result<()> {
        self.place.disk.rename(&self.place.temporary, &self.place.target)?;
        self.finish()
    }

    fn finish(mut self) -> io::Result<()> {
        self.place.named = true;
        self.place.disk.sync_dir(&self.place.folder)
    }
}

/// The two names of a file. The temporary one does not outlive this.
struct Place {
    disk: Arc<dyn Disk>,
    temporary: PathBuf,
    folder: PathBuf,
    target: PathBuf,
    named: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.named {
            // Nobody is left to hear that a leftover stays; the next start removes it.
            let _ = self.disk.remove(&self.temporary);
        }
    }
}

/// Whether the name is one that a crashed Ironkeep, Redis or Valkey left behind: `temp-<pid>-<n>-<name>`,
/// `temp-<pid>.rdb`, `temp-rewriteaof-[bg-]<pid>.aof`, `temp-<name>.manifest`, `temp-<name>.incr`.
///
/// ```
/// use ironkeep::disk::is_temporary;
/// use std::ffi::OsStr;
/// for name in ["temp-12-0-dump.rdb", "temp-12.rdb", "temp-rewriteaof-bg-12.aof", "temp-appendonly.aof.manifest"] {
///     assert!(is_temporary(OsStr::new(name)));
/// }
/// for name in ["dump.rdb", "temp-readings.rdb", "temp-.rdb", "temp.manifest"] {
///     assert!(!is_temporary(OsStr::new(name)));
/// }
/// ```
pub fn is_temporary(name: &OsStr) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = name.to_str().and_then(|name| name.strip_prefix("temp-")) else {
        return false;
    };
    if let Some(of_rewrite) = rest.strip_prefix("rewriteaof-").and_then(|rest| rest.strip_suffix(".aof")) {
        return is_number(of_rewrite.strip_prefix("bg-").unwrap_or(of_rewrite));
    }
    let mut parts = rest.splitn(3, '-');
    let ours = parts.next().is_some_and(is_number) && parts.next().is_some_and(is_number) && parts.next().is_some();
    ours || rest.strip_suffix(".rdb").is_some_and(is_number)
        || [".manifest", ".incr"].iter().any(|end| rest.len() > end.len() && rest.ends_with(end))
}

/// What a file becomes, by the temporary name that [`Draft::create`] gave it; empty where that is not known yet.
#[cfg(feature = "s3")]
pub(super) fn target_of(temporary: &OsStr) -> Option<&str> {
    temporary.to_str()?.strip_prefix("temp-")?.splitn(3, '-').nth(2)
}

#[cfg(test)]
mod tests {
    use super::super::RealDisk;
    use super::*;

    fn disk() -> Arc<dyn Disk> {
        Arc::new(RealDisk)
    }

    #[test]
    fn a_published_file_is_whole_and_nothing_else_remains() {
        let folder = tempfile::tempdir().unwrap();
        publish_bytes(&disk(), folder.path(), OsStr::new("a"), b"old").unwrap();
        let written: Result<usize, io::Error> = publish(&disk(), folder.path(), OsStr::new("a"), |out| {
            out.write_all(b"new")?;
            Ok(3)
        });
        assert_eq!(written.unwrap(), 3);
        assert_eq!(disk().read_small(&folder.path().join("a"), 10).unwrap(), b"new");
        assert_eq!(disk().list(folder.path()).unwrap(), ["a"]);
    }

    #[test]
    fn a_failed_writer_leaves_the_old_file_and_no_temporary_one() {
        let folder = tempfile::tempdir().unwrap();
        publish_bytes(&disk(), folder.path(), OsStr::new("a"), b"old").unwrap();
        let failed: Result<(), io::Error> =
            publish(&disk(), folder.path(), OsStr::new("a"), |_| Err(io::Error::other("no")));
        assert!(failed.is_err());
        drop(Draft::create(&disk(), folder.path(), OsStr::new("a")).unwrap().seal().unwrap());
        assert_eq!(disk().read_small(&folder.path().join("a"), 10).unwrap(), b"old");
        assert_eq!(disk().list(folder.path()).unwrap(), ["a"]);
    }
}
