//! Seals as the log is written: follows the bytes, and makes the mark that is due.
//!
//! It is told of all bytes that enter the log, in order, before they may be written; what becomes of a write does not
//! matter to it, since bytes that failed to get in are tried again until they are.

use crc64fast::Digest;

use super::seal::{HistoryId, Identity, Mark, Middle, SPAN_LEN, SPAN_MS, Seal, Sender};

/// Small writes are gathered up to so many bytes: a checksum of few bytes costs as much as one of many.
const GATHERED: usize = 4096;
const VERSION: &[u8] = env!("CARGO_PKG_VERSION").as_bytes();

/// The records since the last mark: what the next seal will prove.
#[derive(Clone)]
pub struct OpenSpan {
    digest: Digest,
    /// Position of its start.
    pub start: u64,
}

impl OpenSpan {
    /// Nothing yet, at this position.
    pub fn at(start: u64) -> Self {
        Self { digest: Digest::new(), start }
    }

    /// As a reader has found it.
    pub fn found(digest: Digest, start: u64) -> Self {
        Self { digest, start }
    }
}

/// The open end of a sealed file.
pub struct Sealer {
    id: HistoryId,
    span: OpenSpan,
    /// Bytes of the span that are not in its digest yet.
    gathered: Vec<u8>,
    synced: u64,
    middle: Option<Middle>,
    /// Unix ms of the last mark.
    marked_ms: i64,
    wants_identity: bool,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Sealer").field("id", &self.id).field("start", &self.span.start).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Goes on with a history behind `span`, in a file that has to be told who writes.
    pub fn new(id: HistoryId, span: OpenSpan) -> Self {
        let gathered = Vec::with_capacity(GATHERED);
        Self { id, span, gathered, synced: 0, middle: None, marked_ms: 0, wants_identity: true }
    }

    pub fn id(&self) -> HistoryId {
        self.id
    }

    /// Position up to which everything is sealed.
    pub fn sealed(&self) -> u64 {
        self.span.start
    }

    /// Everything up to this position is on the disk.
    pub fn note_synced(&mut self, position: u64) {
        self.synced = self.synced.max(position);
    }

    /// What has been absorbed ends at this position, and is about to be synced.
    pub fn note_sync_point(&mut self, position: u64) {
        if position > self.span.start {
            self.absorb_gathered();
            self.middle = Some(Middle { at: position, crc: self.span.digest.sum64() });
        }
    }

    /// Takes note of bytes that enter the log.
    pub fn absorb(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > GATHERED {
            self.absorb_gathered();
        }
        if bytes.len() > GATHERED {
            self.span.digest.write(bytes);
        } else {
            self.gathered.extend_from_slice(bytes);
        }
    }

    fn absorb_gathered(&mut self) {
        self.span.digest.write(&self.gathered);
        self.gathered.clear();
    }

    /// Whether a mark is to stand in front of the unit that begins at position `at`.
    #[inline]
    pub fn is_due(&self, at: u64, now_ms: i64) -> bool {
        let len = at - self.span.start;
        len >= SPAN_LEN || self.wants_identity || (len > 0 && now_ms.abs_diff(self.marked_ms) >= SPAN_MS)
    }

    /// Appends the marks that are due to the log. Everything up to position `at` must have been absorbed.
    pub fn mark(&mut self, at: u64, now_ms: i64, log: &mut Vec<u8>) {
        self.seal(at, now_ms, None, log);
        if self.wants_identity {
            self.identify(at, now_ms, log);
        }
    }

    /// Appends a seal, if there is anything to seal or to tell.
    pub fn seal(&mut self, at: u64, now_ms: i64, sender: Option<Sender<'_>>, log: &mut Vec<u8>) {
        let len = at - self.span.start;
        if len == 0 && sender.is_none() {
            return;
        }
        self.absorb_gathered();
        let crc = self.span.digest.sum64();
        let middle = self.middle.take().filter(|middle| middle.at < at);
        let synced = self.synced.min(at);
        Mark::Seal(Seal { len, at, synced, time_ms: now_ms, crc, middle, sender }).append_to(log);
        (self.span, self.marked_ms) = (OpenSpan::at(at), now_ms);
    }

    /// Appends the identity of the file that is written to. What was not sealed before stays so.
    ///
    /// It may say that everything in front of it is on the disk: that is synced before a file with this head is begun, and
    /// before a start goes on with a file.
    pub fn identify(&mut self, at: u64, now_ms: i64, log: &mut Vec<u8>) {
        Mark::Identity(Identity { id: self.id, at, synced: at, version: VERSION, time_ms: now_ms }).append_to(log);
        self.wants_identity = false;
        (self.span, self.marked_ms, self.middle) = (OpenSpan::at(at), now_ms, None);
        self.gathered.clear();
    }

    /// The next mark is an identity: the file that is written to does not say who writes.
    pub fn want_identity(&mut self) {
        self.wants_identity = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aof::seal::checksum;

    fn mark(line: &[u8]) -> Mark<'_> {
        Mark::parse(line).expect("a mark").expect("a whole one")
    }

    fn sealer() -> Sealer {
        let mut sealer = Sealer::new(HistoryId::random(&mut fastrand::Rng::with_seed(3)), OpenSpan::at(100));
        let mut line = Vec::new();
        sealer.mark(100, 5, &mut line);
        assert!(matches!(mark(&line), Mark::Identity(Identity { at: 100, .. })));
        sealer
    }

    #[test]
    fn a_seal_is_due_behind_16_kib_or_a_second_and_never_behind_nothing() {
        let sealer = sealer();
        assert!(!sealer.is_due(100, 60_000));
        assert!(!sealer.is_due(101, 1_004) && sealer.is_due(101, 1_005));
        assert!(!sealer.is_due(100 + SPAN_LEN - 1, 6) && sealer.is_due(100 + SPAN_LEN, 6));
        assert!(sealer.is_due(101, -2_000), "a clock that was set back must not keep it from sealing");
    }

    #[test]
    fn the_checksum_covers_small_and_large_pieces_alike() {
        let bytes: Vec<u8> = (0..30_000u32).map(|index| (index % 251) as u8).collect();
        for piece in [1, 40, 4095, 4096, 4097, 10_000] {
            let mut sealer = sealer();
            let mut line = Vec::new();
            bytes.chunks(piece).for_each(|piece| sealer.absorb(piece));
            sealer.seal(100 + 30_000, 9, None, &mut line);
            let Mark::Seal(seal) = mark(&line) else { panic!("no seal") };
            assert_eq!((seal.len, seal.at, seal.crc), (30_000, 30_100, checksum(&bytes)), "pieces of {piece}");
        }
    }

    #[test]
    fn a_sync_inside_of_the_span_is_told_with_the_checksum_up_to_there() {
        let mut sealer = sealer();
        let mut line = Vec::new();
        sealer.absorb(b"first");
        sealer.note_sync_point(105);
        sealer.absorb(b"second");
        sealer.note_synced(105);
        sealer.seal(111, 9, None, &mut line);
        let Mark::Seal(seal) = mark(&line) else { panic!("no seal") };
        assert_eq!((seal.synced, seal.middle), (105, Some(Middle { at: 105, crc: checksum(b"first") })));
        assert_eq!(seal.crc, checksum(b"firstsecond"));
        line.clear();
        sealer.note_sync_point(111);
        sealer.absorb(b"third");
        sealer.seal(116, 9, None, &mut line);
        assert!(matches!(mark(&line), Mark::Seal(Seal { middle: None, .. })), "it lies at the start");
    }
}
