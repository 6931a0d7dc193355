//! The records of one log file into an engine: a thread finds them, this one replays them.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use crate::aof::{self, Fault, Item, OpenSpan, Reached};
use crate::command::replay::Replay;
use crate::engine::Engine;
use crate::persist::PersistError;
use crate::resp::request::Arguments;

use super::pipeline::{self, Outlet};

/// A batch is handed over when it has so many records, or so many bytes.
const BATCH_RECORDS: usize = 512;
const BATCH_BYTES: usize = 256 << 10;
/// Records whose keys are looked up ahead together.
const FETCHED_TOGETHER: usize = 32;

/// Records that have been read.
#[derive(Default)]
struct Batch {
    /// Their arguments, one behind the other.
    bytes: Vec<u8>,
    arguments: Vec<Range<usize>>,
    records: Vec<Record>,
    /// Up to where the file has been read.
    offset: u64,
}

struct Record {
    /// In the file.
    offset: u64,
    /// Of the batch's arguments.
    arguments: Range<usize>,
}

/// How a file ended.
pub(super) struct Ending {
    /// Why it could not be read on; `None` where it ended behind a whole unit.
    pub(super) fault: Option<Fault>,
    pub(super) reached: Reached,
    /// What a seal there would cover.
    pub(super) span: OpenSpan,
}

/// Replays what `reader` gives, and counts the records.
pub(super) fn replay_all<R: Read + Send>(
    engine: &mut Engine,
    reader: aof::Reader<R>,
    path: &Path,
    records: &mut u64,
) -> Result<Ending, PersistError> {
    let mut replay = Replay::new();
    let (ending, replayed) = pipeline::run(
        |outlet| read_all(reader, &outlet),
        |batch: &mut Batch| {
            engine.persistence.load.advance(batch.offset)?;
            replay_batch(engine, &mut replay, batch, path)?;
            *records += batch.records.len() as u64; // usize has at most 64 bits
            batch.clear();
            Ok::<(), PersistError>(())
        },
    );
    replayed.map(|()| ending)
}

fn replay_batch(engine: &mut Engine, replay: &mut Replay, batch: &Batch, path: &Path) -> Result<(), PersistError> {
    for records in batch.records.chunks(FETCHED_TOGETHER) {
        let requests: smallvec::SmallVec<[Arguments<'_>; FETCHED_TOGETHER]> =
            records.iter().map(|record| batch.arguments_of(record)).collect();
        replay.prefetch(engine, &requests);
        for (record, arguments) in records.iter().zip(&requests) {
            replay.run(engine, arguments).map_err(|error| PersistError::Replay {
                path: path.to_owned(),
                offset: record.offset,
                reason: format!(
                    "{error}. Nothing was changed on disk. `aoftool dump` shows the record, `aoftool strip-command` \
                     takes such commands out"
                ),
            })?;
        }
    }
    Ok(())
}

impl Batch {
    fn push(&mut self, record: &aof::Record<'_>) {
        let first = self.arguments.len();
        for argument in &record.arguments {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(argument);
            self.arguments.push(start..self.bytes.len());
        }
        self.records.push(Record { offset: record.offset, arguments: first..self.arguments.len() });
    }

    fn arguments_of(&self, record: &Record) -> Arguments<'_> {
        self.arguments[record.arguments.clone()].iter().map(|range| &self.bytes[range.clone()]).collect()
    }

    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS || self.bytes.len() >= BATCH_BYTES
    }

    fn clear(&mut self) {
        if self.bytes.capacity() > 4 * BATCH_BYTES {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.arguments.clear();
        self.records.clear();
    }
}

/// The side that reads: up to the end, a fault, or until nobody takes any more.
fn read_all<R: Read>(mut reader: aof::Reader<R>, outlet: &Outlet<Batch>) -> Ending {
    let mut batch = Batch::default();
    let fault = loop {
        match reader.next() {
            Ok(Some(Item::Record(record))) => batch.push(&record),
            Ok(Some(Item::Annotation(_))) => continue,
            Ok(None) => break None,
            Err(fault) => break Some(fault),
        }
        if batch.is_full() {
            batch.offset = reader.offset();
            match outlet.exchange(batch) {
                Some(next) => batch = next,
                None => return end_of(reader, None),
            }
        }
    };
    batch.offset = reader.offset();
    // Where nobody takes it, the other side has an error of its own.
    let _ = outlet.exchange(batch);
    end_of(reader, fault)
}

fn end_of(mut reader: aof::Reader<impl Read>, fault: Option<Fault>) -> Ending {
    Ending { fault, reached: reader.reached(), span: reader.open_span() }
}
