//! The manifest of a multi-part log: which files it has, in which order. Read and written as Redis 7.0 to 8 do.
//!
//! ```text
//! manifest = 1*( comment / entry )
//! comment  = "#" anything LF                      '#' must be the first byte
//! entry    = key SP value *( SP key SP value ) LF at least three pairs; words may be quoted as in redis.conf
//! keys     = "file" name / "seq" int / "type" ("b" base, "i" increment, "h" history)
//!            "startoffset" int / "endoffset" int  replication offsets, Redis >= 8
//!            "was" ("b" / "i") "replacedat" int ["flushedat" int] ["ends" "yes"]   ours, for history: below
//!            any other key                        skipped; keys in any case, in any order
//! ```
//!
//! **History.** A rewrite turns the base and the increments before it into files of type `h`. Real servers load none of
//! them, and delete them at their start; Ironkeep may keep them for a while ([`Past`]), and what stands there is still a
//! log, since the increments that follow go on behind: [`Manifest::with_history`]. Newest first, as Redis lists them:
//!
//! ```text
//! file a.2.base.rdb seq 2 type b
//! file a.1.incr.aof seq 1 type h was i replacedat 1763700000000 flushedat 1763699990000
//! file a.1.base.rdb seq 1 type h was b replacedat 1763700000000 flushedat 1763699990000
//! file a.2.incr.aof seq 2 type i
//! ```
//!
//! **Sum.** The first line of a manifest of ours is a comment that covers all bytes behind it, so that a line that is
//! gone or has become another one is noticed. Real servers drop it when they write the manifest anew; without it there
//! is nothing to verify.
//!
//! ```text
//! sum = "#MANIFEST crc=" 16 hexadecimal digits LF      CRC-64/XZ of what follows
//! ```
//!
//! A line has at most 1024 bytes with its LF, which the last one needs too. The error texts are those of Redis, but for
//! the sum's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nom::IResult;
use nom::Parser;
use nom::bytes::complete::{tag, take_till};
use nom::sequence::terminated;

use super::naming::{self, BaseFormat};
use super::seal;
use crate::codec::{number, quoted};
use crate::resp::request::split_words;

/// Bytes of the longest line that a reader takes, with its LF.
pub const MAX_LINE: usize = 1024;
/// How a manifest of ours begins.
pub const SUM: &[u8] = b"#MANIFEST crc=";
/// No manifest that a server wrote comes near; a file beyond is not read into memory.
pub const MAX_MANIFEST: u64 = 16 << 20;

/// What part a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// The data set as of one moment.
    Base,
    /// What happened since.
    Increment,
    /// Replaced by a rewrite; servers delete it, nobody loads it.
    History,
}

impl FileType {
    fn letter(self) -> u8 {
        match self {
            Self::Base => b'b',
            Self::Increment => b'i',
            Self::History => b'h',
        }
    }

    fn of_letter(word: &[u8]) -> Option<Self> {
        match word.first() {
            Some(b'b') => Some(Self::Base),
            Some(b'i') => Some(Self::Increment),
            Some(b'h') => Some(Self::History),
            _ => None,
        }
    }
}

/// A file that the manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: OsString,
    pub seq: i64,
    pub file_type: FileType,
    /// The replication offset at its first byte and behind its last one (Redis >= 8).
    pub start_offset: Option<i64>,
    pub end_offset: Option<i64>,
    /// Of a file in history that Ironkeep has put there.
    pub past: Option<Past>,
}

impl Entry {
    pub fn new(name: OsString, seq: i64, file_type: FileType) -> Self {
        Self { name, seq, file_type, start_offset: None, end_offset: None, past: None }
    }
}

/// What a file in history was, and how it came there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// A base or an increment.
    pub was: FileType,
    pub replaced: Replaced,
}

