//! Every power cut while a set is made, sealed and removed; and logs that have lost what the set needs.

use super::*;
use crate::aof::{Log, OpenSpan, Replaced, Sealer};
use crate::disk::{MemoryDisk, PowerCut};

const NAMES: [&str; 3] = ["appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof", "appendonly.aof.manifest"];

fn folder(disk: &MemoryDisk) -> SetFolder {
    SetFolder::new(&(Arc::new(disk.clone()) as Arc<dyn Disk>), "/data", &Config::default())
}

fn set(index: u64) -> Vec<u8> {
    format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n{index:04}\r\n").into_bytes()
}

fn write(disk: &MemoryDisk, path: &Path, content: &[u8]) {
    let mut file = disk.open(path, Mode::Truncate).unwrap();
    file.write_all(content).unwrap();
    file.sync_all().unwrap();
}

/// A log of two increments with a rewrite between them, each of them ten records, sealed behind every fifth; all are of
/// `len` bytes.
fn log(disk: &MemoryDisk) -> (LogFiles, HistoryId, u64) {
    let id = HistoryId::random(&mut fastrand::Rng::with_seed(1));
    let len = set(0).len() as u64;
    let folder = PathBuf::from("/data/appendonlydir");
    disk.create_dir(&folder).unwrap();
    let mut manifest = Manifest::default();
    let mut sealer = Sealer::new(id, OpenSpan::at(0));
    for seq in 1..=2 {
        let (first, mut content) = ((seq - 1) * 10, Vec::new());
        sealer.identify(first * len, 0, &mut content);
        for index in first..first + 10 {
            let record = set(index);
            sealer.absorb(&record);
            content.extend_from_slice(&record);
            if index % 5 == 4 {
                sealer.seal((index + 1) * len, 0, None, &mut content);
            }
        }
        let seq = i64::try_from(seq).unwrap();
        let name = naming::increment("appendonly.aof".as_ref(), seq);
        write(disk, &folder.join(&name), &content);
        manifest.increments.push(Entry::new(name, seq, FileType::Increment));
    }
    disk.sync_dir(&folder).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    let base = Entry::new("appendonly.aof.2.base.rdb".into(), 2, FileType::Base);
    manifest.replace_base(base, 1, Replaced::default());
    assert_eq!(manifest.history.len(), 1);
    (LogFiles { folder, manifest }, id, len)
}

