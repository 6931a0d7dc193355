//! A bucket of S3, or of what speaks like it, behind [`Disk`]: a catalogue of backups can be there as well as in a folder.
//!
//! A path `s3://BUCKET/NAME` is an object, or a folder where objects are behind it; all other paths are those of the disk
//! underneath. Credentials, region and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
//! `AWS_REGION`, `AWS_ENDPOINT_URL`, a web identity or the machine's role), as other tools take them.
//!
//! What a bucket does otherwise than a disk:
//!
//! - A file appears whole or not at all, when its temporary name is changed for its own, and can't be read before. Until then it
//!   is in memory, and, where its name is known, beyond [`PART`] bytes in the parts of an upload that nobody sees. Those of a
//!   crash stay until the bucket's own rule removes them (AbortIncompleteMultipartUpload).
//! - What has its name is durable. Folders come and go with what is in them.
//! - A request that fails for the network's or the server's sake is tried again with growing pauses, for [`RETRY_FOR`], where it
//!   may come twice. What fails at last is `NetworkDown`: it says nothing of what is in the bucket.
//! - A folder is held by a [lease], as there are no locks. Whoever has lost it changes nothing there any more.

mod lease;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as Key;
use object_store::{ClientConfigKey, Error, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt};
use object_store::{PutMode, PutOptions, PutPayload, RetryConfig};
use tokio::runtime::Runtime;

use crate::codec::crc64::crc64;

use super::{DirectoryLock, Disk, EntryKind, File, Metadata, Mode, publish};
use lease::{Hold, Lease};

/// Bytes of a part of an upload; S3 takes 10,000 of them.
const PART: usize = 16 << 20;
/// Bytes that are fetched at once.
const WINDOW: u64 = 8 << 20;
/// For so long a request is tried again. Its signature is good for 15 minutes, and a try takes [`TIMEOUT`] at most.
const RETRY_FOR: Duration = Duration::from_secs(240);
const RETRIES: usize = 20;
const TIMEOUT: &str = "120 seconds";
const CONNECT_TIMEOUT: &str = "5 seconds";

/// A disk that has a bucket too.
pub struct S3Disk {
    local: Arc<dyn Disk>,
    bucket: String,
    remote: Arc<Remote>,
    /// Files that have no name yet, by their temporary one.
    drafts: Mutex<BTreeMap<PathBuf, Arc<Mutex<Draft>>>>,
    /// Folders that this process holds, or held.
    holds: Mutex<Vec<(Key, Weak<Hold>)>>,
}

/// The bucket, for threads that wait.
struct Remote {
    store: AmazonS3,
    /// Lives as long as the process: it can't be ended from within another.
    runtime: &'static Runtime,
}

