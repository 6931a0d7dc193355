//! Sealed files, broken in every way: nothing that was changed is read as if it were whole.

use super::*;
use crate::aof::check::{FileReport, RdbDepth, check};
use crate::aof::seal::{HistoryId, SPAN_LEN};
use crate::aof::{Log, OpenSpan, Sealer, Verdict};
use crate::disk::RealDisk;
use crate::resp::encode_request;
use std::io::Write;

/// A file of ours as it is written.
struct Made {
    bytes: Vec<u8>,
    sealer: Sealer,
    at: u64,
    /// Offsets behind units and marks: where a cut leaves nothing torn.
    ends: Vec<usize>,
}

impl Made {
    fn new(seed: u64, at: u64) -> Self {
        let sealer = Sealer::new(HistoryId::random(&mut fastrand::Rng::with_seed(seed)), OpenSpan::at(at));
        let mut made = Self { bytes: Vec::new(), sealer, at, ends: vec![0] };
        made.sealer.note_synced(at);
        made.mark(|sealer, at, log| sealer.mark(at, 1, log));
        made
    }

    fn mark(&mut self, mark: impl FnOnce(&mut Sealer, u64, &mut Vec<u8>)) -> &mut Self {
        mark(&mut self.sealer, self.at, &mut self.bytes);
        self.ends.push(self.bytes.len());
        self
    }

    fn seal(&mut self) -> &mut Self {
        self.mark(|sealer, at, log| sealer.seal(at, 2, None, log))
    }

    /// Adds a unit: records with their own MULTI and EXEC.
    fn unit(&mut self, commands: &[&[&[u8]]]) -> &mut Self {
        let start = self.bytes.len();
        commands.iter().for_each(|command| encode_request(&mut self.bytes, command));
        self.sealer.absorb(&self.bytes[start..]);
        self.at += (self.bytes.len() - start) as u64;
        self.ends.push(self.bytes.len());
        self
    }

    fn set(&mut self, key: &str, value: &[u8]) -> &mut Self {
        self.unit(&[&[b"SET", key.as_bytes(), value]])
    }

    fn sync(&mut self) -> &mut Self {
        self.sealer.note_sync_point(self.at);
        self.sealer.note_synced(self.at);
        self
    }

    /// Three sealed spans, each known to be synced, and records behind them.
    fn synced() -> Self {
        let mut made = Self::new(1, 1000);
        made.set("first", b"value").set("second", b"*3\r\n$3\r\nSET\r\n").sync().seal();
        made.unit(&[&[b"MULTI"], &[b"INCR", b"count"], &[b"DEL", b"first"], &[b"EXEC"]]).sync().seal();
        made.set("third", b"\0\0\0\0").set("fourth", b"value").sync().seal();
        made.set("fifth", b"value").set("sixth", b"value");
        made
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// What a check says of a log of these files.
    fn reports(&self, files: &[&[u8]]) -> Vec<FileReport> {
        let mut manifest = String::new();
        let write = |name: &str, content: &[u8]| {
            RealDisk.open(&self.0.path().join(name), Mode::Truncate).unwrap().write_all(content).unwrap();
        };
        for (index, content) in files.iter().enumerate() {
            let seq = index + 1;
            manifest += &format!("file a.{seq}.incr.aof seq {seq} type i\n");
            write(&format!("a.{seq}.incr.aof"), content);
        }
        write("a.manifest", manifest.as_bytes());
        let log = Log::open(&RealDisk, self.0.path()).unwrap();
        check(&RealDisk, &log, RdbDepth::Values, &mut ()).unwrap().files
    }

    fn verdict(&self, bytes: &[u8]) -> Verdict {
        self.reports(&[bytes]).remove(0).verdict
    }
}

fn torn_at(verdict: &Verdict) -> Option<usize> {
    match verdict {
        Verdict::Torn { last_good_offset, .. } => Some(usize::try_from(*last_good_offset).unwrap()),
        _ => None,
    }
}

fn is_damaged(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Damaged { .. })
}

/// Symptom: a block of zeros that began inside of an identity made one annotation of it and of what stood behind the zeros,
/// up to the end of a line there, and whole records behind that were taken for what was written.
#[test]
fn a_hole_that_begins_in_a_mark_is_a_torn_tail() {
    let mut made = Made::synced();
    made.sync().seal();
    let hole = made.bytes.len() + 7;
    made.mark(|sealer, at, log| sealer.identify(at, 3, log));
    made.unit(&[&[b"MULTI"], &[b"INCR", b"count"], &[b"SET", b"last", b"value"], &[b"EXEC"]]);
    let mut bytes = made.bytes.clone();
    // The zeros end in front of a line feed that a record follows.
    let end = bytes.windows(4).rposition(|window| window == b"\r\n*1").expect("EXEC is a record") + 1;
    bytes[hole..end].fill(0);
    let folder = Folder::new();
    assert_eq!(torn_at(&folder.verdict(&bytes)), Some(hole - 7));
}

