//! Lengths, strings and numbers, each read and written side by side.
//!
//! ```text
//! 00llllll                          length below 64
//! 01llllll llllllll                 length below 16384, high byte first
//! 10000000 4 bytes                  length, big endian
//! 10000001 8 bytes                  length, big endian (version 8 on)
//! 11000000 / 1 / 2  1 / 2 / 4 bytes a string that spells this integer, little endian
//! 11000011 clen ulen bytes          a string of ulen bytes, packed with LZF to clen
//! ```
//!
//! A string is a length and its bytes, or one of the last two forms. Times and doubles are little endian, stream ids
//! big endian.

use std::io::Read;

use super::error::{Cause, Error};
use super::input::{BUFFER, Input};
use crate::codec::lzf::{self, Compressor, LzfError};
use crate::codec::number::{parse_f64, parse_i64, write_f64_g17};
use crate::value::Element;

const LENGTH_32: u8 = 0x80;
const LENGTH_64: u8 = 0x81;
const SPECIAL: u8 = 0xc0;
const SPECIAL_I8: u8 = 0;
const SPECIAL_I16: u8 = 1;
const SPECIAL_I32: u8 = 2;
const SPECIAL_LZF: u8 = 3;

/// A string longer than this is worth an attempt at compression.
const COMPRESS_ABOVE: usize = 20;
/// Scratch space larger than this is not kept for the next string.
const KEEP_SCRATCH: usize = 1 << 20;

/// A place for a string that is read, used again and again.
#[derive(Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
    int: Option<i64>,
}

impl Text {
    /// What was read.
    pub(super) fn element(&self) -> Element<'_> {
        match self.int {
            Some(value) => Element::Int(value),
            None => Element::Bytes(&self.bytes),
        }
    }

    fn clear(&mut self) {
        if self.bytes.capacity() > KEEP_SCRATCH {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.int = None;
    }
}

/// What [`Input::append_string`] read.
pub(super) enum ReadString {
    /// An integer, as the file has it; nothing was appended.
    Int(i64),
    /// Its bytes were appended.
    Appended,
    /// It is long, and stands alone; nothing was appended.
    Long(Vec<u8>),
}

/// What the first bytes of a string say.
pub(super) enum StringForm {
    Plain(u64),
    Int(i64),
    Lzf { packed: u64, length: u64 },
}

