//! What is known before its turn: bytes that are held back, in memory while they are few, else in a temporary file.

use super::sink::Sink;
use std::io::{self, Read, Seek, Write};
use tempfile::SpooledTempFile;

/// Bytes that stay in memory.
const IN_MEMORY: usize = 256 * 1024;
/// Bytes that are read back at once.
const PIECE: usize = 64 * 1024;

/// Bytes in the order in which they came.
#[derive(Default)]
pub struct Spool {
    buffer: Vec<u8>,
    file: Option<SpooledTempFile>,
    len: u64,
}

impl Spool {
    /// The place to append to; [`Spool::spill`] is to follow soon.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Moves the buffer to the file once it holds enough.
    pub fn spill(&mut self) -> io::Result<()> {
        if self.buffer.len() < IN_MEMORY {
            return Ok(());
        }
        // Without memory of its own: what comes here is too much for that.
        let file = self.file.get_or_insert_with(|| SpooledTempFile::new(0));
        self.len += self.buffer.len() as u64; // a buffer's length fits
        file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held back.
    pub fn len(&self) -> u64 {
        self.len + self.buffer.len() as u64 // a buffer's length fits
    }

    /// Hands everything to `each`, in pieces, and is empty afterwards.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.rewind()?;
            let mut piece = vec![0; PIECE];
            loop {
                match file.read(&mut piece)? {
                    0 => break,
                    count => each(&piece[..count]),
                }
            }
        }
        each(&self.buffer);
        self.clear();
        Ok(())
    }

    /// Gives everything to be read, and is empty afterwards.
    pub fn take_reader(&mut self) -> io::Result<impl Read + use<>> {
        let mut file = self.file.take().unwrap_or_else(|| SpooledTempFile::new(0));
        file.rewind()?;
        let rest = std::mem::take(&mut self.buffer);
        self.clear();
        Ok(file.chain(io::Cursor::new(rest)))
    }

    /// Appends everything to `sink`, and is empty afterwards.
    pub fn pour<W: Write>(&mut self, sink: &mut Sink<W>) {
        let poured = self.drain(|piece| sink.append(piece));
        sink.note(poured);
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.file = None;
        self.len = 0;
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        self.spill()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_in_order_from_memory_and_file() {
        for count in [0, 10, 300_000, 1_000_000_u32] {
            let mut spool = Spool::default();
            for number in 0..count {
                spool.write_all(&number.to_le_bytes()).unwrap();
            }
            assert_eq!((spool.len(), spool.is_empty()), (u64::from(count) * 4, count == 0));
            let mut back = Vec::new();
            spool.drain(|piece| back.extend_from_slice(piece)).unwrap();
            assert!(back.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).eq(0..count));
            assert!(spool.is_empty());
            spool.write_all(&back).unwrap();
            let mut again = Vec::new();
            spool.take_reader().unwrap().read_to_end(&mut again).unwrap();
            assert!(again == back && spool.is_empty());
        }
    }
}
