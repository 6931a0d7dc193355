//! `aoftool undo`: takes back the last change in place of ours.
//!
//! Every verb that changes a log where it lies has put the original aside first ([`ironkeep::cli::in_place`]). The newest
//! of those comes back, in one step, and what it replaces is kept beside: nothing is lost by an undo, and the next undo
//! takes back the change before.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironkeep::aof::log::DEFAULT_FOLDER_NAME;
use ironkeep::aof::{Log, Manifest};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::in_place::{self, Aside};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::show;
use ironkeep::cli::lock;
use ironkeep::disk::Disk;

use crate::report;

/// Take back the last change in place: the original returns, what it replaces is kept
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    /// Show what would happen, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
    /// The report as one JSON object (schema aoftool.undo/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let log = match arguments.place.locate_for_change(disk) {
        Ok(located) => located.log,
        // What is broken can be taken back all the same.
        Err(error) => unreadable(&**disk, arguments.place.path.as_deref()).ok_or(error)?,
    };
    let _hold = lock::hold(&**disk, &log)?;
    let original = in_place::original_of(&log)?;
    let asides = in_place::asides_of(&**disk, &original)?;
    let Some(aside) = asides.first() else {
        let message = "no change of this log can be taken back: nothing is put aside beside it as NAME.bak-<UTC>";
        return Err(Failure::error(Exit::Findings, message).context(show(&original)));
    };
    let does = format!("bring {} back as {}, and keep what is there now", show(&aside.backup), show(&original));
    if arguments.dry_run {
        return tell(arguments, aside, "planned", &format!("This would {does}. Nothing was changed."), None);
    }
    if !in_place::confirm(&format!("This will {does}."), arguments.yes)? {
        writeln!(io::stderr(), "Aborting... Nothing was changed.")?;
        return Ok(Exit::Findings);
    }
    let kept = aside.swap_back(&**disk)?;
    let mut words = format!("{} is back as it was before the change", show(&original));
    if let Some(kept) = &kept {
        words += &format!(". What it replaces is kept as {}", show(kept));
    }
    let older = asides.len() - 1;
    if older > 0 {
        words += &format!(". Another undo takes back the change before ({older} more)");
    }
    tell(arguments, aside, "undone", &words, kept.as_deref())
}

fn tell(arguments: &Arguments, aside: &Aside, outcome: &str, words: &str, kept: Option<&Path>) -> anyhow::Result<Exit> {
    if !arguments.json {
        writeln!(io::stderr(), "{words}")?;
        return Ok(Exit::Fine);
    }
    let mut out = Vec::new();
    let mut object = Object::open(&mut out);
    object.str("schema", "aoftool.undo/1").str("outcome", outcome);
    object.str("original", &show(&aside.original)).str("backup", &show(&aside.backup));
    if let Some(kept) = kept {
        object.str("kept", &show(kept));
    }
    object.close();
    out.push(b'\n');
    report::print(&out)?;
    Ok(Exit::Fine)
}

/// Stands for a log that can't be opened: a manifest, or a folder of a log, by its name.
fn unreadable(disk: &dyn Disk, path: Option<&Path>) -> Option<Log> {
    let path = path?;
    let is_dir = |path: &Path| disk.metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let is_folder = is_dir(path);
    let inner = path.join(DEFAULT_FOLDER_NAME);
    let folder = match is_folder {
        true if is_dir(&inner) => inner,
        true => path.to_owned(),
        false => path.parent()?.to_owned(),
    };
    let is_manifest = path.extension().is_some_and(|extension| extension == "manifest");
    let manifest = if is_folder { PathBuf::new() } else { path.to_owned() };
    (is_folder || is_manifest).then(|| Log {
        folder,
        manifest: Some((manifest, Manifest::default())),
        files: Vec::new(),
    })
}
