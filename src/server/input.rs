//! Bytes of one client that have come and are not executed yet.
//!
//! Buffers are lent: a client that has nothing under way holds none, so ten thousand idle clients cost no buffers, and a
//! few that are warm in the cache serve all.

use crate::resp::request::Decoder;

/// Bytes that a read asks for at least.
const READ_SIZE: usize = 16 * 1024;
/// Bytes that a read asks for at most, unless a single argument is longer.
const MAX_READ_SIZE: usize = 256 * 1024;
/// The most that is asked for at once for an argument of announced length: whoever announces much must send it, too.
const MAX_ROOM: usize = 16 << 20;
/// Unexecuted bytes beyond which nothing more is read.
const MAX_AHEAD: usize = 256 * 1024;

/// Buffers that no client holds.
#[derive(Default)]
pub(super) struct Spare(Vec<Vec<u8>>);

impl Spare {
    /// Buffers kept in a busy second, and of the largest size.
    const MOST: usize = 64;
    const LARGEST: usize = 2 * MAX_READ_SIZE;

    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| vec![0; READ_SIZE])
    }

    fn put(&mut self, buffer: Vec<u8>) {
        if buffer.len() <= Self::LARGEST && self.0.len() < Self::MOST {
            self.0.push(buffer);
        }
    }

    /// Lets go of half of them: of all within seconds, where none is wanted.
    pub(super) fn shrink(&mut self) {
        self.0.truncate(self.0.len() / 2);
        self.0.shrink_to(Self::MOST);
    }
}

/// The bytes, and how far requests have been found in them.
pub(super) struct Input {
    /// All of it may be written to; its length is its room.
    buffer: Vec<u8>,
    filled: usize,
    decoder: Decoder,
    read_size: usize,
}

impl Default for Input {
    fn default() -> Self {
        Self { buffer: Vec::new(), filled: 0, decoder: Decoder::new(), read_size: READ_SIZE }
    }
}

impl Input {
    pub(super) fn len(&self) -> usize {
        self.filled
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// The decoder, with the bytes behind the first `consumed`.
    pub(super) fn decoder(&mut self, consumed: usize) -> (&mut Decoder, &[u8]) {
        (&mut self.decoder, &self.buffer[consumed..self.filled])
    }

    /// Whether so much waits that reading on would only pile it up. An argument under way is read to its end.
    pub(super) fn is_far_ahead(&self) -> bool {
        self.filled >= MAX_AHEAD && self.decoder.bytes_wanted(self.filled) == 0
    }

    /// Where the next read may put its bytes.
    pub(super) fn space(&mut self, spare: &mut Spare) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer = spare.take();
        }
        let room = self.decoder.bytes_wanted(self.filled).max(self.read_size).min(MAX_ROOM);
        if self.buffer.len() < self.filled + room {
            self.buffer.resize(self.filled + room, 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// `count` bytes have come. A read that filled its space is followed by larger ones.
    pub(super) fn received(&mut self, count: usize) {
        self.filled += count;
        if count >= self.read_size {
            self.read_size = (self.read_size * 2).min(MAX_READ_SIZE);
        } else if count < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(READ_SIZE);
        }
    }

    /// The first `count` bytes are done with. `is_restart` says that requests behind them are to be found again.
    pub(super) fn consume(&mut self, count: usize, is_restart: bool) {
        if is_restart {
            self.decoder.restart();
        }
        // A large value comes in many pieces; nothing of it is to be moved each time.
        if count > 0 {
            self.buffer.copy_within(count..self.filled, 0);
            self.filled -= count;
        }
    }

    /// Gives the buffer back if there is nothing in it.
    pub(super) fn give_back(&mut self, spare: &mut Spare) {
        if self.filled == 0 && !self.buffer.is_empty() {
            spare.put(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_grow_while_they_are_filled_and_idle_clients_hold_no_buffer() {
        let (mut input, mut spare) = (Input::default(), Spare::default());
        for expected in [16, 32, 64, 128, 256, 256] {
            let room = input.space(&mut spare).len();
            assert!(room >= expected << 10, "{room}");
            input.received(room);
            let filled = input.len();
            input.consume(filled, false);
        }
        input.give_back(&mut spare);
        assert!(input.buffer.is_empty() && spare.0.len() == 1);
        for _ in 0..9 {
            input.space(&mut spare);
            input.received(1);
            input.consume(1, false);
            input.give_back(&mut spare);
        }
        assert_eq!((input.read_size, spare.0.len()), (READ_SIZE, 1));
        spare.shrink();
        assert!(spare.0.is_empty());
    }

    #[test]
    fn an_announced_length_does_not_take_memory_before_its_bytes_come() {
        let (mut input, mut spare) = (Input::default(), Spare::default());
        let head = b"*2\r\n$3\r\nGET\r\n$536870912\r\n";
        input.space(&mut spare)[..head.len()].copy_from_slice(head);
        input.received(head.len());
        let (decoder, bytes) = input.decoder(0);
        assert_eq!(decoder.decode(bytes, Default::default()), Ok(crate::resp::request::Step::Incomplete));
        assert!(input.space(&mut spare).len() <= MAX_ROOM);
    }
}
