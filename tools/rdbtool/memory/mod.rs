//! `rdbtool memory`: what the file's keys cost a server that has loaded them.
//!
//! Every value is streamed; sums, the largest keys and a bounded tree of prefixes are all that is held. [`server`] has
//! the layouts, [`model`] counts a value, [`survey`] adds up.

mod allocator;
mod csv;
mod json;
mod model;
mod prefix;
mod rax;
mod server;
mod stream;
mod survey;
mod text;

pub use prefix::Node;
pub use survey::{EXPIRY_CLASSES, Histogram, Large, Settings, Survey, Tally};

use crate::Place;
use crate::opened;
use crate::selection::Selection;
use allocator::Allocator;
use anyhow::Context;
use clap::ValueEnum;
use ironkeep::cli::exit::Exit;
use ironkeep::cli::utc::Utc;
use server::Server;
use std::io::{self, BufWriter, Write};

/// Estimate what the keys cost in memory: by key, type, prefix and size
///
/// The estimate is what used_memory of the server would be after loading the file, with its default configuration.
/// Values are counted in the encoding that the server would give them, whatever they are stored in.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    model: Model,
    /// List only this, without the summary
    #[arg(long, value_enum)]
    by: Option<By>,
    /// The report as one JSON object (schema rdbtool.memory/1)
    #[arg(long, alias = "ndjson", conflicts_with = "csv")]
    json: bool,
    /// Comma-separated values with a header line: of all keys, or of what --by names
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    selection: Selection,
}

/// What is listed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Every key, in the order of the file
    Key,
    /// Types and encodings
    Type,
    /// Prefixes
    Prefix,
}

/// Which server is estimated, and how its keys are grouped.
#[derive(clap::Args)]
pub struct Model {
    /// The server that would load the file: redis-7.0, redis-7.2, redis-7.4, redis-8.0, valkey-7.2, valkey-8.0,
    /// valkey-8.1, valkey-9.0, valkey-9.1 (redis-7.0, redis-8.0 and valkey-9.1 were measured, the others are derived).
    /// Without it, the one that wrote the file or the nearest below it; redis-8.0 where the file does not tell
    #[arg(long, value_name = "SERVER", value_parser = server::named)]
    server: Option<&'static Server>,
    /// What the server's INFO calls mem_allocator
    #[arg(long, value_enum, default_value_t)]
    allocator: Allocator,
    /// How many of the largest keys to list
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// What parts the words of a key
    #[arg(long, value_name = "TEXT", default_value = ":")]
    separator: String,
    /// How many words of a key make a prefix at most; not more than 100
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(..=100))]
    depth: u16,
    /// How many prefixes are held; beyond, small ones are folded into "(other)"
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    max_prefixes: usize,
    /// Count keys whose time is over, as a replica holds them; a server drops them at load
    #[arg(long)]
    keep_expired: bool,
}

impl Model {
    /// The settings of a walk that begins now.
    pub fn settings(&self) -> Settings {
        Settings {
            server: self.server,
            allocator: self.allocator,
            separator: self.separator.clone().into_bytes(),
            depth: usize::from(self.depth),
            max_prefixes: self.max_prefixes,
            top: self.top,
            keeps_expired: self.keep_expired,
            now_ms: Utc::now().0,
        }
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let input = opened::open(&arguments.place)?;
    let name = input.name.clone();
    let mut reader =
        opened::reader(input, arguments.place.options()).map_err(|error| opened::failure(&name, &error))?;
    let mut survey = Survey::new(arguments.model.settings(), &mut reader);
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let (by, selection) = (arguments.by, &arguments.selection);
    let lists_keys = by == Some(By::Key) || (arguments.csv && by.is_none());
    let mut line = Vec::new();
    let outcome = match (lists_keys, arguments.csv, arguments.json) {
        (true, true, _) => {
            out.write_all(csv::KEY_HEADER).context("standard output")?;
            survey.walk(&mut reader, selection, |key, estimate| csv::key(&mut line, &mut out, key, estimate))
        }
        (true, _, true) => {
            json::open(&mut line, &name, &survey);
            line.extend_from_slice(b",\"keys\":[");
            let mut first = true;
            survey.walk(&mut reader, selection, |key, estimate| {
                if !std::mem::take(&mut first) {
                    line.push(b',');
                }
                json::key(&mut line, key, estimate);
                let written = out.write_all(&line).context("standard output");
                line.clear();
                written
            })
        }
        (true, false, false) => survey.walk(&mut reader, selection, |key, estimate| text::key(&mut out, key, estimate)),
        _ => survey.walk(&mut reader, selection, |_, _| Ok(())),
    }?;
    match (arguments.json, arguments.csv, by) {
        (true, _, Some(By::Key)) => json::close_keys(&mut line, &survey, outcome.is_ok()),
        (true, ..) => json::report(&mut line, &name, &survey, outcome.is_ok()),
        (_, true, Some(By::Type)) => csv::types(&mut line, &survey),
        (_, true, Some(By::Prefix)) => csv::prefixes(&mut line, &survey),
        (_, true, _) | (_, _, Some(By::Key)) => line.clear(),
        (_, _, Some(By::Type)) => text::types(&mut line, &survey)?,
        (_, _, Some(By::Prefix)) => text::all_prefixes(&mut line, &survey)?,
        (false, false, None) => text::report(&mut line, &name, &survey)?,
    }
    out.write_all(&line).and_then(|()| out.flush()).context("standard output")?;
    outcome.map_or_else(|error| Err(opened::failure(&name, &error)), |()| Ok(Exit::Fine))
}
