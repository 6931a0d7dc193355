//! What the server cannot look into goes through it all the same: loaded and saved again, a file says what it said.

use crate::rig::rdb_files;
use ironkeep::disk::{Disk, RealDisk};
use ironkeep::engine::Engine;
use ironkeep::engine::clock::Clock;
use ironkeep::engine::params::Config;
use ironkeep::persist::PersistError;
use ironkeep::persist::load::load_rdb;
use ironkeep::persist::save::save_now;
use ironkeep::rdb::{Event, Options, Reader, Version, dump};
use ironkeep::value::Object;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const TRAILER: &[u8] = b"\xff\0\0\0\0\0\0\0\0";
/// Two pieces of module data, one before the keys and one behind them.
const BEFORE: &[u8] = b"\xf7\x81\x10\x20\x30\x40\x50\x60\x70\x01\x02\x01\x05\x03abc\x00";
const BEHIND: &[u8] = b"\xf7\x81\x10\x20\x30\x40\x50\x60\x70\x01\x02\x02\x01\x07\x00";

fn server(dir: &Path) -> (Engine, Arc<dyn Disk>) {
    let mut config = Config::default();
    config.dir = dir.to_string_lossy().into_owned();
    (Engine::new(config, Clock::fixed(1_600_000_000_000), fastrand::Rng::with_seed(1)), Arc::new(RealDisk))
}

/// What a server that starts with `file` saves.
fn saved_again(file: &[u8], change: impl FnOnce(&mut Engine)) -> Result<Vec<u8>, PersistError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.rdb");
    std::fs::write(&path, file).unwrap();
    let (mut engine, disk) = server(dir.path());
    load_rdb(&mut engine, &disk)?;
    change(&mut engine);
    let saved = save_now(&mut engine, &disk);
    let after = std::fs::read(path).unwrap();
    assert!(saved.is_ok() || after == file, "a save that fails leaves the file alone");
    saved.map(|_| after)
}

/// Decoded values by database and key.
type Values = BTreeMap<(u64, Vec<u8>), String>;

/// Everything but remarks, hints and access times: keys by database and name with their decoded values, and what stands
/// beside them in the order of the file.
fn told(file: &[u8]) -> (Values, Vec<String>) {
    let mut reader = Reader::new(file, Options::default()).unwrap();
    let (mut keys, mut beside) = (BTreeMap::new(), Vec::new());
    loop {
        match reader.next().unwrap() {
            Event::Key(header) => {
                let Some(object) = reader.object(&Default::default()).unwrap() else { continue };
                keys.insert((header.db, header.key), format!("{:?} {}", header.expire_at_ms, said(&object)));
            }
            Event::End { .. } => return (keys, beside),
            event @ (Event::ModuleAux { .. } | Event::Function { .. }) => beside.push(format!("{event:?}")),
            _ => {}
        }
    }
}

/// All of a value, whatever its encoding.
fn said(object: &Object) -> String {
    match object {
        Object::Set(set) => format!("{:?}", set.iter().map(|member| member.to_vec()).collect::<BTreeSet<_>>()),
        Object::Hash(hash) => {
            let fields = hash.iter().map(|(field, value, at)| (field.to_vec(), value.to_vec(), at));
            format!("{:?}", fields.collect::<BTreeSet<_>>())
        }
        // The order is part of the others, and a payload of the highest version says all of them.
        _ => dump::encode(object, Version::Rdb15).unwrap().escape_ascii().to_string(),
    }
}

/// "A server that has no module wrote over what the module had stored beside the keys": it is kept, in its place.
#[test]
fn module_data_beside_the_keys_is_saved_again_where_it_stood() {
    let file = [b"REDIS0011", BEFORE, b"\xfe\x00\x00\x01k\x01v", BEHIND, TRAILER].concat();
    let once = saved_again(&file, |_| {}).unwrap();
    let place = |part: &[u8]| once.windows(part.len()).position(|window| window == part).unwrap();
    assert!(place(BEFORE) < place(b"\x00\x01k\x01v") && place(b"\x00\x01k\x01v") < place(BEHIND));
    assert_eq!(told(&once), told(&file));
    // A flush takes the keys alone, a load of another file all.
    let flushed = saved_again(&file, |engine| engine.keyspace.clear()).unwrap();
    assert_eq!((told(&flushed).0.len(), told(&flushed).1.len()), (0, 2));
    let cleared = saved_again(&file, Engine::clear_data).unwrap();
    assert!(told(&cleared).1.is_empty());
}

/// "The server loaded the file and saved less": what a file holds, the next save holds, in whatever version it takes.
#[test]
fn every_file_that_loads_is_saved_with_all_its_data() {
    let mut count = 0;
    for path in rdb_files() {
        let whole = std::fs::read(&path).unwrap();
        let Ok(again) = saved_again(&whole, |_| {}) else { continue };
        assert_eq!(told(&again), told(&whole), "{}", path.display());
        count += 1;
    }
    assert!(count >= 20, "{count} files load");
}

/// "An array was in the file, and after BGSAVE it was not": the save takes the version that holds it, or fails and says
/// which key it is.
#[test]
fn what_the_configured_version_cannot_hold_fails_the_save() {
    use ironkeep::engine::params::RdbVersion;
    let file = [b"REDIS0014\xfe\x00\x1c\x01a\x01\x00\x05\x03\x01x", TRAILER].concat();
    let again = saved_again(&file, |_| {}).unwrap();
    assert!(again.starts_with(b"REDIS0014"));
    assert_eq!(told(&again), told(&file));
    for version in [RdbVersion::Rdb11, RdbVersion::Rdb13, RdbVersion::Valkey80] {
        let error = saved_again(&file, |engine| engine.config.rdb_version = version).unwrap_err().to_string();
        assert!(error.contains("\"a\"") && error.contains("array"), "{error}");
    }
}
