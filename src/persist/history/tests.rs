//! What is kept, of what age and size, and which files go together.

use super::*;
use crate::aof::{Past, Replaced};
use crate::disk::MemoryDisk;
use std::io::Write;

const RULES: Rules = Rules {
    now_ms: 100,
    retention_ms: 0,
    guard_ms: 50,
    max_size: u64::MAX,
    room: 0,
    keeps_all: false,
    needed_from: None,
};
const MUCH: u64 = 1 << 40;

/// A file in history, as `b1` or `i1`.
fn old(name: &str, replaced: Replaced) -> Entry {
    let was = if name.starts_with('b') { FileType::Base } else { FileType::Increment };
    Entry { past: Some(Past { was, replaced }), ..Entry::new(name.into(), 1, FileType::History) }
}

fn replaced(at_ms: i64, flushed_ms: Option<i64>) -> Replaced {
    Replaced { at_ms, flushed_ms, is_end: false }
}

/// Three generations, oldest first; a flush in the second.
fn three() -> Vec<Entry> {
    let generations = [(replaced(60, None), ["b1", "i1"]), (replaced(70, Some(65)), ["b2", "i2"])];
    let mut history = Vec::new();
    for (replaced, names) in generations.into_iter().chain([(replaced(80, None), ["b3", "i3"])]) {
        history.extend(names.map(|name| old(name, replaced)));
    }
    history
}

/// What stays of a history that is given oldest first, ten bytes a file.
fn kept(mut history: Vec<Entry>, free: u64, rules: &Rules) -> Vec<String> {
    history.reverse();
    let unwanted = unwanted(&history, |_| 10, free, rules);
    history.retain(|entry| !unwanted.contains(&entry.name));
    history.iter().rev().map(|entry| entry.name.to_string_lossy().into_owned()).collect()
}

#[test]
fn a_flush_keeps_the_files_before_it_and_the_increments_that_follow() {
    assert_eq!(kept(three(), MUCH, &RULES), ["b2", "i2", "i3"]);
    assert_eq!(kept(three(), MUCH, &Rules { now_ms: 114, ..RULES }), ["b2", "i2", "i3"]);
    assert!(kept(three(), MUCH, &Rules { now_ms: 115, ..RULES }).is_empty());
    assert!(kept(three(), MUCH, &Rules { guard_ms: 0, ..RULES }).is_empty());
}

#[test]
fn retention_keeps_whole_generations_from_the_oldest_on() {
    let rules = Rules { retention_ms: 35, guard_ms: 0, ..RULES };
    assert_eq!(kept(three(), MUCH, &rules), ["b2", "i2", "b3", "i3"]);
    assert_eq!(kept(three(), MUCH, &Rules { keeps_all: true, retention_ms: 0, ..rules }).len(), 6);
}

#[test]
fn what_a_peer_has_put_into_history_goes() {
    let mut history = three();
    history.insert(0, Entry::new("old".into(), 1, FileType::History));
    assert!(!kept(history, MUCH, &Rules { retention_ms: 90, ..RULES }).contains(&"old".to_owned()));
}

#[test]
fn increments_behind_an_end_are_kept_for_nobody() {
    let mut history = three();
    for entry in &mut history[2..4] {
        let past = entry.past.as_mut().unwrap();
        past.replaced.is_end = entry.name == "i2";
    }
    assert_eq!(kept(history, MUCH, &RULES), ["b2", "i2"]);
}

#[test]
fn the_oldest_goes_first_where_there_is_no_room_with_what_is_no_log_without_it() {
    let rules = Rules { retention_ms: 90, ..RULES };
    assert_eq!(kept(three(), MUCH, &Rules { max_size: 59, ..rules }), ["b2", "i2", "b3", "i3"]);
    assert_eq!(kept(three(), MUCH, &Rules { max_size: 39, ..rules }), ["b3", "i3"]);
    // 60 bytes are kept, 20 are free: they may take half of both.
    assert_eq!(kept(three(), 20, &rules), ["b2", "i2", "b3", "i3"]);
    // A rewrite wants 100 free.
    assert_eq!(kept(three(), 70, &Rules { room: 100, ..rules }), ["b3", "i3"]);
    // The increment behind what the flush guard wants is no log by itself.
    assert!(kept(three(), MUCH, &Rules { max_size: 29, ..RULES }).is_empty());
}

#[test]
fn dumps_from_before_a_flush_go_with_time_and_for_want_of_room() {
    let memory = MemoryDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let folder = Path::new("/data");
    disk.create_dir(folder).unwrap();
    assert_eq!(keep_dump(&disk, folder, "dump.rdb", 1).unwrap(), None);
    for flushed_ms in [60, 70, 80] {
        let mut dump = disk.open(&folder.join("dump.rdb"), Mode::Truncate).unwrap();
        dump.write_all(b"0123456789").unwrap();
        let kept = keep_dump(&disk, folder, "dump.rdb", flushed_ms).unwrap().unwrap();
        assert_eq!(kept, folder.join(format!("dump.rdb.flushed-{flushed_ms}")));
        disk.remove(&folder.join("dump.rdb")).unwrap();
    }
    disk.open(&folder.join("dump.rdb.flushed-by-hand"), Mode::CreateNew).unwrap();
    let kept = |rules: &Rules| remove_dumps(&memory, folder, "dump.rdb", rules).unwrap();
    assert_eq!(kept(&RULES), Kept { files: 3, bytes: 30 });
    assert_eq!(kept(&Rules { max_size: 20, ..RULES }), Kept { files: 2, bytes: 20 });
    assert_eq!(kept(&Rules { now_ms: 125, ..RULES }), Kept { files: 1, bytes: 10 });
    assert_eq!(disk.list(folder).unwrap(), ["dump.rdb.flushed-80", "dump.rdb.flushed-by-hand"]);
}
