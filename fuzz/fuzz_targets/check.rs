//! `rdbtool check` and the server's start agree on every file: both take it, or both refuse it. Where they stop is held
//! by `tests/formats/agreement.rs`: on a file whose damaged length has taken in whole keys, the server names the first
//! thing that it minds among these, and the check the damage.

#![no_main]

use ironkeep::disk::{Disk, RealDisk};
use ironkeep::engine::Engine;
use ironkeep::engine::clock::Clock;
use ironkeep::engine::functions::Functions;
use ironkeep::engine::params::Config;
use ironkeep::persist::load::load_rdb;
use ironkeep::rdb::check::{Rules, judge};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

const NOW_MS: i64 = 1_600_000_000_000;

/// A folder in memory, one for each process.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = PathBuf::from(format!("/dev/shm/ironkeep-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    })
}

/// Whether the server starts with the file, or what it says.
fn started(bytes: &[u8]) -> Result<(), String> {
    std::fs::write(folder().join("dump.rdb"), bytes).expect("a file can be written");
    let mut config = Config::default();
    config.dir = folder().to_string_lossy().into_owned();
    let mut engine = Engine::new(config, Clock::fixed(NOW_MS), fastrand::Rng::with_seed(1));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    load_rdb(&mut engine, &disk).map(|_| ()).map_err(|error| error.to_string())
}

fuzz_target!(|bytes: &[u8]| {
    let rules = Rules { now_ms: NOW_MS, ..Rules::default() };
    let mut functions = Functions::default();
    let mut load = |code: &[u8]| functions.load(code, false).map(|_| ()).map_err(|error| error.to_string());
    let report = judge(&mut Cursor::new(bytes), &rules, &mut load).expect("memory can be read");
    match (started(bytes), report.refusal()) {
        (Ok(()), Some(refusal)) => panic!("only the check refuses: {refusal:?}"),
        (Err(told), None) => panic!("only the server refuses: {told}"),
        (Ok(()), None) | (Err(_), Some(_)) => {}
    }
});
