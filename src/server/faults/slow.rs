//! Disks that keep their callers waiting: who needs them waits, and is told in the end; who does not goes on.

use super::*;
use crate::disk::{FaultyDisk, Pace};

/// A read beside a disk that does not answer comes in less, also on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(2);

/// What the disk is like before it does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The thread that executes writes the log itself.
    Quick,
    /// The log has a thread of its own.
    Slow,
}

/// Lets the disk answer in the end, or a failed test would wait for it too.
struct Unstuck(FaultyDisk);

impl Drop for Unstuck {
    fn drop(&mut self) {
        self.0.set_pace(Pace::Quick);
    }
}

/// A server with a short `write-wait-timeout`, whose disk has been in use for a while.
async fn used_server(place: Place, policy: AppendFsync, disk: &FaultyDisk, before: Before) -> (Rc<Shared>, Writer) {
    let mut config = config(true, policy);
    (config.write_wait_timeout, config.shutdown_timeout) = (1, 1);
    let shared = start_server_at(place, config, Arc::new(disk.clone())).await.unwrap();
    let mut writer = Writer { client: Client::connect(&shared), history: History::default() };
    writer.client.ask("SET other value").await;
    if before == Before::Slow {
        disk.set_pace(Pace::Slow(Duration::from_millis(3)));
    }
    for _ in 0..5 {
        assert!(writer.history.write(&mut writer.client, 1, || 0).await);
    }
    (shared, writer)
}

struct Writer {
    client: Client,
    history: History,
}

impl Writer {
    /// Writes until a write is refused, and reads beside each; how long the slowest reading took.
    async fn write_until_refused(&mut self, reader: &mut Client) -> Duration {
        let (mut slowest, since) = (Duration::ZERO, Instant::now());
        loop {
            assert!(since.elapsed() < PATIENCE, "a write that waits is told");
            let unit = self.history.next;
            self.history.next += 1;
            self.client.send(&encode(&format!("RPUSH log {unit}"))).await;
            for _ in 0..20 {
                let asked = Instant::now();
                assert_eq!(reader.ask("GET other").await, Some(Answer::Bulk(b"value".to_vec())));
                slowest = slowest.max(asked.elapsed());
            }
            if let Some(Answer::Error(text)) = self.client.answer().await {
                let text = String::from_utf8_lossy(&text).into_owned();
                assert_eq!(text, "MISCONF Errors writing to the AOF file: the disk has not answered for 1 s");
                return slowest;
            }
        }
    }

