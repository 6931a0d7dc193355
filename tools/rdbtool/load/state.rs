//! How far a load has come, in a file that a later one continues from.
//!
//! Things are counted in the order of the input (function libraries and keys, whether selected or not). `done` are
//! answered for. What was sent behind them may have arrived or not: it is below `sent`, which is made durable before
//! anything beyond is sent. A key in between that is there already was loaded before the cut, whole, since every key
//! appears by one RESTORE or one RENAMENX.

use anyhow::Context;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::{Object, bytes_of};
use ironkeep::cli::locate::show;
use ironkeep::disk::{Disk, RealDisk, publish_bytes};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SCHEMA: &str = "rdbtool.load.state/1";
const MOST_BYTES: u64 = 64 << 20;
/// How far ahead `sent` is written, so that the file is not written for every key.
const AHEAD: u64 = 10_000;

/// A place in the input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub count: u64,
    /// Where what comes next begins, and its name, so that another input is noticed.
    pub offset: u64,
    pub key: Vec<u8>,
}

/// The file.
pub struct State {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    pub done: Place,
    /// Nothing from here on was ever sent.
    pub sent: u64,
}

impl State {
    /// Reads the file; where there is none, a load begins at the start.
    pub fn open(path: &Path) -> anyhow::Result<State> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let mut state = State { path: path.to_owned(), disk, done: Place::default(), sent: 0 };
        if state.disk.exists(path) {
            let content = state.disk.read_small(path, MOST_BYTES).with_context(|| show(path))?;
            let message = "this is no state of rdbtool load: name another file";
            state.read(&content).ok_or_else(|| Failure::error(Exit::Usage, message)).with_context(|| show(path))?;
        }
        Ok(state)
    }

    fn read(&mut self, content: &[u8]) -> Option<()> {
        let json: serde_json::Value = serde_json::from_slice(content).ok()?;
        (json["schema"] == SCHEMA).then_some(())?;
        self.done.count = json["done"].as_u64()?;
        self.done.offset = json["offset"].as_u64()?;
        self.done.key = bytes_of(json["key"].as_str()?)?;
        self.sent = json["sent"].as_u64()?.max(self.done.count);
        Some(())
    }

    /// Whether the thing with this number may have been sent by an earlier load.
    pub fn may_be_there(&self, count: u64) -> bool {
        (self.done.count..self.sent).contains(&count)
    }

    /// Makes sure that what is about to be sent is known as sent.
    pub fn before_sending(&mut self, count: u64, done: &Place) -> anyhow::Result<()> {
        if count < self.sent {
            return Ok(());
        }
        self.sent = count + AHEAD;
        self.write(done, self.sent)
    }

    /// The end of a load that has not come to its end.
    pub fn stop(&self, done: &Place, sent: u64) -> anyhow::Result<()> {
        self.write(done, sent)
    }

    /// The end of a load that is complete.
    pub fn finish(&self) -> anyhow::Result<()> {
        if self.disk.exists(&self.path) {
            self.disk.remove(&self.path).with_context(|| show(&self.path))?;
        }
        Ok(())
    }

    fn write(&self, done: &Place, sent: u64) -> anyhow::Result<()> {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.str("schema", SCHEMA).u64("done", done.count).u64("offset", done.offset).bytes("key", &done.key);
        object.u64("sent", sent);
        object.close();
        out.push(b'\n');
        let folder = self.path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let name = self.path.file_name().unwrap_or(OsStr::new("state"));
        publish_bytes(&self.disk, folder, name, &out).with_context(|| show(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_and_bounds_what_may_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut state = State::open(&path).unwrap();
        assert!(!state.may_be_there(0));
        state.before_sending(0, &Place::default()).unwrap();
        let place = Place { count: 7, offset: 99, key: b"\xff".to_vec() };
        state.stop(&place, 9).unwrap();
        let again = State::open(&path).unwrap();
        assert_eq!((&again.done, again.sent), (&place, 9));
        assert_eq!([6, 7, 8, 9].map(|count| again.may_be_there(count)), [false, true, true, false]);
        again.finish().unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "{}").unwrap();
        assert!(State::open(&path).is_err());
    }
}