/// Where the last seal begins and ends.
fn last_seal(bytes: &[u8]) -> (usize, usize) {
    let start = memchr::memmem::rfind(bytes, b"#SEAL ").unwrap();
    (start, start + memchr::memchr(b'\n', &bytes[start..]).unwrap() + 1)
}

#[test]
fn a_whole_file_is_clean_and_says_what_is_sealed() {
    let made = Made::synced();
    let report = Folder::new().reports(&[&made.bytes]).remove(0);
    assert_eq!(report.verdict, Verdict::Clean);
    let (_, end) = last_seal(&made.bytes);
    assert_eq!((report.seals.seals(), report.seals.sealed_until()), (3, end as u64));
    assert_eq!(report.unsealed_bytes(), (made.bytes.len() - end) as u64);
    assert_eq!(report.seals.end().at, made.at);
}

#[test]
fn every_flipped_bit_before_the_last_seal_is_damage() {
    let (folder, made) = (Folder::new(), Made::synced());
    let (start, end) = last_seal(&made.bytes);
    for at in 0..end {
        for bit in [at % 8, (at + 5) % 8] {
            let mut flipped = made.bytes.clone();
            flipped[at] ^= 1 << bit;
            let verdict = folder.verdict(&flipped);
            // The last seal itself may be made one that nobody knows, or a broken one behind what it says is synced.
            let is_found = if at < start { is_damaged(&verdict) } else { true };
            assert!(is_found, "byte {at} bit {bit}: {verdict:?}");
            if let Verdict::Clean = verdict {
                let seals = folder.reports(&[&flipped]).remove(0).seals.seals();
                assert_eq!(seals, 2, "byte {at} bit {bit}: a changed seal proves nothing");
            }
        }
    }
}

#[test]
fn every_cut_is_a_torn_tail_back_to_the_last_whole_unit() {
    let (folder, made) = (Folder::new(), Made::synced());
    for cut in 0..=made.bytes.len() {
        let verdict = folder.verdict(&made.bytes[..cut]);
        let good = *made.ends.iter().rfind(|&&end| end <= cut).unwrap();
        if good == cut {
            assert_eq!(verdict, Verdict::Clean, "cut {cut}");
        } else {
            assert_eq!(torn_at(&verdict), Some(good), "cut {cut}: {verdict:?}");
        }
    }
}

#[test]
fn zeros_behind_the_last_sync_are_a_torn_tail_whatever_follows_them() {
    let folder = Folder::new();
    let mut made = Made::new(2, 0);
    made.set("a", b"1").sync().seal().set("b", b"2").set("c", b"3");
    let good = made.bytes.len();
    made.set("lost", b"4").set("d", b"5");
    let zeros = good..good + 20;
    // Later writes are there, with seals that know of no later sync.
    made.seal().set("e", b"6").set("f", b"7").seal().set("g", b"8").set("h", b"9").set("i", b"10");
    assert_eq!(folder.verdict(&made.bytes), Verdict::Clean);
    let mut bytes = made.bytes.clone();
    bytes[zeros.clone()].fill(0);
    assert_eq!(torn_at(&folder.verdict(&bytes)), Some(good));
    for nuls in [1, 512, 70_000] {
        let mut bytes = made.bytes.clone();
        bytes.resize(bytes.len() + nuls, 0);
        assert_eq!(torn_at(&folder.verdict(&bytes)), Some(made.bytes.len()), "{nuls} NULs");
    }
    // One that knows better makes it damage.
    made.sync().seal();
    let mut bytes = made.bytes.clone();
    bytes[zeros].fill(0);
    assert!(is_damaged(&folder.verdict(&bytes)));
}

#[test]
fn records_that_were_swapped_doubled_or_left_out_are_found() {
    let (folder, made) = (Folder::new(), Made::synced());
    let piece = |from: usize, to: usize| &made.bytes[made.ends[from]..made.ends[to]];
    // Pieces: identity, two records, seal, transaction, seal, two records, seal, two records.
    let whole = made.ends.len() - 1;
    assert_eq!(whole, 11);
    let orders: [(&str, &[(usize, usize)]); 8] = [
        ("two records swapped", &[(0, 1), (2, 3), (1, 2), (3, whole)]),
        ("a record doubled", &[(0, 2), (1, whole)]),
        ("a record left out", &[(0, 1), (2, whole)]),
        ("two spans swapped", &[(0, 1), (4, 6), (1, 4), (6, whole)]),
        ("a span doubled", &[(0, 6), (4, whole)]),
        ("a span left out", &[(0, 4), (6, whole)]),
        ("a seal left out", &[(0, 3), (4, whole)]),
        ("the identity left out", &[(1, 1), (1, 2), (3, whole)]),
    ];
    for (what, order) in orders {
        let bytes: Vec<u8> = order.iter().flat_map(|&(from, to)| piece(from, to).iter().copied()).collect();
        let verdict = folder.verdict(&bytes);
        assert!(is_damaged(&verdict), "{what}: {verdict:?}");
    }
}

