//! A way through the records of a log, for verbs that take them one after the other and keep none.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::check::open_records;
use ironkeep::aof::log::begins_rdb;
use ironkeep::aof::{Fault, Item, Log, RdbDepth, RdbPart};
use ironkeep::cli::escape::Escaped;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::progress::Progress;
use ironkeep::disk::{Disk, Mode};
use ironkeep::rdb::envelope;

use crate::report;
use crate::timeline::Timeline;

/// Takes what a way through a log comes by.
pub trait Taker {
    /// The RDB in front of a file.
    fn rdb(&mut self, file: &str, rdb: &RdbPart) -> anyhow::Result<()> {
        let _ = (file, rdb);
        Ok(())
    }
    /// A record or an annotation, of which the timeline knows already.
    fn item(&mut self, file: &str, item: &Item<'_>, timeline: &Timeline) -> anyhow::Result<()>;
    /// Whether what follows is of no interest.
    fn is_done(&self) -> bool {
        false
    }
}

/// Walks all files of the log, each up to its end or up to the first place that can't be read, which is named on stderr
/// and gives exit code 1. A stream is read once and not kept.
pub fn walk(disk: &Arc<dyn Disk>, place: &crate::Place, taker: &mut dyn Taker) -> anyhow::Result<Exit> {
    if !place.is_stdin() {
        return walk_log(disk, &place.locate(disk)?.log, taker);
    }
    let mut start = Vec::new();
    let mut input = io::stdin();
    (&mut input).take(9).read_to_end(&mut start).context("standard input")?;
    let has_rdb = begins_rdb(&start);
    let source = envelope::unwrap(io::Cursor::new(&start).chain(input)).context("standard input")?;
    walk_file("-", source, (has_rdb, None), &mut Timeline::default(), taker).context("standard input")
}

/// As [`walk`], for a log that has been found.
pub fn walk_log(disk: &Arc<dyn Disk>, log: &Log, taker: &mut dyn Taker) -> anyhow::Result<Exit> {
    let (mut exit, mut timeline) = (Exit::Fine, Timeline::default());
    for file in &log.files {
        let open = disk.open(&file.path, Mode::Read).with_context(|| report::name(file))?.take(file.len);
        // On a terminal the records themselves show how far it is.
        let source: Box<dyn Read> = match io::stdout().is_terminal() {
            true => Box::new(open),
            false => Box::new(Progress::new(open, Some(file.len), &report::name(file))),
        };
        let source = envelope::unwrap(source).with_context(|| report::name(file))?;
        let ended = walk_file(&file.name(), source, (file.has_rdb, file.unpacked_len()), &mut timeline, taker)
            .with_context(|| report::name(file))?;
        if ended != Exit::Fine {
            exit = ended;
        }
        if taker.is_done() {
            break;
        }
    }
    Ok(exit)
}

fn walk_file<R: Read>(
    name: &str,
    source: R,
    (has_rdb, len): (bool, Option<u64>),
    timeline: &mut Timeline,
    taker: &mut dyn Taker,
) -> anyhow::Result<Exit> {
    timeline.begin_file();
    let (rdb, mut reader) = match open_records(source, has_rdb, len, RdbDepth::Skip, &mut |_| {}) {
        Ok(opened) => opened,
        Err(error) => {
            let exit = if error.is_unsupported() { Exit::Unsupported } else { Exit::Findings };
            return Err(Failure::error(exit, format!("the RDB in front can't be read: {error}")));
        }
    };
    if let Some(rdb) = rdb {
        taker.rdb(name, &rdb)?;
    }
    loop {
        match reader.next() {
            Ok(Some(item)) => {
                timeline.take(&item);
                taker.item(name, &item, timeline)?;
            }
            Ok(None) => return Ok(Exit::Fine),
            Err(Fault::Io { source, .. }) => return Err(source.into()),
            Err(fault) => {
                writeln!(io::stderr(), "{}: {fault}; see aoftool check", Escaped(name.as_bytes()))?;
                return Ok(Exit::Findings);
            }
        }
        if taker.is_done() {
            return Ok(Exit::Fine);
        }
    }
}

impl crate::Place {
    /// Whether the log comes through standard input.
    pub fn is_stdin(&self) -> bool {
        self.path.as_deref() == Some(Path::new("-"))
    }
}
