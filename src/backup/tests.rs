//! Backups on a disk in memory: every power cut and every failing call of a run that makes one, prunes and restores.

use super::archive::{Form, Segment};
use super::create::{Order, create};
use super::restore::{Expiry, Wishes, rehearse, restore};
use super::rewind::{self, Target, Until};
use super::verify::{Level, verify, verify_and_note};
use super::*;
use crate::aof::seal::{HistoryId, Identity, Mark, Seal, checksum};
use crate::calendar::Retention;
use crate::command::replay::Replay;
use crate::disk::{Disk, Fault, FaultyDisk, Lie, MemoryDisk, Mode, PowerCut, publish_bytes};
use crate::engine::Engine;
use crate::engine::clock::Clock;
use crate::engine::params::Config;
use crate::engine::persistence::Progress;
use crate::persist::load::load_rdb;
use crate::persist::save::Image;
use crate::resp::encode_request;
use jiff::tz::TimeZone;
use std::ffi::OsStr;
use std::io::Read;
use std::sync::Arc;

const NOW: i64 = 1_795_316_400_000;

fn engine(commands: &[&str]) -> Engine {
    let mut engine = Engine::new(Config::default(), Clock::fixed(NOW), fastrand::Rng::with_seed(1));
    let mut replay = Replay::strict();
    for command in commands {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        replay.run(&mut engine, &words).unwrap();
    }
    engine
}

fn order() -> Order {
    Order {
        label: None,
        cause: "test",
        compression: Some(3),
        verify: Some(Level::Restore),
        position: None,
        max_rate: Arc::default(),
    }
}

/// Makes a backup of what the commands lead to, at this time, as the server's thread does.
fn back_up(disk: &Arc<dyn Disk>, commands: &[&str], at_ms: i64) -> Result<(Catalogue, Manifest), BackupError> {
    let catalogue = Catalogue::new(Arc::clone(disk), Path::new("/repo"));
    catalogue.create()?;
    let _hold = catalogue.hold()?;
    catalogue.sweep()?;
    let image = Image::take(&mut engine(commands), false);
    let progress = Progress::new(at_ms, image.keys());
    let manifest = create(&catalogue, image, &order(), &progress)?;
    let retention = Retention::parse("keep-last 1").unwrap();
    let rules = prune::Rules { retention, zone: TimeZone::UTC, window_ms: 0, now_ms: at_ms };
    let (_, left) = prune::prune(&catalogue, prune::plan(&catalogue, &rules)?)?;
    prune::prune_archive(&catalogue, &left, &rules)?;
    Ok((catalogue, manifest))
}

const OLD: &[&str] = &["SET old 1", "RPUSH list a b c"];
const NEW: &[&str] = &["SET new 2", "PEXPIREAT new 1795316500000", "HSET h f v", "SELECT 3", "SADD s 1 2 x"];

fn wishes(force: bool) -> Wishes {
    Wishes { dir: "/data".into(), force, keys: Vec::new(), expiry: Expiry::Keep, now_ms: NOW }
}

/// A segment in the catalogue of so many records, with the Unix seconds at which they were written; where it ends.
fn archive_records(archive: &Archive, id: HistoryId, from: u64, seconds: &[i64]) -> u64 {
    let (mut content, mut at) = (Vec::new(), from);
    let time_ms = seconds[0] * 1000;
    Mark::Identity(Identity { id, at, synced: at, version: b"test", time_ms }).append_to(&mut content);
    for (index, second) in seconds.iter().enumerate() {
        let start = content.len();
        encode_request(&mut content, &["SET", "written", &second.to_string()]);
        let (len, crc) = ((content.len() - start) as u64, checksum(&content[start..]));
        at += len;
        // A mark tells the time of what follows it.
        let time_ms = seconds.get(index + 1).unwrap_or(second) * 1000;
        Mark::Seal(Seal { len, at, synced: at, time_ms, crc, middle: None, sender: None }).append_to(&mut content);
    }
    let last = *seconds.last().unwrap();
    let segment = Segment { from, to: at, until_ms: last * 1000, form: Form::Plain };
    let packed = zstd::encode_all(content.as_slice(), 1).unwrap();
    publish_bytes(archive.catalogue().disk(), &archive.folder(), segment.name().as_ref(), &packed).unwrap();
    at
}