#[test]
fn a_changed_value_behind_the_last_sync_is_cut_to_the_last_good_place() {
    let folder = Folder::new();
    let mut made = Made::new(3, 0);
    made.set("a", b"1").sync().seal();
    let span = made.bytes.len();
    made.set("b", &[b'x'; 100]).set("c", &[b'x'; 100]).seal().set("d", b"1");
    let mut bytes = made.bytes.clone();
    bytes[span + 80] ^= 1;
    assert_eq!(torn_at(&folder.verdict(&bytes)), Some(span), "no record of the span is believed");

    // A sync in the middle of the span tells which part of it is good.
    let mut made = Made::new(3, 0);
    made.set("a", b"1").sync().seal().set("b", &[b'x'; 100]);
    let middle = made.bytes.len();
    made.sync().set("c", &[b'x'; 100]).seal().set("d", b"1");
    let change = |at: usize| {
        let mut bytes = made.bytes.clone();
        bytes[at] ^= 1;
        folder.verdict(&bytes)
    };
    assert_eq!(torn_at(&change(middle + 80)), Some(middle));
    assert!(is_damaged(&change(middle - 50)), "that was on the disk");
}

#[test]
fn a_long_run_without_seals_is_a_peers_and_goes_by_what_can_be_read() {
    let folder = Folder::new();
    let mut made = Made::synced();
    made.seal();
    let ours = made.bytes.len();
    let value = vec![b'v'; 1000];
    while made.bytes.len() - ours < 3 * usize::try_from(SPAN_LEN).unwrap() {
        made.set("peer", &value);
    }
    assert_eq!(folder.verdict(&made.bytes), Verdict::Clean);
    let mut bytes = made.bytes.clone();
    bytes[ours + 30_000] = b'*';
    let at = bytes.len() - 500;
    bytes.truncate(at);
    assert!(torn_at(&folder.verdict(&bytes)).is_some(), "its end may be torn");
    let broken = made.ends.iter().rfind(|&&end| end < ours + 30_000).copied().unwrap();
    bytes[broken] = b'+';
    assert!(is_damaged(&folder.verdict(&bytes)), "but its middle may not");
}

#[test]
fn a_start_of_ours_has_synced_what_is_before_it() {
    let folder = Folder::new();
    let mut made = Made::new(4, 0);
    made.set("a", b"1").set("b", b"2");
    let unsynced = made.ends[1] + 3;
    made.sealer.note_synced(made.at);
    made.sealer.want_identity();
    made.mark(|sealer, at, log| sealer.mark(at, 9, log)).set("c", b"3");
    let mut bytes = made.bytes.clone();
    assert_eq!(folder.verdict(&bytes), Verdict::Clean);
    bytes[unsynced] = 0;
    assert!(is_damaged(&folder.verdict(&bytes)));
}

#[test]
fn files_go_on_where_the_one_before_has_ended() {
    let folder = Folder::new();
    let mut first = Made::new(5, 500);
    first.set("a", b"1").set("b", b"2").sync().seal();
    let mut second = Made::new(5, first.at);
    second.set("c", b"3").sync().seal().set("d", b"4");
    let verdicts = |files: &[&[u8]]| folder.reports(files).into_iter().map(|file| file.verdict).collect::<Vec<_>>();
    assert!(verdicts(&[&first.bytes, &second.bytes]).iter().all(Verdict::is_clean));
    // The first one ends a unit too early, which no reader of its own would see.
    let short = &first.bytes[..first.ends[2]];
    assert!(is_damaged(&verdicts(&[short, &second.bytes])[1]));
    // Another history begins where it says.
    let mut other = Made::new(6, 7);
    other.set("c", b"3");
    assert!(verdicts(&[short, &other.bytes]).iter().all(Verdict::is_clean));
}

/// A rotation syncs a file before the manifest names the next one.
#[test]
fn what_a_rotation_has_left_behind_is_no_torn_tail() {
    let folder = Folder::new();
    let mut first = Made::new(7, 0);
    first.set("a", b"1").sync().seal().set("b", b"2").seal();
    let next = Made::new(7, first.at).bytes;
    assert!(folder.reports(&[&first.bytes, &next]).iter().all(|file| file.verdict.is_clean()));
    let mut flipped = first.bytes.clone();
    flipped[first.ends[3] + 20] ^= 1;
    assert!(torn_at(&folder.verdict(&flipped)).is_some(), "alone it may be one");
    assert!(is_damaged(&folder.reports(&[&flipped, &next])[0].verdict));
}

/// Symptom: a byte that had changed inside of a long transaction was taken for a torn tail, although the seal behind it
/// knew that all of it had been synced.
#[test]
fn a_change_within_a_long_transaction_is_damage_like_any_other() {
    let mut made = Made::new(8, 0);
    made.set("a", b"1").sync().seal();
    let start = made.bytes.len();
    let value = [b'v'; 3000];
    made.unit(&[&[b"MULTI"], &[b"SET", b"b", &value], &[b"SET", b"c", &value], &[b"EXEC"]]).sync().seal();
    for at in [start + 1, start + 20, start + 3060, made.bytes.len() - 100] {
        let mut bytes = made.bytes.clone();
        bytes[at] ^= 4;
        let verdict = Folder::new().verdict(&bytes);
        assert!(is_damaged(&verdict), "{at}: {verdict:?}");
    }
}
