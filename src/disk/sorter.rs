//! Sorting more records than memory should hold.
//!
//! Records are byte strings and are compared as such, so a caller writes what it sorts by first, most significant byte
//! first. They are collected up to a budget; what is more goes, sorted, to a temporary file without a name, as one run
//! after the other, and the runs are merged as they are read back:
//!
//! ```text
//! file = run ..., run = record ..., record = length u32 LE, bytes
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// How much of a run is read at once while merging, in bytes.
const READ_AHEAD: usize = 8 * 1024;
/// Room for what is left of a record when more is read, in bytes.
const LEFT_OVER: usize = 4 * 1024;
/// From this many records on they get the room that the budget allows at once: a buffer that grows leaves as much behind
/// as it takes.
const MANY: usize = 1024;
/// What the index adds to a record, in bytes.
const PER_RECORD: usize = size_of::<Span>();

/// Collects records.
///
/// ```
/// use ironkeep::disk::Sorter;
/// let mut sorter = Sorter::new(10); // bytes: almost everything goes to the file
/// for word in ["pear", "fig", "apple", "fig"] {
///     sorter.push(word.as_bytes())?;
/// }
/// let mut sorted = sorter.finish()?;
/// let mut words = Vec::new();
/// while let Some(word) = sorted.next()? {
///     words.push(String::from_utf8_lossy(word).into_owned());
/// }
/// assert_eq!(words, ["apple", "fig", "fig", "pear"]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Sorter {
    budget: usize,
    held: Held,
    file: Option<BufWriter<File>>,
    written: u64,
    runs: Vec<Range<u64>>,
}

/// Records in memory: their bytes one after the other, and where each lies.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy)]
struct Span {
    start: usize,
    len: u32,
}

impl Held {
    fn record(&self, span: Span) -> &[u8] {
        &self.bytes[span.start..][..span.len as usize] // u32 fits
    }

    /// Takes what more of these records may need within the budget; none of it is touched before it is used.
    fn make_room(&mut self, budget: usize) {
        let average = self.bytes.len() / self.spans.len() + 1;
        let most = budget.min(64 << 20) / (average + PER_RECORD) + 1;
        self.bytes.reserve_exact((most * average).saturating_sub(self.bytes.len()));
        self.spans.reserve_exact(most.saturating_sub(self.spans.len()));
    }

    fn sort(&mut self) {
        let mut spans = std::mem::take(&mut self.spans);
        spans.sort_unstable_by(|left, right| self.record(*left).cmp(self.record(*right)));
        self.spans = spans;
    }
}

impl Sorter {
    /// Holds up to `budget` bytes, records and index, before it writes to the disk.
    pub fn new(budget: usize) -> Sorter {
        Sorter { budget, held: Held::default(), file: None, written: 0, runs: Vec::new() }
    }

    /// Takes a record of less than 4 GiB.
    pub fn push(&mut self, record: &[u8]) -> io::Result<()> {
        self.push_with(|bytes| bytes.extend_from_slice(record))
    }

    /// Takes the record that `write` appends.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let start = self.held.bytes.len();
        write(&mut self.held.bytes);
        let len = u32::try_from(self.held.bytes.len() - start).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.held.spans.push(Span { start, len });
        if self.held.spans.len() == MANY {
            self.held.make_room(self.budget);
        }
        if self.held.bytes.len() + self.held.spans.len() * PER_RECORD > self.budget {
            self.write_run()?;
        }
        Ok(())
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.held.spans.is_empty() && self.runs.is_empty()
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.held.sort();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::with_capacity(1 << 16, tempfile::tempfile()?)),
        };
        let start = self.written;
        for &span in &self.held.spans {
            file.write_all(&span.len.to_le_bytes())?;
            file.write_all(self.held.record(span))?;
            self.written += 4 + u64::from(span.len);
        }
        self.runs.push(start..self.written);
        self.held.bytes.clear();
        self.held.spans.clear();
        Ok(())
    }

    /// Ends the collection; what comes out is sorted.
    pub fn finish(mut self) -> io::Result<Sorted> {
        if self.file.is_some() && !self.held.spans.is_empty() {
            self.write_run()?;
        }
        let Some(file) = self.file else {
            self.held.sort();
            return Ok(Sorted { held: self.held, next: 0, file: None, runs: Vec::new(), order: BinaryHeap::new() });
        };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let mut sorted =
            Sorted { held: Held::default(), next: 0, file: Some(file), runs: Vec::new(), order: BinaryHeap::new() };
        for (index, unread) in self.runs.into_iter().enumerate() {
            sorted.runs.push(Run { unread, buffer: Vec::with_capacity(READ_AHEAD + LEFT_OVER), at: 0 });
            sorted.advance(index, Vec::new())?;
        }
        Ok(sorted)
    }
}

