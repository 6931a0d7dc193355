//! The compressed envelope that Valkey 9.2 may put around a whole file.
//!
//! ```text
//! "VCS" | version 1 | codec: 1 LZ4 | 0 | kind: 0 RDB | one LZ4 frame with the file in it
//!  3        1           1            1     1
//! ```
//!
//! [`unwrap`] looks at the first bytes and gives the bytes of the file, whether it has an envelope or not. It holds one
//! block of the frame, at most 8 MiB. What is wrong with the envelope is an [`io::Error`] that names the offset in the
//! compressed file: of the byte in the header, or of the end of what was read of the frame.

use std::io::{self, Cursor, Read};

use lz4_flex::frame::FrameDecoder;

/// What an envelope begins with.
pub const MAGIC: &[u8; 3] = b"VCS";
/// Bytes in front of the frame.
const HEADER: usize = 7;
/// What stands behind the magic: the value that is read, and what it is called.
const FIELDS: [(u8, &str); HEADER - MAGIC.len()] =
    [(1, "version"), (1, "codec"), (0, "reserved byte"), (0, "kind of content")];

/// The bytes of a file without the envelope that it may have.
pub fn unwrap<R: Read>(mut inner: R) -> io::Result<Unwrapped<R>> {
    let mut head = Vec::with_capacity(HEADER);
    inner.by_ref().take(MAGIC.len() as u64).read_to_end(&mut head)?;
    if head != MAGIC {
        return Ok(Unwrapped(Form::Bare(Cursor::new(head).chain(inner))));
    }
    let mut fields = [0; FIELDS.len()];
    inner.read_exact(&mut fields).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(MAGIC.len() as u64, "the file ends in the header of its envelope"),
        _ => error,
    })?;
    for (index, (found, (known, name))) in fields.into_iter().zip(FIELDS).enumerate() {
        if found != known {
            let what = format!(
                "the {name} of the compressed envelope is {found}, and only {known} is known: save the file without \
                 compression where it came from"
            );
            return Err(damaged((MAGIC.len() + index) as u64, &what));
        }
    }
    let frame = FrameDecoder::new(Counted { inner, read: HEADER as u64 });
    Ok(Unwrapped(Form::Packed(Box::new(Envelope { frame }))))
}

/// The bytes of a file, out of its envelope if it has one.
pub struct Unwrapped<R: Read>(Form<R>);

enum Form<R: Read> {
    Bare(io::Chain<Cursor<Vec<u8>>, R>),
    Packed(Box<Envelope<R>>),
}

impl<R: Read> Read for Unwrapped<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Form::Bare(file) => file.read(out),
            Form::Packed(envelope) => envelope.read(out),
        }
    }
}

struct Envelope<R: Read> {
    frame: FrameDecoder<Counted<R>>,
}

impl<R: Read> Read for Envelope<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.frame.read(out).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => damaged(self.frame.get_ref().read, &format!("the compressed envelope is damaged or cut: {error}")),
        })?;
        let behind = self.frame.get_ref().read;
        if read == 0 && !out.is_empty() && self.frame.get_mut().read(&mut [0])? > 0 {
            return Err(damaged(behind, "the compressed envelope has ended, and more stands behind it"));
        }
        Ok(read)
    }
}

/// Counts what was read.
struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.read += read as u64; // widening
        Ok(read)
    }
}

fn damaged(offset: u64, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("at offset {offset} of the compressed file, {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut frame = lz4_flex::frame::FrameEncoder::new(b"VCS\x01\x01\x00\x00".to_vec());
        frame.write_all(content).unwrap();
        frame.finish().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        unwrap(bytes)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn a_file_comes_out_of_its_envelope_and_any_other_as_it_is() {
        let content: Vec<u8> = (0..300_000u32).map(|n| (n / 7) as u8).collect();
        assert_eq!(unpacked(&packed(&content)).unwrap(), content);
        for other in [&b""[..], b"V", b"VC", b"REDIS0011", b"VALKEY080"] {
            assert_eq!(unpacked(other).unwrap(), other);
        }
    }

    #[test]
    fn an_envelope_of_another_kind_is_named_with_its_offset() {
        for (at, what) in [(3, "version"), (4, "codec"), (5, "reserved byte"), (6, "kind of content")] {
            let mut bytes = packed(b"REDIS0011");
            bytes[at] = 9;
            let error = unpacked(&bytes).unwrap_err().to_string();
            assert!(error.contains(&format!("offset {at} of")) && error.contains(what), "{error}");
        }
        assert!(unpacked(b"VCS\x01").unwrap_err().to_string().contains("ends in the header"));
    }

    #[test]
    fn damage_is_told_with_its_place_and_a_cut_leaves_a_beginning() {
        let content = include_bytes!("envelope.rs");
        let whole = packed(content);
        for at in MAGIC.len()..whole.len() {
            // What a cut leaves is an error or a beginning: the end marker of the file inside tells whether it is all.
            if let Ok(left) = unpacked(&whole[..at]) {
                assert!(content.starts_with(&left) && (left.len() < content.len() || whole.len() - at <= 8));
            }
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x41;
            if let Err(error) = unpacked(&broken) {
                assert!(error.to_string().contains("of the compressed file"), "{error}");
            }
        }
    }

    #[test]
    fn an_rdb_is_read_through_its_envelope() {
        let file = b"REDIS0006\xfe\x00\x00\x03key\x05value\xff\0\0\0\0\0\0\0\0";
        let bytes = packed(file);
        let mut reader = crate::rdb::Reader::new(unwrap(&bytes[..]).unwrap(), Default::default()).unwrap();
        reader.next().unwrap();
        assert!(matches!(reader.next().unwrap(), crate::rdb::Event::Key(header) if header.key == b"key"));
        assert!(matches!(reader.next().unwrap(), crate::rdb::Event::End { .. }));
    }
}
