//! Where the tool's bytes may come from: packed files, and servers, real ones and one that this file plays.

use super::rdbtool::{corpus, json_of, rdbtool, run, stderr_of};
use crate::rig::{Program, Server};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn saved(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

/// A server for one connection: it answers every request but SYNC as told, then writes `transfer` and closes.
pub struct Fake {
    pub url: String,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Fake {
    pub fn start(answer: impl Fn(&str) -> &'static str + Send + 'static, transfer: Vec<u8>) -> Fake {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("redis://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            serve(stream, answer, &transfer)
        });
        Fake { url, thread }
    }

    /// A server that has no objection before SYNC.
    pub fn sends(transfer: Vec<u8>) -> Fake {
        Fake::start(|_| "+OK\r\n", transfer)
    }

    /// The requests that came.
    pub fn requests(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn serve(stream: TcpStream, answer: impl Fn(&str) -> &'static str, transfer: &[u8]) -> Vec<String> {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut output = stream;
    let mut requests = Vec::new();
    while let Some(words) = read_request(&mut input) {
        let line = words.join(" ");
        let is_sync = line == "SYNC";
        let reply = if is_sync { "" } else { answer(&line) };
        requests.push(line);
        if is_sync {
            // The client may have gone away, having read enough.
            let _ = output.write_all(transfer);
            break;
        }
        if output.write_all(reply.as_bytes()).is_err() {
            break;
        }
    }
    requests
}

fn read_request(input: &mut impl BufRead) -> Option<Vec<String>> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    let count: usize = line.strip_prefix('*')?.trim_end().parse().unwrap();
    let words = (0..count).map(|_| {
        let mut line = String::new();
        input.read_line(&mut line).unwrap();
        let len: usize = line.strip_prefix('$').unwrap().trim_end().parse().unwrap();
        let mut word = vec![0; len + 2];
        input.read_exact(&mut word).unwrap();
        String::from_utf8_lossy(&word[..len]).into_owned()
    });
    Some(words.collect())
}

fn sample() -> Vec<u8> {
    std::fs::read(corpus().join("redis-7.2.6/types.rdb")).unwrap()
}

fn check(url: &str) -> Output {
    run("check", Path::new(url), &["--json"])
}

fn verdict(output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr_of(output)));
    report["verdict"].clone()
}

const MARK: &[u8; 40] = b"0123456789abcdef0123456789abcdef01234567";

fn by_mark(rdb: &[u8]) -> Vec<u8> {
    [b"\n\n$EOF:", &MARK[..], b"\r\n", rdb, MARK, b"*1\r\n$4\r\nPING\r\n"].concat()
}

fn by_length(rdb: &[u8]) -> Vec<u8> {
    [format!("\n${}\r\n", rdb.len()).as_bytes(), rdb].concat()
}

#[test]
fn packed_inputs_are_known_by_their_bytes_and_not_by_their_names() {
    let plain = sample();
    let wanted = run("dump", saved(&plain).path(), &["--json"]).stdout;
    for packed in [gzip(&plain), zstd(&plain), gzip(&zstd(&plain)), [gzip(&plain[..999]), gzip(&plain[999..])].concat()]
    {
        let file = saved(&packed);
        assert!(run("dump", file.path(), &["--json"]).stdout == wanted);
        let by_stdin =
            rdbtool().args(["dump", "-", "--json"]).stdin(std::fs::File::open(file.path()).unwrap()).output();
        assert!(by_stdin.unwrap().stdout == wanted);
    }
}

#[test]
fn a_packed_input_that_is_cut_says_so_and_not_that_the_rdb_is_damaged() {
    for (packed, name) in [(gzip(&sample()), "gzip"), (zstd(&sample()), "zstd")] {
        let cut = saved(&packed[..packed.len() / 2]);
        let what = format!("the {name} data ends too early");
        for verb in ["dump", "info"] {
            let output = run(verb, cut.path(), &[]);
            let told = stderr_of(&output);
            assert_eq!(output.status.code(), Some(3), "{verb}: {told}");
            assert!(told.contains(&what), "{verb}: {told}");
        }
        // To check it is a finding beside those in what comes out.
        let output = run("check", cut.path(), &[]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("packing: ") && told.contains(&what), "{told}");
    }
    let log = gzip(b"*1\r\n$4\r\nPING\r\n");
    assert!(stderr_of(&run("info", saved(&log).path(), &[])).contains("aoftool"));
}

#[test]
fn a_transfer_by_mark_and_one_by_length_are_the_same_file() {
    let rdb = sample();
    for transfer in [by_mark(&rdb), by_length(&rdb)] {
        let server = Fake::sends(transfer);
        assert_eq!(verdict(&check(&server.url)), "healthy");
        assert_eq!(
            server.requests(),
            ["REPLCONF capa eof", "REPLCONF version 255.255.255", "REPLCONF rdb-only 1", "SYNC"]
        );
    }
}

