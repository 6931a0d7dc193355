//! MIGRATE, from ours to real servers and from them to ours.

use crate::interop::{fill, words};
use crate::rig::{Client, Contents, Program, Server, Value, differences, read_contents};
use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

/// A time to live is sent as what is left of it.
const SLACK_MS: i64 = 60_000;

struct Pair {
    from: Server,
    to: Server,
    _dirs: [tempfile::TempDir; 2],
}

impl Pair {
    fn new(from: &Program, to: &Program) -> Self {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let options = [("appendonly", "yes"), ("requirepass", "secret")];
        let start = |program: &Program, at: usize| Server::start(program, dirs[at].path(), &options);
        Self { from: start(from, 0), to: start(to, 1), _dirs: dirs }
    }

    fn clients(&self) -> [Client; 2] {
        [&self.from, &self.to].map(|server| {
            let mut client = server.client();
            assert_eq!(client.line("AUTH secret").text(), "OK");
            client
        })
    }

    /// The request that sends `keys` of database 0 to database `db`.
    fn request(&self, db: u32, options: &str, keys: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let port = self.to.port();
        let head = format!("MIGRATE 127.0.0.1 {port} KEY {db} 10000 AUTH secret {options} KEYS");
        let mut request = words(&head);
        request[3].clear();
        request.extend(keys.iter().cloned());
        request
    }
}

fn said(client: &mut Client, request: &[Vec<u8>]) -> String {
    match client.ask(request).unwrap() {
        Value::Error(text) => text,
        other => other.text(),
    }
}

fn keys(client: &mut Client) -> Vec<Vec<u8>> {
    client.line("KEYS *").array().into_iter().map(|key| key.bytes()).collect()
}

/// What was in database 0, as it must be in database `db`.
fn moved(contents: Contents, db: u64) -> Contents {
    let of_first = contents.keys.into_iter().filter(|((from, _), _)| *from == 0);
    let keys = of_first.map(|((_, name), mut key)| {
        key.expire_slack_ms = SLACK_MS;
        ((db, name), key)
    });
    Contents { keys: keys.collect(), functions: contents.functions }
}

fn all_keys_arrive(from: &Program, to: &Program) {
    let mut pair = Pair::new(from, to);
    let [mut source, mut target] = pair.clients();
    fill(&mut source, 1);
    let (before, all) = (read_contents(&mut source), keys(&mut source));
    assert!(all.len() > 400);
    assert_eq!(said(&mut source, &pair.request(2, "COPY", &all)), "OK");
    assert_eq!(keys(&mut source).len(), all.len(), "a copy leaves them");
    assert!(said(&mut source, &pair.request(2, "COPY", &all)).contains("BUSYKEY"));
    assert_eq!(said(&mut source, &pair.request(2, "REPLACE", &all)), "OK");
    let wrongs = differences(&read_contents(&mut target), &moved(before, 2));
    assert!(wrongs.is_empty(), "{} to {}: {}", from.name, to.name, wrongs.join("\n"));
    assert_eq!(said(&mut source, &pair.request(2, "REPLACE", &all)), "NOKEY");
    // They are gone by the log, too.
    pair.from.kill();
    pair.from = Server::start(from, pair._dirs[0].path(), &[("appendonly", "yes"), ("requirepass", "secret")]);
    let [mut source, _] = pair.clients();
    assert_eq!(keys(&mut source).len(), 0);
    assert_eq!(source.line("SELECT 3").text(), "OK");
    assert_eq!(keys(&mut source).len(), all.len(), "the other databases are as they were");
}

#[test]
fn keys_of_every_type_go_to_real_servers_and_come_from_them() {
    let ours = Program::ours();
    all_keys_arrive(&ours, &ours);
    for peer in [Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        all_keys_arrive(&ours, &peer);
        all_keys_arrive(&peer, &ours);
    }
}

#[test]
fn what_the_target_refuses_stays_and_the_others_go() {
    let peers = [Some(Program::ours()), Program::redis_8(), Program::valkey_9()];
    for to in peers.into_iter().flatten() {
        let pair = Pair::new(&Program::ours(), &to);
        let [mut source, mut target] = pair.clients();
        source.line("MSET a 1 b 2 c 3");
        target.line("SET b theirs");
        let all = words("a b nosuch c");
        let refused = "ERR Target instance replied with error: BUSYKEY Target key name already exists.";
        assert_eq!(said(&mut source, &pair.request(0, "", &all)), refused);
        assert_eq!(keys(&mut source), [b"b"]);
        assert_eq!(target.line("MGET a b c").array().into_iter().map(|one| one.text()).collect::<String>(), "1theirs3");
        let denied = pair.request(0, "AUTH wrong REPLACE", &all);
        assert!(said(&mut source, &denied).starts_with("ERR Target instance replied with error: WRONGPASS"));
        let nowhere = pair.request(99, "REPLACE", &all);
        assert!(said(&mut source, &nowhere).starts_with("ERR Target instance replied with error: ERR DB index"));
        assert_eq!(keys(&mut source), [b"b"]);
    }
}

#[test]
fn a_target_that_says_nothing_is_waited_for_no_longer_than_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[]);
    let mut client = server.client();
    client.line("SET a 1");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It takes the request, and answers only what is asked first.
    let silent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        std::io::Write::write_all(&mut stream, b"+OK\r\n").unwrap();
        let mut taken = Vec::new();
        stream.read_to_end(&mut taken).unwrap();
        taken
    });
    let reply = said(&mut client, &words(&format!("MIGRATE 127.0.0.1 {port} a 0 50")));
    assert_eq!(reply, "IOERR error or timeout reading from target instance");
    assert_eq!(client.line("GET a").text(), "1", "who may have it does not take it away");
    let taken = silent.join().unwrap();
    assert!(taken.starts_with(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*4\r\n$7\r\nRESTORE\r\n$1\r\na\r\n$1\r\n0\r\n"));
}
