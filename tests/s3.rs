//! Backups in a bucket: a server built with the feature `s3` beside moto, which speaks like S3, and a network between them
//! that is cut, and denies.
//!
//! `IRONKEEP_S3_BIN` is that server, `IRONKEEP_MOTO` the `moto_server` of a Python package; `.ci/run` has both.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::archive::wait_until_archived;
use crate::backups::{info, json, wait_until};
use crate::rig::{Client, Program, Server, Value, free_port, read_contents};

const REPO: &str = "s3://vault/keep";
const NEEDS: &str = "needs IRONKEEP_S3_BIN and IRONKEEP_MOTO";

fn program() -> Program {
    let path = std::env::var_os("IRONKEEP_S3_BIN").map(PathBuf::from).expect(NEEDS);
    Program::at("ironkeep with s3", &path)
}

/// How the network is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Weather {
    Fine,
    /// Connections end as soon as they are made.
    Cut,
    /// Every request is denied.
    Denied,
}

/// An S3 of the test's own, behind a network that it makes the weather of.
struct Bucket {
    moto: Child,
    port: u16,
    weather: Arc<AtomicU8>,
}

impl Bucket {
    fn start() -> Self {
        let behind = free_port();
        let moto = Command::new(std::env::var_os("IRONKEEP_MOTO").expect(NEEDS))
            .args(["-H", "127.0.0.1", "-p", &behind.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, weather) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU8::new(0)));
        let bucket = Self { moto, port, weather: Arc::clone(&weather) };
        wait_until("moto", || TcpStream::connect(("127.0.0.1", behind)).is_ok());
        let mut stream = TcpStream::connect(("127.0.0.1", behind)).unwrap();
        stream
            .write_all(b"PUT /vault HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // Ends with the test's process.
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let weather = Arc::clone(&weather);
                thread::spawn(move || carry(near, behind, &weather));
            }
        });
        bucket
    }

    fn make(&self, weather: Weather) {
        self.weather.store(weather as u8, Ordering::Relaxed);
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ACCESS_KEY_ID", "tests".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "only".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    fn server(&self, dir: &Path, more: &[(&str, &str)]) -> Server {
        let environment = self.environment();
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let options = [&[("backup-repo", REPO), ("appendonly", "yes")], more].concat();
        Server::start_in(&program(), dir, &options, &environment)
    }

    fn backup(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program().path());
        command.arg("backup").args(arguments).args(["--repo", REPO]).envs(self.environment());
        command.stdin(Stdio::null()).output().unwrap()
    }

    #[track_caller]
    fn backup_fine(&self, arguments: &[&str]) -> String {
        let output = self.backup(arguments);
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {out}{error}");
        out.into_owned()
    }

    fn listed(&self) -> Vec<serde_json::Value> {
        json(&self.backup_fine(&["list", "--json"]))["backups"].as_array().unwrap().clone()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.moto.kill();
        let _ = self.moto.wait();
    }
}

/// Carries a connection, as long as the weather is fine.
fn carry(mut near: TcpStream, port: u16, weather: &AtomicU8) {
    let is = |wanted: Weather| weather.load(Ordering::Relaxed) == wanted as u8;
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)) else { return };
    for stream in [&near, &far] {
        stream.set_nonblocking(true).unwrap();
    }
    let mut buffer = vec![0; 1 << 16];
    loop {
        if is(Weather::Cut) {
            break;
        }
        if is(Weather::Denied) {
            near.set_nonblocking(false).unwrap();
            // What is asked need not be read to the end.
            let _ = near.read(&mut buffer);
            let _ = near.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = near.shutdown(Shutdown::Write);
            let _ = near.set_read_timeout(Some(Duration::from_secs(1)));
            while near.read(&mut buffer).is_ok_and(|count| count > 0) {}
            break;
        }
        match (pass(&mut near, &mut far, &mut buffer), pass(&mut far, &mut near, &mut buffer)) {
            (None, _) | (_, None) => break,
            (Some(0), Some(0)) => thread::sleep(Duration::from_millis(1)),
            _ => {}
        }
    }
    let _ = near.shutdown(Shutdown::Both);
    let _ = far.shutdown(Shutdown::Both);
}

