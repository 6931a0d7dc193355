//! The end of the log on a disk of changing moods.

use super::*;
use crate::disk::{Disk, Mode, RealDisk};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the disk does, for all handles of one file.
#[derive(Default)]
struct Mood {
    /// A write or a sync takes so long.
    pause_us: AtomicU64,
    /// The next write gets half of its bytes in, and the one after it none.
    tears: AtomicBool,
    fails: AtomicBool,
    /// Nothing can be reserved.
    is_full: AtomicBool,
    /// Up to where blocks have been reserved.
    reserved: AtomicU64,
}

struct Moody(Box<dyn File>, Arc<Mood>);

impl Moody {
    fn pause(&self) {
        std::thread::sleep(Duration::from_micros(self.1.pause_us.load(Ordering::Relaxed)));
    }
}

impl Read for Moody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for Moody {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Write for Moody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pause();
        if self.1.tears.swap(false, Ordering::Relaxed) {
            self.1.fails.store(true, Ordering::Relaxed);
            return self.0.write(&bytes[..bytes.len().div_ceil(2)]);
        }
        if self.1.fails.swap(false, Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl File for Moody {
    fn sync_data(&self) -> io::Result<()> {
        self.pause();
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn reserve(&self, end: u64) -> io::Result<()> {
        if self.1.is_full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.1.reserved.fetch_max(end, Ordering::Relaxed);
        self.0.reserve(end)
    }

    fn give_back(&self) -> io::Result<()> {
        self.0.give_back()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn duplicate(&self) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Moody(self.0.duplicate()?, Arc::clone(&self.1))))
    }
}

struct Bench {
    append: Append,
    journal: Journal,
    mood: Arc<Mood>,
    wakes: Arc<AtomicU64>,
    expected: Vec<u8>,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mood, wakes) = (Arc::new(Mood::default()), Arc::new(AtomicU64::new(0)));
        let file = RealDisk.open(&path, Mode::Append).unwrap();
        let mut append = Append::off(Instant::now());
        append.continue_in(path.clone(), Box::new(Moody(file, Arc::clone(&mood))), Extent::default(), 0);
        let counted = Arc::clone(&wakes);
        append.allow_thread(
            Arc::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            }),
            None,
        );
        let mut journal = Journal::default();
        journal.set_on(true);
        Self { append, journal, mood, wakes, expected: Vec::new(), path, _dir: dir }
    }

    /// Executes a write.
    fn execute(&mut self, index: usize) {
        let before = self.journal.pending().len();
        self.journal.begin_unit();
        self.journal.append(0, &[b"SET", format!("key:{index}").as_bytes(), b"value"]);
        self.journal.end_unit();
        self.expected.extend_from_slice(&self.journal.pending()[before..]);
    }

    /// Writes one, and waits until it is in the file; the moments before and behind.
    fn write(&mut self, policy: AppendFsync) -> (Instant, Instant) {
        let before = Instant::now();
        self.execute(0);
        while self.append.settled(policy) < self.journal.end() {
            self.append.advance(&mut self.journal, policy).unwrap();
            assert!(before.elapsed() < Duration::from_secs(20), "a write does not end");
            std::thread::yield_now();
        }
        (before, Instant::now())
    }

    fn advance(&mut self) -> Result<(), Fault> {
        self.append.advance(&mut self.journal, AppendFsync::Always)
    }

    /// Turns until everything is settled.
    fn drain(&mut self) {
        for _ in 0..2_000 {
            let _ = self.advance();
            if self.append.settled(AppendFsync::Always) == self.journal.end() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the log did not settle");
    }

    fn content(&self) -> Vec<u8> {
        RealDisk.read_small(Path::new(&self.path), 1 << 30).unwrap()
    }
}

#[test]
fn a_slow_disk_is_left_to_the_thread_and_nothing_settles_before_its_sync() {
    let mut bench = Bench::new();
    bench.mood.pause_us.store(5_000, Ordering::Relaxed);
    let mut turns = Vec::new();
    for index in 0..100 {
        bench.execute(index);
        let end = bench.journal.end();
        let started = Instant::now();
        bench.advance().unwrap();
        turns.push(started.elapsed());
        if bench.append.lent.is_some() {
            assert!(bench.append.settled(AppendFsync::Always) < end, "the sync is not over");
        }
    }
    // The first turns find out; after them none waits for the disk, though some may wait for a processor.
    turns.sort();
    assert!(turns[50] < Duration::from_millis(5), "{turns:?}");
    assert!(bench.append.lent.is_some());
    bench.drain();
    assert!(bench.wakes.load(Ordering::Relaxed) > 0);
    assert_eq!(bench.content(), bench.expected);
    assert_eq!(bench.append.len(), bench.expected.len() as u64);
}