#[test]
fn a_clock_that_was_set_back_behind_the_cut_is_told() {
    let (disk, id): (Arc<dyn Disk>, _) =
        (Arc::new(MemoryDisk::default()), HistoryId::random(&mut fastrand::Rng::with_seed(1)));
    let catalogue = Catalogue::new(Arc::clone(&disk), Path::new("/repo"));
    let archive = Archive::new(&catalogue, id.as_str());
    archive.create().unwrap();
    let image = Image::take(&mut engine(OLD), false);
    let order = Order { position: Some((id.to_string(), 0)), ..order() };
    create(&catalogue, image, &order, &Progress::new(100_000, 2)).unwrap();
    let middle = archive_records(&archive, id, 0, &[100, 200, 300]);
    archive_records(&archive, id, middle, &[150, 210, 400]);
    let plan = |second| {
        let target = Target { until: Until::Second(second), skip: Vec::new(), base: None };
        let plan = rewind::plan(&catalogue, &target).unwrap();
        (plan.records, plan.is_set_back)
    };
    assert_eq!(
        (plan(120), plan(150), plan(250), plan(350), plan(400)),
        ((1, false), (1, true), (2, true), (5, false), (6, false))
    );
}

/// How many are listed; an error where one of them is not whole, or none is there.
fn look(disk: &Arc<dyn Disk>) -> Result<usize, String> {
    let catalogue = Catalogue::new(Arc::clone(disk), Path::new("/repo"));
    let listed = catalogue.list().map_err(|error| error.to_string())?;
    for Listed { id, manifest } in &listed {
        let verification =
            verify(&catalogue, manifest.as_ref()?, Level::Restore, NOW).map_err(|error| error.to_string())?;
        verification.fault.map_or(Ok(()), |fault| Err(format!("{id}: {fault}")))?;
    }
    if listed.is_empty() { Err("no backup is left".to_owned()) } else { Ok(listed.len()) }
}

/// All that are listed are whole, and one at least is there. How many.
#[track_caller]
fn assert_good(disk: &Arc<dyn Disk>, why: &dyn Fn() -> String) -> usize {
    look(disk).unwrap_or_else(|wrong| panic!("{}: {wrong}", why()))
}

fn disk_with_old() -> MemoryDisk {
    let disk = MemoryDisk::default();
    back_up(&(Arc::new(disk.clone()) as Arc<dyn Disk>), OLD, NOW - 1_000).unwrap();
    disk
}

#[test]
fn a_backup_is_what_was_in_memory() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let (catalogue, manifest) = back_up(&disk, NEW, NOW).unwrap();
    assert_eq!((manifest.keys(), manifest.status(), manifest.rdb_version), (3, "restore", 11));
    assert_eq!(manifest.databases[&0].expires, 1);
    assert_eq!(catalogue.find("latest").unwrap(), manifest);
    assert_eq!(Manifest::parse(&manifest.render(), &manifest.id).unwrap(), manifest);
    assert!(matches!(catalogue.find("20261122T030000Z-000000"), Err(BackupError::NoSuchBackup { .. })));
    assert!(matches!(catalogue.find("../../etc"), Err(BackupError::NoSuchBackup { .. })));
}

