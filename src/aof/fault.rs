//! Why the records of a log file can't be read on, and where. All offsets are file offsets in bytes.

use std::io;

use super::seal::BrokenMark;
use crate::resp::ProtocolError;

/// The end of what can be read of a file, other than its clean end.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("can't read on at offset {offset}: {source}")]
    Io { offset: u64, source: io::Error },
    #[error("the file ends at offset {end} inside the record or annotation that begins at offset {record}")]
    Cut { record: u64, end: u64 },
    #[error("at offset {offset}: expected '*' or '#', where a record or an annotation begins, got {}", show(*.got))]
    NoRecord { offset: u64, got: u8 },
    #[error("the record at offset {offset} has no arguments")]
    NoArguments { offset: u64 },
    #[error("at offset {offset}, in the record that begins at offset {record}: {source}")]
    Malformed { record: u64, offset: u64, source: ProtocolError },
    #[error("the annotation at offset {offset} is longer than 1024 bytes, which servers do not read")]
    LongAnnotation { offset: u64 },
    #[error("a NUL byte at offset {offset}, in the annotation that begins at offset {record}")]
    NulInAnnotation { record: u64, offset: u64 },
    #[error("MULTI at offset {offset} inside the transaction that begins at offset {multi}")]
    NestedMulti { offset: u64, multi: u64 },
    #[error("EXEC at offset {offset} without a MULTI")]
    LooseExec { offset: u64 },
    #[error("the file ends at offset {end} before the EXEC of the MULTI at offset {multi}")]
    OpenMulti { multi: u64, end: u64 },
    #[error("the seal or identity at offset {offset} was changed: {reason}")]
    BrokenMark { offset: u64, reason: BrokenMark },
    #[error("what stands between offset {from} and the mark at offset {mark} is not what was written: {}",
            changed(*.len, *.found_len))]
    SpanChanged { from: u64, mark: u64, len: u64, found_len: u64 },
    #[error(
        "records are missing, doubled or out of place in front of offset {offset}: the mark there stands at \
             position {says} of the history, but {reached} is reached"
    )]
    PositionGap { offset: u64, says: u64, reached: u64 },
}

impl Fault {
    /// Where the trouble begins: the broken byte, or the start of what is cut off.
    pub fn offset(&self) -> u64 {
        match *self {
            Self::Io { offset, .. }
            | Self::NoRecord { offset, .. }
            | Self::NoArguments { offset }
            | Self::Malformed { offset, .. }
            | Self::LongAnnotation { offset }
            | Self::NulInAnnotation { offset, .. }
            | Self::NestedMulti { offset, .. }
            | Self::LooseExec { offset }
            | Self::BrokenMark { offset, .. }
            | Self::PositionGap { offset, .. } => offset,
            Self::SpanChanged { from, .. } => from,
            Self::Cut { record, .. } => record,
            Self::OpenMulti { multi, .. } => multi,
        }
    }

    /// The start of the record (or annotation) that could not be read.
    pub fn record(&self) -> u64 {
        match *self {
            Self::Malformed { record, .. } | Self::NulInAnnotation { record, .. } => record,
            _ => self.offset(),
        }
    }

    /// Whether all is readable, but not what was written.
    pub fn is_of_seals(&self) -> bool {
        matches!(self, Self::BrokenMark { .. } | Self::SpanChanged { .. } | Self::PositionGap { .. })
    }

    /// Whether the file simply stops too early: all bytes that are there may be right.
    pub fn is_early_end(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::OpenMulti { .. })
    }
}

fn show(byte: u8) -> String {
    if byte == 0 { "a NUL byte".to_owned() } else { format!("'{}'", byte.escape_ascii()) }
}

fn changed(len: u64, found_len: u64) -> String {
    if len == found_len {
        "the checksum of the seal does not fit".to_owned()
    } else {
        format!("{found_len} bytes of records, where the mark says {len}")
    }
}
