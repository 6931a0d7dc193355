//! `aoftool check` against the server's own loader, on logs of real servers, sealed ones too, broken in one place: both take
//! the log, both cut its tail at the same offset, or both refuse it at the same.
//!
//! `IRONKEEP_JUDGED_LOGS` says on how many logs this is tried, `IRONKEEP_SEED` chooses them.

use crate::rig::{copy_folder, files_below, length, logs, records};
use ironkeep::aof::Reader;
use ironkeep::disk::{Disk, RealDisk};
use ironkeep::engine::Engine;
use ironkeep::engine::clock::Clock;
use ironkeep::engine::params::Config;
use ironkeep::persist::PersistError;
use ironkeep::persist::load::load_log;
use serde_json::Value as Json;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Longer logs take long and tell no more.
const LONGEST: u64 = 200_000;

/// What becomes of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Loads,
    /// Its tail is cut there.
    Torn(u64),
    /// With the offset, where one is told.
    Refused(Option<u64>),
}

impl Verdict {
    fn agrees(self, other: Self) -> bool {
        match (self, other) {
            (Self::Refused(one), Self::Refused(other)) => one.is_none() || other.is_none() || one == other,
            _ => self == other,
        }
    }
}

/// The number behind a word of a message.
fn number_behind(text: &str, word: &str) -> Option<u64> {
    let digits = &text[text.find(word)? + word.len()..];
    let end = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// What the server's start makes of a data folder, which it changes, and what it says.
fn started(dir: &Path) -> (Verdict, String) {
    let mut config = Config::default();
    config.dir = dir.to_string_lossy().into_owned();
    let mut engine = Engine::new(config, Clock::fixed(1_600_000_000_000), fastrand::Rng::with_seed(1));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let error = match load_log(&mut engine, &disk) {
        Ok((_, loaded)) => {
            let text = loaded.warnings.join("\n");
            let cut = number_behind(&text, "Truncated the file at offset ");
            return (cut.map_or(Verdict::Loads, Verdict::Torn), text);
        }
        Err(error) => error,
    };
    let offset = match &error {
        // Of an RDB whose damage has made the same key of two, the check names the damage (`agreement` has the rest).
        PersistError::Refused { reason, .. } if reason.contains("stands twice") => None,
        PersistError::Replay { offset, .. } => Some(*offset),
        PersistError::Rdb { source, .. } => Some(source.offset()),
        PersistError::Refused { reason, .. } => {
            number_behind(reason, "(offset ").or_else(|| number_behind(reason, "offset "))
        }
        PersistError::Log(_) => None,
        other => panic!("{other}"),
    };
    (Verdict::Refused(offset), error.to_string())
}

/// What `aoftool check` makes of it, and what it says; two findings where the server may name either.
fn checked(dir: &Path) -> (Vec<Verdict>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aoftool"));
    command.args(["check", "--json"]).arg(dir).env_remove("IRONKEEP_DIR").stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().unwrap_or_else(|| panic!("{text}"));
    let Ok(report) = serde_json::from_slice::<Json>(&output.stdout) else {
        assert!(code > 0, "{text}");
        return (vec![Verdict::Refused(None)], text);
    };
    let files = report["files"].as_array().unwrap();
    let broken = files.iter().find(|file| file["verdict"] != "clean");
    let refused = report["refused"].as_array().unwrap().first();
    let of_broken = broken.map(|file| match &file["verdict"] {
        torn if torn == "torn" => Verdict::Torn(file["last_good_offset"].as_u64().unwrap()),
        _ => Verdict::Refused(file["offset"].as_u64()),
    });
    let loads = report["loads"].as_bool().unwrap();
    let verdicts = match (of_broken, refused) {
        (None, None) => vec![Verdict::Loads],
        (Some(Verdict::Torn(_)), Some(record)) | (None, Some(record)) => {
            vec![Verdict::Refused(record["offset"].as_u64())]
        }
        // The server takes damage near a record that it refuses for the cause.
        (Some(verdict), Some(record)) => vec![verdict, Verdict::Refused(record["offset"].as_u64())],
        (Some(verdict), None) => vec![verdict],
    };
    let is_fine = code == 0;
    assert_eq!(
        (is_fine, loads),
        (verdicts[0] == Verdict::Loads, !matches!(verdicts[0], Verdict::Refused(_))),
        "{text}"
    );
    (verdicts, text)
}

/// The places of the records of a file; none where an RDB is in front.
fn spans(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut reader) = (Vec::new(), Reader::new(bytes));
    while let Ok(Some(item)) = reader.next() {
        found.push(item.offset() as usize..item.end() as usize); // no longer than the slice
    }
    found
}

/// Breaks a file in one place; how.
fn damage(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) -> String {
    let spans = spans(bytes);
    if spans.is_empty() || random.bool() { damage_bytes(bytes, random) } else { damage_records(bytes, &spans, random) }
}

fn damage_bytes(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) -> String {
    let len = bytes.len();
    match random.u8(..5) {
        0 => {
            let (at, mask) = (random.usize(..len), 1 << random.u8(..8));
            bytes[at] ^= mask;
            format!("bit {mask} of byte {at} flipped")
        }
        1 => {
            let at = random.usize(..len);
            bytes[at] = random.u8(..);
            format!("byte {at} changed")
        }
        2 => {
            let at = random.usize(..len);
            bytes.truncate(at);
            format!("cut at {at}")
        }
        3 => {
            let zeros = random.usize(1..5_000);
            bytes.resize(len + zeros, 0);
            format!("{zeros} NULs behind")
        }
        _ => {
            let from = random.usize(..len);
            let to = (from + random.usize(1..100)).min(len);
            bytes.drain(from..to);
            format!("{from} to {to} taken out")
        }
    }
}

