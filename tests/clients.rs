//! How clients are served that don't behave like a benchmark.

use crate::rig::{Program, Server};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Symptom: a client that said its last word early and took more than 5 s to read found its last replies cut off.
#[test]
fn a_slow_reader_that_has_closed_its_side_gets_every_reply() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "no")]);
    let value = vec![b'v'; 1 << 20];
    server.client().call(&[&b"SET"[..], b"key", &value]);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    // Little room in the kernel, so that the replies wait in the server.
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 64 << 10).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let replies = 7;
    stream.write_all("GET key\r\n".repeat(replies).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let (mut total, mut buffer) = (0, vec![0; 64 << 10]);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            count => total += count,
        }
        std::thread::sleep(Duration::from_millis(110));
    }
    let header = format!("${}\r\n", value.len()).len();
    assert_eq!(total, replies * (header + value.len() + 2));
}

fn start(options: &[(&str, &str)]) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options: Vec<_> = [("appendonly", "no")].iter().chain(options).copied().collect();
    (Server::start(&Program::ours(), dir.path(), &options), dir)
}

/// A number that INFO shows.
fn info(server: &Server, name: &str) -> u64 {
    let text = server.client().line("INFO all").text();
    let row = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    row.unwrap_or_else(|| panic!("INFO has no {name}")).parse().unwrap()
}

/// Waits until INFO shows at least this.
fn wait_for(server: &Server, name: &str, least: u64) {
    for _ in 0..200 {
        if info(server, name) >= least {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{name} did not reach {least} in ten seconds");
}

/// A client that reads nothing, with little room in the kernel, so that replies wait in the server.
fn deaf_client(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 64 << 10).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

#[test]
fn a_client_that_reads_nothing_costs_bounded_memory_and_gets_all_when_it_reads() {
    let (server, _dir) = start(&[]);
    server.client().call(&[&b"SET"[..], b"key", &vec![b'v'; 100_000]]);
    let before = info(&server, "used_memory_rss");
    let mut stream = deaf_client(&server);
    let replies = 2_000;
    stream.write_all("GET key\r\n".repeat(replies).as_bytes()).unwrap();
    // The others are served meanwhile.
    for _ in 0..20 {
        server.client().line("PING");
        std::thread::sleep(Duration::from_millis(60));
    }
    let grown = info(&server, "used_memory_rss").saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for one client who asked for 200 MB");
    let mut wanted = replies * (100_000 + "$100000\r\n\r\n".len());
    let mut buffer = vec![0; 1 << 20];
    while wanted > 0 {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{wanted} bytes are missing");
        wanted -= count;
    }
}

#[test]
fn the_hard_limit_of_replies_ends_a_client_that_does_not_read() {
    let (server, _dir) = start(&[]);
    server.client().call(&["CONFIG", "SET", "client-output-buffer-limit", "normal 20000000 0 0"]);
    server.client().call(&[&b"SET"[..], b"key", &vec![b'v'; 1 << 20]]);
    let mut stream = deaf_client(&server);
    stream.write_all("GET key\r\n".repeat(100).as_bytes()).unwrap();
    wait_for(&server, "client_output_buffer_limit_disconnections", 1);
    server.client().line("PING");
}

#[test]
fn the_soft_limit_of_replies_ends_a_client_after_its_seconds() {
    let (server, _dir) = start(&[("client-output-buffer-limit", "normal 0 65536 1")]);
    server.client().call(&[&b"SET"[..], b"key", &vec![b'v'; 1 << 20]]);
    let mut stream = deaf_client(&server);
    stream.write_all("GET key\r\n".repeat(10).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(info(&server, "client_output_buffer_limit_disconnections"), 0);
    wait_for(&server, "client_output_buffer_limit_disconnections", 1);
}

#[test]
fn a_request_beyond_the_query_limit_ends_its_client() {
    let (server, _dir) = start(&[("client-query-buffer-limit", "1mb")]);
    let mut stream = deaf_client(&server);
    stream.write_all(b"*2\r\n$3\r\nGET\r\n$100000000\r\n").unwrap();
    let sent = (0..64).try_for_each(|_| stream.write_all(&[b'x'; 64 << 10]));
    assert!(sent.is_err() || !matches!(stream.read(&mut [0; 16]), Ok(1..)));
    wait_for(&server, "client_query_buffer_limit_disconnections", 1);
}

#[test]
fn idle_clients_end_after_the_timeout_and_busy_ones_do_not() {
    let (server, _dir) = start(&[("timeout", "1")]);
    let mut idle = deaf_client(&server);
    let mut busy = server.client();
    for _ in 0..30 {
        busy.line("PING");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0);
    busy.line("PING");
}

#[test]
fn one_client_more_than_maxclients_is_told_so() {
    let (server, _dir) = start(&[("maxclients", "2")]);
    let (mut first, mut second) = (server.client(), server.client());
    first.line("PING");
    second.line("PING");
    let mut refused = Vec::new();
    let _ = deaf_client(&server).read_to_end(&mut refused);
    assert_eq!(refused, b"-ERR max number of clients reached\r\n");
    assert!(first.line("INFO stats").text().contains("rejected_connections:1\r\n"));
}

#[test]
fn a_long_pipeline_of_one_client_does_not_hold_up_the_others() {
    let (server, _dir) = start(&[]);
    let requests = 300_000;
    let mut greedy = deaf_client(&server);
    let writer = std::thread::spawn(move || {
        greedy.write_all("SET key value\r\n".repeat(requests).as_bytes()).unwrap();
        greedy
    });
    let mut other = server.client();
    wait_for(&server, "total_commands_processed", 1_000);
    for _ in 0..10 {
        other.line("PING");
    }
    let done = info(&server, "total_commands_processed");
    assert!(done < requests as u64, "all {done} commands were executed before the others had their turn");
    drop(writer.join().unwrap());
}

#[test]
fn turns_are_counted_with_their_time() {
    let (server, _dir) = start(&[]);
    for _ in 0..50 {
        server.client().line("PING");
    }
    let cycles = info(&server, "eventloop_cycles");
    let (all, commands) = (info(&server, "eventloop_duration_sum"), info(&server, "eventloop_duration_cmd_sum"));
    assert!(cycles >= 50, "{cycles}");
    assert!(all > 0 && commands <= all, "{commands} of {all}");
    assert!(info(&server, "eventloop_duration_max") <= all);
}

/// In release builds every call was counted, and none shown: the rows of commands had two addresses.
#[test]
fn calls_are_counted_and_shown() {
    let (server, _dir) = start(&[]);
    let mut client = server.client();
    client.line("SET a 1");
    client.line("GET a");
    client.line("GET b");
    let text = client.line("INFO commandstats").text();
    assert!(text.contains("cmdstat_set:calls=1,") && text.contains("cmdstat_get:calls=2,"), "{text}");
}
