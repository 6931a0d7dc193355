//! The seals of a real server's log: what is changed behind its back stops the start, every restart goes on with the same
//! history, and real servers load and continue the same files.

use crate::rig::{Client, Program, Server, files_below};
use std::path::{Path, PathBuf};
use std::process::Command;

const ALWAYS: [(&str, &str); 2] = [("appendonly", "yes"), ("appendfsync", "always")];

fn start(dir: &Path) -> Server {
    Server::start(&Program::ours(), dir, &ALWAYS)
}

fn set(client: &mut Client, keys: std::ops::Range<usize>) {
    let requests: Vec<Vec<Vec<u8>>> =
        keys.map(|key| vec![b"SET".to_vec(), format!("key:{key}").into_bytes(), vec![b'v'; 200]]).collect();
    client.pipeline(&requests);
}

/// The last increment in the folder.
fn increment(dir: &Path) -> PathBuf {
    let mut found = files_below(&dir.join("appendonlydir"));
    found.retain(|path| path.to_string_lossy().ends_with(".incr.aof"));
    found.sort();
    found.pop().unwrap()
}

/// `aoftool check --json` of the last increment.
fn checked(dir: &Path) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_aoftool")).args(["check", "--json"]).arg(dir).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verdict"], "clean", "{report}");
    report["files"].as_array().unwrap().last().unwrap().clone()
}

fn marks(bytes: &[u8], name: &str) -> usize {
    bytes.split(|&byte| byte == b'\n').filter(|line| line.starts_with(name.as_bytes())).count()
}

#[test]
fn a_byte_that_was_changed_stops_the_start_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    set(&mut server.client(), 0..1000);
    // These seals know that the first ones are on the disk.
    set(&mut server.client(), 1000..1100);
    drop(server);
    let path = increment(dir.path());
    let whole = std::fs::read(&path).unwrap();
    assert!(marks(&whole, "#SEAL ") > 5);
    let mut bytes = whole.clone();
    let at = bytes.len() / 3;
    let at = at + bytes[at..].windows(5).position(|window| window == b"vvvvv").unwrap();
    bytes[at] = b'w';
    std::fs::write(&path, &bytes).unwrap();
    let output = Server::try_start(&Program::ours(), dir.path(), &ALWAYS).map(|_| ()).unwrap_err();
    for word in ["incr.aof", "between offset", "checksum", "truncate -s", "aof-verify no"] {
        assert!(output.contains(word), "no {word} in {output}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing is touched");
    let options = [&ALWAYS[..], &[("aof-verify", "no")]].concat();
    let server = Server::start(&Program::ours(), dir.path(), &options);
    assert_eq!(server.client().line("DBSIZE").int(), 1100);
    drop(server);
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(start(dir.path()).client().line("DBSIZE").int(), 1100);
}

#[test]
fn restarts_and_rewrites_go_on_with_one_history() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for round in 0..4 {
        let server = start(dir.path());
        let mut client = server.client();
        set(&mut client, round * 300..round * 300 + 300);
        if round == 2 {
            client.line("BGREWRITEAOF");
            while !client.line("INFO persistence").text().contains("aof_rewrite_in_progress:0") {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            set(&mut client, 2000..2100);
        }
        let info = client.line("INFO persistence").text();
        let position = |name: &str| -> u64 {
            let line = info.lines().find_map(|line| line.strip_prefix(name)).expect("INFO has it");
            line.parse().unwrap()
        };
        assert!(position("aof_sealed_position:") <= position("aof_position:"));
        let end = position("aof_position:");
        if round % 2 == 0 {
            drop(server);
        } else {
            assert!(server.terminate().success());
        }
        let file = checked(dir.path());
        assert_eq!(file["position"], end, "positions count what was logged");
        seen.push(file["history"].as_str().unwrap().to_owned());
        let unsealed = file["unsealed_bytes"].as_u64().unwrap();
        assert!(if round % 2 == 0 { unsealed < 17 << 10 } else { unsealed == 0 }, "round {round}: {unsealed} unsealed");
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "one history");
}

/// A directory goes from hand to hand: what a peer appends stands unsealed, and is sealed by our next start.
#[test]
fn peers_continue_our_files_and_we_theirs() {
    for program in [Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = 0;
        for round in 0..3 {
            for who in [&Program::ours(), &program] {
                let server = Server::start(who, dir.path(), &ALWAYS);
                let mut client = server.client();
                assert_eq!(client.line("DBSIZE").int(), expected, "{} in round {round}", who.name);
                let from = usize::try_from(expected).unwrap();
                set(&mut client, from..from + 150);
                expected += 150;
                drop(server);
            }
            let unsealed = checked(dir.path())["unsealed_bytes"].as_u64().unwrap();
            assert!(unsealed > 30_000, "the peer's {unsealed}");
        }
        let server = start(dir.path());
        set(&mut server.client(), 0..1);
        drop(server);
        assert!(checked(dir.path())["unsealed_bytes"].as_u64().unwrap() < 1000);
    }
}

#[test]
fn a_flush_tells_who_sent_it_and_can_be_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let mut client = server.client();
    set(&mut client, 0..400);
    client.line("MULTI");
    client.line("FLUSHALL");
    client.line("SET after 1");
    client.line("EXEC");
    set(&mut client, 400..450);
    assert!(server.terminate().success());
    let before = std::fs::read(increment(dir.path())).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_aoftool"))
        .args(["strip-command", "FLUSHALL", "--yes"])
        .arg(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("sent by 127.0.0.1:") && text.contains("(user default)"),
        "{text}"
    );
    let file = checked(dir.path());
    assert_eq!(file["unsealed_bytes"], 0, "seals over what has changed are new");
    let after = std::fs::read(increment(dir.path())).unwrap();
    let ids = [&before, &after].map(|bytes| bytes[..60].to_vec());
    assert_ne!(ids[0], ids[1], "what is left is another history");
    let records = |bytes: &[u8]| -> Vec<u8> {
        let lines = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"#"));
        lines.flatten().copied().collect()
    };
    let flush = b"*1\r\n$8\r\nFLUSHALL\r\n";
    let mut kept = records(&before);
    let at = kept.windows(flush.len()).position(|window| window == flush).unwrap();
    kept.drain(at..at + flush.len());
    assert_eq!(records(&after), kept, "records are copied byte for byte");
    assert_eq!(start(dir.path()).client().line("DBSIZE").int(), 451);
}

#[test]
fn times_are_written_when_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let options = [&ALWAYS[..], &[("aof-timestamp-enabled", "yes")]].concat();
    let server = Server::start(&Program::ours(), dir.path(), &options);
    let mut client = server.client();
    set(&mut client, 0..10);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    set(&mut client, 10..20);
    client.line("CONFIG SET aof-timestamp-enabled no");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    set(&mut client, 20..30);
    assert!(server.terminate().success());
    let times = marks(&std::fs::read(increment(dir.path())).unwrap(), "#TS:");
    assert!((2..=3).contains(&times), "{times}");
    assert_eq!(checked(dir.path())["records"], 31);
}
