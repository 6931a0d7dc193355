//! The end of the log: what the journal holds is written before any reply that rests on it leaves.
//!
//! Positions are the journal's. [`Append::flush`] writes what is pending and, under `always`, syncs it; a reply may leave
//! when [`Append::settled`] has reached the position that the journal had when the reply was made.
//!
//! **A failed write.** The file is cut back to where the batch began, which is the end of a unit; the bytes stay queued
//! in order, and the same bytes are tried again until they are in. Where not even the cut succeeds, the next attempt goes
//! on at the byte behind the last one written.
//!
//! **A failed fsync.** The kernel may have dropped the pages, so no later success means anything for them. The state
//! stays broken until a new base, made from memory, is durable: [`Append::needs_new_base`].
//!
//! **A change of files** ([`Append::hold`]): while the old increment is synced and the manifest that names the new one is
//! published, on a thread, nothing is written and no reply that depends on it leaves; then [`Append::switch_to`] goes on
//! in the new file.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use crate::disk::File;
use crate::engine::journal::Journal;
use crate::engine::params::AppendFsync;

/// The open end of the log.
pub struct Append {
    target: Option<Target>,
    /// Bytes taken from the journal and not yet in the file.
    queue: Vec<u8>,
    /// Bytes of the queue that are in the file after a failed write that could not be cut back.
    queue_done: usize,
    /// Position of the end of what is in the file.
    written: u64,
    /// Position of the end of what is known to be on the disk.
    synced: u64,
    held: bool,
    fault: Option<Fault>,
    /// The failed fsync was known when the rewrite under way took its snapshot, so its base makes up for it.
    is_covered: bool,
    sync_in_flight: Option<u64>,
    last_sync: Instant,
    delayed_syncs: u64,
}

struct Target {
    path: PathBuf,
    file: Box<dyn File>,
    /// Bytes in the file; its end is at a unit.
    len: u64,
}

/// Why the log can't be trusted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Write(String),
    Sync(String),
}

impl Fault {
    /// The system's words.
    pub fn reason(&self) -> &str {
        match self {
            Fault::Write(reason) | Fault::Sync(reason) => reason,
        }
    }
}

impl Append {
    /// No log.
    pub fn off(now: Instant) -> Self {
        Self {
            target: None,
            queue: Vec::new(),
            queue_done: 0,
            written: 0,
            synced: 0,
            held: false,
            fault: None,
            is_covered: false,
            sync_in_flight: None,
            last_sync: now,
            delayed_syncs: 0,
        }
    }

    pub fn is_on(&self) -> bool {
        self.target.is_some()
    }

    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Whether only a new base makes the log good again.
    pub fn needs_new_base(&self) -> bool {
        matches!(self.fault, Some(Fault::Sync(_)))
    }

    /// Replies that rest on nothing beyond this position may leave.
    pub fn settled(&self, policy: AppendFsync) -> u64 {
        match policy {
            _ if self.target.is_none() => u64::MAX,
            AppendFsync::Always => self.synced,
            AppendFsync::Everysec | AppendFsync::No => self.written,
        }
    }