/// Passes on what is there; none at the end.
fn pass(from: &mut TcpStream, to: &mut TcpStream, buffer: &mut [u8]) -> Option<usize> {
    match from.read(buffer) {
        Ok(0) => None,
        Ok(count) => {
            to.set_nonblocking(false).unwrap();
            let written = to.write_all(&buffer[..count]);
            to.set_nonblocking(true).unwrap();
            written.ok().map(|()| count)
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Some(0),
        Err(_) => None,
    }
}

/// Writes values that nothing packs: 24 MB, which is more than a part of an upload.
fn fill(client: &mut Client) {
    for index in 0..24 {
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(1 << 20).collect();
        client.call(&[b"SET", format!("noise:{index}").as_bytes(), &noise]);
    }
}

#[test]
#[ignore = "needs IRONKEEP_S3_BIN and IRONKEEP_MOTO"]
fn a_server_comes_back_from_a_bucket() {
    let (bucket, dir) = (Bucket::start(), tempfile::tempdir().unwrap());
    let archived = [("aof-archive", "yes"), ("aof-archive-timeout", "1"), ("aof-segment-size", "20kb")];
    let mut server = bucket.server(dir.path(), &archived);
    let mut client = server.client();
    wait_until("a backup to begin with", || info(&mut client, "archive_has_base") == "1");
    fill(&mut client);
    let id = client.line("BACKUP CREATE").text();
    for index in 0..2000 {
        client.line(&format!("SET key:{} {index}", index % 500));
    }
    let wanted = read_contents(&mut client);
    client.line("FLUSHALL");
    client.line("SET after the-flush");
    let plan = ["restore", "--to", "latest", "--dir", "/nowhere", "--dry-run", "--json"];
    wait_until_archived("after", || bucket.backup(&plan));
    server.kill();
    let shown = bucket.backup_fine(&["show", &id]);
    assert!(shown.contains("restore"), "{shown}");
    bucket.backup_fine(&["verify", &id]);
    let restored = dir.path().join("restored");
    let text = bucket.backup_fine(&["restore", "--before", "FLUSHALL", "--dir", restored.to_str().unwrap()]);
    println!("{text}");
    let server = Server::start(&Program::ours(), &restored, &[("appendonly", "yes")]);
    let found = read_contents(&mut server.client());
    assert_eq!(crate::rig::differences(&found, &wanted), Vec::<String>::new());
    let latest = dir.path().join("latest");
    bucket.backup_fine(&["restore", "--to", "latest", "--dir", latest.to_str().unwrap()]);
    let server = Server::start(&Program::ours(), &latest, &[("appendonly", "yes")]);
    assert_eq!(server.client().line("GET after").text(), "the-flush");
    assert_eq!(server.client().line("DBSIZE").int(), 1);
}

#[test]
#[ignore = "needs IRONKEEP_S3_BIN and IRONKEEP_MOTO"]
fn segments_of_many_parts_are_archived_and_a_server_that_ends_lets_the_next_go_on_at_once() {
    let (bucket, dir) = (Bucket::start(), tempfile::tempdir().unwrap());
    let archived = [("aof-archive", "yes"), ("aof-archive-timeout", "1"), ("aof-segment-size", "40mb")];
    let server = bucket.server(dir.path(), &archived);
    let mut client = server.client();
    wait_until("a backup to begin with", || info(&mut client, "archive_has_base") == "1");
    fill(&mut client);
    client.line("SET before the-end");
    assert!(server.terminate().success());
    let plan = ["restore", "--to", "latest", "--dir", "/nowhere", "--dry-run", "--json"];
    let planned = json(&bucket.backup_fine(&plan));
    assert_eq!((&planned["keys"], &planned["replayed"]["is_short"]), (&25.into(), &false.into()), "{planned}");
    let started = Instant::now();
    let server = bucket.server(dir.path(), &archived);
    let mut client = server.client();
    wait_until("the archive to go on", || info(&mut client, "archive_has_base") == "1");
    client.line("SET behind the-start");
    wait_until_archived("behind", || bucket.backup(&plan));
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}: no lease had to run out", started.elapsed());
    assert_eq!(info(&mut client, "archive_branches"), "0");
    // A dump is put in where nothing is yet.
    client.line("SAVE");
    let dump = dir.path().join("dump.rdb");
    let mut import = Command::new(program().path());
    import.args(["backup", "import", dump.to_str().unwrap(), "--repo", "s3://vault/elsewhere"]);
    let imported = import.envs(bucket.environment()).stdin(Stdio::null()).output().unwrap();
    assert_eq!(imported.status.code(), Some(0), "{}", String::from_utf8_lossy(&imported.stderr));
}

