//! The only door to files. Everything above names a [`Disk`] and never `std::fs`, so that tests can put a disk
//! underneath that remembers what was synced, fails the n-th operation, or gives the image a power cut leaves.
//!
//! What durable code may rely on, and nothing more:
//!
//! - a write is in the kernel when `write` returns, on the medium when `sync_data` or `sync_all` returns `Ok`; after an
//!   error from either the unsynced part counts as lost, also if a later sync says `Ok`;
//! - a new, renamed or removed name is durable when `sync_dir` of its folder returns `Ok`;
//! - `rename` replaces its target atomically for other processes and for a crash.
//!
//! [`publish`] combines these into the one way in which a whole file appears here. [`sorter`] sorts what is more than
//! memory should hold; its files have no name and no disk underneath, since nothing outlives them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

mod early_sync;
#[cfg(test)]
pub mod faulty;
pub mod holders;
#[cfg(test)]
pub mod memory;
pub mod publish;
pub mod real;
#[cfg(feature = "s3")]
pub mod s3;
pub mod sorter;

#[cfg(test)]
pub use faulty::{Fault, FaultyDisk, Lie, Pace};
#[cfg(test)]
pub use memory::{MemoryDisk, PowerCut};
pub use publish::{Draft, Sealed, is_temporary, publish, publish_bytes};
pub use real::RealDisk;
pub use sorter::{Sorted, Sorter};

/// How [`Disk::open`] treats the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For reading; must exist.
    Read,
    /// For writing at the end, always; created where it is missing.
    Append,
    /// For writing; must not exist.
    CreateNew,
    /// For writing, emptied or created.
    Truncate,
    /// For writing over what is there (cutting it with [`File::set_len`], syncing it); must exist.
    Write,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    /// A socket, pipe or device. Symbolic links are followed.
    Other,
}

/// What is known of a file without opening it.
#[derive(Debug, Clone, Copy)]
pub struct Metadata {
    pub kind: EntryKind,
    /// Bytes.
    pub len: u64,
    pub modified: SystemTime,
    /// Device and inode: two names with equal ones are the same file.
    pub identity: (u64, u64),
}

impl Metadata {
    pub fn is_file(&self) -> bool {
        self.kind == EntryKind::File
    }

    pub fn is_dir(&self) -> bool {
        self.kind == EntryKind::Directory
    }
}

/// Proof that this process alone holds a directory; given back when dropped, and by the kernel when the process dies.
pub struct DirectoryLock {
    _held: Box<dyn Send + Sync>,
}

impl DirectoryLock {
    /// Wraps whatever holds the lock until it is dropped.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self { _held: Box::new(held) }
    }
}

impl std::fmt::Debug for DirectoryLock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DirectoryLock")
    }
}

/// Files and folders.
pub trait Disk: Send + Sync {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn File>>;
    /// Gives a file another name, replacing what had it. For [`publish`], and for moving whole folders and files aside.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// As [`Disk::rename`], where the new name must not exist (`AlreadyExists`).
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.exists(to) { Err(io::ErrorKind::AlreadyExists.into()) } else { self.rename(from, to) }
    }
    /// Lets two names change places at once; `Unsupported` where the file system can't.
    fn exchange(&self, first: &Path, second: &Path) -> io::Result<()> {
        let _ = (first, second);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Gives a file a second name; the target must not exist.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder whose parent exists; `AlreadyExists` where the name is taken.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, sorted; without `.` and `..`.
    fn list(&self, path: &Path) -> io::Result<Vec<std::ffi::OsString>>;
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
    /// Gives `to` the owner and the permissions of `from`, the owner where this process may.
    fn copy_permissions(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes the folder for this process alone, or fails at once with `WouldBlock` where another has it.
    fn lock_dir(&self, path: &Path) -> io::Result<DirectoryLock>;
    /// Bytes that this process may still write to the file system of `path`.
    fn free_space(&self, path: &Path) -> io::Result<u64>;

    /// Whether the name is there; a name that can't be asked about counts as there, so that nothing overwrites it.
    fn exists(&self, path: &Path) -> bool {
        use io::ErrorKind::{NotADirectory, NotFound};
        !matches!(self.metadata(path), Err(error) if matches!(error.kind(), NotFound | NotADirectory))
    }

    /// The whole content of a file that is known to be small; `max` bytes at most, else `FileTooLarge`.
    fn read_small(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        let file = self.open(path, Mode::Read)?;
        io::Read::read_to_end(&mut io::Read::take(file, max + 1), &mut content)?;
        if content.len() as u64 > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content)
    }
}

/// An open file. `write` is one write(2) and may be short; nothing is buffered, `flush` does nothing.
pub trait File: io::Read + io::Write + io::Seek + Send {
    /// fdatasync(2): the bytes and the length.
    fn sync_data(&self) -> io::Result<()>;
    /// fsync(2).
    fn sync_all(&self) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Has the file system keep blocks for the bytes up to `end`, also behind the file's length, which stays as it is. The
    /// error is `Unsupported` where it can't.
    fn reserve(&self, end: u64) -> io::Result<()>;
    /// Gives back what was reserved behind the length. For a file that is synced and that nobody writes.
    fn give_back(&self) -> io::Result<()>;
    /// Bytes.
    fn len(&self) -> io::Result<u64>;
    /// A second handle of the same open file (they share the position), so that another thread can sync it.
    fn duplicate(&self) -> io::Result<Box<dyn File>>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A disk that reaches the bucket too which `repo` names as `s3://BUCKET/FOLDER`, if it names one.
pub fn reaching(disk: Arc<dyn Disk>, repo: &Path) -> io::Result<Arc<dyn Disk>> {
    if !repo.starts_with("s3:") {
        return Ok(disk);
    }
    #[cfg(feature = "s3")]
    return Ok(Arc::new(s3::S3Disk::new(disk, repo)?));
    #[cfg(not(feature = "s3"))]
    return Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this program was built without S3: `cargo build --release --features s3` builds it with",
    ));
}
