//! Who works in a folder of a bucket: an object that says so, is made only where there is none, and counts for
//! [`LEASE`] behind its last renewal. Times are those of the server that keeps the bucket.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use object_store::path::Path as Key;
use object_store::{ObjectStore, PutResult};
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};

use super::{Remote, lock};

pub(super) const NAME: &str = ".lease";
/// Behind so much time without a renewal whoever held it is dead.
const LEASE: Duration = Duration::from_secs(60);
const RENEW_EVERY: Duration = Duration::from_secs(15);
/// For so long a holder counts on it himself: a request that he has begun by then ends before the lease does, or is refused.
const TRUST: Duration = Duration::from_secs(45);
/// The longest that a request about it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is in one that nobody holds.
const FREE: &str = "free";

/// Held until dropped.
pub(super) struct Lease {
    hold: Arc<Hold>,
    /// Dropped, it ends the thread.
    end: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// What is known of it.
pub(super) struct Hold {
    /// When it was ours for certain; none when another has it.
    known: Mutex<Option<Instant>>,
}

impl Hold {
    pub(super) fn stands(&self) -> bool {
        lock(&self.known).is_some_and(|known| known.elapsed() < TRUST)
    }
}

impl Lease {
    /// Takes it, or fails with `WouldBlock` where another has it.
    pub(super) fn take(remote: &Arc<Remote>, key: Key) -> io::Result<Self> {
        let host = rustix::system::uname();
        let token = format!("{} {} {:016x}", host.nodename().to_string_lossy(), std::process::id(), fastrand::u64(..));
        let asked = Instant::now();
        let version = match put(remote, &key, &token, PutMode::Create) {
            Ok(put) => UpdateVersion::from(put),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match find(remote, &key, &token)? {
                Some(version) => version,
                None => replace(remote, &key, &token)?,
            },
            Err(error) => return Err(error),
        };
        let hold = Arc::new(Hold { known: Mutex::new(Some(asked)) });
        let (end, ended) = mpsc::channel();
        let (remote, held) = (Arc::clone(remote), Arc::clone(&hold));
        let keeper = std::thread::Builder::new().name("lease".to_owned());
        let keeper = keeper.spawn(move || keep(&remote, (&key, &token), version, (&held, &ended)))?;
        Ok(Self { hold, end: Some(end), keeper: Some(keeper) })
    }

    pub(super) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }
}

/// Renews it until it is given back, or another has it.
fn keep(
    remote: &Remote,
    (key, token): (&Key, &str),
    mut version: UpdateVersion,
    (hold, ended): (&Hold, &Receiver<()>),
) {
    for renewal in 1u64.. {
        if ended.recv_timeout(RENEW_EVERY) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        let asked = Instant::now();
        // Another content, since a version is known by its content.
        let renewed = put(remote, key, &format!("{token} {renewal}"), PutMode::Update(version.clone()));
        version = match renewed {
            Ok(put) => put.into(),
            // Another has it; or it is ours, and the answer to an earlier renewal was lost.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => match find(remote, key, token) {
                Ok(Some(version)) => version,
                Ok(None) => {
                    *lock(&hold.known) = None;
                    return;
                }
                Err(_) => continue,
            },
            Err(_) => continue,
        };
        *lock(&hold.known) = Some(asked);
    }
    // One that can't be given back counts for a minute.
    let _ = put(remote, key, FREE, PutMode::Update(version));
}

fn put(remote: &Remote, key: &Key, content: &str, mode: PutMode) -> io::Result<PutResult> {
    let payload = PutPayload::from(content.as_bytes().to_vec());
    remote.wait_for(PATIENCE, remote.store.put_opts(key, payload, PutOptions::from(mode)))
}

/// What is there, and its version.
fn read(remote: &Remote, key: &Key) -> io::Result<(Vec<u8>, object_store::ObjectMeta)> {
    remote.wait_for(PATIENCE, async {
        let found = remote.store.get(key).await?;
        let meta = found.meta.clone();
        Ok((found.bytes().await?.to_vec(), meta))
    })
}

/// The version of what is there, if it is ours: the answer to a request may have been lost.
fn find(remote: &Remote, key: &Key, token: &str) -> io::Result<Option<UpdateVersion>> {
    let (content, meta) = read(remote, key)?;
    let version = UpdateVersion { e_tag: meta.e_tag, version: meta.version };
    Ok(content.starts_with(token.as_bytes()).then_some(version))
}

/// Takes the place of one who has given it back, or is dead.
fn replace(remote: &Remote, key: &Key, token: &str) -> io::Result<UpdateVersion> {
    let (content, held) = read(remote, key)?;
    if content != FREE.as_bytes() {
        let probe = Key::from(format!("{key}-probe-{:016x}", fastrand::u64(..)));
        put(remote, &probe, "", PutMode::Overwrite)?;
        let now = remote.wait_for(PATIENCE, remote.store.head(&probe)).map(|meta| meta.last_modified);
        let _ = remote.wait_for(PATIENCE, remote.store.delete(&probe)); // nobody reads it
        if (now? - held.last_modified).num_seconds() <= LEASE.as_secs() as i64 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
    }
    let version = UpdateVersion { e_tag: held.e_tag, version: held.version };
    match put(remote, key, token, PutMode::Update(version)) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(io::ErrorKind::WouldBlock.into()),
        put => put.map(UpdateVersion::from),
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
