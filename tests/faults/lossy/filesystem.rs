//! A file system in memory, mounted by FUSE, that knows what a power cut would take: bytes that were not synced, and names
//! whose folder was not.
//!
//! It keeps as little as the rules of POSIX allow. fsync of a file makes its bytes durable, and not its name; fsync of a
//! folder makes the changes to its names durable, each whole: a rename is one change of one or two folders.

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// Nothing is kept by the kernel: it asks for every name and every length.
const TTL: Duration = Duration::ZERO;
const BLOCK: usize = 512;

/// A promise that the file system makes and does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    None,
    SyncsNoFiles,
    SyncsNoFolders,
}

/// What a cut leaves of what was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Nothing.
    Everything,
    /// Each change of a name or of a file kept or lost by lot, files also torn, or zeroed.
    ByLot,
}

#[derive(Debug)]
struct Node {
    is_folder: bool,
    mode: u32,
    changed: SystemTime,
    bytes: Vec<u8>,
    /// As of the last fsync. The first `dirty_from` bytes of `bytes` are the same.
    synced: Vec<u8>,
    dirty_from: usize,
    names: BTreeMap<OsString, u64>,
    synced_names: BTreeMap<OsString, u64>,
}

impl Node {
    fn new(is_folder: bool, mode: u32) -> Self {
        let (names, synced_names) = (BTreeMap::new(), BTreeMap::new());
        let (bytes, synced, changed) = (Vec::new(), Vec::new(), SystemTime::now());
        Self { is_folder, mode, changed, bytes, synced, dirty_from: 0, names, synced_names }
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        let end = at + data.len();
        self.dirty_from = self.dirty_from.min(at).min(self.bytes.len());
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(data);
        self.changed = SystemTime::now();
    }

    fn set_len(&mut self, len: usize) {
        self.dirty_from = self.dirty_from.min(len).min(self.bytes.len());
        self.bytes.resize(len, 0);
    }

    fn sync(&mut self) {
        self.synced.truncate(self.dirty_from);
        self.synced.extend_from_slice(&self.bytes[self.dirty_from..]);
        self.dirty_from = self.bytes.len();
    }

    /// The bytes behind a cut.
    fn left(&self, cut: Cut, random: &mut fastrand::Rng) -> Vec<u8> {
        if matches!(cut, Cut::Everything)
            || self.dirty_from == self.bytes.len() && self.synced.len() == self.bytes.len()
        {
            return self.synced.clone();
        }
        let mut kept = self.bytes.clone();
        match random.u8(..5) {
            0 => return self.synced.clone(),
            1 => {}
            2 => kept.truncate(self.dirty_from),
            3 => {
                let blocks = (kept.len() - self.dirty_from) / BLOCK;
                kept.truncate(self.dirty_from.next_multiple_of(BLOCK) + random.usize(..=blocks) * BLOCK);
            }
            _ => kept[self.dirty_from..].fill(0),
        }
        kept
    }
}

/// A change of names that no fsync has made durable: folder, name, and what it stands for from then on.
type Change = Vec<(u64, OsString, Option<u64>)>;

#[derive(Debug)]
struct Tree {
    nodes: HashMap<u64, Node>,
    next: u64,
    changes: Vec<Change>,
    lie: Lie,
    /// How long an fsync takes.
    delay: Duration,
}

impl Tree {
    fn change(&mut self, change: Change) {
        for (folder, name, target) in &change {
            let names = &mut self.nodes.get_mut(folder).unwrap().names;
            match target {
                Some(target) => drop(names.insert(name.clone(), *target)),
                None => drop(names.remove(name)),
            }
        }
        self.changes.push(change);
    }

    fn make_durable(&mut self, change: Change) {
        for (folder, name, target) in change {
            let names = &mut self.nodes.get_mut(&folder).unwrap().synced_names;
            match target {
                Some(target) => drop(names.insert(name, target)),
                None => drop(names.remove(&name)),
            }
        }
    }

    fn sync_folder(&mut self, folder: u64) {
        let (concerned, others) = std::mem::take(&mut self.changes)
            .into_iter()
            .partition(|change: &Change| change.iter().any(|(of, ..)| *of == folder));
        self.changes = others;
        concerned.into_iter().for_each(|change| self.make_durable(change));
    }

    fn add(&mut self, folder: u64, name: &OsStr, node: Node) -> u64 {
        self.next += 1;
        let number = self.next;
        self.nodes.insert(number, node);
        self.change(vec![(folder, name.to_owned(), Some(number))]);
        number
    }

    fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.nodes.get(&folder)?.names.get(name).copied()
    }

    fn attributes(&self, number: u64) -> Option<FileAttr> {
        let node = self.nodes.get(&number)?;
        let size = node.bytes.len() as u64;
        Some(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: node.changed,
            mtime: node.changed,
            ctime: node.changed,
            crtime: node.changed,
            kind: if node.is_folder { FileType::Directory } else { FileType::RegularFile },
            perm: u16::try_from(node.mode & 0o7777).unwrap(),
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// Writes what is left behind a cut below `target`.
    fn write_left(&self, number: u64, target: &Path, cut: Cut, random: &mut fastrand::Rng) {
        std::fs::create_dir_all(target).unwrap();
        for (name, number) in &self.nodes[&number].synced_names {
            let (node, path) = (&self.nodes[number], target.join(name));
            if node.is_folder {
                self.write_left(*number, &path, cut, random);
            } else {
                std::fs::write(path, node.left(cut, random)).unwrap();
            }
        }
    }

    /// Takes in all that lies below `folder`, durably.
    fn take_in(&mut self, number: u64, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let is_folder = entry.path().is_dir();
            let mut node = Node::new(is_folder, if is_folder { 0o755 } else { 0o644 });
            if !is_folder {
                node.bytes = std::fs::read(entry.path()).unwrap();
                node.sync();
            }
            let child = self.add(number, &entry.file_name(), node);
            if is_folder {
                self.take_in(child, &entry.path());
            }
        }
        self.sync_folder(number);
    }
}

