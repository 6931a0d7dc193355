//! Who works in a folder of a bucket: an object that says so, is made only where there is none, and counts for
//! [`LEASE`] behind its last renewal. Times are those of the server that keeps the bucket.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use object_store::path::Path as Key;
use object_store::{ObjectStoreExt, PutMode, UpdateVersion};

use super::Remote;

pub(super) const NAME: &str = ".lease";
/// Behind so many seconds without a renewal whoever held it is dead.
const LEASE: i64 = 60;
const RENEW_EVERY: Duration = Duration::from_secs(15);

/// Held until dropped.
pub(super) struct Lease {
    /// Dropped, it ends the thread.
    end: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl Lease {
    /// Takes it, or fails with `WouldBlock` where another has it.
    pub(super) fn take(remote: &Arc<Remote>, key: Key) -> io::Result<Self> {
        let host = rustix::system::uname();
        let token = format!("{} {} {:016x}", host.nodename().to_string_lossy(), std::process::id(), fastrand::u64(..));
        let version = match remote.put(&key, token.as_bytes(), PutMode::Create) {
            Ok(put) => UpdateVersion::from(put),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match confirm(remote, &key, &token) {
                Some(version) => version,
                None => replace(remote, &key, &token)?,
            },
            Err(error) => return Err(error),
        };
        let (end, ended) = mpsc::channel();
        let remote = Arc::clone(remote);
        let keeper = std::thread::Builder::new().name("lease".to_owned());
        let keeper = keeper.spawn(move || keep(&remote, &key, &token, version, &ended))?;
        Ok(Self { end: Some(end), keeper: Some(keeper) })
    }
}

/// Renews it until it is given back, or another has it.
fn keep(remote: &Remote, key: &Key, token: &str, mut version: UpdateVersion, ended: &Receiver<()>) {
    for renewal in 1u64.. {
        if ended.recv_timeout(RENEW_EVERY) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        // Another content, since a version is known by its content.
        let content = format!("{token} {renewal}");
        version = match remote.put(key, content.as_bytes(), PutMode::Update(version.clone())) {
            Ok(put) => put.into(),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => match confirm(remote, key, &content) {
                Some(version) => version,
                None => return, // nothing was heard of us for too long
            },
            Err(_) => version,
        };
    }
    if remote.wait(remote.store.head(key)).is_ok_and(|meta| meta.e_tag == version.e_tag) {
        // One that stays counts for a minute.
        let _ = remote.wait(remote.store.delete(key));
    }
}

/// The version of what is there, if this is what was put: the answer to a request may have been lost before it was sent again.
fn confirm(remote: &Remote, key: &Key, content: &str) -> Option<UpdateVersion> {
    let meta = remote.wait(remote.store.head(key)).ok()?;
    let is_ours = remote.read(key).ok()? == content.as_bytes();
    is_ours.then_some(UpdateVersion { e_tag: meta.e_tag, version: meta.version })
}

/// Takes the place of one who is dead.
fn replace(remote: &Remote, key: &Key, token: &str) -> io::Result<UpdateVersion> {
    let held = match remote.wait(remote.store.head(key)) {
        // Given back this moment.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return remote.put(key, token.as_bytes(), PutMode::Create).map(UpdateVersion::from).map_err(busy);
        }
        held => held?,
    };
    let version = UpdateVersion { e_tag: held.e_tag, version: held.version };
    let probe = Key::from(format!("{key}-probe-{:016x}", fastrand::u64(..)));
    remote.put(&probe, b"", PutMode::Overwrite)?;
    let now = remote.wait(remote.store.head(&probe)).map(|meta| meta.last_modified);
    let _ = remote.wait(remote.store.delete(&probe)); // nobody reads it
    if (now? - held.last_modified).num_seconds() <= LEASE {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    remote.put(key, token.as_bytes(), PutMode::Update(version)).map(UpdateVersion::from).map_err(busy)
}

fn busy(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::ResourceBusy => io::ErrorKind::WouldBlock.into(),
        _ => error,
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end = None;
        // What waits on a runtime must not wait for a request.
        if tokio::runtime::Handle::try_current().is_err()
            && let Some(keeper) = self.keeper.take()
        {
            let _ = keeper.join();
        }
    }
}
