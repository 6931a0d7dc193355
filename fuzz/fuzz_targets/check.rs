//! `rdbtool check` and the server's start agree on every file: both take it, or both refuse it, at the same offset
//! wherever the server tells one.

#![no_main]

use ironkeep::disk::{Disk, RealDisk};
use ironkeep::engine::Engine;
use ironkeep::engine::clock::Clock;
use ironkeep::engine::functions::Functions;
use ironkeep::engine::params::Config;
use ironkeep::persist::PersistError;
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

/// Where the server stops, if it does, and the offset it tells, if it does.
fn started(bytes: &[u8]) -> Result<(), (Option<u64>, String)> {
    std::fs::write(folder().join("dump.rdb"), bytes).expect("a file can be written");
    let mut config = Config::default();
    config.dir = folder().to_string_lossy().into_owned();
    let mut engine = Engine::new(config, Clock::fixed(NOW_MS), fastrand::Rng::with_seed(1));
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

fuzz_target!(|bytes: &[u8]| {
    let rules = Rules { now_ms: NOW_MS, ..Rules::default() };
    let mut functions = Functions::default();
    let mut load = |code: &[u8]| functions.load(code, false).map(|_| ()).map_err(|error| error.to_string());
    let report = judge(&mut Cursor::new(bytes), &rules, &mut load).expect("memory can be read");
    match (started(bytes), report.refusal()) {
        (Ok(()), None) => {}
        (Ok(()), Some(refusal)) => panic!("only the check refuses: {refusal:?}"),
        (Err(told), None) => panic!("only the server refuses: {told:?}"),
        // Where a damaged length has taken in keys that follow, the server may meet one of them twice before the damage;
        // the check looks for what was meant, and names the damage.
        (Err((_, text)), Some(_)) if text.contains("stands twice") => {}
        (Err((Some(offset), text)), Some(refusal)) => assert_eq!(offset, refusal.offset, "{text}; {refusal:?}"),
        (Err((None, _)), Some(_)) => {}
    }
});
