//! `restore`: a data folder out of a backup.

use std::path::PathBuf;

use ironkeep::backup::restore::{Expiry, Found, Wishes, rehearse, restore};
use ironkeep::backup::verify::verify;
use ironkeep::backup::{BackupError, Level};
use ironkeep::cli::exit::Exit;
use ironkeep::cli::in_place::quote;
use ironkeep::cli::plural::plural;
use ironkeep::cli::utc::Utc;
use serde_json::json;

use super::{Place, failure, print};

/// Make a data folder out of a backup, after all of it has been read and found whole
#[derive(clap::Args)]
pub struct Arguments {
    /// Its name, or `latest`
    #[arg(value_name = "BACKUP")]
    id: String,
    #[command(flatten)]
    place: Place,
    /// The data folder: a new one, or an empty one
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Take the place of a folder that is there, which is kept beside
    #[arg(long)]
    force: bool,
    /// Only keys that match this pattern; may be given more than once
    #[arg(long = "key", value_name = "GLOB")]
    keys: Vec<String>,
    /// What becomes of the times at which keys expire: what has been due meanwhile is not there any more (keep), or all times
    /// are later by the age of the backup (shift), or nothing expires (persist)
    #[arg(long, value_enum, default_value_t = Mode::Keep)]
    expire_mode: Mode,
    /// Check everything and say what would come back, write nothing
    #[arg(long)]
    dry_run: bool,
    /// The report as one JSON object (schema ironkeep.backup-restore/1)
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Mode {
    Keep,
    Shift,
    Persist,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let catalogue = arguments.place.catalogue()?;
    let manifest = catalogue.find(&arguments.id).map_err(failure)?;
    let expiry = match arguments.expire_mode {
        Mode::Keep => Expiry::Keep,
        Mode::Shift => Expiry::Shift,
        Mode::Persist => Expiry::Persist,
    };
    let keys = arguments.keys.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
    let wishes = Wishes { dir: arguments.dir.clone(), force: arguments.force, keys, expiry, now_ms: Utc::now().0 };
    let found = rehearse(&catalogue, &manifest, &wishes).map_err(failure)?;
    if manifest.status() != Level::Restore.word() {
        // Nobody has loaded it yet.
        let fault = verify(&catalogue, &manifest, Level::Restore, wishes.now_ms).fault;
        fault.map_or(Ok(()), |fault| Err(failure(BackupError::Damaged { id: manifest.id.clone(), fault })))?;
    }
    let aside = match arguments.dry_run {
        true => None,
        false => restore(&catalogue, &manifest, &wishes).map_err(failure)?,
    };
    let start = format!("ironkeep --dir {} --appendonly yes", quote(&arguments.dir));
    let Found { keys, left_out, due } = found;
    if arguments.json {
        let report = json!({
            "schema": "ironkeep.backup-restore/1", "backup": manifest.id, "dir": arguments.dir.to_string_lossy(),
            "dry_run": arguments.dry_run, "keys": keys, "left_out": left_out, "due": due,
            "aside": aside.map(|aside| aside.to_string_lossy().into_owned()), "start": start,
        });
        print(&format!("{report}\n"))?;
        return Ok(Exit::Fine);
    }
    let verb = if arguments.dry_run { "would restore" } else { "restored" };
    let mut text = format!(
        "{verb} {} of {} ({}) into {}\n",
        plural(keys, "key"),
        manifest.id,
        Utc(manifest.started_ms),
        quote(&arguments.dir)
    );
    if left_out > 0 {
        text += &format!("{} left out\n", plural(left_out, "other key"));
    }
    if due > 0 {
        text += &format!("{due} of these will not be there: their time has come since (see --expire-mode)\n");
    }
    if let Some(aside) = aside {
        text += &format!("what was there is {}\n", quote(&aside));
    }
    if !arguments.dry_run {
        text += &format!("To start a server on it: {start}\n");
    }
    print(&text)?;
    Ok(Exit::Fine)
}
