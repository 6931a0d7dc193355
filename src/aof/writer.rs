//! Bytes of a log as they are written. A record is a request, so [`append_record`] is the encoder of `resp`; SELECT
//! records and MULTI..EXEC around an effect are the engine's decision.

use crate::codec::number;

pub use crate::resp::encode_request as append_record;

/// Appends `#TS:<unix seconds>`, which stands before the first record of a second.
///
/// ```
/// let mut log = Vec::new();
/// ironkeep::aof::writer::append_timestamp(&mut log, 1_700_000_000);
/// assert_eq!(log, b"#TS:1700000000\r\n");
/// ```
pub fn append_timestamp(log: &mut Vec<u8>, unix_seconds: i64) {
    log.extend_from_slice(b"#TS:");
    number::write_i64(log, unix_seconds);
    log.extend_from_slice(b"\r\n");
}
