//! Which keys a verb is to take: the same options for all verbs that take some.
//!
//! Options of different kinds narrow each other (`--db 0 --type hash`: hashes of database 0); one option given several
//! times widens (`--db 0 --db 3`: keys of either). What a key is, is in its header; its size is known only once its
//! value has been passed, so there are two questions: [`Selection::wants`] before and [`Selection::wants_size`] behind.

use crate::slots::Slots;
use clap::builder::PossibleValuesParser;
use ironkeep::cli::utc::Utc;
use ironkeep::codec::glob;
use ironkeep::engine::params::kind::parse_memory;
use ironkeep::rdb::KeyHeader;
use ironkeep::value::slot::slot_of;
use regex::bytes::Regex;

const TYPES: [&str; 8] = ["string", "list", "set", "zset", "hash", "stream", "module", "array"];

/// The options.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Selection of keys")]
pub struct Selection {
    /// Only keys of this database; may be given several times
    #[arg(long, value_name = "NUMBER")]
    pub db: Vec<u64>,
    /// No keys of this database; may be given several times
    #[arg(long, value_name = "NUMBER")]
    pub not_db: Vec<u64>,
    /// Only keys that match this pattern, as KEYS has them; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub key: Vec<String>,
    /// No keys that match this pattern; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub not_key: Vec<String>,
    /// Only keys in which this regular expression finds something; `(?-u)` makes it match bytes that are no UTF-8
    #[arg(long, value_name = "RE")]
    pub key_regex: Vec<Regex>,
    /// No keys in which this regular expression finds something
    #[arg(long, value_name = "RE")]
    pub not_key_regex: Vec<Regex>,
    /// Only keys of this type; may be given several times
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(TYPES))]
    pub types: Vec<String>,
    /// No keys of this type; may be given several times
    #[arg(long, value_name = "TYPE", value_parser = PossibleValuesParser::new(TYPES))]
    pub not_type: Vec<String>,
    /// Only keys that take at least so many bytes in the file, name, expiry and value together. 1k is 1000, 1kb 1024
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub min_size: Option<u64>,
    /// Only keys that take at most so many bytes in the file
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub max_size: Option<u64>,
    /// Only keys that expire, at whatever time
    #[arg(long)]
    pub expires: bool,
    /// Only keys that never expire
    #[arg(long, conflicts_with_all = ["expires", "expired", "expires_before", "expires_after"])]
    pub no_expiry: bool,
    /// Only keys whose time has come by now: a server drops them at load
    #[arg(long)]
    pub expired: bool,
    /// Only keys whose time has not come, or that never expire
    #[arg(long, conflicts_with = "expired")]
    pub not_expired: bool,
    /// Only keys that expire before this time: Unix seconds or milliseconds, or 2026-11-21T08:30:00Z
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub expires_before: Option<Utc>,
    /// Only keys that expire at this time or later
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub expires_after: Option<Utc>,
    /// Only keys of these cluster slots, such as 0-5460,7000
    #[arg(long, value_name = "RANGES")]
    pub slot: Vec<Slots>,
    /// No more than the first so many of the keys that are selected
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
}

fn bytes(text: &str) -> Result<u64, String> {
    parse_memory(text.as_bytes()).ok_or_else(|| "a size is a number and a unit: b, k, kb, m, mb, g, gb".to_owned())
}

/// Whether something is among what was asked for, where anything was, and not among what was excluded.
fn admits<T>(only: &[T], not: &[T], is_it: impl Fn(&T) -> bool) -> bool {
    (only.is_empty() || only.iter().any(&is_it)) && !not.iter().any(&is_it)
}

impl Selection {
    /// Whether [`Selection::wants_size`] has a say.
    pub fn needs_size(&self) -> bool {
        self.min_size.is_some() || self.max_size.is_some()
    }

    /// Whether a key is selected by all that its header says; `now` decides which keys have expired.
    pub fn wants(&self, header: &KeyHeader, now: Utc) -> bool {
        let (key, type_name) = (header.key.as_slice(), header.kind.type_name());
        admits(&self.db, &self.not_db, |db| *db == header.db)
            && admits(&self.types, &self.not_type, |name| name == type_name)
            && self.wants_expiry(header.expire_at_ms, now.0)
            && admits(&self.key, &self.not_key, |pattern| glob::matches(pattern.as_bytes(), key))
            && admits(&self.key_regex, &self.not_key_regex, |regex| regex.is_match(key))
            && admits(&self.slot, &[], |slots| slots.contains(slot_of(key)))
    }