impl S3Disk {
    /// Adds the bucket of `s3://BUCKET/...` to a disk.
    pub fn new(local: Arc<dyn Disk>, repo: &Path) -> io::Result<Self> {
        let Some((bucket, _)) = split(repo) else {
            let reason = format!("{}: a bucket is named as s3://BUCKET/FOLDER", repo.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        };
        let client = AmazonS3ConfigKey::Client;
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&bucket)
            .with_config(client(ClientConfigKey::Timeout), TIMEOUT)
            // One by one they are requests that may come twice.
            .with_disable_bulk_delete(true)
            .with_config(client(ClientConfigKey::ConnectTimeout), CONNECT_TIMEOUT)
            .with_retry(RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_FOR, ..RetryConfig::default() });
        // Whoever names such an endpoint means it.
        if builder.get_config_value(&AmazonS3ConfigKey::Endpoint).is_some_and(|url| url.starts_with("http://")) {
            builder = builder.with_allow_http(true);
        }
        let store = builder.build().map_err(to_io)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let remote = Arc::new(Remote { store, runtime: Box::leak(Box::new(runtime)) });
        Ok(Self { local, bucket, remote, drafts: Mutex::default(), holds: Mutex::default() })
    }

    /// The object of a path; none where the path is one of the disk underneath.
    fn key(&self, path: &Path) -> io::Result<Option<Key>> {
        match split(path) {
            None => Ok(None),
            Some((bucket, name)) if bucket == self.bucket => {
                Key::parse(name).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
            }
            Some(_) => Err(unsupported("this process works with another bucket")),
        }
    }

    fn draft(&self, path: &Path) -> Option<Arc<Mutex<Draft>>> {
        lock(&self.drafts).get(path).cloned()
    }

    /// Begins a file that will be renamed to what its temporary name tells, if it tells anything.
    fn begin(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let name = path.file_name().and_then(publish::target_of);
        let name = name.ok_or_else(|| unsupported("a file of a bucket is written under a temporary name"))?;
        let key = if name.is_empty() { None } else { self.key(&path.with_file_name(name))? };
        let draft = Draft { remote: Arc::clone(&self.remote), key, buffer: Vec::new(), parts: None, len: 0 };
        let draft = Arc::new(Mutex::new(draft));
        lock(&self.drafts).insert(path.to_owned(), Arc::clone(&draft));
        Ok(Box::new(Writer(draft)))
    }

    /// Fails where this process held a folder around the object, and may hold it no longer.
    fn ensure_held(&self, key: &Key) -> io::Result<()> {
        let mut holds = lock(&self.holds);
        holds.retain(|(_, hold)| hold.strong_count() > 0);
        let around = holds.iter().filter(|(folder, _)| key.prefix_matches(folder));
        if { around }.any(|(_, hold)| hold.upgrade().is_some_and(|hold| !hold.stands())) {
            let reason = "the bucket was out of reach for so long that another process may have taken this folder over";
            return Err(io::Error::new(io::ErrorKind::NetworkDown, reason));
        }
        Ok(())
    }

    fn open_object(&self, path: &Path, key: Key) -> io::Result<Box<dyn File>> {
        if self.draft(path).is_some() {
            return Err(unsupported("an upload under way can't be read"));
        }
        let meta = self.remote.wait(self.remote.store.head(&key))?;
        let (remote, window) = (Arc::clone(&self.remote), Vec::new());
        Ok(Box::new(Object { remote, key, len: meta.size, version: meta.e_tag, at: 0, window, window_at: 0 }))
    }

    /// Gives a draft its name.
    fn publish(&self, from: &Path, to: &Path, mode: PutMode) -> io::Result<()> {
        let key = self.key(to)?.ok_or(io::ErrorKind::CrossesDevices)?;
        let draft = self.draft(from).ok_or_else(|| unsupported("objects of a bucket can't be moved"))?;
        self.ensure_held(&key)?;
        lock(&draft).finish(&key, mode)?;
        lock(&self.drafts).remove(from);
        Ok(())
    }
}

impl Disk for S3Disk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn File>> {
        match (self.key(path)?, mode) {
            (None, _) => self.local.open(path, mode),
            (Some(key), Mode::Read) => self.open_object(path, key),
            (Some(_), Mode::CreateNew | Mode::Truncate) => self.begin(path),
            (Some(_), Mode::Append | Mode::Write) => Err(unsupported("an object of a bucket can't be changed")),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.key(from)?.is_none() {
            return self.local.rename(from, to);
        }
        self.publish(from, to, PutMode::Overwrite)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.key(from)?.is_none() {
            return self.local.rename_new(from, to);
        }
        self.publish(from, to, PutMode::Create)
    }

