//! The disk of the machine: std::fs, and rustix where std has no word for it.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};
#[cfg(target_os = "linux")]
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use super::{DirectoryLock, Disk, EntryKind, File, Metadata, Mode};

/// The machine's own files.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        match mode {
            Mode::Read => options.read(true),
            Mode::Append => options.append(true).create(true),
            Mode::CreateNew => options.write(true).create_new(true),
            Mode::Truncate => options.write(true).create(true).truncate(true),
            Mode::Write => options.write(true),
        };
        Ok(Box::new(RealFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    #[cfg(target_os = "linux")]
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // What file systems and kernels say that do not have it.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if !self.exists(to) => self.rename(from, to),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Err(io::ErrorKind::AlreadyExists.into()),
            renamed => Ok(renamed?),
        }
    }

    #[cfg(target_os = "linux")]
    fn exchange(&self, first: &Path, second: &Path) -> io::Result<()> {
        renameat_with(CWD, first, CWD, second, RenameFlags::EXCHANGE).map_err(|error| match error {
            // What file systems and kernels say that do not have it.
            Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => io::ErrorKind::Unsupported.into(),
            other => other.into(),
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(or_here(path))?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names: Vec<OsString> = fs::read_dir(or_here(path))?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let metadata = fs::metadata(or_here(path))?;
        let kind = match metadata.file_type() {
            kind if kind.is_file() => EntryKind::File,
            kind if kind.is_dir() => EntryKind::Directory,
            _ => EntryKind::Other,
        };
        let identity = (metadata.dev(), metadata.ino());
        Ok(Metadata { kind, len: metadata.len(), modified: metadata.modified()?, identity })
    }

    fn copy_permissions(&self, from: &Path, to: &Path) -> io::Result<()> {
        let wanted = fs::metadata(from)?;
        let present = fs::metadata(to)?;
        if (wanted.uid(), wanted.gid()) != (present.uid(), present.gid()) {
            match std::os::unix::fs::chown(to, Some(wanted.uid()), Some(wanted.gid())) {
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                _ => {}
            }
        }
        fs::set_permissions(to, fs::Permissions::from_mode(wanted.mode() & 0o7777))
    }

    fn lock_dir(&self, path: &Path) -> io::Result<DirectoryLock> {
        let directory = fs::File::open(or_here(path))?;
        if !directory.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        Ok(DirectoryLock::new(directory))
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let facts = statvfs(or_here(path))?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }
}

/// The folder of a bare file name is the current one.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

struct RealFile(fs::File);

impl io::Read for RealFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Write for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Seek for RealFile {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl File for RealFile {
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn reserve(&self, end: u64) -> io::Result<()> {
        let len = self.len()?;
        if end > len {
            fallocate(&self.0, FallocateFlags::KEEP_SIZE, len, end - len)?;
        }
        Ok(())
    }

    /// ftruncate(2) to the length that it has frees what lies behind it.
    fn give_back(&self) -> io::Result<()> {
        self.set_len(self.len()?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn duplicate(&self) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile(self.0.try_clone()?)))
    }
}

/// Removes a socket file that an earlier server left; anything else of that name stays, and is an error to bind to.
pub fn remove_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Sets the permission bits of a file.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Paths that match a pattern with wildcards in any of its parts, in order.
pub fn expand_glob(pattern: &str) -> io::Result<Vec<std::path::PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    let start = if pattern.starts_with('/') { "/" } else { "" };
    let mut found = vec![std::path::PathBuf::from(start)];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in found {
            if !part.contains(['*', '?', '[']) {
                next.push(folder.join(part));
                continue;
            }
            let names = RealDisk.list(&folder).unwrap_or_default();
            next.extend(
                names
                    .into_iter()
                    .filter(|name| crate::codec::glob::matches(part.as_bytes(), name.as_bytes()))
                    .filter(|name| part.starts_with('.') || !name.as_bytes().starts_with(b"."))
                    .map(|name| folder.join(name)),
            );
        }
        found = next;
    }
    found.retain(|path| path.exists());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_directory_is_held_by_one_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let held = RealDisk.lock_dir(folder.path()).unwrap();
        assert_eq!(RealDisk.lock_dir(folder.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        RealDisk.lock_dir(folder.path()).unwrap();
    }

    #[test]
    fn what_is_reserved_takes_blocks_and_no_length_and_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = RealDisk.open(&path, Mode::Append).unwrap();
        file.write_all(b"bytes").unwrap();
        match file.reserve(1 << 20) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
            reserved => reserved.unwrap(),
        }
        let bytes_kept = || fs::metadata(&path).unwrap().blocks() * 512;
        assert!(file.len().unwrap() == 5 && bytes_kept() >= 1 << 20, "{} bytes kept", bytes_kept());
        file.write_all(b" more").unwrap();
        file.sync_all().unwrap();
        file.give_back().unwrap();
        assert!(bytes_kept() < 1 << 20, "{} bytes kept", bytes_kept());
        assert_eq!(RealDisk.read_small(&path, 100).unwrap(), b"bytes more");
    }

    #[test]
    fn append_goes_to_the_end_even_after_the_file_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = RealDisk.open(&path, Mode::Append).unwrap();
        file.write_all(b"whole,half").unwrap();
        file.duplicate().unwrap().set_len(6).unwrap();
        file.write_all(b"next").unwrap();
        file.sync_data().unwrap();
        let mut text = String::new();
        RealDisk.open(&path, Mode::Read).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "whole,next");
        assert_eq!(RealDisk.read_small(&path, 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(RealDisk.open(&path, Mode::CreateNew).is_err());
        assert!(RealDisk.free_space(&path).unwrap() > 0);
    }
}
