//! Reading JSON.

use mlua::{Lua, Value};

use super::{NULL, Settings};
use crate::lua::raised::fail;

/// The value of a text.
pub(super) fn decode(lua: &Lua, settings: &Settings, text: &[u8]) -> mlua::Result<Value> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(fail(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut parser = Parser { lua, settings, text, at: 0, depth: 0 };
    let token = parser.next();
    let value = parser.value(token)?;
    match parser.next() {
        Token { kind: Kind::End, .. } => Ok(value),
        other => Err(parser.unexpected("the end", &other)),
    }
}

#[derive(Debug)]
enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

/// A token, and where it begins; of an error, where that is.
#[derive(Debug)]
struct Token {
    kind: Kind,
    at: usize,
}

struct Parser<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    text: &'a [u8],
    at: usize,
    depth: i64,
}

impl Parser<'_> {
    fn unexpected(&self, expected: &str, token: &Token) -> mlua::Error {
        let found = match token.kind {
            Kind::ObjectBegin => "T_OBJ_BEGIN",
            Kind::ObjectEnd => "T_OBJ_END",
            Kind::ArrayBegin => "T_ARR_BEGIN",
            Kind::ArrayEnd => "T_ARR_END",
            Kind::String(_) => "T_STRING",
            Kind::Number(_) => "T_NUMBER",
            Kind::Boolean(_) => "T_BOOLEAN",
            Kind::Null => "T_NULL",
            Kind::Colon => "T_COLON",
            Kind::Comma => "T_COMMA",
            Kind::End => "T_END",
            Kind::Error(text) => text,
        };
        fail(self.lua, format!("Expected {expected} but found {found} at character {}", token.at + 1))
    }

    /// The byte at a distance; what is behind the text is 0.
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Token {
        while matches!(self.peek(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let kind = match self.peek(0) {
            0 => return Token { kind: Kind::End, at },
            b'{' => Kind::ObjectBegin,
            b'}' => Kind::ObjectEnd,
            b'[' => Kind::ArrayBegin,
            b']' => Kind::ArrayEnd,
            b':' => Kind::Colon,
            b',' => Kind::Comma,
            b'"' => return self.string(at),
            _ => return self.word(at),
        };
        self.at += 1;
        Token { kind, at }
    }

    fn word(&mut self, at: usize) -> Token {
        let rest = &self.text[at..];
        for (word, kind) in
            [(&b"true"[..], Kind::Boolean(true)), (b"false", Kind::Boolean(false)), (b"null", Kind::Null)]
        {
            if rest.starts_with(word) {
                self.at += word.len();
                return Token { kind, at };
            }
        }
        let is_number = matches!(rest[0], b'-' | b'0'..=b'9');
        let is_invalid = is_invalid_number(rest);
        let kind = match (is_number, is_invalid, self.settings.decode_invalid) {
            (true, true, false) => Kind::Error("invalid number"),
            (true, ..) | (_, true, true) => match read_number(rest) {
                Some((number, len)) => {
                    self.at += len;
                    Kind::Number(number)
                }
                None => Kind::Error("invalid number"),
            },
            _ => Kind::Error("invalid token"),
        };
        Token { kind, at }
    }

    fn string(&mut self, at: usize) -> Token {
        self.at += 1;
        let mut string = Vec::new();
        loop {
            let byte = match self.peek(0) {
                b'"' => break,
                0 if self.at >= self.text.len() => return self.error("unexpected end of string"),
                b'\\' => match self.peek(1) {
                    b'u' => {
                        let Some((code, len)) = self.escaped_code() else {
                            return self.error("invalid unicode escape code");
                        };
                        let mut buffer = [0; 4];
                        string.extend_from_slice(code.encode_utf8(&mut buffer).as_bytes());
                        self.at += len;
                        continue;
                    }
                    other => {
                        let Some(byte) = unescape(other) else { return self.error("invalid escape code") };
                        self.at += 1;
                        byte
                    }
                },
                byte => byte,
            };
            string.push(byte);
            self.at += 1;
        }
        self.at += 1;
        Token { kind: Kind::String(string), at }
    }

    fn error(&self, text: &'static str) -> Token {
        Token { kind: Kind::Error(text), at: self.at }
    }

    /// The character of `\uXXXX`, or of two such that are one, and how many bytes they take.
    fn escaped_code(&self) -> Option<(char, usize)> {
        let unit = |ahead: usize| {
            let digits = self.text.get(self.at + ahead + 2..self.at + ahead + 6)?;
            let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
            (self.peek(ahead) == b'\\' && self.peek(ahead + 1) == b'u').then(|| u32::from_str_radix(text, 16).ok())?
        };
        let first = unit(0)?;
        if first & 0xF800 != 0xD800 {
            return Some((char::from_u32(first)?, 6));
        }
        let second = unit(6).filter(|second| first & 0x400 == 0 && second & 0xFC00 == 0xDC00)?;
        Some((char::from_u32(0x10000 + ((first & 0x3FF) << 10) + (second & 0x3FF))?, 12))
    }

    fn value(&mut self, token: Token) -> mlua::Result<Value> {
        match token.kind {
            Kind::String(text) => Ok(Value::String(self.lua.create_string(text)?)),
            Kind::Number(number) => Ok(Value::Number(number)),
            Kind::Boolean(flag) => Ok(Value::Boolean(flag)),
            Kind::Null => Ok(NULL),
            Kind::ObjectBegin => self.object(),
            Kind::ArrayBegin => self.array(),
            _ => Err(self.unexpected("value", &token)),
        }
    }

    fn descend(&mut self) -> mlua::Result<()> {
        self.depth += 1;
        if self.depth > self.settings.decode_max_depth {
            let at = self.at;
            let text = format!("Found too many nested data structures ({}) at character {at}", self.depth);
            return Err(fail(self.lua, text));
        }
        Ok(())
    }

    fn object(&mut self) -> mlua::Result<Value> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.next();
        while !matches!(token.kind, Kind::ObjectEnd) {
            let Kind::String(key) = token.kind else { return Err(self.unexpected("object key string", &token)) };
            token = self.next();
            if !matches!(token.kind, Kind::Colon) {
                return Err(self.unexpected("colon", &token));
            }
            token = self.next();
            table.raw_set(self.lua.create_string(key)?, self.value(token)?)?;
            token = self.next();
            match token.kind {
                Kind::ObjectEnd => break,
                Kind::Comma => token = self.next(),
                _ => return Err(self.unexpected("comma or object end", &token)),
            }
            // A comma promises another member.
            if matches!(token.kind, Kind::ObjectEnd) {
                return Err(self.unexpected("object key string", &token));
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }

    fn array(&mut self) -> mlua::Result<Value> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.next();
        let mut count = 0;
        if !matches!(token.kind, Kind::ArrayEnd) {
            loop {
                count += 1;
                table.raw_set(count, self.value(token)?)?;
                token = self.next();
                match token.kind {
                    Kind::ArrayEnd => break,
                    Kind::Comma => token = self.next(),
                    _ => return Err(self.unexpected("comma or array end", &token)),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }
}

fn unescape(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' | b'\\' | b'/' => byte,
        b'b' => 8,
        b't' => b'\t',
        b'n' => b'\n',
        b'f' => 12,
        b'r' => b'\r',
        _ => return None,
    })
}

/// Whether C's strtod would take more than a number of JSON here: `+1`, `0x1`, `01`, `inf`, `nan`.
fn is_invalid_number(text: &[u8]) -> bool {
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let is_word = |word: &[u8]| rest.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(word));
    match rest.first() {
        Some(b'+') => text.len() == rest.len(),
        Some(b'0') => rest.get(1).is_some_and(|next| next.is_ascii_digit() || matches!(next, b'x' | b'X')),
        _ => is_word(b"inf") || is_word(b"nan"),
    }
}

/// The number that C's strtod would read, and its length.
fn read_number(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let rest = &text[sign..];
    let negate = |(number, len): (f64, usize)| (if text[0] == b'-' { -number } else { number }, len + sign);
    let starts_with = |word: &[u8]| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if starts_with(b"infinity") || starts_with(b"inf") {
        return Some(negate((f64::INFINITY, if starts_with(b"infinity") { 8 } else { 3 })));
    }
    if starts_with(b"nan") {
        return Some(negate((f64::NAN, 3)));
    }
    let count = |from: usize, is_digit: fn(&u8) -> bool| rest[from..].iter().take_while(|byte| is_digit(byte)).count();
    if starts_with(b"0x") && rest.get(2).is_some_and(u8::is_ascii_hexdigit) {
        let digits = count(2, u8::is_ascii_hexdigit);
        let value = |byte: &u8| f64::from(char::from(*byte).to_digit(16).unwrap_or(0));
        let number = rest[2..2 + digits].iter().fold(0.0, |number, byte| number * 16.0 + value(byte));
        return Some(negate((number, 2 + digits)));
    }
    let mut len = count(0, u8::is_ascii_digit);
    let mut digits = len;
    if rest.get(len) == Some(&b'.') {
        let behind = count(len + 1, u8::is_ascii_digit);
        digits += behind;
        len += if digits > 0 { 1 + behind } else { 0 };
    }
    if digits == 0 {
        return None;
    }
    if matches!(rest.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(len + 1), Some(b'+' | b'-')));
        let exponent = if len + 1 + sign <= rest.len() { count(len + 1 + sign, u8::is_ascii_digit) } else { 0 };
        len += if exponent > 0 { 1 + sign + exponent } else { 0 };
    }
    let number: f64 = std::str::from_utf8(&rest[..len]).ok()?.parse().ok()?;
    Some(negate((number, len)))
}
