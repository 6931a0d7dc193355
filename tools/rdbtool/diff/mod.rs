//! `rdbtool diff`: what one file has that the other has not, down to the elements of a value.
//!
//! Two passes. [`index`] reads both files to the end and sorts a digest per key (about 60 bytes and the key, beyond 64 MB
//! on disk); [`details`] reads them again for the elements of those that differ, sorted likewise. So memory grows with
//! neither the files nor a value. What is compared is the data: database, key, type, elements, expiry, functions, data of
//! modules; not encodings, versions, nor what the servers noted of accesses.

mod details;
mod edit;
mod element;
mod index;
mod input;
mod output;
mod record;

use crate::selection::Selection;
use anyhow::Context;
use details::{Details, Wanted};
use index::{Counts, Found, Index, Name, Scope, What};
use input::Twice;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::utc::Utc;
use output::{Difference, Json, Report, Summary, Text};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::PathBuf;
use tempfile::SpooledTempFile;

/// Bytes of the list of differences held before they go to a temporary file.
const HELD: usize = 16 << 20;

/// Compare two files, or a file and a running server, by their data
///
/// Exits with 0 where the data is the same and with 1 where it is not. Encodings, RDB versions, the order in which keys
/// or members of hashes and sets are stored, and access times and counters are not compared.
#[derive(clap::Args)]
pub struct Arguments {
    /// What is compared: an RDB file, `-` for standard input, a data folder, a manifest, or redis://HOST:PORT
    #[arg(value_name = "OLD")]
    first: PathBuf,
    /// What it is compared with
    #[arg(value_name = "NEW")]
    second: PathBuf,
    /// The differences as one JSON object (schema rdbtool.diff/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
    /// Take keys and fields that differ only in when they expire for the same
    #[arg(long)]
    ignore_expiry: bool,
    /// List at most so many keys that differ; all are counted
    #[arg(long, value_name = "N")]
    show: Option<u64>,
    /// List at most so many elements of each key that differ; all are counted [default: 20; with --json all]
    #[arg(long, value_name = "N")]
    elements: Option<u64>,
    /// Leave out what is no key: function libraries, and data of modules beside the keys
    #[arg(long)]
    keys_only: bool,
    /// Do not verify the checksums
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    selection: Selection,
}

/// The differences that are listed, in a file of their own until their elements are known.
struct Listed {
    spool: SpooledTempFile,
    wanted: [Wanted; 2],
    summary: Summary,
}

/// Refuses what would give an answer that means nothing.
fn refuse_senseless(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.first == arguments.second && arguments.first.as_os_str() == "-" {
        return Err(Failure::error(Exit::Usage, "standard input can be read once: name a file for one of the two"));
    }
    if arguments.selection.limit.is_some() {
        let message =
            "--limit would take the first keys of each side in its own order: --show lists so many differences";
        return Err(Failure::error(Exit::Usage, message));
    }
    Ok(())
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    refuse_senseless(arguments)?;
    let scope = Scope {
        selection: &arguments.selection,
        ignores_expiry: arguments.ignore_expiry,
        takes_beside: !arguments.keys_only,
        now: Utc::now(),
    };
    let mut index = Index::new();
    let (first, mut reading) = Twice::open(&arguments.first, arguments.no_verify)?;
    let mut counts = [index.add(0, &mut reading, &scope)?, Counts::default()];
    let (second, mut reading) = Twice::open(&arguments.second, arguments.no_verify)?;
    counts[1] = index.add(1, &mut reading, &scope)?;
    drop(reading);
    let listed = list(index, counts, arguments.show.unwrap_or(u64::MAX)).context("a temporary file")?;
    let Listed { mut spool, wanted, summary } = listed;
    let mut details = Details::new();
    for ((side, wanted), twice) in (0..).zip(wanted).zip([&first, &second]) {
        if !wanted.is_empty() {
            details.add(side, &mut twice.again()?, wanted, &scope)?;
        }
    }
    let mut changes = details.finish().context("a temporary file")?;
    spool.rewind().context("a temporary file")?;
    let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let names = [first.name.as_str(), second.name.as_str()];
    let mut report: Box<dyn Report> = match arguments.json {
        true => Box::new(Json::new(out, names, arguments.elements.unwrap_or(u64::MAX))),
        false => Box::new(Text::new(out, names, arguments.elements.unwrap_or(20))),
    };
    let mut number = 0;
    while let Some(difference) = read_difference(&mut spool).context("a temporary file")? {
        report.begin(&difference)?;
        if difference.is_change() {
            while let Some(change) = changes.next_of(number).context("a temporary file")? {
                report.change(&change)?;
            }
            number += 1;
        }
        report.end(&difference)?;
    }
    report.finish(&summary)?;
    Ok(if summary.is_same() { Exit::Fine } else { Exit::Findings })
}

