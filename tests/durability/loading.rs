//! What clients see of a server that loads. A pipe stands where the file should be, so that the load lasts as long as the
//! test wants.

use crate::rig::{Client, Program, Server, Value};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A file with the keys `0` to `99`, without the end.
fn keys_of_file() -> Vec<u8> {
    let mut file = b"REDIS0006\xfe\x00".to_vec();
    for key in 0..100 {
        let key = format!("{key:02}");
        file.extend_from_slice(&[b"\x00\x02", key.as_bytes(), b"\x05value"].concat());
    }
    file
}

fn end_of_file() -> [u8; 9] {
    *b"\xff\0\0\0\0\0\0\0\0"
}

fn pipe_at(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn unused_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn connect(port: u16) -> Client {
    for _ in 0..600 {
        if let Ok(client) = Client::connect(port) {
            return client;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("nobody listens on port {port}");
}

/// Starts a server whose dump.rdb is a pipe; `during` gets the pipe, with the first keys written, and a client. Returns
/// what the start came to.
fn start_slowly(during: impl FnOnce(File, Client)) -> Result<Server, String> {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("dump.rdb");
    pipe_at(&pipe);
    let port = unused_port();
    std::thread::scope(|scope| {
        let port_text = port.to_string();
        let dir = dir.path();
        let starting = scope.spawn(move || Server::try_start(&Program::ours(), dir, &[("port", &port_text)]));
        let mut file = File::options().write(true).open(pipe).unwrap(); // waits for the server to open it
        file.write_all(&keys_of_file()).unwrap();
        during(file, connect(port));
        starting.join().unwrap()
    })
}

/// The reply, be it an error.
fn ask(client: &mut Client, line: &str) -> Value {
    client.ask(&line.split_whitespace().collect::<Vec<_>>()).unwrap()
}

fn is_loading_error(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text == "LOADING Redis is loading the dataset in memory")
}

#[test]
fn clients_are_told_that_the_server_loads_and_may_look_how_far_it_is() {
    let mut early = None;
    let server = start_slowly(|mut file, mut client| {
        for line in ["PING", "GET 01", "SET 01 x", "DBSIZE", "BGSAVE", "FLUSHALL", "CONFIG SET appendonly yes"] {
            assert!(is_loading_error(&ask(&mut client, line)), "{line}");
        }
        let info = client.line("INFO persistence").text();
        for field in
            ["loading:1", "async_loading:0", "loading_start_time:", "loading_total_bytes:", "loading_eta_seconds:"]
        {
            assert!(info.contains(field), "{field} in {info}");
        }
        assert!(!ask(&mut client, "CONFIG GET port").is_error() && !ask(&mut client, "COMMAND COUNT").is_error());
        assert!(!ask(&mut client, "CONFIG SET maxmemory 100mb").is_error());
        assert!(ask(&mut client, "DEBUG RELOAD").is_error());
        // A transaction can't bring in what is refused outside of one.
        assert!(!ask(&mut client, "MULTI").is_error());
        assert!(is_loading_error(&ask(&mut client, "SET 01 x")));
        assert!(ask(&mut client, "EXEC").is_error());
        assert!(!ask(&mut client, "WATCH 01").is_error());
        file.write_all(&end_of_file()).unwrap();
        early = Some(client);
    });
    let (_server, mut client) = (server.unwrap(), early.unwrap());
    assert_eq!(client.line("DBSIZE").int(), 100);
    assert!(client.line("INFO persistence").text().contains("loading:0"));
    assert_eq!(client.line("CONFIG GET maxmemory").array()[1].clone().text(), "104857600");
    // The key came into being behind the back of its watcher.
    client.line("MULTI");
    client.line("SET 01 x");
    assert!(matches!(client.line("EXEC"), Value::Null));
    assert_eq!(client.line("GET 01").text(), "value");
}

#[test]
fn shutdown_while_loading_ends_the_server_and_saves_nothing() {
    let outcome = start_slowly(|file, mut client| {
        client.queue(&["SHUTDOWN", "SAVE"]);
        client.flush().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        drop(file);
        assert!(client.reply().is_err(), "no reply, and then no connection");
    });
    let output = outcome.err().expect("it does not become ready");
    assert!(output.contains("ready to exit") && !output.contains("saved"), "{output}");
}

#[test]
fn a_load_that_fails_ends_the_server_with_file_and_offset() {
    let outcome = start_slowly(|mut file, mut client| {
        assert!(is_loading_error(&ask(&mut client, "PING")));
        file.write_all(b"\x00\x0201\x05value").unwrap();
    });
    let output = outcome.err().expect("it does not become ready");
    assert!(output.contains("dump.rdb: offset 1011: the key \"01\" stands twice in database 0"), "{output}");
}
