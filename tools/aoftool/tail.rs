//! `aoftool tail`: the last records of a log, and those that are added while one looks.
//!
//! A file is read up to its last whole record; what a server is just writing waits for the next look, ten times a second.
//! When the manifest names another increment behind the one that is read, or has none of its name any more after a
//! rewrite, the open file is read to its end and the next one from its beginning, so that nothing is missed. An old single
//! file that a rewrite has replaced is followed from its end on.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ironkeep::aof::{Fault, Item, Log, LogFile, Role, Scanner};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::disk::{Disk, File, Mode};

use crate::filter::Filter;
use crate::print::{Output, Printer};
use crate::records::{self, Taker};
use crate::timeline::Timeline;
use crate::{report, selection};

/// Between two looks at the files.
const NAP: Duration = Duration::from_millis(100);

/// Print the last records of a log, and with --follow those that are added to it
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    /// Wait for more, also in the files that come next; ends when it is interrupted
    #[arg(long, short)]
    follow: bool,
    /// How many of the last records
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 10)]
    records: usize,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    filter: Filter,
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let located = arguments.place.locate(disk)?;
    if arguments.follow && (arguments.place.is_stdin() || arguments.output.is_one_array()) {
        return Err(Failure::error(
            Exit::Usage,
            "--follow has no end: it takes a file, and prints no --json (--ndjson)",
        ));
    }
    let log = &located.log;
    let mut tail = Tail { arguments, kept: VecDeque::new() };
    let mut printer = Printer::new(arguments.output, false);
    printer.begin()?;
    let (Some(last), true) = (log.files.last(), arguments.follow) else {
        let exit = records::walk_log(disk, log, &mut tail)?;
        tail.print(&mut printer)?;
        printer.finish()?;
        return Ok(exit);
    };
    let before = Log { files: log.files[..log.files.len() - 1].to_vec(), ..log.clone() };
    records::walk_log(disk, &before, &mut tail)?;
    let mut follower = Follower::open(disk, log, last.clone())?;
    follower.read_on(&mut |name, item, timeline| tail.item(name, item, timeline))?;
    tail.print(&mut printer)?;
    loop {
        printer.flush()?;
        std::thread::sleep(NAP);
        let mut take = |name: &str, item: &Item<'_>, timeline: &Timeline| {
            if tail.takes(name, item, timeline) {
                printer.item(name, item, timeline)?;
            }
            Ok(())
        };
        follower.read_on(&mut take)?;
        follower.go_on(&mut take)?;
    }
}

/// A record that may be among the last ones.
struct Kept {
    file: String,
    offset: u64,
    raw: Vec<u8>,
    db: u64,
    time_ms: Option<i64>,
}

struct Tail<'a> {
    arguments: &'a Arguments,
    kept: VecDeque<Kept>,
}

impl Tail<'_> {
    fn takes(&self, file: &str, item: &Item<'_>, timeline: &Timeline) -> bool {
        match item {
            Item::Annotation(_) => false,
            Item::Record(record) => self.arguments.filter.takes(file, record, timeline),
        }
    }

    fn print(&self, printer: &mut Printer) -> anyhow::Result<()> {
        for kept in &self.kept {
            let timeline = Timeline::at(kept.db, kept.time_ms);
            let mut scanner = Scanner::resume(&kept.raw[..], Vec::new(), kept.offset, None);
            if let Some(item) = scanner.next()? {
                printer.item(&kept.file, &item, &timeline)?;
            }
        }
        Ok(())
    }
}

impl Taker for Tail<'_> {
    fn item(&mut self, file: &str, item: &Item<'_>, timeline: &Timeline) -> anyhow::Result<()> {
        if self.arguments.records == 0 || !self.takes(file, item, timeline) {
            return Ok(());
        }
        if self.kept.len() == self.arguments.records {
            self.kept.pop_front();
        }
        let (offset, raw) = (item.offset(), item.raw().to_vec());
        self.kept.push_back(Kept { file: file.to_owned(), offset, raw, db: timeline.db, time_ms: timeline.time_ms });
        Ok(())
    }
}

