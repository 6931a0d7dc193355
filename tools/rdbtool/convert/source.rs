//! What is converted, in a form that can be read twice: a file by its name, anything else spooled.

use crate::Place;
use crate::opened::{self, FileReader};
use crate::shared::replayed::{self, SPOOL_NAME};
use anyhow::Context;
use ironkeep::aof::{Log, LogError};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::input::{self, Input, Magic};
use ironkeep::cli::target;
use ironkeep::disk::Disk;
use ironkeep::rdb::{Options, Version};
use std::cell::RefCell;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use tempfile::SpooledTempFile;

/// A spool beyond this goes to a file.
const SPOOL_IN_MEMORY: usize = 1 << 20;

/// An RDB that can be read more than once.
pub struct Source {
    /// For messages.
    name: String,
    bytes: Bytes,
    /// The files that it was read from; none where it came from a pipe or a server.
    files: Vec<PathBuf>,
    /// Whether it was replayed from a log.
    pub is_log: bool,
}

enum Bytes {
    File(PathBuf),
    Spool(Spool),
}

/// A temporary file without a name, read from its start by one reader at a time.
#[derive(Clone)]
struct Spool(Rc<RefCell<SpooledTempFile>>);

impl Spool {
    /// Goes back to the start; how much there is.
    fn rewind(&self) -> io::Result<u64> {
        let mut file = self.0.borrow_mut();
        let len = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        Ok(len)
    }
}

impl Read for Spool {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl Source {
    /// Finds the input. A folder stands for its dump.rdb or its log, whichever is there; a log is replayed.
    pub fn find(disk: &Arc<dyn Disk>, place: &Place, databases: usize) -> anyhow::Result<Source> {
        if let Some(path) = log_path(disk, place)? {
            return replay(disk, &Log::open(disk.as_ref(), &path)?, databases);
        }
        let (source, found) = input::find_rdb(disk.as_ref(), place.file.as_deref(), place.dir.as_deref())?;
        if found {
            writeln!(io::stderr(), "reading {source}")?;
        }
        if let input::Source::File(path) = &source
            && disk.metadata(path).is_ok_and(|metadata| metadata.is_file())
        {
            if matches!(source.open(disk.as_ref())?.magic, Magic::Commands | Magic::Manifest) {
                return replay(disk, &Log::open(disk.as_ref(), path)?, databases);
            }
            let (name, files) = (source.to_string(), vec![path.clone()]);
            return Ok(Source { name, bytes: Bytes::File(path.clone()), files, is_log: false });
        }
        let opened = opened::open(place)?;
        let name = opened.name.clone();
        let (mut reader, mut out) = (opened.reader, spool());
        io::copy(&mut reader, &mut out).with_context(|| name.clone())?;
        let files = opened::source_of(place)?.0.into_iter().collect();
        Ok(Source { name, bytes: spooled(out).context(SPOOL_NAME)?, files, is_log: false })
    }

    /// For messages; escaped for a terminal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An error if `output` is one of the files that were read.
    pub fn refuse_as_output(&self, disk: &Arc<dyn Disk>, output: &Path) -> anyhow::Result<()> {
        self.files.iter().try_for_each(|file| target::refuse_input(disk.as_ref(), file, output))
    }

    /// A reader from the start. The one before must be done.
    pub fn reader(&self, options: Options) -> anyhow::Result<FileReader> {
        let opened = match &self.bytes {
            // The reader verifies the checksum before anything is written; nobody needs to be told beforehand.
            Bytes::File(path) => opened::open(&Place { file: Some(path.clone()), dir: None, no_verify: true })?,
            Bytes::Spool(spool) => {
                let len = spool.rewind().context(SPOOL_NAME)?;
                Input { name: self.name.clone(), len: Some(len), magic: Magic::Rdb, reader: Box::new(spool.clone()) }
            }
        };
        opened::reader(opened, options).map_err(|error| opened::failure(&self.name, &error))
    }

    /// This file replayed as a log that begins with an RDB; `None` where it has no name.
    pub fn as_log(&self, disk: &Arc<dyn Disk>, databases: usize) -> anyhow::Result<Option<Source>> {
        match &self.bytes {
            Bytes::File(path) => replay(disk, &Log::single(disk.as_ref(), path)?, databases).map(Some),
            Bytes::Spool(_) => Ok(None),
        }
    }
}

/// The log that the arguments name as such: by its manifest, or by a folder that has no dump.rdb beside it.
fn log_path(disk: &Arc<dyn Disk>, place: &Place) -> anyhow::Result<Option<PathBuf>> {
    let folder = match &place.file {
        Some(path) if path.extension().is_some_and(|extension| extension == "manifest") => {
            return Ok(Some(path.clone()));
        }
        Some(path) if disk.metadata(path).is_ok_and(|metadata| metadata.is_dir()) => path.clone(),
        Some(_) => return Ok(None),
        None => input::data_dir(place.dir.as_deref()),
    };
    let log = match Log::in_folder(disk.as_ref(), &folder) {
        Ok(log) => log,
        Err(LogError::NoLog { .. } | LogError::Io { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if disk.exists(&folder.join("dump.rdb")) {
        let message = "holds both a dump.rdb and a log, which may differ: name the one you mean";
        return Err(Failure::error(Exit::Usage, message).context(input::Source::of(&folder).to_string()));
    }
    Ok(Some(log.path().to_owned()))
}

fn spool() -> BufWriter<SpooledTempFile> {
    BufWriter::new(SpooledTempFile::new(SPOOL_IN_MEMORY))
}

fn spooled(out: BufWriter<SpooledTempFile>) -> io::Result<Bytes> {
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(Bytes::Spool(Spool(Rc::new(RefCell::new(file)))))
}

/// The data that a log leads to, as a spooled RDB of the version that holds all an engine does. Nothing on disk is
/// changed, a torn tail is passed over.
fn replay(disk: &Arc<dyn Disk>, log: &Log, databases: usize) -> anyhow::Result<Source> {
    let name = input::Source::File(log.path().to_owned()).to_string();
    let mut engine = replayed::engine_of(disk, log, databases)?;
    let spool = replayed::spooled_rdb(&mut engine, Version::Rdb15)?;
    let mut files: Vec<PathBuf> = log.files.iter().map(|file| file.path.clone()).collect();
    files.extend(log.manifest.iter().map(|(path, _)| path.clone()));
    Ok(Source { name, bytes: Bytes::Spool(Spool(Rc::new(RefCell::new(spool)))), files, is_log: true })
}
