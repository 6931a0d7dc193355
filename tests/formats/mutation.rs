//! Every file of the corpus, cut short and with flipped bits: whoever reads it comes back, with an error that names an
//! offset inside the file or with a result, and never panics, hangs, or takes memory out of proportion.
//!
//! `IRONKEEP_MUTATIONS` is the number of cuts, and of flips, per file: 30 by default, 1000 in the full run.
//! `IRONKEEP_SEED` chooses the places.

use crate::rig::{files_below, flushed_logs, length, logs, rdb_files};
use ironkeep::aof::{self, Item, Log, Manifest, RdbDepth, Verdict};
use ironkeep::command::replay::Replay;
use ironkeep::disk::RealDisk;
use ironkeep::engine::Engine;
use ironkeep::engine::clock::Clock;
use ironkeep::engine::params::Config;
use ironkeep::rdb::{self, Event, Version};
use ironkeep::value::Limits;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The longest that one broken file may keep a reader, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a file was broken.
#[derive(Clone, Copy, Debug)]
enum Mutation {
    Cut { at: usize },
    Flip { at: usize, mask: u8 },
}

impl Mutation {
    fn random(index: usize, len: usize, random: &mut fastrand::Rng) -> Self {
        let at = random.usize(..len);
        // One bit mostly; now and then a whole byte, which makes lengths and types of another kind.
        let mask = if random.u8(..4) > 0 { 1 << random.u8(..8) } else { random.u8(1..) };
        if index.is_multiple_of(2) { Mutation::Cut { at } } else { Mutation::Flip { at, mask } }
    }

    fn apply(self, whole: &[u8]) -> Vec<u8> {
        match self {
            Mutation::Cut { at } => whole[..at].to_vec(),
            Mutation::Flip { at, mask } => {
                let mut bytes = whole.to_vec();
                bytes[at] ^= mask;
                bytes
            }
        }
    }
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Result,
    Error { offset: u64 },
}

/// Reads `bytes`, broken by `mutation`; what it returns is counted.
type Reading = fn(bytes: &[u8], mutation: Mutation) -> Outcome;

/// Breaks each file `IRONKEEP_MUTATIONS` times in both ways, and prints what came of it.
fn break_all(what: &str, files: &[PathBuf], read: Reading) {
    let count = 2 * length("IRONKEEP_MUTATIONS", 30);
    let seed = length("IRONKEEP_SEED", 1);
    let (mut errors, mut results) = (0, 0);
    let (sender, outcomes) = mpsc::channel();
    let owned = files.to_vec();
    let worker = std::thread::spawn(move || {
        for (number, path) in owned.iter().enumerate() {
            let whole = std::fs::read(path).unwrap();
            let mut random = fastrand::Rng::with_seed((seed * 1000 + number) as u64); // any number will do
            for index in 0..count {
                let mutation = Mutation::random(index, whole.len(), &mut random);
                let bytes = mutation.apply(&whole);
                let name = format!("{} with {mutation:?}", path.display());
                sender.send((name, None)).unwrap();
                let outcome = catch_unwind(AssertUnwindSafe(|| read(&bytes, mutation)));
                sender.send((String::new(), Some((outcome.is_ok(), outcome.ok(), bytes.len())))).unwrap();
            }
        }
    });
    let mut under_way = String::new();
    loop {
        match outcomes.recv_timeout(PATIENCE) {
            Ok((name, None)) => under_way = name,
            Ok((_, Some((true, Some(Outcome::Result), _)))) => results += 1,
            Ok((_, Some((true, Some(Outcome::Error { offset }), len)))) => {
                assert!(offset <= len as u64, "{under_way}: an error at {offset}, behind the end");
                errors += 1;
            }
            Ok(_) => panic!("{under_way}: panicked"),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{under_way}: no end after {PATIENCE:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    worker.join().unwrap();
    assert_eq!(errors + results, files.len() * count);
    println!("{what}: {} files, {count} mutations each: {errors} errors, {results} results", files.len());
}

/// Decodes every value and, so that a value which only seems whole is found out, encodes it again.
fn read_rdb(bytes: &[u8], verify: bool) -> Result<rdb::Header, rdb::Error> {
    let mut reader = rdb::Reader::new(bytes, rdb::Options { verify })?;
    loop {
        match reader.next()? {
            Event::Key(_) => {
                if let Some(object) = reader.object(&Limits::default())? {
                    // A field may have got an expiry, which only this version can say.
                    rdb::dump::encode(&object, Version::Rdb12).unwrap();
                }
            }
            Event::End { .. } => return Ok(reader.header()),
            _ => {}
        }
    }
}

fn outcome_of<T>(result: &Result<T, rdb::Error>) -> Outcome {
    match result {
        Ok(_) => Outcome::Result,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Outcome::Error { offset: error.offset() }
        }
    }
}

#[test]
fn a_broken_rdb_is_an_error_or_a_result() {
    break_all("RDB files", &rdb_files(), |bytes, mutation| {
        let unverified = read_rdb(bytes, false);
        let verified = read_rdb(bytes, true);
        match (mutation, &verified) {
            (Mutation::Cut { .. }, Ok(_)) => panic!("a file that was cut was read as if it were whole"),
            (_, Ok(header)) if header.version >= 5 => panic!("the checksum did not find it"),
            _ => {}
        }
        // Without the checksum, damage inside a value may go unseen, but not do harm.
        if let Outcome::Error { offset } = outcome_of(&unverified) {
            assert!(offset <= bytes.len() as u64);
        }
        outcome_of(&verified)
    });
}

/// Reads a log file as a start does: the RDB in front, then records into an engine.
fn replay_log(bytes: &[u8]) -> Outcome {
    let mut engine = Engine::new(Config::default(), Clock::fixed(1_800_000_000_000), fastrand::Rng::with_seed(1));
    let mut replay = Replay::new();
    let has_rdb = aof::log::begins_rdb(bytes);
    let opened = aof::check::open_records(bytes, has_rdb, Some(bytes.len() as u64), RdbDepth::Values, &mut |_| {});
    let mut reader = match opened {
        Ok((_, reader)) => reader,
        Err(error) => return Outcome::Error { offset: error.offset() },
    };
    loop {
        match reader.next() {
            Ok(None) => return Outcome::Result,
            Ok(Some(Item::Annotation(_))) => {}
            Ok(Some(Item::Record(record))) => {
                let offset = record.offset;
                if replay.run(&mut engine, &record.arguments).is_err() {
                    return Outcome::Error { offset };
                }
            }
            Err(fault) => return Outcome::Error { offset: fault.offset() },
        }
    }
}

#[test]
fn a_broken_log_is_an_error_or_a_result() {
    let is_log = |path: &PathBuf| !path.to_string_lossy().ends_with(".manifest");
    let files: Vec<_> = logs().iter().flat_map(|folder| files_below(folder)).filter(is_log).collect();
    break_all("log files", &files, |bytes, _| replay_log(bytes));
}

/// The check of a whole log, which also judges whether an end is torn or damaged.
fn judge_log(bytes: &[u8], mutation: Mutation) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("appendonly.aof");
    std::fs::write(&path, bytes).unwrap();
    let log = Log::single(&RealDisk, &path).unwrap();
    let report = aof::check(&RealDisk, &log, RdbDepth::Values, &mut ()).unwrap();
    match report.verdict() {
        Verdict::Clean => Outcome::Result,
        Verdict::Torn { .. } => Outcome::Error { offset: report.files[0].whole_until },
        Verdict::Damaged { offset, .. } => {
            let is_plain = !aof::log::begins_rdb(bytes);
            assert!(!(is_plain && matches!(mutation, Mutation::Cut { .. })), "a cut is a torn tail, not damage");
            Outcome::Error { offset: *offset }
        }
        Verdict::Unsupported { offset, .. } => Outcome::Error { offset: *offset },
    }
}

#[test]
fn a_broken_log_is_judged() {
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "aof");
    let files: Vec<_> = flushed_logs().iter().flat_map(|folder| files_below(folder)).filter(is_log).collect();
    break_all("judged logs", &files, judge_log);
}

