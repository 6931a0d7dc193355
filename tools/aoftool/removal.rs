//! Records of some names, found in a log and taken out of it: what `strip-command` and `undo-flush` have in common.
//!
//! A first pass over all files finds the records and makes sure that the log can be read to its end. Where the log has
//! none, the files are looked at that a rewrite has replaced, as far as the manifest still has them in history: the result
//! is then the log as it would be had the rewrite not taken place, without the records.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::seal::Mark;
use ironkeep::aof::{self, Log, LogFile, RdbPart, Role, Verdict};
use ironkeep::cli::escape::{Escaped, Preview};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::show;
use ironkeep::cli::utc::Utc;
use ironkeep::disk::Disk;

use crate::change::{Change, Fate};
use crate::remade::Marks;
use crate::report;
use crate::selection::{self, Choice, Only, Pass, Removed, Sink};
use crate::timeline::Sender;

/// Which of the records are meant.
#[derive(Clone, Copy)]
pub struct Which {
    pub only_last: bool,
    /// History is looked at although the log has such records.
    pub wants_history: bool,
}

/// Is told of every record that is to go, and its file.
pub type Told<'a> = &'a mut dyn FnMut(&LogFile, &Removed<'_, '_>) -> io::Result<()>;

/// What the first pass found in one file.
struct Surveyed {
    /// Which file it was: a server may put another one in its place.
    identity: (u64, u64),
    rdb: Option<RdbPart>,
    pass: Pass,
    /// Records of the names that stay.
    spared: u64,
}

/// What the first pass found.
pub struct Survey {
    files: Vec<Surveyed>,
}

impl Survey {
    pub fn removed(&self) -> u64 {
        self.files.iter().map(|file| file.pass.removed).sum()
    }

    pub fn emptied(&self) -> u64 {
        self.files.iter().map(|file| file.pass.emptied).sum()
    }

    /// Whether the log tells any time.
    fn has_times(&self) -> bool {
        self.files.iter().any(|file| file.pass.has_times)
    }

    /// How many records of the names, in words.
    pub fn what(&self, names: &[Vec<u8>]) -> String {
        let names: Vec<String> = names.iter().map(|name| Escaped(name).to_string()).collect();
        let emptied = self.emptied();
        let mut what = format!("{} ({})", report::plural(self.removed(), "record"), names.join(", "));
        if emptied > 0 {
            what += &format!(" and {} left empty", report::plural(emptied, "transaction"));
        }
        what
    }
}

/// A search for records.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    pub disk: &'a Arc<dyn Disk>,
    /// What to call the log.
    pub name: &'a str,
    pub log: &'a Log,
    /// The log is made of files in history too; the manifest says so in the end.
    pub is_whole: bool,
    pub names: &'a [Vec<u8>],
    /// What must hold of them beside.
    pub only: &'a Only,
}