#[test]
fn damage_is_found_and_told() {
    let disk = disk_with_old();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (catalogue, manifest) = back_up(&shared, NEW, NOW).unwrap();
    let path = catalogue.folder_of(&manifest.id).join(&manifest.file.name);
    let whole = disk.read_small(&path, 1 << 20).unwrap();
    for (level, at) in [(Level::Quick, whole.len() / 2), (Level::Restore, whole.len() - 1)] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        publish_bytes(&shared, &catalogue.folder_of(&manifest.id), path.file_name().unwrap(), &damaged).unwrap();
        let error = verify_and_note(&catalogue, &manifest.id, level, NOW).unwrap_err();
        assert!(error.to_string().contains("SHA-256"), "{error}");
        assert_eq!(catalogue.read(&manifest.id).unwrap().status(), "damaged");
        assert!(matches!(rehearse(&catalogue, &manifest, &wishes(false)), Err(BackupError::Damaged { .. })));
    }
    // What is damaged is not the latest, and a restore of it fails before anything is there.
    assert!(catalogue.find("latest").is_err());
    restore(&catalogue, &manifest, &wishes(false)).unwrap_err();
    assert!(!disk.exists(Path::new("/data")) && disk.list(Path::new("/")).unwrap() == ["repo"]);
    disk.remove(&path).unwrap();
    let error = verify_and_note(&catalogue, &manifest.id, Level::Quick, NOW).unwrap_err();
    assert!(error.to_string().contains(&manifest.file.name), "{error}");
    // Whole again, it is good again.
    publish_bytes(&shared, &catalogue.folder_of(&manifest.id), path.file_name().unwrap(), &whole).unwrap();
    verify_and_note(&catalogue, &manifest.id, Level::Restore, NOW).unwrap();
    assert_eq!(catalogue.find("latest").unwrap().id, manifest.id);
}

/// What is in memory, is written and comes back is compared, and not only the file with itself.
#[test]
fn a_backup_of_other_data_than_its_manifest_says_is_damaged() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let (catalogue, manifest) = back_up(&disk, NEW, NOW).unwrap();
    let mut fewer = manifest.clone();
    fewer.databases.remove(&3);
    let mut other = manifest.clone();
    other.digest = "0".repeat(64);
    for (manifest, what) in [(fewer, "2 keys were written and 3 came back"), (other, "the digests differ")] {
        let fault = verify(&catalogue, &manifest, Level::Restore, NOW).unwrap().fault.unwrap();
        assert!(fault.contains(what), "{fault}");
        assert_eq!(verify(&catalogue, &manifest, Level::Quick, NOW).unwrap().fault, None);
    }
}

#[test]
fn a_power_cut_at_any_step_leaves_a_good_backup() {
    let disk = disk_with_old();
    let from = disk.steps();
    back_up(&(Arc::new(disk.clone()) as Arc<dyn Disk>), NEW, NOW).unwrap();
    let mut counts = [0; 3];
    for at in from..=disk.steps() {
        for cut in PowerCut::ALL {
            for seed in 0..4 {
                let image: Arc<dyn Disk> = Arc::new(disk.after(at, cut, &mut fastrand::Rng::with_seed(seed)));
                let why = || format!("step {at} of {}, {cut:?}, seed {seed}", disk.steps());
                counts[assert_good(&image, &why)] += 1;
                // The next one finds its way, and removes what was left.
                back_up(&image, OLD, NOW + 1_000).unwrap_or_else(|error| panic!("{}: {error}", why()));
                assert_eq!(assert_good(&image, &why), 1, "{}", why());
                let folders = image.list(Path::new("/repo/backups")).unwrap();
                assert_eq!(folders.len(), 1, "{}: {folders:?}", why());
            }
        }
    }
    assert!(counts[1] > 0 && counts[2] > 0, "{counts:?}");
}

#[test]
fn a_disk_that_only_says_that_it_has_synced_is_found_out() {
    for lie in [Lie::Files, Lie::Folders] {
        let memory = disk_with_old();
        let from = memory.steps();
        back_up(&(Arc::new(FaultyDisk::lying(memory.clone(), lie)) as Arc<dyn Disk>), NEW, NOW).unwrap();
        let images = (from..=memory.steps()).flat_map(|at| PowerCut::ALL.map(|cut| (at, cut)));
        let is_wrong = |(at, cut)| {
            let image: Arc<dyn Disk> = Arc::new(memory.after(at, cut, &mut fastrand::Rng::with_seed(1)));
            look(&image).is_err()
        };
        assert!(images.filter(|image| is_wrong(*image)).count() > 0, "{lie:?}");
    }
}

