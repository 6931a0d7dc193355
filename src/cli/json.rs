//! JSON out of bytes, losslessly and fast.
//!
//! Keys and values are byte strings, JSON strings are Unicode. The rule of both tools, for keys, fields, members and
//! values alike:
//!
//! * a byte string that is valid UTF-8 is itself, with JSON's escapes;
//! * any other, and any that begins with `base64:`, is `base64:` and its standard base64 (RFC 4648, padded).
//!
//! So different byte strings give different JSON strings, and each can be read back. Numbers are the shortest JSON
//! numbers that read back as the same double; those JSON cannot hold are the strings `"inf"`, `"-inf"` and `"nan"`.
//!
//! ```
//! use ironkeep::cli::json::{write_bytes, write_f64};
//! let mut out = Vec::new();
//! for bytes in [&b"say \"hi\"\n"[..], b"M\xc3\xbcller", b"\xff", b"base64:"] {
//!     write_bytes(&mut out, bytes);
//! }
//! write_f64(&mut out, 1.5);
//! assert_eq!(String::from_utf8_lossy(&out), r#""say \"hi\"\n""Müller""base64:/w==""base64:YmFzZTY0Og=="1.5"#);
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::codec::number;

/// What marks a byte string that is given as base64.
pub const BASE64_PREFIX: &[u8] = b"base64:";

/// Appends `bytes` as a JSON string, quotes included, by the rule of this module.
#[inline]
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.starts_with(BASE64_PREFIX) {
        return write_base64(out, bytes);
    }
    let plain = plain_len(bytes);
    if plain == bytes.len() {
        out.reserve(plain + 2);
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
    } else if std::str::from_utf8(&bytes[plain..]).is_ok() {
        write_escaped(out, bytes, plain);
    } else {
        write_base64(out, bytes);
    }
}

/// Appends `bytes` as `"base64:..."` whatever they are, for what is never text.
pub fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(BASE64_PREFIX);
    write_base64_piece(out, bytes);
    out.push(b'"');
}

/// Whether [`write_bytes`] writes `bytes` as text, and not as base64.
pub fn is_text(bytes: &[u8]) -> bool {
    !bytes.starts_with(BASE64_PREFIX) && std::str::from_utf8(bytes).is_ok()
}

/// Appends a piece of text with JSON's escapes, without quotes: for a string too long to be made at once. Pieces may
/// be cut anywhere, between the bytes of a character too.
pub fn write_text_piece(out: &mut Vec<u8>, piece: &[u8]) {
    write_escapes(out, piece, 0);
}

/// Appends a piece of base64, without quotes and prefix; all pieces but the last are a multiple of three bytes.
pub fn write_base64_piece(out: &mut Vec<u8>, piece: &[u8]) {
    let start = out.len();
    // Four characters for every three bytes begun: exactly what padded base64 takes.
    out.resize(start + piece.len().div_ceil(3) * 4, b'=');
    let written = STANDARD.encode_slice(piece, &mut out[start..]).expect("the space is the encoded length");
    out.truncate(start + written);
}

/// Appends `text` as a JSON string, for names and messages of our own.
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    write_escaped(out, text.as_bytes(), 0);
}

/// Appends a whole number.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a whole number.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a double: the shortest number that reads back exactly, `-0.0` for the negative zero, and the strings
/// `"inf"`, `"-inf"`, `"nan"` for what JSON has no number for.
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"\"nan\"");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"\"inf\"" } else { b"\"-inf\"" });
    } else if value.trunc() == value && value.abs() < 1e15 && !(value == 0.0 && value.is_sign_negative()) {
        write_i64(out, value as i64); // whole and below 2^53: exact
    } else if let Some((digits, places)) = number::short_decimal(value.abs()) {
        out.extend_from_slice(if value < 0.0 { b"-" } else { b"" });
        number::write_short_decimal(out, digits, places);
    } else {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    }
}

/// An object being written, member by member, in the order in which they are added.
///
/// ```
/// use ironkeep::cli::json::Object;
/// let mut out = Vec::new();
/// let mut object = Object::open(&mut out);
/// object.str("schema", "rdbtool.info/1").u64("keys", 3);
/// object.close();
/// assert_eq!(out, br#"{"schema":"rdbtool.info/1","keys":3}"#);
/// ```
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens the brace.
    pub fn open(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, empty: true }
    }

    /// Writes a member's name; its value is to be appended to the buffer that this returns.
    pub fn member(&mut self, name: &[u8]) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        write_bytes(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// A member that is text of our own.
    pub fn str(&mut self, name: &str, value: &str) -> &mut Self {
        write_str(self.member(name.as_bytes()), value);
        self
    }

    /// A member that is a byte string.
    pub fn bytes(&mut self, name: &str, value: &[u8]) -> &mut Self {
        write_bytes(self.member(name.as_bytes()), value);
        self
    }

    /// A member that is a whole number.
    pub fn u64(&mut self, name: &str, value: u64) -> &mut Self {
        write_u64(self.member(name.as_bytes()), value);
        self
    }

    /// A member that is a whole number.
    pub fn i64(&mut self, name: &str, value: i64) -> &mut Self {
        write_i64(self.member(name.as_bytes()), value);
        self
    }

    /// A member that is true or false.
    pub fn bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.member(name.as_bytes()).extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// A member that is an array: `each` writes one item.
    pub fn array<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, each: impl FnMut(&mut Vec<u8>, T)) {
        write_array(self.member(name.as_bytes()), items, each);
    }

    /// Closes the brace.
    pub fn close(self) {
        self.out.push(b'}');
    }
}

