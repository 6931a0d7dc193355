//! `rdbtool`: look into RDB files. One file per verb; the formats of `dump` are in `output`.

mod build;
mod check;
mod check_rdb;
mod convert;
mod diff;
mod dump;
mod explain;
mod fetch;
mod filter;
mod fits;
mod info;
mod library;
mod load;
mod losses;
mod memory;
mod merge;
mod opened;
mod output;
mod part;
mod passes;
mod repair;
mod report;
mod selection;
mod servers;
#[path = "../shared/mod.rs"]
mod shared;
mod slots;
mod split;

use clap::{CommandFactory, Parser, Subcommand};
use ironkeep::cli::exit::{self, Exit};
use ironkeep::cli::manual;
use ironkeep::rdb::Options;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: ironkeep::allocator::Jemalloc = ironkeep::allocator::Jemalloc;

/// Look into RDB files of any version of Redis and Valkey.
///
/// Exit codes: 0 fine, 1 findings, differences or no match, 2 usage, 3 could not read or write, 4 unsupported version or
/// feature, 5 refused for safety.
#[derive(Parser)]
#[command(name = "rdbtool", version)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Info(info::Arguments),
    Check(check::Arguments),
    Repair(repair::Arguments),
    Dump(dump::Arguments),
    Build(build::Arguments),
    Filter(filter::Arguments),
    Split(split::Arguments),
    Merge(merge::Arguments),
    Memory(memory::Arguments),
    Report(report::Arguments),
    Diff(diff::Arguments),
    Convert(convert::Arguments),
    Explain(explain::Arguments),
    Fetch(fetch::Arguments),
    Load(load::Arguments),
    Completions(manual::CompletionsArguments),
    Man(manual::ManArguments),
}

/// Which file a verb reads.
#[derive(clap::Args)]
pub struct Place {
    /// An RDB file (plain, gzip or zstd), `-` for standard input, a data folder, the manifest of a multi-part log, or a
    /// running server as redis://[user[:password]@]host[:port]. Without it, the RDB of --dir, of IRONKEEP_DIR, or of the
    /// current folder is found.
    file: Option<PathBuf>,
    /// The data folder to look in when no file is named.
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    dir: Option<PathBuf>,
    /// Do not verify the checksum of the file.
    #[arg(long)]
    no_verify: bool,
}

impl Place {
    /// How to read the file.
    pub fn options(&self) -> Options {
        Options { verify: !self.no_verify }
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = PathBuf::from(words.next().unwrap_or_default());
    if let Some(name) = shared::called::by(&program, &check_rdb::NAMES) {
        return check_rdb::main(name, &words.collect::<Vec<_>>());
    }
    exit::run(run)
}

fn run() -> anyhow::Result<Exit> {
    match CommandLine::parse().verb {
        Verb::Info(arguments) => info::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Repair(arguments) => repair::run(&arguments),
        Verb::Dump(arguments) => dump::run(&arguments),
        Verb::Build(arguments) => build::run(&arguments),
        Verb::Filter(arguments) => filter::run(&arguments),
        Verb::Split(arguments) => split::run(&arguments),
        Verb::Merge(arguments) => merge::run(&arguments),
        Verb::Memory(arguments) => memory::run(&arguments),
        Verb::Report(arguments) => report::run(&arguments),
        Verb::Diff(arguments) => diff::run(&arguments),
        Verb::Convert(arguments) => convert::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Fetch(arguments) => fetch::run(&arguments),
        Verb::Load(arguments) => load::run(&arguments),
        Verb::Completions(arguments) => manual::write_completions(&arguments, CommandLine::command()),
        Verb::Man(arguments) => manual::write_pages(&arguments, CommandLine::command()),
    }
}