#[test]
fn a_catalogue_whose_beginning_has_failed_is_durable_with_its_first_backup() {
    for first in 0..6 {
        let memory = MemoryDisk::default();
        let fault = Fault { first, count: 1, errno: 5, is_short: false };
        let disk = FaultyDisk::new(memory.clone(), Some(fault));
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        assert!(back_up(&shared, OLD, NOW).is_err(), "call {first}");
        back_up(&shared, NEW, NOW + 1_000).unwrap();
        let image = memory.after(memory.steps(), PowerCut::Lost, &mut fastrand::Rng::with_seed(1));
        assert_good(&(Arc::new(image) as Arc<dyn Disk>), &|| format!("call {first}"));
    }
}

#[test]
fn an_error_of_any_call_leaves_a_good_backup() {
    let count = {
        let disk = FaultyDisk::new(disk_with_old(), None);
        back_up(&(Arc::new(disk.clone()) as Arc<dyn Disk>), NEW, NOW).unwrap();
        disk.made()
    };
    let mut failures = 0;
    for first in 0..count {
        for (count, is_short) in [(1, false), (3, false), (usize::MAX, false), (1, true)] {
            for errno in [5, 28] {
                let disk = FaultyDisk::new(disk_with_old(), Some(Fault { first, count, errno, is_short }));
                let shared: Arc<dyn Disk> = Arc::new(disk.clone());
                let why = || format!("call {first}, {count} times, errno {errno}, short {is_short}");
                failures += usize::from(back_up(&shared, NEW, NOW).is_err());
                disk.cure();
                assert_good(&shared, &why);
                back_up(&shared, OLD, NOW + 1_000).unwrap_or_else(|error| panic!("{}: {error}", why()));
                assert_eq!(assert_good(&shared, &why), 1, "{}", why());
            }
        }
    }
    assert!(failures > count, "{failures} of {count} calls");
}

#[test]
fn a_backup_that_is_cancelled_leaves_nothing() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let catalogue = Catalogue::new(Arc::clone(&disk), Path::new("/repo"));
    catalogue.create().unwrap();
    let image = Image::take(&mut engine(NEW), false);
    let progress = Progress::new(NOW, image.keys());
    assert!(progress.cancel());
    let outcome = create(&catalogue, image, &order(), &progress);
    assert!(matches!(outcome, Err(BackupError::Persist(PersistError::Cancelled) | BackupError::Cancelled)));
    assert!(disk.list(Path::new("/repo/backups")).unwrap().is_empty());
}

/// What a server would load from a data folder: keys of all databases with types and expiry.
fn contents(disk: &Arc<dyn Disk>, dir: &str) -> Vec<String> {
    let mut engine = engine(&[]);
    engine.config.dir = dir.to_owned();
    engine.clock = Clock::fixed(0);
    load_rdb(&mut engine, disk).unwrap();
    let mut keys = Vec::new();
    for db in 0..engine.keyspace.db_count() {
        engine.keyspace.db(db).visit(&mut |entry| {
            let (key, kind) = (String::from_utf8_lossy(entry.key), entry.value.type_name());
            keys.push(format!("{db} {key} {kind} {}", entry.expire_at_ms.unwrap_or(-1)));
        });
    }
    keys.sort_unstable();
    keys
}

const NEW_CONTENTS: [&str; 3] = ["0 h hash -1", "0 new string 1795316500000", "3 s set -1"];

