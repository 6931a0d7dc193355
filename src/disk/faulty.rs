//! A disk in memory some of whose calls fail, for tests: the n-th that changes something, once, some times, or until it is
//! cured.
//!
//! It may also say that syncs went well and not do them, so that tests can show what they would catch. Calls that only read
//! never fail here. A sync that fails leaves what it was for in doubt for good, as a kernel does that
//! reports an error once and drops the pages; see [`MemoryDisk`].

use std::ffi::OsString;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::memory::MemoryFile;
use super::{DirectoryLock, Disk, File, MemoryDisk, Metadata, Mode};

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The number of the first call that fails, from 0.
    pub first: usize,
    /// How many fail, from there on; `usize::MAX` is all until [`FaultyDisk::cure`].
    pub count: usize,
    /// The system's number of the error.
    pub errno: i32,
    /// A write writes half of what it was given instead; the next one fails.
    pub is_short: bool,
}

/// Syncs that are said to have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    Files,
    Folders,
}

#[derive(Debug, Default)]
struct Calls {
    made: usize,
    fault: Option<Fault>,
    failed: usize,
}

/// The disk. A clone is the same disk.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    memory: MemoryDisk,
    calls: Arc<Mutex<Calls>>,
    lie: Option<Lie>,
    /// Only what is below this folder fails; and this handle is of something else.
    below: Option<PathBuf>,
    is_spared: bool,
    /// Writes and syncs of files take as long as this says, and those under way when it changes as long as it then says.
    pace: Arc<(Mutex<Pace>, Condvar)>,
}

/// How a disk keeps its callers waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    #[default]
    Quick,
    Slow(Duration),
    /// Until it is another.
    Stuck,
    /// As stuck, but for writes, which are quick.
    StuckInSyncs,
}

impl FaultyDisk {
    pub fn new(memory: MemoryDisk, fault: Option<Fault>) -> Self {
        Self {
            memory,
            calls: Arc::new(Mutex::new(Calls { fault, ..Calls::default() })),
            lie: None,
            below: None,
            is_spared: false,
            pace: Arc::default(),
        }
    }

    /// One that never fails, and lies.
    pub fn lying(memory: MemoryDisk, lie: Lie) -> Self {
        Self { lie: Some(lie), ..Self::new(memory, None) }
    }

    /// Where only what is below a folder fails.
    pub fn below(self, folder: &Path) -> Self {
        Self { below: Some(folder.to_owned()), ..self }
    }

