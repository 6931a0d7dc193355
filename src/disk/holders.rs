//! Who else has files open, as `/proc` tells: real servers take no lock, but hold the file that they append to open.
//!
//! A process of another user can't be looked into without being root, and one in another container can't be seen.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Disk;

/// A process that has a file open.
#[derive(Debug)]
pub struct Holder {
    pub pid: u32,
    /// Of the program, as it calls itself.
    pub name: Vec<u8>,
    pub path: PathBuf,
}

/// Which handles count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handles {
    All,
    /// Those that can be written to: not those of a backup under way.
    ForWriting,
}

/// Looks in a row that must find somebody, and the pause before each but the first.
const LOOKS: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Another process that has one of the files open, and keeps it open: one that has just been forked has all that its parent
/// has, until it executes its program.
pub fn holder_of(disk: &dyn Disk, paths: impl Iterator<Item = PathBuf>, handles: Handles) -> Option<Holder> {
    let files: Vec<_> = paths.filter_map(|path| Some((disk.metadata(&path).ok()?.identity, path))).collect();
    let mut found = holder_now(disk, &files, handles);
    for _ in 1..LOOKS {
        found.as_ref()?;
        std::thread::sleep(PAUSE);
        found = holder_now(disk, &files, handles);
    }
    found
}

fn holder_now(disk: &dyn Disk, files: &[((u64, u64), PathBuf)], handles: Handles) -> Option<Holder> {
    let own = std::process::id();
    let processes = if files.is_empty() { Vec::new() } else { disk.list(Path::new("/proc")).ok()? };
    let ids = processes.iter().filter_map(|name| name.to_str()?.parse::<u32>().ok()).filter(|pid| *pid != own);
    for pid in ids {
        let process = Path::new("/proc").join(pid.to_string());
        // Processes end, and those of others can't be looked into.
        let Ok(open) = disk.list(&process.join("fd")) else { continue };
        for handle in open {
            let Ok(metadata) = disk.metadata(&process.join("fd").join(&handle)) else { continue };
            let Some((_, path)) = files.iter().find(|(identity, _)| *identity == metadata.identity) else { continue };
            if handles == Handles::All || is_for_writing(disk, &process.join("fdinfo").join(&handle)) {
                let name = disk.read_small(&process.join("comm"), 4096).unwrap_or_default();
                return Some(Holder { pid, name: name.trim_ascii_end().to_vec(), path: path.clone() });
            }
        }
    }
    None
}

/// What `fdinfo` says of a handle: `flags:` and the octal number that open(2) was given.
fn is_for_writing(disk: &dyn Disk, path: &Path) -> bool {
    const ACCESS: u32 = 0o3; // O_WRONLY is 1, O_RDWR 2
    let text = disk.read_small(path, 1 << 16).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let flags = text.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    flags.is_some_and(|flags| flags & ACCESS != 0)
}
