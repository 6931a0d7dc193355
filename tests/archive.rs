//! The archive of the log and restores to a moment, on the real binary: as a user goes back in time, and beside kills.
//!
//! `IRONKEEP_ARCHIVE_KILLS` is how many servers are killed (8 usually); the test prints what it reached.

mod branches;

use std::path::Path;
use std::process::Output;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::backups::{backup, backup_fine, info, json, start, wait_until};
use crate::rig::{Client, Contents, Program, Server, differences, length, read_contents};

pub const ARCHIVED: [(&str, &str); 4] =
    [("appendonly", "yes"), ("aof-archive", "yes"), ("aof-archive-timeout", "1"), ("aof-segment-size", "20kb")];

/// What a server has that starts on a folder.
fn contents_of(program: &Program, dir: &Path) -> Contents {
    let server = Server::start(program, dir, &[]);
    read_contents(&mut server.client())
}

fn second() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Waits until the clock shows another second than this.
fn pass(second_before: u64) {
    wait_until("the next second", || second() > second_before);
}

pub fn fill(client: &mut Client, from: usize) {
    let key = |kind: &str, index: usize| format!("{kind}:{}", index % 40);
    for index in from..from + 300 {
        let (value, number) = (format!("value {index}"), index.to_string());
        match index % 6 {
            0 => client.call(&["SET", &key("string", index), &value]),
            1 => client.call(&["RPUSH", &key("list", index), &value]),
            2 => client.call(&["SADD", &key("set", index), &value, &number]),
            3 => client.call(&["HSET", &key("hash", index), &number, &value]),
            4 => client.call(&["ZADD", &key("zset", index), &number, &value]),
            _ => client.call(&["XADD", &key("stream", index), "*", "field", &value]),
        };
    }
}

/// Waits until the archive has this key's last write.
fn wait_for(repo: &Path, key: &str) {
    wait_until_archived(key, || {
        backup(repo, &["restore", "--to", "latest", "--dir", "/nowhere", "--dry-run", "--json"])
    });
}

/// Waits until the last write that this plan of a restore keeps is one of this key.
pub fn wait_until_archived(key: &str, plan: impl Fn() -> Output) {
    wait_until("the last write in the archive", || {
        let planned = plan();
        if planned.status.code() != Some(0) {
            return false;
        }
        let planned = json(&String::from_utf8(planned.stdout).unwrap());
        let kept = planned["replayed"]["kept"].as_array().cloned().unwrap_or_default();
        kept.last().is_some_and(|last| last["arguments"][1] == key)
    });
}

#[test]
fn one_goes_back_to_a_second_and_to_before_a_flush() {
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(dir.path(), repo.path(), &ARCHIVED);
    let mut client = server.client();
    wait_until("a backup to begin with", || info(&mut client, "archive_has_base") == "1");
    fill(&mut client, 0);
    let (wanted, then) = (read_contents(&mut server.client()), second());
    pass(then);
    fill(&mut client, 300);
    client.line("BGREWRITEAOF");
    fill(&mut client, 600);
    let mut before = read_contents(&mut server.client());
    client.line("FLUSHALL");
    client.line("SET after 1");
    wait_for(repo.path(), "after");
    assert_eq!(
        (info(&mut client, "archive_branches").as_str(), info(&mut client, "archive_status").as_str()),
        ("0", "ok")
    );
    let restored = |name: &str| dir.path().join(name);
    let restore = |name: &str, arguments: &[&str]| {
        let dir = restored(name);
        backup_fine(repo.path(), &[&["restore", "--dir", dir.to_str().unwrap()], arguments].concat())
    };
    let text = restore("second", &["--to", &then.to_string()]);
    assert!(text.contains("last kept: ") && text.contains("first dropped: ") && text.contains("restored "), "{text}");
    for program in [Some(Program::ours()), Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        let found = differences(&contents_of(&program, &restored("second")), &wanted);
        assert!(found.is_empty(), "{}: {}", program.name, found.join("\n"));
    }
    restore("before", &["--before", "FLUSHALL"]);
    assert_eq!(differences(&contents_of(&Program::ours(), &restored("before")), &before), Vec::<String>::new());
    let text = restore("without", &["--skip-command", "flushall"]);
    assert!(text.contains("left out: 1 command (flushall)"), "{text}");
    let server_without = Server::start(&Program::ours(), &restored("without"), &[]);
    assert_eq!(server_without.client().line("GET after").text(), "1");
    assert_eq!(server_without.client().line("DBSIZE").int() as usize, before.keys.len() + 1);
    restore("some", &["--before", "flushall", "--key", "hash:1*", "--key", "zset:*"]);
    // The same into a running server, which has one of them already.
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), folder.path(), &[]);
    let mut other = server.client();
    other.line("SET mine 1");
    let url = format!("redis://127.0.0.1:{}", server.port());
    let wanted = ["restore", "--before", "flushall", "--key", "hash:1*", "--key", "zset:*", "--into", &url];
    other.line("SET zset:1 mine");
    other.line("SET zset:4 mine");
    let refused = backup(repo.path(), &wanted);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(5) && error.contains("there already: "), "{error}");
    assert_eq!((other.line("DBSIZE").int(), other.line("GET zset:4").text().as_str()), (3, "mine"));
    backup_fine(repo.path(), &[&wanted[..], &["--force"]].concat());
    assert_eq!((other.line("DEL zset:1").int(), other.line("DEL mine").int()), (1, 1));
    let mut merged = read_contents(&mut server.client());
    before.keys.retain(|(_, key), _| key.starts_with(b"hash:1") || key.starts_with(b"zset:"));
    assert_eq!(differences(&contents_of(&Program::ours(), &restored("some")), &before), Vec::<String>::new());
    merged.functions = None;
    assert_eq!(differences(&merged, &before), Vec::<String>::new());
}

