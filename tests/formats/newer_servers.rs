//! What only newer servers write, through a running server: its files, its log and its restarts.

use crate::rig::{Client, Program, Server};
use ironkeep::value::Listpack;
use ironkeep::value::stream::StreamId;
use std::io::Write;
use std::path::Path;

fn id(ms: u64, seq: u64) -> [u8; 16] {
    StreamId { ms, seq }.to_bytes()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

/// RDB 14 by hand: a stream with a producer and an entry that was given back, and an array with a hole.
fn newer_file() -> Vec<u8> {
    let node: Listpack = [&b"1"[..], b"0", b"1", b"f", b"0", b"2", b"0", b"0", b"v", b"4"].into_iter().collect();
    let ms = |ms: i64| ms.to_le_bytes();
    let entries = [&[1][..], &string(&id(1, 0)), &string(node.as_bytes()), &[1, 1, 0, 1, 0, 0, 0, 1]].concat();
    let pending = [&[2][..], &id(0, 9), &ms(50), &[1], &id(1, 0), &ms(60), &[2]].concat();
    let consumers = [&b"\x01\x01c"[..], &ms(70), &ms(71), &[1], &id(1, 0)].concat();
    let nacked = [&[1][..], &id(0, 9)].concat();
    let producers = b"\x28\x40\x64\x01\x02p1\x01\x04iid1\x01\x00\x03\x02";
    let group = [&b"\x01\x01g\x01\x00\x01"[..], &pending, &consumers, &nacked].concat();
    let stream = [&b"\x1b\x01s"[..], &entries, &group, producers].concat();
    let array = b"\x1c\x01a\x02\x01\x09\x00\x03\x01x\x41\x2c\x00\x04text";
    [b"REDIS0014\xfe\x00", &stream[..], array, b"\xff\0\0\0\0\0\0\0\0"].concat()
}

/// The bytes of both values as the server gives them to whoever asks.
fn payloads(client: &mut Client) -> [Vec<u8>; 2] {
    ["s", "a"].map(|key| client.call(&["DUMP", key]).bytes())
}

fn rewrite(client: &mut Client) {
    client.line("BGREWRITEAOF");
    client.wait_for_rewrite();
}

fn only_base(dir: &Path) -> std::path::PathBuf {
    let names = std::fs::read_dir(dir.join("appendonlydir")).unwrap().map(|entry| entry.unwrap().path());
    names.into_iter().find(|path| path.to_string_lossy().contains(".base.")).unwrap()
}

/// "The stream had come from a newer server, and after a BGSAVE its producers were gone".
#[test]
fn extras_of_newer_servers_survive_saves_rewrites_and_restarts() {
    for log in ["no", "yes"] {
        for preamble in ["yes", "no"] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("dump.rdb"), newer_file()).unwrap();
            let options = [("appendonly", log), ("aof-use-rdb-preamble", preamble)];
            let mut told = Vec::new();
            for round in 0..3 {
                let mut server = Server::start(&Program::ours(), folder.path(), &options);
                let mut client = server.client();
                let now = payloads(&mut client);
                assert!(now[0].windows(4).any(|part| part == b"iid1") && now[1].windows(4).any(|part| part == b"text"));
                told.push(now);
                assert_eq!(told[0], told[round], "log {log}, preamble {preamble}, round {round}");
                if log == "yes" {
                    rewrite(&mut client);
                } else {
                    assert_eq!(client.line("SAVE").text(), "OK");
                }
                server.kill();
            }
            if log == "yes" {
                // What has no commands of its own is in a base of commands as RESTORE.
                let head: &[u8] = if preamble == "yes" { b"REDIS0014" } else { b"*2\r\n$6\r\nSELECT" };
                assert!(std::fs::read(only_base(folder.path())).unwrap().starts_with(head));
            }
        }
    }
}

/// "The log of a Valkey 9.2 that compresses its files would not load": neither server nor aoftool took its base.
#[test]
fn a_log_whose_base_is_in_the_compressed_envelope_is_loaded_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("appendonlydir");
    std::fs::create_dir(&log).unwrap();
    let rdb = b"REDIS0011\xfe\x00\x00\x04base\x05there\xff\0\0\0\0\0\0\0\0";
    let mut frame = lz4_flex::frame::FrameEncoder::new(b"VCS\x01\x01\x00\x00".to_vec());
    frame.write_all(rdb).unwrap();
    let packed = frame.finish().unwrap();
    let base = log.join("appendonly.aof.1.base.rdb");
    std::fs::write(&base, &packed).unwrap();
    std::fs::write(log.join("appendonly.aof.1.incr.aof"), b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n").unwrap();
    let manifest = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    std::fs::write(log.join("appendonly.aof.manifest"), manifest).unwrap();
    let aoftool = |verb: &str| {
        let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_aoftool"));
        tool.args([verb, "appendonly.aof.manifest"]).current_dir(&log).output().unwrap()
    };
    let [check, dump, info] = ["check", "dump", "info"].map(aoftool);
    for output in [&check, &dump, &info] {
        let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
    }
    assert!(String::from_utf8_lossy(&check.stdout).contains("REDIS0011 with 1 key"));
    assert!(String::from_utf8_lossy(&dump.stdout).contains("SET k v"));
    let mut server = Server::start(&Program::ours(), folder.path(), &[("appendonly", "yes")]);
    let mut client = server.client();
    assert_eq!([client.line("GET base").text(), client.line("GET k").text()], ["there", "v"]);
    server.kill();

    // Damage stops the start and is a finding, with the place in the file; so does what no server writes.
    let mut broken = packed.clone();
    broken[7] ^= 0xff; // where the frame begins
    let more = [&packed[..], b"*1\r\n$4\r\nPING\r\n"].concat();
    for (bytes, code) in [(broken, 1), (packed[..5].to_vec(), 1), (more, 4)] {
        std::fs::write(&base, bytes).unwrap();
        let check = aoftool("check");
        let text = String::from_utf8_lossy(&[&check.stdout[..], &check.stderr].concat()).into_owned();
        assert_eq!(check.status.code(), Some(code), "{text}");
        assert!(text.contains("of the compressed file"), "{text}");
        let refused = Server::try_start(&Program::ours(), folder.path(), &[("appendonly", "yes")]).err().unwrap();
        assert!(refused.contains("base.rdb") && refused.contains("of the compressed file"), "{refused}");
    }
}
