//! How far the reading of a large file of the catalogue is, for humans: a bar on stderr, where that is a terminal, for a base
//! and for each segment of the archive.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use ironkeep::cli::progress::Progress;
use ironkeep::disk::{DirectoryLock, Disk, File, Metadata, Mode};

/// What is shorter is read before anybody could look at a bar.
const SHOWN_FROM: u64 = 1 << 20;

/// The disk, with bars where somebody can see them.
pub fn shown(disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
    if io::stderr().is_terminal() { Arc::new(ShownDisk(disk)) } else { disk }
}

struct ShownDisk(Arc<dyn Disk>);

/// A file that is read.
struct ShownFile(Progress<Box<dyn File>>);

impl Disk for ShownDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn File>> {
        let file = self.0.open(path, mode)?;
        if mode != Mode::Read || file.len()? < SHOWN_FROM {
            return Ok(file);
        }
        let total = file.len()?;
        // A base is told by its backup, whose folder it lies in.
        let name = match path.file_name() {
            Some(name) if !name.as_encoded_bytes().starts_with(b"dump.rdb") => name,
            _ => path.parent().and_then(Path::file_name).unwrap_or_default(),
        };
        Ok(Box::new(ShownFile(Progress::new(file, Some(total), &name.to_string_lossy()))))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename_new(from, to)
    }

    fn exchange(&self, first: &Path, second: &Path) -> io::Result<()> {
        self.0.exchange(first, second)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.0.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.0.metadata(path)
    }

    fn copy_permissions(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.copy_permissions(from, to)
    }

    fn lock_dir(&self, path: &Path) -> io::Result<DirectoryLock> {
        self.0.lock_dir(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.0.free_space(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.exists(path)
    }

    fn read_small(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        self.0.read_small(path, max)
    }
}

impl Read for ShownFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for ShownFile {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.0.seek(place)
    }
}

impl Write for ShownFile {
    /// It was opened for reading.
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl File for ShownFile {
    fn sync_data(&self) -> io::Result<()> {
        self.0.get_ref().sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.get_ref().sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.get_ref().set_len(len)
    }

    fn reserve(&self, end: u64) -> io::Result<()> {
        self.0.get_ref().reserve(end)
    }

    fn give_back(&self) -> io::Result<()> {
        self.0.get_ref().give_back()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.get_ref().len()
    }

    fn duplicate(&self) -> io::Result<Box<dyn File>> {
        self.0.get_ref().duplicate()
    }
}