#[test]
#[ignore = "needs IRONKEEP_S3_BIN and IRONKEEP_MOTO"]
fn a_network_that_is_cut_or_denies_costs_no_backup_and_no_write() {
    let (bucket, dir) = (Bucket::start(), tempfile::tempdir().unwrap());
    let server = bucket.server(dir.path(), &[("backup-compression", "none"), ("backup-retention", "keep-last 1")]);
    let mut client = server.client();
    fill(&mut client);
    let first = client.line("BACKUP CREATE").text();
    // Denied: it fails at once, and the one before stays.
    bucket.make(Weather::Denied);
    let Value::Error(refused) = client.ask(&["BACKUP", "CREATE"]).unwrap() else { panic!("a backup without a bucket") };
    assert!(refused.contains("lacked the necessary privileges"), "{refused}");
    assert_eq!((info(&mut client, "backup_failures").as_str(), info(&mut client, "backup_count").as_str()), ("1", "1"));
    bucket.make(Weather::Fine);
    let ids =
        |bucket: &Bucket| bucket.listed().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&bucket), std::slice::from_ref(&first));
    // Cut while it is uploaded: it waits for the network, and nobody waits for it.
    client.line("CONFIG SET backup-max-rate 12mb");
    let mut other = server.client();
    let making = thread::spawn(move || other.line("BACKUP CREATE").text());
    wait_until("a backup under way", || info(&mut client, "backup_in_progress") == "1");
    thread::sleep(Duration::from_millis(300));
    bucket.make(Weather::Cut);
    let started = Instant::now();
    let mut written = 0;
    while started.elapsed() < Duration::from_secs(4) {
        client.line(&format!("SET beside {written}"));
        written += 1;
    }
    assert!(written > 1000 && info(&mut client, "backup_in_progress") == "1", "{written}");
    bucket.make(Weather::Fine);
    let second = making.join().unwrap();
    assert_eq!(ids(&bucket), std::slice::from_ref(&second), "and the first went by the rules");
    println!("{written} writes while the network was cut; {}", bucket.backup_fine(&["verify", &second]).trim_end());
}

#[test]
#[ignore = "needs IRONKEEP_S3_BIN and IRONKEEP_MOTO"]
fn who_dies_while_uploading_leaves_nothing_and_blocks_the_next_for_a_minute() {
    let (bucket, dir) = (Bucket::start(), tempfile::tempdir().unwrap());
    let options = [("backup-compression", "none"), ("backup-max-rate", "8mb")];
    let mut server = bucket.server(dir.path(), &options);
    let mut client = server.client();
    fill(&mut client);
    thread::spawn(move || client.ask(&["BACKUP", "CREATE"]).is_ok());
    let mut client = server.client();
    wait_until("a backup under way", || info(&mut client, "backup_in_progress") == "1");
    thread::sleep(Duration::from_millis(2500));
    server.kill();
    assert_eq!(bucket.listed(), Vec::<serde_json::Value>::new());
    let server = bucket.server(dir.path(), &options[..1]);
    let mut client = server.client();
    let started = Instant::now();
    let mut tries = 0;
    while let Value::Error(busy) = client.ask(&["BACKUP", "CREATE"]).unwrap() {
        assert!(busy.contains("another process works in the catalogue"), "{busy}");
        assert!(started.elapsed() < Duration::from_secs(90), "{busy}");
        thread::sleep(Duration::from_secs(3));
        tries += 1;
    }
    assert!(tries > 0 && bucket.listed().len() == 1);
    println!("made {:?} after the death", started.elapsed());
}

#[test]
#[ignore = "needs IRONKEEP_S3_BIN and IRONKEEP_MOTO"]
fn a_bucket_that_is_not_there_is_told() {
    let bucket = Bucket::start();
    let command = |repo: &str| {
        let mut command = Command::new(program().path());
        command.args(["backup", "list", "--repo", repo]).envs(bucket.environment());
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = command("s3://elsewhere/keep");
    assert!(code == Some(3) && told.contains("NoSuchBucket"), "{code:?} {told}");
    let (code, told) = command("s3:");
    assert!(code == Some(2) && told.contains("s3://BUCKET/FOLDER"), "{code:?} {told}");
}
