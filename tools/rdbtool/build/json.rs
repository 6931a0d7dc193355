//! Reading JSON piece by piece: the caller says what it expects next, and gets it without a tree in between.
//!
//! A string goes from the text to the caller's bytes, a number stays the text that it is until the caller parses it, so
//! that no digit is lost, and memory is asked for by what has arrived. What is not as expected is a [`Fault`], which
//! gets its path while it travels up. Grammar: RFC 8259; a control character inside a string, a lone surrogate and a
//! number with a leading zero are faults.

use ironkeep::cli::json::bytes_of;
use std::fmt::{self, Write as _};
use std::io::{self, Read};

/// Bytes read at once.
const BLOCK: usize = 64 * 1024;
/// How much of the input a fault shows.
const SHOWN: usize = 24;
/// Nesting beyond this, in a value that is passed over, is refused: our own records have eight levels.
const MOST_NESTED: usize = 128;

/// Where the input is not as expected.
#[derive(Debug)]
pub enum Fault {
    /// Something else stands there.
    Unexpected { line: u64, path: Vec<Step>, expected: String, found: String },
    /// The input could not be read.
    Io(io::Error),
}

/// One step of a path, the innermost first.
#[derive(Debug)]
pub enum Step {
    Member(String),
    Item(u64),
}

impl Fault {
    /// The same fault, inside the member `name`.
    pub fn inside(mut self, name: impl Into<String>) -> Fault {
        if let Fault::Unexpected { path, .. } = &mut self {
            path.push(Step::Member(name.into()));
        }
        self
    }

