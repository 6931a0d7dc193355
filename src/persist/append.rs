//! The end of the log: what the journal holds is written before any reply that rests on it leaves.
//!
//! Positions are the journal's. [`Append::flush`] writes what is pending and, under `always`, syncs it; a reply may leave
//! when [`Append::settled`] has reached the position that the journal had when the reply was made.
//!
//! **Where.** [`Append::advance`] lays a batch into the [tray](super::log_thread::Tray) of the thread that executes, which
//! writes and syncs it between two turns: on a quick disk that is the cheapest. Any disk may stop answering in any call, also
//! in a write(2); so that thread is not executing meanwhile, and another one does where it does not come back. Where the disk
//! has been slow of late, or an fsync is under way behind which a write may wait, the [log
//! thread](super::log_thread) has the batch. [`Append::flush`] writes and syncs at once, and is done when it returns.
//!
//! **A failed write.** The file is cut back to where the batch began, which is the end of a unit; the bytes stay queued
//! in order, and the same bytes are tried again until they are in. Where not even the cut succeeds, the next attempt goes
//! on at the byte behind the last one written.
//!
//! **A failed fsync.** The kernel may have dropped the pages, so no later success means anything for them. The state
//! stays broken until a new base, made from memory, is durable: [`Append::needs_new_base`]. Until then nothing is written:
//! it would stand behind a hole that a power cut may leave. With the new base the log goes on in a new file.
//!
//! **Late syncs.** Under `everysec` a power cut may take what was written since the last sync began, and while the one under
//! way takes its time no more than [`OLDEST`] of it: from then on nothing is written, and no write acknowledged.
//!
//! **A change of files** ([`Append::hold`]): while the old increment is synced and the manifest that names the new one is
//! published, on a thread, nothing is written and no reply that depends on it leaves; then [`Append::switch_to`] goes on
//! in the new file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::disk::File;
use crate::engine::journal::Journal;
use crate::engine::params::AppendFsync;

use super::log_thread::{Bytes, Errand, LogThread, Report, Room, Tray, Wake};

use reserve::Reserve;

mod reserve;

/// Under `everysec`, how old the oldest write may be that is not synced: then writes wait.
const OLDEST: Duration = Duration::from_secs(2);

/// The open end of the log.
pub struct Append {
    target: Option<Target>,
    /// Bytes taken from the journal and not yet in the file, unless the log thread has them.
    bytes: Bytes,
    /// Position of the end of those bytes.
    taken: u64,
    /// What somebody has under way.
    lent: Option<Lent>,
    thread: Option<LogThread>,
    tray: Option<Arc<Tray>>,
    wake: Option<Wake>,
    pace: Pace,
    /// Position of the end of what is in the file.
    written: u64,
    /// Position of the end of what is known to be on the disk.
    synced: u64,
    /// When the oldest write that is not known to be on the disk was begun; and the oldest of those that the sync under way
    /// does not cover.
    oldest: Option<Instant>,
    oldest_uncovered: Option<Instant>,
    /// Writes wait for the sync under way.
    is_late: bool,
    late_syncs: u64,
    held: bool,
    /// When files began to change.
    held_since: Instant,
    /// No reply that rests on a write leaves: the log is being closed.
    is_closing: bool,
    /// Nobody has been promised anything of this log yet.
    is_forming: bool,
    fault: Option<Fault>,
    /// The failed fsync was known when the rewrite under way took its snapshot, so its base makes up for it.
    is_covered: bool,
    sync_in_flight: Option<u64>,
    syncs_lent: u64,
    last_sync: Instant,
    delayed_syncs: u64,
}

struct Target {
    path: PathBuf,
    file: Box<dyn File>,
    /// Bytes in the file; its end is at a unit.
    len: u64,
    /// Bytes of its head, in front of the first record.
    head_len: u64,
    /// A second handle, for the log thread.
    second: Option<Box<dyn File>>,
    reserve: Reserve,
}

/// How much is in a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent {
    /// Bytes.
    pub len: u64,
    /// Bytes in front of the first record; all of them where there is none.
    pub head_len: u64,
}

