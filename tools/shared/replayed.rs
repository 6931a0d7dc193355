//! The data that a log leads to, in an engine of the server.

use anyhow::Context;
use ironkeep::aof::Log;
use ironkeep::cli::locate::show;
use ironkeep::cli::plural::plural;
use ironkeep::disk::Disk;
use ironkeep::engine::Engine;
use ironkeep::engine::clock::Clock;
use ironkeep::engine::params::Config;
use ironkeep::persist::PersistError;
use ironkeep::persist::load::{Loaded, replay_log};
use ironkeep::persist::save::Image;
use ironkeep::rdb::{Version, WriteOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use tempfile::SpooledTempFile;

/// A spool beyond this goes to a file.
const SPOOL_IN_MEMORY: usize = 1 << 20;
/// For messages.
pub const SPOOL_NAME: &str = "temporary file";

/// An engine without data.
pub fn empty_engine(databases: usize, clock: Clock) -> Engine {
    let mut config = Config::default();
    config.databases = databases;
    Engine::new(config, clock, fastrand::Rng::new())
}

/// Replays a log into an engine, which takes the memory that a server takes for this data. Nothing on disk is changed,
/// a torn tail is passed over; what is to be said goes to standard error.
pub fn engine_of(disk: &Arc<dyn Disk>, log: &Log, databases: usize) -> anyhow::Result<Engine> {
    writeln!(io::stderr(), "replaying {}", show(log.path()))?;
    let (engine, loaded) = quietly(disk, log, databases)?;
    for warning in &loaded.warnings {
        writeln!(io::stderr(), "{warning}")?;
    }
    writeln!(io::stderr(), "replayed {}, {}", plural(loaded.records, "command"), plural(loaded.keys, "key"))?;
    Ok(engine)
}

/// As [`engine_of`], and what is to be said is left to the caller.
pub fn quietly(disk: &Arc<dyn Disk>, log: &Log, databases: usize) -> anyhow::Result<(Engine, Loaded)> {
    let mut engine = empty_engine(databases, Clock::system());
    let loaded = replay_log(&mut engine, disk, log).map_err(|error| advise(error, databases))?;
    Ok((engine, loaded))
}

/// The data of an engine as an RDB of this version, to be read from its start.
pub fn spooled_rdb(engine: &mut Engine, version: Version) -> anyhow::Result<SpooledTempFile> {
    let options = WriteOptions { checksum: false, compress: false };
    let mut out = BufWriter::new(SpooledTempFile::new(SPOOL_IN_MEMORY));
    Image::take(engine, false).write_as(version, options, &mut out, Path::new(SPOOL_NAME))?;
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error).context(SPOOL_NAME)?;
    file.rewind().context(SPOOL_NAME)?;
    Ok(file)
}

/// Adds what to do where the log uses a database that the engine was not given.
fn advise(error: PersistError, databases: usize) -> anyhow::Error {
    let text = error.to_string();
    let is_about_databases = text.contains("DB index") || text.contains("set `databases`");
    let error = anyhow::Error::from(error);
    if is_about_databases {
        return error.context(format!("there are {databases} databases here, --databases gives more"));
    }
    error
}
