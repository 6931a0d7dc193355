//! A dump beside a log that was written before it. A start with a log does not look at dumps, so what only the dump holds would
//! be missing without a word, and the next save would overwrite it.
//!
//! Our own dumps say where the log was ([`LOG_POSITION`]):
//!
//! ```text
//! saved while the log was off       the log lacks what was written then: the start stops, and tells both ways to go on
//! the log holds that position       no news
//! anything else, as a peer's dump   a warning, with the way to start from it
//! ```

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::aof::Log;
use crate::codec::shell::quote;
use crate::disk::{Disk, Mode};
use crate::engine::params::Config;
use crate::persist::PersistError;
use crate::persist::save::{LOG_POSITION, WITHOUT_LOG};
use crate::rdb::{self, Event, Options, Reader};

use super::LogEnd;

/// A dump that was written after every file of the log that a start loads.
pub struct NewerDump {
    path: PathBuf,
    log: PathBuf,
    /// By how much.
    newer: Duration,
    /// What it says of the log.
    said: Option<String>,
}

impl NewerDump {
    /// Looks for one, before a load may cut the log's files. What can't be read matters to who loads it.
    pub fn find(disk: &dyn Disk, config: &Config) -> Option<Self> {
        let dir = Path::new(&config.dir);
        let log = Log::of_server(disk, dir, config.appenddirname.as_ref(), config.appendfilename.as_ref()).ok()??;
        let modified = |path: &Path| Some(disk.metadata(path).ok()?.modified);
        let path = dir.join(&config.dbfilename);
        let written = modified(&path)?;
        let last: SystemTime = log.files.iter().filter_map(|file| modified(&file.path)).max()?;
        let newer = written.duration_since(last).ok().filter(|newer| !newer.is_zero())?;
        // A single file is the log; of others it is their folder.
        let log = if log.manifest.is_some() { log.folder } else { log.path().to_owned() };
        let said = disk.open(&path, Mode::Read).ok().and_then(|file| log_position(rdb::envelope::unwrap(file).ok()?));
        Some(Self { path, log, newer, said })
    }

    /// Stops the start where the dump is known to hold what the log does not.
    pub fn refuse_unlogged(&self) -> Result<(), PersistError> {
        if self.said.as_deref() != Some(WITHOUT_LOG) {
            return Ok(());
        }
        Err(PersistError::Refused {
            path: self.path.clone(),
            reason: format!(
                "it was saved while the log was off, {} s after the log's last change, so it holds what the log does not; \
                 with appendonly yes the log would be loaded instead. To start from the dump: `{}`; to start from the log: \
                 `{}`; or set appendonly no",
                self.newer.as_secs(),
                aside(&self.log),
                aside(&self.path)
            ),
        })
    }

    /// What to say of it, once the log is loaded up to `end`; nothing where the log has all of it.
    pub fn doubt(&self, end: Option<&LogEnd>) -> Option<String> {
        let known = self.said.as_deref().and_then(|said| said.split_once(' '));
        let id = end.and_then(|end| end.history.id).map(|id| id.to_string());
        let is_of_log = known.is_some_and(|(of, _)| id.as_deref() == Some(of));
        let position = known.and_then(|(_, position)| position.parse::<u64>().ok());
        if is_of_log && position <= end.map(|end| end.history.at) {
            return None;
        }
        Some(format!(
            "!!! {} is newer than the log, and WAS NOT LOADED: with appendonly yes the log is the data. If it is a dump \
             that you want to start from: SHUTDOWN NOSAVE, then `{}`, then start the server again",
            self.path.display(),
            aside(&self.log)
        ))
    }
}

/// The command that moves a file or folder aside.
fn aside(path: &Path) -> String {
    let path = path.to_string_lossy();
    format!("mv {} {}", quote(&path), quote(&format!("{path}.aside")))
}

/// What a dump says of the log that there was.
fn log_position(dump: impl Read) -> Option<String> {
    let mut reader = Reader::new(dump, Options::default()).ok()?;
    loop {
        match reader.next() {
            Ok(Event::Aux { name, value }) if name == LOG_POSITION.as_bytes() => {
                return Some(String::from_utf8_lossy(&value).into_owned());
            }
            Ok(Event::Aux { .. }) => {}
            _ => return None,
        }
    }
}