    fn wants_expiry(&self, at_ms: Option<i64>, now_ms: i64) -> bool {
        let Some(at_ms) = at_ms else {
            return !(self.expires || self.expired || self.expires_before.is_some() || self.expires_after.is_some());
        };
        let excluded = if at_ms <= now_ms { self.not_expired } else { self.expired };
        !(self.no_expiry || excluded)
            && self.expires_before.is_none_or(|time| at_ms < time.0)
            && self.expires_after.is_none_or(|time| at_ms >= time.0)
    }

    /// Whether a key that takes this many bytes, from [`KeyHeader::offset`] to the end of its value, is selected by
    /// its size.
    pub fn wants_size(&self, bytes: u64) -> bool {
        self.min_size.is_none_or(|least| bytes >= least) && self.max_size.is_none_or(|most| bytes <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use ironkeep::rdb::Kind;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        selection: Selection,
    }

    fn selection(words: &str) -> Selection {
        Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace())).unwrap().selection
    }

    fn header(db: u64, key: &[u8], kind: Kind, expire_at_ms: Option<i64>) -> KeyHeader {
        let mut bytes = b"REDIS0006\xfe\x00\x00".to_vec();
        bytes.push(u8::try_from(key.len()).unwrap());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(b"\x00\xff\0\0\0\0\0\0\0\0");
        let mut reader = ironkeep::rdb::Reader::new(&bytes[..], Default::default()).unwrap();
        reader.next().unwrap();
        let ironkeep::rdb::Event::Key(header) = reader.next().unwrap() else { panic!() };
        KeyHeader { db, kind, expire_at_ms, ..header }
    }

    /// Which of five keys are taken at the time 5000.
    fn taken(words: &str) -> String {
        let keys = [
            ("a", header(0, b"user:1", Kind::String, None)),
            ("b", header(0, b"user:2", Kind::Hash, Some(4_000))),
            ("c", header(1, b"\xff\xfe", Kind::SetIntset, Some(5_000))),
            ("d", header(2, b"{user:1}:x", Kind::ZsetZiplist, Some(6_000))),
            ("e", header(2, b"", Kind::ListQuicklist2, None)),
        ];
        let selection = selection(words);
        keys.iter().filter(|(_, key)| selection.wants(key, Utc(5_000))).map(|(name, _)| *name).collect()
    }

    #[test]
    fn options_narrow_each_other_and_their_repetitions_widen() {
        for (words, want) in [
            ("", "abcde"),
            ("--db 0", "ab"),
            ("--db 0 --db 1", "abc"),
            ("--not-db 2 --not-db 1", "ab"),
            ("--db 0 --type hash", "b"),
            ("--type set --type list", "ce"),
            ("--not-type string", "bcde"),
            ("--key user:* --key {*", "abd"),
            ("--key user:* --not-key *2", "a"),
            ("--key-regex ^user:[0-9]$", "ab"),
            ("--key-regex (?-u:\\xff)", "c"),
            ("--not-key-regex user", "ce"),
            ("--expires", "bcd"),
            ("--no-expiry", "ae"),
            ("--expired", "bc"),
            ("--not-expired", "ade"),
            ("--expires-before 5", "b"),
            ("--expires-after 1970-01-01T00:00:05Z", "cd"),
            ("--slot 0", "e"),
            ("--slot 10000-16383 --slot 0-9999", "abcde"),
        ] {
            assert_eq!(taken(words), want, "{words}");
        }
        assert_eq!(taken(&format!("--slot {}", slot_of(b"user:1"))), "ad", "the tag decides");
    }

    #[test]
    fn sizes_have_the_units_of_redis_conf() {
        let selection = selection("--min-size 1kb --max-size 2k");
        assert!(selection.needs_size());
        let sizes = [1_023, 1_024, 2_000, 2_001];
        assert_eq!(sizes.map(|bytes| selection.wants_size(bytes)), [false, true, true, false]);
        for words in ["--min-size 1x", "--slot 16384", "--type blob", "--key-regex (", "--expires-after soon"] {
            assert!(Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace())).is_err(), "{words}");
        }
    }
}