/// How far the old file is, while files change.
#[derive(Debug, PartialEq, Eq)]
pub enum Rest {
    Written,
    Waits,
    /// It could not be written; the reason.
    Failed(String),
}

/// How what waits is to be written.
#[derive(Clone, Copy)]
struct Batch {
    wants_sync: bool,
    /// The disk is quick: the thread that executes may do it.
    is_quick: bool,
    /// Nothing is to follow in this file.
    is_last: bool,
}

/// A batch that somebody writes.
struct Lent {
    /// It lies in the tray; else the log thread has it.
    is_in_tray: bool,
    len: usize,
    /// Position of its end.
    end: u64,
    since: Instant,
}

/// How long the disk takes, in microseconds: slowness is believed at once, quickness slowly.
#[derive(Debug, Default)]
struct Pace {
    write_us: f64,
    sync_us: f64,
    is_slow: bool,
}

impl Pace {
    /// What the disk may take for a turn to wait for it; and what it must come down to for that to be so again.
    const SLOW_US: f64 = 500.0;
    const QUICK_US: f64 = 250.0;

    fn note(known_us: &mut f64, took: Duration) {
        let took_us = took.as_secs_f64() * 1e6;
        let weight = if took_us > *known_us { 0.5 } else { 0.1 };
        *known_us += (took_us - *known_us) * weight;
    }