/// How files become history: what was written to them until a new base took their place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Unix ms.
    pub at_ms: i64,
    /// Unix ms of the last FLUSHALL or FLUSHDB among what was written, if there was one.
    pub flushed_ms: Option<i64>,
    /// Nothing goes on behind these files: the log was off for a while, or an increment may have a hole.
    pub is_end: bool,
}

/// The files of a log. Loaded are the base and then the increments, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    pub base: Option<Entry>,
    /// Newest first.
    pub history: Vec<Entry>,
    /// Oldest first; `seq` grows.
    pub increments: Vec<Entry>,
}

/// A line that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the manifest: {reason}: '{}'", .text.escape_ascii())]
pub struct ManifestError {
    /// Counted from 1; 0 for an empty file.
    pub line: usize,
    pub text: Vec<u8>,
    pub reason: ManifestFault,
}

/// What is wrong with the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    #[error("Found an empty AOF manifest")]
    Empty,
    #[error("The AOF manifest file contains too long line")]
    LongLine,
    #[error("Invalid AOF manifest file format")]
    Format,
    #[error("File can't be a path, just a filename")]
    Path,
    #[error("Unknown AOF file type")]
    UnknownType,
    #[error("Found duplicate base file information")]
    DuplicateBase,
    #[error("Found a non-monotonic sequence number")]
    NonMonotonic,
    #[error("What follows is not what this sum was written for; if it was changed by hand, remove the line of the sum")]
    Sum,
}