/// As [`damage`], in what stands at these places.
fn damage_records(bytes: &mut Vec<u8>, spans: &[Range<usize>], random: &mut fastrand::Rng) -> String {
    let span = |random: &mut fastrand::Rng| spans[random.usize(..spans.len())].clone();
    let insert = |bytes: &mut Vec<u8>, at: usize, more: &[u8]| drop(bytes.splice(at..at, more.iter().copied()));
    match random.u8(..7) {
        0 => {
            let gone = span(random);
            bytes.drain(gone.clone());
            format!("the record at {gone:?} taken out")
        }
        1 => {
            let twice = span(random);
            let copy = bytes[twice.clone()].to_vec();
            insert(bytes, twice.end, &copy);
            format!("the record at {twice:?} doubled")
        }
        2 => {
            let word = ["MULTI", "EXEC", "SELECT 9", "SELECT 99", "NOSUCH a", "GET a", "SET a", "DISCARD", "PING"];
            let (at, word) = (span(random).start, word[random.usize(..word.len())]);
            insert(bytes, at, &records(&[word]));
            format!("{word} put in at {at}")
        }
        3 => {
            let (one, other) = (span(random), span(random));
            let (first, last) = if one.start <= other.start { (one, other) } else { (other, one) };
            if first.end <= last.start {
                let [early, middle, late] =
                    [first.clone(), first.end..last.start, last.clone()].map(|range| bytes[range].to_vec());
                drop(bytes.splice(first.start..last.end, [late, middle, early].concat()));
            }
            format!("{first:?} and {last:?} swapped")
        }
        4 => {
            let at = span(random).start;
            let more =
                [&b"#SEAL"[..], b"#TS:12\r\n", b"#\r\n", b"#TS:", b"\r\n", b"PING\r\n", b"*0\r\n", b"*1\r\n$0\r\n\r\n"];
            let more = more[random.usize(..more.len())];
            insert(bytes, at, more);
            format!("{} put in at {at}", more.escape_ascii())
        }
        5 => {
            // A digit of a length.
            let inside = span(random);
            let digits: Vec<usize> = inside.filter(|at| bytes[*at].is_ascii_digit()).take(8).collect();
            if let Some(at) = digits.get(random.usize(..8)) {
                bytes[*at] = b'0' + random.u8(..10);
            }
            "a digit of a record changed".to_owned()
        }
        _ => {
            let last = spans.last().unwrap().clone();
            let at = random.usize(last);
            bytes.truncate(at);
            format!("the last record cut at {at}")
        }
    }
}

/// Data folders with the logs of the corpus, as they are and sealed.
fn pool() -> Vec<tempfile::TempDir> {
    let mut pool = Vec::new();
    for sample in logs() {
        for is_sealed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            copy_folder(&sample, dir.path());
            let all: u64 = files_below(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
            if all > LONGEST {
                continue;
            }
            if is_sealed {
                let mut seal = Command::new(env!("CARGO_BIN_EXE_aoftool"));
                let done = seal.args(["seal", "--yes"]).arg(dir.path()).output().unwrap();
                assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
                // What it has put aside is no part of the log.
                let aside = std::fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.path());
                for path in aside.filter(|path| path.to_string_lossy().contains(".bak-")) {
                    std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path)).unwrap();
                }
            }
            pool.push(dir);
        }
    }
    pool
}

/// Where folders are quick.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn try_one(seed: u64, origin: &Path) -> Result<Verdict, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = scratch();
    copy_folder(origin, dir.path());
    let mut files: Vec<PathBuf> = files_below(dir.path());
    files.retain(|path| path.extension().is_none_or(|kind| kind != "manifest") && path.metadata().unwrap().len() > 0);
    files.sort();
    let file = &files[random.usize(..files.len())];
    let mut bytes = std::fs::read(file).unwrap();
    let how = damage(&mut bytes, &mut random);
    std::fs::write(file, &bytes).unwrap();
    let (check, told) = checked(dir.path());
    let (server, says) = started(dir.path());
    if check.iter().any(|found| server.agrees(*found)) {
        return Ok(server);
    }
    let name = file.file_name().unwrap().to_string_lossy();
    Err(format!(
        "seed {seed}, {}, {name}: {how}\nthe server: {server:?} {says}\nthe check: {check:?} {told}",
        origin.display()
    ))
}

#[test]
fn check_and_server_agree_on_every_broken_log() {
    let (count, pool) = (length("IRONKEEP_JUDGED_LOGS", 600), pool());
    let first = length("IRONKEEP_SEED", 1) as u64 * 1_000_000_000; // usize has at most 64 bits
    let (next, tally) = (AtomicUsize::new(0), [0; 3].map(AtomicUsize::new));
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    match try_one(first + index as u64, pool[index % pool.len()].path()) {
                        Ok(Verdict::Loads) => tally[0].fetch_add(1, Ordering::Relaxed),
                        Ok(Verdict::Torn(_)) => tally[1].fetch_add(1, Ordering::Relaxed),
                        Ok(Verdict::Refused(_)) => tally[2].fetch_add(1, Ordering::Relaxed),
                        Err(what) => {
                            wrong.lock().unwrap().push(what);
                            0
                        }
                    };
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let [loads, torn, refused] = tally.map(AtomicUsize::into_inner);
    println!(
        "check and server agree on {} of {count} broken logs: {loads} load, {torn} are torn, {refused} are refused",
        loads + torn + refused
    );
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n\n"));
    assert!(loads > 0 && torn > 0 && refused > 0, "all kinds were met");
}
