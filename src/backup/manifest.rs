//! `manifest.json`: what a backup says of itself. It is written last, so a folder without one is no backup.
//!
//! ```json
//! {"schema": "ironkeep.backup/1", "id": "20261122T030000Z-5e8a31", "label": null, "cause": "schedule",
//!  "started_ms": 1795316400000, "ended_ms": 1795316400042,
//!  "timeline": "5d1c...", "position": 8192,
//!  "file": {"name": "dump.rdb.zst", "bytes": 1024, "sha256": "...", "compression": "zstd", "rdb_bytes": 4096},
//!  "databases": {"0": {"keys": 2, "expires": 0, "types": {"string": 2}}}, "functions": 0, "digest": "...",
//!  "server": "0.1.0", "rdb_version": 11,
//!  "verification": {"level": "restore", "at_ms": 1795316400042, "fault": null}}
//! ```
//!
//! An encrypted file has `"encryption": "age"` beside its compression; its manifest is not encrypted, and tells counts, sizes
//! and times. Timeline and position are the log's identity and the position in it up to which the backup holds all writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::summary::{Counts, Summary};
use super::verify::Level;

/// The name of the file.
pub const NAME: &str = "manifest.json";
/// What this code writes and reads.
pub const SCHEMA: &str = "ironkeep.backup/1";
/// More than this is no manifest, in bytes.
pub const MAX_LEN: u64 = 16 << 20;

/// A backup's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: String,
    pub id: String,
    pub label: Option<String>,
    /// Why it was made: `schedule`, `command`.
    pub cause: String,
    /// Unix ms; the data is that of the start.
    pub started_ms: i64,
    pub ended_ms: i64,
    pub timeline: Option<String>,
    pub position: Option<u64>,
    pub file: Stored,
    pub databases: BTreeMap<u64, Counts>,
    pub functions: u64,
    /// [`Summary::digest`].
    pub digest: String,
    /// The version of ironkeep.
    pub server: String,
    pub rdb_version: u32,
    pub verification: Option<Verification>,
}

/// The file with the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub name: String,
    pub bytes: u64,
    /// Of the file as it is kept, in hexadecimal.
    pub sha256: String,
    pub compression: Compression,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Bytes of the RDB in it.
    pub rdb_bytes: u64,
}

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Zstd,
}

/// How a file is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    Age,
}

/// What came of reading it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    pub level: Level,
    /// Unix ms.
    pub at_ms: i64,
    /// What is wrong with it, if anything is.
    pub fault: Option<String>,
}

impl Manifest {
    /// The content of the file.
    pub fn render(&self) -> Vec<u8> {
        let mut content = serde_json::to_vec_pretty(self).expect("text and numbers are JSON");
        content.push(b'\n');
        content
    }

    /// Reads the content of the file of the backup `id`.
    pub fn parse(content: &[u8], id: &str) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        if manifest.schema != SCHEMA {
            return Err(format!("its schema is '{}', which this version does not read", manifest.schema));
        }
        if manifest.id != id {
            return Err(format!("it is that of the backup '{}'", manifest.id));
        }
        if manifest.file.name.contains('/') || manifest.file.name.is_empty() {
            return Err("it names a file outside of its folder".to_owned());
        }
        Ok(manifest)
    }

    pub fn keys(&self) -> u64 {
        self.databases.values().map(|counts| counts.keys).sum()
    }

    /// Whether it has been read back and found as it was written.
    pub fn is_verified(&self) -> bool {
        self.verification.as_ref().is_some_and(|verification| verification.fault.is_none())
    }

    /// Why it can't be counted on, if reading it back has shown that.
    pub fn fault(&self) -> Option<&str> {
        self.verification.as_ref()?.fault.as_deref()
    }

    /// One word: `unverified`, the level at which it was verified, or `damaged`.
    pub fn status(&self) -> &'static str {
        match &self.verification {
            None => "unverified",
            Some(Verification { fault: Some(_), .. }) => "damaged",
            Some(verification) => verification.level.word(),
        }
    }

    /// Where the data differs from what was written, in words.
    pub fn difference(&self, found: &Summary) -> Option<String> {
        if self.databases != found.databases {
            return Some(format!("{} keys were written and {} came back", self.keys(), found.keys()));
        }
        if self.functions != found.functions {
            return Some(format!("{} functions were written and {} came back", self.functions, found.functions));
        }
        (self.digest != found.digest()).then(|| "what came back is not what was written: the digests differ".to_owned())
    }
}