impl Manifest {
    /// Reads the content of a manifest.
    pub fn parse(content: &[u8]) -> Result<Self, ManifestError> {
        verify(content)?;
        let mut manifest = Self::default();
        let mut rest = content;
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let parsed = line(rest).map_err(|_| rest);
            let text = parsed.map_or_else(|text| text, |(_, text)| text);
            let refuse =
                |reason| ManifestError { line: number, text: text[..text.len().min(MAX_LINE)].to_vec(), reason };
            match parsed {
                // Redis reads a comment up to the limit and takes what follows for a line of its own.
                Ok((_, text)) if text.len() >= MAX_LINE => return Err(refuse(ManifestFault::LongLine)),
                Err([b'#', ..]) => return Ok(manifest),
                Err(_) => return Err(refuse(ManifestFault::LongLine)),
                Ok((after, [b'#', ..])) => rest = after,
                Ok((after, text)) => {
                    entry(text).and_then(|entry| manifest.add(entry)).map_err(refuse)?;
                    rest = after;
                }
            }
        }
        if number == 0 {
            return Err(ManifestError { line: 0, text: Vec::new(), reason: ManifestFault::Empty });
        }
        Ok(manifest)
    }

    /// The content of the manifest: sum, base, history, increments.
    pub fn render(&self) -> Vec<u8> {
        let entries = self.render_entries();
        let mut content = SUM.to_vec();
        content.extend_from_slice(format!("{:016x}\n", seal::checksum(&entries)).as_bytes());
        content.extend_from_slice(&entries);
        content
    }

    fn render_entries(&self) -> Vec<u8> {
        let mut content = Vec::new();
        for entry in self.base.iter().chain(&self.history).chain(&self.increments) {
            content.extend_from_slice(b"file ");
            push_word(&mut content, entry.name.as_bytes());
            content.extend_from_slice(b" seq ");
            number::write_i64(&mut content, entry.seq);
            content.extend_from_slice(b" type ");
            content.push(entry.file_type.letter());
            for (key, offset) in [(&b" startoffset "[..], entry.start_offset), (b" endoffset ", entry.end_offset)] {
                if let Some(offset) = offset {
                    content.extend_from_slice(key);
                    number::write_i64(&mut content, offset);
                }
            }
            if let Some(past) = entry.past {
                past.render(&mut content);
            }
            content.push(b'\n');
        }
        content
    }

    /// Adds a file, at the end of those of its type.
    pub fn add(&mut self, entry: Entry) -> Result<(), ManifestFault> {
        match entry.file_type {
            FileType::Base if self.base.is_some() => return Err(ManifestFault::DuplicateBase),
            FileType::Base => self.base = Some(entry),
            FileType::History => self.history.push(entry),
            FileType::Increment => {
                if self.increments.last().is_some_and(|last| last.seq >= entry.seq) {
                    return Err(ManifestFault::NonMonotonic);
                }
                self.increments.push(entry);
            }
        }
        Ok(())
    }

    /// The base and the increments, in the order in which they are loaded.
    pub fn loaded(&self) -> impl Iterator<Item = &Entry> {
        self.base.iter().chain(&self.increments)
    }

    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.increments.is_empty()
    }

    /// The increment that is written to.
    pub fn last_increment(&self) -> Option<&Entry> {
        self.increments.last()
    }

    /// The entry that a new base gets; not added.
    pub fn next_base(&self, append_file_name: &OsStr, format: BaseFormat) -> Entry {
        let mut seq = self.base.as_ref().map_or(0, |base| base.seq).saturating_add(1);
        // A base of that name may stand in history, where an older one has been taken back into service.
        while self.history.iter().any(|entry| entry.name == naming::base(append_file_name, seq, format)) {
            seq += 1;
        }
        Entry::new(naming::base(append_file_name, seq, format), seq, FileType::Base)
    }

    /// The entry that a new increment gets; not added.
    pub fn next_increment(&self, append_file_name: &OsStr) -> Entry {
        // Names in history count too: their files may still wait to be removed.
        let used = self.increments.iter().chain(&self.history).map(|entry| entry.seq).max();
        let seq = used.unwrap_or(0).saturating_add(1);
        Entry::new(naming::increment(append_file_name, seq), seq, FileType::Increment)
    }

    /// Makes `base` the base and everything that it replaces history, newest first; the last `keep_increments`
    /// increments, which began after the base, stay.
    pub fn replace_base(&mut self, base: Entry, keep_increments: usize, replaced: Replaced) {
        let drained = self.increments.len().saturating_sub(keep_increments);
        let before = self.base.replace(base).into_iter().chain(self.increments.drain(..drained));
        for mut entry in before {
            entry.past = Some(Past { was: entry.file_type, replaced });
            entry.file_type = FileType::History;
            self.history.insert(0, entry);
        }
    }

    /// The log as it would be if the rewrites had not taken place whose files are still in history: the oldest base
    /// behind which every increment is there, and those. What it does not need is history that nobody wants. `None`
    /// where history has no such base.
    pub fn with_history(&self) -> Option<Self> {
        let goes_on = |entry: &&Entry| entry.past.is_some_and(|past| !past.replaced.is_end);
        let joined: Vec<&Entry> = self.history.iter().take_while(goes_on).collect();
        let was = |entry: &Entry, part| entry.past.is_some_and(|past| past.was == part);
        let first = joined.iter().rposition(|entry| was(entry, FileType::Base))?;
        let mut whole = Self { increments: self.increments.clone(), ..Self::default() };
        let restored = |entry: &Entry, file_type| Entry { file_type, past: None, ..entry.clone() };
        whole.base = Some(restored(joined[first], FileType::Base));
        for (index, entry) in self.history.iter().enumerate() {
            if index < first && was(entry, FileType::Increment) {
                whole.increments.insert(0, restored(entry, FileType::Increment));
            } else if index != first {
                whole.history.push(restored(entry, FileType::History));
            }
        }
        whole.history.splice(..0, self.base.as_ref().map(|base| restored(base, FileType::History)));
        whole.increments.is_sorted_by(|before, after| before.seq < after.seq).then_some(whole)
    }
}