impl Job<'_> {
    /// Finds what is to go, tells of it, and makes sure that nothing in the middle is broken.
    fn survey(&self, only_last: bool, told: Told<'_>) -> anyhow::Result<Survey> {
        let files = &self.log.files;
        let mut spared = vec![0; files.len()];
        if only_last {
            let counts: Vec<u64> = self.count()?.files.iter().map(|file| file.pass.removed).collect();
            let last = counts.iter().rposition(|count| *count > 0);
            spared = counts.iter().enumerate().map(|(at, count)| count - u64::from(last == Some(at))).collect();
        }
        let mut found = Vec::new();
        for (index, (file, spared)) in files.iter().zip(spared).enumerate() {
            let surveyed = self.survey_file(file, spared, told).with_context(|| show(&file.path))?;
            if let Some(fault) = &surveyed.pass.fault {
                self.judge(index, fault, &surveyed.pass)?;
            }
            found.push(surveyed);
        }
        Ok(Survey { files: found })
    }

    fn count(&self) -> anyhow::Result<Survey> {
        self.survey(false, &mut |_, _| Ok(()))
    }

    /// The survey of the log, or of the `whole` one that history holds where that is asked for or the log has no such
    /// record.
    pub fn or_with_history<'b>(
        self,
        whole: Option<&'b Log>,
        which: Which,
        told: Told<'_>,
    ) -> anyhow::Result<(Job<'b>, Survey)>
    where
        Self: 'b,
    {
        if let Some(whole) = whole
            && (which.wants_history || self.count()?.removed() == 0)
        {
            let is_new = |file: &&LogFile| !self.log.files.iter().any(|known| known.path == file.path);
            let names: Vec<String> = whole.files.iter().filter(is_new).map(report::name).collect();
            writeln!(io::stderr(), "{}: looking at what a rewrite has replaced too: {}", self.name, names.join(", "))?;
            let job = Job { log: whole, is_whole: true, ..self };
            let survey = job.survey(which.only_last, told)?;
            if survey.removed() > 0 {
                return Ok((job, survey));
            }
        }
        let survey = self.survey(which.only_last, told)?;
        Ok((self, survey))
    }

    fn survey_file(&self, file: &LogFile, spared: u64, told: Told<'_>) -> anyhow::Result<Surveyed> {
        let identity = self.disk.metadata(&file.path)?.identity;
        let rdb = match selection::rdb_part(&**self.disk, file) {
            Ok(rdb) => rdb,
            // A base is copied and not changed, so it need not be understood.
            Err(error) if file.role == Role::Base => {
                writeln!(io::stderr(), "{}: left as it is: {error}", report::name(file))?;
                return Ok(Surveyed { identity, rdb: None, pass: Pass::none(file), spared: 0 });
            }
            Err(error) => {
                let exit = if error.is_unsupported() { Exit::Unsupported } else { Exit::Findings };
                return Err(Failure::error(exit, format!("the RDB in front can't be read: {error}")));
            }
        };
        let start = rdb.as_ref().map_or(0, |rdb| rdb.len);
        let choice = Choice { names: self.names, only: self.only, spared };
        let pass = selection::pass(&**self.disk, file, start, choice, &mut Teller { file, told })?;
        Ok(Surveyed { identity, rdb, pass, spared })
    }

    fn judge(&self, index: usize, fault: &aof::Fault, pass: &Pass) -> anyhow::Result<()> {
        let file = &self.log.files[index];
        match aof::judge(&**self.disk, self.log, index, fault, &pass.reached)? {
            Verdict::Damaged { reason, .. } | Verdict::Unsupported { reason, .. } => {
                let message = format!("{reason}; nothing was changed, see `aoftool check`");
                Err(Failure::error(Exit::Findings, message).context(show(&file.path)))
            }
            Verdict::Torn { cut_bytes, .. } => {
                let name = report::name(file);
                writeln!(io::stderr(), "{name}: {fault}; this torn tail of {cut_bytes} bytes is kept as it is")?;
                Ok(())
            }
            Verdict::Clean => Ok(()),
        }
    }

    /// Says where the command may have gone.
    pub fn nothing_found(&self, survey: &Survey) -> anyhow::Result<Exit> {
        let names: Vec<String> = self.names.iter().map(|name| Escaped(name).to_string()).collect();
        let mut words = io::stderr().lock();
        write!(words, "{}: no {} in this log", self.name, names.join(" and no "))?;
        if self.only.filter.needs_times() && !survey.has_times() {
            writeln!(words, ": it tells no times, so --between can't choose (see aof-timestamp-enabled)")?;
            return Ok(Exit::Findings);
        }
        if !self.only.is_open() {
            writeln!(
                words,
                " is what was asked for; `aoftool dump` takes the same conditions and shows what is there"
            )?;
            return Ok(Exit::Findings);
        }
        write!(words, ". ")?;
        match base(self.log, survey) {
            Some((file, Some(0))) => {
                writeln!(
                    words,
                    "A rewrite has already swallowed it: the base {} holds no keys, and what was before is in no file of this log. Look for a backup, a replica, or a dump.rdb that was not saved since.",
                    report::name(file)
                )?;
            }
            Some((file, count)) => {
                let holds =
                    count.map_or_else(String::new, |count| format!(", which holds {}", report::plural(count, "key")));
                writeln!(
                    words,
                    "If there was one, the rewrite that wrote the base {}{holds}, has already swallowed it with all that was before.",
                    report::name(file)
                )?;
            }
            None => {
                writeln!(words, "If there was one, a rewrite since has already swallowed it with all that was before.")?
            }
        }
        for name in self.older_files() {
            writeln!(words, "An older file is still there: {name}")?;
        }
        for path in self.kept_dumps() {
            writeln!(words, "A dump from before a flush is kept: {path}")?;
        }
        Ok(Exit::Findings)
    }

    /// Dumps that the server has kept beside the log's folder: `dump.rdb.flushed-<Unix ms>`.
    fn kept_dumps(&self) -> Vec<String> {
        let Ok(folder) = std::path::absolute(&self.log.folder) else { return Vec::new() };
        let folder = if self.log.manifest.is_some() { folder.parent().unwrap_or(&folder) } else { &folder };
        let names = self.disk.list(folder).unwrap_or_default();
        let is_kept = |name: &&std::ffi::OsString| name.to_string_lossy().contains(".flushed-");
        names.iter().filter(is_kept).map(|name| show(&folder.join(name))).collect()
    }

    /// Files that the manifest calls history, as far as they are there.
    fn older_files(&self) -> Vec<String> {
        let log = self.log;
        let history = log.manifest.iter().flat_map(|(_, manifest)| &manifest.history);
        let paths = history.map(|entry| log.folder.join(&entry.name));
        paths.filter(|path| self.disk.exists(path)).map(|path| show(&path)).collect()
    }

    /// The change that takes out what the survey found; `fill` is [`Job::fill`].
    pub fn change<'b>(
        &'b self,
        survey: &Survey,
        (does, did): (&'b str, &'b str),
        fill: &'b dyn Fn(usize, &mut dyn Write) -> anyhow::Result<()>,
    ) -> Change<'b> {
        let fate = |file: &Surveyed| if file.pass.removed > 0 { Fate::Rewritten } else { Fate::Stays };
        let fates = survey.files.iter().map(fate).collect();
        let manifest = self.log.manifest.as_ref().filter(|_| self.is_whole).map(|(_, manifest)| manifest.clone());
        Change { disk: self.disk, log: self.log, does, did, fates, manifest, fill }
    }

    /// Writes a file without what the survey found in it.
    pub fn fill(&self, index: usize, survey: &Survey, out: &mut dyn Write) -> anyhow::Result<()> {
        let (file, surveyed) = (&self.log.files[index], &survey.files[index]);
        let start = surveyed.rdb.as_ref().map_or(0, |rdb| rdb.len);
        let has_changed = "the file changed meanwhile: stop who writes to it";
        if let (Some(gaps), false) = (&surveyed.pass.gaps, surveyed.pass.reached.seals.has_marks()) {
            selection::copy_between(&**self.disk, file, gaps, out)?;
            let is_same = self.disk.metadata(&file.path)?.identity == surveyed.identity;
            anyhow::ensure!(is_same, has_changed);
            return Ok(());
        }
        let copied = {
            let choice = Choice { names: self.names, only: self.only, spared: surveyed.spared };
            let marks = Marks::of(surveyed.pass.reached.seals.has_marks());
            selection::copy(&**self.disk, file, start, (choice, marks), out)?
        };
        anyhow::ensure!(
            copied.removed == surveyed.pass.removed && copied.read_until == surveyed.pass.read_until,
            has_changed
        );
        Ok(())
    }
}

