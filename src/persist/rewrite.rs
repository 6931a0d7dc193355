//! A new base for the log, from a snapshot, while writes go on.
//!
//! 1. *Flush*: what the journal holds goes into the current increment. From here on the log is held: effects
//!    collect in memory, replies that rest on them wait.
//! 2. *Snapshot*: it holds exactly what the log holds.
//! 3. *Rotate*, on a thread: the current increment is synced, the new one is made, a manifest that names it published.
//!    Then the log goes on in the new increment, and the replies leave.
//! 4. *Write*, on a thread: the snapshot becomes a file under a temporary name, durable.
//! 5. *Replace*, on a thread: it gets its name, a manifest that names it and only the new increment is published. What
//!    it replaces is [history](super::history) from then on, and is removed where nobody wants it.
//!
//! Where a failed fsync has left the increment in doubt nothing is rotated: the log stays held until the base is there, and
//! goes on in a new increment behind it.
//!
//! A crash or failure after any step leaves a folder that loads and has all that was acknowledged: before step 5's
//! manifest, the old base with all increments.

use crate::aof::seal::HistoryId;
use crate::aof::{OpenSpan, Replaced};
use crate::disk::{File, Sealed};
use crate::engine::Engine;
use crate::engine::persistence::Progress;

use super::PersistError;
use super::append::{Append, Extent};
use super::history::Rules;
use super::log_dir::LogDir;
use super::outlets::Outlet;
use super::save::{Image, base_format};

/// In front of step 3, on a thread: fails where fewer than `needed` bytes are free. A disk that can't tell is tried.
pub fn find_room(log_dir: &LogDir, needed: u64) -> Result<(), PersistError> {
    match log_dir.free_space() {
        Ok(free) if free < needed => {
            let reason = format!("{free} bytes are free, and a new base may take {needed}");
            Err(PersistError::Refused { path: log_dir.folder().to_owned(), reason })
        }
        _ => Ok(()),
    }
}

/// Step 3, on a thread: `old` is the increment so far, `head` the beginning of the new one.
pub fn rotate(
    mut log_dir: LogDir,
    old: &dyn File,
    head: &[u8],
) -> Result<(LogDir, std::path::PathBuf, Box<dyn File>), PersistError> {
    log_dir.create_folder()?;
    old.sync_all().map_err(|source| PersistError::Sync { path: log_dir.folder().to_owned(), source })?;
    let _ = old.give_back(); // what stays reserved only takes room
    let (path, file) = log_dir.begin_increment(head)?;
    Ok((log_dir, path, file))
}

/// Where step 4 writes to: [`Image::write_to`], on a thread.
pub fn base_outlet(log_dir: &LogDir, progress: Progress) -> Outlet {
    Outlet { folder: log_dir.folder().to_owned(), name: log_dir.next_base().name, progress }
}

/// Step 5, on a thread. `keep_increments`: those that began with or after the snapshot. Also where it fails half-way
/// the folder that comes back knows the manifest that is in force, and must take the old one's place.
pub fn replace_base(
    mut log_dir: LogDir,
    sealed: Sealed,
    keep_increments: usize,
    past: Past,
) -> (LogDir, Result<(), PersistError>) {
    let entry = log_dir.next_base();
    let outcome = log_dir
        .replace_base(entry, sealed, keep_increments, past.replaced)
        .and_then(|()| log_dir.remove_history(&past.rules));
    (log_dir, outcome)
}

/// What becomes of the files that a base replaces.
#[derive(Clone, Copy)]
pub struct Past {
    pub replaced: Replaced,
    pub rules: Rules,
}

impl Past {
    /// `flushed_ms`: the last flush among what they hold. `is_end`: nothing goes on behind them.
    pub fn new(engine: &Engine, flushed_ms: Option<i64>, is_end: bool) -> Self {
        let at_ms = engine.clock.now_ms();
        Self { replaced: Replaced { at_ms, flushed_ms, is_end }, rules: Rules::new(engine) }
    }
}

/// Step 5 where the log was held since the snapshot: the base holds all that was before, and a new increment with this head
/// goes on behind it. As for [`replace_base`], the folder that comes back must take the old one's place.
pub fn replace_all(
    log_dir: LogDir,
    sealed: Sealed,
    head: &[u8],
    past: Past,
) -> (LogDir, Result<super::log_dir::Increment, PersistError>) {
    let (mut log_dir, outcome) = replace_base(log_dir, sealed, 0, past);
    let begun = outcome.and_then(|()| log_dir.begin_increment(head));
    (log_dir, begun)
}

/// Makes a log from what is in memory, at once, on this thread: at a start, and where the log is switched on. When it
/// returns everything in memory is durable in the log, which goes on in a new increment.
pub fn begin_log(engine: &mut Engine, append: &mut Append, log_dir: &mut LogDir) -> Result<(), PersistError> {
    log_dir.set_base_format(base_format(engine));
    let image = Image::take(engine, true);
    let progress = Progress::new(engine.clock.now_ms(), image.keys());
    log_dir.create_folder()?;
    log_dir.sync_name()?;
    let sealed = image.write_at_once(log_dir.disk(), base_outlet(log_dir, progress))?;
    // The base first: the manifest before has no increment that would be loaded in front of it.
    let entry = log_dir.next_base();
    let past = Past::new(engine, engine.persistence.flushed_ms, true);
    log_dir.replace_base(entry, sealed, 0, past.replaced)?;
    log_dir.remove_history(&past.rules)?;
    begin_increment(engine, append, log_dir)
}

/// Goes on with the log in a new increment, as the history that the journal has, or a new one.
pub fn begin_increment(engine: &mut Engine, append: &mut Append, log_dir: &mut LogDir) -> Result<(), PersistError> {
    engine.journal.set_on(true);
    engine.journal.set_time(engine.clock.now_ms(), engine.config.tells_times());
    if engine.journal.history().is_none() {
        let (id, at) = (HistoryId::random(&mut engine.random), engine.journal.end());
        engine.journal.seal_as(id, OpenSpan::at(at), at);
    }
    let head = engine.journal.begin_file();
    let begun = log_dir.begin_increment(&head);
    if begun.is_err() {
        engine.journal.set_on(false);
    }
    let (path, file) = begun?;
    let len = head.len() as u64; // usize has at most 64 bits
    append.continue_in(path, file, Extent { len, head_len: len }, engine.journal.end());
    Ok(())
}