impl Past {
    fn render(&self, content: &mut Vec<u8>) {
        content.extend_from_slice(b" was ");
        content.push(self.was.letter());
        content.extend_from_slice(b" replacedat ");
        number::write_i64(content, self.replaced.at_ms);
        if let Some(flushed_ms) = self.replaced.flushed_ms {
            content.extend_from_slice(b" flushedat ");
            number::write_i64(content, flushed_ms);
        }
        if self.replaced.is_end {
            content.extend_from_slice(b" ends yes");
        }
    }
}

/// Holds the content against the sum in its first line, if there is one.
fn verify(content: &[u8]) -> Result<(), ManifestError> {
    // What is left of a sum that was cut is a comment, and no manifest.
    let is_cut = !content.is_empty() && SUM.starts_with(content);
    if !is_cut && !content.starts_with(SUM) {
        return Ok(());
    }
    let (entries, text) = line(content).unwrap_or((&[], content));
    let expected = format!("{:016x}", seal::checksum(entries));
    if text.strip_prefix(SUM) == Some(expected.as_bytes()) {
        return Ok(());
    }
    Err(ManifestError { line: 1, text: text[..text.len().min(MAX_LINE)].to_vec(), reason: ManifestFault::Sum })
}

fn line(input: &[u8]) -> IResult<&[u8], &[u8]> {
    terminated(take_till(|byte| byte == b'\n'), tag(&b"\n"[..])).parse(input)
}

fn entry(text: &[u8]) -> Result<Entry, ManifestFault> {
    let words = split_words(text).ok_or(ManifestFault::Format)?;
    if words.len() < 6 || words.len() % 2 == 1 {
        return Err(ManifestFault::Format);
    }
    let (mut name, mut seq, mut file_type) = (None, None, None);
    let (mut start_offset, mut end_offset) = (None, None);
    let (mut was, mut replaced_ms, mut flushed_ms, mut is_end) = (None, None, None, false);
    for pair in words.chunks_exact(2) {
        let (key, value) = (pair[0].to_ascii_lowercase(), &pair[1]);
        match &key[..] {
            // Two lines that have become one would hide the first one's file.
            b"file" if name.is_some() => return Err(ManifestFault::Format),
            b"file" if value.contains(&b'/') => return Err(ManifestFault::Path),
            b"file" => name = Some(OsString::from_vec(value.clone())),
            b"seq" => seq = number::parse_i64(value).filter(|seq| *seq > 0),
            b"type" => file_type = Some(FileType::of_letter(value).ok_or(ManifestFault::UnknownType)?),
            b"was" => was = FileType::of_letter(value).filter(|was| *was != FileType::History),
            b"replacedat" => replaced_ms = number::parse_i64(value),
            b"flushedat" => flushed_ms = number::parse_i64(value),
            b"ends" => is_end = value == b"yes",
            b"startoffset" => start_offset = number::parse_i64(value),
            b"endoffset" => end_offset = number::parse_i64(value),
            _ => {}
        }
    }
    let name = name.filter(|name| !name.is_empty() && name != "." && name != "..").ok_or(ManifestFault::Format)?;
    let seq = seq.ok_or(ManifestFault::Format)?;
    let file_type = file_type.ok_or(ManifestFault::Format)?;
    let past = (was.zip(replaced_ms).filter(|_| file_type == FileType::History))
        .map(|(was, at_ms)| Past { was, replaced: Replaced { at_ms, flushed_ms, is_end } });
    Ok(Entry { name, seq, file_type, start_offset, end_offset, past })
}