#[test]
fn a_broken_manifest_is_an_error_or_a_result() {
    let is_manifest = |path: &PathBuf| path.to_string_lossy().ends_with(".manifest");
    let files: Vec<_> = logs().iter().flat_map(|folder| files_below(folder)).filter(is_manifest).collect();
    break_all("manifests", &files, |bytes, _| match Manifest::parse(bytes) {
        Ok(_) => Outcome::Result,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Outcome::Error { offset: 0 }
        }
    });
}

/// Runs a tool with 200 MB of address space, some hundred times what the files have.
fn tool_copes(tool: &str, verb: &str, file: &Path) {
    let script = "ulimit -v 200000; exec timeout 60 \"$@\"";
    let output = Command::new("bash")
        .args(["-c", script, "bash", tool, verb])
        .arg(file)
        .env_remove("IRONKEEP_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let code = output.status.code();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(code, Some(0..=5)), "{tool} {verb} {}: {}\n{text}", file.display(), output.status);
    assert!(!text.contains("panicked"), "{text}");
}

/// As above through the binaries, with bounded memory.
#[test]
fn the_tools_cope_with_broken_files_in_little_memory() {
    let count = length("IRONKEEP_MUTATIONS", 30) / 10;
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(length("IRONKEEP_SEED", 1) as u64); // any number will do
    let logs = flushed_logs().into_iter().flat_map(|folder| files_below(&folder));
    let logs: Vec<_> = logs.filter(|path| path.extension().is_some_and(|extension| extension == "aof")).collect();
    for index in 0..2 * count {
        for (tool, verbs, files, name) in [
            (env!("CARGO_BIN_EXE_rdbtool"), ["check", "dump", "info"], &rdb_files(), "dump.rdb"),
            (env!("CARGO_BIN_EXE_aoftool"), ["check", "dump", "info"], &logs, "appendonly.aof"),
        ] {
            let whole = std::fs::read(&files[random.usize(..files.len())]).unwrap();
            let path = dir.path().join(name);
            std::fs::write(&path, Mutation::random(index, whole.len(), &mut random).apply(&whole)).unwrap();
            verbs.iter().for_each(|verb| tool_copes(tool, verb, &path));
        }
    }
    println!("the tools coped with {} broken files", 4 * count);
}
