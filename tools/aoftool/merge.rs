//! `aoftool merge`: files of one log, mended by hand or without their manifest, become a log again.
//!
//! The files are read in the order of their numbers, where all have names as servers give (`NAME.2.incr.aof`), else as they
//! are named on the command line. Only the first may begin with an RDB. Records are copied byte for byte; seals of ours,
//! which a hand repair breaks, are not asked about, and written anew. Damage stops everything; a torn tail of the last
//! file is left out and told.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use ironkeep::aof::seal::{HistoryId, Mark};
use ironkeep::aof::{self, Item, Log, Observer, Place, RdbDepth, Report, naming};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::{self, Object};
use ironkeep::cli::locate;
use ironkeep::disk::Disk;

use crate::joined::{self, Destination, Shape};
use crate::report;

/// Make one log of files that belong together: after a repair by hand, or where the manifest is lost
#[derive(clap::Args)]
pub struct Arguments {
    /// The files: a base, if there is one, and increments; or pieces of a single file
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    destination: Destination,
    /// The shape of the result. Without it the name tells: NAME.aof
    #[arg(long, value_enum)]
    to: Option<Shape>,
    /// Read the files as they are named here, whatever their numbers say
    #[arg(long)]
    as_named: bool,
    /// The report as one JSON object (schema aoftool.merge/1); on standard error where the output is standard output
    #[arg(long)]
    json: bool,
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let destination = &arguments.destination;
    let shape = destination.shape(arguments.to)?;
    if shape == Shape::Rdb {
        return Err(Failure::error(Exit::Usage, "merge writes a log: `aoftool convert` makes an RDB of that"));
    }
    let paths = if arguments.as_named { arguments.files.clone() } else { in_order(&arguments.files) };
    let log = Log::of_files(&**disk, &paths).map_err(locate::with_exit)?;
    destination.refuse_input(&**disk, shape, &log)?;
    refuse_rdb_behind(&log)?;
    let mut positions = Positions::default();
    let survey = aof::check(&**disk, &log, RdbDepth::Skip, &mut positions)?;
    report::refuse_damage(&log, &survey)?;
    let notes = positions.judge(&log)?;
    for note in &notes {
        writeln!(io::stderr(), "{note}")?;
    }
    if log.files[0].is_wrapped && survey.files.iter().any(|file| file.records > 0) {
        let message = "is in an envelope, behind which no record can stand: `rdbtool convert` takes it out";
        return Err(Failure::error(Exit::Usage, message).context(report::name(&log.files[0])));
    }
    let format = joined::base_format(&survey);
    let bytes = destination.fill(disk, (shape, format), &mut |out| joined::copy(&**disk, &log, &survey, out))?;
    let records: u64 = survey.files.iter().map(|file| file.records).sum();
    let names: Vec<_> = log.files.iter().map(report::name).collect();
    let more = format!(", {} of {}", report::plural(records, "record"), names.join(", "));
    destination.tell((arguments.json, "aoftool.merge/1"), (&names[0], bytes, &more), &|object| {
        write_files(object, &log, &survey, &notes);
    })?;
    Ok(Exit::Fine)
}

fn write_files(object: &mut Object<'_>, log: &Log, survey: &Report, notes: &[String]) {
    object.array("files", log.files.iter().zip(&survey.files), |out, (file, found)| {
        let mut inner = Object::open(out);
        report::write_file(&mut inner, file, found);
        inner.close();
    });
    object.array("notes", notes, |out, note| json::write_str(out, note));
}

/// In the order of their numbers, where every name has one of its own; else as they are.
fn in_order(files: &[PathBuf]) -> Vec<PathBuf> {
    let number = |path: &PathBuf| naming::parse(path.file_name()?);
    let mut sorted = files.to_vec();
    sorted.sort_by_key(number);
    let has_order = sorted.iter().all(|path| number(path).is_some())
        && sorted.windows(2).all(|pair| number(&pair[0]) < number(&pair[1]));
    if has_order { sorted } else { files.to_vec() }
}

fn refuse_rdb_behind(log: &Log) -> anyhow::Result<()> {
    match log.files[1..].iter().find(|file| file.has_rdb) {
        None => Ok(()),
        Some(file) => {
            let message = format!(
                "begins with an RDB, which can only stand first: behind {} it is the base of another log, or of a later \
                 rewrite, which holds all that was before it",
                report::name(&log.files[0])
            );
            Err(Failure::error(Exit::Refused, message).context(report::name(file)))
        }
    }
}

/// Where each file stands in its history.
#[derive(Default)]
struct Positions {
    files: Vec<Position>,
}

#[derive(Default, Clone)]
struct Position {
    /// What the identity in front says.
    head: Option<(HistoryId, u64)>,
    /// Bytes of records behind that.
    len: u64,
}

impl Observer for Positions {
    fn is_lenient(&self) -> bool {
        true
    }

    fn item(&mut self, index: usize, item: &Item<'_>, _: Place) {
        self.files.resize(self.files.len().max(index + 1), Position::default());
        let position = &mut self.files[index];
        match item {
            Item::Record(record) => position.len += record.raw.len() as u64, // usize has at most 64 bits
            Item::Annotation(line) => {
                if let (0, Some(Ok(Mark::Identity(identity)))) = (position.len, line.mark()) {
                    position.head = Some((identity.id, identity.at));
                }
            }
        }
    }
}

impl Positions {
    /// Refuses files of one history in the wrong order; says where bytes of it are missing, or more than were written.
    fn judge(&self, log: &Log) -> anyhow::Result<Vec<String>> {
        let mut notes = Vec::new();
        for ((former, next), files) in self.files.iter().zip(self.files.iter().skip(1)).zip(log.files.windows(2)) {
            let (Some((former_id, former_at)), Some((id, at))) = (former.head, next.head) else { continue };
            let (former_name, name) = (report::name(&files[0]), report::name(&files[1]));
            if id != former_id {
                notes.push(format!("{name}: is of another history than {former_name}"));
                continue;
            }
            if at < former_at {
                let message = format!("was written before {former_name}: name it first");
                return Err(Failure::error(Exit::Refused, message).context(name));
            }
            let end = former_at + former.len;
            if at != end {
                let (bytes, what) = (report::plural(at.abs_diff(end), "byte"), if at > end { "fewer" } else { "more" });
                notes.push(format!(
                    "{former_name}: has {bytes} of records {what} than when {name} was begun: a hand has been there, or a file \
                     is missing"
                ));
            }
        }
        Ok(notes)
    }
}