impl<R: Read> Input<'_, R> {
    /// A length, or a special form's number.
    fn length_or_special(&mut self) -> Result<Result<u64, u8>, Error> {
        let first = self.byte()?;
        Ok(Ok(match first {
            0..0x40 => u64::from(first),
            0x40..0x80 => u64::from(first & 0x3f) << 8 | u64::from(self.byte()?),
            LENGTH_32 => u64::from(u32::from_be_bytes(self.array()?)),
            LENGTH_64 => u64::from_be_bytes(self.array()?),
            SPECIAL.. => return Ok(Err(first & 0x3f)),
            _ => return Err(self.damaged("a length begins with a byte that no length begins with")),
        }))
    }

    /// A length or count.
    pub(super) fn length(&mut self) -> Result<u64, Error> {
        self.length_or_special()?.map_err(|_| self.damaged("a string stands where a length belongs"))
    }

    /// What stands in front of a string's bytes, or is the string.
    pub(super) fn string_form(&mut self) -> Result<StringForm, Error> {
        Ok(match self.length_or_special()? {
            Ok(length) => StringForm::Plain(length),
            Err(SPECIAL_I8) => StringForm::Int(i8::from_le_bytes(self.array()?).into()),
            Err(SPECIAL_I16) => StringForm::Int(i16::from_le_bytes(self.array()?).into()),
            Err(SPECIAL_I32) => StringForm::Int(i32::from_le_bytes(self.array()?).into()),
            Err(SPECIAL_LZF) => StringForm::Lzf { packed: self.length()?, length: self.length()? },
            Err(_) => return Err(self.damaged("a string has a form that does not exist")),
        })
    }

    /// A string, in `scratch`.
    pub(super) fn text(&mut self, scratch: &mut Text) -> Result<(), Error> {
        scratch.clear();
        match self.string_form()? {
            StringForm::Int(value) => scratch.int = Some(value),
            StringForm::Plain(length) => self.take_into(&mut scratch.bytes, length)?,
            StringForm::Lzf { packed, length } => self.unpack(packed, length, &mut scratch.bytes)?,
        }
        Ok(())
    }

    /// A string, appended to `out`; an integer is spelled out.
    pub(super) fn append_text(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        match self.string_form()? {
            StringForm::Int(value) => Element::Int(value).write_to(out),
            StringForm::Plain(length) => self.take_into(out, length)?,
            StringForm::Lzf { packed, length } => self.unpack(packed, length, out)?,
        }
        Ok(())
    }

    /// A string, where it lies if it lies there plain and is short, in `scratch` otherwise.
    pub(super) fn element<'a>(&'a mut self, scratch: &'a mut Text) -> Result<Element<'a>, Error> {
        let form = self.string_form()?;
        self.element_of(form, scratch)
    }

    /// As [`Input::element`], behind its form.
    pub(super) fn element_of<'a>(&'a mut self, form: StringForm, scratch: &'a mut Text) -> Result<Element<'a>, Error> {
        scratch.clear();
        match form {
            StringForm::Int(value) => return Ok(Element::Int(value)),
            StringForm::Plain(length) => match usize::try_from(length) {
                Ok(length) if length <= BUFFER => return self.slice(length).map(Element::Bytes),
                _ => self.take_into(&mut scratch.bytes, length)?,
            },
            StringForm::Lzf { packed, length } => self.unpack(packed, length, &mut scratch.bytes)?,
        }
        Ok(scratch.element())
    }

    /// A string whose bytes are wanted as a value of their own; an integer comes as such.
    pub(super) fn owned(&mut self) -> Result<Result<Vec<u8>, i64>, Error> {
        let mut bytes = Vec::new();
        match self.string_form()? {
            StringForm::Int(value) => return Ok(Err(value)),
            StringForm::Plain(length) => {
                if length <= BUFFER as u64 {
                    bytes.reserve_exact(length as usize); // at most BUFFER, so that a short string is no longer than it is
                }
                self.take_into(&mut bytes, length)?;
            }
            StringForm::Lzf { packed, length } => self.unpack(packed, length, &mut bytes)?,
        }
        if bytes.capacity() - bytes.len() > bytes.len() / 8 {
            bytes.shrink_to_fit();
        }
        Ok(Ok(bytes))
    }

    /// A string, appended to `out` unless it is longer than the buffer.
    pub(super) fn append_string(&mut self, out: &mut Vec<u8>) -> Result<ReadString, Error> {
        const MOST: u64 = BUFFER as u64; // widening
        let form = self.string_form()?;
        if let StringForm::Int(value) = form {
            return Ok(ReadString::Int(value));
        }
        let mut long = Vec::new();
        let is_short = matches!(form, StringForm::Plain(length) | StringForm::Lzf { length, .. } if length <= MOST);
        let place = if is_short { out } else { &mut long };
        match form {
            StringForm::Int(_) => {}
            StringForm::Plain(length) => self.take_into(place, length)?,
            StringForm::Lzf { packed, length } => self.unpack(packed, length, place)?,
        }
        if is_short {
            return Ok(ReadString::Appended);
        }
        long.shrink_to_fit();
        Ok(ReadString::Long(long))
    }

    /// A string's bytes; an integer is spelled out.
    pub(super) fn blob(&mut self) -> Result<Vec<u8>, Error> {
        Ok(self.owned()?.unwrap_or_else(|value| value.to_string().into_bytes()))
    }

    /// A string that holds a packed value. Read leniently, one that was compressed and is damaged gives what came out.
    pub(super) fn pack(&mut self) -> Result<Vec<u8>, Error> {
        if !self.lenient {
            return self.blob();
        }
        let mut bytes = Vec::new();
        match self.string_form()? {
            StringForm::Int(value) => bytes = value.to_string().into_bytes(),
            StringForm::Plain(length) => self.take_into(&mut bytes, length)?,
            StringForm::Lzf { packed, length } => match self.unpack(packed, length, &mut bytes) {
                Err(error) if matches!(error.cause(), Cause::Damaged(_)) => {}
                unpacked => unpacked?,
            },
        }
        Ok(bytes)
    }

    /// Passes over a string.
    pub(super) fn pass_string(&mut self) -> Result<(), Error> {
        match self.string_form()? {
            StringForm::Int(_) => Ok(()),
            StringForm::Plain(length) | StringForm::Lzf { packed: length, .. } => self.pass(length),
        }
    }

    /// Appends to `out` the `length` bytes that the next `packed` bytes unpack to.
    fn unpack(&mut self, packed: u64, length: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        self.packed(packed, length, |compressed, length| lzf::decompress(compressed, length, out))
    }

    /// Passes over the next `packed` bytes, which must unpack to `length` bytes.
    pub(super) fn prove(&mut self, packed: u64, length: u64) -> Result<(), Error> {
        self.packed(packed, length, lzf::prove)
    }

    /// Takes the next `packed` bytes, of which `take` makes `length` bytes.
    fn packed(
        &mut self,
        packed: u64,
        length: u64,
        take: impl FnOnce(&[u8], usize) -> Result<(), LzfError>,
    ) -> Result<(), Error> {
        let offset = self.offset();
        let length = usize::try_from(length).map_err(|_| self.error(Cause::OutOfMemory { bytes: length }))?;
        let result = match usize::try_from(packed) {
            Ok(packed) if packed <= BUFFER => take(self.slice(packed)?, length),
            _ => {
                let mut compressed = Vec::new();
                self.take_into(&mut compressed, packed)?;
                take(&compressed, length)
            }
        };
        result.map_err(|error| {
            let cause = match error {
                LzfError::CutShort => Cause::Damaged("a compressed string ends in the middle of a run"),
                LzfError::TooFarBack => Cause::Damaged("a compressed string copies from before its start"),
                LzfError::WrongLength => Cause::Damaged("a compressed string does not give the length it announces"),
                LzfError::OutOfMemory => Cause::OutOfMemory { bytes: length as u64 }, // widening
            };
            Error::new(offset, self.part, cause)
        })
    }

    /// A time in milliseconds.
    pub(super) fn ms(&mut self) -> Result<i64, Error> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A double.
    pub(super) fn double(&mut self) -> Result<f64, Error> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A double as type 3 has it: a length byte and decimal text, or 253 for NaN, 254 and 255 for the infinities.
    pub(super) fn text_double(&mut self) -> Result<f64, Error> {
        let length = match self.byte()? {
            253 => return Ok(f64::NAN),
            254 => return Ok(f64::INFINITY),
            255 => return Ok(f64::NEG_INFINITY),
            length => usize::from(length),
        };
        let parsed = parse_f64(self.slice(length)?);
        parsed.ok_or_else(|| self.damaged("a score is not a number"))
    }
}

