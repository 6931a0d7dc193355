//! `--ndjson`: one record per line and nothing else, so that the lines of a damaged file are still whole.

use super::record::Framing;

/// A newline behind each record.
pub struct JsonLines;

impl Framing for JsonLines {
    const OPEN: &'static [u8] = b"";
    const FIRST: &'static [u8] = b"";
    const NEXT: &'static [u8] = b"";
    const END: &'static [u8] = b"\n";
    const CLOSE: &'static [u8] = b"";
}
