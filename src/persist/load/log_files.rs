//! The files of a log, one after the other, and what is done about the end of each.
//!
//! Records are replayed as they are read, and the seal behind them comes later. Where it says that they are not those
//! that were written, and that the power may be to blame, everything is loaded anew up to the last place that is known to
//! be good: the caller does that.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::aof::check::{RdbDepth, check_file};
use crate::aof::{self, HistoryEnd, Log, LogFile, Role, Sealing, Verdict};
use crate::disk::{Disk, Mode};
use crate::engine::Engine;
use crate::persist::PersistError;

use super::log::{self, Ending};
use super::rdb::RdbLoader;
use super::{Loaded, LogEnd, TornTail, keep_tail};

/// Loads a log.
pub(super) struct LogLoader<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) log: &'a Log,
    pub(super) tail: TornTail,
    pub(super) loaded: &'a mut Loaded,
    /// Something was cut already: what comes next is another history.
    pub(super) is_cut: bool,
}

/// A file that is to be read up to an offset only.
pub(super) struct Cut {
    pub(super) index: usize,
    pub(super) offset: u64,
}

impl LogLoader<'_> {
    /// Loads all files; a cut where what was loaded is to be forgotten, and loaded anew with that.
    pub(super) fn load(&mut self) -> Result<Option<Cut>, PersistError> {
        let mut after = None;
        for index in 0..self.log.files.len() {
            let file = &self.log.files[index];
            let (verdict, ending) = match self.load_file(index, after) {
                Ok(ending) => (self.judge(index, &ending)?, Some(ending)),
                Err(error) => (self.find_cause(index, after, error)?, None),
            };
            let cut = match verdict {
                Verdict::Torn { last_good_offset, .. } => Some(last_good_offset),
                _ => None,
            };
            self.settle_end(&file.path, verdict)?;
            let Some(ending) = ending.filter(|ending| cut.is_none_or(|cut| cut >= ending.reached.whole_until)) else {
                return Ok(Some(Cut { index, offset: cut.unwrap_or(file.len) }));
            };
            self.engine.persistence.load.finish_file(file.len);
            if file.role == Role::Increment {
                let reached = &ending.reached;
                self.loaded.unsealed_bytes += reached.whole_until.saturating_sub(reached.seals.sealed_until());
                let end = self.log_end(file, ending, cut)?;
                after = Some(end.history);
                self.loaded.log_end = Some(end);
            }
        }
        Ok(None)
    }

    fn load_file(&mut self, index: usize, after: Option<HistoryEnd>) -> Result<Ending, PersistError> {
        let file = &self.log.files[index];
        let open = self.disk.open(&file.path, Mode::Read).map_err(PersistError::io(&file.path))?;
        let open = crate::rdb::envelope::unwrap(Read::take(open, file.len)).map_err(PersistError::io(&file.path))?;
        let reader = if file.has_rdb {
            let (engine, loaded) = (&mut *self.engine, &mut *self.loaded);
            let seen = &mut |_: &mut Engine, _| {};
            let rdb = RdbLoader { engine, path: &file.path, len: file.len, is_base: true, loaded, seen }.load(open)?;
            aof::Reader::resume(rdb.source, rdb.unread, rdb.offset, file.unpacked_len())
        } else {
            aof::Reader::resume(open, Vec::new(), 0, file.unpacked_len())
        };
        let reader = reader.take_seals(Sealing { after, is_lenient: !self.engine.config.aof_verify });
        log::replay_all(self.engine, reader, &file.path, &mut self.loaded.records)
    }

    fn judge(&self, index: usize, ending: &Ending) -> Result<Verdict, PersistError> {
        match &ending.fault {
            None => Ok(Verdict::Clean),
            Some(fault) => Ok(aof::judge(self.disk.as_ref(), self.log, index, fault, &ending.reached)?),
        }
    }

    /// A record that can't be replayed may have been changed since it was written: then that is to be told.
    fn find_cause(
        &self,
        index: usize,
        after: Option<HistoryEnd>,
        error: PersistError,
    ) -> Result<Verdict, PersistError> {
        let PersistError::Replay { offset, .. } = error else { return Err(error) };
        if !self.engine.config.aof_verify {
            return Err(error);
        }
        let report = check_file(self.disk.as_ref(), self.log, index, (RdbDepth::Skip, after), &mut ())?;
        match report.verdict {
            Verdict::Damaged { .. } if report.seals.span_offset() <= offset => Ok(report.verdict),
            Verdict::Torn { last_good_offset, .. } if last_good_offset <= offset => Ok(report.verdict),
            _ => Err(error),
        }
    }

    /// Where the increment can be continued, which was `cut` at its last whole unit, or is whole.
    fn log_end(&self, file: &LogFile, ending: Ending, cut: Option<u64>) -> Result<LogEnd, PersistError> {
        let seals = &ending.reached.seals;
        let has_records = seals.has_records();
        if cut.is_none() {
            let end = seals.end();
            let history = HistoryEnd { id: end.id.filter(|_| !self.is_cut), ..end };
            return Ok(LogEnd { history, span: ending.span, has_records });
        }
        let open = self.disk.open(&file.path, Mode::Read).map_err(PersistError::io(&file.path))?;
        let span = ending.reached.whole_span(open).map_err(PersistError::io(&file.path))?;
        // What was cut may be known elsewhere under the history's name.
        let at = seals.whole_position().unwrap_or_default();
        Ok(LogEnd { history: HistoryEnd { id: None, at }, span, has_records })
    }

    /// Cuts a torn tail or passes over it, or stops the start.
    fn settle_end(&mut self, path: &Path, verdict: Verdict) -> Result<(), PersistError> {
        let disk = self.disk;
        let refused = |reason| Err(PersistError::Refused { path: path.to_owned(), reason });
        match (verdict, self.tail) {
            (Verdict::Clean, _) => Ok(()),
            (Verdict::Torn { last_good_offset, cut_bytes, reason, .. }, TornTail::PassOver) => {
                self.loaded.warnings.push(format!(
                    "{}: {reason}: {cut_bytes} bytes behind offset {last_good_offset} were never finished and are left out",
                    path.display()
                ));
                Ok(())
            }
            (Verdict::Torn { last_good_offset, cut_bytes, reason, .. }, _) if self.engine.config.aof_load_truncated => {
                let kept = keep_tail(self.engine, disk, path, last_good_offset)?;
                let file = disk.open(path, Mode::Write).map_err(PersistError::io(path))?;
                file.set_len(last_good_offset).and_then(|()| file.sync_all()).map_err(PersistError::io(path))?;
                self.loaded.warnings.push(format!(
                    "!!! Warning: short read while loading the AOF file {}: {reason}. Truncated the file at offset \
                     {last_good_offset}: {cut_bytes} bytes cut, kept in {}",
                    path.display(),
                    kept.display()
                ));
                Ok(())
            }
            (Verdict::Torn { last_good_offset, cut_bytes, reason, .. }, _) => refused(format!(
                "{reason}. The file is whole up to offset {last_good_offset}; {cut_bytes} bytes behind it were never \
                 finished. Set aof-load-truncated yes, or run `aoftool check --fix`, to cut them (they are kept beside)"
            )),
            (Verdict::Damaged { offset, last_good_offset, intact_from, reason, .. }, _) => refused(format!(
                "damaged: {reason} (offset {offset}). Whole units end at offset {last_good_offset}; {}. This is no torn \
                 tail, so nothing was changed. `aoftool check` tells more. Restore a backup; or, to give up everything from \
                 there on, copy the folder and run `truncate -s {last_good_offset} '{}'`",
                match intact_from {
                    Some(at) => format!("intact records follow from offset {at}, which cutting here would lose"),
                    None => "files behind this one would be lost by cutting here".to_owned(),
                },
                path.display()
            )),
            (Verdict::Unsupported { offset, reason, .. }, _) => refused(format!("offset {offset}: {reason}")),
        }
    }
}
