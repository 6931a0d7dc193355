//! What Redis >= 8.6 remembers of producers that number their messages, so that one sent twice is added once.
//!
//! It is kept for the servers that use it; XADD here takes no such numbers.

use super::StreamId;

/// The memory of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Idempotence {
    pub retention: Retention,
    /// In the order of the file.
    pub producers: Vec<Producer>,
    pub counts: IdempotenceCounts,
}

/// How long and how much is remembered (XCFGSET).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Seconds for which an idempotent id is known.
    pub duration_seconds: u64,
    /// Most idempotent ids of one producer.
    pub max_entries: u64,
}

impl Default for Retention {
    /// What Redis sets where nobody chose: `stream-idmp-duration`, `stream-idmp-maxsize`.
    fn default() -> Self {
        Retention { duration_seconds: 100, max_entries: 100 }
    }
}

/// One producer and its messages, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producer {
    pub name: Vec<u8>,
    /// The idempotent id and the entry it became.
    pub entries: Vec<(Vec<u8>, StreamId)>,
}

/// What was ever counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IdempotenceCounts {
    /// Idempotent ids ever taken.
    pub added: u64,
    /// Messages that came twice and were not added.
    pub duplicates: u64,
}

impl Idempotence {
    /// Whether it says nothing that a server would not assume of a stream without it.
    pub fn is_default(&self) -> bool {
        *self == Idempotence::default()
    }
}
