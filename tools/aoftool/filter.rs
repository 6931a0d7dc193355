//! Which records a verb is to take: the same options for all verbs that take some.
//!
//! Options of different kinds narrow each other (`--db 0 --command SET`: SETs in database 0); one given several times
//! widens (`--db 0 --db 3`: records in either). MULTI, EXEC and SELECT have no key.

use ironkeep::aof::Record;
use ironkeep::cli::utc::Utc;
use ironkeep::codec::glob;

use crate::timeline::{self, Timeline};

/// The options.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Selection of records")]
pub struct Filter {
    /// Only records that name a key that matches this pattern, as KEYS has them; may be given several times
    #[arg(long, value_name = "GLOB")]
    key: Vec<String>,
    /// Only records of this command, in any case; may be given several times
    #[arg(long, value_name = "NAME")]
    command: Vec<String>,
    /// Only records in this database; may be given several times
    #[arg(long, value_name = "NUMBER")]
    db: Vec<u64>,
    /// Only records from this time on: Unix seconds or milliseconds, or 2026-11-21T08:30:00Z. Records before the first
    /// time that the log tells are left out
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<Utc>,
    /// Only records up to this time; a whole second includes all of it. Records before the first time that the log tells
    /// are taken
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<Utc>,
    /// Only records that begin at this offset of their file or behind it
    #[arg(long, value_name = "BYTES")]
    from_offset: Option<u64>,
    /// Only records that begin in front of this offset of their file
    #[arg(long, value_name = "BYTES")]
    to_offset: Option<u64>,
    /// Only records of files whose name matches this pattern; may be given several times
    #[arg(long, value_name = "GLOB")]
    file: Vec<String>,
}

impl Filter {
    /// Records that name a key of these patterns, in these databases, between two times.
    pub fn of(key: Vec<String>, db: Vec<u64>, between: Option<[Utc; 2]>) -> Self {
        let [from, to] = between.map_or([None; 2], |times| times.map(Some));
        Self { key, db, from, to, ..Self::default() }
    }

    /// Whether every record is taken.
    pub fn is_open(&self) -> bool {
        let Self { key, command, db, from, to, from_offset, to_offset, file } = self;
        let has_words = !(key.is_empty() && command.is_empty() && db.is_empty() && file.is_empty());
        !has_words && from.or(*to).is_none() && from_offset.or(*to_offset).is_none()
    }

    /// Whether a time decides, which not every log tells.
    pub fn needs_times(&self) -> bool {
        self.from.or(self.to).is_some()
    }

    /// Whether the record is taken, of which the timeline has been told.
    pub fn takes(&self, file: &str, record: &Record<'_>, timeline: &Timeline) -> bool {
        let is_file = |pattern: &String| glob::matches(pattern.as_bytes(), file.as_bytes());
        (self.file.is_empty() || self.file.iter().any(is_file))
            && (self.db.is_empty() || self.db.contains(&timeline.db))
            && (self.command.is_empty() || self.command.iter().any(|name| record.is(name.as_bytes())))
            && self.from_offset.is_none_or(|from| record.offset >= from)
            && self.to_offset.is_none_or(|to| record.offset < to)
            && self.takes_time(timeline.time_ms)
            && self.takes_keys(record)
    }

    /// Whether what happened at this time is taken.
    pub fn takes_time(&self, time_ms: Option<i64>) -> bool {
        self.from.is_none_or(|from| time_ms.is_some_and(|time| time >= from.0))
            && self.to.is_none_or(|to| time_ms.is_none_or(|time| time <= end_of(to)))
    }

    fn takes_keys(&self, record: &Record<'_>) -> bool {
        let is_wanted = |key: &[u8]| self.key.iter().any(|pattern| glob::matches(pattern.as_bytes(), key));
        self.key.is_empty() || timeline::keys(record).into_iter().any(is_wanted)
    }
}

/// The last millisecond that a time means: a whole second is all of it, as a `#TS:` tells no more.
pub fn end_of(time: Utc) -> i64 {
    if time.0 % 1000 == 0 { time.0.saturating_add(999) } else { time.0 }
}