    fn exchange(&self, first: &Path, second: &Path) -> io::Result<()> {
        match self.key(first)? {
            None => self.local.exchange(first, second),
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.key(from)? {
            None => self.local.link(from, to),
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let Some(key) = self.key(path)? else { return self.local.remove(path) };
        let draft = lock(&self.drafts).remove(path);
        if let Some(draft) = draft {
            lock(&draft).abort();
            return Ok(());
        }
        self.ensure_held(&key)?;
        self.remote.wait(self.remote.store.delete(&key))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if self.key(path)?.is_none() { self.local.remove_dir(path) } else { Ok(()) }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if self.key(path)?.is_none() { self.local.create_dir(path) } else { Ok(()) }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if is_remote(path) { Ok(()) } else { self.local.sync_dir(path) }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let Some(key) = self.key(path)? else { return self.local.list(path) };
        let found = self.remote.wait(self.remote.store.list_with_delimiter(Some(&key)))?;
        let keys = found.common_prefixes.iter().chain(found.objects.iter().map(|object| &object.location));
        let mut names: Vec<OsString> = keys.filter_map(|key| Some(OsString::from(key.filename()?))).collect();
        names.sort();
        Ok(names)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let Some(key) = self.key(path)? else { return self.local.metadata(path) };
        let folder =
            Metadata { kind: EntryKind::Directory, len: 0, modified: SystemTime::UNIX_EPOCH, identity: (0, 0) };
        if key == Key::ROOT {
            return Ok(folder);
        }
        match self.remote.wait(self.remote.store.head(&key)) {
            Ok(meta) => Ok(Metadata {
                kind: EntryKind::File,
                len: meta.size,
                modified: meta.last_modified.into(),
                identity: (0, crc64(key.as_ref().as_bytes())),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.list(path)?.is_empty() {
                    Err(error)
                } else {
                    Ok(folder)
                }
            }
            Err(error) => Err(error),
        }
    }

    fn copy_permissions(&self, from: &Path, to: &Path) -> io::Result<()> {
        if is_remote(from) || is_remote(to) { Ok(()) } else { self.local.copy_permissions(from, to) }
    }

    fn lock_dir(&self, path: &Path) -> io::Result<DirectoryLock> {
        match self.key(path)? {
            None => self.local.lock_dir(path),
            Some(key) => {
                let lease = Lease::take(&self.remote, key.clone().join(lease::NAME))?;
                lock(&self.holds).push((key, Arc::downgrade(lease.hold())));
                Ok(DirectoryLock::new(lease))
            }
        }
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        if is_remote(path) { Ok(u64::MAX) } else { self.local.free_space(path) }
    }
}

impl Remote {
    fn wait<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> io::Result<T> {
        self.runtime.block_on(request).map_err(to_io)
    }

    /// As [`Remote::wait`], no longer than this.
    fn wait_for<T>(&self, most: Duration, request: impl Future<Output = object_store::Result<T>>) -> io::Result<T> {
        let request = async { tokio::time::timeout(most, request).await };
        self.runtime.block_on(request).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(to_io)
    }

    fn read(&self, key: &Key) -> io::Result<Vec<u8>> {
        self.wait(async { Ok(self.store.get(key).await?.bytes().await?.to_vec()) })
    }

    fn put(&self, key: &Key, content: &[u8], mode: PutMode) -> io::Result<object_store::PutResult> {
        let payload = PutPayload::from(content.to_vec());
        self.wait(self.store.put_opts(key, payload, PutOptions::from(mode)))
    }
}

/// A file under way.
struct Draft {
    remote: Arc<Remote>,
    /// What it becomes, where that is known.
    key: Option<Key>,
    /// What is in no part yet.
    buffer: Vec<u8>,
    parts: Option<Box<dyn MultipartUpload>>,
    len: u64,
}

impl Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut count = bytes.len();
        if let Some(key) = self.key.clone() {
            if self.buffer.len() >= PART {
                let part = std::mem::take(&mut self.buffer);
                self.send(&key, part)?;
            }
            count = count.min(PART - self.buffer.len());
        }
        self.buffer.extend_from_slice(&bytes[..count]);
        self.len += count as u64; // usize has at most 64 bits
        Ok(count)
    }

    fn send(&mut self, key: &Key, part: Vec<u8>) -> io::Result<()> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            None => self.parts.insert(self.remote.wait(self.remote.store.put_multipart(key))?),
        };
        self.remote.wait(parts.put_part(PutPayload::from(part)))
    }

    fn finish(&mut self, key: &Key, mode: PutMode) -> io::Result<()> {
        if self.parts.is_none() && self.buffer.len() <= PART {
            return self.put(key, mode);
        }
        if self.key.as_ref().is_some_and(|known| known != key) {
            return Err(unsupported("an upload under way can't get another name"));
        }
        if matches!(mode, PutMode::Create) {
            match self.remote.wait(self.remote.store.head(key)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            }
        }
        for part in std::mem::take(&mut self.buffer).chunks(PART) {
            self.send(key, part.to_vec())?;
        }
        match &mut self.parts {
            Some(parts) => self.remote.wait(parts.complete()).map(drop),
            None => Ok(()),
        }
    }

    fn put(&self, key: &Key, mode: PutMode) -> io::Result<()> {
        match self.remote.put(key, &self.buffer, mode) {
            // It may be ours, where the answer to an earlier request was lost.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.remote.read(key)? == self.buffer => {
                Ok(())
            }
            put => put.map(drop),
        }
    }

    fn abort(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            // The bucket's rule removes what can't be removed now.
            let _ = self.remote.wait(parts.abort());
        }
    }
}

