//! A disk in memory that remembers every step, for tests: at any step it can say what a power cut could leave.
//!
//! The steps are those of [`Disk`] that change something, and the syncs. What is there now is all of them, one after the
//! other. What a power cut behind step `n` leaves is the first `n` of them without some that nothing had made durable:
//!
//! - a write or a cut of a file is durable when a sync of that file succeeded behind it; where one failed instead, no later
//!   sync makes up for it;
//! - a name (new, gone, another) is durable when all folders that it touches were synced behind it; until then it is as a
//!   whole or not at all;
//! - what is not durable is there, or not, or in part (whole blocks of 512 bytes), or as zeros, by [`PowerCut`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::{DirectoryLock, Disk, EntryKind, File, Metadata, Mode};

/// What a disk writes as a whole.
const BLOCK: usize = 512;
const ROOT: usize = 0;

/// Something that was done. Files and folders go by number.
#[derive(Debug, Clone)]
enum Step {
    /// A new, empty file or folder.
    Make {
        node: usize,
        kind: EntryKind,
    },
    /// The folder's name now stands for the node.
    Name {
        folder: usize,
        name: OsString,
        node: usize,
    },
    Rename {
        from: (usize, OsString),
        to: (usize, OsString),
        node: usize,
    },
    Remove {
        folder: usize,
        name: OsString,
    },
    Write {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Cut {
        file: usize,
        len: usize,
    },
    /// Blocks are kept for the file up to `end`, or no more; neither changes what is read.
    Reserve {
        file: usize,
        end: Option<u64>,
    },
    /// Of a file or folder.
    Sync {
        node: usize,
    },
    FailedSync {
        node: usize,
    },
}

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, usize>),
}

/// Files and folders as some steps have left them.
#[derive(Debug, Clone)]
struct Tree {
    nodes: HashMap<usize, Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: HashMap::from([(ROOT, Node::Folder(BTreeMap::new()))]) }
    }
}

impl Tree {
    fn names(&mut self, folder: usize) -> &mut BTreeMap<OsString, usize> {
        match self.nodes.get_mut(&folder) {
            Some(Node::Folder(names)) => names,
            _ => panic!("{folder} is a folder"),
        }
    }

    fn content(&mut self, file: usize) -> &mut Vec<u8> {
        match self.nodes.get_mut(&file) {
            Some(Node::File(content)) => content,
            _ => panic!("{file} is a file"),
        }
    }

