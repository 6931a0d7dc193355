//! How far a load has come, in a file that a later one continues from.
//!
//! Things are counted in the order of the input (function libraries and keys, whether selected or not). The first `done`
//! are answered for. Behind them, a load that was stopped or cut notes which things are loaded too (`loaded`) and which
//! were sent without an answer (`unanswered`). One that is killed cannot: all that it may have sent is below `sent`, which
//! is made durable before anything beyond is sent. A key that was sent without an answer and is there was loaded, and
//! whole, since every key appears by one RESTORE or one RENAMENX.

use anyhow::Context;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::{self, Object, bytes_of};
use ironkeep::cli::locate::show;
use ironkeep::disk::{Disk, RealDisk, publish_bytes};
use std::collections::BTreeSet;
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

/// What the file said.
struct Earlier {
    sent: u64,
    loaded: BTreeSet<u64>,
    unanswered: BTreeSet<u64>,
}

/// The file.
pub struct State {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    pub done: Place,
    /// Nothing from here on was ever sent.
    sent: u64,
    /// What an earlier load told.
    earlier: Option<Earlier>,
}

impl State {
    /// Reads the file; where there is none, a load begins at the start.
    pub fn open(path: &Path) -> anyhow::Result<State> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let mut state = State { path: path.to_owned(), disk, done: Place::default(), sent: 0, earlier: None };
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
        let numbers = |name: &str| -> Option<BTreeSet<u64>> {
            json[name].as_array()?.iter().map(serde_json::Value::as_u64).collect()
        };
        let sent = json["sent"].as_u64()?.max(self.done.count);
        self.earlier = Some(Earlier { sent, loaded: numbers("loaded")?, unanswered: numbers("unanswered")? });
        Some(())
    }

    /// Whether there was an earlier load.
    pub fn is_continued(&self) -> bool {
        self.earlier.is_some()
    }

    /// Whether an earlier load has brought the thing with this number.
    pub fn is_there(&self, count: u64) -> bool {
        self.earlier.as_ref().is_some_and(|earlier| earlier.loaded.contains(&count))
    }

    /// Whether an earlier load may have brought it.
    pub fn may_be_there(&self, count: u64) -> bool {
        let is_it = |earlier: &Earlier| count < earlier.sent || earlier.unanswered.contains(&count);
        count >= self.done.count && self.earlier.as_ref().is_some_and(is_it)
    }

    /// Makes sure that what is about to be sent is known as sent.
    pub fn before_sending(&mut self, count: u64, done: &Place) -> anyhow::Result<()> {
        if count < self.sent {
            return Ok(());
        }
        self.sent = count + AHEAD;
        self.write(done, self.sent, &[], &[])
    }

    /// The end of a load that has not come to its end.
    pub fn stop(&self, done: &Place, loaded: &[u64], unanswered: &[u64]) -> anyhow::Result<()> {
        self.write(done, done.count, loaded, unanswered)
    }

    /// The end of a load that is complete.
    pub fn finish(&self) -> anyhow::Result<()> {
        if self.disk.exists(&self.path) {
            self.disk.remove(&self.path).with_context(|| show(&self.path))?;
        }
        Ok(())
    }

    fn write(&self, done: &Place, sent: u64, loaded: &[u64], unanswered: &[u64]) -> anyhow::Result<()> {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.str("schema", SCHEMA).u64("done", done.count).u64("offset", done.offset).bytes("key", &done.key);
        object.u64("sent", sent);
        object.array("loaded", loaded, |out, count| json::write_u64(out, *count));
        object.array("unanswered", unanswered, |out, count| json::write_u64(out, *count));
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
        assert!(!state.may_be_there(0), "what this load sends is not from before");
        let place = Place { count: 7, offset: 99, key: b"\xff".to_vec() };
        state.stop(&place, &[8], &[9]).unwrap();
        let mut again = State::open(&path).unwrap();
        assert_eq!(again.done, place);
        assert_eq!([6, 7, 8, 9, 10].map(|count| again.may_be_there(count)), [false, false, false, true, false]);
        assert!(again.is_there(8) && !again.is_there(9));
        // A load that is killed tells no more than this.
        again.before_sending(7, &place).unwrap();
        let killed = State::open(&path).unwrap();
        assert_eq!([6, 7, 8, 7 + AHEAD].map(|count| killed.may_be_there(count)), [false, true, true, false]);
        again.finish().unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "{}").unwrap();
        assert!(State::open(&path).is_err());
    }
}
