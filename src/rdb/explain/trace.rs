//! The primitives of the format, each read as a piece.

use std::fmt::Write as _;
use std::io::Read;

use super::{HEAD, Piece, Witness};
use crate::codec::lzf;
use crate::rdb::error::Error;
use crate::rdb::input::{BUFFER, Input};
use crate::rdb::primitive::StringForm;

/// Bytes of a string that a meaning shows.
const SHOWN: usize = 48;

/// Reads from the input and gives out pieces.
pub(super) struct Trace<'w, R> {
    pub(super) input: Input<'static, R>,
    pub(super) witness: &'w mut dyn Witness,
    pub(super) depth: usize,
    /// Pieces of a key whose name has not come.
    held: Option<Vec<Piece>>,
    /// The piece being read.
    open: Option<Open>,
}

struct Open {
    offset: u64,
    depth: usize,
    head: Vec<u8>,
    what: String,
}

/// A string as it stands in the file.
pub(super) enum Content {
    Int,
    /// Its bytes, at this file offset.
    Plain {
        offset: u64,
        bytes: Vec<u8>,
    },
    Unpacked(Vec<u8>),
}

impl<'w, R: Read> Trace<'w, R> {
    pub(super) fn new(input: Input<'static, R>, witness: &'w mut dyn Witness) -> Self {
        Trace { input, witness, depth: 0, held: None, open: None }
    }

    /// From here on keeps the pieces until it is known whether they are wanted.
    pub(super) fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// Gives out what was held, or drops it.
    pub(super) fn release(&mut self, is_wanted: bool) {
        for piece in self.held.take().unwrap_or_default() {
            if is_wanted {
                self.witness.piece(piece);
            }
        }
    }

    pub(super) fn emit(&mut self, piece: Piece) {
        match &mut self.held {
            Some(held) => held.push(piece),
            None => self.witness.piece(piece),
        }
    }

    /// Gives out what was read of a piece that turned out broken, after what is held in front of it. Where the input
    /// ended inside, all that was left belongs to it.
    pub(super) fn flush_broken(&mut self, error: &Error) {
        self.release(true);
        let captured = self.input.captured();
        let Some(Open { offset, depth, mut head, what }) = self.open.take() else { return };
        head.extend_from_slice(&captured);
        let mut len = self.input.offset() - offset;
        if error.is_cut_short() {
            head.extend_from_slice(self.input.rest());
            len += self.input.rest().len() as u64; // a buffer's length fits
        }
        head.truncate(HEAD);
        if len > 0 {
            let meaning = "broken off".to_owned();
            self.witness.piece(Piece { offset, len, head, depth, what, meaning, unpacked: false });
        }
    }

