//! A start on a sealed log that was changed: it stops, or what it cuts off was never known to be on the disk.

use super::*;
use crate::aof::seal::HistoryId;
use crate::disk::RealDisk;
use crate::engine::clock::Clock;
use crate::engine::journal::Journal;
use crate::engine::params::Config;
use std::io::Write;

/// The log of `SET key:0 v0`, `SET key:1 v1` ..., a seal in front of every third one.
struct Made {
    bytes: Vec<u8>,
    /// Offsets behind the records.
    ends: Vec<usize>,
    last_seal: usize,
}

impl Made {
    /// Every seal knows of everything before it, or of nothing but the start.
    fn new(is_synced: bool) -> Self {
        let mut journal = Journal::default();
        journal.set_on(true);
        journal.seal_as(HistoryId::random(&mut fastrand::Rng::with_seed(1)), OpenSpan::at(0), 0);
        let mut made = Self { bytes: journal.begin_file(), ends: Vec::new(), last_seal: 0 };
        for index in 0..8 {
            let has_seal = index % 3 == 2;
            if is_synced {
                journal.note_synced(journal.end());
            }
            journal.set_time(if has_seal { 2_000 * index } else { 2_000 * (index / 3 * 3) }, false);
            journal.begin_unit();
            let (key, value) = (format!("key:{index}"), format!("v{index}").repeat(10));
            journal.append(0, &[b"SET", key.as_bytes(), value.as_bytes()]);
            journal.end_unit();
            if let Some(at) = memchr::memmem::find(journal.pending(), b"#SEAL ") {
                made.last_seal = made.bytes.len() + at;
            }
            made.bytes.extend_from_slice(&journal.take_pending(Vec::new()));
            made.ends.push(made.bytes.len());
        }
        made
    }
}

struct Start {
    dir: tempfile::TempDir,
    disk: Arc<dyn Disk>,
}

impl Start {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        disk.create_dir(&dir.path().join("appendonlydir")).unwrap();
        let start = Self { dir, disk };
        start.write("appendonly.aof.manifest", b"file appendonly.aof.1.incr.aof seq 1 type i\n");
        start
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("appendonlydir").join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        self.disk.open(&self.path(name), Mode::Truncate).unwrap().write_all(bytes).unwrap();
    }

    /// Loads a log of these bytes; how many of the keys are there, and what was loaded. Those that are there are the
    /// first ones, with the values that they were given.
    fn load(&self, bytes: &[u8], verify: bool) -> Result<(usize, Loaded), PersistError> {
        self.write("appendonly.aof.1.incr.aof", bytes);
        let dir = self.dir.path().to_string_lossy().into_owned();
        let mut config = Config::default();
        (config.appendonly, config.aof_verify, config.dir) = (true, verify, dir);
        let mut engine = Engine::new(config, Clock::system(), fastrand::Rng::with_seed(1));
        let (_, loaded) = load_log(&mut engine, &self.disk)?;
        let count = engine.keyspace.len();
        for index in (0..count).filter(|_| verify) {
            let value = engine
                .keyspace
                .db(0)
                .get(format!("key:{index}").as_bytes())
                .and_then(|view| view.string().map(|value| value.to_vec()));
            assert_eq!(value, Some(format!("v{index}").repeat(10).into_bytes()), "key {index} of {count}");
        }
        Ok((count, loaded))
    }

    /// What was kept beside, which goes away.
    fn take_kept(&self) -> Option<u64> {
        let names = self.disk.list(&self.path("")).unwrap();
        let kept = names.iter().find(|name| name.to_string_lossy().contains(".torn-"))?;
        let len = self.disk.metadata(&self.path(&kept.to_string_lossy())).unwrap().len;
        self.disk.remove(&self.path(&kept.to_string_lossy())).unwrap();
        Some(len)
    }
}

#[test]
fn a_flipped_byte_that_was_on_the_disk_stops_the_start_with_its_place() {
    let (start, made) = (Start::new(), Made::new(true));
    for at in 0..made.last_seal {
        let mut bytes = made.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let error = start.load(&bytes, true).expect_err("it must not load").to_string();
        assert!(error.contains("appendonly.aof.1.incr.aof") && error.contains("offset"), "byte {at}: {error}");
        assert!(error.contains("truncate -s") && start.take_kept().is_none(), "byte {at}: {error}");
        assert_eq!(start.disk.read_small(&start.path("appendonly.aof.1.incr.aof"), 1 << 20).unwrap(), bytes);
    }
}

#[test]
fn a_flipped_byte_that_may_never_have_been_there_is_cut_off_with_all_behind_it() {
    let (start, made) = (Start::new(), Made::new(false));
    let (mut cuts, head) = (0, made.bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1);
    for at in head..made.last_seal {
        let mut bytes = made.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let (count, loaded) = start.load(&bytes, true).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        let whole_before = made.ends.iter().take_while(|&&end| end <= at).count();
        assert!(count <= whole_before, "byte {at} is in key {whole_before}, {count} keys were loaded");
        let kept = start.take_kept().expect("what was cut is kept");
        let left = start.disk.metadata(&start.path("appendonly.aof.1.incr.aof")).unwrap().len;
        assert_eq!((left + kept, loaded.warnings.len()), (bytes.len() as u64, 1), "byte {at}");
        // What is left goes on as another history: the old one's name stands for what was cut as well.
        assert_eq!(loaded.log_end.unwrap().history.id, None);
        cuts += 1;
    }
    println!("{cuts} flips, each cut off");
}

#[test]
fn a_log_cut_anywhere_loads_its_whole_units() {
    let (start, made) = (Start::new(), Made::new(true));
    for cut in 0..=made.bytes.len() {
        let (count, _) = start.load(&made.bytes[..cut], true).unwrap_or_else(|error| panic!("cut {cut}: {error}"));
        assert_eq!(count, made.ends.iter().take_while(|&&end| end <= cut).count(), "cut {cut}");
        start.take_kept();
    }
}

#[test]
fn without_verifying_what_can_be_read_is_loaded() {
    let (start, made) = (Start::new(), Made::new(true));
    let mut bytes = made.bytes.clone();
    bytes[made.ends[3] - 5] ^= 1;
    assert!(start.load(&bytes, true).is_err());
    let (count, loaded) = start.load(&bytes, false).unwrap();
    assert_eq!((count, loaded.records), (8, 9));
    assert!(start.take_kept().is_none());
}

#[test]
fn a_log_is_continued_where_its_seals_and_records_end() {
    let (start, made) = (Start::new(), Made::new(true));
    let records: u64 =
        made.ends.iter().scan(0, |last, &end| Some(end - std::mem::replace(last, end))).sum::<usize>() as u64;
    let marks: usize =
        made.bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.starts_with(b"#")).map(<[u8]>::len).sum();
    let (_, loaded) = start.load(&made.bytes, true).unwrap();
    let end = loaded.log_end.unwrap();
    assert_eq!(end.history.at, records - marks as u64);
    // What the next process writes behind it fits.
    let mut journal = Journal::default();
    journal.set_on(true);
    journal.seal_as(end.history.id.unwrap(), end.span, end.history.at);
    journal.begin_unit();
    journal.append(0, &[b"SET", b"key:8", "v8".repeat(10).as_bytes()]);
    journal.end_unit();
    journal.seal_end();
    let all = [made.bytes, journal.take_pending(Vec::new())].concat();
    let (count, loaded) = start.load(&all, true).unwrap();
    assert_eq!((count, loaded.unsealed_bytes), (9, 0));
}