    /// Writes until that is acknowledged.
    async fn recover(&mut self, memory: &MemoryDisk) {
        let since = Instant::now();
        while !self.history.write(&mut self.client, 1, || memory.steps()).await {
            assert!(since.elapsed() < PATIENCE, "writes do not come back");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The disk stops answering in whatever call comes next. Others are served; who waits is told in the end; all comes back with
/// the disk, and what was acknowledged is there.
fn wait_and_recover(policy: AppendFsync, before: Before) {
    let memory = empty_disk();
    let disk = FaultyDisk::new(memory.clone(), None);
    let stuck = memory.clone();
    let history = run_seated(move |place| async move {
        let (shared, mut writer) = used_server(place, policy, &disk, before).await;
        let _unstuck = Unstuck(disk.clone());
        disk.set_pace(Pace::Stuck);
        let mut reader = Client::connect(&shared);
        let slowest = writer.write_until_refused(&mut reader).await;
        tell(&format!("{policy:?}, {before:?}: the slowest read beside a stuck disk took {slowest:?}"));
        assert!(slowest < SOON, "{slowest:?}");
        assert_eq!(reader.info("aof_last_write_status").await, "err");
        // No further write is executed, and new clients are let in and served.
        let length = reader.ask("LLEN log").await;
        assert!(writer.client.ask("RPUSH log 99").await.is_some_and(|answer| is_failure(&answer)));
        if policy != AppendFsync::Always {
            assert_eq!(Client::connect(&shared).ask("LLEN log").await, length);
        }
        disk.set_pace(Pace::Quick);
        writer.recover(&stuck).await;
        assert_eq!(reader.info("aof_last_write_status").await, "ok");
        writer.history.note_list(&mut writer.client).await;
        assert!(writer.client.shut_down(&shared).await);
        writer.history
    });
    let image = memory.after(memory.steps(), PowerCut::Lost, &mut fastrand::Rng::with_seed(1));
    check(&config(true, policy), &image, &history, history.needed(memory.steps())).unwrap();
}

#[test]
fn a_disk_that_stops_answering_keeps_only_writers_waiting_under_always() {
    wait_and_recover(AppendFsync::Always, Before::Quick);
    wait_and_recover(AppendFsync::Always, Before::Slow);
}

#[test]
fn a_disk_that_stops_answering_keeps_only_writers_waiting_under_everysec() {
    wait_and_recover(AppendFsync::Everysec, Before::Quick);
    wait_and_recover(AppendFsync::Everysec, Before::Slow);
}

#[test]
fn a_disk_that_stops_answering_keeps_only_writers_waiting_under_no() {
    wait_and_recover(AppendFsync::No, Before::Quick);
    wait_and_recover(AppendFsync::No, Before::Slow);
}

/// SHUTDOWN waits for a disk that does not answer for `shutdown-timeout`. Then it refuses, unless every write is on the disk or
/// FORCE asks for it.
fn refuse_and_be_forced(policy: AppendFsync) {
    let memory = empty_disk();
    let disk = FaultyDisk::new(memory.clone(), None);
    let history = run_seated(move |place| async move {
        let (shared, mut writer) = used_server(place, policy, &disk, Before::Quick).await;
        writer.history.note_list(&mut writer.client).await;
        let _unstuck = Unstuck(disk.clone());
        disk.set_pace(Pace::Stuck);
        let (mut admin, mut reader) = (Client::connect(&shared), Client::connect(&shared));
        admin.send(&encode("SHUTDOWN")).await;
        let refusal = loop {
            let read = tokio::time::timeout(SOON, reader.ask("GET other")).await;
            if read.is_err() && shared.exit.get().is_some() {
                break None; // who leaves executes nothing more
            }
            assert_eq!(read, Ok(Some(Answer::Bulk(b"value".to_vec()))));
            let answer = tokio::time::timeout(Duration::from_millis(10), admin.answer());
            if let Ok(answer) = answer.await.map_err(|_| ()).or_else(|()| shared.exit.get().map(|_| None).ok_or(())) {
                break answer;
            }
        };
        if policy == AppendFsync::Always {
            assert_eq!((refusal, shared.exit.get()), (None, Some(0)), "everything is on the disk");
            return writer.history;
        }
        assert_eq!(refusal, Some(Answer::Error(b"ERR Errors trying to SHUTDOWN. Check logs.".to_vec())));
        assert!(shared.exit.get().is_none());
        admin.send(&encode("SHUTDOWN FORCE")).await;
        tokio::time::timeout(PATIENCE, shared.stop.notified()).await.expect("FORCE leaves");
        assert_eq!(shared.exit.get(), Some(0));
        writer.history
    });
    // The process has died, as it were: what was acknowledged had been written before.
    let image = memory.after(memory.steps(), PowerCut::Kept, &mut fastrand::Rng::with_seed(1));
    check(&config(true, policy), &image, &history, history.needed(memory.steps())).unwrap();
}

#[test]
fn a_shutdown_beside_a_stuck_disk_is_refused_and_forced() {
    refuse_and_be_forced(AppendFsync::Always);
    refuse_and_be_forced(AppendFsync::Everysec);
    refuse_and_be_forced(AppendFsync::No);
}

/// What a client asks of a disk that does not answer keeps nobody else waiting, and is done when it answers again.
fn wait_alone(appendonly: bool, requests: &'static [&'static str]) {
    let memory = empty_disk();
    let disk = FaultyDisk::new(memory.clone(), None);
    run_seated(move |place| async move {
        let mut config = config(appendonly, AppendFsync::Everysec);
        config.config_file = format!("{DIR}/redis.conf");
        let shared = start_server_at(place, config, Arc::new(disk.clone())).await.unwrap();
        let (mut asking, mut reader) = (Client::connect(&shared), Client::connect(&shared));
        asking.ask("SET other value").await;
        let _unstuck = Unstuck(disk.clone());
        for request in requests {
            disk.set_pace(Pace::Stuck);
            asking.send(&encode(request)).await;
            let (since, mut slowest) = (Instant::now(), Duration::ZERO);
            while since.elapsed() < Duration::from_millis(300) {
                let asked = Instant::now();
                assert_eq!(reader.ask("GET other").await, Some(Answer::Bulk(b"value".to_vec())));
                slowest = slowest.max(asked.elapsed());
                let answer = tokio::time::timeout(Duration::from_millis(1), asking.answer()).await;
                assert!(answer.is_err(), "{request}: the disk has done nothing");
            }
            tell(&format!("{request}: the slowest read beside it took {slowest:?}"));
            assert!(slowest < SOON, "{request}: {slowest:?}");
            disk.set_pace(Pace::Quick);
            assert_eq!(asking.answer().await, Some(Answer::Simple(b"OK".to_vec())), "{request}");
        }
    });
}

#[test]
fn a_save_or_a_rewrite_of_the_configuration_on_a_stuck_disk_keeps_nobody_else_waiting() {
    wait_alone(false, &["SAVE", "CONFIG REWRITE", "CONFIG SET appendonly yes"]);
    wait_alone(true, &["SAVE", "CONFIG REWRITE", "CONFIG SET appendonly no"]);
}

/// The last dump of a SHUTDOWN stands still: reads go on, writes are refused, and after `shutdown-timeout` so is the SHUTDOWN.
#[test]
fn a_last_dump_that_stands_still_is_given_up_and_the_server_stays() {
    let disk = FaultyDisk::new(empty_disk(), None);
    run_seated(move |place| async move {
        let mut config = config(false, AppendFsync::No);
        config.shutdown_timeout = 1;
        let shared = start_server_at(place, config, Arc::new(disk.clone())).await.unwrap();
        let (mut admin, mut other) = (Client::connect(&shared), Client::connect(&shared));
        other.ask("SET other value").await;
        let _unstuck = Unstuck(disk.clone());
        disk.set_pace(Pace::Stuck);
        admin.send(&encode("SHUTDOWN SAVE")).await;
        let mut refused = 0;
        let refusal = loop {
            let read = tokio::time::timeout(SOON, other.ask("GET other")).await;
            assert_eq!(read, Ok(Some(Answer::Bulk(b"value".to_vec()))));
            refused += usize::from(other.ask("SET lost value").await.is_some_and(|answer| is_failure(&answer)));
            if let Ok(answer) = tokio::time::timeout(Duration::from_millis(10), admin.answer()).await {
                break answer;
            }
        };
        assert_eq!(refusal, Some(Answer::Error(b"ERR Errors trying to SHUTDOWN. Check logs.".to_vec())));
        assert!(refused > 0, "what a last dump lacks is not acknowledged");
        disk.set_pace(Pace::Quick);
        assert_eq!(other.ask("SET kept value").await, Some(Answer::Simple(b"OK".to_vec())));
        admin.wait_for_jobs().await;
        admin.send(&encode("SHUTDOWN SAVE")).await;
        tokio::time::timeout(PATIENCE, shared.stop.notified()).await.expect("it leaves");
    });
}

/// Under everysec, on a disk whose syncs stand still, writes go on until the oldest that is not synced is 2 s old, and reads
/// beyond that. The exact bound is held by the tests of [`Append`].
#[test]
fn under_everysec_writes_wait_for_a_sync_that_stands_still_and_reads_go_on() {
    let memory = empty_disk();
    let disk = FaultyDisk::new(memory.clone(), None);
    run_seated(move |place| async move {
        let shared = start_server_at(place, config(true, AppendFsync::Everysec), Arc::new(disk.clone())).await.unwrap();
        let (mut writer, mut reader) = (Client::connect(&shared), Client::connect(&shared));
        let _unstuck = Unstuck(disk.clone());
        disk.set_pace(Pace::StuckInSyncs);
        let since = Instant::now();
        let mut last = Duration::ZERO;
        loop {
            writer.send(&encode("SET key value")).await;
            match tokio::time::timeout(Duration::from_secs(1), writer.answer()).await {
                Ok(answer) => assert_eq!(answer, Some(Answer::Simple(b"OK".to_vec()))),
                Err(_) => break,
            }
            last = since.elapsed();
            assert!(last < PATIENCE, "writes go on and on");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tell(&format!("the last write was acknowledged {last:?} behind the first that is not synced"));
        assert!(last > Duration::from_secs(1), "{last:?}");
        assert_eq!(reader.ask("GET nothing").await, Some(Answer::Null));
        assert_eq!(reader.info("aof_late_fsync").await, "1");
        disk.set_pace(Pace::Quick);
        assert_eq!(writer.answer().await, Some(Answer::Simple(b"OK".to_vec())));
    });
}
