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
