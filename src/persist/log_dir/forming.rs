//! A log that comes into being while the server runs: base and increment are written beside whatever log is in force,
//! and take its place at once.
//!
//! 1. *Reserve*: a manifest is published that calls both files history. No server loads such, and every start removes
//!    them; so a crash at any later step leaves nothing that needs a hand.
//! 2. The increment is made and written to, the base is written under a temporary name.
//! 3. *Put in force*: the base gets its name, and one manifest names both and makes history of what was before.

use crate::aof::manifest::{Entry, FileType, Manifest, Replaced};
use crate::disk::{Mode, Sealed};
use crate::persist::PersistError;
use crate::persist::history::Rules;

use std::io::Write;

use super::{Increment, LogDir};

/// The files of such a log, as they will be named.
#[derive(Debug, Clone)]
pub struct Forming {
    pub base: Entry,
    pub increment: Entry,
}

impl LogDir {
    /// Step 1. The names are those of the next base and increment.
    pub fn reserve(&mut self) -> Result<Forming, PersistError> {
        self.create_folder()?;
        self.sync_name()?;
        let forming = Forming { base: self.next_base(), increment: self.free_increment() };
        let mut next = self.manifest.clone();
        for entry in [&forming.base, &forming.increment] {
            next.history.insert(0, Entry { file_type: FileType::History, ..entry.clone() });
        }
        self.publish(next)?;
        Ok(forming)
    }

    /// Makes the increment, durably, with this head.
    pub fn create_formed(&self, forming: &Forming, head: &[u8]) -> Result<Increment, PersistError> {
        let path = self.folder.join(&forming.increment.name);
        drop(self.disk.open(&path, Mode::Truncate).map_err(PersistError::io(&path))?);
        let mut file = self.disk.open(&path, Mode::Append).map_err(PersistError::io(&path))?;
        let written = file.write_all(head).and_then(|()| file.sync_all());
        written.and_then(|()| self.disk.sync_dir(&self.folder)).map_err(PersistError::io(&path))?;
        Ok((path, file))
    }

    /// Step 3. What is in the increment must be durable.
    pub fn put_in_force(&mut self, forming: Forming, base: Sealed, replaced: Replaced) -> Result<(), PersistError> {
        base.commit().map_err(PersistError::io(&self.folder.join(&forming.base.name)))?;
        let mut next = self.manifest.clone();
        next.history.retain(|entry| entry.name != forming.base.name && entry.name != forming.increment.name);
        next.replace_base(forming.base, 0, replaced);
        next.increments.push(forming.increment);
        self.publish(next)
    }

    /// Removes what there is of such a log, and of other history that nobody wants. A manifest that could not be made
    /// durable may stand there and name the files: the one before takes its place first.
    pub fn give_up_formed(&mut self, rules: &Rules) -> Result<(), PersistError> {
        let before: Manifest = self.manifest.clone();
        self.publish(before)?;
        self.remove_history(rules)
    }
}