    /// Reads something short as one piece; `meaning` is given its value and its bytes.
    pub(super) fn span<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&mut Input<'static, R>) -> Result<T, Error>,
        meaning: impl FnOnce(&T, &[u8]) -> String,
    ) -> Result<T, Error> {
        let offset = self.input.offset();
        self.open = Some(Open { offset, depth: self.depth, head: Vec::new(), what: what.to_owned() });
        self.input.capture();
        let value = read(&mut self.input)?;
        let head = self.input.captured();
        self.open = None;
        let (meaning, len) = (meaning(&value, &head), head.len() as u64); // a few bytes
        self.emit(Piece { offset, len, head, depth: self.depth, what: what.to_owned(), meaning, unpacked: false });
        Ok(value)
    }

    /// What follows the end marker and the checksum: nothing, the log of a preamble, or garbage.
    pub(super) fn behind_the_end(&mut self) -> Result<(), Error> {
        let (offset, mut head) = (self.input.offset(), Vec::new());
        loop {
            match self.input.byte() {
                Ok(byte) => head.push(byte),
                Err(error) if error.is_cut_short() => break,
                Err(error) => return Err(error),
            }
            let waiting = self.input.rest().len().min(BUFFER);
            head.extend_from_slice(self.input.slice(waiting)?);
            head.truncate(HEAD);
        }
        let len = self.input.offset() - offset;
        if len > 0 && self.witness.wants(None) {
            let is_log = matches!(head.first(), Some(b'*' | b'#'));
            let meaning = if is_log { "a command log" } else { "garbage, which servers do not look at" };
            let (what, meaning) = ("behind the end".to_owned(), format!("{meaning} ({len} bytes)"));
            self.emit(Piece { offset, len, head, depth: 0, what, meaning, unpacked: false });
        }
        Ok(())
    }

    /// An opcode or type byte.
    pub(super) fn opcode(&mut self, name: impl FnOnce(u8) -> (String, String)) -> Result<u8, Error> {
        let offset = self.input.offset();
        self.open = Some(Open { offset, depth: self.depth, head: Vec::new(), what: "opcode or type".to_owned() });
        let number = self.input.byte()?;
        self.open = None;
        let (what, meaning) = name(number);
        self.emit(Piece { offset, len: 1, head: vec![number], depth: self.depth, what, meaning, unpacked: false });
        Ok(number)
    }

    pub(super) fn length(&mut self, what: &str) -> Result<u64, Error> {
        self.length_as(what, |length| length.to_string())
    }

    pub(super) fn length_as(&mut self, what: &str, meaning: impl FnOnce(u64) -> String) -> Result<u64, Error> {
        self.span(what, Input::length, |length, bytes| format!("{} ({})", meaning(*length), length_form(bytes)))
    }

    pub(super) fn lengths(&mut self, what: &[&str]) -> Result<(), Error> {
        what.iter().try_for_each(|what| self.length(what).map(drop))
    }

    pub(super) fn fixed<const N: usize>(
        &mut self,
        what: &str,
        meaning: impl FnOnce([u8; N]) -> String,
    ) -> Result<(), Error> {
        self.span(what, Input::array::<N>, |bytes, _| meaning(*bytes)).map(drop)
    }

    /// A time in milliseconds, 8 bytes.
    pub(super) fn ms(&mut self, what: &str) -> Result<(), Error> {
        self.fixed::<8>(what, |bytes| format!("{} (Unix ms, 8 bytes LE)", i64::from_le_bytes(bytes)))
    }

    /// A time in seconds, 4 bytes.
    pub(super) fn seconds(&mut self, what: &str) -> Result<(), Error> {
        self.fixed::<4>(what, |bytes| format!("{} (Unix seconds, 4 bytes LE)", i32::from_le_bytes(bytes)))
    }

    pub(super) fn double(&mut self, what: &str) -> Result<(), Error> {
        self.fixed::<8>(what, |bytes| format!("{} (double, 8 bytes LE)", f64::from_le_bytes(bytes)))
    }

    /// A count, and that many things one level deeper.
    pub(super) fn each(
        &mut self,
        what: &str,
        mut element: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let count = self.length(&format!("number of {what}"))?;
        self.depth += 1;
        (0..count).try_for_each(|_| element(self))?;
        self.depth -= 1;
        Ok(())
    }

    pub(super) fn strings(&mut self, what: &[&str]) -> Result<(), Error> {
        what.iter().try_for_each(|what| self.string(what))
    }

    /// What stands in front of a string's bytes, or is the string.
    fn form(&mut self, what: &str) -> Result<StringForm, Error> {
        let offset = self.input.offset();
        self.open = Some(Open { offset, depth: self.depth, head: Vec::new(), what: what.to_owned() });
        self.input.capture();
        let form = self.input.string_form()?;
        let head = self.input.captured();
        self.open = None;
        let (what, meaning) = match &form {
            StringForm::Int(value) => {
                (what.to_owned(), format!("\"{value}\" ({}-bit integer, LE)", (head.len() - 1) * 8))
            }
            StringForm::Plain(length) => (format!("length of {what}"), format!("{length} ({})", length_form(&head))),
            StringForm::Lzf { packed, length } => {
                (format!("lengths of {what}"), format!("{packed} bytes, which unpack to {length} (LZF)"))
            }
        };
        let len = head.len() as u64; // a few bytes
        self.emit(Piece { offset, len, head, depth: self.depth, what, meaning, unpacked: false });
        Ok(form)
    }

    /// A string of any length, of which no more than the beginning is held.
    pub(super) fn string(&mut self, what: &str) -> Result<(), Error> {
        match self.form(what)? {
            StringForm::Int(_) => Ok(()),
            StringForm::Plain(length) => self.run(what, length),
            StringForm::Lzf { packed, length } => {
                let bytes = self.lzf(what, packed, length)?;
                self.emit(whole(what, &bytes, self.depth + 1, shown_whole(&bytes)));
                Ok(())
            }
        }
    }

    /// A string that is wanted whole, as a key is.
    pub(super) fn text(&mut self, what: &str) -> Result<Vec<u8>, Error> {
        self.text_as(what, shown_whole)
    }

    /// The same with a meaning of its own.
    pub(super) fn text_as(&mut self, what: &str, meaning: impl Fn(&[u8]) -> String) -> Result<Vec<u8>, Error> {
        match self.form(what)? {
            StringForm::Int(value) => Ok(value.to_string().into_bytes()),
            StringForm::Plain(length) => {
                let (offset, bytes) = self.take(what, length)?;
                if !bytes.is_empty() {
                    let piece = whole(what, &bytes, self.depth, meaning(&bytes));
                    self.emit(Piece { offset, unpacked: false, ..piece });
                }
                Ok(bytes)
            }
            StringForm::Lzf { packed, length } => {
                let bytes = self.lzf(what, packed, length)?;
                self.emit(whole(what, &bytes, self.depth + 1, meaning(&bytes)));
                Ok(bytes)
            }
        }
    }

    /// A string whose inside is to be walked. The pieces of a plain one are left to the caller.
    pub(super) fn content(&mut self, what: &str) -> Result<Content, Error> {
        match self.form(what)? {
            StringForm::Int(_) => Ok(Content::Int),
            StringForm::Plain(length) => {
                self.take(what, length).map(|(offset, bytes)| Content::Plain { offset, bytes })
            }
            StringForm::Lzf { packed, length } => self.lzf(what, packed, length).map(Content::Unpacked),
        }
    }

    /// Reads bytes without giving them out.
    fn take(&mut self, what: &str, length: u64) -> Result<(u64, Vec<u8>), Error> {
        let offset = self.input.offset();
        let mut bytes = Vec::new();
        let mut left = length;
        self.open = Some(Open { offset, depth: self.depth, head: Vec::new(), what: what.to_owned() });
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let part = self.input.slice(step)?;
            if let Some(open) = &mut self.open
                && open.head.len() < HEAD
            {
                open.head.extend_from_slice(&part[..part.len().min(HEAD)]);
            }
            bytes.extend_from_slice(part);
            left -= step as u64; // at most BUFFER
        }
        self.open = None;
        Ok((offset, bytes))
    }

    /// Reads bytes as one piece, holding its beginning.
    fn run(&mut self, what: &str, length: u64) -> Result<(), Error> {
        if length == 0 {
            return Ok(());
        }
        let offset = self.input.offset();
        self.open = Some(Open { offset, depth: self.depth, head: Vec::new(), what: what.to_owned() });
        let first = usize::try_from(length).unwrap_or(HEAD).min(HEAD);
        let head = self.input.slice(first)?.to_vec();
        if let Some(open) = &mut self.open {
            open.head.clone_from(&head);
        }
        self.input.pass(length - first as u64)?; // at most `length`
        self.open = None;
        let meaning = if length > SHOWN as u64 { format!("{} ({length} bytes)", shown(&head)) } else { shown(&head) };
        self.emit(Piece {
            offset,
            len: length,
            head,
            depth: self.depth,
            what: what.to_owned(),
            meaning,
            unpacked: false,
        });
        Ok(())
    }

    /// The packed bytes as a piece, and what they unpack to.
    fn lzf(&mut self, what: &str, packed: u64, length: u64) -> Result<Vec<u8>, Error> {
        let what = format!("{what}, packed");
        let (offset, bytes) = self.take(&what, packed)?;
        if !bytes.is_empty() {
            let head = bytes[..bytes.len().min(HEAD)].to_vec();
            let meaning = format!("{packed} bytes of LZF");
            self.emit(Piece { offset, len: packed, head, depth: self.depth, what, meaning, unpacked: false });
        }
        let mut unpacked = Vec::new();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match lzf::decompress(&bytes, length, &mut unpacked) {
            Ok(()) => Ok(unpacked),
            Err(_) => Err(self.input.damaged_at(offset, "the LZF data does not unpack to the length it announces")),
        }
    }
}

