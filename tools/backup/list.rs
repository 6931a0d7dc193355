//! `list` and `show`: what is in the catalogue.

use anyhow::Context;
use ironkeep::backup::{Listed, Manifest};
use ironkeep::cli::escape::Escaped;
use ironkeep::cli::exit::Exit;
use ironkeep::cli::utc::Utc;

use super::{Place, failure, print};

/// List the backups of a catalogue, from the oldest to the newest
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// All manifests as one JSON object (schema ironkeep.backup-list/1)
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let listed = arguments.place.catalogue()?.list().map_err(failure)?;
    if arguments.json {
        let backups: Vec<_> = listed.iter().map(in_json).collect();
        let report = serde_json::json!({ "schema": "ironkeep.backup-list/1", "backups": backups });
        print(&format!("{report}\n"))?;
        return Ok(Exit::Fine);
    }
    let mut text = String::new();
    for listed in &listed {
        text += &match &listed.manifest {
            Ok(manifest) => line(manifest),
            Err(error) => format!("{}  unreadable: {}\n", listed.id, Escaped(error.as_bytes())),
        };
    }
    print(if text.is_empty() { "no backups\n" } else { &text })?;
    Ok(Exit::Fine)
}

fn in_json(listed: &Listed) -> serde_json::Value {
    match &listed.manifest {
        Ok(manifest) => serde_json::to_value(manifest).unwrap_or_default(), // text and numbers
        Err(error) => serde_json::json!({ "id": listed.id, "error": error }),
    }
}

/// One line about a backup.
pub fn line(manifest: &Manifest) -> String {
    let label = manifest.label.as_ref().map_or(String::new(), |label| format!("  {}", Escaped(label.as_bytes())));
    let (at, status) = (Utc(manifest.started_ms), manifest.status());
    format!("{}  {at}  {:>10} keys  {:>12} bytes  {status}{label}\n", manifest.id, manifest.keys(), manifest.file.bytes)
}

/// Show the manifest of a backup, as JSON
#[derive(clap::Args)]
pub struct ShowArguments {
    /// Its name, or `latest`
    #[arg(value_name = "BACKUP", default_value = "latest")]
    id: String,
    #[command(flatten)]
    place: Place,
    /// It is JSON in any case (schema ironkeep.backup/1)
    #[arg(long)]
    json: bool,
}

pub fn show(arguments: &ShowArguments) -> anyhow::Result<Exit> {
    let ShowArguments { id, place, json: _ } = arguments;
    print_manifest(&place.catalogue()?.find(id).map_err(failure)?)?;
    Ok(Exit::Fine)
}

/// A manifest as its file has it.
pub fn print_manifest(manifest: &Manifest) -> anyhow::Result<()> {
    print(&String::from_utf8(manifest.render()).context("the manifest")?)
}