    /// The paths of all that is below a folder whose path is known.
    fn name_all(&self, folder: usize, paths: &mut HashMap<usize, PathBuf>) {
        let Some(Node::Folder(names)) = self.nodes.get(&folder) else { return };
        for (name, node) in names {
            paths.insert(*node, paths[&folder].join(name));
            self.name_all(*node, paths);
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Make { node, kind: EntryKind::Directory } => {
                drop(self.nodes.insert(*node, Node::Folder(BTreeMap::new())))
            }
            Step::Make { node, .. } => drop(self.nodes.insert(*node, Node::File(Vec::new()))),
            Step::Name { folder, name, node } => drop(self.names(*folder).insert(name.clone(), *node)),
            Step::Rename { from, to, node } => {
                self.names(from.0).remove(&from.1);
                self.names(to.0).insert(to.1.clone(), *node);
            }
            Step::Remove { folder, name } => drop(self.names(*folder).remove(name)),
            Step::Write { file, at, bytes } => {
                let content = self.content(*file);
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Step::Cut { file, len } => self.content(*file).resize(*len, 0),
            Step::Reserve { .. } | Step::Sync { .. } | Step::FailedSync { .. } => {}
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = ROOT;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            let Some(Node::Folder(names)) = self.nodes.get(&at) else { return Err(ErrorKind::NotADirectory.into()) };
            at = *names.get(name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The folder of a path and the name in it.
    fn place(&self, path: &Path) -> io::Result<(usize, OsString)> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        let folder = self.find(path.parent().unwrap_or(Path::new("")))?;
        match self.nodes.get(&folder) {
            Some(Node::Folder(_)) => Ok((folder, name.to_owned())),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }
}

/// What becomes of the steps that a power cut finds not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    /// All of them are there: what a killed process leaves.
    Kept,
    /// None of them.
    Lost,
    /// Names are there or not, each by itself. Of the writes to each file the first are there, then one in part, and the
    /// others are not.
    Torn,
    /// As torn, but the file has its full length, with zeros where the writes are missing.
    Zeroed,
    /// Names and blocks of writes are there or not, each by itself.
    Scattered,
}

impl PowerCut {
    pub const ALL: [Self; 5] = [Self::Kept, Self::Lost, Self::Torn, Self::Zeroed, Self::Scattered];
}

#[derive(Debug, Default)]
struct State {
    /// What was there before the first step.
    base: Tree,
    steps: Vec<Step>,
    tree: Tree,
    last_node: usize,
    /// Bytes that it says are free; none for more than anyone wants.
    free: Option<u64>,
}

impl State {
    fn take(&mut self, step: Step) {
        self.tree.apply(&step);
        self.steps.push(step);
    }

    fn make(&mut self, (folder, name): (usize, OsString), kind: EntryKind) -> usize {
        self.last_node += 1;
        let node = self.last_node;
        self.take(Step::Make { node, kind });
        self.take(Step::Name { folder, name, node });
        node
    }

    /// For each of the first `count` steps, whether a power cut behind them must leave it.
    fn durable(&self, count: usize) -> Vec<bool> {
        let mut durable = vec![false; count];
        // Nodes with a sync behind the step looked at, from the end; what a failed sync has left in doubt stays so.
        let mut synced = HashSet::new();
        for (index, step) in self.steps[..count].iter().enumerate().rev() {
            durable[index] = match step {
                Step::Sync { node } => {
                    synced.insert(*node);
                    true
                }
                Step::FailedSync { node } => {
                    synced.remove(node);
                    true
                }
                Step::Make { .. } | Step::Reserve { .. } => true, // nobody sees it, or before it has a name
                Step::Write { file, .. } | Step::Cut { file, .. } => synced.contains(file),
                Step::Name { folder, .. } | Step::Remove { folder, .. } => synced.contains(folder),
                Step::Rename { from, to, .. } => synced.contains(&from.0) && synced.contains(&to.0),
            };
        }
        durable
    }
}

/// The disk. A clone is the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on it says that so many bytes are free; it takes more all the same.
    pub fn say_free(&self, bytes: u64) {
        self.state().free = Some(bytes);
    }

    /// How many steps there were.
    pub fn steps(&self) -> usize {
        self.state().steps.len()
    }

    /// The first `count` steps in words, one a line, with the path that each file had then: a trace to compare with.
    pub fn trace(&self, count: usize) -> Vec<String> {
        let state = self.state();
        let mut paths = HashMap::from([(ROOT, PathBuf::from("/"))]);
        state.base.name_all(ROOT, &mut paths);
        let mut lines = Vec::new();
        for step in &state.steps[..count] {
            let join = |paths: &HashMap<usize, PathBuf>, (folder, name): (usize, &OsStr)| paths[&folder].join(name);
            lines.push(match step {
                Step::Make { .. } => continue,
                Step::Name { folder, name, node } => {
                    let path = join(&paths, (*folder, name));
                    paths.insert(*node, path.clone());
                    format!("create {}", path.display())
                }
                Step::Rename { from, to, node } => {
                    let (from, to) = (join(&paths, (from.0, &from.1)), join(&paths, (to.0, &to.1)));
                    let line = format!("rename {} to {}", from.display(), to.display());
                    paths.insert(*node, to);
                    line
                }
                Step::Remove { folder, name } => format!("remove {}", join(&paths, (*folder, name)).display()),
                Step::Write { file, .. } => format!("write {}", paths[file].display()),
                Step::Cut { file, len } => format!("cut {} to {len}", paths[file].display()),
                Step::Reserve { file, end: Some(_) } => format!("reserve behind {}", paths[file].display()),
                Step::Reserve { file, end: None } => format!("give back behind {}", paths[file].display()),
                Step::Sync { node } => format!("sync {}", paths[node].display()),
                Step::FailedSync { node } => format!("failed sync {}", paths[node].display()),
            });
        }
        lines
    }

    /// A disk with what a power cut behind the first `steps` steps leaves.
    pub fn after(&self, steps: usize, cut: PowerCut, random: &mut fastrand::Rng) -> Self {
        let state = self.state();
        let durable = state.durable(steps);
        let mut tree = state.base.clone();
        let mut torn = HashSet::new();
        for (step, durable) in state.steps[..steps].iter().zip(durable) {
            if durable || cut == PowerCut::Kept {
                tree.apply(step);
            } else if cut != PowerCut::Lost {
                lose_in_part(&mut tree, step, cut, &mut torn, random);
            }
        }
        // What is there now is there for good.
        let base = tree.clone();
        Self(Arc::new(Mutex::new(State { base, steps: Vec::new(), tree, last_node: state.last_node, free: None })))
    }

    fn record(&self, step: Step) {
        self.state().take(step);
    }
}

/// Carries out a step that is not durable as far as luck has it. `torn`: files whose later writes are lost.
fn lose_in_part(tree: &mut Tree, step: &Step, cut: PowerCut, torn: &mut HashSet<usize>, random: &mut fastrand::Rng) {
    let Step::Write { file, at, bytes } = step else {
        // A cut of a file counts among its writes: they are in order.
        let is_there = match step {
            Step::Cut { file, .. } => !torn.contains(file),
            _ => random.bool(),
        };
        if is_there {
            tree.apply(step);
        }
        return;
    };
    let mut left = bytes.clone();
    if cut == PowerCut::Scattered {
        // Blocks lie where they lie in the file.
        let mut start = 0;
        while start < left.len() {
            let end = left.len().min(start + BLOCK - (at + start) % BLOCK);
            if random.bool() {
                left[start..end].fill(0);
            }
            start = end;
        }
    } else if torn.contains(file) || random.u8(..4) == 0 {
        let is_first = torn.insert(*file);
        let kept = if is_first { random.usize(..=left.len()) } else { 0 };
        let kept = ((at + kept) / BLOCK * BLOCK).saturating_sub(*at);
        match cut {
            PowerCut::Zeroed => left[kept..].fill(0),
            _ => left.truncate(kept),
        }
        if left.is_empty() {
            return;
        }
    }
    // A hole below it reads as zeros.
    tree.apply(&Step::Write { file: *file, at: *at, bytes: left });
}

impl MemoryDisk {
    pub(super) fn open_file(&self, path: &Path, mode: Mode) -> io::Result<MemoryFile> {
        let mut state = self.state();
        let found = state.tree.find(path);
        let node = match (mode, found) {
            (Mode::CreateNew, Ok(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (Mode::Append | Mode::CreateNew | Mode::Truncate, Err(error)) if error.kind() == ErrorKind::NotFound => {
                let place = state.tree.place(path)?;
                state.make(place, EntryKind::File)
            }
            (_, found) => found?,
        };
        let Some(Node::File(content)) = state.tree.nodes.get(&node) else {
            return Err(ErrorKind::IsADirectory.into());
        };
        if mode == Mode::Truncate && !content.is_empty() {
            state.take(Step::Cut { file: node, len: 0 });
        }
        drop(state);
        Ok(MemoryFile { disk: self.clone(), node, at: Arc::default(), mode })
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn File>> {
        Ok(Box::new(self.open_file(path, mode)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let node = state.tree.find(from)?;
        let (from, to) = (state.tree.place(from)?, state.tree.place(to)?);
        state.take(Step::Rename { from, to, node });
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let node = state.tree.find(from)?;
        if state.tree.find(to).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let (folder, name) = state.tree.place(to)?;
        state.take(Step::Name { folder, name, node });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.tree.find(path)?;
        let (folder, name) = state.tree.place(path)?;
        state.take(Step::Remove { folder, name });
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if !self.list(path)?.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        self.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.tree.find(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let place = state.tree.place(path)?;
        state.make(place, EntryKind::Directory);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let node = state.tree.find(path)?;
        state.take(Step::Sync { node });
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let state = self.state();
        let folder = state.tree.find(path)?;
        match state.tree.nodes.get(&folder) {
            Some(Node::Folder(names)) => Ok(names.keys().cloned().collect()),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let state = self.state();
        let node = state.tree.find(path)?;
        let (kind, len) = match state.tree.nodes.get(&node) {
            Some(Node::File(content)) => (EntryKind::File, content.len() as u64),
            _ => (EntryKind::Directory, 0),
        };
        Ok(Metadata { kind, len, modified: SystemTime::UNIX_EPOCH, identity: (1, node as u64) })
    }

    fn copy_permissions(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock_dir(&self, _path: &Path) -> io::Result<DirectoryLock> {
        Ok(DirectoryLock::new(()))
    }

    fn free_space(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.state().free.unwrap_or(u64::MAX))
    }
}

/// An open file; as on a real system it stays what it is when its name goes. A clone shares the position.
#[derive(Clone)]
pub(super) struct MemoryFile {
    disk: MemoryDisk,
    node: usize,
    at: Arc<Mutex<usize>>,
    mode: Mode,
}

impl MemoryFile {
    fn position(&self) -> MutexGuard<'_, usize> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sync of it has failed.
    pub(super) fn doubt(&self) {
        self.disk.record(Step::FailedSync { node: self.node });
    }

    fn with_content<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(self.disk.state().tree.content(self.node))
    }
}

impl io::Read for MemoryFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut at = self.position();
        let count = self.with_content(|content| {
            let rest = content.get(*at..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            count
        });
        *at += count;
        Ok(count)
    }
}

impl io::Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut position = self.position();
        let at = if self.mode == Mode::Append { self.with_content(<[u8]>::len) } else { *position };
        self.disk.record(Step::Write { file: self.node, at, bytes: bytes.to_vec() });
        *position = at + bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Seek for MemoryFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let mut at = self.position();
        let (from, by) = match to {
            SeekFrom::Start(at) => (at as usize, 0),
            SeekFrom::Current(by) => (*at, by),
            SeekFrom::End(by) => (self.with_content(<[u8]>::len), by),
        };
        *at = from.checked_add_signed(by as isize).ok_or(ErrorKind::InvalidInput)?;
        Ok(*at as u64)
    }
}

impl File for MemoryFile {
    fn sync_data(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.record(Step::Sync { node: self.node });
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.record(Step::Cut { file: self.node, len: len as usize });
        Ok(())
    }

    fn reserve(&self, end: u64) -> io::Result<()> {
        self.disk.record(Step::Reserve { file: self.node, end: Some(end) });
        Ok(())
    }

    fn give_back(&self) -> io::Result<()> {
        self.disk.record(Step::Reserve { file: self.node, end: None });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.with_content(|content| content.len() as u64))
    }

    fn duplicate(&self) -> io::Result<Box<dyn File>> {
        Ok(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::publish_bytes;
    use std::io::Write;

    fn read(disk: &MemoryDisk, path: &str) -> Option<Vec<u8>> {
        disk.read_small(Path::new(path), 1 << 20).ok()
    }

    #[test]
    fn a_published_file_is_the_old_one_or_the_new_one_at_every_step_of_every_power_cut() {
        let memory = MemoryDisk::default();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        publish_bytes(&disk, Path::new("/"), OsStr::new("a"), &[1; 2000]).unwrap();
        let before = memory.steps();
        publish_bytes(&disk, Path::new("/"), OsStr::new("a"), &[2; 3000]).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let mut seen = HashSet::new();
        for steps in before..=memory.steps() {
            for cut in PowerCut::ALL {
                let found = read(&memory.after(steps, cut, &mut random), "/a").unwrap();
                assert!(found == [1; 2000] || found == [2; 3000], "step {steps}, {cut:?}: {} bytes", found.len());
                seen.insert(found.len());
            }
        }
        assert_eq!(seen.len(), 2);
        assert_eq!(read(&memory.after(memory.steps(), PowerCut::Lost, &mut random), "/a").unwrap(), [2; 3000]);
        assert_eq!(memory.trace(memory.steps()).last().unwrap(), "sync /");
    }

    #[test]
    fn what_was_not_synced_is_lost_in_every_way_and_what_was_is_there_in_all() {
        let memory = MemoryDisk::default();
        let mut file = memory.open(Path::new("/log"), Mode::Append).unwrap();
        memory.sync_dir(Path::new("/")).unwrap();
        file.write_all(&[1; 700]).unwrap();
        file.sync_data().unwrap();
        (2..6).for_each(|byte| file.write_all(&[byte; 700]).unwrap());
        let mut random = fastrand::Rng::with_seed(1);
        let mut of = |cut| read(&memory.after(memory.steps(), cut, &mut random), "/log").unwrap();
        assert_eq!(of(PowerCut::Kept).len(), 3500);
        assert_eq!(of(PowerCut::Lost), [1; 700]);
        let (mut lengths, mut zeros, mut holes) = (HashSet::new(), 0, 0);
        for _ in 0..100 {
            let torn = of(PowerCut::Torn);
            assert!(torn[..700] == [1; 700] && !torn.contains(&0));
            lengths.insert(torn.len());
            let zeroed = of(PowerCut::Zeroed);
            assert!(zeroed.len() == 3500 && zeroed[..700] == [1; 700]);
            zeros += usize::from(zeroed.contains(&0));
            let scattered = of(PowerCut::Scattered);
            assert!(scattered.len() == 3500 && scattered[..700] == [1; 700]);
            holes += usize::from(scattered[700..].windows(2).any(|pair| pair[0] == 0 && pair[1] != 0));
        }
        assert!(lengths.len() > 3 && zeros > 20 && holes > 20, "{} lengths, {zeros}, {holes}", lengths.len());
    }

    #[test]
    fn no_sync_makes_up_for_one_that_failed() {
        let memory = MemoryDisk::default();
        let mut file = memory.open_file(Path::new("/log"), Mode::Append).unwrap();
        memory.sync_dir(Path::new("/")).unwrap();
        file.write_all(b"in doubt").unwrap();
        file.doubt();
        file.sync_all().unwrap();
        file.write_all(b", sure").unwrap();
        file.sync_all().unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let left = read(&memory.after(memory.steps(), PowerCut::Lost, &mut random), "/log").unwrap();
        assert_eq!(left, b"\0\0\0\0\0\0\0\0, sure");
    }
}
