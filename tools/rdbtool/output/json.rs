//! `--json`: one array, one record per line.

use super::record::Framing;

/// Brackets around everything, commas between.
pub struct JsonArray;

impl Framing for JsonArray {
    const OPEN: &'static [u8] = b"[";
    const FIRST: &'static [u8] = b"\n";
    const NEXT: &'static [u8] = b",\n";
    const END: &'static [u8] = b"";
    const CLOSE: &'static [u8] = b"\n]\n";
}
