//! `aoftool strip-command`: the same log without every record of a command, a FLUSHALL that nobody meant above all.
//!
//! A first pass over all files finds the records, says where they are, and makes sure that the log can be read to its
//! end. Only then anything is written: in place, with the original put aside, or to another folder.
//!
//! Where a rewrite has swallowed the command, the files that it has replaced are looked at, as far as the manifest still
//! has them in history: the result is then the log as it would be had the rewrite not taken place, without the command.
//! Otherwise the manifest stays as it is, since no file changes its name or its part.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::seal::Mark;
use ironkeep::aof::{self, Log, LogFile, RdbPart, Role, Verdict};
use ironkeep::cli::escape::{Escaped, Preview};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::locate::{self, Request, show};
use ironkeep::cli::utc::Utc;
use ironkeep::cli::{in_place, lock};
use ironkeep::disk::{Disk, publish};

use crate::report;
use crate::selection::{self, Choice, Pass, Removed, Sink};

/// Remove every record of a command, FLUSHALL for one, and keep all other bytes
#[derive(clap::Args)]
pub struct Arguments {
    /// Names of commands, in any case; behind them the log: a file, a manifest or a folder. Without it, the log of
    /// --dir, of IRONKEEP_DIR, or of the current folder is found.
    #[arg(value_name = "NAME... [PATH]", required = true)]
    words: Vec<PathBuf>,
    /// The data folder to look in when no path is given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write the result into this folder and leave the log alone
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Remove only the last record of those names
    #[arg(long)]
    last: bool,
    /// Also look in the files that rewrites have replaced and the server has kept, though the log has such records. Where
    /// it has none this is done in any case.
    #[arg(long)]
    history: bool,
    /// Show what would happen, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let (names, path) = names_and_path(&**disk, arguments)?;
    let located = locate::locate(disk, Request { path: path.as_deref(), dir: arguments.dir.as_deref() })?;
    // What is looked at must be what is changed.
    let in_place = arguments.output.is_none();
    let _hold = if in_place { Some(lock::hold(&**disk, &located.log)?) } else { None };
    let whole = located.log.with_history(&**disk)?;
    let present = Job { disk, name: &located.name, log: &located.log, is_whole: false, names: &names };
    let (job, survey) = present.or_with_history(whole.as_ref(), arguments)?;
    if survey.removed() == 0 {
        return job.nothing_found(&survey);
    }
    if arguments.dry_run {
        writeln!(io::stderr(), "{} would be removed. Nothing was changed.", survey.what(&names))?;
        return Ok(Exit::Fine);
    }
    match &arguments.output {
        Some(folder) => job.write_to(folder, &survey),
        None => job.edit(arguments.yes, &survey),
    }
}

/// The last word is the path if it looks like one or is there; the others are names of commands.
fn names_and_path(disk: &dyn Disk, arguments: &Arguments) -> anyhow::Result<(Vec<Vec<u8>>, Option<PathBuf>)> {
    let usage = |message: String| Failure::error(Exit::Usage, message);
    let mut words = arguments.words.clone();
    let mut path = None;
    if let [_, .., last] = &words[..] {
        let text = last.as_os_str().as_encoded_bytes();
        let looks = text.contains(&b'/') || text == b"-" || text.ends_with(b".aof") || text.ends_with(b".manifest");
        if looks || disk.exists(last) {
            path = words.pop();
        }
    }
    if path.as_deref() == Some(Path::new("-")) {
        return Err(usage("standard input can't be stripped: give a path".to_owned()));
    }
    if path.is_some() && arguments.dir.is_some() {
        return Err(usage("a path and --dir exclude each other".to_owned()));
    }
    let names: Vec<Vec<u8>> =
        words.iter().map(|word| word.as_os_str().as_encoded_bytes().to_ascii_uppercase()).collect();
    for name in &names {
        if matches!(&name[..], b"SELECT" | b"MULTI" | b"EXEC") {
            let name = Escaped(name);
            return Err(usage(format!("{name} can't be stripped: the commands around it would change their meaning")));
        }
        if name.is_empty() || name.contains(&b'/') {
            return Err(usage(format!("'{}' is no name of a command; the path comes last", Escaped(name))));
        }
    }
    Ok((names, path))
}

/// What the first pass found in one file.
struct Surveyed {
    rdb: Option<RdbPart>,
    pass: Pass,
    /// Records of the names that stay.
    spared: u64,
}

/// What the first pass found.
struct Survey {
    files: Vec<Surveyed>,
}

impl Survey {
    fn removed(&self) -> u64 {
        self.files.iter().map(|file| file.pass.removed).sum()
    }

    fn what(&self, names: &[Vec<u8>]) -> String {
        let names: Vec<String> = names.iter().map(|name| Escaped(name).to_string()).collect();
        let emptied: u64 = self.files.iter().map(|file| file.pass.emptied).sum();
        let mut what = format!("{} ({})", report::plural(self.removed(), "record"), names.join(", "));
        if emptied > 0 {
            what += &format!(" and {} left empty", report::plural(emptied, "transaction"));
        }
        what
    }
}

