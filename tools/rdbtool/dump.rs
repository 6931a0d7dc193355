//! `rdbtool dump`: everything in the file, as JSON or as a listing.

use crate::Place;
use crate::opened::{self, FileReader};
use crate::output::{Format, JsonArray, JsonLines, Listing, Records, Sink};
use anyhow::Context;
use ironkeep::cli::exit::Exit;
use ironkeep::codec::glob;
use ironkeep::rdb::{Error, Event, KeyHeader};
use std::io;

/// Print all keys with their values, and what else the file holds
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// One JSON array with an object per key
    #[arg(long, conflicts_with = "ndjson")]
    json: bool,
    /// A JSON object per line
    #[arg(long)]
    ndjson: bool,
    #[command(flatten)]
    filter: Filter,
}

/// Which keys are wanted.
#[derive(clap::Args)]
struct Filter {
    /// Only keys of these databases
    #[arg(long, value_name = "NUMBER")]
    db: Vec<u64>,
    /// Only keys that match one of these patterns, as KEYS has them
    #[arg(long, value_name = "GLOB")]
    key: Vec<String>,
    /// Only keys of these types: string, list, set, zset, hash, stream, module
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
}

impl Filter {
    fn wants(&self, key: &KeyHeader) -> bool {
        (self.db.is_empty() || self.db.contains(&key.db))
            && (self.types.is_empty() || self.types.iter().any(|name| name == key.kind.type_name()))
            && (self.key.is_empty() || self.key.iter().any(|pattern| glob::matches(pattern.as_bytes(), &key.key)))
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let input = opened::open(&arguments.place)?;
    let name = input.name.clone();
    let mut reader =
        opened::reader(input, arguments.place.options()).map_err(|error| opened::failure(&name, &error))?;
    let sink = Sink::new(Box::new(io::stdout().lock()));
    let mut format: Box<dyn Format> = if arguments.json {
        Box::new(Records::<JsonArray>::new(sink))
    } else if arguments.ndjson {
        Box::new(Records::<JsonLines>::new(sink))
    } else {
        Box::new(Listing::new(sink))
    };
    format.open();
    match walk(&mut reader, &arguments.filter, format.as_mut())? {
        Ok(()) => {
            format.close().context("standard output")?;
            Ok(Exit::Fine)
        }
        Err(damage) => {
            // What is whole comes out before the reason why no more does.
            format.abandon().context("standard output")?;
            Err(opened::failure(&name, &damage))
        }
    }
}

/// Walks the file. The outer error is the output's, the inner one the file's.
fn walk(reader: &mut FileReader, filter: &Filter, format: &mut dyn Format) -> anyhow::Result<Result<(), Error>> {
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(damage) => return Ok(Err(damage)),
        };
        match event {
            Event::Aux { name, value } => format.aux(&name, &value),
            Event::ModuleAux { module, raw, .. } => format.module_aux(&module, &raw),
            Event::Function { code } => format.function(&code),
            Event::Key(key) => {
                let outcome = if filter.wants(&key) {
                    format.begin_key(&key);
                    reader.value(format).inspect(|()| format.end_key())
                } else {
                    reader.skip()
                };
                if outcome.is_err() {
                    return Ok(outcome);
                }
            }
            Event::End { .. } => return Ok(Ok(())),
            // Hints and states of the writer that say nothing of the data.
            Event::SelectDb(_)
            | Event::ResizeDb { .. }
            | Event::SlotInfo { .. }
            | Event::SlotImport { .. }
            | Event::Foreign { .. } => {}
        }
        format.check().context("standard output")?;
    }
}