/// The file that a rewrite wrote, and how many keys it holds, where that is known.
fn base<'a>(log: &'a Log, survey: &Survey) -> Option<(&'a LogFile, Option<u64>)> {
    let (file, surveyed) =
        log.files.iter().zip(&survey.files).find(|(file, _)| file.role == Role::Base || file.has_rdb)?;
    let keys = match &surveyed.rdb {
        Some(rdb) => Some(rdb.keys),
        None if !file.has_rdb && surveyed.pass.records == 0 => Some(0),
        None => None,
    };
    Some((file, keys))
}

/// A record that is to go, kept for a report.
pub struct Found {
    pub file: String,
    pub offset: u64,
    /// The offset of the MULTI around it.
    pub multi: Option<u64>,
    pub db: u64,
    pub command: String,
    /// What [`write_line`] writes of it.
    pub line: Vec<u8>,
    after_ms: Option<i64>,
    sender: Option<Sender>,
}

impl Found {
    pub fn of(file: &LogFile, removed: &Removed<'_, '_>) -> io::Result<Self> {
        let mut line = Vec::new();
        write_line(&mut line, file, removed)?;
        Ok(Self {
            file: file.name(),
            offset: removed.record.offset,
            multi: removed.multi,
            db: removed.db,
            command: Escaped(&removed.record.arguments[0].to_ascii_uppercase()).to_string(),
            line,
            after_ms: removed.after_ms,
            sender: removed.sender.cloned(),
        })
    }

