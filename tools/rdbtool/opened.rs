//! Finding, judging and opening the file that a verb reads.

use crate::Place;
use anyhow::Context;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::input::{self, Input, Magic, Source};
use ironkeep::cli::progress::Progress;
use ironkeep::disk::{Disk, Mode, RealDisk};
use ironkeep::rdb::{Cause, Checksum, Error, Options, Reader, check};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

pub use ironkeep::cli::format::FileReader;

/// Opens what `place` means. A file that was found rather than named is named on stderr; one that is no RDB at all is
/// refused with the tool that fits.
pub fn open(place: &Place) -> anyhow::Result<Input> {
    let (source, opened) = find(place)?;
    if let (Source::File(path), Magic::Rdb, Some(_), false) = (&source, opened.magic, opened.len, place.no_verify) {
        tell_checksum(&opened.name, path)?;
    }
    Ok(opened)
}

/// The same without a word on the checksum, for verbs that verify it before they do anything, or do nothing if it is wrong.
pub fn open_quietly(place: &Place) -> anyhow::Result<Input> {
    find(place).map(|(_, opened)| opened)
}

/// Something that can be read at any place.
pub trait Seekable: Read + Seek {}

impl<T: Read + Seek> Seekable for T {}

/// What [`seekable_part`] opens.
pub type SeekableInput = Progress<Box<dyn Seekable>>;

/// Opens what `place` means so that it can be read at any place: a pipe, or a packed file, through a temporary file. Of
/// a file whose packing is damaged, what came out before, and what the damage is.
/// The second part counts what is read for the progress bar.
pub fn seekable_part(place: &Place) -> anyhow::Result<(String, SeekableInput, Option<io::Error>)> {
    let (source, opened) = find(place)?;
    let mut fault = None;
    let (file, len): (Box<dyn Seekable>, _) = match (&source, opened.len) {
        (Source::File(path), Some(len)) => {
            (Box::new(RealDisk.open(path, Mode::Read).with_context(|| opened.name.clone())?), len)
        }
        _ => {
            let mut file = tempfile::tempfile().context("a temporary file")?;
            let copied = io::copy(&mut { opened.reader }, &mut file);
            fault = copied.err();
            let is_packing = |error: &io::Error| {
                matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
                    && !matches!(source, Source::Server(_))
            };
            if let Some(error) = fault.take_if(|error| !is_packing(error)) {
                return Err(error).with_context(|| opened.name.clone());
            }
            let len = file.seek(SeekFrom::End(0)).context("a temporary file")?;
            (Box::new(file), len)
        }
    };
    let counted = match io::stdout().is_terminal() {
        true => Progress::hidden(file),
        false => Progress::new(file, Some(len), &opened.name),
    };
    Ok((opened.name, counted, fault))
}

/// The file that `place` means, if it is one, and whether it was found rather than named.
pub fn source_of(place: &Place) -> anyhow::Result<(Option<PathBuf>, bool)> {
    let (source, found) = input::find_rdb(&RealDisk, place.file.as_deref(), place.dir.as_deref())?;
    Ok((if let Source::File(path) = source { Some(path) } else { None }, found))
}

fn find(place: &Place) -> anyhow::Result<(Source, Input)> {
    let (source, found) = input::find_rdb(&RealDisk, place.file.as_deref(), place.dir.as_deref())?;
    if found {
        let is_base = matches!(&source, Source::File(path) if path.to_string_lossy().ends_with(".base.rdb"));
        let rest = if is_base {
            ", the base of a log: what came later is not in it (`rdbtool convert` replays it)"
        } else {
            ""
        };
        writeln!(io::stderr(), "reading {source}{rest}")?;
    }
    let opened = source.open(&RealDisk)?;
    let refusal = match opened.magic {
        Magic::Commands => (Exit::Unreadable, "this is a command log, not an RDB: aoftool reads it"),
        Magic::Manifest => (Exit::Unreadable, "this is the manifest of a command log: aoftool reads it"),
        Magic::Rdb | Magic::Empty | Magic::Unknown => return Ok((source, opened)),
    };
    Err(Failure::error(refusal.0, refusal.1).context(opened.name))
}

/// Says on stderr that the bytes of a file are not those that were written, before any of them is believed. What is
/// read from a pipe is verified at its end alone.
fn tell_checksum(name: &str, path: &Path) -> anyhow::Result<()> {
    let mut file = RealDisk.open(path, Mode::Read).with_context(|| name.to_owned())?;
    let what = match check::prove(&mut file) {
        Ok((Checksum::Mismatch { expected, found }, offset)) => format!(
            "at offset {offset}, the checksum is {expected:016x} but the bytes give {found:016x}: some byte of the file \
             has changed, and what follows may be wrong (--no-verify reads on without a word)"
        ),
        Ok(_) => return Ok(()),
        // Whoever reads the file meets it, with more to say.
        Err(error) if is_disk_error(&error) || error.is_unsupported() => return Ok(()),
        Err(error) => format!("{error}; what stands before it is read"),
    };
    Ok(writeln!(io::stderr(), "{name}: {what}")?)
}

/// The bytes, and a progress bar for them unless the data itself goes to a terminal.
pub fn counted(opened: Input) -> Progress<Box<dyn Read>> {
    let Input { name, len, reader, .. } = opened;
    if io::stdout().is_terminal() { Progress::hidden(reader) } else { Progress::new(reader, len, &name) }
}

/// Reads the header.
pub fn reader(opened: Input, options: Options) -> Result<FileReader, Error> {
    Reader::new(counted(opened), options)
}

/// The exit code for a file that cannot be read to its end by a verb that wants its data.
pub fn exit_of(error: &Error) -> Exit {
    if error.is_unsupported() { Exit::Unsupported } else { Exit::Unreadable }
}

/// Whether the disk failed, and not the bytes.
pub fn is_disk_error(error: &Error) -> bool {
    matches!(error.cause(), Cause::Io(_))
}

/// The error of the file `name` as the end of a verb.
pub fn failure(name: &str, error: &Error) -> anyhow::Error {
    let message = match error.cause() {
        Cause::NotRdb | Cause::Io(_) => error.to_string(),
        _ if error.is_unsupported() => error.to_string(),
        _ => format!("{error} (`rdbtool check` lists all that is wrong, `rdbtool repair` keeps what can be kept)"),
    };
    Failure::error(exit_of(error), message).context(name.to_owned())
}

/// What stands behind the end of an RDB.
pub struct Trailing {
    /// Where it begins.
    pub offset: u64,
    /// How much it is.
    pub bytes: u64,
    /// Whether it looks like the log that follows an RDB preamble.
    pub is_commands: bool,
}

/// Reads what is left behind the end marker; `None` where there is nothing.
pub fn trailing(reader: FileReader) -> io::Result<Option<Trailing>> {
    let offset = reader.offset();
    let (mut rest, unread) = reader.into_inner();
    let mut first = unread.first().copied();
    let mut bytes = unread.len() as u64; // usize fits
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                first = first.or(Some(buffer[0]));
                bytes += count as u64; // usize fits
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((bytes > 0).then_some(Trailing { offset, bytes, is_commands: matches!(first, Some(b'*' | b'#')) }))
}
