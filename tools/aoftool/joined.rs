//! Records of several files of a log behind each other, and where a whole log is written to.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::naming::BaseFormat;
use ironkeep::aof::{self, Log, Report};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::show;
use ironkeep::cli::target::{self, Target};
use ironkeep::disk::Disk;
use ironkeep::resp::encode_request;

use crate::remade::{self, Marks};
use crate::report;
use crate::selection::{self, Choice, Copy, Only, Sink};
use crate::shared::log_folder;

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// The data, for any server and for rdbtool
    Rdb,
    /// A log that is one file, as before Redis 7.0
    File,
    /// A multi-part log: base, increment, manifest
    Dir,
}

/// Where the result goes.
#[derive(clap::Args)]
pub struct Destination {
    /// What to write: a file, `-` for standard output, or with `--to dir` the new folder, which servers from Redis 7.0
    /// on load as their appendonlydir
    #[arg(long, short, value_name = "PATH")]
    pub output: PathBuf,
    /// Replace the output if it is there
    #[arg(long)]
    pub force: bool,
    /// Read and check everything, write nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Destination {
    pub fn is_stdout(&self) -> bool {
        self.output == Path::new("-")
    }

    /// The shape that is asked for, or that the name tells; refuses what can't be.
    pub fn shape(&self, asked: Option<Shape>) -> anyhow::Result<Shape> {
        let name = self.output.as_os_str().as_encoded_bytes();
        let shape = match asked {
            Some(shape) => shape,
            None if name.ends_with(b".rdb") => Shape::Rdb,
            None if name.ends_with(b".aof") => Shape::File,
            None => {
                let message = "say what it is to be, as in --to file or --to dir";
                return Err(Failure::error(Exit::Usage, message).context(show(&self.output)));
            }
        };
        if shape == Shape::Dir && self.is_stdout() {
            return Err(Failure::error(Exit::Usage, "a folder can't go to standard output: name a new folder"));
        }
        Ok(shape)
    }

    /// Refuses to write over what is read.
    pub fn refuse_input(&self, disk: &dyn Disk, shape: Shape, log: &Log) -> anyhow::Result<()> {
        if shape == Shape::Dir || self.is_stdout() {
            return Ok(());
        }
        let paths = log.files.iter().map(|file| &file.path).chain(log.manifest.iter().map(|(path, _)| path));
        paths.into_iter().try_for_each(|path| target::refuse_input(disk, path, &self.output))
    }

    /// Writes what `content` gives, as the base of a folder in this format where it is one; the number of bytes.
    pub fn fill(
        &self,
        disk: &Arc<dyn Disk>,
        (shape, base_format): (Shape, BaseFormat),
        content: &mut dyn FnMut(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        if self.dry_run {
            let mut counted = Counted { inner: io::sink(), bytes: 0 };
            content(&mut counted)?;
            return Ok(counted.bytes);
        }
        if shape == Shape::Dir {
            let mut bytes = 0;
            log_folder::write(disk, &self.output, base_format, |draft, _| {
                let mut out = Counted { inner: io::BufWriter::with_capacity(1 << 16, draft), bytes: 0 };
                content(&mut out)?;
                bytes = out.bytes;
                Ok(out.inner.flush()?)
            })?;
            return Ok(bytes);
        }
        let target = Target::create(disk, &self.output, self.force)?;
        let mut out = Counted { inner: io::BufWriter::with_capacity(1 << 16, target), bytes: 0 };
        content(&mut out)?;
        let bytes = out.bytes;
        out.inner.into_inner().map_err(io::IntoInnerError::into_error)?.commit()?;
        Ok(bytes)
    }

    /// Says what was written: on standard error where the result is on standard output. `add` adds to the JSON report.
    pub fn tell(
        &self,
        (is_json, schema): (bool, &str),
        (log, bytes, more): (&str, u64, &str),
        add: &dyn Fn(&mut Object<'_>),
    ) -> anyhow::Result<()> {
        let mut out = Vec::new();
        let output = if self.is_stdout() { "standard output".to_owned() } else { show(&self.output) };
        if is_json {
            let mut object = Object::open(&mut out);
            object.str("schema", schema).str("log", log).str("output", &output);
            object.bool("dry_run", self.dry_run).u64("bytes", bytes);
            add(&mut object);
            object.close();
            out.push(b'\n');
        } else {
            let verb = if self.dry_run { "would write" } else { "wrote" };
            writeln!(out, "{verb} {output}: {}{more}", report::plural(bytes, "byte"))?;
        }
        if self.is_stdout() {
            return Ok(io::stderr().write_all(&out)?);
        }
        report::print(&out)
    }
}

/// Counts what passes.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.bytes += count as u64; // usize fits
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The format of a base that holds these files as they stand.
pub fn base_format(survey: &Report) -> BaseFormat {
    let is_rdb = survey.files.iter().all(|file| file.rdb.is_some() && file.records == 0);
    if is_rdb { BaseFormat::Rdb } else { BaseFormat::Resp }
}

/// All files behind each other, each up to its last whole unit. One file is copied as it is; where several are joined, the
/// marks of each are written anew, and each begins in database 0, as it does for a server.
pub fn copy(disk: &dyn Disk, log: &Log, survey: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    let joined = log.files.len() > 1;
    let first = survey.files.first().and_then(|found| found.rdb.as_ref()).map_or(0, |rdb| rdb.len);
    if let (false, [file]) = (joined, &log.files[..]) {
        let whole = if file.is_wrapped { file.len } else { survey.files[0].whole_until.max(first) };
        return remade::copy_range(disk, file, 0, whole, out).with_context(|| report::name(file));
    }
    if let Some(file) = log.files.first() {
        let len = if file.is_wrapped { file.len } else { first };
        remade::copy_range(disk, file, 0, len, out).with_context(|| report::name(file))?;
    }
    let choice = Choice { names: &[], only: &Only::default(), spared: 0 };
    let marks = Marks::of(survey.files.iter().any(|found| found.seals.has_marks()));
    let mut copy = Copy::new(marks, out);
    for (index, (file, found)) in log.files.iter().zip(&survey.files).enumerate() {
        if index > 0 && found.records > 0 {
            let mut select = Vec::new();
            encode_request(&mut select, &["SELECT", "0"]);
            copy.keep(&select)?;
        }
        let whole = aof::LogFile { len: found.whole_until, ..file.clone() };
        let start = found.rdb.as_ref().map_or(0, |rdb| rdb.len);
        selection::pass(disk, &whole, start, choice, &mut copy).with_context(|| report::name(file))?;
    }
    Ok(())
}
