//! Two servers on one directory, where one takes no lock.

use crate::rig::{Program, Server};

const INCREMENT: &str = "appendonlydir/appendonly.aof.1.incr.aof";

#[test]
fn a_log_that_a_real_server_writes_is_refused_and_left_alone() {
    for peer in [Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = Server::start(&peer, dir.path(), &[("appendonly", "yes")]);
        theirs.client().line("SET key value");
        for appendonly in ["yes", "no"] {
            let refused = Server::try_start(&Program::ours(), dir.path(), &[("appendonly", appendonly)]).map(|_| ());
            let output = refused.unwrap_err();
            assert!(output.contains("is writing this log: stop it first"), "{output}");
            assert!(output.contains(&format!("process {}", theirs.pid())), "{output}");
        }
        assert_eq!(theirs.client().line("GET key").bytes(), b"value");
        assert!(theirs.terminate().success());
        let ours = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
        assert_eq!(ours.client().line("GET key").bytes(), b"value");
    }
}

#[test]
fn who_only_reads_a_log_keeps_nobody_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    server.client().line("SET key value");
    assert!(server.terminate().success());
    let mut backup = std::process::Command::new("sh")
        .args(["-c", "exec 3<\"$0\"; echo ready; read line"])
        .arg(dir.path().join(INCREMENT))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(backup.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    assert_eq!(server.client().line("GET key").bytes(), b"value");
    drop(backup.stdin.take());
    backup.wait().unwrap();
}