    pub fn write_json(&self, object: &mut Object<'_>) {
        object.str("command", &self.command);
        object.bytes("file", self.file.as_bytes()).u64("offset", self.offset).u64("db", self.db);
        if let Some(multi) = self.multi {
            object.u64("multi", multi);
        }
        if let Some(ms) = self.after_ms {
            object.str("after", &Utc(ms).to_string());
        }
        if let Some(Sender { address, user }) = &self.sender {
            object.str("from", &Escaped(address).to_string()).str("user", &Escaped(user).to_string());
        }
    }
}

struct Teller<'a> {
    file: &'a LogFile,
    told: Told<'a>,
}

impl Sink for Teller<'_> {
    fn keep(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn mark(&mut self, _mark: &Mark<'_>, _tells_sender: bool) -> io::Result<()> {
        Ok(())
    }

    fn removed(&mut self, removed: &Removed<'_, '_>) -> io::Result<()> {
        (self.told)(self.file, removed)
    }
}

/// One line about a record that goes.
pub fn write_line(out: &mut dyn Write, file: &LogFile, removed: &Removed<'_, '_>) -> io::Result<()> {
    let record = removed.record;
    write!(out, "{} offset {}, database {}", report::name(file), record.offset, removed.db)?;
    if let Some(Sender { address, user }) = removed.sender {
        write!(out, ", sent by {} (user {})", Escaped(address), Escaped(user))?;
    }
    if let Some(ms) = removed.after_ms {
        write!(out, ", at or after {}", Utc(ms))?;
    }
    if let Some(multi) = removed.multi {
        write!(out, ", in the transaction at {multi}")?;
    }
    write!(out, ": {}", Escaped(record.arguments[0]))?;
    for argument in record.arguments[1..].iter().take(8) {
        write!(out, " {}", Preview { bytes: argument, limit: 60 })?;
    }
    writeln!(out, "{}", if record.arguments.len() > 9 { " ..." } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironkeep::disk::{Mode, RealDisk};
    use ironkeep::resp::encode_request;
    use std::path::Path;

    fn write(path: &Path, commands: &[&[&str]]) {
        let mut bytes = Vec::new();
        commands.iter().for_each(|command| encode_request(&mut bytes, command));
        RealDisk.open(path, Mode::Truncate).unwrap().write_all(&bytes).unwrap();
    }

    /// A server that rewrites puts a new file in the place of the one that was looked at, where gaps mean nothing.
    #[test]
    fn a_file_in_the_place_of_the_one_that_was_read_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a.aof"), folder.path().join("b.aof"));
        write(&path, &[&["SET", "a", "1"], &["FLUSHALL"], &["SET", "b", "2"]]);
        let (disk, log): (Arc<dyn Disk>, _) = (Arc::new(RealDisk), Log::open(&RealDisk, &path).unwrap());
        let (names, only) = ([b"FLUSHALL".to_vec()], Only::default());
        let job = Job { disk: &disk, name: "a.aof", log: &log, is_whole: false, names: &names, only: &only };
        let survey = job.survey(false, &mut |_, _| Ok(())).unwrap();
        let mut copied = Vec::new();
        job.fill(0, &survey, &mut copied).unwrap();
        assert_eq!(copied, *b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n2\r\n");
        write(&other, &[&["SET", "a", "1"], &["FLUSHALL"], &["SET", "b", "2"]]);
        RealDisk.rename(&other, &path).unwrap();
        let error = job.fill(0, &survey, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("changed meanwhile"), "{error:#}");
    }
}