/// Appends a double as type 3 has it.
pub(super) fn put_text_double(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.push(253);
    }
    if value.is_infinite() {
        return out.push(if value > 0.0 { 254 } else { 255 });
    }
    let at = out.len();
    out.push(0);
    write_f64_g17(out, value);
    out[at] = (out.len() - at - 1) as u8; // 17 digits, a sign, a point and an exponent
}

/// Appends a length.
pub(super) fn put_length(out: &mut Vec<u8>, length: u64) {
    match length {
        // The casts keep what the range leaves.
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(LENGTH_32);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(LENGTH_64);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// Appends a count of things in memory.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    put_length(out, count as u64); // widening
}

/// Appends an integer as a string: in binary where 32 bits hold it, as text otherwise.
pub(super) fn put_integer(out: &mut Vec<u8>, value: i64) {
    if let Ok(value) = i8::try_from(value) {
        out.push(SPECIAL | SPECIAL_I8);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = i16::try_from(value) {
        out.push(SPECIAL | SPECIAL_I16);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(SPECIAL | SPECIAL_I32);
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(value).as_bytes();
        put_count(out, text.len());
        out.extend_from_slice(text);
    }
}

/// Appends a string in its shortest form; compressed only if there is a `compressor`.
pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8], compressor: Option<&mut Compressor>) {
    if bytes.len() <= 11
        && let Some(value) = parse_i64(bytes)
        && i32::try_from(value).is_ok()
    {
        return put_integer(out, value);
    }
    put_plain(out, bytes, compressor);
}

