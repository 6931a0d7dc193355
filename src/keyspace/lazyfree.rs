//! Lazy free: what takes long to give back goes to a thread of its own, so that nobody waits for it.
//!
//! A value of more than [`LARGE_COUNT`] elements or [`LARGE_LEN`] bytes, a table that was flushed, and the old versions
//! that a snapshot leaves behind are freed by the thread, whatever the directives `lazyfree-lazy-*` say: here those only
//! choose the word (DEL or UNLINK) under which a removal is logged. What is smaller is freed at once, which costs less
//! than handing it over.
//!
//! Nothing may reach what is handed over, neither a table nor an open snapshot: `Epochs` sees to it. The thread starts
//! with the first thing that it gets, and is joined when the keyspace goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::entry::{Entry, View};
use crate::cow::segments::SegmentTable;
use crate::value::Object;

/// Elements from which on a collection is worth the thread.
const LARGE_COUNT: usize = 512;
/// Bytes from which on a string is.
const LARGE_LEN: usize = 256 * 1024;

/// Something that nobody can reach any more.
pub(super) enum Garbage {
    Entry(Entry),
    Entries(Vec<Entry>),
    /// A database with all of its entries.
    Table(SegmentTable),
    /// A table whose entries belong to another.
    Index(SegmentTable),
    Object(Object),
}

/// A piece of garbage, what it counts for, and about how many bytes it takes.
struct Parcel {
    garbage: Garbage,
    count: u64,
    len: u64,
}

#[derive(Default)]
struct Counts {
    /// Things that the thread has not freed yet, and their bytes.
    pending: AtomicU64,
    pending_len: AtomicU64,
    /// Things that it has freed.
    freed: AtomicU64,
}

/// The way to the thread.
#[derive(Default)]
pub(super) struct LazyFree {
    worker: Option<(Sender<Parcel>, JoinHandle<()>)>,
    counts: Arc<Counts>,
    /// [`Counts::freed`] at the last CONFIG RESETSTAT.
    freed_before: u64,
}

/// What the thread has to do and has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LazyFreeCounts {
    pub pending: u64,
    /// About how many bytes those take.
    pub pending_len: u64,
    /// Since the start or the last CONFIG RESETSTAT.
    pub freed: u64,
}

impl LazyFree {
    /// Hands `garbage` to the thread; at once where no thread can be had.
    pub(super) fn take(&mut self, garbage: Garbage, count: usize, len: usize) {
        let (count, len) = (count as u64, len as u64); // usize has at most 64 bits
        self.counts.pending.fetch_add(count, Ordering::Relaxed);
        self.counts.pending_len.fetch_add(len, Ordering::Relaxed);
        let parcel = Parcel { garbage, count, len };
        if self.worker.is_none() {
            self.worker = start(&self.counts);
        }
        let refused = match &self.worker {
            Some((sender, _)) => sender.send(parcel).err().map(|error| error.0),
            None => Some(parcel),
        };
        if let Some(parcel) = refused {
            parcel.free(&self.counts);
        }
    }

    /// Frees an entry, on this thread where that is quick.
    #[inline]
    pub(super) fn free(&mut self, entry: Entry) {
        match entry.view() {
            View::Object(object) if is_large(object) => {
                let len = object.footprint();
                self.take(Garbage::Entry(entry), 1, len);
            }
            _ => entry.free(),
        }
    }

    /// Frees a value, on this thread where that is quick.
    pub(super) fn free_object(&mut self, object: Object) {
        if is_large(&object) {
            let len = object.footprint();
            self.take(Garbage::Object(object), 1, len);
        }
    }

    pub(super) fn counts(&self) -> LazyFreeCounts {
        LazyFreeCounts {
            pending: self.counts.pending.load(Ordering::Relaxed),
            pending_len: self.counts.pending_len.load(Ordering::Relaxed),
            freed: self.counts.freed.load(Ordering::Relaxed).saturating_sub(self.freed_before),
        }
    }

    /// CONFIG RESETSTAT.
    pub(super) fn reset_freed(&mut self) {
        self.freed_before = self.counts.freed.load(Ordering::Relaxed);
    }
}