/// Appends an array: `each` writes one item.
pub fn write_array<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        each(out, item);
    }
    out.push(b']');
}

/// The byte string that a JSON string of this module stands for; `None` where the base64 is broken.
///
/// ```
/// use ironkeep::cli::json::bytes_of;
/// assert_eq!(bytes_of("base64:/w=="), Some(vec![0xff]));
/// assert_eq!(bytes_of("ÿ"), Some(vec![0xc3, 0xbf]));
/// ```
pub fn bytes_of(text: &str) -> Option<Vec<u8>> {
    match text.strip_prefix("base64:") {
        Some(encoded) => STANDARD.decode(encoded).ok(),
        None => Some(text.as_bytes().to_vec()),
    }
}

/// Whether `byte` can stand in a JSON string without a second look: printable ASCII but for `"` and `\`.
#[inline]
fn is_plain(byte: u8) -> bool {
    (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\'
}

/// How many bytes at the start of `bytes` are plain. Eight at a time: most strings are short.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    let mut done = 0;
    for block in bytes.as_chunks::<8>().0 {
        let marks = not_plain(u64::from_le_bytes(*block));
        if marks != 0 {
            return done + (marks.trailing_zeros() / 8) as usize; // below 8
        }
        done += 8;
    }
    // The last eight, seen before in part, are all plain more often than not.
    if bytes.last_chunk().is_some_and(|last| not_plain(u64::from_le_bytes(*last)) == 0) {
        return bytes.len();
    }
    done + bytes[done..].iter().take_while(|&&byte| is_plain(byte)).count()
}

/// The top bit of the lowest byte of `word` that is not plain; the bytes above it may be marked wrongly, since a
/// subtraction borrows from them, but none is marked where all are plain.
#[inline]
fn not_plain(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x80 * ONES;
    let control = word.wrapping_sub(0x20 * ONES);
    let quote = (word ^ (b'"' as u64 * ONES)).wrapping_sub(ONES);
    let backslash = (word ^ (b'\\' as u64 * ONES)).wrapping_sub(ONES);
    (word | control | quote | backslash) & TOPS
}

/// Appends valid UTF-8 with JSON's escapes and quotes; the first `clean` bytes are known to need none.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8], clean: usize) {
    out.reserve(bytes.len() + 8);
    out.push(b'"');
    write_escapes(out, bytes, clean);
    out.push(b'"');
}

/// Appends text with JSON's escapes; the first `clean` bytes are known to need none.
fn write_escapes(out: &mut Vec<u8>, bytes: &[u8], clean: usize) {
    let mut copied = 0;
    let mut at = clean;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            at += 1;
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        write_escape(out, byte);
        at += 1;
        copied = at;
        at += plain_len(&bytes[at..]);
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// Appends the escape of a control character, quote or backslash.
fn write_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            return out.extend_from_slice(&digits);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_bytes(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    fn number(value: f64) -> String {
        let mut out = Vec::new();
        write_f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn any_byte_string_reads_back_through_a_foreign_parser() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..20_000 {
            let len = random.usize(0..70);
            let alphabet: &[u8] =
                [&b"ab\"\\\n\x00\x1f\x7f"[..], b"abcdefgh \xc3\xbf", b"\xff\xc3\xbfx", b"base64:"][round % 4];
            let bytes: Vec<u8> = (0..len).map(|_| alphabet[random.usize(0..alphabet.len())]).collect();
            let parsed: String = serde_json::from_str(&text(&bytes)).unwrap();
            assert_eq!(bytes_of(&parsed).unwrap(), bytes);
        }
    }

    #[test]
    fn every_single_byte_gives_a_string_of_its_own() {
        let all: std::collections::BTreeSet<String> = (0..=255u8).map(|byte| text(&[byte])).collect();
        assert_eq!(all.len(), 256);
        assert_eq!(text(b"\x00\x7f"), "\"\\u0000\u{7f}\"");
        assert_ne!(text(b"\xff"), text(b"\xc3\xbf"));
    }

    #[test]
    fn what_looks_like_base64_is_given_as_base64() {
        assert_eq!(text(b"base64:/w=="), r#""base64:YmFzZTY0Oi93PT0=""#);
        assert_eq!(text(b"base64"), r#""base64""#);
        assert_eq!(text(b""), r#""""#);
    }

    #[test]
    fn doubles_read_back_exactly() {
        for (value, want) in [(1.0, "1"), (-0.0, "-0.0"), (0.0, "0"), (0.1, "0.1"), (1e300, "1e300"), (-2.5, "-2.5")] {
            assert_eq!(number(value), want);
        }
        assert_eq!([f64::INFINITY, f64::NEG_INFINITY, f64::NAN].map(number), ["\"inf\"", "\"-inf\"", "\"nan\""]);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let value = f64::from_bits(random.u64(..));
            if value.is_finite() {
                assert_eq!(number(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
            }
        }
    }
}
