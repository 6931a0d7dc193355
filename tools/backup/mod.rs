//! `ironkeep backup`: the catalogue of backups from the shell, with or without a server. One file per verb that is more than
//! a few lines.

mod create;
mod import;
mod into_server;
mod list;
mod prune;
mod restore;
mod shown;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, Subcommand};
use ironkeep::backup::{BackupError, Catalogue, Keys, Level, verify};
use ironkeep::cli::exit::{self, Exit, Failure};
use ironkeep::cli::utc::Utc;
use ironkeep::disk::{self, Disk, RealDisk};

/// Make, list, verify and restore backups, and go through them by rules
///
/// Exit codes: 0 done as asked, 1 a backup is damaged, 2 usage, 3 could not read or write, 5 refused for safety.
#[derive(Parser)]
#[command(name = "ironkeep backup", bin_name = "ironkeep backup", version)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    List(list::Arguments),
    Show(list::ShowArguments),
    Verify(VerifyArguments),
    Create(create::Arguments),
    Import(import::Arguments),
    Prune(prune::Arguments),
    Restore(restore::Arguments),
}

/// A file of keys is no longer than this, in bytes.
const MAX_IDENTITIES: u64 = 1 << 20;

/// Which catalogue.
#[derive(clap::Args)]
struct Place {
    /// The catalogue, as backup-repo names it: a folder, or s3://BUCKET/FOLDER. Without it, REDIS_BACKUP_REPO does
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// The keys that open encrypted backups: a file of age-keygen
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl Place {
    fn catalogue(&self) -> anyhow::Result<Catalogue> {
        self.catalogue_for(None)
    }

    /// The catalogue, in which what is written is encrypted to these recipients.
    fn catalogue_for(&self, recipients: Option<&str>) -> anyhow::Result<Catalogue> {
        let named = self.repo.clone().or_else(|| std::env::var_os("REDIS_BACKUP_REPO").map(PathBuf::from));
        let Some(repo) = named.filter(|repo| !repo.as_os_str().is_empty()) else {
            return Err(Failure::error(Exit::Usage, "which catalogue? Say --repo DIR, or set REDIS_BACKUP_REPO"));
        };
        let disk = disk::reaching(Arc::new(RealDisk), &repo)
            .map_err(|error| Failure::error(Exit::Usage, error).context(repo.display().to_string()))?;
        // A bucket has no empty folders.
        if !repo.starts_with("s3:") && !disk.exists(&repo) {
            let message = "there is no such folder: is it the one that backup-repo names?";
            return Err(Failure::error(Exit::Unreadable, message).context(repo.display().to_string()));
        }
        Ok(Catalogue::new(shown::shown(disk), &repo).with_keys(self.keys(recipients)?))
    }

    fn keys(&self, recipients: Option<&str>) -> anyhow::Result<Keys> {
        let configured = || std::env::var("REDIS_BACKUP_ENCRYPTION_RECIPIENT").ok();
        let recipients = recipients.map(str::to_owned).or_else(configured);
        let keys =
            Keys::to_recipients(&recipients.unwrap_or_default()).map_err(|error| Failure::error(Exit::Usage, error))?;
        let Some(file) = &self.identity else { return Ok(keys) };
        let content = RealDisk.read_small(file, MAX_IDENTITIES).with_context(|| file.display().to_string())?;
        keys.with_identities(&String::from_utf8_lossy(&content))
            .map_err(|error| Failure::error(Exit::Usage, error).context(file.display().to_string()))
    }
}

/// An error of the library with the exit code that it deserves.
fn failure(error: BackupError) -> anyhow::Error {
    let exit = match &error {
        BackupError::Damaged { .. } => Exit::Findings,
        BackupError::NoSuchBackup { .. } => Exit::Usage,
        BackupError::Busy { .. } | BackupError::Refused { .. } => Exit::Refused,
        BackupError::Io { .. } | BackupError::Manifest { .. } | BackupError::Persist(_) | BackupError::Cancelled => {
            return anyhow::Error::from(error);
        }
    };
    Failure::error(exit, error)
}

/// Runs the verb that the words behind `ironkeep` name.
pub fn main() -> ExitCode {
    exit::run(run)
}

fn run() -> anyhow::Result<Exit> {
    match CommandLine::parse_from(std::env::args_os().skip(1)).verb {
        Verb::List(arguments) => list::run(&arguments),
        Verb::Show(arguments) => list::show(&arguments),
        Verb::Verify(arguments) => run_verify(&arguments),
        Verb::Create(arguments) => create::run(&arguments),
        Verb::Import(arguments) => import::run(&arguments),
        Verb::Prune(arguments) => prune::run(&arguments),
        Verb::Restore(arguments) => restore::run(&arguments),
    }
}

/// Read a backup back from where it is kept, and have its manifest say what came of it
#[derive(clap::Args)]
struct VerifyArguments {
    /// Its name, or `latest`
    #[arg(value_name = "BACKUP", default_value = "latest")]
    id: String,
    #[command(flatten)]
    place: Place,
    /// Compare the file and read it to its end, but don't load it
    #[arg(long)]
    quick: bool,
    /// The manifest, with what came of it (schema ironkeep.backup/1)
    #[arg(long)]
    json: bool,
}

fn run_verify(arguments: &VerifyArguments) -> anyhow::Result<Exit> {
    let level = if arguments.quick { Level::Quick } else { Level::Restore };
    let catalogue = arguments.place.catalogue()?;
    let manifest = verify::verify_and_note(&catalogue, &arguments.id, level, Utc::now().0).map_err(failure)?;
    if arguments.json {
        list::print_manifest(&manifest)?;
        return Ok(Exit::Fine);
    }
    print(&format!("{}: {} keys, as they were written ({})\n", manifest.id, manifest.keys(), level.word()))?;
    Ok(Exit::Fine)
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output")
}
