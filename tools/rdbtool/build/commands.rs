//! Commands into data: our own engine executes them, as it replays a log, and its data is written out.
//!
//! Nothing expires meanwhile, however long ago it should have. A command that fails is the end: a file of commands is
//! taken whole or not at all. The data lies in memory.

use super::Record;
use anyhow::{Context, bail};
use ironkeep::aof::{Item, Reader};
use ironkeep::command::replay::Replay;
use ironkeep::engine::Engine;
use ironkeep::engine::clock::Clock;
use ironkeep::engine::params::Config;
use ironkeep::keyspace::View;
use ironkeep::rdb::{KeyMeta, ObjectRef};
use std::io::Read;

/// Databases that a SELECT finds; far more than servers are configured with, for a few bytes each.
const DATABASES: usize = 16 * 1024;

/// The data that commands gave.
pub struct Executed(Engine);

impl Executed {
    /// Executes everything in `reader`.
    pub fn of<R: Read>(reader: R) -> anyhow::Result<Executed> {
        let mut config = Config::default();
        config.databases = DATABASES;
        let mut engine = Engine::new(config, Clock::system(), fastrand::Rng::new());
        engine.persistence.is_loading = true;
        let (mut replay, mut number) = (Replay::strict(), 0_u64);
        let mut records = Reader::new(reader);
        while let Some(item) = records.next()? {
            let Item::Record(record) = item else { continue };
            number += 1;
            replay
                .run(&mut engine, &record.arguments)
                .with_context(|| format!("command {number}, at offset {}", record.offset))?;
        }
        if replay.is_in_transaction() {
            bail!("the commands end inside a MULTI, without its EXEC");
        }
        Ok(Executed(engine))
    }

    /// Hands everything to `each`, as often as it is asked to.
    pub fn each(&mut self, each: &mut dyn FnMut(Record<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        for library in self.0.functions.iter() {
            each(Record::Function(&library.code))?;
        }
        let snapshot = self.0.keyspace.snapshot()?;
        let visited = snapshot.visit(
            |_, _| Ok(true),
            |db, entry| {
                let header = KeyMeta { key: entry.key, expire_at_ms: entry.expire_at_ms, ..KeyMeta::default() };
                let unpacked = if let View::Compact(compact) = entry.value { Some(compact.to_object()) } else { None };
                let value = match entry.value {
                    View::Compact(_) => unpacked.as_ref().map(ObjectRef::Object),
                    View::Object(object) => Some(ObjectRef::Object(object)),
                    other => other.string().map(ObjectRef::String),
                };
                match value {
                    Some(value) => each(Record::Key { db: db as u64, header, value }), // usize fits
                    None => Ok(()),
                }
            },
        );
        self.0.keyspace.reclaim();
        visited
    }
}
