//! Background saves and rewrites as a client of the server sees them: progress, rate, cancelling, two from one snapshot.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::rig::{Client, Program, Server};

fn info(client: &mut Client, field: &str) -> String {
    let text = client.line("info all").text();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("INFO has no {field}")).to_owned()
}

fn number(client: &mut Client, field: &str) -> i64 {
    info(client, field).parse().unwrap()
}

/// Waits until it holds; the machine may be slow.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn fill(client: &mut Client, keys: usize) {
    let value = "0123456789abcdef".repeat(64);
    let requests: Vec<Vec<Vec<u8>>> = (0..keys)
        .map(|n| ["set".to_owned(), format!("key:{n}"), format!("{n}{value}")].map(String::into_bytes).to_vec())
        .collect();
    client.pipeline(&requests);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_slow_save_tells_how_far_it_is_and_goes_on_fast_once_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let options = [("snapshot-max-rate", "100kb"), ("rdbcompression", "no")];
    let server = Server::start(&Program::ours(), folder.path(), &options);
    let mut client = server.client();
    fill(&mut client, 2_000);
    assert_eq!(client.line("bgsave").text(), "Background saving started");
    wait_for("some keys are written", || number(&mut client, "current_save_keys_processed") > 0);
    // At this rate it takes 20 seconds.
    let done = number(&mut client, "current_save_keys_processed");
    assert_eq!(
        (number(&mut client, "current_save_keys_total"), number(&mut client, "rdb_bgsave_in_progress")),
        (2_000, 1)
    );
    assert!((1..1_500).contains(&done), "{done}");
    let percent: f64 = info(&mut client, "current_fork_perc").parse().unwrap();
    assert!(percent > 0.0 && percent < 100.0, "{percent}");
    // Each key has one old version, however often it is written.
    for _ in 0..5 {
        client.line("set key:0 new");
        client.line("set key:1 new");
    }
    let deferred = number(&mut client, "current_cow_size");
    assert!((1..20_000).contains(&deferred), "{deferred}");
    client.line("config set snapshot-max-rate 0");
    wait_for("the save ends", || number(&mut client, "rdb_bgsave_in_progress") == 0);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    assert!(number(&mut client, "rdb_last_cow_size") >= deferred);
    wait_for("old versions are freed", || number(&mut client, "current_cow_size") == 0);
    assert_eq!(
        (number(&mut client, "current_save_keys_total"), info(&mut client, "current_fork_perc")),
        (0, "0.00".into())
    );
    assert_eq!(names(folder.path()), ["dump.rdb"]);
    drop(server);
    let server = Server::start(&Program::ours(), folder.path(), &[]);
    let mut client = server.client();
    assert_eq!(client.line("dbsize").int(), 2_000);
    assert!(client.line("get key:0").text().starts_with("00123"), "as it was when the save began");
}

#[test]
fn a_cancelled_save_is_gone_at_once_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), folder.path(), &[("snapshot-max-rate", "1kb")]);
    let mut client = server.client();
    let idle = "Background saving is currently not in progress or scheduled";
    assert_eq!(client.ask(&["bgsave", "cancel"]).unwrap(), crate::rig::Value::Error(format!("ERR {idle}")));
    fill(&mut client, 2_000);
    // A collection is no refuge: its chunks are written one after the other.
    for n in 0..200 {
        let items: Vec<String> = (0..100).map(|item| format!("{n}:{item}:{}", "x".repeat(100))).collect();
        client.call(&[vec!["rpush".to_owned(), "list".to_owned()], items].concat());
    }
    client.line("bgsave");
    wait_for("the file is there", || names(folder.path()).iter().any(|name| name.starts_with("temp-")));
    assert!(client.ask(&["bgsave"]).unwrap().is_error());
    let asked = Instant::now();
    assert_eq!(client.line("bgsave cancel").text(), "Background saving cancelled");
    wait_for("the save is gone", || number(&mut client, "rdb_bgsave_in_progress") == 0);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}; the rate would take an hour", asked.elapsed());
    assert_eq!(names(folder.path()), [""; 0]);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    client.line("config set snapshot-max-rate 0");
    client.line("bgsave");
    wait_for("the next save ends", || number(&mut client, "rdb_saves") == 1);
    assert_eq!(names(folder.path()), ["dump.rdb"]);
}

#[test]
fn a_save_and_a_rewrite_of_one_turn_share_a_snapshot_and_the_walk_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = [("appendonly", "yes"), ("snapshot-max-rate", "50kb"), ("rdbcompression", "no")];
    let server = Server::start(&Program::ours(), folder.path(), &options);
    let mut client = server.client();
    fill(&mut client, 500);
    let before = number(&mut client, "total_forks");
    for line in ["multi", "bgsave", "bgrewriteaof", "exec"] {
        client.line(line);
    }
    wait_for("keys are written", || number(&mut client, "current_save_keys_processed") > 0);
    let both = [number(&mut client, "rdb_bgsave_in_progress"), number(&mut client, "aof_rewrite_in_progress")];
    assert_eq!((both, number(&mut client, "total_forks")), ([1, 1], before + 1));
    client.line("set key:0 later");
    // One is cancelled, the other goes on.
    assert_eq!(client.line("bgsave cancel").text(), "Background saving cancelled");
    client.line("config set snapshot-max-rate 0");
    wait_for("the rewrite ends", || number(&mut client, "aof_rewrites") == 1);
    assert_eq!((number(&mut client, "rdb_saves"), names(folder.path())), (0, vec!["appendonlydir".to_owned()]));
    for line in ["multi", "bgsave", "bgrewriteaof", "exec"] {
        client.line(line);
    }
    wait_for("both end", || number(&mut client, "aof_rewrites") == 2 && number(&mut client, "rdb_saves") == 1);
    assert_eq!(number(&mut client, "total_forks"), before + 2);
    let base =
        names(&folder.path().join("appendonlydir")).into_iter().find(|name| name.ends_with(".base.rdb")).unwrap();
    let base = std::fs::read(folder.path().join("appendonlydir").join(base)).unwrap();
    assert!(std::fs::read(folder.path().join("dump.rdb")).unwrap() == base, "one walk gives both the same bytes");
    drop(server);
    let server = Server::start(&Program::ours(), folder.path(), &[("appendonly", "yes")]);
    assert_eq!(server.client().line("get key:0").text(), "later");
    assert_eq!(server.client().line("dbsize").int(), 500);
}