    /// Bytes in the increment.
    pub fn len(&self) -> u64 {
        self.target.as_ref().map_or(0, |target| target.len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Writes what the journal holds; under `always` also syncs it. The error is remembered as [`Append::fault`].
    pub fn flush(&mut self, journal: &mut Journal, policy: AppendFsync) -> Result<(), Fault> {
        if self.target.is_none() {
            return Ok(());
        }
        if self.held {
            return self.fault.clone().map_or(Ok(()), Err);
        }
        self.collect(journal);
        if !self.queue.is_empty() {
            if let Err(error) = self.write_queue() {
                return Err(self.latch(Fault::Write(error.to_string())));
            }
            if matches!(self.fault, Some(Fault::Write(_))) {
                self.fault = None;
            }
            self.written = journal.end();
        }
        if let Some(fault @ Fault::Sync(_)) = &self.fault {
            return Err(fault.clone());
        }
        if policy == AppendFsync::Always && self.synced < self.written {
            return self.sync();
        }
        Ok(())
    }

    /// Syncs what is in the file, on this thread.
    pub fn sync(&mut self) -> Result<(), Fault> {
        let Some(target) = &self.target else { return Ok(()) };
        match target.file.sync_data() {
            Ok(()) if self.fault.is_none() => {
                self.synced = self.written;
                Ok(())
            }
            Ok(()) => Err(self.fault.clone().unwrap_or(Fault::Sync("an earlier fsync failed".to_owned()))),
            Err(error) => Err(self.latch(Fault::Sync(error.to_string()))),
        }
    }

    /// A second handle to the file, for a thread that is to sync what is written by now; `None` if there is nothing to
    /// do or one is at it.
    pub fn begin_background_sync(&mut self, now: Instant) -> Option<Box<dyn File>> {
        let target = self.target.as_ref()?;
        if self.synced >= self.written {
            self.last_sync = now;
            return None;
        }
        if self.sync_in_flight.is_some() {
            self.delayed_syncs += 1;
            return None;
        }
        let file = target.file.duplicate().ok()?;
        self.sync_in_flight = Some(self.written);
        self.last_sync = now;
        Some(file)
    }

    /// The thread's answer.
    pub fn end_background_sync(&mut self, outcome: io::Result<()>) {
        let position = self.sync_in_flight.take();
        match outcome {
            Ok(()) if self.fault.is_none() => self.synced = self.synced.max(position.unwrap_or(0)),
            Ok(()) => {}
            Err(error) => {
                self.latch(Fault::Sync(error.to_string()));
            }
        }
    }

    pub fn is_syncing(&self) -> bool {
        self.sync_in_flight.is_some()
    }

    /// Syncs that were due while another was under way.
    pub fn delayed_syncs(&self) -> u64 {
        self.delayed_syncs
    }

    pub fn last_sync(&self) -> Instant {
        self.last_sync
    }

    /// Under `everysec`: the sync under way takes so long that writes must wait for it, or more than 2 s of them could
    /// be lost with the power.
    pub fn is_late(&self, now: Instant) -> bool {
        self.sync_in_flight.is_some() && now.duration_since(self.last_sync).as_millis() >= 1000
    }

    /// A snapshot is being taken whose base makes up for a failed fsync of the past, though for none to come.
    pub fn cover_fault(&mut self) {
        self.is_covered = self.needs_new_base();
    }

    /// An fsync elsewhere has failed for this file.
    pub fn fail_sync(&mut self, reason: String) {
        self.latch(Fault::Sync(reason));
    }

    /// Stops writing for a change of files. Everything that the journal held must have been flushed: the handle is
    /// for the thread that syncs it. `None` without a log.
    pub fn hold(&mut self) -> io::Result<Option<Box<dyn File>>> {
        assert!(self.queue.is_empty(), "files change when everything before is written");
        let file = self.target.as_ref().map(|target| target.file.duplicate()).transpose()?;
        self.held = true;
        Ok(file)
    }

    /// Goes on in the old file.
    pub fn release(&mut self) {
        self.held = false;
    }

    /// Goes on in a new, empty file. What was written before is durable.
    pub fn switch_to(&mut self, path: PathBuf, file: Box<dyn File>) {
        assert!(self.queue.is_empty(), "what belongs to the old file is in it");
        self.target = Some(Target { path, file, len: 0 });
        if !self.needs_new_base() {
            self.synced = self.written;
        }
        self.held = false;
    }

    /// Goes on at the end of an existing file, at start.
    pub fn continue_in(&mut self, path: PathBuf, file: Box<dyn File>, len: u64, position: u64) {
        self.target = Some(Target { path, file, len });
        self.written = position;
        self.synced = position;
    }

    /// Everything that was in memory at the last [`Append::cover_fault`] is durable in a new base: a failed fsync of
    /// before is forgotten. One of since then needs a base of its own.
    pub fn forgive_sync(&mut self) {
        if self.is_covered && self.needs_new_base() {
            self.fault = None;
        }
    }

    /// Closes the log.
    pub fn close(&mut self) {
        self.target = None;
        self.queue.clear();
        self.queue_done = 0;
        self.fault = None;
        self.held = false;
    }

    pub fn path(&self) -> Option<&std::path::Path> {
        self.target.as_ref().map(|target| target.path.as_path())
    }

    fn collect(&mut self, journal: &mut Journal) {
        if self.queue.is_empty() {
            self.queue = journal.take_pending(std::mem::take(&mut self.queue));
        } else if !journal.pending().is_empty() {
            let more = journal.take_pending(Vec::new());
            self.queue.extend_from_slice(&more);
        }
    }

    fn write_queue(&mut self) -> io::Result<()> {
        let target = self.target.as_mut().expect("flush looked");
        let mut done = self.queue_done;
        while done < self.queue.len() {
            match target.file.write(&self.queue[done..]) {
                Ok(0) => return self.cut_back(done, io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.cut_back(done, error),
            }
        }
        target.len += self.queue.len() as u64; // usize has at most 64 bits
        self.queue.clear();
        self.queue_done = 0;
        if self.queue.capacity() > 4 << 20 {
            self.queue = Vec::new();
        }
        Ok(())
    }

    fn cut_back(&mut self, done: usize, error: io::Error) -> io::Result<()> {
        let target = self.target.as_mut().expect("flush looked");
        self.queue_done = match done {
            0 => 0,
            _ if target.file.set_len(target.len).is_ok() => 0,
            _ => done,
        };
        Err(error)
    }

    fn latch(&mut self, fault: Fault) -> Fault {
        if matches!(fault, Fault::Sync(_)) {
            self.is_covered = false;
        }
        // A failed fsync outweighs a failed write: it's cured by a new base only.
        if !self.needs_new_base() {
            self.fault = Some(fault.clone());
        }
        fault
    }
}
