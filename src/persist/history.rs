//! What is kept of the past: files of the log that a rewrite has replaced, and dumps from before a flush.
//!
//! ```text
//! appendonlydir/...                      files of type h in the manifest, where they were; see aof::manifest
//! dump.rdb.flushed-<ms>                  dump.rdb as it was before the flush of that Unix ms, kept when the next save
//!                                        took its name; also with appendonly no
//! ```
//!
//! How long: `aof-history-retention` after files were replaced, `flush-guard` after the last FLUSHALL or FLUSHDB in them,
//! and increments until they are archived (`aof-archive`), or in the set that BACKUP START has begun. A file that a kept one needs for being a log up to the present is
//! kept with it: the increments behind it, not the bases between. How much: `aof-history-max-size` bytes, log and dumps each, and never more than is free on the
//! disk beside them; the oldest goes first, also where a rewrite has found too little room. Real servers delete all files
//! of type h when they start.
//!
//! Removing unlinks first and publishes the manifest then: a crash between leaves names of history without files, which
//! no server minds, and never a file of the log that nobody knows.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aof::{Entry, FileType};
use crate::disk::{Disk, Mode, publish};
use crate::engine::Engine;
use crate::engine::persistence::Kept;

/// What is to be kept, and as of when.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Unix ms.
    pub now_ms: i64,
    pub retention_ms: i64,
    pub guard_ms: i64,
    /// Bytes.
    pub max_size: u64,
    /// Bytes that are to be free beside what is kept.
    pub room: u64,
    /// Nothing is removed, whatever its age and size.
    pub keeps_all: bool,
    /// The archive or a set of BACKUP START still reads increments from this number on.
    pub needed_from: Option<i64>,
}

impl Rules {
    /// Those of this moment.
    pub fn new(engine: &Engine) -> Self {
        let config = &engine.config;
        let ms = |seconds: u64| i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
        Self {
            now_ms: engine.clock.now_ms(),
            retention_ms: ms(config.aof_history_retention),
            guard_ms: ms(config.flush_guard),
            max_size: if config.aof_history_max_size == 0 { u64::MAX } else { config.aof_history_max_size },
            room: engine.persistence.room_wanted,
            keeps_all: config.aof_disable_auto_gc,
            needed_from: engine.backups.log_needed_from(config.archives()),
        }
    }

    fn guards(&self, flushed_ms: i64) -> bool {
        self.now_ms < flushed_ms.saturating_add(self.guard_ms)
    }

    /// Whether a file in history is wanted for its own sake.
    fn wants(&self, entry: &Entry) -> bool {
        entry.past.is_some_and(|past| {
            let replaced = past.replaced;
            let is_read_later = self.needed_from.is_some_and(|from| entry.seq >= from);
            (is_read_later && past.was == FileType::Increment)
                || self.now_ms < replaced.at_ms.saturating_add(self.retention_ms)
                || replaced.flushed_ms.is_some_and(|at| self.guards(at))
        })
    }

    /// Bytes that may be kept where so many are free beside `size` of them.
    fn most(&self, size: u64, free: u64) -> u64 {
        let all = size.saturating_add(free);
        self.max_size.min(all / 2).min(all.saturating_sub(self.room))
    }
}

/// A file in history and its length.
struct Old<'a> {
    entry: &'a Entry,
    len: u64,
}

impl Old<'_> {
    fn was(&self, part: FileType) -> bool {
        self.entry.past.is_some_and(|past| past.was == part)
    }
}

