//! Backups beside a disk that fails or hangs: nobody else waits for them, and what became of them is told.

use super::*;
use crate::disk::{Fault, FaultyDisk, Pace};
use crate::server::backups;

fn config_with_repo() -> Config {
    let mut config = config(false, AppendFsync::No);
    config.backup_repo = "/data/backups".to_owned();
    config
}

fn is_error(answer: Option<Answer>, part: &str) -> bool {
    matches!(answer, Some(Answer::Error(text)) if String::from_utf8_lossy(&text).contains(part))
}

#[test]
fn a_backup_on_a_disk_that_hangs_keeps_nobody_waiting() {
    let disk = FaultyDisk::new(empty_disk(), None);
    run(async {
        let shared = start_server(config_with_repo(), Arc::new(disk.clone())).await.unwrap();
        let (mut client, mut other) = (Client::connect(&shared), Client::connect(&shared));
        client.ask("SET a 1").await;
        disk.set_pace(Pace::Stuck);
        client.send(&encode("BACKUP CREATE")).await;
        for number in 0..200 {
            assert_eq!(other.ask(&format!("SET b {number}")).await, Some(Answer::Simple(b"OK".to_vec())));
        }
        let since = Instant::now();
        while other.info("backup_in_progress").await != "1" {
            assert!(since.elapsed() < PATIENCE, "the backup begins");
        }
        assert!(is_error(other.ask("BACKUP CREATE").await, "already in progress"));
        disk.set_pace(Pace::Quick);
        let Some(Answer::Bulk(id)) = client.answer().await else { panic!("no backup") };
        assert_eq!(other.info("backup_last_id").await.as_bytes(), id);
        assert_eq!(other.info("backup_last_verified_id").await.as_bytes(), id);
    });
}

#[test]
fn a_backup_that_fails_is_told_of_and_the_next_one_succeeds() {
    let disk = FaultyDisk::new(empty_disk(), None);
    run(async {
        let shared = start_server(config_with_repo(), Arc::new(disk.clone())).await.unwrap();
        let mut client = Client::connect(&shared);
        client.ask("SET a 1").await;
        let Some(Answer::Bulk(first)) = client.ask("BACKUP CREATE").await else { panic!("no backup") };
        for errno in [28, 5] {
            disk.fail(Fault { first: 3, count: usize::MAX, errno, is_short: false });
            assert!(is_error(client.ask("BACKUP CREATE").await, "os error"));
            assert_eq!(client.ask("SET a 2").await, Some(Answer::Simple(b"OK".to_vec())));
            assert_eq!(client.info("backup_last_status").await, "err");
            assert!(client.info("backup_last_error").await.contains(&format!("os error {errno}")));
            assert_eq!(client.info("backup_last_id").await.as_bytes(), first, "the good one is still known");
            disk.cure();
        }
        assert_eq!(client.info("backup_failures").await, "2");
        assert!(matches!(client.ask("BACKUP CREATE").await, Some(Answer::Bulk(_))));
        assert_eq!(
            (client.info("backup_last_status").await, client.info("backup_made").await),
            ("ok".into(), "2".into())
        );
        let Some(Answer::Array(listed)) = client.ask("BACKUP LIST").await else { panic!("no list") };
        assert_eq!(listed.len(), 2);
    });
}

/// A scheduled backup that fails is late, until one succeeds; one that was missed while the server was down is made at its
/// start.
#[test]
fn a_scheduled_backup_that_fails_is_late_and_one_that_was_missed_is_made_at_the_start() {
    let disk = FaultyDisk::new(empty_disk(), None);
    let mut config = config_with_repo();
    config.backup_schedule = "* * * * * *".to_owned();
    run(async {
        let shared = start_server(config.clone(), Arc::new(disk.clone())).await.unwrap();
        disk.fail(Fault { first: 0, count: usize::MAX, errno: 28, is_short: false });
        seat::spawn(backups::make_forever(Rc::clone(&shared)));
        let mut client = Client::connect(&shared);
        let since = Instant::now();
        while client.info("backup_late").await != "1" {
            assert!(since.elapsed() < PATIENCE, "the scheduled backup is late");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(client.info("backup_made").await, "0");
        disk.cure();
        assert!(matches!(client.ask("BACKUP CREATE").await, Some(Answer::Bulk(_))));
        assert_eq!(client.info("backup_late").await, "0");
    });
    config.backup_schedule = "* * * * *".to_owned(); // the next minute is too far away to be waited for
    let since = Instant::now();
    run(async {
        // As if the last one were two hours old.
        let shared = start_server(config, Arc::new(disk.clone())).await.unwrap();
        shared.engine.borrow_mut().clock = Clock::fixed(Clock::system().now_ms() + 7_200_000);
        seat::spawn(backups::make_forever(Rc::clone(&shared)));
        let mut client = Client::connect(&shared);
        while client.info("backup_made").await != "1" {
            assert!(since.elapsed() < PATIENCE, "the missed backup is made");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(client.info("backup_next_time").await.parse::<i64>().unwrap() > 0);
    });
}
