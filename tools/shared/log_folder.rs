//! Writing a command log: a folder with a base, an empty increment, and a manifest, which comes last.

use anyhow::Context;
use ironkeep::aof::naming::BaseFormat;
use ironkeep::aof::{Manifest, Replaced};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::input::Source;
use ironkeep::disk::{Disk, Draft};
use ironkeep::persist::log_dir::LogDir;
use std::path::Path;
use std::sync::Arc;

/// `appendfilename` where nobody says otherwise.
const FILE_NAME: &str = "appendonly.aof";

/// Makes the log in `folder`, which is created or empty; `write_base` gets the base and its name for messages. Gives
/// the name of the manifest. Until that is there, the folder is no log to anybody.
pub fn write(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    format: BaseFormat,
    write_base: impl FnOnce(&mut Draft, &str) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let name = Source::File(folder.to_owned()).to_string();
    let is_new = !disk.exists(folder);
    if !is_new && disk.list(folder).map_or(true, |names| !names.is_empty()) {
        let message = "is there already and not an empty folder: name a new one";
        return Err(Failure::error(Exit::Refused, message).context(name));
    }
    let parent = folder.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let Some(folder_name) = folder.file_name().and_then(|name| name.to_str()) else {
        return Err(Failure::error(Exit::Usage, "is no name for a new folder").context(name));
    };
    let mut log_dir = LogDir::new(Arc::clone(disk), parent, folder_name, FILE_NAME, Manifest::default());
    log_dir.create_folder()?;
    let outcome = fill(disk, &mut log_dir, format, write_base);
    if outcome.is_err() && is_new {
        // What is left of an attempt is at most an empty folder; where that cannot go, the error is told all the same.
        let _ = disk.remove_dir(folder);
    }
    outcome?;
    Ok(Source::File(folder.join(log_dir.manifest_name())).to_string())
}

fn fill(
    disk: &Arc<dyn Disk>,
    log_dir: &mut LogDir,
    format: BaseFormat,
    write_base: impl FnOnce(&mut Draft, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let base = log_dir.manifest().next_base(FILE_NAME.as_ref(), format);
    let name = Source::File(log_dir.folder().join(&base.name)).to_string();
    let draft = Draft::create(disk, log_dir.folder(), &base.name).with_context(|| name.clone())?;
    let mut draft = draft.sync_as_it_grows();
    write_base(&mut draft, &name)?;
    let sealed = draft.seal().with_context(|| name.clone())?;
    log_dir.replace_base(base, sealed, 0, Replaced::default())?;
    log_dir.begin_increment(&[])?;
    Ok(())
}
