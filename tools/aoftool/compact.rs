//! The fewest commands that make the data of an RDB, as a rewrite of the log writes them: streamed from the file, spooled
//! to a temporary one, in memory that grows neither with the data nor with a value.

use std::cell::RefCell;
use std::io::{self, Read, Seek, Write};
use std::rc::Rc;

use anyhow::Context;
use ironkeep::aof::LogFile;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::format::{Commands, FileReader, Format, Sink, Style};
use ironkeep::cli::progress::Progress;
use ironkeep::disk::{Disk, Mode};
use ironkeep::engine::Engine;
use ironkeep::rdb::{Event, Options, Reader, envelope};
use tempfile::SpooledTempFile;

use crate::report;
use crate::shared::replayed::{self, SPOOL_NAME};

/// A spool beyond this goes to a file.
const SPOOL_IN_MEMORY: usize = 1 << 20;

/// Commands, to be read from their start.
pub struct Spooled {
    pub file: SpooledTempFile,
    pub keys: u64,
}

/// The RDB in front of a log's file.
pub fn rdb_reader(disk: &dyn Disk, file: &LogFile) -> anyhow::Result<FileReader> {
    let open = disk.open(&file.path, Mode::Read).with_context(|| report::name(file))?;
    let source = envelope::unwrap(Progress::new(open, Some(file.len), &report::name(file)));
    reader_of(Box::new(source.with_context(|| report::name(file))?)).with_context(|| report::name(file))
}

/// A reader of the RDB that `source` gives.
fn reader_of(source: Box<dyn Read>) -> anyhow::Result<FileReader> {
    Ok(Reader::new(Progress::hidden(source), Options::default())?)
}

/// Commands under way: of one RDB, or of several with the parts of one data set.
pub struct Compact {
    name: String,
    out: Rc<RefCell<SpooledTempFile>>,
    format: Commands,
    keys: u64,
}

impl Compact {
    /// `name` is for messages.
    pub fn new(name: &str) -> Self {
        let out = Rc::new(RefCell::new(SpooledTempFile::new(SPOOL_IN_MEMORY)));
        let format = Commands::new(Sink::new(Box::new(Shared(Rc::clone(&out)))), Style::default());
        Self { name: name.to_owned(), out, format, keys: 0 }
    }

    /// Of one RDB, read to its end.
    pub fn of(reader: &mut FileReader, name: &str) -> anyhow::Result<Spooled> {
        let mut compact = Self::new(name);
        compact.take(reader)?;
        compact.finish()
    }

    /// Reads an RDB to its end.
    fn take(&mut self, reader: &mut FileReader) -> anyhow::Result<()> {
        self.keys += walk(reader, &mut self.format).with_context(|| self.name.clone())?;
        Ok(())
    }

    /// The data of an engine.
    pub fn take_engine(&mut self, engine: &mut Engine) -> anyhow::Result<()> {
        // No newer than the data needs, or it would say what no server has said.
        let version = engine.keyspace.rdb_version_needed();
        self.take(&mut reader_of(Box::new(replayed::spooled_rdb(engine, version)?))?)
    }

    /// The commands. What they cannot say goes to standard error.
    pub fn finish(self) -> anyhow::Result<Spooled> {
        let Self { name, out, mut format, keys } = self;
        format.close().context(SPOOL_NAME)?;
        for remark in format.remarks() {
            writeln!(io::stderr(), "{name}: {remark}")?;
        }
        drop(format);
        let mut file = Rc::into_inner(out).expect("the format that shared it is gone").into_inner();
        file.rewind().context(SPOOL_NAME)?;
        Ok(Spooled { file, keys })
    }
}

/// A file that is taken back when it is written.
struct Shared(Rc<RefCell<SpooledTempFile>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts the keys.
fn walk(reader: &mut FileReader, format: &mut Commands) -> anyhow::Result<u64> {
    let mut keys = 0;
    loop {
        match reader.next()? {
            Event::Key(key) => {
                keys += 1;
                format.begin_key(&key);
                format.take(reader)?;
                format.end_key(reader.offset());
            }
            Event::Function { code } => format.function(&code),
            Event::ModuleAux { id, raw, .. } => format.module_aux(id, &raw),
            Event::End { .. } => return Ok(keys),
            refused @ (Event::FunctionPreGa { .. } | Event::Update { .. }) => {
                let what = refused.refusal().unwrap_or_default();
                return Err(Failure::error(Exit::Unsupported, format!("the RDB has {what}")));
            }
            // Remarks and hints of the writer, which say nothing of the data.
            Event::Aux { .. }
            | Event::SlotImport { .. }
            | Event::Foreign { .. }
            | Event::SelectDb(_)
            | Event::ResizeDb { .. }
            | Event::SlotInfo { .. }
            | Event::HashTemplate { .. } => {}
        }
        format.check().context(SPOOL_NAME)?;
        if let Some(failure) = format.failure() {
            return Err(failure);
        }
    }
}
