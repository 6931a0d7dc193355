//! The log that a verb of `aoftool` is about: the one that was named, or the one that is found.
//!
//! A path may be a log file, a manifest, a folder that holds either, or `-`. Without a path the folder is `--dir`, else
//! `IRONKEEP_DIR`, else the current one. What was found in a folder is named on stderr.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::escape::Escaped;
use super::exit::{Exit, Failure};
use super::input::data_dir;
use crate::aof::{Log, LogError};
use crate::disk::{Disk, Mode};

/// Where the user said the log is.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub path: Option<&'a Path>,
    pub dir: Option<&'a Path>,
}

/// A log to read, and what to call it.
pub struct Located {
    pub log: Log,
    /// Fit for a terminal.
    pub name: String,
    _spool: Option<Spool>,
}

/// Finds the log. Standard input, which can't be read twice, is first written to a file that goes away with the result.
pub fn locate(disk: &Arc<dyn Disk>, request: Request<'_>) -> anyhow::Result<Located> {
    if request.path == Some(Path::new("-")) {
        let spool = Spool::of_stdin(disk).context("standard input")?;
        let log = Log::single(&**disk, &spool.path).map_err(with_exit)?;
        return Ok(Located { log, name: "standard input".to_owned(), _spool: Some(spool) });
    }
    let path = request.path.map_or_else(|| data_dir(request.dir), Path::to_owned);
    let log = Log::open(&**disk, &path).map_err(with_exit)?;
    let name = show(log.path());
    if request.path.is_none() || log.path() != path {
        // Where stderr is gone nobody wants to know.
        let _ = writeln!(io::stderr(), "log: {name}");
    }
    Ok(Located { log, name, _spool: None })
}

/// A path, fit for a terminal.
pub fn show(path: &Path) -> String {
    Escaped(path.as_os_str().as_encoded_bytes()).to_string()
}

/// A broken manifest is a finding; a log that is not there can't be read.
pub fn with_exit(error: LogError) -> anyhow::Error {
    let exit = match &error {
        LogError::Manifest { .. } | LogError::Missing { .. } | LogError::EmptyBase { .. } => Exit::Findings,
        LogError::Several { .. } => Exit::Usage,
        LogError::Io { .. } | LogError::NoLog { .. } => Exit::Unreadable,
    };
    match error {
        LogError::NoLog { path } => {
            let message =
                "no append-only log here, neither a manifest nor an .aof file: give its path, or a folder by --dir";
            Failure::error(exit, message).context(show(&path))
        }
        other => Failure::error(exit, other),
    }
}

/// A temporary file with the content of standard input.
struct Spool {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Spool {
    fn of_stdin(disk: &Arc<dyn Disk>) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("temp-{}-0-standard-input", std::process::id()));
        let mut file = disk.open(&path, Mode::CreateNew)?;
        let spool = Self { disk: Arc::clone(disk), path };
        let mut chunk = vec![0; 1 << 16];
        let mut input = io::stdin().lock();
        loop {
            match input.read(&mut chunk)? {
                0 => return Ok(spool),
                count => file.write_all(&chunk[..count])?,
            }
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Left behind it would only take space in the folder for temporary files.
        let _ = self.disk.remove(&self.path);
    }
}