/// Symptom: a mark that arrives in two pieces, or whose first bytes are those of the data, became part of the file.
#[test]
fn a_mark_is_found_wherever_it_is_torn() {
    let mut rdb = b"REDIS0003\xfe\x00\x00\x01k\x28".to_vec();
    rdb.extend_from_slice(&MARK[..39]);
    rdb.extend_from_slice(b"0\xff");
    let transfer = by_mark(&rdb);
    for tear in transfer.len() - 60..transfer.len() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("redis://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let transfer = transfer.clone();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut input = BufReader::new(stream.try_clone().unwrap());
            while read_request(&mut input).is_some_and(|words| words != ["SYNC"]) {
                stream.write_all(b"+OK\r\n").unwrap();
            }
            stream.write_all(&transfer[..tear]).unwrap();
            std::thread::sleep(Duration::from_millis(2));
            let _ = stream.write_all(&transfer[tear..]);
        });
        assert_eq!(verdict(&check(&url)), "healthy", "{tear}");
        server.join().unwrap();
    }
}

#[test]
fn a_connection_cut_in_the_middle_says_how_far_it_came() {
    let rdb = sample();
    let (mark, length) = (by_mark(&rdb), by_length(&rdb));
    for (transfer, words) in [
        (&mark[..20_000], "before the mark of its end"),
        (&length[..20_000], &*format!("of {} bytes", rdb.len())),
        (&length[..3], "the server closed the connection"),
    ] {
        let server = Fake::sends(transfer.to_vec());
        let output = check(&server.url);
        assert_eq!(output.status.code(), Some(3));
        let told = stderr_of(&output);
        assert!(told.contains("the server closed the connection") && told.contains(words), "{told}");
    }
}

#[test]
fn what_a_server_refuses_is_said_with_what_to_do() {
    for (transfer, hint) in [
        ("-NOAUTH Authentication required.\r\n", "REDISCLI_AUTH"),
        ("-LOADING Redis is loading the dataset in memory\r\n", "try again"),
        ("-NOMASTERLINK Can't SYNC while not connected with my master\r\n", "ask the master"),
        ("-ERR unknown command 'SYNC'\r\n", "does not have it"),
        ("+OK\r\n", "an RDB was to begin"),
        ("$EOF:short\r\n", "an RDB was to begin"),
    ] {
        let server = Fake::sends(transfer.as_bytes().to_vec());
        let output = check(&server.url);
        assert_eq!(output.status.code(), Some(3));
        let told = stderr_of(&output);
        assert!(told.contains(hint) && told.starts_with("127.0.0.1:"), "{told}");
    }
    let web = Fake::start(|_| "HTTP/1.1 400 Bad Request\r\n", Vec::new());
    assert!(stderr_of(&check(&web.url)).contains("is this a Redis or Valkey server?"));
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    assert!(stderr_of(&check(&format!("redis://{nobody}"))).contains("nothing listens there"));
    assert_eq!(check("redis://127.0.0.1:1/3x").status.code(), Some(2));
    assert_eq!(check("rediss://127.0.0.1").status.code(), Some(2));
}

#[test]
fn a_password_is_sent_and_never_printed() {
    let wrong = |line: &str| if line.starts_with("AUTH") { "-WRONGPASS invalid\r\n" } else { "+OK\r\n" };
    let server = Fake::start(wrong, Vec::new());
    let place = server.url.strip_prefix("redis://").unwrap().to_owned();
    let output = check(&format!("redis://alice:s3%63ret@{place}"));
    assert!(!stderr_of(&output).contains("s3") && stderr_of(&output).contains("WRONGPASS"), "{}", stderr_of(&output));
    assert_eq!(server.requests(), ["AUTH alice s3cret"]);

    let server = Fake::sends(by_length(&sample()));
    let output = rdbtool().args(["check", &server.url, "--json"]).env("REDISCLI_AUTH", "s3cret").output().unwrap();
    assert_eq!(verdict(&output), "healthy");
    assert_eq!(server.requests()[0], "AUTH s3cret");
}

#[test]
fn every_verb_reads_real_servers() {
    for program in [Program::redis_8(), Program::valkey_9(), Program::redis_7()].into_iter().flatten() {
        for diskless in ["yes", "no"] {
            let folder = tempfile::tempdir().unwrap();
            let options =
                [("repl-diskless-sync", diskless), ("repl-diskless-sync-delay", "0"), ("requirepass", "s3cret")];
            let server = Server::start(&program, folder.path(), &options);
            let mut client = server.client();
            client.line("AUTH s3cret");
            client.line("MSET a 1 b 2 c 3");
            let url = format!("redis://:s3cret@127.0.0.1:{}", server.port());
            let info = json_of("info", Path::new(&url));
            assert_eq!((&info["keys"], &info["checksum"]), (&3.into(), &"correct".into()), "{}", program.name);
            let dump = run("dump", Path::new(&url), &["--ndjson", "--key", "b"]);
            assert_eq!(String::from_utf8_lossy(&dump.stdout).matches("\"key\"").count(), 1);
        }
    }
}

/// Ours sends one snapshot to who asks for no more.
#[test]
fn our_own_server_is_an_input() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), folder.path(), &[]);
    server.client().line("MSET a 1 b 2 c 3");
    let url = format!("redis://127.0.0.1:{}", server.port());
    let output = check(&url);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    let info = json_of("info", Path::new(&url));
    assert_eq!((&info["keys"], &info["checksum"]), (&3.into(), &"correct".into()));
}