#[derive(Clone, Copy)]
struct Job<'a> {
    disk: &'a Arc<dyn Disk>,
    /// What to call the log.
    name: &'a str,
    log: &'a Log,
    /// The log is made of files in history too; the manifest says so in the end.
    is_whole: bool,
    names: &'a [Vec<u8>],
}

impl Job<'_> {
    /// Finds what is to go, lists it if that is wanted, and makes sure that nothing in the middle is broken.
    fn survey(&self, only_last: bool, lists: bool) -> anyhow::Result<Survey> {
        let files = &self.log.files;
        let mut spared = vec![0; files.len()];
        if only_last {
            let counts: Vec<u64> = self.survey(false, false)?.files.iter().map(|file| file.pass.removed).collect();
            let last = counts.iter().rposition(|count| *count > 0);
            spared = counts.iter().enumerate().map(|(at, count)| count - u64::from(last == Some(at))).collect();
        }
        let mut found = Vec::new();
        for (index, (file, spared)) in files.iter().zip(spared).enumerate() {
            let surveyed = self.survey_file(file, spared, lists).with_context(|| show(&file.path))?;
            if let Some(fault) = &surveyed.pass.fault {
                self.judge(index, fault, &surveyed.pass)?;
            }
            found.push(surveyed);
        }
        Ok(Survey { files: found })
    }

    /// The survey of the log, or of the `whole` one that history holds where that is asked for or the log has no such
    /// record.
    fn or_with_history<'b>(self, whole: Option<&'b Log>, arguments: &Arguments) -> anyhow::Result<(Job<'b>, Survey)>
    where
        Self: 'b,
    {
        if let Some(whole) = whole
            && (arguments.history || self.survey(false, false)?.removed() == 0)
        {
            let is_new = |file: &&LogFile| !self.log.files.iter().any(|known| known.path == file.path);
            let names: Vec<String> = whole.files.iter().filter(is_new).map(report::name).collect();
            writeln!(io::stderr(), "{}: looking at what a rewrite has replaced too: {}", self.name, names.join(", "))?;
            let job = Job { log: whole, is_whole: true, ..self };
            let survey = job.survey(arguments.last, true)?;
            if survey.removed() > 0 {
                return Ok((job, survey));
            }
        }
        let survey = self.survey(arguments.last, true)?;
        Ok((self, survey))
    }

    fn survey_file(&self, file: &LogFile, spared: u64, lists: bool) -> anyhow::Result<Surveyed> {
        let rdb = match selection::rdb_part(&**self.disk, file) {
            Ok(rdb) => rdb,
            // A base is copied and not changed, so it need not be understood.
            Err(error) if file.role == Role::Base => {
                writeln!(io::stderr(), "{}: left as it is: {error}", report::name(file))?;
                return Ok(Surveyed { rdb: None, pass: Pass::none(file), spared: 0 });
            }
            Err(error) => {
                let exit = if error.is_unsupported() { Exit::Unsupported } else { Exit::Findings };
                return Err(Failure::error(exit, format!("the RDB in front can't be read: {error}")));
            }
        };
        let start = rdb.as_ref().map_or(0, |rdb| rdb.len);
        let mut list = List { name: report::name(file), lists, out: io::BufWriter::new(io::stdout()) };
        let choice = Choice { names: self.names, spared };
        let pass = selection::pass(&**self.disk, file, start, choice, &mut list)?;
        list.out.flush()?;
        Ok(Surveyed { rdb, pass, spared })
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
    fn nothing_found(&self, survey: &Survey) -> anyhow::Result<Exit> {
        let names: Vec<String> = self.names.iter().map(|name| Escaped(name).to_string()).collect();
        let mut words = io::stderr().lock();
        write!(words, "{}: no {} in this log. ", self.name, names.join(" and no "))?;
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

    fn edit(&self, yes: bool, survey: &Survey) -> anyhow::Result<Exit> {
        let log = self.log;
        let what = survey.what(self.names);
        let (original, backup) = in_place::backup_path(&**self.disk, log)?;
        let question =
            format!("This will remove {what} from {}, and keep the original as {}.", show(&original), show(&backup));
        if !in_place::confirm(&question, yes)? {
            writeln!(io::stderr(), "Aborting... Nothing was changed.")?;
            return Ok(Exit::Findings);
        }
        let changes = |file: &LogFile| {
            let position = log.files.iter().position(|other| other.path == file.path);
            position.is_some_and(|index| survey.files[index].pass.removed > 0)
        };
        let aside = in_place::put_aside(self.disk, log, changes)?;
        for (file, surveyed) in log.files.iter().zip(&survey.files).filter(|(_, surveyed)| surveyed.pass.removed > 0) {
            in_place::replace(self.disk, &file.path, |out| self.copy(file, surveyed, out)).with_context(|| {
                format!("{}: can't be replaced; to undo what was done: {}", show(&file.path), aside.undo())
            })?;
        }
        if let (Some((path, manifest)), true) = (&log.manifest, self.is_whole) {
            in_place::replace(self.disk, path, |out| Ok(out.write_all(&manifest.render())?)).with_context(|| {
                format!("{}: can't be replaced; to undo what was done: {}", show(path), aside.undo())
            })?;
        }
        let mut words = io::stderr().lock();
        writeln!(words, "Removed {what}. The original is {}", show(&aside.backup))?;
        writeln!(words, "To undo: {}", aside.undo())?;
        Ok(Exit::Fine)
    }

    /// Writes the whole log into another folder, in the same shape: `DIR/appendonly.aof`, `DIR/appendonlydir/...`.
    fn write_to(&self, output: &Path, survey: &Survey) -> anyhow::Result<Exit> {
        let (disk, log) = (self.disk, self.log);
        let folder = match &log.manifest {
            None => output.to_owned(),
            Some(_) => {
                let folder = std::path::absolute(&log.folder).unwrap_or_else(|_| log.folder.clone());
                output.join(folder.file_name().unwrap_or(OsStr::new(aof::log::DEFAULT_FOLDER_NAME)))
            }
        };
        for wanted in [output, &folder] {
            match disk.create_dir(wanted) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(anyhow::Error::from(error).context(show(wanted)));
                }
                _ => {}
            }
        }
        let manifest_path = log.manifest.as_ref().map(|(path, _)| path.as_path());
        for path in log.files.iter().map(|file| file.path.as_path()).chain(manifest_path) {
            let target = folder.join(path.file_name().unwrap_or_default());
            if disk.exists(&target) {
                let message = "is already there; give a folder that has no such file";
                return Err(Failure::error(Exit::Refused, message).context(show(&target)));
            }
        }
        for (file, surveyed) in log.files.iter().zip(&survey.files) {
            let name = file.path.file_name().unwrap_or_default();
            publish(disk, &folder, name, |out| self.copy(file, surveyed, out)).with_context(|| show(&file.path))?;
        }
        // What names the others comes last.
        let mut result = folder.join(log.path().file_name().unwrap_or_default());
        if let Some((path, manifest)) = &log.manifest {
            result = folder.join(path.file_name().unwrap_or_default());
            let mut kept = manifest.clone();
            kept.history.clear();
            ironkeep::disk::publish_bytes(disk, &folder, result.file_name().unwrap_or_default(), &kept.render())
                .with_context(|| show(&result))?;
        }
        disk.sync_dir(output).with_context(|| show(output))?;
        writeln!(io::stderr(), "Removed {}. The result is {}", survey.what(self.names), show(&result))?;
        Ok(Exit::Fine)
    }

    fn copy(&self, file: &LogFile, surveyed: &Surveyed, out: &mut dyn Write) -> anyhow::Result<()> {
        if surveyed.pass.removed == 0 {
            return Ok(selection::copy_range(&**self.disk, file, 0, file.len, out)?);
        }
        let start = surveyed.rdb.as_ref().map_or(0, |rdb| rdb.len);
        let copied = {
            let choice = Choice { names: self.names, spared: surveyed.spared };
            selection::copy(&**self.disk, file, start, choice, out)?
        };
        anyhow::ensure!(
            copied.removed == surveyed.pass.removed && copied.read_until == surveyed.pass.read_until,
            "the file changed meanwhile: stop who writes to it"
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

/// Prints what goes, one line each.
struct List {
    name: String,
    /// False where they are only counted.
    lists: bool,
    out: io::BufWriter<io::Stdout>,
}

impl Sink for List {
    fn keep(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn mark(&mut self, _mark: &Mark<'_>, _is_spared: bool) -> io::Result<()> {
        Ok(())
    }

    fn removed(&mut self, removed: &Removed<'_, '_>) -> io::Result<()> {
        if !self.lists {
            return Ok(());
        }
        let record = removed.record;
        write!(self.out, "{} offset {}, database {}", self.name, record.offset, removed.db)?;
        if let Some((address, user)) = removed.sender {
            write!(self.out, ", sent by {} (user {})", Escaped(address), Escaped(user))?;
        }
        if let Some(ms) = removed.after_ms {
            write!(self.out, ", at or after {}", Utc(ms))?;
        }
        if let Some(multi) = removed.multi {
            write!(self.out, ", in the transaction at {multi}")?;
        }
        write!(self.out, ": {}", Escaped(record.arguments[0]))?;
        for argument in record.arguments[1..].iter().take(8) {
            write!(self.out, " {}", Preview { bytes: argument, limit: 60 })?;
        }
        writeln!(self.out, "{}", if record.arguments.len() > 9 { " ..." } else { "" })
    }
}
