//! A word in double quotes, as configurations, manifests and MONITOR have it.

/// Appends `word` as a string of C: quotes and backslashes escaped, what is not printable ASCII by its letter or as `\xHH`.
///
/// ```
/// let mut line = Vec::new();
/// ironkeep::codec::quoted::push(&mut line, b"a \"\\\n\r\t\x07\x08\x00\xff");
/// assert_eq!(line, br#""a \"\\\n\r\t\a\b\x00\xff""#);
/// ```
pub fn push(out: &mut Vec<u8>, word: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in word {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(&[b'\\', b'x', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
    out.push(b'"');
}
