//! What the directives of backups may say, and what it means.

use std::path::{Path, PathBuf};

use crate::calendar::{Retention, Schedule, zone};

use super::Config;

/// Cron patterns: each a word of its own in quotes, or all in one with `;` between them. An empty word is none.
pub fn schedule(words: &[&[u8]], _present: &[u8]) -> Result<Vec<u8>, String> {
    let texts: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let is_pattern = |text: &String| text.contains(' ') || text.starts_with('@');
    let text = texts.join(if texts.iter().all(is_pattern) { "; " } else { " " });
    let patterns: Vec<&str> = text.split(';').map(str::trim).filter(|pattern| !pattern.is_empty()).collect();
    let text = patterns.join("; ");
    Schedule::parse(&text, jiff::tz::TimeZone::UTC)?;
    Ok(text.into_bytes())
}

pub fn timezone(word: &[u8]) -> Result<(), &'static str> {
    let known = std::str::from_utf8(word).is_ok_and(|name| zone(name).is_ok());
    known.then_some(()).ok_or("argument must be a time zone: UTC, or a name such as Europe/Berlin")
}

/// Rules such as `keep-last 3 keep-daily 7`; an empty word is none, which keeps everything.
pub fn retention(words: &[&[u8]], _present: &[u8]) -> Result<Vec<u8>, String> {
    let text = String::from_utf8_lossy(&words.join(&b' ')).to_ascii_lowercase();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Retention::parse(&text)?;
    Ok(text.into_bytes())
}

/// Recipients of age, which begin with `age1`; an empty word is none, and backups are not encrypted.
pub fn recipients(words: &[&[u8]], _present: &[u8]) -> Result<Vec<u8>, String> {
    let text = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    for word in &words {
        let parsed: Result<age::x25519::Recipient, _> = word.parse();
        parsed.map_err(|error| format!("{word} is no recipient of age, which begins with age1: {error}"))?;
    }
    Ok(words.join(" ").into_bytes())
}

/// `none`, or `zstd:LEVEL`.
pub fn compression(word: &[u8]) -> Result<(), &'static str> {
    level(word).map(drop).ok_or(LEVELS)
}

/// What [`level`] takes, for who spells something else.
pub const LEVELS: &str = "argument must be none, or zstd:LEVEL with a level from 1 to 19";

/// The level that a word spells: `Some(None)` for no compression, `None` where it spells nothing.
pub fn level(word: &[u8]) -> Option<Option<i32>> {
    if word == b"none" {
        return Some(None);
    }
    let level = std::str::from_utf8(word).ok()?.strip_prefix("zstd:")?.parse().ok()?;
    (1..=19).contains(&level).then_some(Some(level))
}

/// The name of the folder of BACKUP START and SEAL.
pub fn set_folder_name(word: &[u8]) -> Result<(), &'static str> {
    match word {
        b"" | b"." | b".." => Err("backupdirname must be the name of a folder"),
        word if word.contains(&b'/') => Err("backupdirname can't be a path, just a dirname"),
        _ => Ok(()),
    }
}

/// What a start loads in place of the data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preload {
    /// A log: its folder, its manifest, or a single file.
    Log(PathBuf),
    Rdb(PathBuf),
}

impl Preload {
    fn parse(text: &str) -> Option<Self> {
        let (kind, path) = text.split_once(':').filter(|(_, path)| !path.is_empty())?;
        match kind {
            "aof" => Some(Self::Log(path.into())),
            "rdb" => Some(Self::Rdb(path.into())),
            _ => None,
        }
    }

    pub fn path(&self) -> &Path {
        let (Self::Log(path) | Self::Rdb(path)) = self;
        path
    }
}

/// `rdb:PATH`, `aof:PATH`, or nothing.
pub fn preload_file(word: &[u8]) -> Result<(), &'static str> {
    let is_one = word.is_empty() || Preload::parse(&String::from_utf8_lossy(word)).is_some();
    is_one.then_some(()).ok_or("argument must be aof:PATH or rdb:PATH")
}

impl Config {
    /// What is to be loaded in place of the data folder, if anything is.
    pub fn preload(&self) -> Option<Preload> {
        Preload::parse(&self.preload_file)
    }

    /// Whether the log goes to the archive.
    pub fn archives(&self) -> bool {
        self.aof_archive && !self.backup_repo.is_empty()
    }

    /// Whether the log tells the time of its records: a moment of the archive can't be found without.
    pub fn tells_times(&self) -> bool {
        self.aof_timestamp_enabled || self.archives()
    }

    /// When backups are due.
    pub fn backup_times(&self) -> Schedule {
        // What was accepted once can be read again; a zone that is gone meanwhile is UTC.
        let zone = self.backup_zone();
        Schedule::parse(&self.backup_schedule, zone).unwrap_or_default()
    }

    pub fn backup_zone(&self) -> jiff::tz::TimeZone {
        zone(&self.backup_timezone).unwrap_or(jiff::tz::TimeZone::UTC)
    }

    pub fn backup_rules(&self) -> Retention {
        Retention::parse(&self.backup_retention).unwrap_or_default()
    }

    /// The level of zstd; none for no compression.
    pub fn backup_level(&self) -> Option<i32> {
        level(self.backup_compression.as_bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_may_be_words_or_one_word() {
        let canonical = |words: &[&str]| {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            schedule(&words, b"").map(|text| String::from_utf8(text).unwrap())
        };
        assert_eq!(canonical(&["0 3 * * *", "@hourly"]), Ok("0 3 * * *; @hourly".to_owned()));
        assert_eq!(canonical(&["0", "3", "*", "*", "*"]), Ok("0 3 * * *".to_owned()));
        assert_eq!(canonical(&["0", "3", "*", "*", "*;", "@daily"]), Ok("0 3 * * *; @daily".to_owned()));
        assert_eq!(canonical(&[""]), Ok(String::new()));
        assert!(canonical(&["0", "3", "*", "*"]).unwrap_err().contains("is no cron pattern"));
    }

    #[test]
    fn a_preloaded_file_says_what_it_is() {
        assert_eq!(Preload::parse("rdb:a:b.rdb"), Some(Preload::Rdb("a:b.rdb".into())));
        assert_eq!(Preload::parse("aof:/x/backupdir"), Some(Preload::Log("/x/backupdir".into())));
        assert_eq!(["", "rdb:", "/dump.rdb", "zip:a"].map(Preload::parse), [const { None }; 4]);
        assert_eq!((preload_file(b""), preload_file(b"a.rdb").is_err()), (Ok(()), true));
    }

    #[test]
    fn compression_is_none_or_a_level() {
        assert_eq!((level(b"none"), level(b"zstd:3"), level(b"zstd:19")), (Some(None), Some(Some(3)), Some(Some(19))));
        assert_eq!((level(b"zstd"), level(b"zstd:0"), level(b"gzip:3"), level(b"zstd:x")), (None, None, None, None));
    }
}
