//! How far a replay has come, in a file that a later one goes on from.
//!
//! Before a batch is sent, the file says up to where (`sent`), durably; when all its answers are there, it is `done`. A
//! replay that stops by itself ends with both at one place. Where one was killed, or its connection cut, what lies between
//! them may have been executed or not, and only the user can know what to do about it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::LogFile;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::{Object, bytes_of};
use ironkeep::cli::locate::show;
use ironkeep::disk::{Disk, publish_bytes};
use serde_json::Value;

const SCHEMA: &str = "aoftool.replay.state/1";
const MOST_BYTES: u64 = 1 << 20;

/// A place between two units of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Index among the log's files.
    pub file: usize,
    /// Behind the RDB in front of the file, if there is one; before, offsets count the bytes of the commands made of it.
    pub is_in_records: bool,
    pub offset: u64,
    /// The database that the next unit works on.
    pub db: u64,
    /// Unix ms, the last time told.
    pub time_ms: Option<i64>,
}

/// The file.
pub struct State {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// What an earlier replay has left.
    pub earlier: Option<Earlier>,
}

pub struct Earlier {
    pub done: Place,
    pub sent: Place,
}

impl State {
    /// Reads the file; where there is none, a replay begins at the start.
    pub fn open(disk: &Arc<dyn Disk>, path: &Path, files: &[LogFile]) -> anyhow::Result<Self> {
        let mut state = Self { path: path.to_owned(), disk: Arc::clone(disk), earlier: None };
        if disk.exists(path) {
            let content = disk.read_small(path, MOST_BYTES).with_context(|| show(path))?;
            let json: Value = serde_json::from_slice(&content).unwrap_or_default();
            let places =
                (json["schema"] == SCHEMA).then(|| place(&json["done"], files).zip(place(&json["sent"], files)));
            let message = "this is no state of `aoftool replay` for this log: name another file";
            let (done, sent) =
                places.flatten().ok_or_else(|| Failure::error(Exit::Usage, message)).with_context(|| show(path))?;
            state.earlier = Some(Earlier { done, sent });
        }
        Ok(state)
    }

    /// Makes it known, durably.
    pub fn write(&self, files: &[LogFile], done: Place, sent: Place) -> anyhow::Result<()> {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.str("schema", SCHEMA);
        for (name, place) in [("done", done), ("sent", sent)] {
            let mut inner = Object::open(object.member(name.as_bytes()));
            inner.u64("index", place.file as u64); // usize has at most 64 bits
            inner.bytes("file", files.get(place.file).map_or(String::new(), LogFile::name).as_bytes());
            inner.bool("in_records", place.is_in_records).u64("offset", place.offset).u64("db", place.db);
            if let Some(time_ms) = place.time_ms {
                inner.i64("time_ms", time_ms);
            }
            inner.close();
        }
        object.close();
        out.push(b'\n');
        let folder = self.path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let name = self.path.file_name().unwrap_or(OsStr::new("state"));
        publish_bytes(&self.disk, folder, name, &out).with_context(|| show(&self.path))
    }

    /// The end of a replay that is complete.
    pub fn finish(&self) -> anyhow::Result<()> {
        if self.disk.exists(&self.path) {
            self.disk.remove(&self.path).with_context(|| show(&self.path))?;
        }
        Ok(())
    }
}

/// A place as the file tells it, if this log has it.
fn place(json: &Value, files: &[LogFile]) -> Option<Place> {
    let place = Place {
        file: usize::try_from(json["index"].as_u64()?).ok()?,
        is_in_records: json["in_records"].as_bool()?,
        offset: json["offset"].as_u64()?,
        db: json["db"].as_u64()?,
        time_ms: json["time_ms"].as_i64(),
    };
    let file = files.get(place.file)?;
    let is_it = bytes_of(json["file"].as_str()?)? == file.name().as_bytes();
    (is_it && (!place.is_in_records || place.offset <= file.len)).then_some(place)
}