/// Takes an item of the file with this name.
type Take<'a> = &'a mut dyn FnMut(&str, &Item<'_>, &Timeline) -> anyhow::Result<()>;

/// The file that is written to.
struct Follower {
    disk: Arc<dyn Disk>,
    /// By which the log is found again.
    log: Log,
    file: LogFile,
    open: Box<dyn File>,
    /// Of the open file, whatever its name is by now.
    identity: (u64, u64),
    /// Behind the last whole record.
    offset: u64,
    /// The length at the last look.
    seen: u64,
    timeline: Timeline,
}

impl Follower {
    fn open(disk: &Arc<dyn Disk>, log: &Log, file: LogFile) -> anyhow::Result<Self> {
        let open = disk.open(&file.path, Mode::Read).with_context(|| report::name(&file))?;
        let identity = disk.metadata(&file.path).with_context(|| report::name(&file))?.identity;
        let rdb = selection::rdb_part(&**disk, &file).with_context(|| report::name(&file))?;
        let offset = rdb.map_or(0, |rdb| rdb.len);
        let (disk, log) = (Arc::clone(disk), log.clone());
        Ok(Self { disk, log, file, open, identity, offset, seen: 0, timeline: Timeline::default() })
    }

    /// Takes the whole records that have been added to the open file.
    fn read_on(&mut self, take: Take<'_>) -> anyhow::Result<()> {
        let name = self.file.name();
        let len = self.open.len().with_context(|| report::name(&self.file))?;
        if len < self.offset {
            writeln!(io::stderr(), "{}: became shorter; going on at its end", report::name(&self.file))?;
            (self.offset, self.seen) = (len, len);
        }
        if len <= self.seen {
            return Ok(());
        }
        self.seen = len;
        self.open.seek(SeekFrom::Start(self.offset)).with_context(|| report::name(&self.file))?;
        let source = Read::take(&mut self.open, len - self.offset);
        let mut scanner = Scanner::resume(source, Vec::new(), self.offset, Some(len));
        loop {
            match scanner.next() {
                Ok(Some(item)) => {
                    self.offset = item.end();
                    self.timeline.take(&item);
                    take(&name, &item, &self.timeline)?;
                }
                Ok(None) | Err(Fault::Cut { .. }) => return Ok(()),
                Err(Fault::Io { source, .. }) => return Err(source).with_context(|| report::name(&self.file)),
                Err(fault) => {
                    let message = format!("{fault}; see aoftool check");
                    return Err(Failure::error(Exit::Findings, message).context(report::name(&self.file)));
                }
            }
        }
    }

    /// Goes over to the file that is written to now, if it is another one.
    fn go_on(&mut self, take: Take<'_>) -> anyhow::Result<()> {
        let Some(next) = (match &self.log.manifest {
            Some((path, _)) => self.next_increment(&path.clone())?,
            None => self.replaced_file()?,
        }) else {
            return Ok(());
        };
        // What was written between the last look and the change.
        self.read_on(take)?;
        let at_end = next.role == Role::Single;
        let (timeline, log) = (std::mem::take(&mut self.timeline), self.log.clone());
        let disk = Arc::clone(&self.disk);
        *self = match at_end {
            true => Self { offset: next.len, seen: next.len, ..Self::open(&disk, &log, next)? },
            false => Self::open(&disk, &log, next)?,
        };
        self.timeline = timeline;
        self.timeline.begin_file();
        Ok(())
    }

    /// The increment behind the one that is read. A manifest that can't be read just now is looked at again.
    fn next_increment(&self, manifest: &Path) -> anyhow::Result<Option<LogFile>> {
        let Ok(log) = Log::open(&*self.disk, manifest) else { return Ok(None) };
        let seq = |file: &LogFile| file.entry.as_ref().map_or(0, |entry| entry.seq);
        let increments = || log.files.iter().filter(|file| file.role == Role::Increment);
        match log.files.iter().position(|file| file.path == self.file.path) {
            Some(index) => Ok(log.files.get(index + 1).cloned()),
            None => {
                let behind = increments().find(|file| seq(file) > seq(&self.file));
                let Some(next) = behind.or_else(|| increments().next_back()) else { return Ok(None) };
                let (old, new) = (report::name(&self.file), report::name(next));
                writeln!(io::stderr(), "{old}: replaced by a rewrite; going on with {new}")?;
                Ok(Some(next.clone()))
            }
        }
    }

    /// The single file that has taken this one's place.
    fn replaced_file(&self) -> anyhow::Result<Option<LogFile>> {
        let Ok(log) = Log::single(&*self.disk, &self.file.path) else { return Ok(None) };
        let [file] = &log.files[..] else { return Ok(None) };
        if self.disk.metadata(&file.path).is_ok_and(|metadata| metadata.identity == self.identity) {
            return Ok(None);
        }
        let name = report::name(file);
        writeln!(io::stderr(), "{name}: replaced by a rewrite, whose commands are passed over; going on at its end")?;
        Ok(Some(file.clone()))
    }
}