impl Drop for LazyFree {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.worker.take() {
            drop(sender);
            let _ = thread.join(); // it ends when the channel is empty; a panic of its own was told already
        }
    }
}

fn start(counts: &Arc<Counts>) -> Option<(Sender<Parcel>, JoinHandle<()>)> {
    let (sender, receiver) = channel();
    let counts = Arc::clone(counts);
    let thread = std::thread::Builder::new().name("lazy free".to_owned()).spawn(move || free_all(&receiver, &counts));
    thread.ok().map(|thread| (sender, thread))
}

fn free_all(receiver: &Receiver<Parcel>, counts: &Counts) {
    while let Ok(parcel) = receiver.recv() {
        parcel.free(counts);
    }
}

impl Parcel {
    fn free(self, counts: &Counts) {
        match self.garbage {
            Garbage::Entry(entry) => entry.free(),
            Garbage::Entries(entries) => entries.into_iter().for_each(Entry::free),
            Garbage::Table(table) => free_table(table),
            Garbage::Index(table) => drop(table),
            Garbage::Object(object) => drop(object),
        }
        counts.freed.fetch_add(self.count, Ordering::Relaxed);
        counts.pending.fetch_sub(self.count, Ordering::Relaxed);
        counts.pending_len.fetch_sub(self.len, Ordering::Relaxed);
    }
}

/// Frees a table and all of its entries.
pub(super) fn free_table(table: SegmentTable) {
    for segment in table.into_segments() {
        segment.iter().for_each(|payload| Entry::from_payload(payload).free());
    }
}

fn is_large(object: &Object) -> bool {
    match object {
        Object::String(string) => string.len() > LARGE_LEN,
        Object::Module(module) => module.raw.len() > LARGE_LEN,
        object => object.len() > LARGE_COUNT,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Expiry, Keyspace};
    use super::*;
    use crate::value::{Limits, List};

    /// Waits for the thread, some seconds at most.
    fn settle(keyspace: &Keyspace) -> LazyFreeCounts {
        for _ in 0..1_000 {
            if keyspace.lazy_free().pending == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        keyspace.lazy_free()
    }

    fn list(count: usize) -> Object {
        let mut list = List::new();
        (0..count).for_each(|number| list.push_back(number.to_string().as_bytes(), &Limits::default()));
        Object::List(list)
    }

    #[test]
    fn large_values_go_to_the_thread_and_small_ones_do_not() {
        let mut keyspace = Keyspace::new(1);
        for (key, value) in [("large", list(LARGE_COUNT + 1)), ("small", list(LARGE_COUNT)), ("other", list(2_000))] {
            keyspace.db(0).insert(key.as_bytes(), value, None);
        }
        assert!(keyspace.db(0).remove(b"small"));
        assert_eq!(settle(&keyspace).freed, 0);
        assert!(keyspace.db(0).remove(b"large"));
        keyspace.db(0).set_string(b"other", b"overwritten", Expiry::Clear);
        assert_eq!(settle(&keyspace), LazyFreeCounts { pending: 0, pending_len: 0, freed: 2 });
    }

    #[test]
    fn a_flushed_table_waits_for_the_snapshots_that_see_it_and_for_no_others() {
        let mut keyspace = Keyspace::new(2);
        for number in 0..1_000 {
            keyspace.db(number % 2).set_string(number.to_string().as_bytes(), b"a value of some length", Expiry::Clear);
        }
        let seeing = keyspace.snapshot().unwrap();
        keyspace.clear();
        let later = keyspace.snapshot().unwrap();
        assert_eq!((keyspace.len(), keyspace.deferred().0), (0, 1_000));
        assert!(keyspace.deferred().1 > 1_000 * 22);
        keyspace.reclaim();
        assert_eq!((settle(&keyspace).freed, seeing.len()), (0, 1_000));
        drop(seeing);
        keyspace.reclaim();
        assert_eq!((keyspace.deferred(), settle(&keyspace).freed), ((0, 0), 1_000));
        assert!(later.is_empty());
    }
}
