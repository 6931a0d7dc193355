//! A file that is read twice: what can be opened only once (standard input, a server) is kept on the way, in memory while
//! it is small and in a temporary file without a name otherwise.

use crate::Place;
use crate::opened::{self, FileReader};
use ironkeep::cli::input::{self, Input, Source};
use ironkeep::disk::RealDisk;
use ironkeep::rdb::{Error, Event, Visitor};
use std::cell::RefCell;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::rc::Rc;
use tempfile::SpooledTempFile;

/// Bytes that are kept in memory before they go to the disk.
const HELD: usize = 8 << 20;

/// One of the two inputs.
pub struct Twice {
    pub name: String,
    place: Place,
    /// What cannot be opened again.
    kept: Option<Kept>,
}

#[derive(Clone)]
struct Kept(Rc<RefCell<SpooledTempFile>>);

impl Read for Kept {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

/// Reads, and keeps what was read.
struct Keeping {
    inner: Box<dyn Read>,
    kept: Kept,
}

impl Read for Keeping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.kept.0.borrow_mut().write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// A reader that names its file in errors.
pub struct Reading {
    name: String,
    reader: FileReader,
}

impl Twice {
    /// Opens the input for the first time.
    pub fn open(path: &Path, no_verify: bool) -> anyhow::Result<(Twice, Reading)> {
        let place = Place { file: Some(path.to_owned()), dir: None, no_verify };
        let mut input = opened::open_quietly(&place)?;
        let (source, _) = input::find_rdb(&RealDisk, Some(path), None)?;
        // A pipe has no length; a packed file has none either, and is read a second time like any other.
        let is_lasting = match &source {
            Source::File(path) => is_regular(path),
            _ => false,
        };
        let mut kept = None;
        if !is_lasting {
            let file = Kept(Rc::new(RefCell::new(SpooledTempFile::new(HELD))));
            kept = Some(file.clone());
            input.reader = Box::new(Keeping { inner: input.reader, kept: file });
        }
        let twice = Twice { name: input.name.clone(), place, kept };
        let reading = Reading::of(input, &twice.place)?;
        Ok((twice, reading))
    }

    /// Opens it again.
    pub fn again(&self) -> anyhow::Result<Reading> {
        let input = match &self.kept {
            Some(kept) => {
                kept.0.borrow_mut().rewind()?;
                let magic = input::Magic::Rdb;
                Input { name: self.name.clone(), len: None, magic, reader: Box::new(kept.clone()) }
            }
            None => {
                let (source, _) = input::find_rdb(&RealDisk, self.place.file.as_deref(), None)?;
                source.open(&RealDisk)?
            }
        };
        Reading::of(input, &self.place)
    }
}

fn is_regular(path: &Path) -> bool {
    use ironkeep::disk::Disk;
    RealDisk.metadata(path).is_ok_and(|metadata| metadata.is_file())
}

impl Reading {
    fn of(input: Input, place: &Place) -> anyhow::Result<Reading> {
        let name = input.name.clone();
        match opened::reader(input, place.options()) {
            Ok(reader) => Ok(Reading { name, reader }),
            Err(error) => Err(opened::failure(&name, &error)),
        }
    }

    fn named<T>(&self, result: Result<T, Error>) -> anyhow::Result<T> {
        result.map_err(|error| opened::failure(&self.name, &error))
    }

    pub fn next(&mut self) -> anyhow::Result<Event> {
        let event = self.reader.next();
        self.named(event)
    }

    pub fn value(&mut self, visitor: &mut dyn Visitor) -> anyhow::Result<()> {
        let result = self.reader.value(visitor);
        self.named(result)
    }

    /// File offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }
}
