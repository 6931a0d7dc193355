//! What `rdbtool load` is asked.

use super::pace::Rate;
use super::session::Existing;
use crate::Place as InputPlace;
use crate::selection::Selection;
use ironkeep::cli::client;
use ironkeep::engine::params::kind::parse_memory;
use std::path::PathBuf;

/// Write the keys and function libraries of a file into a running server
///
/// Everything goes that has not expired, into the database where the file has it. A load that is interrupted says how to
/// go on.
#[derive(clap::Args)]
#[command(allow_missing_positional = true)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) place: InputPlace,
    /// The server: redis://[user[:password]@]host[:port][/db]; the password also by REDISCLI_AUTH. With a database,
    /// everything goes into that one.
    pub(super) server: String,
    /// By RESTORE, or by commands such as HSET and XADD
    #[arg(long, value_enum, default_value = "restore")]
    pub(super) mode: Mode,
    /// What to do with keys and libraries that are there already
    #[arg(long, value_enum, default_value = "fail", conflicts_with = "replace")]
    pub(super) existing: Existing,
    /// The same as --existing replace
    #[arg(long)]
    pub(super) replace: bool,
    /// Put the keys of one database into another; may be given several times
    #[arg(long, value_name = "FROM:TO", value_parser = parse_map)]
    pub(super) db_map: Vec<(u64, u64)>,
    /// How many keys may be under way at once
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) pipeline: u64,
    /// Not faster than this: 500 (keys per second), 20mb (bytes per second)
    #[arg(long, value_parser = Rate::parse)]
    pub(super) rate: Option<Rate>,
    /// Keep in this file how far it came, and go on from there if the file is there
    #[arg(long, value_name = "FILE", conflicts_with = "skip")]
    pub(super) resume: Option<PathBuf>,
    /// Pass over the first so many keys and libraries of the input
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(super) skip: u64,
    /// Go on behind a key that the server refuses; the exit code is then 1
    #[arg(long = "continue")]
    pub(super) goes_on: bool,
    /// A larger value goes by commands
    #[arg(long, value_name = "SIZE", default_value = "64mb", value_parser = parse_size)]
    pub(super) max_restore: u64,
    /// Leave the function libraries out
    #[arg(long)]
    pub(super) no_functions: bool,
    /// Send nothing but the question which keys are there already
    #[arg(long)]
    pub(super) dry_run: bool,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = client::PATIENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) timeout: u64,
    /// The report as one JSON object (schema rdbtool.load/1)
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) selection: Selection,
}

/// How a key is sent first.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mode {
    /// As it stands in the file
    Restore,
    /// Element by element
    Commands,
}

fn parse_map(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once(':').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    parts.ok_or_else(|| "two database numbers with a colon between them: 3:0".to_owned())
}

fn parse_size(text: &str) -> Result<u64, String> {
    parse_memory(text.as_bytes()).ok_or_else(|| "a size is a number and a unit: b, k, kb, m, mb, g, gb".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_and_sizes_are_read() {
        assert_eq!(parse_map("3:0"), Ok((3, 0)));
        assert!(parse_map("3").is_err() && parse_map("a:0").is_err());
        assert_eq!(parse_size("64mb"), Ok(64 << 20));
    }
}
