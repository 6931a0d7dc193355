//! An input that is read more than once: first for what is in it, then for its bytes.
//!
//! A plain file is opened anew for each pass, and must be the same file, unchanged, behind the last. What cannot be read
//! twice (standard input, a server) or would be unpacked twice goes to a temporary file without a name first.

use crate::Place;
use crate::opened::{self, FileReader};
use anyhow::Context;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::input::{self, Input, Magic, Source};
use ironkeep::cli::target;
use ironkeep::disk::{Disk, Metadata, RealDisk};
use ironkeep::rdb::Options;
use std::cell::RefCell;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tempfile::SpooledTempFile;

/// So many bytes are held in memory before they go to a temporary file.
const HELD: usize = 4 << 20;

/// The input.
pub struct Passes {
    name: String,
    options: Options,
    bytes: Bytes,
}

enum Bytes {
    File { path: PathBuf, first: Metadata },
    Spool { file: Rc<RefCell<SpooledTempFile>>, len: u64 },
}

impl Passes {
    /// Opens what `place` means, as all verbs do.
    pub fn open(place: &Place) -> anyhow::Result<Passes> {
        // The first pass verifies the checksum, before anything is written.
        let mut opened = opened::open_quietly(place)?;
        let (source, _) = input::find_rdb(&RealDisk, place.file.as_deref(), place.dir.as_deref())?;
        let name = opened.name.clone();
        let bytes = match (source, opened.len) {
            (Source::File(path), Some(_)) => {
                let first = RealDisk.metadata(&path).with_context(|| name.clone())?;
                Bytes::File { path, first }
            }
            _ => {
                let mut file = SpooledTempFile::new(HELD);
                let len = io::copy(&mut opened.reader, &mut file)
                    .with_context(|| format!("{name}: keeping it in a temporary file"))?;
                Bytes::Spool { file: Rc::new(RefCell::new(file)), len }
            }
        };
        Ok(Passes { name, options: place.options(), bytes })
    }

    /// For messages; escaped for a terminal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Begins a pass. One at a time.
    pub fn begin(&self) -> anyhow::Result<FileReader> {
        let opened = match &self.bytes {
            Bytes::File { path, .. } => Source::File(path.clone()).open(&RealDisk)?,
            Bytes::Spool { file, len } => {
                file.borrow_mut().rewind().with_context(|| self.name.clone())?;
                let reader = Box::new(Spooled(Rc::clone(file)));
                Input { name: self.name.clone(), len: Some(*len), magic: Magic::Rdb, reader }
            }
        };
        opened::reader(opened, self.options).map_err(|error| opened::failure(&self.name, &error))
    }

    /// An error if `output` is the file that is read: it is not replaced by a part of itself.
    pub fn refuse_as_output(&self, output: &Path) -> anyhow::Result<()> {
        match &self.bytes {
            Bytes::File { path, .. } => target::refuse_input(&RealDisk, path, output),
            Bytes::Spool { .. } => Ok(()),
        }
    }

    /// An error if the passes did not read the same bytes. To be asked before anything of them is published.
    pub fn same_still(&self) -> anyhow::Result<()> {
        let Bytes::File { path, first } = &self.bytes else { return Ok(()) };
        let now = RealDisk.metadata(path).with_context(|| self.name.clone())?;
        if (now.identity, now.len, now.modified) == (first.identity, first.len, first.modified) {
            return Ok(());
        }
        let message = "the file changed while it was read: nothing was written, try again (on a copy, if it goes on)";
        Err(Failure::error(Exit::Unreadable, message).context(self.name.clone()))
    }
}

/// What was kept, from the front.
struct Spooled(Rc<RefCell<SpooledTempFile>>);

impl Read for Spooled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}
