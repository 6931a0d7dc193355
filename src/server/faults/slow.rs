//! Disks that keep their callers waiting: who needs them waits, and is told in the end; who does not goes on.

use super::*;
use crate::disk::{FaultyDisk, Pace};

/// A read beside a disk that does not answer comes in less, also on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(2);

/// A server whose disk has been slow for a while, so that a thread writes its log.
async fn slow_server(policy: AppendFsync, disk: &FaultyDisk, history: &mut History) -> (Rc<Shared>, Client) {
    let mut config = config(true, policy);
    config.write_wait_timeout = 1;
    let shared = start_server(config, Arc::new(disk.clone())).await.unwrap();
    let mut client = Client::connect(&shared);
    client.ask("SET other value").await;
    disk.set_pace(Pace::Slow(Duration::from_millis(3)));
    for _ in 0..5 {
        assert!(history.write(&mut client, 1, || 0).await);
    }
    (shared, client)
}

/// Lets the disk answer in the end, or a failed test would wait for it too.
struct Unstuck<'a>(&'a FaultyDisk);

impl Drop for Unstuck<'_> {
    fn drop(&mut self) {
        self.0.set_pace(Pace::Quick);
    }
}

fn wait_and_recover(policy: AppendFsync) {
    let memory = empty_disk();
    let disk = FaultyDisk::new(memory.clone(), None);
    let mut history = History::default();
    run(async {
        let (shared, mut client) = slow_server(policy, &disk, &mut history).await;
        let _unstuck = Unstuck(&disk);
        disk.set_pace(Pace::Stuck);
        let mut reader = Client::connect(&shared);
        // Under everysec writes go on until a sync is a second late.
        let mut refused = None;
        let since = Instant::now();
        while refused.is_none() && since.elapsed() < PATIENCE {
            let unit = history.next;
            history.next += 1;
            client.send(&encode(&format!("RPUSH log {unit}"))).await;
            let asked = Instant::now();
            assert_eq!(reader.ask("GET other").await, Some(Answer::Bulk(b"value".to_vec())));
            assert!(asked.elapsed() < SOON, "{:?} for a read of another key", asked.elapsed());
            refused = client.answer().await.filter(is_failure);
        }
        let Some(Answer::Error(text)) = refused else { panic!("a write that waits is told") };
        let text = String::from_utf8_lossy(&text).into_owned();
        assert_eq!(text, "MISCONF Errors writing to the AOF file: the disk has not answered for 1 s");
        assert_eq!(reader.info("aof_last_write_status").await, "err");
        // No further write is executed, and reads go on.
        let length = reader.ask("LLEN log").await;
        assert!(client.ask("RPUSH log 99").await.is_some_and(|answer| is_failure(&answer)));
        if policy == AppendFsync::Everysec {
            assert_eq!(reader.ask("LLEN log").await, length);
        }
        disk.set_pace(Pace::Quick);
        let since = Instant::now();
        while !history.write(&mut client, 1, || memory.steps()).await {
            assert!(since.elapsed() < PATIENCE, "writes do not come back");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(reader.info("aof_last_write_status").await, "ok");
        history.note_list(&mut client).await;
        assert!(client.shut_down(&shared).await);
    });
    let image = memory.after(memory.steps(), PowerCut::Lost, &mut fastrand::Rng::with_seed(1));
    check(&config(true, policy), &image, &history, history.needed(memory.steps())).unwrap();
}

#[test]
fn a_write_that_waits_for_the_disk_is_told_in_the_end_under_always() {
    wait_and_recover(AppendFsync::Always);
}

#[test]
fn a_write_that_waits_for_the_disk_is_told_in_the_end_under_everysec() {
    wait_and_recover(AppendFsync::Everysec);
}
