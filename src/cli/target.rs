//! The file that a verb writes: complete under its name, or not there at all.
//!
//! `--output FILE` is written beside under a temporary name and takes its own when the verb is done; an existing file is
//! left alone unless the caller forces it. `-` is standard output.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::{Exit, Failure};
use super::input::Source;
use crate::disk::{Disk, Draft, Metadata, Sealed};
use anyhow::Context;

/// An output under way. Dropped without [`Target::commit`], nothing is left of it.
pub struct Target {
    name: String,
    kind: Kind,
}

enum Kind {
    Stdout,
    File(Box<Draft>),
}

impl Target {
    /// Begins the output `path`. A file of that name is refused unless `force`, binary data on a terminal always.
    pub fn create(disk: &Arc<dyn Disk>, path: &Path, force: bool) -> anyhow::Result<Target> {
        if path == Path::new("-") {
            if io::stdout().is_terminal() {
                return Err(Failure::error(Exit::Refused, "binary data is not written to a terminal: redirect it"));
            }
            return Ok(Target { name: "standard output".to_owned(), kind: Kind::Stdout });
        }
        let name = Source::File(path.to_owned()).to_string();
        if disk.metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Failure::error(Exit::Usage, "is a folder: name a file").context(name));
        }
        if is_special(disk.as_ref(), path) {
            let message = "is no regular file, which writing beside and renaming would replace: say - and redirect";
            return Err(Failure::error(Exit::Usage, message).context(name));
        }
        if !force && disk.exists(path) {
            return Err(Failure::error(Exit::Refused, "is there already: name another, or say --force").context(name));
        }
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let file_name = path.file_name().unwrap_or(OsStr::new(""));
        let draft = Draft::create(disk, &folder, file_name).with_context(|| name.clone())?.sync_as_it_grows();
        Ok(Target { name, kind: Kind::File(Box::new(draft)) })
    }

    /// For messages; escaped for a terminal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the file durable and gives it its name.
    pub fn commit(self) -> anyhow::Result<()> {
        self.seal()?.commit()
    }

    /// Makes the bytes durable without giving them their name yet, so that several files can appear together.
    pub fn seal(self) -> anyhow::Result<SealedTarget> {
        let file = match self.kind {
            Kind::Stdout => {
                io::stdout().flush().context(self.name.clone())?;
                None
            }
            Kind::File(draft) => Some(draft.seal().context(self.name.clone())?),
        };
        Ok(SealedTarget { name: self.name, file })
    }
}

/// Refuses an output that is the file `input`, under whatever names: what is read stays as it is, forced or not.
pub fn refuse_input(disk: &dyn Disk, input: &Path, output: &Path) -> anyhow::Result<()> {
    let identity = |path: &Path| disk.metadata(path).ok().filter(Metadata::is_file).map(|metadata| metadata.identity);
    let input = identity(input);
    if input.is_none() || input != identity(output) {
        return Ok(());
    }
    let message = "is the input, which is never written over: name another file, and move it when it is right";
    Err(Failure::error(Exit::Refused, message).context(Source::File(output.to_owned()).to_string()))
}

/// Whether the name is a device, a pipe or a socket, or stands where the system keeps such (`/dev/stdout` may lead to
/// a file, and is a link that must stay).
fn is_special(disk: &dyn Disk, path: &Path) -> bool {
    let is_other = |metadata: Metadata| !metadata.is_file() && !metadata.is_dir();
    disk.metadata(path).is_ok_and(is_other)
        || ["/dev/std", "/dev/fd/", "/proc/"]
            .iter()
            .any(|place| path.as_os_str().as_encoded_bytes().starts_with(place.as_bytes()))
}

/// An output that is complete and lacks only its name. Dropped without [`SealedTarget::commit`], nothing is left of it.
pub struct SealedTarget {
    name: String,
    file: Option<Sealed>,
}

impl SealedTarget {
    /// For messages; escaped for a terminal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes, where it is a file.
    pub fn len(&self) -> Option<u64> {
        self.file.as_ref().map(Sealed::len)
    }

    /// Whether it is a file without a byte.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Gives it its name.
    pub fn commit(self) -> anyhow::Result<()> {
        self.file.map_or(Ok(()), |sealed| sealed.commit().context(self.name))
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Stdout => io::stdout().write(bytes),
            Kind::File(draft) => draft.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Stdout => io::stdout().flush(),
            Kind::File(draft) => draft.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.rdb");
        let mut target = Target::create(&disk, &path, false).unwrap();
        target.write_all(b"half").unwrap();
        drop(target);
        assert!(disk.list(folder.path()).unwrap().is_empty());

        let mut target = Target::create(&disk, &path, false).unwrap();
        target.write_all(b"whole").unwrap();
        target.commit().unwrap();
        assert_eq!(disk.read_small(&path, 10).unwrap(), b"whole");

        let refused = Target::create(&disk, &path, false).err().unwrap();
        assert_eq!(Exit::of(&refused), Exit::Refused);
        assert!(refused.to_string().contains("out.rdb"));
    }

    /// `--output /dev/full --force` as root left a regular file of that name in /dev.
    #[test]
    fn a_device_is_never_replaced_by_a_file() {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        for name in ["/dev/null", "/dev/stdout", "/dev/fd/1"] {
            let refused = Target::create(&disk, Path::new(name), true).err().unwrap();
            assert_eq!(Exit::of(&refused), Exit::Usage, "{name}");
        }
    }

    #[test]
    fn the_input_is_not_an_output_under_another_name_neither() {
        let folder = tempfile::tempdir().unwrap();
        let [input, link, other] = ["in.rdb", "link.rdb", "other.rdb"].map(|name| folder.path().join(name));
        std::fs::write(&input, "data").unwrap();
        std::fs::hard_link(&input, &link).unwrap();
        for output in [&input, &link] {
            let refused = refuse_input(&RealDisk, &input, output).unwrap_err();
            assert_eq!(Exit::of(&refused), Exit::Refused);
        }
        refuse_input(&RealDisk, &input, &other).unwrap();
        refuse_input(&RealDisk, Path::new("-"), Path::new("-")).unwrap();
    }
}