#[test]
fn a_power_cut_at_any_step_of_a_restore_leaves_what_was_there_or_what_was_asked_for() {
    for is_there in [false, true] {
        let disk = MemoryDisk::default();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (catalogue, manifest) = back_up(&shared, NEW, NOW).unwrap();
        if is_there {
            disk.create_dir(Path::new("/data")).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            publish_bytes(&shared, Path::new("/data"), OsStr::new("precious"), b"bytes").unwrap();
        }
        let from = disk.steps();
        rehearse(&catalogue, &manifest, &wishes(is_there)).unwrap();
        let aside = restore(&catalogue, &manifest, &wishes(is_there)).unwrap();
        assert_eq!(aside.is_some(), is_there);
        assert_eq!(contents(&shared, "/data"), NEW_CONTENTS);
        let mut restored = 0;
        for at in from..=disk.steps() {
            for cut in PowerCut::ALL {
                let image = disk.after(at, cut, &mut fastrand::Rng::with_seed(at as u64));
                let why = format!("step {at} of {}, {cut:?}", disk.steps());
                let mut precious = Vec::new();
                for name in image.list(Path::new("/")).unwrap() {
                    if let Ok(mut file) = image.open(&Path::new("/").join(name).join("precious"), Mode::Read) {
                        file.read_to_end(&mut precious).unwrap();
                    }
                }
                assert_eq!(precious.is_empty(), !is_there, "{why}");
                if image.exists(Path::new("/data/dump.rdb")) {
                    let image: Arc<dyn Disk> = Arc::new(image);
                    assert_eq!(contents(&image, "/data"), NEW_CONTENTS, "{why}");
                    restored += 1;
                }
            }
        }
        assert!(restored > 0);
    }
}

#[test]
fn a_folder_that_is_not_empty_is_refused_unless_forced() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let (catalogue, manifest) = back_up(&disk, NEW, NOW).unwrap();
    restore(&catalogue, &manifest, &wishes(false)).unwrap();
    assert!(matches!(restore(&catalogue, &manifest, &wishes(false)), Err(BackupError::Refused { .. })));
    assert!(restore(&catalogue, &manifest, &wishes(true)).unwrap().is_some());
    // What was kept aside is never written over.
    assert!(matches!(restore(&catalogue, &manifest, &wishes(true)), Err(BackupError::Refused { .. })));
    assert_eq!(disk.list(Path::new("/")).unwrap().len(), 3);
}

#[test]
fn some_keys_and_other_times_can_be_asked_for() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let commands = [
        "SET a:1 x",
        "SET a:2 y",
        "PEXPIREAT a:2 1795316400500",
        "HSET b f v g w",
        "HPEXPIREAT b 1795316400900 FIELDS 1 f",
    ];
    let (catalogue, manifest) = back_up(&disk, &commands, NOW).unwrap();
    let later = NOW + 600;
    let mut number = 0;
    let mut restored = |keys: &[&str], expiry: Expiry| {
        number += 1;
        let dir = format!("/data{number}");
        let keys = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        let wishes = Wishes { dir: dir.clone().into(), force: false, keys, expiry, now_ms: later };
        let found = rehearse(&catalogue, &manifest, &wishes).unwrap();
        restore(&catalogue, &manifest, &wishes).unwrap();
        (contents(&disk, &dir), [found.keys, found.left_out, found.due])
    };
    let all = |at: &str| vec!["0 a:1 string -1".to_owned(), format!("0 a:2 string {at}"), "0 b hash -1".to_owned()];
    assert_eq!(restored(&[], Expiry::Keep), (all("1795316400500"), [3, 0, 1]));
    assert_eq!(restored(&[], Expiry::Shift), (all("1795316401100"), [3, 0, 0]));
    assert_eq!(restored(&[], Expiry::Persist), (all("-1"), [3, 0, 0]));
    assert_eq!(restored(&["b", "?:1"], Expiry::Keep), (vec![all("")[0].clone(), all("")[2].clone()], [2, 1, 0]));
    // Fields too.
    for (dir, expected) in [("/data1", Some(1_795_316_400_900)), ("/data2", Some(1_795_316_401_500)), ("/data3", None)]
    {
        let mut engine = engine(&[]);
        engine.config.dir = dir.to_owned();
        load_rdb(&mut engine, &disk).unwrap();
        engine.keyspace.db(0).visit(&mut |entry| {
            if let crate::value::Object::Hash(hash) = entry.value.to_object() {
                assert_eq!(hash.expire_at(b"f"), Some(expected), "{dir}");
            }
        });
    }
}
