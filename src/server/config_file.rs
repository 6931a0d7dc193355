//! The configuration file on its disk: read at the start, and rewritten by CONFIG REWRITE. What stands in it is the affair of
//! [`params::file`] and [`params::rewrite`].

use std::cell::OnceCell;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, Draft, RealDisk, real};
use crate::engine::params::args::Invocation;
use crate::engine::params::{self, Config, file};

use super::log;

/// The longest configuration file that is read, in bytes.
const MAX_CONFIG: u64 = 16 << 20;

/// Reads what the command line names; what came from the standard input is kept in `stdin_text`.
pub(super) fn read(invocation: &Invocation, stdin_text: &OnceCell<Vec<u8>>) -> anyhow::Result<Config> {
    let read = |path: &Path| RealDisk.read_small(path, MAX_CONFIG);
    let expand = |pattern: &str| real::expand_glob(pattern);
    let stdin = || -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        io::stdin().lock().read_to_end(&mut text)?;
        let _ = stdin_text.set(text.clone()); // read once only
        Ok(text)
    };
    let sources = file::Sources { read: &read, expand: &expand, stdin: &stdin };
    Ok(file::load(invocation, &sources)?)
}

/// Has the configuration file say what is in force, however long the disk takes. It's replaced as a whole, or not at all.
pub(super) fn rewrite(config: &Config, disk: &Arc<dyn Disk>) -> anyhow::Result<()> {
    let path = Path::new(&config.config_file);
    let text = match disk.read_small(path, MAX_CONFIG) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let read = |path: &Path| disk.read_small(path, MAX_CONFIG);
    let expand = |pattern: &str| real::expand_glob(pattern);
    let sources = file::Sources { read: &read, expand: &expand, stdin: &|| Ok(Vec::new()) };
    let text = params::rewrite::rewritten(&text, config, &sources)?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        anyhow::bail!("{} is no file", path.display());
    };
    let mut draft = Draft::create(disk, folder, name)?;
    if disk.exists(path) {
        disk.copy_permissions(path, draft.temporary_path())?; // before there is a password in it
    }
    draft.write_all(&text)?;
    draft.seal()?.commit()?;
    log::notice("CONFIG REWRITE executed with success.");
    Ok(())
}
