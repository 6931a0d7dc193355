//! `aoftool`: look into append-only logs, and mend them. One file per verb.

mod at;
mod change;
mod check;
mod check_aof;
mod compact;
mod convert;
mod diff;
mod dump;
mod filter;
mod fix;
mod info;
mod joined;
mod loaded;
mod merge;
mod parted;
mod print;
mod records;
mod remade;
mod removal;
mod replay;
mod report;
mod seal;
mod selection;
#[path = "../shared/mod.rs"]
mod shared;
mod skip;
mod stats;
mod strip_command;
mod tail;
mod timeline;
mod truncate;
mod undo;
mod undo_flush;
mod value;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use ironkeep::cli::exit::{self, Exit, Failure};
use ironkeep::cli::locate::{self, Located};
use ironkeep::cli::manual;
use ironkeep::disk::{Disk, RealDisk};

#[global_allocator]
static ALLOCATOR: ironkeep::allocator::Jemalloc = ironkeep::allocator::Jemalloc;

/// Look into append-only logs of any version of Redis and Valkey, and mend them.
///
/// Exit codes: 0 fine or done as asked, 1 findings or no match, 2 usage, 3 could not read or write, 4 unsupported
/// version or feature, 5 refused for safety.
#[derive(Parser)]
#[command(name = "aoftool", version)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Info(info::Arguments),
    Check(check::Arguments),
    Dump(dump::Arguments),
    Grep(dump::GrepArguments),
    StripCommand(strip_command::Arguments),
    Convert(convert::Arguments),
    Merge(merge::Arguments),
    Replay(replay::Arguments),
    Tail(tail::Arguments),
    Stats(stats::Arguments),
    At(at::Arguments),
    Diff(diff::Arguments),
    UndoFlush(undo_flush::Arguments),
    Truncate(truncate::Arguments),
    Undo(undo::Arguments),
    Seal(seal::Arguments),
    Unseal(seal::UnsealArguments),
    Completions(manual::CompletionsArguments),
    Man(manual::ManArguments),
}

/// Which log a verb reads.
#[derive(clap::Args)]
pub struct Place {
    /// A log file, a manifest, a folder that holds either, or `-` for standard input. Without it, the log of --dir, of
    /// IRONKEEP_DIR, or of the current folder is found.
    path: Option<PathBuf>,
    /// The data folder to look in when no path is given.
    #[arg(long, value_name = "DIR", conflicts_with = "path")]
    dir: Option<PathBuf>,
}

impl Place {
    fn locate(&self, disk: &Arc<dyn Disk>) -> anyhow::Result<Located> {
        locate::locate(disk, locate::Request { path: self.path.as_deref(), dir: self.dir.as_deref() })
    }

    /// As [`Place::locate`], for verbs that change what they read.
    fn locate_for_change(&self, disk: &Arc<dyn Disk>) -> anyhow::Result<Located> {
        if self.path.as_deref() == Some(Path::new("-")) {
            return Err(Failure::error(Exit::Usage, "standard input can't be changed: give a path"));
        }
        self.locate(disk)
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = PathBuf::from(words.next().unwrap_or_default());
    if let Some(name) = shared::called::by(&program, &check_aof::NAMES) {
        return check_aof::main(name, &words.collect::<Vec<_>>());
    }
    exit::run(run)
}

fn run() -> anyhow::Result<Exit> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    match CommandLine::parse().verb {
        Verb::Info(arguments) => info::run(&disk, &arguments),
        Verb::Check(arguments) => check::run(&disk, &arguments),
        Verb::Dump(arguments) => dump::run(&disk, &arguments),
        Verb::Grep(arguments) => dump::grep(&disk, &arguments),
        Verb::StripCommand(arguments) => strip_command::run(&disk, &arguments),
        Verb::Convert(arguments) => convert::run(&disk, &arguments),
        Verb::Merge(arguments) => merge::run(&disk, &arguments),
        Verb::Replay(arguments) => replay::run(&disk, &arguments),
        Verb::Tail(arguments) => tail::run(&disk, &arguments),
        Verb::Stats(arguments) => stats::run(&disk, &arguments),
        Verb::At(arguments) => at::run(&disk, &arguments),
        Verb::Diff(arguments) => diff::run(&disk, &arguments),
        Verb::UndoFlush(arguments) => undo_flush::run(&disk, &arguments),
        Verb::Undo(arguments) => undo::run(&disk, &arguments),
        Verb::Truncate(arguments) => truncate::run(&disk, &arguments),
        Verb::Seal(arguments) => seal::run(&disk, &arguments),
        Verb::Unseal(arguments) => seal::run_unseal(&disk, &arguments),
        Verb::Completions(arguments) => manual::write_completions(&arguments, CommandLine::command()),
        Verb::Man(arguments) => manual::write_pages(&arguments, CommandLine::command()),
    }
}
