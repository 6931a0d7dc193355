//! `import`: an RDB that another server has written becomes a backup.

use std::path::PathBuf;
use std::sync::Arc;

use ironkeep::backup::create::{Order, import};
use ironkeep::backup::{BackupError, Catalogue, Level};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::engine::params::backup::{LEVELS, level};

use super::{Place, failure, list, print};

/// Put an RDB of any server into a catalogue, packed, read back and with a manifest, under the time at which it was saved
#[derive(clap::Args)]
pub struct Arguments {
    /// The RDB
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// A name for it
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// How it is packed, as backup-compression has it: `none`, or `zstd:LEVEL`
    #[arg(long, value_name = "HOW", default_value = "zstd:3")]
    compression: String,
    /// Who alone can open it, as backup-encryption-recipient has it. Without it, REDIS_BACKUP_ENCRYPTION_RECIPIENT does
    #[arg(long, value_name = "AGE")]
    encryption_recipient: Option<String>,
    /// The manifest (schema ironkeep.backup/1)
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let level = level(arguments.compression.as_bytes()).ok_or_else(|| Failure::error(Exit::Usage, LEVELS))?;
    let order = Order {
        label: arguments.label.clone(),
        cause: "import",
        compression: level,
        verify: Some(Level::Restore),
        position: None,
        max_rate: Arc::default(),
    };
    let catalogue: Catalogue = arguments.place.catalogue_for(arguments.encryption_recipient.as_deref())?;
    catalogue.create().map_err(failure)?;
    let _hold = catalogue.hold().map_err(failure)?;
    let manifest = import(&catalogue, &arguments.file, &order).map_err(failure)?;
    if arguments.json { list::print_manifest(&manifest) } else { print(&list::line(&manifest)) }?;
    let damaged = |fault: &str| failure(BackupError::Damaged { id: manifest.id.clone(), fault: fault.to_owned() });
    manifest.fault().map_or(Ok(Exit::Fine), |fault| Err(damaged(fault)))
}