#[test]
fn slowness_is_believed_at_once_and_quickness_after_a_while() {
    let note = |pace: &mut Pace, us: u64| {
        Pace::note(&mut pace.sync_us, Duration::from_micros(us));
        pace.judge(AppendFsync::Always)
    };
    let mut pace = Pace::default();
    assert!((0..100).all(|_| !note(&mut pace, 100)));
    assert!(note(&mut pace, 2_000));
    assert!(!pace.judge(AppendFsync::Everysec), "a turn does not wait for syncs there");
    let turns = (0..1_000).take_while(|_| note(&mut pace, 100)).count();
    assert!((5..50).contains(&turns), "{turns}");
}

/// The thread's write fails half way: it is cut back, tried again, and stands in the file once.
#[test]
fn a_write_that_fails_on_the_thread_is_tried_again_in_order() {
    let mut bench = Bench::new();
    for index in 0..50 {
        bench.append.pace = Pace { write_us: 5_000.0, sync_us: 5_000.0, is_slow: true };
        bench.mood.tears.store(true, Ordering::Relaxed);
        bench.execute(index);
        bench.advance().unwrap();
        assert!(bench.append.lent.is_some(), "the thread has it");
        // What comes meanwhile waits behind it.
        bench.execute(index + 1_000);
        bench.drain();
    }
    assert_eq!(bench.append.fault(), None);
    assert_eq!(bench.content(), bench.expected);
}

#[test]
fn a_flush_waits_for_what_the_thread_has_under_way() {
    let mut bench = Bench::new();
    bench.append.pace = Pace { write_us: 5_000.0, sync_us: 5_000.0, is_slow: true };
    bench.mood.pause_us.store(20_000, Ordering::Relaxed);
    bench.execute(1);
    bench.advance().unwrap();
    assert!(bench.append.queued() > 0);
    bench.execute(2);
    bench.append.flush(&mut bench.journal, AppendFsync::Always).unwrap();
    assert_eq!((bench.append.queued(), bench.append.settled(AppendFsync::Always)), (0, bench.journal.end()));
    assert_eq!(bench.content(), bench.expected);
}

#[test]
fn a_sync_that_fails_while_files_change_leaves_the_old_file_in_doubt() {
    let mut bench = Bench::new();
    bench.execute(1);
    bench.append.flush(&mut bench.journal, AppendFsync::Everysec).unwrap();
    let written = bench.journal.end();
    drop(bench.append.begin_background_sync(&mut bench.journal, Instant::now()).unwrap());
    drop(bench.append.hold(&mut bench.journal).unwrap());
    assert_eq!(bench.append.rest(), Rest::Written);
    bench.append.end_background_sync(Err(io::Error::other("the medium")));
    let path = bench.path.with_extension("next");
    let file = RealDisk.open(&path, Mode::Append).unwrap();
    bench.append.switch_to(path, file, 0);
    assert!(bench.append.settled(AppendFsync::Always) < written, "no later success makes up for it");
    assert!(bench.append.needs_new_base());
    bench.append.give_up("in vain".to_owned());
    assert!(!bench.append.is_stalled(), "nothing is under way");
}

#[test]
fn writes_wait_when_the_oldest_that_is_not_synced_is_two_seconds_old_and_not_before() {
    let (mut bench, moment) = (Bench::new(), Duration::from_nanos(1));
    let (before, behind) = bench.write(AppendFsync::Everysec);
    assert!(!bench.append.is_late(before + OLDEST - moment));
    let file = bench.append.begin_background_sync(&mut bench.journal, behind).unwrap();
    // This one the sync does not cover.
    let (later, last) = bench.write(AppendFsync::Everysec);
    assert!(!bench.append.is_late(before + OLDEST - moment) && bench.append.late_syncs() == 0);
    assert!(bench.append.is_late(behind + OLDEST) && bench.append.is_late(behind + OLDEST + moment));
    assert_eq!(bench.append.late_syncs(), 1, "it is counted once");
    assert!(bench.append.stalled_for(last + OLDEST + Duration::from_secs(10)) >= Duration::from_secs(10));
    bench.append.end_background_sync(file.sync_data());
    assert!(!bench.append.is_late(later + OLDEST - moment), "the second is younger");
    assert!(bench.append.is_late(last + OLDEST));
    assert_eq!(bench.append.late_syncs(), 2);
    let file = bench.append.begin_background_sync(&mut bench.journal, last).unwrap();
    bench.append.end_background_sync(file.sync_data());
    assert!(!bench.append.is_late(last + 2 * OLDEST), "all is synced");
}

#[test]
fn blocks_are_kept_ahead_and_writes_go_on_where_none_can_be() {
    let mut bench = Bench::new();
    bench.write(AppendFsync::No);
    let kept = bench.mood.reserved.load(Ordering::Relaxed);
    assert!(kept > bench.append.len() + (1 << 19), "{kept} bytes kept");
    bench.mood.is_full.store(true, Ordering::Relaxed);
    for index in 0..20_000 {
        bench.execute(index);
    }
    bench.write(AppendFsync::No);
    assert!(bench.append.len() > kept / 2 && bench.append.reserve_refusal().is_some());
    bench.append.flush(&mut bench.journal, AppendFsync::Always).unwrap();
    assert_eq!(std::fs::read(&bench.path).unwrap(), bench.expected);
}