/// Appends a word so that it is read back as one: quoted where it has spaces, quotes or bytes beyond ASCII.
fn push_word(out: &mut Vec<u8>, word: &[u8]) {
    if !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\')) {
        return out.extend_from_slice(word);
    }
    quoted::push(out, word);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(content: &[u8]) -> (usize, ManifestFault) {
        let error = Manifest::parse(content).unwrap_err();
        (error.line, error.reason)
    }

    #[test]
    fn a_manifest_of_redis_8_survives_a_round_trip() {
        let content = b"file a.2.base.rdb seq 2 type b\nfile a.1.base.rdb seq 1 type h\n\
            file a.4.incr.aof seq 4 type i startoffset 304 endoffset 400\nfile a.7.incr.aof seq 7 type i startoffset 400\n";
        let manifest = Manifest::parse(content).unwrap();
        assert_eq!(manifest.render_entries(), content);
        assert_eq!(manifest.increments[0].end_offset, Some(400));
        assert_eq!(manifest.next_base(OsStr::new("a"), BaseFormat::Resp).name, "a.3.base.aof");
        assert_eq!(manifest.next_increment(OsStr::new("a")).name, "a.8.incr.aof");
        assert_eq!(manifest.loaded().count(), 3);
    }

    #[test]
    fn comments_cases_unknown_keys_and_quotes_are_understood() {
        let content = b"# by hand\nTYPE i Mood fine SEQ 3 File \"a b\\x22\\n\"\nfile 'x' seq 1 type base\r\n";
        let manifest = Manifest::parse(content).unwrap();
        assert_eq!(manifest.increments[0].name, "a b\"\n");
        assert_eq!(manifest.base.as_ref().unwrap().name, "x");
        assert_eq!(Manifest::parse(&manifest.render()).unwrap(), manifest);
        assert!(Manifest::parse(b"#\n# no entries").unwrap().is_empty());
    }

    #[test]
    fn every_error_has_its_line_and_its_words() {
        use ManifestFault::*;
        let good = "file a seq 1 type i\n";
        for (content, expected) in [
            ("".to_owned(), (0, Empty)),
            (format!("{good}file b seq 2 type i"), (2, LongLine)),
            (format!("file {} seq 2 type i\n", "x".repeat(1024)), (1, LongLine)),
            (format!("{good}\n"), (2, Format)),
            ("file a seq 1 type\n".to_owned(), (1, Format)),
            ("file a seq 1\n".to_owned(), (1, Format)),
            ("file a seq 1 kind i\n".to_owned(), (1, Format)),
            ("file a seq 0 type i\n".to_owned(), (1, Format)),
            ("file a seq one type i\n".to_owned(), (1, Format)),
            ("file \"a seq 1 type i\n".to_owned(), (1, Format)),
            ("file ../a seq 1 type i\n".to_owned(), (1, Path)),
            ("file a seq 1 type x\n".to_owned(), (1, UnknownType)),
            ("file a seq 1 type b\nfile b seq 2 type b\n".to_owned(), (2, DuplicateBase)),
            (format!("{good}{good}"), (2, NonMonotonic)),
        ] {
            assert_eq!(fault(content.as_bytes()), expected, "{content:?}");
        }
        let error = Manifest::parse(b"file a seq 1 type x\n").unwrap_err();
        assert_eq!(error.to_string(), "line 1 of the manifest: Unknown AOF file type: 'file a seq 1 type x'");
    }

    #[test]
    fn a_new_base_turns_what_it_replaces_into_history() {
        let mut manifest =
            Manifest::parse(b"file b1 seq 1 type b\nfile i1 seq 1 type i\nfile i2 seq 2 type i\n").unwrap();
        let base = manifest.next_base(OsStr::new("a"), BaseFormat::Rdb);
        manifest.replace_base(base, 1, Replaced { at_ms: 70, flushed_ms: Some(60), is_end: false });
        let rendered = "file a.2.base.rdb seq 2 type b\n\
            file i1 seq 1 type h was i replacedat 70 flushedat 60\n\
            file b1 seq 1 type h was b replacedat 70 flushedat 60\nfile i2 seq 2 type i\n";
        assert_eq!(String::from_utf8(manifest.render_entries()).unwrap(), rendered);
        assert_eq!(Manifest::parse(rendered.as_bytes()).unwrap(), manifest);
    }

    /// Rewrites of a log of one base and one increment, each of which begins the next increment.
    fn rewritten(replaced: &[Replaced]) -> Manifest {
        let mut manifest = Manifest::default();
        manifest.base = Some(manifest.next_base(OsStr::new("a"), BaseFormat::Rdb));
        manifest.increments.push(manifest.next_increment(OsStr::new("a")));
        for replaced in replaced {
            manifest.increments.push(manifest.next_increment(OsStr::new("a")));
            let base = manifest.next_base(OsStr::new("a"), BaseFormat::Rdb);
            manifest.replace_base(base, 1, *replaced);
        }
        manifest
    }

    fn names<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<&'a str> {
        entries.into_iter().map(|entry| entry.name.to_str().unwrap()).collect()
    }

    /// Symptom: with the line feed between them changed, the increment's line hid the base's, and the log began empty.
    #[test]
    fn two_lines_that_became_one_are_refused() {
        let joined = b"file a.1.base.rdb seq 1 type b\x0bfile a.1.incr.aof seq 1 type i\n";
        assert_eq!(Manifest::parse(joined).unwrap_err().reason, ManifestFault::Format);
    }

    #[test]
    fn history_is_a_log_that_goes_on_in_the_present_increments() {
        let goes_on = Replaced::default();
        let mut manifest = rewritten(&[goes_on, goes_on]);
        let whole = manifest.with_history().unwrap();
        assert_eq!(names(whole.loaded()), ["a.1.base.rdb", "a.1.incr.aof", "a.2.incr.aof", "a.3.incr.aof"]);
        assert_eq!(names(&whole.history), ["a.3.base.rdb", "a.2.base.rdb"]);
        assert_eq!(whole.next_base(OsStr::new("a"), BaseFormat::Rdb).name, "a.4.base.rdb");
        manifest.history.retain(|entry| entry.name != "a.1.base.rdb");
        assert_eq!(names(manifest.with_history().unwrap().loaded()), ["a.2.base.rdb", "a.2.incr.aof", "a.3.incr.aof"]);
        assert!(rewritten(&[]).with_history().is_none());
    }

    #[test]
    fn history_behind_which_the_log_was_off_is_no_part_of_it() {
        let (goes_on, ends) = (Replaced::default(), Replaced { is_end: true, ..Replaced::default() });
        assert!(rewritten(&[goes_on, ends]).with_history().is_none());
        let whole = rewritten(&[ends, goes_on]).with_history().unwrap();
        assert_eq!(names(whole.loaded()), ["a.2.base.rdb", "a.2.incr.aof", "a.3.incr.aof"]);
    }

    #[test]
    fn a_manifest_with_a_sum_is_what_was_written_or_refused() {
        let whole = rewritten(&[Replaced::default()]);
        let content = whole.render();
        assert!(content.starts_with(b"#MANIFEST crc="));
        for at in 0..content.len() {
            for mask in (0..8).map(|bit| 1 << bit).chain([0xff]) {
                let mut changed = content.clone();
                changed[at] ^= mask;
                // What changed in the word of the sum makes a plain comment of it.
                assert!(
                    Manifest::parse(&changed).is_ok_and(|read| read == whole) || Manifest::parse(&changed).is_err()
                );
            }
        }
        for len in 1..content.len() {
            assert_eq!(fault(&content[..len]), (1, ManifestFault::Sum), "cut at {len}");
        }
    }

    #[test]
    fn a_broken_manifest_is_never_a_panic() {
        let content = b"file \"a\\x41\" seq 2 type b\nfile c seq 7 type i startoffset 12\n";
        for at in 0..content.len() {
            for value in 0..=255 {
                let mut broken = content.to_vec();
                broken[at] = value;
                if let Ok(manifest) = Manifest::parse(&broken) {
                    assert_eq!(Manifest::parse(&manifest.render()).map_err(|_| ()), Ok(manifest));
                }
            }
            let _ = Manifest::parse(&content[..at]);
        }
    }
}
