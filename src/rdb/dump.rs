//! DUMP payloads: one value outside of a file.
//!
//! ```text
//! +------+-------+--------------------+-------------------------------------+
//! | type | value | RDB version u16 LE | CRC-64 u64 LE of all bytes before it |
//! +------+-------+--------------------+-------------------------------------+
//! ```
//!
//! There is no magic: the lineage follows from the version, of which Valkey has those from 80 on.

use super::error::{Cause, Error};
use super::input::Input;
use super::kind::{Header, Kind, Lineage, Opcode, OpcodeRow};
use super::object::{self, Scratch};
use super::output::Output;
use super::reader::known;
use super::version::{Version, Weight};
use super::writer::WriteError;
use crate::codec::crc64::crc64;
use crate::value::{Limits, Object};

const PART: &str = "the payload";

/// Encodes a value, its strings compressed where that saves space. What `version` cannot hold of it is an error, hints
/// apart.
pub fn encode(value: &Object, version: Version) -> Result<Vec<u8>, WriteError> {
    if let Some(feature) = object::lacking(value, version).find(|feature| feature.row().weight != Weight::Hint) {
        return Err(WriteError::Lacks { feature, key: Vec::new(), version });
    }
    let kind = object::kind_for(value, version);
    let mut output = Output::new(Vec::new(), true, true);
    output.raw(&[kind.number()]);
    object::write(&mut output, value, kind)?;
    output.raw(&version.number().to_le_bytes());
    Ok(output.finish(true)?)
}

/// Decodes a payload. `None` where it is a collection without elements.
///
/// A checksum that does not fit is [`Cause::Checksum`], a version that this library does not know
/// [`Cause::NewerVersion`], metadata of modules in front of the value (Redis 8.6) [`Cause::Unsupported`]; offsets count from the start of the payload.
pub fn decode(payload: &[u8], limits: &Limits) -> Result<Option<Object>, Error> {
    let (body, header) = check(payload)?;
    decode_body(body, header, limits)
}

/// What stands in front of version and checksum, once these are in order.
fn check(payload: &[u8]) -> Result<(&[u8], Header), Error> {
    let Some((checked, checksum)) = payload.split_last_chunk() else {
        return Err(Error::new(0, PART, Cause::CutShort));
    };
    let Some((body, version)) = checked.split_last_chunk() else {
        return Err(Error::new(0, PART, Cause::CutShort));
    };
    let version = u32::from(u16::from_le_bytes(*version));
    let header = Header { lineage: Lineage::of_version(version), version };
    if !known(header) {
        return Err(Error::new(body.len() as u64, PART, Cause::NewerVersion(header))); // widening
    }
    let (expected, found) = (u64::from_le_bytes(*checksum), crc64(checked));
    if expected != found {
        return Err(Error::new(checked.len() as u64, PART, Cause::Checksum { expected, found })); // widening
    }
    Ok((body, header))
}

/// Encodes function libraries, by their code: one opcode each in the place of a type.
pub fn encode_functions(codes: &[&[u8]], version: Version) -> Result<Vec<u8>, WriteError> {
    let mut output = Output::new(Vec::new(), true, true);
    for code in codes {
        output.raw(&[Opcode::Function.number()]);
        output.blob(code)?;
    }
    output.raw(&version.number().to_le_bytes());
    Ok(output.finish(true)?)
}

/// The code of the libraries in a payload. Errors as of [`decode`].
pub fn decode_functions(payload: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let (body, header) = check(payload)?;
    let mut input = Input::new(body, header);
    input.part = PART;
    let mut codes = Vec::new();
    while input.offset() < body.len() as u64 {
        let number = input.byte()?;
        if number != Opcode::Function.number() {
            return Err(Error::new(0, PART, Cause::UnknownNumber(number)));
        }
        codes.push(input.blob()?.to_vec());
    }
    Ok(codes)
}

fn decode_body(body: &[u8], header: Header, limits: &Limits) -> Result<Option<Object>, Error> {
    let mut input = Input::new(body, header);
    input.part = PART;
    let number = input.byte()?;
    if let Some(row @ OpcodeRow { opcode: Opcode::KeyMeta, .. }) = Opcode::of(number, header.lineage) {
        return Err(Error::new(0, PART, Cause::Unsupported { name: row.name, number, header }));
    }
    let Some(kind) = Kind::of(number, header.lineage) else {
        return Err(Error::new(0, PART, Cause::UnknownNumber(number)));
    };
    let object = object::build(&mut input, kind, limits, &mut Scratch::default())?;
    if input.offset() < body.len() as u64 {
        return Err(input.damaged("bytes are left behind the value"));
    }
    Ok(object)
}