    /// Whether the disk is too slow for a turn to wait for it.
    fn judge(&mut self, policy: AppendFsync) -> bool {
        let sum_us = self.write_us + if policy == AppendFsync::Always { self.sync_us } else { 0.0 };
        let limit_us = if self.is_slow { Self::QUICK_US } else { Self::SLOW_US };
        self.is_slow = sum_us > limit_us;
        self.is_slow
    }
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
            bytes: Bytes::default(),
            taken: 0,
            lent: None,
            thread: None,
            tray: None,
            wake: None,
            pace: Pace::default(),
            written: 0,
            synced: 0,
            oldest: None,
            oldest_uncovered: None,
            is_late: false,
            late_syncs: 0,
            held: false,
            held_since: now,
            is_closing: false,
            is_forming: false,
            fault: None,
            is_covered: false,
            sync_in_flight: None,
            syncs_lent: 0,
            last_sync: now,
            delayed_syncs: 0,
        }
    }

    /// From here on others write and sync: the log thread, which calls `wake` when it has, and, if there is a tray, whoever
    /// looks into that.
    pub fn allow_thread(&mut self, wake: Wake, tray: Option<Arc<Tray>>) {
        (self.wake, self.tray) = (Some(wake), tray);
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
            _ if self.target.is_none() || self.is_forming => u64::MAX,
            _ if self.is_closing => 0,
            AppendFsync::Always => self.synced,
            AppendFsync::Everysec | AppendFsync::No => self.written,
        }
    }

    /// Bytes in the increment.
    pub fn len(&self) -> u64 {
        self.target.as_ref().map_or(0, |target| target.len)
    }

    /// Whether no record is in the increment, or on the way there.
    pub fn is_empty(&self) -> bool {
        self.queued() == 0 && self.target.as_ref().is_none_or(|target| target.len == target.head_len)
    }

    /// Bytes that wait.
    pub fn queued(&self) -> usize {
        self.bytes.queue.len() + self.lent.as_ref().map_or(0, |lent| lent.len)
    }

    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Gets on with writing what the journal holds, and under `always` with syncing it. How far it is, [`Append::settled`]
    /// says. The error is remembered as [`Append::fault`].
    pub fn advance(&mut self, journal: &mut Journal, policy: AppendFsync) -> Result<(), Fault> {
        if self.target.is_none() || !self.has_thread() {
            return self.flush(journal, policy);
        }
        self.take_report();
        if !self.held && !self.needs_new_base() {
            self.collect(journal);
        }
        if self.may_lend() {
            let wants_sync = policy == AppendFsync::Always && self.synced < self.taken;
            if self.bytes.queue.is_empty() && !wants_sync {
                // Nothing is left of what could not be written.
                self.fault = None;
            } else {
                if wants_sync {
                    journal.note_sync_point(self.taken);
                }
                let is_quick = !self.pace.judge(policy) && self.sync_in_flight.is_none();
                self.lend(Batch { wants_sync, is_quick, is_last: false });
            }
        }
        journal.note_synced(self.synced);
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// Whether what waits may be given away: nothing else is, and it will not stand behind a hole. While files change only
    /// what the old one is to have goes to it, and what failed is tried again when it is clear which file goes on.
    fn may_lend(&self) -> bool {
        let is_due = !self.held || (!self.bytes.queue.is_empty() && self.fault.is_none());
        self.lent.is_none() && !self.needs_new_base() && is_due
    }

    /// How long a sync takes, where what the journal holds could be written and synced now, and must be.
    pub fn next_sync_takes(&self, journal: &Journal, policy: AppendFsync) -> Option<Duration> {
        let is_wanted = policy == AppendFsync::Always && self.target.is_some() && !self.is_forming && !self.held;
        let has_any = !self.bytes.queue.is_empty() || !journal.pending().is_empty();
        let may_begin =
            is_wanted && has_any && self.fault.is_none() && self.may_lend() && self.sync_in_flight.is_none();
        may_begin.then(|| Duration::from_secs_f64(self.pace.sync_us / 1e6))
    }

    /// Batches with a sync that others have been given.
    pub fn syncs_lent(&self) -> u64 {
        self.syncs_lent
    }

    /// Takes note of what has been done elsewhere; false if nothing has.
    pub fn take_report(&mut self) -> bool {
        let report = match &self.lent {
            None => None,
            Some(lent) if lent.is_in_tray => self.tray.as_ref().and_then(|tray| tray.report()),
            Some(_) => self.thread.as_ref().and_then(LogThread::report),
        };
        let is_there = report.is_some();
        if let Some(report) = report {
            self.take_back(report);
        }
        is_there
    }

    /// Writes what the journal holds; under `always` also syncs it. The error is remembered as [`Append::fault`].
    pub fn flush(&mut self, journal: &mut Journal, policy: AppendFsync) -> Result<(), Fault> {
        self.wait();
        if self.target.is_none() {
            return Ok(());
        }
        if self.held {
            return self.fault.clone().map_or(Ok(()), Err);
        }
        if let Some(fault @ Fault::Sync(_)) = &self.fault {
            // Behind pages that may be gone nothing more is written: it would stand behind a hole.
            return Err(fault.clone());
        }
        self.collect(journal);
        if !self.bytes.queue.is_empty() {
            let began = Instant::now();
            if let Err(error) = self.write_queue() {
                return Err(self.latch(Fault::Write(error.to_string())));
            }
            self.written = self.taken;
            self.note_written(began);
        }
        if matches!(self.fault, Some(Fault::Write(_))) {
            self.fault = None;
        }
        if policy == AppendFsync::Always && self.synced < self.written {
            journal.note_sync_point(self.written);
            self.sync()?;
        }
        journal.note_synced(self.synced);
        Ok(())
    }

    /// Position up to which everything is known to be on the disk.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Whether every write is known to be on the disk.
    pub fn is_durable(&self, journal: &Journal) -> bool {
        self.synced >= journal.end() && !self.needs_new_base()
    }

    /// Holds replies that rest on writes back, so that writers pause while the log is brought to its end.
    pub fn set_closing(&mut self, is_closing: bool) {
        self.is_closing = is_closing;
    }

    /// Has what the journal holds written and synced, and a seal that says so put behind it and synced too, without waiting:
    /// true when all is done. To be called until then; `sealed` is where the last seal was put.
    pub fn close_up(&mut self, journal: &mut Journal, sealed: &mut Option<u64>) -> Result<bool, Fault> {
        self.take_report();
        if let Some(fault) = self.fault.clone().filter(|_| self.lent.is_none() || self.needs_new_base()) {
            return Err(fault);
        }
        if self.is_busy() || self.held || !journal.is_between_operations() {
            return Ok(false);
        }
        self.collect(journal);
        if self.bytes.queue.is_empty() && self.synced >= self.taken {
            if *sealed == Some(self.taken) {
                return Ok(true);
            }
            journal.note_synced(self.synced);
            journal.seal_end();
            *sealed = Some(self.taken);
            self.collect(journal);
        }
        if !self.has_thread() {
            return Err(Fault::Write("no thread can be had that writes the log".to_owned()));
        }
        self.lend(Batch { wants_sync: true, is_quick: true, is_last: *sealed == Some(self.taken) });
        Ok(false)
    }

    /// Syncs what is in the file, on this thread.
    fn sync(&mut self) -> Result<(), Fault> {
        self.wait();
        let Some(target) = &self.target else { return Ok(()) };
        let started = Instant::now();
        let outcome = target.file.sync_data();
        Pace::note(&mut self.pace.sync_us, started.elapsed());
        match outcome {
            Ok(()) if self.fault.is_none() => {
                self.note_all_synced();
                Ok(())
            }
            Ok(()) => Err(self.fault.clone().unwrap_or(Fault::Sync("an earlier fsync failed".to_owned()))),
            Err(error) => Err(self.latch(Fault::Sync(error.to_string()))),
        }
    }

    /// A second handle to the file, for a thread that is to sync what is written by now; `None` if there is nothing to
    /// do or one is at it.
    pub fn begin_background_sync(&mut self, journal: &mut Journal, now: Instant) -> Option<Box<dyn File>> {
        let target = self.target.as_ref()?;
        if self.synced >= self.written || self.needs_new_base() {
            self.last_sync = now;
            return None;
        }
        if self.sync_in_flight.is_some() {
            self.delayed_syncs += 1;
            return None;
        }
        let file = target.file.duplicate().ok()?;
        journal.note_sync_point(self.written);
        self.sync_in_flight = Some(self.written);
        self.oldest_uncovered = None;
        self.last_sync = now;
        Some(file)
    }

    /// The thread's answer.
    pub fn end_background_sync(&mut self, outcome: io::Result<()>) {
        let position = self.sync_in_flight.take();
        match outcome {
            Ok(()) if !self.needs_new_base() => {
                self.synced = self.synced.max(position.unwrap_or(0));
                self.oldest = self.oldest_uncovered;
            }
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

    /// How long the disk has kept writes waiting: what the log thread has under way, or a sync that is late.
    pub fn stalled_for(&self, now: Instant) -> Duration {
        let lent = self.lent.as_ref().map(|lent| lent.since);
        let late = self.oldest.filter(|_| self.is_late).map(|oldest| oldest + OLDEST);
        let held = (self.held && !self.needs_new_base()).then_some(self.held_since);
        lent.or(late).or(held).map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Those who wait are told that they wait no longer. What is queued stays so; it's written when the disk answers.
    pub fn give_up(&mut self, reason: String) {
        self.latch(Fault::Write(reason));
    }

    /// Whether the disk has not come back since [`Append::give_up`].
    pub fn is_stalled(&self) -> bool {
        self.fault.is_some() && self.is_busy()
    }

    /// Whether somebody writes or syncs.
    pub fn is_busy(&self) -> bool {
        self.lent.is_some() || self.sync_in_flight.is_some()
    }

    /// Under `everysec`: the oldest write that is not synced is so old that others must wait.
    pub fn is_late(&mut self, now: Instant) -> bool {
        let counts = !self.is_forming && !self.needs_new_base();
        let is_late = counts && self.oldest.is_some_and(|oldest| now.saturating_duration_since(oldest) >= OLDEST);
        self.late_syncs += u64::from(is_late && !self.is_late);
        self.is_late = is_late;
        is_late
    }

    /// Syncs that writes have waited for.
    pub fn late_syncs(&self) -> u64 {
        self.late_syncs
    }

    /// All that is written is on the disk.
    fn note_all_synced(&mut self) {
        self.synced = self.written;
        (self.oldest, self.oldest_uncovered) = (None, None);
    }

    /// Something has been written since this moment.
    fn note_written(&mut self, since: Instant) {
        self.oldest.get_or_insert(since);
        self.oldest_uncovered.get_or_insert(since);
    }

    /// An fsync elsewhere has failed for this file.
    pub fn fail_sync(&mut self, reason: String) {
        self.latch(Fault::Sync(reason));
    }

    /// Stops writing for a change of files, behind what the journal holds now: [`Append::rest`] says when that is written. The
    /// handle is for the thread that syncs it. `None` without a log.
    pub fn hold(&mut self, journal: &mut Journal) -> io::Result<Option<Box<dyn File>>> {
        let file = self.target.as_ref().map(|target| target.file.duplicate()).transpose()?;
        self.collect(journal);
        (self.held, self.held_since) = (true, Instant::now());
        Ok(file)
    }

    /// What the old file is still to have, while files change.
    pub fn rest(&self) -> Rest {
        match (&self.lent, &self.fault) {
            (None, _) if self.bytes.queue.is_empty() => Rest::Written,
            (None, Some(fault)) => Rest::Failed(fault.reason().to_owned()),
            _ => Rest::Waits,
        }
    }

    /// Goes on in the old file.
    pub fn release(&mut self) {
        self.held = false;
    }

    /// Goes on in a new file, of which the journal knows the head. What was written before is durable.
    pub fn switch_to(&mut self, path: PathBuf, file: Box<dyn File>, head_len: u64) {
        assert!(self.queued() == 0, "what belongs to the old file is in it");
        self.target = Some(Target { path, file, len: head_len, head_len, second: None, reserve: Reserve::default() });
        // A sync elsewhere may have failed for the old file meanwhile, and then this one's success means nothing.
        if !self.needs_new_base() {
            self.note_all_synced();
        }
        self.held = false;
    }

    /// What waits to be written is in a snapshot, from which a base will be made that takes the place of all files: it goes
    /// to no file any more. Nothing is written until [`Append::begin_anew`] or [`Append::release`].
    pub fn abandon(&mut self) {
        self.wait();
        self.bytes = Bytes::default();
        self.is_covered = self.needs_new_base();
        self.held = true;
    }

    /// The base is durable that holds everything before `position`: goes on behind it in a new file, of which the journal
    /// knows the head. A failed fsync of before is forgotten; one of since then needs a base of its own.
    pub fn begin_anew(&mut self, path: PathBuf, file: Box<dyn File>, head_len: u64, position: u64) {
        if self.is_covered && self.needs_new_base() {
            self.fault = None;
        }
        self.continue_in(path, file, Extent { len: head_len, head_len }, position);
        self.held = false;
    }

    /// Goes on at the end of an existing file, at start.
    pub fn continue_in(&mut self, path: PathBuf, file: Box<dyn File>, extent: Extent, position: u64) {
        let Extent { len, head_len } = extent;
        self.target = Some(Target { path, file, len, head_len, second: None, reserve: Reserve::default() });
        (self.taken, self.written) = (position, position);
        self.note_all_synced();
    }

    /// Begins with a log that is in no manifest yet: until [`Append::end_forming`] no reply waits for it.
    pub fn form_in(&mut self, path: PathBuf, file: Box<dyn File>, head_len: u64, position: u64) {
        self.continue_in(path, file, Extent { len: head_len, head_len }, position);
        self.is_forming = true;
    }

    pub fn is_forming(&self) -> bool {
        self.is_forming
    }

    /// The log is in force, and what was written before [`Append::hold`] durable: its promises hold from here on.
    pub fn end_forming(&mut self) {
        self.note_all_synced();
        (self.is_forming, self.held) = (false, false);
    }

    /// Closes the log.
    pub fn close(&mut self) {
        self.wait();
        self.target = None;
        self.bytes = Bytes::default();
        self.fault = None;
        (self.is_forming, self.held) = (false, false);
    }

    /// Why the file system keeps no blocks for what will be written, if it should and does not.
    pub fn reserve_refusal(&self) -> Option<&str> {
        self.target.as_ref().and_then(|target| target.reserve.refusal())
    }

    pub fn path(&self) -> Option<&std::path::Path> {
        self.target.as_ref().map(|target| target.path.as_path())
    }

    fn collect(&mut self, journal: &mut Journal) {
        let queue = &mut self.bytes.queue;
        if queue.is_empty() {
            *queue = journal.take_pending(std::mem::take(queue));
        } else if !journal.pending().is_empty() {
            let more = journal.take_pending(Vec::new());
            queue.extend_from_slice(&more);
        }
        self.taken = journal.end();
    }

    fn write_queue(&mut self) -> io::Result<()> {
        let target = self.target.as_mut().expect("flush looked");
        let (started, len) = (Instant::now(), self.bytes.queue.len());
        let outcome = self.bytes.write_to(target.file.as_mut(), target.len);
        Pace::note(&mut self.pace.write_us, started.elapsed());
        outcome?;
        target.len += len as u64; // usize has at most 64 bits
        Ok(())
    }

    /// Whether there is a thread, which is started when it is first wanted.
    fn has_thread(&mut self) -> bool {
        if let (None, Some(wake)) = (&self.thread, &self.wake) {
            // Where no thread can be had, the executor does it all.
            self.thread = LogThread::start(Wake::clone(wake)).ok();
        }
        self.thread.is_some()
    }

    /// Gives away what waits: to the thread that executes, if the disk is quick, or to the log's.
    fn lend(&mut self, batch: Batch) {
        let (Some(target), Some(thread)) = (&mut self.target, &self.thread) else { return };
        let file = match target.second.take().map_or_else(|| target.file.duplicate(), Ok) {
            Ok(file) => file,
            Err(error) => {
                self.latch(Fault::Write(error.to_string()));
                return;
            }
        };
        let bytes = std::mem::take(&mut self.bytes);
        let tray = self.tray.as_ref().filter(|_| batch.is_quick);
        let (len, is_in_tray, since) = (bytes.queue.len(), tray.is_some(), Instant::now());
        self.lent = Some(Lent { is_in_tray, len, end: self.taken, since });
        let room = if batch.is_last {
            target.reserve.forget();
            Room::GiveBack
        } else {
            target.reserve.wanted(target.len + len as u64, since).map_or(Room::AsItIs, Room::Until) // usize has at most 64 bits
        };
        self.syncs_lent += u64::from(batch.wants_sync);
        let errand = Errand { file, bytes, wants_sync: batch.wants_sync, room };
        if let Some(tray) = tray {
            tray.place(errand, target.len);
        } else if let Err(errand) = thread.send(errand, target.len) {
            // It has died; nothing of the errand was begun.
            (self.bytes, self.lent, self.thread) = (errand.bytes, None, None);
        }
    }

    /// Waits for what others have under way.
    fn wait(&mut self) {
        let report = match &self.lent {
            None => return,
            Some(lent) if lent.is_in_tray => self.tray.as_ref().and_then(|tray| tray.wait_for_report()),
            Some(_) => self.thread.as_ref().and_then(LogThread::wait_for_report),
        };
        match report {
            Some(report) => self.take_back(report),
            None => {
                // Bytes are gone with it: only a base from memory makes up for them.
                (self.lent, self.thread) = (None, None);
                self.latch(Fault::Sync("the thread that writes the log has died".to_owned()));
            }
        }
    }

    /// What came of a batch that was lent.
    fn take_back(&mut self, report: Report) {
        let Some(lent) = self.lent.take() else { return };
        let since = std::mem::replace(&mut self.bytes, report.bytes);
        if self.bytes.queue.is_empty() && !since.queue.is_empty() {
            self.bytes = since;
        } else {
            self.bytes.queue.extend_from_slice(&since.queue);
        }
        Pace::note(&mut self.pace.write_us, report.write_took);
        if let Some(target) = &mut self.target {
            target.second = Some(report.file);
            if let Some(outcome) = report.reserved {
                target.reserve.note(outcome, Instant::now());
            }
            match report.written {
                Ok(()) => target.len += lent.len as u64, // usize has at most 64 bits
                Err(_) => target.reserve.forget(),
            }
        }
        match report.written {
            Ok(()) => {
                if self.written < lent.end {
                    self.note_written(lent.since);
                }
                self.written = lent.end;
                if !self.needs_new_base() {
                    self.fault = None;
                }
            }
            Err(error) => {
                self.latch(Fault::Write(error.to_string()));
            }
        }
        match report.synced {
            Some((Ok(()), took)) => {
                Pace::note(&mut self.pace.sync_us, took);
                if !self.needs_new_base() {
                    self.note_all_synced();
                }
            }
            Some((Err(error), _)) => {
                self.latch(Fault::Sync(error.to_string()));
            }
            None => {}
        }
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

#[cfg(test)]
mod tests;
