//! `aoftool dump` and `aoftool grep`: the records of a log, or some of them, without changing or keeping any.

use std::io::{self, Write};
use std::sync::Arc;

use ironkeep::aof::{Item, RdbPart, Record};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::disk::Disk;
use regex::bytes::{Regex, RegexBuilder};

use crate::filter::Filter;
use crate::print::{Output, Printer};
use crate::records::{self, Taker};
use crate::timeline::Timeline;

/// Print the records of a log: file, offset, database, command
///
/// What an RDB in front of a file holds is not among them; rdbtool dump prints that. Where records are selected,
/// annotations are left out, and exit code 1 says that no record was.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    filter: Filter,
}

/// Print the records with an argument, be it the command's name, in which a pattern finds something
///
/// Exits with 1 where no record has one.
#[derive(clap::Args)]
pub struct GrepArguments {
    /// A regular expression; `(?-u)` makes it match bytes that are no UTF-8
    pattern: String,
    #[command(flatten)]
    place: crate::Place,
    /// The pattern is plain text
    #[arg(long, short = 'F')]
    fixed_strings: bool,
    /// Small letters and capitals are the same
    #[arg(long, short)]
    ignore_case: bool,
    /// Print the records that have no such argument
    #[arg(long, short = 'v')]
    invert_match: bool,
    /// Print only how many records there are
    #[arg(long, short, conflicts_with_all = ["json", "ndjson", "resp"])]
    count: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    filter: Filter,
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let printer = Printer::new(arguments.output, arguments.filter.is_open());
    Dump { filter: &arguments.filter, pattern: None, counts_only: false, printer, count: 0, has_times: false }
        .run(disk, &arguments.place)
}

pub fn grep(disk: &Arc<dyn Disk>, arguments: &GrepArguments) -> anyhow::Result<Exit> {
    let pattern = match arguments.fixed_strings {
        true => regex::escape(&arguments.pattern),
        false => arguments.pattern.clone(),
    };
    let pattern = RegexBuilder::new(&pattern)
        .case_insensitive(arguments.ignore_case)
        .build()
        .map_err(|error| Failure::error(Exit::Usage, format!("the pattern: {error}")))?;
    Dump {
        filter: &arguments.filter,
        pattern: Some((pattern, arguments.invert_match)),
        counts_only: arguments.count,
        printer: Printer::new(arguments.output, false),
        count: 0,
        has_times: false,
    }
    .run(disk, &arguments.place)
}

struct Dump<'a> {
    filter: &'a Filter,
    /// What an argument must match; whether it must not.
    pattern: Option<(Regex, bool)>,
    counts_only: bool,
    printer: Printer,
    count: u64,
    has_times: bool,
}

impl Dump<'_> {
    fn run(mut self, disk: &Arc<dyn Disk>, place: &crate::Place) -> anyhow::Result<Exit> {
        self.printer.begin()?;
        let exit = records::walk(disk, place, &mut self)?;
        if self.counts_only {
            writeln!(io::stdout(), "{}", self.count)?;
        } else {
            self.printer.finish()?;
        }
        if self.filter.needs_times() && !self.has_times {
            writeln!(
                io::stderr(),
                "this log tells no times: --from and --to can't choose (see aof-timestamp-enabled)"
            )?;
        }
        Ok(if exit == Exit::Fine && !self.is_whole() && self.count == 0 { Exit::Findings } else { exit })
    }

    fn is_whole(&self) -> bool {
        self.pattern.is_none() && self.filter.is_open()
    }

    fn finds(&self, record: &Record<'_>) -> bool {
        let Some((pattern, inverts)) = &self.pattern else { return true };
        record.arguments.iter().any(|argument| pattern.is_match(argument)) != *inverts
    }
}

impl Taker for Dump<'_> {
    fn rdb(&mut self, file: &str, rdb: &RdbPart) -> anyhow::Result<()> {
        if self.is_whole() {
            self.printer.rdb(file, rdb)?;
        }
        Ok(())
    }

    fn item(&mut self, file: &str, item: &Item<'_>, timeline: &Timeline) -> anyhow::Result<()> {
        self.has_times |= timeline.time_ms.is_some();
        let is_wanted = match item {
            Item::Annotation(_) => self.is_whole(),
            Item::Record(record) => self.filter.takes(file, record, timeline) && self.finds(record),
        };
        if !is_wanted {
            return Ok(());
        }
        self.count += u64::from(item.record().is_some());
        if !self.counts_only {
            self.printer.item(file, item, timeline)?;
        }
        Ok(())
    }
}
