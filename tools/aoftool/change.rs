//! A change of a log, carried out: into another folder, or in place with the original put aside.
//!
//! What names the other files is published behind them. In place every file is replaced atomically by one of the same
//! owner and permissions; what the result has no more goes last, and lives on in what was put aside.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::{self, Log, LogFile, Manifest};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::in_place::{self, Aside};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::show;
use ironkeep::disk::{Disk, publish, publish_bytes};

use crate::{loaded, remade};

/// How a verb that writes is to go about it.
#[derive(clap::Args)]
pub struct Wishes {
    /// Write the result into this folder and leave the log alone
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Show what would happen, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Don't ask
    #[arg(long, short)]
    pub yes: bool,
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stays,
    Rewritten,
    Goes,
}

/// A change that was thought through.
pub struct Change<'a> {
    pub disk: &'a Arc<dyn Disk>,
    pub log: &'a Log,
    /// What it does, as in "remove 1 record" and "Removed 1 record".
    pub does: &'a str,
    pub did: &'a str,
    /// Of each file of the log.
    pub fates: Vec<Fate>,
    /// Where it is not the one that is there.
    pub manifest: Option<Manifest>,
    /// Writes the file at an index that is rewritten.
    pub fill: &'a dyn Fn(usize, &mut dyn Write) -> anyhow::Result<()>,
}

/// What became of it.
pub enum Outcome {
    /// Nothing was to be written.
    Planned,
    Declined,
    /// Written elsewhere: the path by which the result is named.
    Written(PathBuf),
    Edited(Aside),
}

impl Outcome {
    pub fn exit(&self) -> Exit {
        if matches!(self, Outcome::Declined) { Exit::Findings } else { Exit::Fine }
    }

    /// Says so on stderr.
    pub fn tell(&self, change: &Change<'_>) -> io::Result<()> {
        let mut words = io::stderr().lock();
        match self {
            Outcome::Planned => writeln!(words, "This would {}. Nothing was changed.", change.does),
            Outcome::Declined => writeln!(words, "Aborting... Nothing was changed."),
            Outcome::Written(path) => writeln!(words, "{}. The result is {}", change.did, show(path)),
            Outcome::Edited(aside) => {
                writeln!(words, "{}. The original is {}", change.did, show(&aside.backup))?;
                writeln!(words, "To undo: {}", aside.undo())
            }
        }
    }

    /// Adds it to a report.
    pub fn write_json(&self, object: &mut Object<'_>) {
        match self {
            Outcome::Planned => object.str("outcome", "planned"),
            Outcome::Declined => object.str("outcome", "declined"),
            Outcome::Written(path) => object.str("outcome", "written").str("result", &show(path)),
            Outcome::Edited(aside) => {
                object.str("outcome", "edited").str("result", &show(&aside.original));
                object.str("backup", &show(&aside.backup)).str("undo", &aside.undo())
            }
        };
    }
}

impl Change<'_> {
    /// Does what is wished, and asks before it edits in place.
    pub fn carry_out(&self, wishes: &Wishes) -> anyhow::Result<Outcome> {
        if wishes.dry_run {
            return Ok(Outcome::Planned);
        }
        match &wishes.output {
            Some(folder) => self.write_to(folder).map(Outcome::Written),
            None => {
                let (original, backup) = in_place::backup_path(&**self.disk, self.log)?;
                let (does, original, backup) = (self.does, show(&original), show(&backup));
                let question = format!("This will {does} in {original}, and keep the original as {backup}.");
                if !in_place::confirm(&question, wishes.yes)? {
                    return Ok(Outcome::Declined);
                }
                self.edit().map(Outcome::Edited)
            }
        }
    }

    /// The log as it would be, as the server's loader sees it: written into a temporary folder, loaded, and removed.
    pub fn names_behind(&self, databases: usize) -> anyhow::Result<loaded::Names> {
        let folder = tempfile::tempdir().context("a temporary folder (TMPDIR says where)")?;
        let path = self.write_to(folder.path())?;
        loaded::names(self.disk, &Log::open(&**self.disk, &path)?, databases)
    }

    fn fate_of(&self, file: &LogFile) -> Fate {
        let position = self.log.files.iter().position(|other| other.path == file.path);
        position.map_or(Fate::Stays, |index| self.fates[index])
    }

    fn files_that(&self, fate: Fate) -> impl Iterator<Item = (usize, &LogFile)> {
        self.log.files.iter().enumerate().filter(move |(index, _)| self.fates[*index] == fate)
    }

    fn edit(&self) -> anyhow::Result<Aside> {
        let aside = in_place::put_aside(self.disk, self.log, |file| self.fate_of(file) != Fate::Stays)?;
        let advise =
            |path: &Path| format!("{}: can't be replaced; to undo what was done: {}", show(path), aside.undo());
        for (index, file) in self.files_that(Fate::Rewritten) {
            in_place::replace(self.disk, &file.path, |out| (self.fill)(index, out))
                .with_context(|| advise(&file.path))?;
        }
        if let (Some((path, _)), Some(manifest)) = (&self.log.manifest, &self.manifest) {
            in_place::replace(self.disk, path, |out| Ok(out.write_all(&manifest.render())?))
                .with_context(|| advise(path))?;
        }
        for (_, file) in self.files_that(Fate::Goes) {
            self.disk.remove(&file.path).with_context(|| advise(&file.path))?;
        }
        self.disk.sync_dir(&self.log.folder).with_context(|| show(&self.log.folder))?;
        Ok(aside)
    }

    /// Writes the whole log into another folder, in the same shape: `DIR/appendonly.aof`, `DIR/appendonlydir/...`.
    fn write_to(&self, output: &Path) -> anyhow::Result<PathBuf> {
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
        for (index, file) in log.files.iter().enumerate().filter(|(index, _)| self.fates[*index] != Fate::Goes) {
            let name = file.path.file_name().unwrap_or_default();
            publish(disk, &folder, name, |out| match self.fates[index] {
                Fate::Rewritten => (self.fill)(index, out),
                _ => Ok(remade::copy_range(&**disk, file, 0, file.len, out)?),
            })
            .with_context(|| show(&file.path))?;
        }
        // What names the others comes last.
        let result = folder.join(log.path().file_name().unwrap_or_default());
        if let Some((_, manifest)) = &log.manifest {
            let mut kept = self.manifest.as_ref().unwrap_or(manifest).clone();
            kept.history.clear();
            publish_bytes(disk, &folder, result.file_name().unwrap_or_default(), &kept.render())
                .with_context(|| show(&result))?;
        }
        disk.sync_dir(output).with_context(|| show(output))?;
        Ok(result)
    }
}
