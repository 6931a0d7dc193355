//! Inputs that are compressed as a whole: gzip, zstd, and the envelope of Valkey 9.2 ([`envelope`]), recognised by their first bytes and unpacked as they are read.
//!
//! Several members or frames in a row are one input, as `gzip -d` and `zstd -d` have it. An end in the middle is an
//! error that names the packing, so that it is not taken for a fault of the RDB inside.

use crate::rdb::envelope;
use std::io::{self, BufReader, Read};

const BUFFER: usize = 64 * 1024;

/// How an input is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Zstd,
    Valkey,
}

impl Packing {
    /// Judges by the first bytes.
    pub fn of(head: &[u8]) -> Option<Packing> {
        match head {
            [0x1f, 0x8b, 0x08, ..] => Some(Packing::Gzip),
            // A frame, or one of the skippable frames that parallel packers put in front.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Packing::Zstd),
            _ if head.starts_with(envelope::MAGIC) => Some(Packing::Valkey),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
            Packing::Valkey => "Valkey",
        }
    }

    /// The bytes inside of `reader`.
    pub fn unpack(self, reader: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
        let buffered = BufReader::with_capacity(BUFFER, reader);
        let unpacked: Box<dyn Read> = match self {
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
            Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(buffered)?),
            // It names itself and the place in its errors.
            Packing::Valkey => return Ok(Box::new(envelope::unwrap(buffered)?)),
        };
        Ok(Box::new(Named { packing: self, inner: unpacked }))
    }
}

/// Says in its errors which packing they are about.
struct Named {
    packing: Packing,
    inner: Box<dyn Read>,
}

impl Read for Named {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.inner.read(out).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            io::ErrorKind::UnexpectedEof => {
                io::Error::new(error.kind(), format!("the {} data ends too early", self.packing.name()))
            }
            kind => io::Error::new(kind, format!("the {} data is damaged: {error}", self.packing.name())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let packing = Packing::of(packed).unwrap();
        packing.unpack(Box::new(io::Cursor::new(packed.to_vec())))?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn members_and_frames_in_a_row_are_one_input() {
        assert_eq!(unpack(&[gzip(b"one "), gzip(b"two")].concat()).unwrap(), b"one two");
        let frame = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
        assert_eq!(unpack(&[&skippable[..], &frame(b"one "), &frame(b"two")].concat()).unwrap(), b"one two");
    }

    #[test]
    fn every_cut_is_an_error_that_names_the_packing() {
        for packed in [gzip(b"some bytes"), zstd::encode_all(&b"some bytes"[..], 3).unwrap()] {
            for end in 4..packed.len() {
                let error = unpack(&packed[..end]).unwrap_err().to_string();
                assert!(error.contains("gzip") || error.contains("zstd"), "{error}");
            }
        }
    }

    #[test]
    fn an_rdb_is_not_packed() {
        assert_eq!(Packing::of(b"REDIS0011"), None);
        assert_eq!(Packing::of(b""), None);
    }
}
