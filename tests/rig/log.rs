//! Logs made by hand.

use std::path::PathBuf;
use tempfile::TempDir;

/// Records, one for each line, whose words have spaces between them; a line that begins with `#` is an annotation.
pub fn records(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        match line.starts_with('#') {
            true => bytes.extend_from_slice(format!("{line}\r\n").as_bytes()),
            false => ironkeep::resp::encode_request(&mut bytes, &line.split(' ').collect::<Vec<_>>()),
        }
    }
    bytes
}

/// A log of one file with these [`records`].
pub fn log_file(lines: &[&str]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.aof");
    std::fs::write(&path, records(lines)).unwrap();
    (folder, path)
}
