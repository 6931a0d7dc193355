//! What durable operations ask of a disk, step by step, as golden files: a step that moves or goes missing is seen.

use super::*;
use crate::disk::{RealDisk, publish_bytes};

/// The steps behind the first `from`, as `testdata/traces` has them: without the numbers in temporary names, and writes of
/// one file in a row as one.
fn trace_behind(disk: &MemoryDisk, from: usize) -> String {
    let before = disk.trace(from).len();
    let mut lines: Vec<String> = disk.trace(disk.steps()).split_off(before).iter().map(|line| plain(line)).collect();
    lines.dedup();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// `temp-<pid>-<n>-NAME` becomes `temp-NAME`, and the name of a backup `BACKUP`.
fn plain(line: &str) -> String {
    const BEFORE: &str = "/backups/";
    const NAME: usize = "20261122T030000Z-5e8a31".len();
    let mut pieces = line.split(BEFORE);
    let first = pieces.next().unwrap_or_default().to_owned();
    let line = &pieces.fold(first, |line, piece| format!("{line}{BEFORE}BACKUP{}", &piece[NAME..]));
    let mut parts = line.split("temp-");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.splitn(3, '-').nth(2).unwrap_or(part);
        text.push_str("temp-");
        text.push_str(name);
    }
    text
}

/// Compares with the golden file, or writes it where `IRONKEEP_GOLDEN=write` is set.
fn compare(name: &str, trace: &str) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/traces");
    let path = folder.join(name);
    if std::env::var_os("IRONKEEP_GOLDEN").is_some_and(|word| word == "write") {
        publish_bytes(&disk, &folder, std::ffi::OsStr::new(name), trace.as_bytes()).unwrap();
    }
    let golden = disk.read_small(&path, 1 << 20).unwrap();
    assert_eq!(trace, String::from_utf8_lossy(&golden), "{} (IRONKEEP_GOLDEN=write writes it anew)", path.display());
}

#[test]
fn the_steps_of_a_start_an_append_a_rewrite_a_save_a_backup_and_a_shutdown_are_the_golden_ones() {
    let disk = empty_disk();
    run(async {
        let mut history = History::default();
        let mut config = config(true, AppendFsync::Always);
        config.backup_repo = format!("{DIR}/repo");
        let shared = start_server(config, Arc::new(disk.clone())).await.unwrap();
        compare("first-start.txt", &trace_behind(&disk, 0));
        let mut client = Client::connect(&shared);
        let from = disk.steps();
        assert!(history.write(&mut client, 4, || 0).await);
        compare("append-always.txt", &trace_behind(&disk, from));
        let from = disk.steps();
        client.ask("BGREWRITEAOF").await;
        client.wait_for_jobs().await;
        compare("rewrite.txt", &trace_behind(&disk, from));
        let from = disk.steps();
        client.ask("BGSAVE").await;
        client.wait_for_jobs().await;
        compare("save.txt", &trace_behind(&disk, from));
        let from = disk.steps();
        assert!(matches!(client.ask("BACKUP CREATE").await, Some(Answer::Bulk(_))));
        compare("backup.txt", &trace_behind(&disk, from));
        assert!(history.write(&mut client, 1, || 0).await);
        let from = disk.steps();
        assert!(client.shut_down(&shared).await);
        compare("shutdown.txt", &trace_behind(&disk, from));
    });
}