/// The file system, mounted; gone when dropped.
pub struct Lossy {
    tree: Arc<Mutex<Tree>>,
    /// Unmounts before the folder under it goes.
    _session: BackgroundSession,
    point: tempfile::TempDir,
}

impl Lossy {
    /// Mounts one that holds what lies below `content`. The error says why nothing can be mounted here.
    pub fn mount(content: &Path, lie: Lie, delay: Duration) -> Result<Self, String> {
        let nodes = HashMap::from([(1, Node::new(true, 0o755))]);
        let mut tree = Tree { nodes, next: 1, changes: Vec::new(), lie, delay };
        tree.take_in(1, content);
        let (tree, point) = (Arc::new(Mutex::new(tree)), tempfile::tempdir().unwrap());
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("lossy".into())];
        // So that a slow fsync does not keep the rest waiting.
        config.n_threads = Some(4);
        let session = fuser::spawn_mount(Served(Arc::clone(&tree)), point.path(), &config)
            .map_err(|error| format!("FUSE can't be mounted: {error}"))?;
        Ok(Self { tree, point, _session: session })
    }

    pub fn folder(&self) -> PathBuf {
        self.point.path().canonicalize().unwrap()
    }

    /// What a cut at this moment would leave, as files below `target`.
    pub fn cut(&self, target: &Path, cut: Cut, random: &mut fastrand::Rng) {
        let mut tree = self.tree.lock().unwrap();
        let changes = std::mem::take(&mut tree.changes);
        for change in changes {
            if matches!(cut, Cut::ByLot) && random.bool() {
                tree.make_durable(change);
            }
        }
        tree.write_left(1, target, cut, random);
    }
}

/// What the kernel talks to.
struct Served(Arc<Mutex<Tree>>);

impl Served {
    fn sync(&self, number: u64, reply: ReplyEmpty) {
        let delay = self.0.lock().unwrap().delay;
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        let mut tree = self.0.lock().unwrap();
        let lie = tree.lie;
        match tree.nodes.get_mut(&number) {
            Some(node) if node.is_folder && lie != Lie::SyncsNoFolders => tree.sync_folder(number),
            Some(node) if !node.is_folder && lie != Lie::SyncsNoFiles => node.sync(),
            _ => {}
        }
        reply.ok();
    }

    fn remove(&self, folder: u64, name: &OsStr, reply: ReplyEmpty) {
        let mut tree = self.0.lock().unwrap();
        match tree.find(folder, name) {
            None => reply.error(Errno::ENOENT),
            Some(number) if !tree.nodes[&number].names.is_empty() => reply.error(Errno::ENOTEMPTY),
            Some(_) => {
                tree.change(vec![(folder, name.to_owned(), None)]);
                reply.ok();
            }
        }
    }

    fn entry(&self, number: Option<u64>, reply: ReplyEntry) {
        match number.and_then(|number| self.0.lock().unwrap().attributes(number)) {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.0.lock().unwrap().find(parent.0, name);
        self.entry(found, reply);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.lock().unwrap().attributes(number.0) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.0.lock().unwrap();
        let Some(node) = tree.nodes.get_mut(&number.0) else { return reply.error(Errno::ENOENT) };
        node.mode = mode.unwrap_or(node.mode);
        if let Some(size) = size {
            node.set_len(usize::try_from(size).unwrap());
        }
        reply.attr(&TTL, &tree.attributes(number.0).unwrap());
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let number = self.0.lock().unwrap().add(parent.0, name, Node::new(true, mode));
        self.entry(Some(number), reply);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut tree = self.0.lock().unwrap();
        let number = tree.add(parent.0, name, Node::new(false, mode));
        let attributes = tree.attributes(number).unwrap();
        reply.created(&TTL, &attributes, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(parent.0, name, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(parent.0, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut tree = self.0.lock().unwrap();
        let Some(number) = tree.find(parent.0, name) else { return reply.error(Errno::ENOENT) };
        tree.change(vec![(parent.0, name.to_owned(), None), (new_parent.0, new_name.to_owned(), Some(number))]);
        reply.ok();
    }

    fn link(&self, _: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.0.lock().unwrap().change(vec![(parent.0, name.to_owned(), Some(number.0))]);
        self.entry(Some(number.0), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let tree = self.0.lock().unwrap();
        let bytes = &tree.nodes[&number.0].bytes;
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        reply.data(&bytes[from..bytes.len().min(from + size as usize)]);
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut tree = self.0.lock().unwrap();
        tree.nodes.get_mut(&number.0).unwrap().write(usize::try_from(offset).unwrap(), data);
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(number.0, reply);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(number.0, reply);
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let tree = self.0.lock().unwrap();
        let names = tree.nodes[&number.0].names.iter().enumerate();
        for (at, (name, child)) in names.skip(usize::try_from(offset).unwrap()) {
            let kind = if tree.nodes[child].is_folder { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(*child), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (blocks, files) = (1 << 20, 1 << 20);
        reply.statfs(blocks, blocks, blocks, files, files, 4096, 255, 4096);
    }
}
