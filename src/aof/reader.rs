//! One file's records, annotations and units. Reads only; what to do about a fault is the caller's business.

use std::io::{self, Read, Seek, SeekFrom};

use super::sealer::OpenSpan;
use super::verifier::{HistoryEnd, Verifier};
use super::{Fault, Item, Place, Scanner, Units};

/// Reads a file from its beginning, or from behind the RDB in front of it.
pub struct Reader<R> {
    scanner: Scanner<R>,
    units: Units,
    seals: Verifier,
}

/// How far a reading has come.
#[derive(Debug, Clone, Copy)]
pub struct Reached {
    /// The offset behind the last whole unit: what a torn tail is cut back to.
    pub whole_until: u64,
    pub seals: Verifier,
}

impl Reached {
    /// What a seal behind the last whole unit would cover, of a file that is cut there.
    pub fn whole_span(&self, mut file: impl Read + Seek) -> io::Result<OpenSpan> {
        let from = self.seals.span_offset();
        let mut digest = crc64fast::Digest::new();
        let mut chunk = vec![0; 1 << 16];
        file.seek(SeekFrom::Start(from))?;
        let mut file = file.take(self.whole_until.saturating_sub(from));
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(self.seals.open_span(digest)),
                count => digest.write(&chunk[..count]),
            }
        }
    }
}

/// How the seals of a file are to be taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sealing {
    /// Where the file before it has ended.
    pub after: Option<HistoryEnd>,
    /// What does not fit is passed over.
    pub is_lenient: bool,
}

impl<R: Read> Reader<R> {
    /// Reads a file without RDB in front, or a stream of unknown length.
    pub fn new(reader: R) -> Self {
        Self::resume(reader, Vec::new(), 0, None)
    }

    /// As [`Scanner::resume`]: goes on at the file offset `offset` with the bytes `unread` and then the reader; `end` is
    /// the length of the file.
    pub fn resume(reader: R, unread: Vec<u8>, offset: u64, end: Option<u64>) -> Self {
        let (units, seals) = (Units::new(offset), Verifier::new(offset));
        Self { scanner: Scanner::resume(reader, unread, offset, end), units, seals }
    }

    /// Before anything is read: how to take the seals. Without this they must fit, wherever the file begins.
    pub fn take_seals(mut self, sealing: Sealing) -> Self {
        if let Some(end) = sealing.after {
            self.seals.continue_from(end);
        }
        if sealing.is_lenient {
            self.seals.be_lenient();
        }
        self
    }

    /// The next item; `None` where the file ends behind a whole unit.
    #[allow(clippy::should_implement_trait)] // it lends from its buffer, as no Iterator can
    pub fn next(&mut self) -> Result<Option<Item<'_>>, Fault> {
        Ok(self.next_placed()?.map(|(item, _)| item))
    }

    /// The next item and where it stands in its unit.
    #[inline]
    pub fn next_placed(&mut self) -> Result<Option<(Item<'_>, Place)>, Fault> {
        let end = self.scanner.offset();
        match self.scanner.next()? {
            Some(item) => {
                if let Item::Annotation(annotation) = &item {
                    self.seals.annotation(annotation)?;
                }
                let place = self.units.place(&item)?;
                if let Item::Record(record) = &item {
                    self.seals.record(record.len(), place);
                }
                Ok(Some((item, place)))
            }
            None => match self.units.open_multi() {
                Some(multi) => Err(Fault::OpenMulti { multi, end }),
                None => Ok(None),
            },
        }
    }

    /// The offset behind the last whole unit: what a torn tail is cut back to.
    pub fn whole_until(&self) -> u64 {
        self.units.whole_until()
    }

    /// How far the reading has come.
    pub fn reached(&self) -> Reached {
        Reached { whole_until: self.units.whole_until(), seals: self.seals }
    }

    /// What a seal at the end of what was read would cover.
    pub fn open_span(&mut self) -> OpenSpan {
        self.seals.open_span(self.scanner.digest())
    }

    /// Whole units so far.
    pub fn units(&self) -> u64 {
        self.units.count()
    }

    /// The file offset of the next item.
    pub fn offset(&self) -> u64 {
        self.scanner.offset()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode_request;

    fn bytes(commands: &[&[&[u8]]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for command in commands {
            encode_request(&mut bytes, command);
        }
        bytes
    }

    fn end_of(bytes: &[u8]) -> (u64, Option<Fault>) {
        let mut reader = Reader::new(bytes);
        let fault = loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(fault) => break Some(fault),
            }
        };
        (reader.whole_until(), fault)
    }

    #[test]
    fn cut_inside_a_transaction_drops_the_whole_transaction() {
        let before = bytes(&[&[b"SET", b"a", b"1"]]);
        let all = bytes(&[&[b"SET", b"a", b"1"], &[b"multi"], &[b"SET", b"b", b"2"], &[b"Exec"], &[b"PING"]]);
        let exec_end = all.len() as u64 - bytes(&[&[b"PING"]]).len() as u64;
        for cut in before.len()..=all.len() {
            let (whole, fault) = end_of(&all[..cut]);
            let expected = match cut as u64 {
                cut if cut == all.len() as u64 => cut,
                cut if cut >= exec_end => exec_end,
                _ => before.len() as u64,
            };
            assert_eq!(whole, expected, "cut {cut}");
            assert_eq!(fault.is_none(), whole == cut as u64);
        }
    }

    #[test]
    fn multi_in_multi_and_exec_alone_are_faults() {
        let nested = bytes(&[&[b"MULTI"], &[b"MULTI"]]);
        assert!(matches!(end_of(&nested).1, Some(Fault::NestedMulti { offset: 15, multi: 0 })));
        assert!(matches!(end_of(&bytes(&[&[b"EXEC"]])).1, Some(Fault::LooseExec { offset: 0 })));
    }
}