/// Sorted records, one after the other.
pub struct Sorted {
    /// Everything, where nothing went to the disk.
    held: Held,
    /// Of `held`, the next span.
    next: usize,
    file: Option<File>,
    runs: Vec<Run>,
    /// The first unread record of each run, and the one that was lent last.
    order: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

/// A run that is being read.
struct Run {
    unread: Range<u64>,
    buffer: Vec<u8>,
    at: usize,
}

impl Sorted {
    /// The next record; `None` behind the last.
    #[allow(clippy::should_implement_trait)] // an iterator could not lend its records
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if self.file.is_none() {
            let Some(&span) = self.held.spans.get(self.next) else { return Ok(None) };
            self.next += 1;
            return Ok(Some(self.held.record(span)));
        }
        let Some(Reverse((record, run))) = self.order.pop() else { return Ok(None) };
        // The record is lent from `held`, whose old buffer takes the run's next one.
        let reused = std::mem::replace(&mut self.held.bytes, record);
        self.advance(run, reused)?;
        Ok(Some(&self.held.bytes))
    }

    /// Puts the next record of a run among those to choose from.
    fn advance(&mut self, index: usize, mut record: Vec<u8>) -> io::Result<()> {
        let (Some(file), run) = (&self.file, &mut self.runs[index]) else { return Ok(()) };
        record.clear();
        let mut len = [0; 4];
        if !run.fill(file, 4)? {
            return Ok(());
        }
        len.copy_from_slice(run.take(4));
        let len = u32::from_le_bytes(len) as usize; // u32 fits
        if !run.fill(file, len)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        record.extend_from_slice(run.take(len));
        self.order.push(Reverse((record, index)));
        Ok(())
    }
}

impl Run {
    /// Sees to it that `want` bytes are at hand; false at the end of the run.
    fn fill(&mut self, file: &File, want: usize) -> io::Result<bool> {
        let have = self.buffer.len() - self.at;
        if have >= want {
            return Ok(true);
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let left = self.unread.end - self.unread.start;
        let wanted = (want - have).max(READ_AHEAD) as u64; // usize fits
        let more = wanted.min(left);
        self.buffer.resize(have + more as usize, 0); // no more than a record and READ_AHEAD
        file.read_exact_at(&mut self.buffer[have..], self.unread.start)?;
        self.unread.start += more;
        Ok(self.buffer.len() >= want)
    }

    fn take(&mut self, len: usize) -> &[u8] {
        let taken = &self.buffer[self.at..][..len];
        self.at += len;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(budget: usize, records: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut sorter = Sorter::new(budget);
        records.iter().for_each(|record| sorter.push(record).unwrap());
        let mut sorted = sorter.finish().unwrap();
        let mut out = Vec::new();
        while let Some(record) = sorted.next().unwrap() {
            out.push(record.to_vec());
        }
        assert!(sorted.next().unwrap().is_none(), "the end stays the end");
        out
    }

    #[test]
    fn any_budget_gives_the_same_order() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut records: Vec<Vec<u8>> = (0..2_000)
            .map(|_| {
                let len = if random.u8(..100) == 0 { random.usize(..100_000) } else { random.usize(..20) };
                (0..len).map(|_| random.u8(b'a'..b'd')).collect()
            })
            .collect();
        let outcomes = [0, 1_000, 300_000, usize::MAX].map(|budget| sorted(budget, &records));
        records.sort();
        assert!(outcomes.iter().all(|outcome| *outcome == records));
        assert!(sorted(10, &[]).is_empty());
    }
}