/// The names in `history`, newest first, of which nothing is wanted any more. `len` tells the bytes of a file, `free`
/// those that are free beside all of them.
pub(super) fn unwanted(history: &[Entry], len: impl Fn(&Entry) -> u64, free: u64, rules: &Rules) -> Vec<OsString> {
    if rules.keeps_all {
        return Vec::new();
    }
    let mut kept: Vec<Old<'_>> = Vec::new();
    // One chain after the other: each ends where nothing goes on.
    let oldest_first: Vec<&Entry> = history.iter().rev().collect();
    for chain in oldest_first.split_inclusive(|entry| entry.past.is_some_and(|past| past.replaced.is_end)) {
        let needed = chain.iter().skip_while(|entry| !rules.wants(entry));
        let needed = needed.map(|entry| Old { entry, len: len(entry) });
        kept.extend(needed.filter(|old| rules.wants(old.entry) || old.was(FileType::Increment)));
    }
    let size: u64 = history.iter().map(&len).sum();
    let most = rules.most(size, free);
    let mut left: u64 = kept.iter().map(|old| old.len).sum();
    let mut first = 0;
    // The oldest base goes with the increments behind it, which are no log without it.
    while left > most && first < kept.len() {
        left -= kept[first].len;
        first += 1;
        while first < kept.len() && !kept[first].was(FileType::Base) {
            left -= kept[first].len;
            first += 1;
        }
    }
    let is_kept = |entry: &Entry| kept[first..].iter().any(|old| old.entry.name == entry.name);
    history.iter().filter(|entry| !is_kept(entry)).map(|entry| entry.name.clone()).collect()
}

/// The name under which a dump is kept that a flush at that time has made the last of its data.
pub fn kept_dump_name(name: &str, flushed_ms: i64) -> String {
    format!("{name}.flushed-{flushed_ms}")
}

/// A dump that was kept.
struct KeptDump {
    path: PathBuf,
    flushed_ms: i64,
    len: u64,
}

/// The dumps that were kept of `folder/name`, oldest first.
fn kept_dumps(disk: &dyn Disk, folder: &Path, name: &str) -> Vec<KeptDump> {
    let prefix = format!("{name}.flushed-");
    let found = disk.list(folder).unwrap_or_default().into_iter().filter_map(|file| {
        let digits = file.to_str()?.strip_prefix(&prefix)?;
        let flushed_ms = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        let path = folder.join(&file);
        let metadata = disk.metadata(&path).ok().filter(|metadata| metadata.is_file())?;
        Some(KeptDump { path, flushed_ms, len: metadata.len })
    });
    let mut found: Vec<KeptDump> = found.collect();
    found.sort_by_key(|dump| dump.flushed_ms);
    found
}

/// Gives the dump `folder/name` a second, durable name before another takes its own: it holds what a flush at that time
/// has removed from memory. The second name's path; none where there is no dump.
pub fn keep_dump(disk: &Arc<dyn Disk>, folder: &Path, name: &str, flushed_ms: i64) -> io::Result<Option<PathBuf>> {
    let (dump, kept) = (folder.join(name), folder.join(kept_dump_name(name, flushed_ms)));
    if !disk.exists(&dump) {
        return Ok(None);
    }
    match disk.link(&dump, &kept) {
        // From an attempt to save that failed later.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        // File systems without links.
        Err(_) => {
            let mut source = disk.open(&dump, Mode::Read)?;
            let kept_name = kept.file_name().unwrap_or_default();
            publish(disk, folder, kept_name, |out| io::copy(&mut source, out))?;
        }
        Ok(()) => {}
    }
    disk.sync_dir(folder)?;
    Ok(Some(kept))
}

/// Removes the dumps kept of `folder/name` that are wanted no more; what is left of them.
pub fn remove_dumps(disk: &dyn Disk, folder: &Path, name: &str, rules: &Rules) -> io::Result<Kept> {
    let mut dumps = kept_dumps(disk, folder, name);
    let mut size: u64 = dumps.iter().map(|dump| dump.len).sum();
    if dumps.is_empty() || rules.keeps_all {
        return Ok(Kept { files: dumps.len(), bytes: size });
    }
    let most = rules.most(size, disk.free_space(folder).unwrap_or(u64::MAX));
    let mut outcome = Ok(());
    dumps.retain(|dump| {
        if rules.guards(dump.flushed_ms) && size <= most {
            return true;
        }
        size -= dump.len;
        outcome = std::mem::replace(&mut outcome, Ok(())).and_then(|()| disk.remove(&dump.path));
        false
    });
    outcome.map(|()| Kept { files: dumps.len(), bytes: size })
}

#[cfg(test)]
mod tests;
