//! WAITAOF: what it answers beside a real Redis 8, and when.

use crate::rig::{Client, Program, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Lines whose answers do not depend on when a sync ends.
const LINES: &[&str] = &[
    "WAITAOF",
    "WAITAOF 0 0",
    "WAITAOF 2 0 0",
    "WAITAOF -1 0 0",
    "WAITAOF a 0 0",
    "WAITAOF 0 -1 0",
    "WAITAOF 0 a 0",
    "WAITAOF 0 0 a",
    "WAITAOF 0 0 -1",
    "WAITAOF 0 0 99999999999999999999",
    "WAITAOF 0 0 9223372036854775807",
    "WAITAOF 2 -1 a",
    "WAITAOF 1 -1 a",
    "WAITAOF 1 0 a",
    "WAITAOF 1 0 0",
    "WAITAOF 0 1 20",
    "WAITAOF 1 1 20",
    "SET key value",
    "WAITAOF 1 0 0",
    "MULTI",
    "SET key other",
    "WAITAOF 1 0 0",
    "WAITAOF 1 1 0",
    "EXEC",
    "WAITAOF 1 0 5000",
];

fn answers(client: &mut Client) -> Vec<String> {
    let answer = |line: &&str| client.ask(&line.split(' ').collect::<Vec<_>>()).unwrap();
    LINES.iter().zip(LINES.iter().map(answer)).map(|(line, answer)| format!("{line}: {answer:?}")).collect()
}

#[test]
fn it_answers_as_redis_8_does_with_a_log_and_without() {
    let Some(redis) = Program::redis_8() else { return };
    for appendonly in ["yes", "no"] {
        let [ours, theirs] = [Program::ours(), redis.clone()].map(|program| {
            let dir = tempfile::tempdir().unwrap();
            let options = [("appendonly", appendonly), ("appendfsync", "everysec")];
            let server = Server::start(&program, dir.path(), &options);
            answers(&mut server.client())
        });
        assert_eq!(ours, theirs, "appendonly {appendonly}");
    }
}

#[test]
fn a_client_waits_for_its_sync_and_what_it_has_sent_behind_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes"), ("appendfsync", "no")]);
    let (mut waiting, mut other) = (server.client(), server.client());
    waiting.line("SET key value");
    // Under `no` nothing is synced by itself.
    let since = Instant::now();
    assert_eq!(numbers(waiting.line("WAITAOF 1 0 200")), [0, 0]);
    assert!(since.elapsed() >= Duration::from_millis(200));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            waiting.queue(&["WAITAOF", "1", "0", "0"]);
            waiting.queue(&["GET", "key"]);
            waiting.flush().unwrap();
            (numbers(waiting.reply().unwrap()), waiting.reply().unwrap().bytes())
        });
        while !other.line("INFO clients").text().contains("blocked_clients:1") {
            assert!(since.elapsed() < Duration::from_secs(30), "nobody waits");
        }
        assert_eq!(other.line("GET key").bytes(), b"value");
        other.line("CONFIG SET appendfsync everysec");
        assert_eq!(waiter.join().unwrap(), (vec![1, 0], b"value".to_vec()));
    });
    assert!(since.elapsed() < Duration::from_secs(30));
    assert!(other.line("INFO clients").text().contains("blocked_clients:0"));
}

/// Symptom: the error of a request that is none came before the reply to the WAITAOF in front of it, in whose place it stood.
#[test]
fn an_error_behind_it_waits_for_its_reply() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let wait = b"*4\r\n$7\r\nWAITAOF\r\n$1\r\n0\r\n$1\r\n1\r\n$2\r\n50\r\n";
    stream.write_all(&[wait.as_slice(), b"*1\r\n$x\r\n"].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("*2\r\n:") && answer.contains("\r\n:0\r\n-ERR Protocol error"), "{answer:?}");
}

fn numbers(answer: crate::rig::Value) -> Vec<i64> {
    answer.array().iter().map(crate::rig::Value::int).collect()
}
