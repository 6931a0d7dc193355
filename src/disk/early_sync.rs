//! Syncing a file while it is written, on a thread beside: the disk works while the next bytes are made, and the sync at the
//! end finds little left to do.

use std::io;
use std::thread::JoinHandle;

use super::File;

/// A file is synced after this many bytes; twice as many at most are not synced.
const SYNC_EVERY: u64 = 16 << 20;

/// What of a file is on its way to the disk.
#[derive(Default)]
pub(super) struct EarlySync {
    unsynced: u64,
    under_way: Option<JoinHandle<io::Result<()>>>,
}

impl EarlySync {
    /// Has `file` synced once much has been written. One sync runs at a time: the next waits for it. An error is that of the
    /// sync before.
    pub(super) fn wrote(&mut self, file: &dyn File, bytes: usize) -> io::Result<()> {
        self.unsynced += bytes as u64; // usize has at most 64 bits
        if self.unsynced < SYNC_EVERY {
            return Ok(());
        }
        self.finish()?;
        let file = file.duplicate()?;
        self.unsynced = 0;
        let spawned = std::thread::Builder::new().name("file-sync".to_owned()).spawn(move || file.sync_data());
        // Where no thread can be had, the end syncs it all.
        self.under_way = spawned.ok();
        Ok(())
    }

    /// Waits for the sync under way. An error of one is told once: a later sync that says it went well says nothing of those
    /// pages.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self.under_way.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(io::Error::other("the thread that synced it ended without an answer")),
        }
    }
}
