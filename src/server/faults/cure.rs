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
