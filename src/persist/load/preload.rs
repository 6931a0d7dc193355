//! `preload-file rdb:PATH` and `aof:PATH`: a start on data from elsewhere, as Redis 8.10 has it for what BACKUP SEAL leaves.
//!
//! Redis loads the file whatever the data folder holds, so that a second start with the same configuration throws away what
//! was written since the first. Here the data folder must be without data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aof::{Log, Manifest};
use crate::disk::Disk;
use crate::engine::Engine;
use crate::engine::params::backup::Preload;
use crate::persist::PersistError;
use crate::persist::log_dir::LogDir;

use super::{Loaded, load_rdb_at, refuse_strays, replay_log, settle_lone_base};

/// Loads what `preload-file` names, and gives the folder in which a log may begin. Nothing of the file is changed: a torn
/// tail of a log is passed over, as far as `aof-load-truncated` allows.
pub fn preload(engine: &mut Engine, disk: &Arc<dyn Disk>, wanted: &Preload) -> Result<(LogDir, Loaded), PersistError> {
    let (log_dir, said) = folder_without_data(engine, disk, wanted)?;
    let path = Path::new(&engine.config.dir).join(wanted.path());
    let mut loaded = match wanted {
        Preload::Rdb(_) => load_rdb_at(engine, disk, path)?,
        Preload::Log(_) => {
            let log = Log::open(&**disk, &path)?;
            replay_log(engine, disk, &log)?
        }
    };
    loaded.warnings.extend(said);
    Ok((log_dir, loaded))
}

fn folder_without_data(
    engine: &Engine,
    disk: &Arc<dyn Disk>,
    wanted: &Preload,
) -> Result<(LogDir, Option<String>), PersistError> {
    let config = &engine.config;
    let dir = PathBuf::from(&config.dir);
    let refuse = |found: &Path| {
        let reason = format!(
            "preload-file is for a data folder without data, and this is here: it is not loaded over it. To start on what \
             is here, take preload-file out of the configuration; to start on {}, move this elsewhere first",
            wanted.path().display()
        );
        Err(PersistError::Refused { path: found.to_owned(), reason })
    };
    let log = Log::of_server(&**disk, &dir, config.appenddirname.as_ref(), config.appendfilename.as_ref())?;
    if let Some(log) = log {
        return refuse(log.path());
    }
    let dump = dir.join(&config.dbfilename);
    if disk.exists(&dump) {
        return refuse(&dump);
    }
    let log_dir =
        LogDir::new(Arc::clone(disk), &dir, &config.appenddirname, &config.appendfilename, Manifest::default());
    // What a crash has left of a log that began with the file, which still is where it was.
    let said = settle_lone_base(&log_dir, true, engine.clock.now_ms())?;
    refuse_strays(&log_dir, "preload-file is for a data folder without data")?;
    Ok((log_dir, said))
}
