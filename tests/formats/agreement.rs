//! `rdb::check` against the server's own loader: on every file of the corpus, whole, cut and with flipped bits, the two
//! say the same: whether a server starts with the file, and if not, at which offset it stops.
//!
//! `IRONKEEP_MUTATIONS` and `IRONKEEP_SEED` are as in `mutation`. So that the checksum does not decide alone, half of the
//! files have theirs switched off (eight zeros).

use crate::rig::{length, rdb_files};
use ironkeep::disk::{Disk, RealDisk};
use ironkeep::engine::Engine;
use ironkeep::engine::clock::Clock;
use ironkeep::engine::functions::Functions;
use ironkeep::engine::params::Config;
use ironkeep::persist::PersistError;
use ironkeep::persist::load::load_rdb;
use ironkeep::rdb::check::{Rules, judge};
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

/// The time of the servers' clock: nothing of the corpus has expired by then, or all of it.
const NOW_MS: [i64; 2] = [1_600_000_000_000, 4_200_000_000_000];

/// What the server's start says: nothing, or where it stops, where it says a number.
pub fn loaded(bytes: &[u8], dir: &Path, now_ms: i64) -> Result<(), (Option<u64>, String)> {
    std::fs::write(dir.join("dump.rdb"), bytes).unwrap();
    let mut config = Config::default();
    config.dir = dir.to_string_lossy().into_owned();
    let mut engine = Engine::new(config, Clock::fixed(now_ms), fastrand::Rng::with_seed(1));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    match load_rdb(&mut engine, &disk) {
        Ok(_) => Ok(()),
        Err(PersistError::Rdb { source, .. }) => Err((Some(source.offset()), source.to_string())),
        Err(PersistError::Refused { reason, .. }) => {
            let offset = reason.strip_prefix("offset ").and_then(|rest| rest.split(':').next()?.parse().ok());
            Err((offset, reason))
        }
        Err(other) => panic!("{other}"),
    }
}

/// What the check says of it.
pub fn judged(bytes: &[u8], now_ms: i64) -> Result<(), (u64, String)> {
    let rules = Rules { now_ms, ..Rules::default() };
    let mut functions = Functions::default();
    let mut load = |code: &[u8]| functions.load(code, false).map(|_| ()).map_err(|error| error.to_string());
    let report = judge(&mut Cursor::new(bytes), &rules, &mut load).unwrap();
    report.refusal().map_or(Ok(()), |refusal| Err((refusal.offset, refusal.what.clone())))
}

/// How the two differ, if they do.
fn disagreement(bytes: &[u8], dir: &Path, now_ms: i64) -> Option<String> {
    let (server, check) = (loaded(bytes, dir, now_ms), judged(bytes, now_ms));
    let same = match (&server, &check) {
        (Ok(()), Ok(())) => true,
        (Err((told, _)), Err((offset, _))) => told.is_none_or(|told| told == *offset),
        _ => false,
    };
    (!same).then(|| format!("the server says {server:?}, the check {check:?}"))
}

