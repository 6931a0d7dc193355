//! The files of a log in the order in which they are loaded, found from a data folder, a manifest, a single file.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::MAX_MANIFEST;
use super::{Entry, FileType, Manifest, ManifestError, naming};
use crate::disk::{Disk, Mode, is_temporary};
use crate::rdb::envelope;

/// `appendfilename` and `appenddirname` where nobody says otherwise.
pub const DEFAULT_FILE_NAME: &str = "appendonly.aof";
pub const DEFAULT_FOLDER_NAME: &str = "appendonlydir";

/// What part a file has in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The whole log, as before Redis 7.0.
    Single,
    Base,
    Increment,
}

/// A file that is loaded.
#[derive(Debug, Clone)]
pub struct LogFile {
    pub path: PathBuf,
    pub role: Role,
    /// Begins with an RDB; records may follow it.
    pub has_rdb: bool,
    /// That RDB is in the compressed envelope of Valkey 9.2, which holds nothing else.
    pub is_wrapped: bool,
    /// Bytes.
    pub len: u64,
    /// What the manifest says of it.
    pub entry: Option<Entry>,
}

impl LogFile {
    /// The length of what is read of it, where that is known: an envelope does not say what will come out.
    pub fn unpacked_len(&self) -> Option<u64> {
        (!self.is_wrapped).then_some(self.len)
    }

    /// The name without its folder, for messages.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// A log: its files in order.
#[derive(Debug, Clone)]
pub struct Log {
    /// Where the files lie.
    pub folder: PathBuf,
    /// The manifest and its path; a single file has none.
    pub manifest: Option<(PathBuf, Manifest)>,
    pub files: Vec<LogFile>,
}

/// Why there is no log to read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}", .path.display())]
    Manifest { path: PathBuf, source: ManifestError },
    #[error("{}: the manifest names {}, which is not there", .manifest.display(), .name.display())]
    Missing { manifest: PathBuf, name: OsString },
    #[error("{}: a base that is an RDB has a header at least, and this one has no byte: bring it back from a copy", .path.display())]
    EmptyBase { path: PathBuf },
    #[error("{}: no append-only log here: neither a manifest nor an .aof file", .path.display())]
    NoLog { path: PathBuf },
    #[error("{}: several logs here ({}); name the one that is meant", .path.display(), .names.join(", "))]
    Several { path: PathBuf, names: Vec<String> },
}

impl Log {
    /// The log that a server with this configuration loads from `dir`; `None` where there is none.
    ///
    /// As in Redis, an old single file counts where there is no multi-part log yet, also when a crash has interrupted
    /// its move into the folder: the manifest names it as its only base, but it is still outside.
    pub fn of_server(
        disk: &dyn Disk,
        dir: &Path,
        append_dir_name: &OsStr,
        append_file_name: &OsStr,
    ) -> Result<Option<Self>, LogError> {
        let folder = dir.join(append_dir_name);
        let manifest_path = folder.join(naming::manifest(append_file_name));
        let old = dir.join(append_file_name);
        let has_old = disk.exists(&old);
        if !disk.exists(&manifest_path) {
            return if has_old { Self::single(disk, &old).map(Some) } else { Ok(None) };
        }
        let manifest = read_manifest(disk, &manifest_path)?;
        let moving = manifest.increments.is_empty()
            && match &manifest.base {
                None => true,
                Some(base) => base.name == append_file_name && !disk.exists(&folder.join(append_file_name)),
            };
        if moving && has_old {
            return Self::single(disk, &old).map(Some);
        }
        // History alone is no log, or a start would be empty beside data.
        if manifest.is_empty() && !manifest.history.is_empty() {
            return Ok(None);
        }
        Self::of_manifest(disk, &manifest_path, manifest).map(Some)
    }

