//! `aoftool strip-command`: the same log without every record of a command, a FLUSHALL that nobody meant above all.
//!
//! A first pass over all files finds the records, says where they are, and makes sure that the log can be read to its
//! end. Only then anything is written: in place, with the original put aside, or to another folder. The manifest stays
//! as it is, since no file changes its name or its part.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::seal::Mark;
use ironkeep::aof::{self, Log, LogFile, RdbPart, Role, Verdict};
use ironkeep::cli::escape::{Escaped, Preview};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::locate::{self, Located, Request, show};
use ironkeep::cli::utc::Utc;
use ironkeep::cli::{in_place, lock};
use ironkeep::disk::{Disk, publish};

use crate::report;
use crate::selection::{self, Pass, Removed, Sink};

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
    let job = Job { disk, located: &located, names: &names };
    let survey = job.survey()?;
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

struct Job<'a> {
    disk: &'a Arc<dyn Disk>,
    located: &'a Located,
    names: &'a [Vec<u8>],
}

impl Job<'_> {
    fn log(&self) -> &Log {
        &self.located.log
    }

    /// Lists what is to go, and makes sure that nothing in the middle is broken.
    fn survey(&self) -> anyhow::Result<Survey> {
        let mut files = Vec::new();
        for (index, file) in self.log().files.iter().enumerate() {
            let surveyed = self.survey_file(file).with_context(|| show(&file.path))?;
            if let Some(fault) = &surveyed.pass.fault {
                self.judge(index, fault, &surveyed.pass)?;
            }
            files.push(surveyed);
        }
        Ok(Survey { files })
    }

    fn survey_file(&self, file: &LogFile) -> anyhow::Result<Surveyed> {
        let rdb = match selection::rdb_part(&**self.disk, file) {
            Ok(rdb) => rdb,
            // A base is copied and not changed, so it need not be understood.
            Err(error) if file.role == Role::Base => {
                writeln!(io::stderr(), "{}: left as it is: {error}", report::name(file))?;
                return Ok(Surveyed { rdb: None, pass: Pass::none(file) });
            }
            Err(error) => {
                let exit = if error.is_unsupported() { Exit::Unsupported } else { Exit::Findings };
                return Err(Failure::error(exit, format!("the RDB in front can't be read: {error}")));
            }
        };
        let start = rdb.as_ref().map_or(0, |rdb| rdb.len);
        let mut list = List { name: report::name(file), out: io::BufWriter::new(io::stdout()) };
        let pass = selection::pass(&**self.disk, file, start, self.names, &mut list)?;
        list.out.flush()?;
        Ok(Surveyed { rdb, pass })
    }

    fn judge(&self, index: usize, fault: &aof::Fault, pass: &Pass) -> anyhow::Result<()> {
        let file = &self.log().files[index];
        match aof::judge(&**self.disk, self.log(), index, fault, &pass.reached)? {
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
        write!(words, "{}: no {} in this log. ", self.located.name, names.join(" and no "))?;
        match base(self.log(), survey) {
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
        Ok(Exit::Findings)
    }

    /// Files that the manifest calls history, as far as they are there.
    fn older_files(&self) -> Vec<String> {
        let log = self.log();
        let history = log.manifest.iter().flat_map(|(_, manifest)| &manifest.history);
        let paths = history.map(|entry| log.folder.join(&entry.name));
        paths.filter(|path| self.disk.exists(path)).map(|path| show(&path)).collect()
    }

    fn edit(&self, yes: bool, survey: &Survey) -> anyhow::Result<Exit> {
        let log = self.log();
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
        let mut words = io::stderr().lock();
        writeln!(words, "Removed {what}. The original is {}", show(&aside.backup))?;
        writeln!(words, "To undo: {}", aside.undo())?;
        Ok(Exit::Fine)
    }

    /// Writes the whole log into another folder, in the same shape: `DIR/appendonly.aof`, `DIR/appendonlydir/...`.
    fn write_to(&self, output: &Path, survey: &Survey) -> anyhow::Result<Exit> {
        let (disk, log) = (self.disk, self.log());
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
        let copied = selection::copy(&**self.disk, file, start, self.names, out)?;
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
    out: io::BufWriter<io::Stdout>,
}

impl Sink for List {
    fn keep(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn mark(&mut self, _mark: &Mark<'_>) -> io::Result<()> {
        Ok(())
    }

    fn removed(&mut self, removed: &Removed<'_, '_>) -> io::Result<()> {
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
