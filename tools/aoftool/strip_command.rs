//! `aoftool strip-command`: the same log without every record of a command, a FLUSHALL that nobody meant above all.
//!
//! A first pass ([`crate::removal`]) says where the records are; only then anything is written ([`crate::change`]).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironkeep::cli::escape::Escaped;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::locate::{self, Request};
use ironkeep::cli::lock;
use ironkeep::disk::Disk;

use crate::change::Wishes;
use crate::removal::{self, Job, Which};

/// Remove every record of a command, FLUSHALL for one, and keep all other bytes
#[derive(clap::Args)]
pub struct Arguments {
    /// Names of commands, in any case; behind them the log: a file, a manifest or a folder. Without it, the log of
    /// --dir, of IRONKEEP_DIR, or of the current folder is found.
    #[arg(value_name = "NAME... [PATH]", required = true)]
    words: Vec<PathBuf>,
    /// The data folder to look in when no path is given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Remove only the last record of those names
    #[arg(long)]
    last: bool,
    /// Also look in the files that rewrites have replaced and the server has kept, though the log has such records. Where
    /// it has none this is done in any case.
    #[arg(long)]
    history: bool,
    #[command(flatten)]
    wishes: Wishes,
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let (names, path) = names_and_path(&**disk, arguments)?;
    let located = locate::locate(disk, Request { path: path.as_deref(), dir: arguments.dir.as_deref() })?;
    // What is looked at must be what is changed.
    let _hold = if arguments.wishes.output.is_none() { Some(lock::hold(&**disk, &located.log)?) } else { None };
    let whole = located.log.with_history(&**disk)?;
    let present = Job { disk, name: &located.name, log: &located.log, is_whole: false, names: &names };
    let which = Which { only_last: arguments.last, wants_history: arguments.history };
    let mut list = io::BufWriter::new(io::stdout());
    let (job, survey) = present
        .or_with_history(whole.as_ref(), which, &mut |file, removed| removal::write_line(&mut list, file, removed))?;
    list.flush()?;
    if survey.removed() == 0 {
        return job.nothing_found(&survey);
    }
    let what = survey.what(&names);
    let phrases = (&*format!("remove {what}"), &*format!("Removed {what}"));
    let fill = |index: usize, out: &mut dyn Write| job.fill(index, &survey, out);
    let change = job.change(&survey, phrases, &fill);
    let outcome = change.carry_out(&arguments.wishes)?;
    outcome.tell(&change)?;
    Ok(outcome.exit())
}

/// The last word is the path if it looks like one or is there; the others are names of commands.
fn names_and_path(disk: &dyn Disk, arguments: &Arguments) -> anyhow::Result<(Vec<Vec<u8>>, Option<PathBuf>)> {
    let usage = |message: String| Failure::error(Exit::Usage, message);
    let mut words = arguments.words.clone();
    let mut path = None;
    if let [_, .., last] = &words[..] {
        let text = last.as_os_str().as_encoded_bytes();
        let looks = text.contains(&b'/') || text == b"-" || text.ends_with(b".aof") || text.ends_with(b".manifest");
        if looks || disk.exists(last) {
            path = words.pop();
        }
    }
    if path.as_deref() == Some(Path::new("-")) {
        return Err(usage("standard input can't be stripped: give a path".to_owned()));
    }
    if path.is_some() && arguments.dir.is_some() {
        return Err(usage("a path and --dir exclude each other".to_owned()));
    }
    let names: Vec<Vec<u8>> =
        words.iter().map(|word| word.as_os_str().as_encoded_bytes().to_ascii_uppercase()).collect();
    for name in &names {
        if matches!(&name[..], b"SELECT" | b"MULTI" | b"EXEC") {
            let name = Escaped(name);
            return Err(usage(format!("{name} can't be stripped: the commands around it would change their meaning")));
        }
        if name.is_empty() || name.contains(&b'/') {
            return Err(usage(format!("'{}' is no name of a command; the path comes last", Escaped(name))));
        }
    }
    Ok((names, path))
}