#[test]
fn what_cannot_be_brought_back_is_refused() {
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(dir.path(), repo.path(), &ARCHIVED);
    let mut client = server.client();
    wait_until("a backup to begin with", || info(&mut client, "archive_has_base") == "1");
    client.line("SET last 1");
    wait_for(repo.path(), "last");
    let there = dir.path().join("there");
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let arguments = [&["restore", "--dir", there.to_str().unwrap()], arguments].concat();
        let output = backup(repo.path(), &arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(words) && !there.exists(), "{arguments:?}: {error}");
    };
    refused(&["--to", &(second() + 1000).to_string()], 2, "this moment has not come yet");
    refused(&["--to", &(second() - 1000).to_string()], 5, "no backup is so old");
    refused(&["--before", "FLUSHALL"], 5, "no FLUSHALL is in the newest archive");
    refused(&["--skip-command", "exec"], 2, "it says what other records mean");
    refused(&["--to", "latest", "--before", "SET"], 2, "cannot be used with");
    let timeline = repo.path().join("log").join(info(&mut client, "archive_timeline"));
    let mut segments: Vec<_> = std::fs::read_dir(&timeline).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let last = segments.iter().rfind(|path| path.to_str().unwrap().ends_with(".aof.zst")).unwrap();
    let mut bytes = std::fs::read(last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(last, bytes).unwrap();
    refused(&["--to", "latest"], 1, "is damaged");
}

#[test]
fn servers_that_are_killed_leave_an_archive_without_a_gap() {
    let rounds = length("IRONKEEP_ARCHIVE_KILLS", 8);
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut random = fastrand::Rng::with_seed(3);
    let mut written = 0;
    for round in 0..rounds {
        let policy = ["always", "everysec", "no"][round % 3];
        let directives = [&ARCHIVED[..], &[("appendfsync", policy)]].concat();
        let mut server = start(dir.path(), repo.path(), &directives);
        let mut client = server.client();
        if round == 0 {
            wait_until("a backup to begin with", || info(&mut client, "archive_has_base") == "1");
        }
        for _ in 0..random.usize(1..8) {
            fill(&mut client, written);
            written += 300;
            match random.u8(..6) {
                0 => drop(client.line("BGREWRITEAOF")),
                1 => drop(client.line("BACKUP CREATE")),
                2 => drop(client.line("FLUSHALL")),
                _ => std::thread::sleep(Duration::from_millis(random.u64(0..400))),
            }
        }
        assert_eq!(info(&mut client, "archive_branches"), "0", "round {round}");
        server.kill();
    }
    let server = start(dir.path(), repo.path(), &ARCHIVED);
    let mut client = server.client();
    client.line("SET last 1");
    wait_for(repo.path(), "last");
    let timelines = std::fs::read_dir(repo.path().join("log")).unwrap().count();
    assert_eq!((timelines, info(&mut client, "archive_branches").as_str()), (1, "0"));
    let restored = dir.path().join("restored");
    let arguments = ["restore", "--to", "latest", "--dir", restored.to_str().unwrap()];
    backup_fine(repo.path(), &arguments);
    let found = differences(&contents_of(&Program::ours(), &restored), &read_contents(&mut client));
    assert!(found.is_empty(), "{}", found.join("\n"));
    println!(
        "{rounds} servers killed beside the archive, {written} writes: all came back, in one timeline without a gap"
    );
}

#[test]
fn what_was_written_last_is_archived_as_the_server_ends() {
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let patient = [("appendonly", "yes"), ("aof-archive", "yes"), ("aof-archive-timeout", "3600")];
    let server = start(dir.path(), repo.path(), &patient);
    let mut client = server.client();
    wait_until("a backup to begin with", || info(&mut client, "archive_has_base") == "1");
    client.line("SET last 1");
    assert!(server.terminate().success());
    wait_for(repo.path(), "last");
    // Where the archive can't be written the server ends all the same.
    let server = start(dir.path(), repo.path(), &patient);
    let mut client = server.client();
    wait_until("the archive", || info(&mut client, "archive_has_base") == "1");
    client.line("SET later 1");
    let (log, aside) = (repo.path().join("log"), repo.path().join("aside"));
    std::fs::rename(&log, &aside).unwrap();
    std::fs::write(&log, b"").unwrap();
    assert!(server.terminate().success());
    std::fs::remove_file(&log).unwrap();
    std::fs::rename(&aside, &log).unwrap();
    let server = start(dir.path(), repo.path(), &patient);
    let mut client = server.client();
    wait_until("the archive", || info(&mut client, "archive_has_base") == "1");
    assert!(server.terminate().success());
    wait_for(repo.path(), "later");
}
