//! A disk that fails and is cured: writes come back by themselves within 2 s, whatever had failed.

use super::*;
use crate::disk::{Fault, FaultyDisk};
use crate::engine::params::SavePoint;

/// How soon.
const WITHIN: Duration = Duration::from_secs(2);
const EIO: i32 = 5;

/// Breaks the disk for good, has `provoke` asked until a write is refused, lets some attempts to recover fail, and cures it.
async fn fail_and_cure(config: Config, first: usize, provoke: &str) -> Duration {
    let disk = FaultyDisk::new(empty_disk(), None);
    let shared = start_server(config, Arc::new(disk.clone())).await.unwrap();
    let mut client = Client::connect(&shared);
    client.ask("SET key value").await;
    disk.fail(Fault { first, count: usize::MAX, errno: EIO, is_short: false });
    let since = Instant::now();
    let is_refused = |answer: Option<Answer>| answer.is_some_and(|answer| is_failure(&answer));
    while !is_refused(client.ask("PING").await) {
        assert!(since.elapsed() < PATIENCE, "no write is refused");
        client.ask(provoke).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(is_refused(client.ask("SET key value").await), "the disk is not cured");
    disk.cure();
    let since = Instant::now();
    while is_refused(client.ask("SET key value").await) {
        assert!(since.elapsed() < PATIENCE, "writes do not come back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    since.elapsed()
}

#[test]
fn writes_come_back_within_two_seconds_of_the_cure() {
    let saving = || {
        let mut config = config(false, AppendFsync::No);
        config.save = vec![SavePoint { seconds: 3600, changes: 1 }];
        config
    };
    for (what, config, first, provoke) in [
        ("a write of the log", config(true, AppendFsync::Always), 0, "SET key value"),
        ("a sync of the log", config(true, AppendFsync::Always), 1, "SET key value"),
        ("a sync of the log", config(true, AppendFsync::Everysec), 0, "GET key"),
        ("a save", saving(), 0, "BGSAVE"),
    ] {
        let policy = config.appendfsync;
        let took = run(fail_and_cure(config, first, provoke));
        tell(&format!("{what}, {policy:?}: writes came back {took:?} behind the cure"));
        assert!(took < WITHIN, "{what}, {policy:?}: {took:?}");
    }
}

/// Somebody removes a file of the log, or all of it, while the server runs: what is acknowledged a little later is there after a
/// kill.
#[test]
fn a_log_that_vanishes_is_made_anew_from_memory() {
    for names in [&["appendonly.aof.1.incr.aof"][..], &["appendonly.aof.manifest"], &[]] {
        let memory = empty_disk();
        let mut history = History::default();
        run(async {
            let config = config(true, AppendFsync::Everysec);
            let shared = start_server(config, Arc::new(memory.clone())).await.unwrap();
            let mut client = Client::connect(&shared);
            assert!(history.write(&mut client, 9, || 0).await);
            let folder = Path::new(DIR).join("appendonlydir");
            let all: Vec<_> = memory.list(&folder).unwrap();
            for name in &all {
                if names.is_empty() || names.iter().any(|gone| *name == **gone) {
                    memory.remove(&folder.join(name)).unwrap();
                }
            }
            if names.is_empty() {
                memory.remove_dir(&folder).unwrap();
            }
            let since = Instant::now();
            while client.info("aof_rewrites").await == "0" {
                assert!(since.elapsed() < PATIENCE, "nobody misses {names:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            while !history.write(&mut client, 1, || memory.steps()).await {
                assert!(since.elapsed() < PATIENCE, "writes do not come back");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tell(&format!("without {names:?}: the log was whole again after {:?}", since.elapsed()));
            history.note_list(&mut client).await;
        });
        let image = memory.after(memory.steps(), PowerCut::Kept, &mut fastrand::Rng::with_seed(1));
        let needed = history.needed(memory.steps());
        check(&config(true, AppendFsync::Everysec), &image, &history, needed).unwrap();
    }
}