/// The end of a draft at which it is written.
struct Writer(Arc<Mutex<Draft>>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Writer {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(unsupported("it is open for writing"))
    }
}

impl Seek for Writer {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(unsupported("it is written from its beginning to its end"))
    }
}

impl File for Writer {
    /// Nothing is durable before it has its name, and everything is then.
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(unsupported("it is written from its beginning to its end"))
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn give_back(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len)
    }

    fn duplicate(&self) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Self(Arc::clone(&self.0))))
    }
}

/// An object that is read.
struct Object {
    remote: Arc<Remote>,
    key: Key,
    len: u64,
    /// Another one under its name is another file.
    version: Option<String>,
    at: u64,
    window: Vec<u8>,
    /// Where that begins.
    window_at: u64,
}

impl Object {
    /// What of the window is at the position.
    fn rest(&self) -> &[u8] {
        let skip = self.at.checked_sub(self.window_at).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.window.get(skip..)).unwrap_or_default()
    }

    fn fetch(&mut self) -> io::Result<()> {
        let range = self.at..self.len.min(self.at + WINDOW);
        let options = GetOptions {
            if_match: self.version.clone(),
            range: Some(GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        let store = &self.remote.store;
        let fetched =
            self.remote.wait(async { Ok(store.get_opts(&self.key, options).await?.bytes().await?.to_vec()) })?;
        if fetched.len() as u64 != range.end - range.start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.window, self.window_at) = (fetched, range.start);
        Ok(())
    }
}

impl Read for Object {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest().is_empty() && self.at < self.len {
            self.fetch()?;
        }
        let rest = self.rest();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count as u64; // usize has at most 64 bits
        Ok(count)
    }
}

impl Seek for Object {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl Write for Object {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(unsupported("it is open for reading"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl File for Object {
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(unsupported("it is open for reading"))
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn give_back(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn duplicate(&self) -> io::Result<Box<dyn File>> {
        let (remote, key, version) = (Arc::clone(&self.remote), self.key.clone(), self.version.clone());
        let (len, at, window, window_at) = (self.len, self.at, self.window.clone(), self.window_at);
        Ok(Box::new(Self { remote, key, len, version, at, window, window_at }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it is a path of a bucket, or what stands in front of one.
fn is_remote(path: &Path) -> bool {
    path.starts_with("s3:")
}

/// Bucket and name of `s3://BUCKET/NAME`.
fn split(path: &Path) -> Option<(String, String)> {
    if !is_remote(path) {
        return None;
    }
    let mut words = path.components().skip(1).filter_map(|word| word.as_os_str().to_str());
    let bucket = words.next()?.to_owned();
    Some((bucket, words.collect::<Vec<_>>().join("/")))
}

fn unsupported(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, reason)
}

fn to_io(error: Error) -> io::Error {
    let kind = match &error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
        // Where somebody else's request came first.
        Error::Precondition { .. } => io::ErrorKind::ResourceBusy,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::NetworkDown,
    };
    io::Error::new(kind, error)
}