    /// The log at a path that someone named: a manifest, a single file, or a folder that holds either.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, LogError> {
        if disk.metadata(path).map_err(at(path))?.is_dir() {
            return Self::in_folder(disk, path);
        }
        if is_manifest(disk, path)? {
            let manifest = read_manifest(disk, path)?;
            return Self::of_manifest(disk, path, manifest);
        }
        Self::single(disk, path)
    }

    /// The log in a folder: a manifest in it, a manifest in `appendonlydir`, `appendonly.aof`, or the only `.aof`.
    pub fn in_folder(disk: &dyn Disk, folder: &Path) -> Result<Self, LogError> {
        for candidate in [folder.to_owned(), folder.join(DEFAULT_FOLDER_NAME)] {
            if let Some(manifest) = only_name_with(disk, &candidate, ".manifest")? {
                return Self::open(disk, &manifest);
            }
        }
        let single = folder.join(DEFAULT_FILE_NAME);
        if disk.exists(&single) {
            return Self::single(disk, &single);
        }
        match only_name_with(disk, folder, ".aof")? {
            Some(path) => Self::single(disk, &path),
            None => Err(LogError::NoLog { path: folder.to_owned() }),
        }
    }

    /// A log that is one file.
    pub fn single(disk: &dyn Disk, path: &Path) -> Result<Self, LogError> {
        let file = log_file(disk, path, Role::Single, None)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { folder, manifest: None, files: vec![file] })
    }

    /// These files in this order, whatever a manifest says: only the first can be a base, or begin with an RDB.
    pub fn of_files(disk: &dyn Disk, paths: &[PathBuf]) -> Result<Self, LogError> {
        let folder = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("")).to_owned();
        let role = |index| if index == 0 { Role::Base } else { Role::Increment };
        let files = paths.iter().enumerate().map(|(index, path)| log_file(disk, path, role(index), None));
        Ok(Self { folder, manifest: None, files: files.collect::<Result<_, _>>()? })
    }

    fn of_manifest(disk: &dyn Disk, path: &Path, manifest: Manifest) -> Result<Self, LogError> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut files = Vec::new();
        for entry in manifest.loaded() {
            let file = folder.join(&entry.name);
            if !disk.exists(&file) {
                return Err(LogError::Missing { manifest: path.to_owned(), name: entry.name.clone() });
            }
            let role = if entry.file_type == FileType::Base { Role::Base } else { Role::Increment };
            files.push(log_file(disk, &file, role, Some(entry.clone()))?);
        }
        Ok(Self { folder, manifest: Some((path.to_owned(), manifest)), files })
    }

    /// The log as it would be without the rewrites whose files are still in history: see [`Manifest::with_history`].
    /// `None` where history holds no such log, or not all of its files are there any more.
    pub fn with_history(&self, disk: &dyn Disk) -> Result<Option<Self>, LogError> {
        let Some((path, manifest)) = &self.manifest else { return Ok(None) };
        match manifest.with_history().map(|whole| Self::of_manifest(disk, path, whole)).transpose() {
            Err(LogError::Missing { .. }) => Ok(None),
            log => log,
        }
    }

    /// The path by which a person would name the log: the manifest or the file.
    pub fn path(&self) -> &Path {
        match &self.manifest {
            Some((path, _)) => path,
            None => self.files.first().map_or(&self.folder, |file| &file.path),
        }
    }

    /// Bytes in all files.
    pub fn len(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }

    /// Whether no file has a byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no file behind the one at `index` has a byte: only there a tail can be torn.
    pub fn is_last_with_bytes(&self, index: usize) -> bool {
        self.files[index + 1..].iter().all(|file| file.len == 0)
    }
}

/// Reads and parses a manifest.
pub fn read_manifest(disk: &dyn Disk, path: &Path) -> Result<Manifest, LogError> {
    let content = disk.read_small(path, MAX_MANIFEST).map_err(at(path))?;
    Manifest::parse(&content).map_err(|source| LogError::Manifest { path: path.to_owned(), source })
}

/// Whether bytes at the start of a file are those of an RDB, be it in an envelope.
pub fn begins_rdb(start: &[u8]) -> bool {
    start.starts_with(b"REDIS") || start.starts_with(b"VALKEY") || start.starts_with(envelope::MAGIC)
}

fn log_file(disk: &dyn Disk, path: &Path, role: Role, entry: Option<Entry>) -> Result<LogFile, LogError> {
    let start = read_start(disk, path, 9)?;
    let len = disk.metadata(path).map_err(at(path))?.len;
    if len == 0 && role == Role::Base && path.extension() == Some(OsStr::new("rdb")) {
        return Err(LogError::EmptyBase { path: path.to_owned() });
    }
    let (has_rdb, is_wrapped) = (begins_rdb(&start), start.starts_with(envelope::MAGIC));
    Ok(LogFile { path: path.to_owned(), role, has_rdb, is_wrapped, len, entry })
}

/// By name, or as the check tool of Redis sees it: the first line that is no comment begins with `file`.
fn is_manifest(disk: &dyn Disk, path: &Path) -> Result<bool, LogError> {
    if path.extension() == Some(OsStr::new("manifest")) {
        return Ok(true);
    }
    let start = read_start(disk, path, 4096)?;
    let first = start.split(|&byte| byte == b'\n').find(|line| !line.starts_with(b"#"));
    Ok(first.is_some_and(|line| line.len() > 5 && line[..5].eq_ignore_ascii_case(b"file ")))
}

fn read_start(disk: &dyn Disk, path: &Path, len: u64) -> Result<Vec<u8>, LogError> {
    let mut start = Vec::new();
    let file = disk.open(path, Mode::Read).map_err(at(path))?;
    io::Read::read_to_end(&mut io::Read::take(file, len), &mut start).map_err(at(path))?;
    Ok(start)
}

fn only_name_with(disk: &dyn Disk, folder: &Path, suffix: &str) -> Result<Option<PathBuf>, LogError> {
    let names = match disk.list(folder) {
        Ok(names) => names,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(LogError::Io { path: folder.to_owned(), source }),
    };
    let fits = |name: &OsString| !is_temporary(name) && name.as_encoded_bytes().ends_with(suffix.as_bytes());
    let names: Vec<OsString> = names.into_iter().filter(fits).collect();
    match &names[..] {
        [] => Ok(None),
        [name] => Ok(Some(folder.join(name))),
        _ => {
            let names = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            Err(LogError::Several { path: folder.to_owned(), names })
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = path.to_owned();
    move |source| LogError::Io { path, source }
}