/// Compares the digests.
fn list(index: Index, counts: [Counts; 2], show: u64) -> io::Result<Listed> {
    let mut listed = Listed {
        spool: SpooledTempFile::new(HELD),
        wanted: [Wanted::new(), Wanted::new()],
        summary: Summary { counts, ..Summary::default() },
    };
    let mut pairs = index.finish()?;
    let (mut shown, mut number) = (0, 0);
    while let Some((name, sides)) = pairs.next_difference()? {
        let difference = Difference { name, types: sides.each_ref().map(type_of) };
        listed.summary.count(&difference);
        if shown == show {
            listed.summary.hidden += 1;
            continue;
        }
        shown += 1;
        write_difference(&mut listed.spool, &difference)?;
        if difference.is_change() {
            for (wanted, found) in listed.wanted.iter_mut().zip(sides.into_iter().flatten()) {
                wanted.add(difference.name.what, found.offset, number)?;
            }
            number += 1;
        }
    }
    for (counts, repeated) in listed.summary.counts.iter_mut().zip(pairs.repeated) {
        counts.repeated = repeated;
    }
    Ok(listed)
}

fn type_of(found: &Option<Found>) -> Option<String> {
    found.as_ref().map(|found| found.type_name.clone())
}

fn write_difference(spool: &mut SpooledTempFile, difference: &Difference) -> io::Result<()> {
    let mut record = vec![difference.name.what as u8]; // the discriminant
    record.extend_from_slice(&difference.name.db.to_be_bytes());
    for text in [
        Some(&difference.name.name[..]),
        difference.types[0].as_deref().map(str::as_bytes),
        difference.types[1].as_deref().map(str::as_bytes),
    ] {
        record.push(u8::from(text.is_some()));
        record::put_sized(&mut record, text.unwrap_or_default());
    }
    spool.write_all(&u32::try_from(record.len()).map_err(|_| io::ErrorKind::FileTooLarge)?.to_le_bytes())?;
    spool.write_all(&record)
}

fn read_difference(spool: &mut SpooledTempFile) -> io::Result<Option<Difference>> {
    let mut len = [0; 4];
    match spool.read_exact(&mut len) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut record = vec![0; u32::from_le_bytes(len) as usize]; // what was written
    spool.read_exact(&mut record)?;
    parse_difference(&record).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse_difference(mut record: &[u8]) -> Option<Difference> {
    let rest = &mut record;
    let [what] = record::take_array::<1>(rest)?;
    let what = [What::Key, What::Function, What::ModuleAux].into_iter().find(|one| *one as u8 == what)?;
    let db = u64::from_be_bytes(record::take_array(rest)?);
    let mut text = || {
        let [is_there] = record::take_array::<1>(rest)?;
        let bytes = record::take_sized(rest)?.to_vec();
        Some((is_there > 0).then_some(bytes))
    };
    let name = text()??;
    let mut type_name = || Some(text()?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    Some(Difference { name: Name { what, db, name }, types: [type_name()?, type_name()?] })
}