    /// The same fault, inside the item of that index.
    pub fn at(mut self, index: u64) -> Fault {
        if let Fault::Unexpected { path, .. } = &mut self {
            path.push(Step::Item(index));
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, path, expected, found) = match self {
            Fault::Io(error) => return error.fmt(out),
            Fault::Unexpected { line, path, expected, found } => (line, path, expected, found),
        };
        write!(out, "line {line}")?;
        for (index, step) in path.iter().rev().enumerate() {
            out.write_str(if index == 0 { ", " } else { "" })?;
            match step {
                Step::Member(name) if index == 0 => out.write_str(name)?,
                Step::Member(name) => write!(out, ".{name}")?,
                Step::Item(number) => write!(out, "[{number}]")?,
            }
        }
        write!(out, ": expected {expected}, found {found}")
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

/// A reader of JSON.
pub struct Parser<R> {
    reader: R,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    line: u64,
    scratch: Vec<u8>,
}

impl<R: Read> Parser<R> {
    pub fn new(reader: R) -> Parser<R> {
        Parser::from_line(reader, 1)
    }

    /// For a part of a text: its first line has this number.
    pub fn from_line(reader: R, line: u64) -> Parser<R> {
        Parser { reader, buffer: vec![0; BLOCK], at: 0, end: 0, line, scratch: Vec::new() }
    }

    /// The line of the next byte, from 1 on.
    pub fn line(&self) -> u64 {
        self.line
    }

    fn fill(&mut self) -> Result<bool, Fault> {
        self.buffer.copy_within(self.at..self.end, 0);
        (self.end, self.at) = (self.end - self.at, 0);
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    #[inline]
    fn byte(&mut self) -> Result<Option<u8>, Fault> {
        if self.at == self.end && !self.fill()? {
            return Ok(None);
        }
        Ok(Some(self.buffer[self.at]))
    }

    /// The next byte that is no white space, left where it is; `None` at the end.
    #[inline]
    pub fn peek(&mut self) -> Result<Option<u8>, Fault> {
        loop {
            match self.byte()? {
                Some(b'\n') => self.line += 1,
                Some(b' ' | b'\t' | b'\r') => {}
                other => return Ok(other),
            }
            self.at += 1;
        }
    }

    /// The fault that something else stands at the next byte.
    pub fn unexpected(&mut self, expected: impl Into<String>) -> Fault {
        if let Err(fault) = self.peek() {
            return fault;
        }
        if self.end - self.at < SHOWN
            && let Err(fault) = self.fill()
        {
            return fault;
        }
        let rest = &self.buffer[self.at..self.end];
        let shown = rest.iter().take(SHOWN).position(|&byte| byte == b'\n').unwrap_or(rest.len().min(SHOWN));
        let found = match rest {
            [] => "the end of the input".to_owned(),
            _ => {
                let more = if rest.len() > shown { "..." } else { "" };
                format!("`{}{more}`", rest[..shown].escape_ascii())
            }
        };
        Fault::Unexpected { line: self.line, path: Vec::new(), expected: expected.into(), found }
    }

    /// The fault that what was just read, `found`, does not do.
    pub fn refused(&self, expected: impl Into<String>, found: impl Into<String>) -> Fault {
        Fault::Unexpected { line: self.line, path: Vec::new(), expected: expected.into(), found: found.into() }
    }

    fn take(&mut self, wanted: u8, expected: &str) -> Result<(), Fault> {
        if self.peek()? != Some(wanted) {
            return Err(self.unexpected(expected));
        }
        self.at += 1;
        Ok(())
    }

    pub fn begin_array(&mut self, expected: &str) -> Result<(), Fault> {
        self.take(b'[', expected)
    }

    pub fn begin_object(&mut self, expected: &str) -> Result<(), Fault> {
        self.take(b'{', expected)
    }

    /// Whether another item of an array follows; `first` says whether it would be the first. The bracket is taken.
    #[inline]
    pub fn next_item(&mut self, first: bool) -> Result<bool, Fault> {
        self.next_of(first, b']', "a comma or ]")
    }

    /// The name of the next member of an object, its colon taken; false behind the last.
    #[inline]
    pub fn next_member(&mut self, first: bool, name: &mut Vec<u8>) -> Result<bool, Fault> {
        if !self.next_of(first, b'}', "a comma or }")? {
            return Ok(false);
        }
        self.text(name, "the name of a member")?;
        self.take(b':', "a colon")?;
        Ok(true)
    }

    #[inline]
    fn next_of(&mut self, first: bool, close: u8, expected: &str) -> Result<bool, Fault> {
        match self.peek()? {
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            Some(_) if first => Ok(true),
            Some(b',') => {
                self.at += 1;
                // A comma promises another.
                if self.peek()? == Some(close) { Err(self.unexpected("what a comma announces")) } else { Ok(true) }
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// A string, its escapes undone, as UTF-8.
    pub fn text(&mut self, out: &mut Vec<u8>, expected: &str) -> Result<(), Fault> {
        out.clear();
        self.take(b'"', expected)?;
        loop {
            let held = &self.buffer[self.at..self.end];
            let plain = held.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\');
            out.extend_from_slice(&held[..plain.unwrap_or(held.len())]);
            self.at += plain.unwrap_or(held.len());
            if plain.is_none() {
                if !self.fill()? {
                    return Err(self.unexpected("the end of the string"));
                }
                continue;
            }
            match self.buffer[self.at] {
                b'"' => break,
                b'\\' => {
                    self.at += 1;
                    self.escape(out)?;
                }
                _ => return Err(self.unexpected("an escape instead of a control character")),
            }
        }
        self.at += 1;
        if std::str::from_utf8(out).is_err() {
            return Err(self.refused("a string in UTF-8", "bytes that are none"));
        }
        Ok(())
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(letter) = self.byte()? else { return Err(self.unexpected("an escape")) };
        let plain = match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.at += 1;
                return self.unicode(out);
            }
            _ => return Err(self.unexpected("one of the escapes \" \\ / b f n r t u")),
        };
        self.at += 1;
        out.push(plain);
        Ok(())
    }

    fn unicode(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let first = self.hex4()?;
        let code = match first {
            0xd800..=0xdbff => {
                for wanted in *b"\\u" {
                    if self.byte()? != Some(wanted) {
                        return Err(self.unexpected("the second half of a surrogate pair"));
                    }
                    self.at += 1;
                }
                match self.hex4()? {
                    second @ 0xdc00..=0xdfff => 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                    _ => return Err(self.unexpected("the second half of a surrogate pair in front of this")),
                }
            }
            _ => first,
        };
        let Some(character) = char::from_u32(code) else {
            return Err(self.unexpected("the first half of a surrogate pair in front of this"));
        };
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32, Fault> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.byte()?.and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else { return Err(self.unexpected("four hexadecimal digits")) };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// A byte string by the rule of `ironkeep::cli::json`.
    pub fn bytes(&mut self, out: &mut Vec<u8>, expected: &str) -> Result<(), Fault> {
        self.text(out, expected)?;
        if out.starts_with(b"base64:") {
            // Only what was checked to be UTF-8 comes here.
            let decoded = std::str::from_utf8(out).ok().and_then(bytes_of);
            *out = decoded.ok_or_else(|| self.refused("padded base64 behind base64:", "something else"))?;
        }
        Ok(())
    }

    /// The text of a number, as it stands; empty where none stands there.
    fn number_text(&mut self) -> Result<String, Fault> {
        self.peek()?;
        let mut text = String::new();
        while let Some(byte @ (b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) = self.byte()? {
            text.push(char::from(byte));
            self.at += 1;
            if text.len() > 4096 {
                return Err(self.unexpected("the end of a number of 4096 digits"));
            }
        }
        Ok(text)
    }

    /// A whole number.
    pub fn whole<T: std::str::FromStr>(&mut self, expected: &str) -> Result<T, Fault> {
        if !matches!(self.peek()?, Some(b'0'..=b'9' | b'-')) {
            return Err(self.unexpected(expected));
        }
        let text = self.number_text()?;
        let is_plain = is_number(&text) && !text.contains(['.', 'e', 'E']);
        text.parse().ok().filter(|_| is_plain).ok_or_else(|| self.refused(expected, format!("`{text}`")))
    }

    /// A double, the one nearest to its text, or one of the strings that stand for what JSON has no number for.
    pub fn double(&mut self, expected: &str) -> Result<f64, Fault> {
        if self.peek()? == Some(b'"') {
            let mut text = std::mem::take(&mut self.scratch);
            let read = self.text(&mut text, expected);
            let value = match &text[..] {
                b"inf" => Some(f64::INFINITY),
                b"-inf" => Some(f64::NEG_INFINITY),
                b"nan" => Some(f64::NAN),
                _ => None,
            };
            let found = format!("\"{}\"", text.escape_ascii());
            self.scratch = text;
            read?;
            return value.ok_or_else(|| self.refused(expected, found));
        }
        if !matches!(self.peek()?, Some(b'0'..=b'9' | b'-')) {
            return Err(self.unexpected(expected));
        }
        let text = self.number_text()?;
        text.parse().ok().filter(|_| is_number(&text)).ok_or_else(|| self.refused(expected, format!("`{text}`")))
    }

    /// Takes a `null`, if one is there.
    pub fn null(&mut self) -> Result<bool, Fault> {
        if self.peek()? != Some(b'n') {
            return Ok(false);
        }
        self.word("null").map(|()| true)
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        for wanted in word.bytes() {
            if self.byte()? != Some(wanted) {
                return Err(self.unexpected(word));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Copies the next value as it stands, but for white space, to be read later.
    pub fn copy(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut open = Vec::new();
        loop {
            match self.peek()? {
                Some(b'"') => self.copy_string(out)?,
                Some(byte @ (b'{' | b'[')) => {
                    open.push(byte + 2); // `}` and `]` stand two behind their openers
                    out.push(byte);
                    self.at += 1;
                    if open.len() > MOST_NESTED {
                        return Err(self.unexpected("less nesting"));
                    }
                    continue;
                }
                Some(byte @ (b'}' | b']')) if open.last() == Some(&byte) => {
                    open.pop();
                    out.push(byte);
                    self.at += 1;
                }
                Some(byte @ (b',' | b':')) if !open.is_empty() => {
                    out.push(byte);
                    self.at += 1;
                    continue;
                }
                Some(b'a'..=b'z' | b'0'..=b'9' | b'-') => {
                    while let Some(byte @ (b'a'..=b'z' | b'0'..=b'9' | b'-' | b'+' | b'.' | b'E')) = self.byte()? {
                        out.push(byte);
                        self.at += 1;
                    }
                }
                _ => return Err(self.unexpected("a value")),
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }

    fn copy_string(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut escaped = true; // the opening quote closes nothing
        loop {
            let Some(byte) = self.byte()? else { return Err(self.unexpected("the end of the string")) };
            if byte < 0x20 {
                return Err(self.unexpected("an escape instead of a control character"));
            }
            out.push(byte);
            self.at += 1;
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Whether a text of digits, signs, points and exponents is a number of JSON.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

/// What is found, in words, for a fault about a name.
pub fn shown(text: &[u8]) -> String {
    let mut shown = String::from("\"");
    let _ = write!(shown, "{}\"", text.escape_ascii()); // a String takes everything
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time, so that everything is cut everywhere.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            buffer[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn text(json: &str) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        Parser::new(Dribble(json.as_bytes())).text(&mut out, "text").map_err(|fault| fault.to_string()).map(|()| out)
    }

    #[test]
    fn strings_are_undone_as_serde_does_it() {
        for json in [r#""""#, r#""a\"\\\/\b\f\n\r\t""#, r#""\u00e9\ud83d\ude00é😀""#, r#""\u0000""#] {
            assert_eq!(text(json).unwrap(), serde_json::from_str::<String>(json).unwrap().into_bytes());
        }
        for json in [r#""a"#, "\"\n\"", r#""\x""#, r#""\ud800""#, r#""\ud800\u0041""#, r#""\udc00""#, "a", "", "\"\\"] {
            assert!(text(json).is_err() && serde_json::from_str::<String>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn doubles_keep_every_digit() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut out = Vec::new();
        for _ in 0..20_000 {
            let value = f64::from_bits(random.u64(..));
            out.clear();
            ironkeep::cli::json::write_f64(&mut out, value);
            let read = Parser::new(&out[..]).double("a score").unwrap();
            assert!(read.to_bits() == value.to_bits() || (read.is_nan() && value.is_nan()), "{value}");
        }
        assert!(Parser::new(&b"-0.0"[..]).double("").unwrap().is_sign_negative());
        for wrong in ["01", "1.", ".5", "+1", "1e", "--1", "1-", "true", "\"1\"", "", "nan"] {
            assert!(Parser::new(wrong.as_bytes()).double("a score").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_says_where_and_what() {
        let mut parser = Parser::new(&b"\n\n  [true]"[..]);
        let fault = parser.whole::<u64>("a count").unwrap_err().inside("pending").at(3).inside("value");
        assert_eq!(fault.to_string(), "line 3, value[3].pending: expected a count, found `[true]`");
        let fault = Parser::new(&b"12.5"[..]).whole::<i64>("a time").unwrap_err();
        assert_eq!(fault.to_string(), "line 1: expected a time, found `12.5`");
        assert!(Parser::new(&b"18446744073709551616"[..]).whole::<u64>("x").is_err());
    }

    #[test]
    fn a_copied_value_is_the_value_without_its_spaces() {
        let json = r#" {"a" : [1, {"b\"}" : null}, "x\\"], "c":-1.5E+3} "#;
        let mut out = Vec::new();
        Parser::new(Dribble(json.as_bytes())).copy(&mut out).unwrap();
        assert_eq!(out, br#"{"a":[1,{"b\"}":null},"x\\"],"c":-1.5E+3}"#);
        for wrong in ["[1", "]", "{\"a\":}x", "[}"] {
            out.clear();
            let copied = Parser::new(wrong.as_bytes()).copy(&mut out);
            assert!(copied.is_err() || serde_json::from_slice::<serde_json::Value>(&out).is_err(), "{wrong}");
        }
    }
}
