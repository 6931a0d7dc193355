//! A log whose file, manifest or folder somebody removes while the server runs. What is written goes on into a file that has no
//! name, and is gone with the process; so it's looked for every second. Where it has vanished the log is made anew from memory,
//! as after a failed fsync, and writes are refused until that is done.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::shared::Shared;
use super::{log, seat};

/// Looks for the log's files, on a thread: a disk may take its time.
pub(super) fn look(shared: &Rc<Shared>) {
    if shared.is_looking.get() {
        return;
    }
    let Some(files) = files(shared) else { return };
    shared.is_looking.set(true);
    let shared = Rc::clone(shared);
    seat::spawn(async move {
        let (disk, sought) = (Arc::clone(&shared.disk), files.clone());
        let looked = tokio::task::spawn_blocking(move || sought.into_iter().find(|path| !disk.exists(path))).await;
        shared.is_looking.set(false);
        // The log may go on in another file by now, or be off.
        if let (Ok(Some(gone)), true) = (looked, self::files(&shared) == Some(files)) {
            log::warning(format!("{} has vanished: the log is made anew from memory", gone.display()));
            shared.append.borrow_mut().fail_sync(format!("{} has vanished", gone.display()));
            shared.want_flush();
        }
    });
}

/// The increment and the manifest, where nobody is changing them.
fn files(shared: &Shared) -> Option<[PathBuf; 2]> {
    let (append, log_dir) = (shared.append.borrow(), shared.log_dir.borrow());
    let is_changing = append.is_held() || append.is_forming() || append.needs_new_base();
    let increment = append.path().filter(|_| !is_changing)?;
    Some([increment.to_owned(), log_dir.folder().join(log_dir.manifest_name())])
}