#[test]
fn check_and_server_agree_on_every_broken_file() {
    let (count, seed) = (length("IRONKEEP_MUTATIONS", 30), length("IRONKEEP_SEED", 1));
    let dir = tempfile::tempdir().unwrap();
    let (mut wrong, mut loads, mut refuses) = (Vec::new(), 0, 0);
    for (number, path) in rdb_files().iter().enumerate() {
        let whole = std::fs::read(path).unwrap();
        let mut random = fastrand::Rng::with_seed((seed * 1000 + number) as u64); // any number will do
        for index in 0..count {
            let mut bytes = whole.clone();
            let at = random.usize(..bytes.len());
            match index % 6 {
                0 if index > 0 => bytes.truncate(at),
                0 => {}
                _ => bytes[at] ^= if random.bool() { 1 << random.u8(..8) } else { random.u8(1..) },
            }
            // Version 5 on has a checksum; its digits are the last of the magic.
            if index % 6 > 1 && bytes[8] >= b'5' | bytes[7] {
                let end = bytes.len();
                bytes[end - 8..].fill(0);
            }
            match disagreement(&bytes, dir.path(), NOW_MS[index % 2]) {
                None if judged(&bytes, NOW_MS[index % 2]).is_ok() => loads += 1,
                None => refuses += 1,
                Some(what) => wrong.push(format!("{} mutation {index} at {at}: {what}", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{} disagreements:\n{}", wrong.len(), wrong.join("\n"));
    assert!(loads > 0 && refuses > loads / 10, "both kinds occur: {loads}, {refuses}");
    println!("{loads} files load and {refuses} do not, and check says so");
}

/// Files with what stops a server although every byte is whole, or what does not although it looks like it.
#[test]
fn check_and_server_agree_on_what_only_a_server_minds() {
    let with = |body: &[u8]| [b"REDIS0003", body, b"\xff"].concat();
    let far_future = 9_000_000_000_000i64.to_le_bytes();
    let past = 1_000i64.to_le_bytes();
    let expiring = |at: &[u8], body: &[u8]| [b"\xfc", at, body].concat();
    let metadata = b"REDIS0013\xfe\x00\xf3\x01\x00\x00\x00\x01\x02\x05\x00\x00\x01k";
    let with_metadata = |value: &[u8]| [metadata, value, b"\xff\0\0\0\0\0\0\0\0"].concat();
    let update = b"VALKEY081\xfe\x00\xf2*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n\xff\0\0\0\0\0\0\0\0".to_vec();
    let dir = tempfile::tempdir().unwrap();
    for (name, file, loads) in [
        ("a key twice", with(b"\xfe\x00\x00\x01k\x01a\x00\x01k\x01b"), false),
        ("a key in two databases", with(b"\xfe\x00\x00\x01k\x01a\xfe\x01\x00\x01k\x01b"), true),
        (
            "a key twice, the first long expired",
            with(&[b"\xfe\x00", &expiring(&past, b"\x00\x01k\x01a")[..], b"\x00\x01k\x01b"].concat()),
            true,
        ),
        (
            "a key twice, and neither expired",
            with(&[b"\xfe\x00", &expiring(&far_future, b"\x00\x01k\x01a")[..], b"\x00\x01k\x01b"].concat()),
            false,
        ),
        ("a set with a member twice", with(b"\xfe\x00\x02\x01k\x02\x01a\x01a"), false),
        ("a set with 12 as number and as text", with(b"\xfe\x00\x02\x01k\x02\xc0\x0c\x0212"), false),
        ("a hash with a field twice", with(b"\xfe\x00\x04\x01k\x02\x01a\x01x\x01a\x01y"), false),
        ("a score that is not a number", with(b"\xfe\x00\x03\x01k\x01\x01a\xfd"), false),
        ("a list with an item twice", with(b"\xfe\x00\x01\x01k\x02\x01a\x01a"), true),
        ("a collection without elements", with(b"\xfe\x00\x02\x01k\x00"), true),
        ("an empty collection beyond the databases", with(b"\xfe\x20\x02\x01k\x00"), true),
        ("a key beyond the databases", with(b"\xfe\x20\x00\x01k\x01v"), false),
        ("a key twice, once without elements", with(b"\xfe\x00\x02\x01k\x00\x00\x01k\x01v"), true),
        ("bytes behind the end", [&with(b"\xfe\x00\x00\x01k\x01v")[..], b"garbage"].concat(), true),
        ("metadata of modules on a key", with_metadata(b"\x01v"), false),
        ("metadata of modules on a key whose value is cut", with_metadata(b"\x09v"), false),
        ("a command of a Valkey that went on writing", update, false),
        ("nothing at all", Vec::new(), false),
        ("a version from the future", b"REDIS0099\xff\0\0\0\0\0\0\0\0".to_vec(), false),
    ] {
        assert_eq!(disagreement(&file, dir.path(), NOW_MS[0]), None, "{name}");
        assert_eq!(loaded(&file, dir.path(), NOW_MS[0]).is_ok(), loads, "{name}");
    }
}
