//! That nobody else has the log, while a tool changes it.
//!
//! Ironkeep takes a flock on its data folder, so holding that lock keeps it out, and it us. Real servers take no lock; they
//! are known by [what they hold open](crate::disk::holders). Who may write the files of a server can usually look into it.

use std::io;
use std::path::{Path, PathBuf};

use super::escape::Escaped;
use super::exit::{Exit, Failure};
use super::locate::show;
use crate::aof::Log;
use crate::disk::holders::{Handles, Holder, holder_of};
use crate::disk::{DirectoryLock, Disk};

/// Keeps Ironkeep out until dropped.
#[derive(Debug)]
pub struct Hold {
    _locks: Vec<DirectoryLock>,
}

/// Takes the log for this process, or refuses and says who has it.
pub fn hold(disk: &dyn Disk, log: &Log) -> anyhow::Result<Hold> {
    let mut locks = Vec::new();
    for folder in data_folders(log) {
        match disk.lock_dir(&folder) {
            Ok(lock) => locks.push(lock),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let message =
                    "a server or another tool holds this data folder: stop it first, or write elsewhere by --output";
                return Err(Failure::error(Exit::Refused, message).context(show(&folder)));
            }
            // A lock that the file system doesn't have can't be held by anybody.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(error) => return Err(anyhow::Error::from(error).context(show(&folder))),
        }
    }
    match holder_of_files(disk, log) {
        Some(holder) => {
            let Holder { pid, name, path } = holder;
            let message = format!(
                "process {pid} ({}) has this file open: stop it first, or write elsewhere by --output",
                Escaped(&name)
            );
            Err(Failure::error(Exit::Refused, message).context(show(&path)))
        }
        None => Ok(Hold { _locks: locks }),
    }
}

/// The data folder is the parent of `appendonlydir`; a single file, or a log copied elsewhere, lies in it.
fn data_folders(log: &Log) -> Vec<PathBuf> {
    let folder = std::path::absolute(&log.folder).unwrap_or_else(|_| log.folder.clone());
    let parent = log.manifest.as_ref().and(folder.parent()).map(Path::to_owned);
    parent.into_iter().chain([folder]).collect()
}

/// Another process that has a file of the log open.
fn holder_of_files(disk: &dyn Disk, log: &Log) -> Option<Holder> {
    let paths = log.files.iter().map(|file| file.path.clone()).chain(log.manifest.iter().map(|(path, _)| path.clone()));
    holder_of(disk, paths, Handles::All)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Mode, RealDisk};
    use std::process::{Command, Stdio};

    fn folder_with_log() -> (tempfile::TempDir, Log) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("appendonly.aof");
        io::Write::write_all(&mut RealDisk.open(&path, Mode::CreateNew).unwrap(), b"*1\r\n$4\r\nPING\r\n").unwrap();
        let log = Log::open(&RealDisk, &path).unwrap();
        (folder, log)
    }

    #[test]
    fn a_folder_that_a_server_holds_is_refused() {
        let (folder, log) = folder_with_log();
        let server = RealDisk.lock_dir(folder.path()).unwrap();
        assert_eq!(Exit::of(&hold(&RealDisk, &log).unwrap_err()), Exit::Refused);
        drop(server);
        hold(&RealDisk, &log).unwrap();
    }

    #[test]
    fn a_file_that_another_process_has_open_is_refused() {
        let (_folder, log) = folder_with_log();
        let mut other = Command::new("sh")
            .args(["-c", "exec 3>>\"$0\"; echo ready; read line"])
            .arg(&log.files[0].path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let error = hold(&RealDisk, &log).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Refused);
        assert!(format!("{error:#}").contains(&format!("process {}", other.id())), "{error:#}");
        drop(other.stdin.take());
        other.wait().unwrap();
        hold(&RealDisk, &log).unwrap();
    }
}