/// Appends a string, compressed if there is a `compressor` and it saves space: for blobs, which spell no integer.
pub(super) fn put_plain(out: &mut Vec<u8>, bytes: &[u8], compressor: Option<&mut Compressor>) {
    if bytes.len() > COMPRESS_ABOVE
        && let Some(compressor) = compressor
        && put_compressed(out, bytes, compressor)
    {
        return;
    }
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends the compressed form; false, and nothing, where that saves no space.
fn put_compressed(out: &mut Vec<u8>, bytes: &[u8], compressor: &mut Compressor) -> bool {
    // The compressed length comes first but is known last: room for the longest form is left, then closed up.
    const ROOM: usize = 20;
    let start = out.len();
    out.resize(start + ROOM, 0);
    if !compressor.compress(bytes, out) {
        out.truncate(start);
        return false;
    }
    let packed = out.len() - start - ROOM;
    out.push(SPECIAL | SPECIAL_LZF);
    put_count(out, packed);
    put_count(out, bytes.len());
    let header = out.len() - start - ROOM - packed;
    let mut head = [0; ROOM];
    head[..header].copy_from_slice(&out[start + ROOM + packed..]);
    out.truncate(start + ROOM + packed);
    out.copy_within(start + ROOM.., start + header);
    out[start..start + header].copy_from_slice(&head[..header]);
    out.truncate(start + header + packed);
    true
}

/// Appends an element.
pub(super) fn put_element(out: &mut Vec<u8>, element: Element<'_>, compressor: Option<&mut Compressor>) {
    match element {
        Element::Int(value) => put_integer(out, value),
        Element::Bytes(bytes) => put_string(out, bytes, compressor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::{Header, Lineage};

    fn input(bytes: &[u8]) -> Input<'_, &[u8]> {
        Input::new(bytes, Header { lineage: Lineage::Redis, version: 11 })
    }

    #[test]
    fn lengths_take_their_shortest_form_and_come_back() {
        for (length, bytes) in [
            (0, 1),
            (63, 1),
            (64, 2),
            (16383, 2),
            (16384, 5),
            (u64::from(u32::MAX), 5),
            (u64::from(u32::MAX) + 1, 9),
            (u64::MAX, 9),
        ] {
            let mut out = Vec::new();
            put_length(&mut out, length);
            assert_eq!(out.len(), bytes);
            assert_eq!(input(&out).length().unwrap(), length);
        }
    }

    #[test]
    fn strings_come_back_from_every_form() {
        let mut compressor = Compressor::new();
        let long: Vec<u8> = b"all work and no play ".repeat(20_000);
        let texts: [&[u8]; 12] = [
            b"",
            b"0",
            b"-128",
            b"128",
            b"-32769",
            b"2147483647",
            b"2147483648",
            b"-0",
            b"01",
            b"aaaaaaaaaaaaaaaaaaaaaaa",
            b"aaaaaaaaaaaaaaaaaaaa",
            &long,
        ];
        for text in texts {
            for compress in [true, false] {
                let mut out = b"before".to_vec();
                put_string(&mut out, text, compress.then_some(&mut compressor));
                let mut scratch = Text::default();
                assert!(input(&out[6..]).element(&mut scratch).unwrap().eq_bytes(text));
                input(&out[6..]).text(&mut scratch).unwrap();
                assert_eq!(scratch.element().to_vec(), text);
                assert_eq!(input(&out[6..]).blob().unwrap(), text);
                let mut passed = input(&out[6..]);
                passed.pass_string().unwrap();
                assert_eq!(passed.offset(), out.len() as u64 - 6);
            }
        }
        let mut out = Vec::new();
        put_string(&mut out, &[b'a'; 23], Some(&mut compressor));
        assert_eq!(out, [0xc3, 5, 23, 0, b'a', 0xe0, 13, 0]);
    }

    #[test]
    fn impossible_first_bytes_are_refused() {
        assert_eq!(input(&[0x82, 0, 0, 0, 0]).length().unwrap_err().offset(), 1);
        assert!(input(&[0xc4, 0]).blob().is_err());
        assert!(input(&[0xc0, 0]).length().is_err());
        assert!(input(&[0xc3, 1, 0x81, 255, 255, 255, 255, 255, 255, 255, 255, 0]).blob().is_err());
    }
}
