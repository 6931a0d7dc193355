//! The checksum before anything else: whether the bytes of a file are those that its writer wrote, told before any of
//! them is believed.
//!
//! The usual file ends with its checksum, so that one pass over the bytes, at memory speed, is enough. Where the last
//! eight bytes do not fit, a second pass walks the keys without decoding them and finds out why: bytes follow the end,
//! as they do in a log that begins with an RDB, or the checksum is wrong, or the file is cut or damaged.

use std::io::{self, Read, Seek, SeekFrom};

use crate::codec::crc64::Crc64;
use crate::rdb::error::{Cause, Error};
use crate::rdb::event::{Checksum, Event};
use crate::rdb::reader::{Options, Reader};

/// How much is read at once.
const BLOCK: usize = 1 << 18;
/// What stands at the end: the end marker and the checksum.
const TRAILER: usize = 9;
const EOF: u8 = 0xff;

/// Tells whether the checksum of the file fits its bytes, and [`Checksum::Mismatch`] with its offset where it does not.
/// The position of `input` is anywhere afterwards.
///
/// An error is one of the disk, or says why the end of the file was not found.
///
/// ```
/// use ironkeep::rdb::{Checksum, check};
/// let mut file = std::io::Cursor::new(b"REDIS0006\xff\0\0\0\0\0\0\0\0");
/// assert_eq!(check::prove(&mut file)?, (Checksum::Disabled, 10));
/// # Ok::<(), ironkeep::rdb::Error>(())
/// ```
pub fn prove<R: Read + Seek>(input: &mut R) -> Result<(Checksum, u64), Error> {
    let failed = |error| Error::new(0, "the file", Cause::Io(error));
    input.seek(SeekFrom::Start(0)).map_err(failed)?;
    if let Some(proven) = of_last_bytes(input).map_err(failed)? {
        return Ok(proven);
    }
    input.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut reader = Reader::new(input, Options { verify: false })?;
    loop {
        if let Event::End { checksum } = reader.next()? {
            let length = if checksum == Checksum::Absent { 0 } else { TRAILER - 1 };
            return Ok((checksum, reader.offset() - length as u64)); // at most TRAILER
        }
    }
}

/// Takes the last bytes for the trailer; `None` where they are not one that fits.
fn of_last_bytes<R: Read>(input: &mut R) -> io::Result<Option<(Checksum, u64)>> {
    let (mut crc, mut block) = (Crc64::new(), vec![0; BLOCK]);
    let (mut held, mut offset) = (0, 0u64);
    loop {
        match input.read(&mut block[held..]) {
            Ok(0) => break,
            Ok(read) => held += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if held == block.len() {
            let whole = held - TRAILER;
            crc.update(&block[..whole]);
            offset += whole as u64; // at most BLOCK
            block.copy_within(whole.., 0);
            held = TRAILER;
        }
    }
    let Some((before, trailer)) = block[..held].split_last_chunk::<{ TRAILER - 1 }>() else { return Ok(None) };
    if before.last() != Some(&EOF) {
        return Ok(None);
    }
    crc.update(before);
    let offset = offset + before.len() as u64; // at most BLOCK
    Ok(match u64::from_le_bytes(*trailer) {
        expected if expected == crc.value() => Some((Checksum::Ok, offset)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::crc64::crc64;
    use std::io::Cursor;

    fn file(value_len: u32) -> Vec<u8> {
        let mut file = b"REDIS0011\xfe\x00\x00\x01k\x80".to_vec();
        file.extend(value_len.to_be_bytes());
        file.extend(vec![b'v'; value_len as usize]);
        file.push(EOF);
        file.extend(crc64(&file).to_le_bytes());
        file
    }

    #[test]
    fn a_checksum_is_proven_wherever_the_file_ends() {
        for len in [0, 1, 100, BLOCK - 40, BLOCK - 24, BLOCK - 23, BLOCK - 22, 3 * BLOCK] {
            let whole = file(len as u32);
            let end = whole.len() as u64 - 8;
            assert_eq!(prove(&mut Cursor::new(&whole)).unwrap(), (Checksum::Ok, end), "{len}");
            let followed = [&whole[..], b"*1\r\n"].concat();
            assert_eq!(prove(&mut Cursor::new(followed)).unwrap(), (Checksum::Ok, end));
            let mut broken = whole.clone();
            broken[13] ^= 1;
            assert!(matches!(prove(&mut Cursor::new(broken)), Ok((Checksum::Mismatch { .. }, at)) if at == end));
            assert!(prove(&mut Cursor::new(&whole[..whole.len() - 1])).unwrap_err().is_cut_short());
        }
        assert_eq!(prove(&mut Cursor::new(b"REDIS0003\xff")).unwrap(), (Checksum::Absent, 10));
    }
}