fn disk() -> MemoryDisk {
    let disk = MemoryDisk::default();
    disk.create_dir(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// A set of the records from the sixth to the fifteenth, as the server's threads make it.
fn make(disk: &MemoryDisk, (files, id, len): (LogFiles, HistoryId, u64)) -> Result<(), BackupError> {
    let set = folder(disk);
    set.begin()?;
    publish_bytes(set.disk(), set.path(), &set.base_name(), b"a base").unwrap();
    let from = files.find(disk, id, 5 * len, 1)?;
    let to = 15 * len;
    let span = Span { files, from, to, id: HistoryId::random(&mut fastrand::Rng::with_seed(2)), now_ms: 7 };
    set.write_increment(&span)?;
    set.publish().map(drop)
}

fn records(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    let path = folder(disk).path().join(NAMES[1]);
    let mut reader = Reader::new(disk.open(&path, Mode::Read).unwrap());
    let mut found = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        found.extend(item.record().map(|_| item.raw().to_vec()));
    }
    found
}

#[test]
fn the_increment_is_what_stands_between_two_marks_over_a_rewrite() {
    let disk = disk();
    make(&disk, log(&disk)).unwrap();
    assert_eq!(records(&disk), (5..15).map(set).collect::<Vec<_>>());
    let names: Vec<_> = disk.list(folder(&disk).path()).unwrap();
    assert_eq!(names, NAMES);
    let log = Log::open(&disk, folder(&disk).path()).unwrap();
    assert_eq!(log.files.iter().map(|file| file.name()).collect::<Vec<_>>(), NAMES[..2]);
    // A position without a mark is not cut at.
    let (files, id, len) = self::log(&with_room(&disk));
    assert!(files.find(&disk, id, 3 * len, 1).is_err());
}

#[test]
fn records_that_the_log_has_lost_leave_no_set() {
    for (words, lost) in [("lost records", 2), ("is in no file", 1)] {
        let disk = disk();
        let (mut files, id, len) = log(&disk);
        let Manifest { history, increments, .. } = &mut files.manifest;
        [history, increments].into_iter().for_each(|entries| entries.retain(|entry| entry.seq != lost));
        let error = make(&disk, (files, id, len)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(folder(&disk).recover().unwrap(), None);
        assert_eq!(disk.list(folder(&disk).path()).unwrap(), Vec::<OsString>::new());
    }
    // Removed since the place was found, which is one in that file.
    let disk = disk();
    let (mut files, id, len) = log(&disk);
    let from = files.find(&disk, id, 5 * len, 1).unwrap();
    files.manifest.history.clear();
    let set = folder(&disk);
    set.begin().unwrap();
    let error = set.write_increment(&Span { files, from, to: 15 * len, id, now_ms: 7 }).unwrap_err().to_string();
    assert!(error.contains("lost records"), "{error}");
    assert_eq!(disk.list(set.path()).unwrap(), [UNSEALED]);
}

#[test]
fn a_power_cut_at_any_step_leaves_a_whole_set_or_none() {
    let disk = disk();
    let files = log(&disk);
    let begun = disk.steps();
    make(&disk, files).unwrap();
    let sealed = disk.steps();
    folder(&disk).discard().unwrap();
    let mut found = [0; 2];
    for at in begun..=disk.steps() {
        for cut in PowerCut::ALL {
            let image = disk.after(at, cut, &mut fastrand::Rng::with_seed(at as u64));
            let set = folder(&image);
            let recovered = set.recover().unwrap();
            found[usize::from(recovered.is_some())] += 1;
            assert!(at != sealed || recovered.is_some(), "what was sealed is there: {cut:?}");
            match recovered {
                Some(_) => assert_eq!(records(&image).len(), 10, "step {at}, {cut:?}"),
                // The next one can begin.
                None => make(&image, log(&with_room(&image)))
                    .map(drop)
                    .unwrap_or_else(|error| panic!("step {at}, {cut:?}: {error}")),
            }
        }
    }
    assert!(found.iter().all(|count| *count > 10), "{found:?}");
}

/// Without the log, so that another can be written.
fn with_room(disk: &MemoryDisk) -> MemoryDisk {
    let log = Path::new("/data/appendonlydir");
    for name in disk.list(log).unwrap_or_default() {
        disk.remove(&log.join(name)).unwrap();
    }
    let _ = disk.remove_dir(log);
    disk.clone()
}

#[test]
fn what_others_have_put_there_stays() {
    let disk = disk();
    let set = folder(&disk);
    disk.create_dir(set.path()).unwrap();
    write(&disk, &set.path().join(NAMES[0]), b"somebody's");
    assert_eq!(set.recover().unwrap(), None);
    let error = set.begin().unwrap_err().to_string();
    assert!(error.contains("begins in an empty folder, and appendonly.aof.1.base.rdb is here"), "{error}");
    assert_eq!(disk.list(set.path()).unwrap(), [NAMES[0]]);
    // The folder of the log is never taken for one.
    let mut both = Config::default();
    both.backupdirname = "appendonlydir".to_owned();
    let set = SetFolder::new(set.disk(), "/data", &both);
    log(&disk);
    assert!(set.begin().unwrap_err().to_string().contains("this is the folder of the log"));
    assert_eq!((set.recover().unwrap(), set.discard().is_ok()), (None, true));
    assert_eq!(disk.list(set.path()).unwrap().len(), 2);
}
