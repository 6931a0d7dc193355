//! A log as the server's own loader sees it: which keys it leads to, and how a server is started on it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use ironkeep::aof::Log;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::in_place::quote;
use ironkeep::disk::Disk;
use ironkeep::persist::PersistError;

use crate::shared::replayed;

/// Databases and the keys in them.
pub type Names = HashSet<(usize, Vec<u8>)>;

/// The names that are there when a log is loaded; what does not load is a finding, or of another server.
pub fn names(disk: &Arc<dyn Disk>, log: &Log, databases: usize) -> anyhow::Result<Names> {
    let mut engine = replayed::engine_of(disk, log, databases).map_err(|error| {
        let cause = error.chain().find_map(|cause| cause.downcast_ref::<PersistError>());
        let exit = match cause {
            Some(PersistError::Refused { .. }) => Exit::Findings,
            Some(PersistError::Replay { .. }) => Exit::Unsupported,
            _ => return error,
        };
        Failure::error(exit, format!("{error:#}"))
    })?;
    let mut names = Names::new();
    for db in 0..engine.keyspace.db_count() {
        engine.keyspace.db(db).visit(&mut |entry| {
            names.insert((db, entry.key.to_vec()));
        });
    }
    Ok(names)
}

/// The line that starts a server of ours on a log.
pub fn start_line(log_path: &Path, is_multi_part: bool) -> String {
    let path = std::path::absolute(log_path).unwrap_or_else(|_| log_path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = if is_multi_part { name.strip_suffix(".manifest").unwrap_or(&name) } else { &name };
    let dir = if is_multi_part { folder.parent().unwrap_or(Path::new("/")) } else { folder };
    let mut line = format!("ironkeep --dir {} --appendonly yes", quote(dir));
    if name != ironkeep::aof::log::DEFAULT_FILE_NAME {
        line += &format!(" --appendfilename {}", quote(Path::new(name)));
    }
    let folder_name = folder.file_name().unwrap_or_default();
    if is_multi_part && folder_name != ironkeep::aof::log::DEFAULT_FOLDER_NAME {
        line += &format!(" --appenddirname {}", quote(Path::new(folder_name)));
    }
    line
}