    /// The disk as it is for this path.
    fn at(&self, path: &Path) -> Self {
        let is_spared = self.below.as_ref().is_some_and(|below| !path.starts_with(below));
        Self { is_spared, ..self.clone() }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls that change something, so far.
    pub fn made(&self) -> usize {
        self.calls().made
    }

    /// Calls that have failed.
    pub fn failed(&self) -> usize {
        self.calls().failed
    }

    /// Has calls fail, counted from here on.
    pub fn fail(&self, fault: Fault) {
        let mut calls = self.calls();
        calls.fault = Some(Fault { first: calls.made + fault.first, ..fault });
    }

    /// Whether calls may fail now.
    pub fn is_failing(&self) -> bool {
        self.calls().fault.is_some()
    }

    /// From here on nothing fails.
    pub fn cure(&self) {
        self.calls().fault = None;
    }

    pub fn set_pace(&self, pace: Pace) {
        *self.pace.0.lock().unwrap_or_else(PoisonError::into_inner) = pace;
        self.pace.1.notify_all();
    }

    /// Keeps a sync waiting, and what is no write.
    fn wait(&self) {
        self.wait_while(|pace| matches!(pace, Pace::Stuck | Pace::StuckInSyncs));
    }

    fn wait_while(&self, is_kept: impl Fn(&Pace) -> bool) {
        let pace = self.pace.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = self.pace.1.wait_while(pace, |pace| is_kept(pace)).unwrap_or_else(PoisonError::into_inner);
        if let Pace::Slow(time) = *pace {
            drop(pace);
            std::thread::sleep(time);
        }
    }

    /// Counts a call; the error that it is to give.
    fn count(&self) -> Option<Fault> {
        if self.is_spared {
            return None;
        }
        let mut calls = self.calls();
        let index = calls.made;
        calls.made += 1;
        let fault = calls.fault.filter(|fault| index >= fault.first && index - fault.first < fault.count);
        calls.failed += usize::from(fault.is_some());
        fault
    }

    fn change<T>(&self, call: impl FnOnce(&MemoryDisk) -> io::Result<T>) -> io::Result<T> {
        match self.count() {
            Some(fault) => Err(io::Error::from_raw_os_error(fault.errno)),
            None => call(&self.memory),
        }
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn File>> {
        let open = |memory: &MemoryDisk| memory.open_file(path, mode);
        let file = if mode == Mode::Read { open(&self.memory)? } else { self.at(path).change(open)? };
        Ok(Box::new(FaultyFile { file, disk: self.at(path) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.at(to).change(|memory| memory.rename(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.at(to).change(|memory| memory.link(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.at(path).change(|memory| memory.remove(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.at(path).change(|memory| memory.remove_dir(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.at(path).change(|memory| memory.create_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.at(path).change(|memory| if self.lie == Some(Lie::Folders) { Ok(()) } else { memory.sync_dir(path) })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.memory.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.memory.metadata(path)
    }

    fn copy_permissions(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.at(to).change(|memory| memory.copy_permissions(from, to))
    }

    fn lock_dir(&self, path: &Path) -> io::Result<DirectoryLock> {
        self.memory.lock_dir(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.memory.free_space(path)
    }
}

struct FaultyFile {
    file: MemoryFile,
    disk: FaultyDisk,
}

impl io::Read for FaultyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl io::Seek for FaultyFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl io::Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.wait_while(|pace| *pace == Pace::Stuck);
        match self.disk.count() {
            Some(Fault { is_short: true, first, .. }) if self.disk.made() == first + 1 && bytes.len() > 1 => {
                self.file.write(&bytes[..bytes.len() / 2])
            }
            Some(fault) => Err(io::Error::from_raw_os_error(fault.errno)),
            None => self.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl File for FaultyFile {
    fn sync_data(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.wait();
        if let Some(fault) = self.disk.count() {
            self.file.doubt();
            return Err(io::Error::from_raw_os_error(fault.errno));
        }
        if self.disk.lie == Some(Lie::Files) { Ok(()) } else { self.file.sync_all() }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self.disk.count() {
            Some(fault) => Err(io::Error::from_raw_os_error(fault.errno)),
            None => self.file.set_len(len),
        }
    }

    fn reserve(&self, end: u64) -> io::Result<()> {
        self.disk.wait_while(|pace| *pace == Pace::Stuck);
        match self.disk.count() {
            Some(fault) => Err(io::Error::from_raw_os_error(fault.errno)),
            None => self.file.reserve(end),
        }
    }

    fn give_back(&self) -> io::Result<()> {
        self.disk.wait();
        match self.disk.count() {
            Some(fault) => Err(io::Error::from_raw_os_error(fault.errno)),
            None => self.file.give_back(),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn duplicate(&self) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Self { file: self.file.clone(), disk: self.disk.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const NO_SPACE: i32 = 28; // ENOSPC

    #[test]
    fn the_call_that_is_named_fails_and_those_after_it_as_often_as_is_said() {
        let fault = Fault { first: 2, count: 2, errno: NO_SPACE, is_short: true };
        let disk = FaultyDisk::new(MemoryDisk::default(), Some(fault));
        let mut file = disk.open(Path::new("/a"), Mode::Append).unwrap();
        assert_eq!(file.write(b"1234").unwrap(), 4);
        assert_eq!(file.write(b"5678").unwrap(), 2, "half of it");
        assert_eq!(file.write(b"78").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.write(b"78").unwrap(), 2);
        file.sync_all().unwrap();
        assert_eq!((disk.made(), disk.failed()), (6, 2));
        assert_eq!(disk.read_small(Path::new("/a"), 100).unwrap(), b"12345678");
    }

    #[test]
    fn a_failed_sync_leaves_its_bytes_in_doubt_and_a_cure_ends_the_failing() {
        let memory = MemoryDisk::default();
        let disk =
            FaultyDisk::new(memory.clone(), Some(Fault { first: 3, count: usize::MAX, errno: 5, is_short: false }));
        let mut file = disk.open(Path::new("/a"), Mode::Append).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_all(b"bytes").unwrap();
        file.sync_data().unwrap_err();
        disk.rename(Path::new("/a"), Path::new("/b")).unwrap_err();
        disk.cure();
        file.sync_data().unwrap();
        let left = memory.after(memory.steps(), super::super::PowerCut::Lost, &mut fastrand::Rng::with_seed(1));
        assert_eq!(left.read_small(Path::new("/a"), 100).unwrap(), b"");
    }
}