/// A string that has no place in the file.
fn whole(what: &str, bytes: &[u8], depth: usize, meaning: String) -> Piece {
    let head = bytes[..bytes.len().min(HEAD)].to_vec();
    let len = bytes.len() as u64; // usize fits
    Piece { offset: 0, len, head, depth, what: what.to_owned(), meaning, unpacked: true }
}

/// A string, or its beginning and how long it is.
fn shown_whole(bytes: &[u8]) -> String {
    if bytes.len() > SHOWN { format!("{} ({} bytes)", shown(bytes), bytes.len()) } else { shown(bytes) }
}

/// The beginning of a string, in quotes.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes[..bytes.len().min(SHOWN)].utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                ' '..='~' => text.push(character),
                '\u{a1}'.. if character.is_alphanumeric() => text.push(character),
                '\0'..='\x1f' | '\x7f' => {
                    let _ = write!(text, "\\x{:02x}", u32::from(character)); // as below
                }
                _ => text.extend(character.escape_unicode()),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}"); // a String takes everything
        }
    }
    text.push('"');
    if bytes.len() > SHOWN {
        text.push_str("...");
    }
    text
}

/// How a length is encoded, by its first byte.
fn length_form(bytes: &[u8]) -> &'static str {
    match bytes.first() {
        Some(0..0x40) => "6-bit length",
        Some(0x40..0x80) => "14-bit length",
        Some(0x80) => "32-bit length",
        _ => "64-bit length",
    }
}
