//! What may be shown on a terminal: keys and values as text that cannot move the cursor, ring the bell or forge lines.
//!
//! Printable UTF-8 is itself. A backslash is doubled, control characters are `\n`, `\r`, `\t` or `\xNN`, bytes that
//! are no UTF-8 are `\xNN`, and invisible or direction-changing characters are `\u{...}`. Different byte strings
//! never look the same. Output for machines goes through [`super::json`] instead.
//!
//! ```
//! use ironkeep::cli::escape::Escaped;
//! assert_eq!(Escaped(b"caf\xc3\xa9 \x1b[2J\xff\\n").to_string(), r"café \x1b[2J\xff\\n");
//! ```

use std::fmt::{self, Write};

/// Bytes whose `Display` is safe for a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                write_char(out, character)?;
            }
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// The same in double quotes, with inner quotes escaped: for keys inside a sentence, where an empty one must show.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_char('"')?;
        for (index, part) in self.0.split(|&byte| byte == b'"').enumerate() {
            if index > 0 {
                out.write_str("\\\"")?;
            }
            write!(out, "{}", Escaped(part))?;
        }
        out.write_char('"')
    }
}

/// The first `limit` bytes, cut at a character, and `...` where something was left out: for previews of values.
#[derive(Clone, Copy, Debug)]
pub struct Preview<'a> {
    /// What to show.
    pub bytes: &'a [u8],
    /// How many bytes of it at most.
    pub limit: usize,
}

impl fmt::Display for Preview<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bytes.len() <= self.limit {
            return Quoted(self.bytes).fmt(out);
        }
        let mut end = self.limit;
        // Not inside a character: step back over at most three continuation bytes.
        while end > self.limit.saturating_sub(3) && self.bytes[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        write!(out, "{}...", Quoted(&self.bytes[..end]))
    }
}

fn write_char(out: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
    match character {
        '\\' => out.write_str("\\\\"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\0'..='\x1f' | '\x7f' => write!(out, "\\x{:02x}", u32::from(character)),
        _ if is_invisible(character) => write!(out, "\\u{{{:x}}}", u32::from(character)),
        _ => out.write_char(character),
    }
}

/// C1 controls, soft hyphen, zero-width and bidirectional marks, line separators, BOM, tags.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let hostile = b"\x1b]0;title\x07\r\x9b31m\xc2\x9b\xe2\x80\xae";
        let shown = Escaped(hostile).to_string();
        assert_eq!(shown, r"\x1b]0;title\x07\r\x9b31m\u{9b}\u{202e}");
    }

    #[test]
    fn quotes_and_empty_keys_stay_visible() {
        assert_eq!(Quoted(b"").to_string(), "\"\"");
        assert_eq!(Quoted(b"a\"b\\").to_string(), r#""a\"b\\""#);
    }

    #[test]
    fn a_preview_is_cut_between_characters() {
        assert_eq!(Preview { bytes: "aéé".as_bytes(), limit: 4 }.to_string(), "\"aé\"...");
        assert_eq!(Preview { bytes: b"abcd", limit: 4 }.to_string(), "\"abcd\"");
        assert_eq!(Preview { bytes: &[0x80; 9], limit: 2 }.to_string(), "\"\"...");
    }
}
