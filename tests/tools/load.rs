//! `rdbtool load`: what arrives in real servers, all of it and once, also when the connection is cut.

use super::rdbtool::{corpus, rdbtool, stderr_of};
use crate::rig::{Client, Contents, Program, Server, differences, read_contents, truth_of};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn load(input: &Path, url: &str, more: &[&str]) -> Output {
    rdbtool().arg("load").arg(input).arg(url).arg("--json").args(more).output().unwrap()
}

fn url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port())
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr_of(output)))
}

/// Loads and asks nothing but that it goes well.
fn loaded(input: &Path, url: &str, more: &[&str]) -> Value {
    let output = load(input, url, more);
    assert_eq!(output.status.code(), Some(0), "{} {more:?}: {}", input.display(), stderr_of(&output));
    report(&output)
}

fn peers() -> Vec<Program> {
    [Program::redis_8(), Program::valkey_9(), Program::redis_7(), Some(Program::ours())].into_iter().flatten().collect()
}

fn started(program: &Program) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(program, folder.path(), &[("databases", "16")]);
    (folder, server)
}

fn sample(server: &str, name: &str) -> PathBuf {
    corpus().join(server).join(name)
}

/// What of `wanted` is not so in the server.
fn wrongs(server: &Server, wanted: &Contents) -> Vec<String> {
    differences(&read_contents(&mut server.client()), wanted)
}

fn empty(server: &Server) {
    let mut client = server.client();
    client.line("FLUSHALL");
    client.line("FUNCTION FLUSH");
}

#[test]
fn files_of_every_age_arrive_by_restore_and_by_commands() {
    for program in peers() {
        let (_folder, server) = started(&program);
        let samples: &[(&str, &str)] = &[
            ("redis-2.4.18", "types.rdb"),
            ("redis-2.8.24", "random.rdb"),
            ("redis-3.2.13", "types.rdb"),
            ("redis-5.0.14", "types.rdb"),
            ("redis-6.2.16", "random.rdb"),
            ("redis-7.0.15", "types.rdb"),
            ("redis-7.2.6", "types.rdb"),
            ("valkey-8.0.1", "types.rdb"),
        ];
        for (from, name) in samples {
            let input = sample(from, name);
            let truth = truth_of(&input);
            for mode in ["restore", "commands"] {
                let told = loaded(&input, &url(&server), &["--mode", mode]);
                let wrongs = wrongs(&server, &truth);
                assert!(wrongs.is_empty(), "{} {from} {name} {mode}:\n{}", program.name, wrongs.join("\n"));
                assert_eq!(told["loaded"].as_u64().unwrap(), truth.keys.len() as u64, "{told}");
                empty(&server);
            }
        }
    }
}

/// Fields that expire have another encoding in each family, and none before Redis 7.4.
#[test]
fn field_expiry_changes_families() {
    for (from, programs) in [
        ("redis-8.0.6", [Program::redis_8(), Program::valkey_9()]),
        ("valkey-9.1.2", [Program::redis_8(), Program::valkey_9()]),
    ] {
        for program in programs.into_iter().flatten() {
            let input = sample(from, "types.rdb");
            let (_folder, server) = started(&program);
            for mode in ["restore", "commands"] {
                loaded(&input, &url(&server), &["--mode", mode]);
                let found = wrongs(&server, &truth_of(&input));
                assert!(found.is_empty(), "{from} into {} {mode}:\n{}", program.name, found.join("\n"));
                empty(&server);
            }
        }
    }
    let Some(program) = Program::redis_7() else { return };
    let (_folder, server) = started(&program);
    let output = load(&sample("redis-8.0.6", "types.rdb"), &url(&server), &["--continue"]);
    let told = report(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told["refused"].as_u64().unwrap() > 0 && told["loaded"].as_u64().unwrap() > 50, "{told}");
    assert!(told["refusals"][0].as_str().unwrap().contains("expir"), "{told}");
}

#[test]
fn what_is_there_already_stops_is_left_or_is_replaced() {
    for program in peers() {
        let (_folder, server) = started(&program);
        let mut client = server.client();
        let input = sample("redis-7.0.15", "types.rdb");
        let truth = truth_of(&input);
        let victim =
            truth.keys.iter().find(|((db, _), key)| *db == 0 && key.expire_at_ms.is_none()).unwrap().0.1.clone();
        for mode in ["restore", "commands"] {
            empty(&server);
            client.call(&[b"SET", victim.as_slice(), b"precious"]);
            let output = load(&input, &url(&server), &["--mode", mode]);
            assert_eq!(output.status.code(), Some(5), "{}", stderr_of(&output));
            assert!(stderr_of(&output).contains("is there already"), "{}", stderr_of(&output));
            assert_eq!(client.call(&[b"GET", victim.as_slice()]).bytes(), b"precious");

            let told = loaded(&input, &url(&server), &["--mode", mode, "--existing", "skip"]);
            assert!(told["there_already"].as_u64().unwrap() > 0, "{told}");
            assert_eq!(client.call(&[b"GET", victim.as_slice()]).bytes(), b"precious");
            assert_eq!(wrongs(&server, &truth).len(), 1, "{} {mode}", program.name);

            let told = loaded(&input, &url(&server), &["--mode", mode, "--replace"]);
            assert_eq!(told["loaded"].as_u64().unwrap(), truth.keys.len() as u64);
            assert_eq!(wrongs(&server, &truth), Vec::<String>::new(), "{} {mode}", program.name);
        }
    }
}

/// Symptom: with --resume and no state yet, keys that were there before the load passed for keys that it had brought.
#[test]
fn a_first_load_with_a_state_file_takes_nothing_for_its_own() {
    let (folder, server) = started(&Program::ours());
    let input = sample("redis-7.2.6", "random.rdb");
    loaded(&input, &url(&server), &[]);
    let state = folder.path().join("state");
    let resume = ["--resume", state.to_str().unwrap()];
    for _ in 0..2 {
        let output = load(&input, &url(&server), &resume);
        assert_eq!(output.status.code(), Some(5), "{}", stderr_of(&output));
    }
    // One key stands in the way, and those behind it were sent with it.
    empty(&server);
    let keys: Vec<_> = truth_of(&input).keys.into_keys().collect();
    let (db, victim) = &keys[keys.len() / 2];
    let mut client = server.client();
    client.line(&format!("SELECT {db}"));
    client.call(&[b"SET", victim.as_slice(), b"in the way"]);
    assert_eq!(load(&input, &url(&server), &resume).status.code(), Some(5));
    assert_eq!(load(&input, &url(&server), &resume).status.code(), Some(5), "it still does");
    client.call(&[b"DEL", victim.as_slice()]);
    let told = loaded(&input, &url(&server), &resume);
    assert!(told["loaded_before_cut"].as_u64().unwrap() > 0, "{told}");
    assert_eq!(wrongs(&server, &truth_of(&input)), Vec::<String>::new());
}

/// Symptom: a state that only an orderly end writes is of no use to a load that is killed.
#[test]
fn a_load_that_is_killed_goes_on_too() {
    let (folder, server) = started(&Program::ours());
    let input = sample("redis-7.2.6", "random.rdb");
    let state = folder.path().join("state");
    let mut client = server.client();
    for round in 1..=4_u64 {
        let mut child = rdbtool()
            .arg("load")
            .arg(&input)
            .arg(url(&server))
            .args(["--rate", "200", "--pipeline", "4", "--resume"])
            .arg(&state)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Until it has brought some more.
        for _ in 0..600 {
            if client.line("DBSIZE").int() >= 4 * i64::try_from(round).unwrap() || child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let told = loaded(&input, &url(&server), &["--resume", state.to_str().unwrap()]);
    assert!(told["loaded_before_cut"].as_u64().unwrap() >= 16, "{told}");
    assert_eq!(wrongs(&server, &truth_of(&input)), Vec::<String>::new());
}

/// Passes bytes on in both directions, and cuts the connection after so many from the client.
struct Cutter {
    url: String,
    passed: Arc<AtomicU64>,
}

fn cutter(port: u16, most: u64) -> Cutter {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let passed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&passed);
    std::thread::spawn(move || {
        let (mut from, _) = listener.accept().unwrap();
        let mut to = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut back_from, mut back_to) = (to.try_clone().unwrap(), from.try_clone().unwrap());
        for stream in [&from, &to] {
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        }
        let back = std::thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let left = most.saturating_sub(count.load(Ordering::Relaxed));
            let passed = (read as u64).min(left);
            if to.write_all(&buffer[..usize::try_from(passed).unwrap()]).is_err() {
                break;
            }
            count.fetch_add(passed, Ordering::Relaxed);
            if passed < read as u64 {
                break;
            }
        }
        for stream in [&from, &to] {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        let _ = back.join();
    });
    Cutter { url, passed }
}

#[test]
fn a_load_that_is_cut_again_and_again_loses_and_doubles_nothing() {
    let Some(program) = Program::redis_8().or_else(Program::redis_7) else { return };
    let input = sample("redis-7.0.15", "types.rdb");
    let truth = truth_of(&input);
    let (folder, server) = started(&program);
    for mode in ["restore", "commands"] {
        let state = folder.path().join("state");
        let resume = ["--resume", state.to_str().unwrap(), "--mode", mode, "--pipeline", "8"];
        let (mut cuts, mut most) = (0, 20_000);
        loop {
            let cutter = cutter(server.port(), most);
            let output = load(&input, &cutter.url, &resume);
            if output.status.code() == Some(0) {
                break;
            }
            assert_eq!(output.status.code(), Some(3), "{}", stderr_of(&output));
            assert!(stderr_of(&output).contains("go on with the same command"), "{}", stderr_of(&output));
            assert!(cutter.passed.load(Ordering::Relaxed) == most && state.exists());
            cuts += 1;
            // Each time some further, or a value larger than the cut would never get through.
            most += 20_000;
            assert!(cuts < 100);
        }
        assert!(cuts >= 3, "{mode}: {cuts}");
        assert!(!state.exists(), "a load that is complete leaves no state");
        assert_eq!(wrongs(&server, &truth), Vec::<String>::new(), "{mode} after {cuts} cuts");
        println!("{mode}: {cuts} cuts");
        empty(&server);
    }
}

#[test]
fn a_state_of_another_input_is_refused() {
    let (folder, server) = started(&Program::ours());
    let state = folder.path().join("state");
    let resume = ["--resume", state.to_str().unwrap()];
    let cut = cutter(server.port(), 30_000);
    assert_eq!(load(&sample("redis-7.0.15", "types.rdb"), &cut.url, &resume).status.code(), Some(3));
    let output = load(&sample("redis-7.2.6", "random.rdb"), &url(&server), &resume);
    assert_eq!(output.status.code(), Some(5), "{}", stderr_of(&output));
    assert!(stderr_of(&output).contains("another input"), "{}", stderr_of(&output));
}

/// Symptom: a key that the server's version has no way to hold ended the load as if the server could not be reached.
#[test]
fn what_the_servers_version_cannot_hold_is_told_by_the_exit_code() {
    let Some(program) = Program::redis_7() else { return };
    let (_folder, server) = started(&program);
    let mut input = tempfile::NamedTempFile::new().unwrap();
    let hash = b"\x18\x01h\x00\x40\x8f\x08\xa3\x03\x00\x00\x01\x01\x01a\x01x";
    input.write_all(&[&b"REDIS0012\xfe\x00\x00\x01a\x011"[..], hash, b"\xff\0\0\0\0\0\0\0\0"].concat()).unwrap();
    let output = load(input.path(), &url(&server), &[]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr_of(&output));
    let said = stderr_of(&output);
    assert!(
        said.contains("key \"h\" (offset 16): it has fields that expire")
            && said.contains("(--continue passes over it)"),
        "{said}"
    );
    assert!(said.contains("the first key or library of the input is done, go on with --skip 1"), "{said}");
    assert_eq!(load(input.path(), &url(&server), &["--replace", "--continue"]).status.code(), Some(1));
}

#[test]
fn function_libraries_can_be_left_out() {
    let Some(program) = Program::redis_7() else { return };
    let (_folder, server) = started(&program);
    let input = sample("redis-7.0.15", "types.rdb");
    let told = loaded(&input, &url(&server), &["--no-functions"]);
    assert_eq!((&told["functions"], &told["functions_left_out"]), (&0.into(), &1.into()), "{told}");
    assert_eq!(told["loaded"].as_u64().unwrap(), truth_of(&input).keys.len() as u64);
    assert_eq!(server.client().line("FUNCTION LIST").array().len(), 0);
}

/// Symptom: keys of database 20 of a server with 16 went into the database before it.
#[test]
fn a_database_that_is_not_there_never_becomes_another() {
    let (_folder, server) = started(&Program::ours());
    let file = b"REDIS0003\xfe\x00\x00\x01a\x011\xfe\x14\x00\x01b\x012\x00\x01c\x013\xff";
    let mut input = tempfile::NamedTempFile::new().unwrap();
    input.write_all(file).unwrap();
    let output = load(input.path(), &url(&server), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr_of(&output).contains("SELECT 20"), "{}", stderr_of(&output));
    let output = load(input.path(), &url(&server), &["--continue", "--replace"]);
    assert_eq!((output.status.code(), &report(&output)["refused"]), (Some(1), &2.into()));
    let mut client = server.client();
    assert_eq!(client.line("DBSIZE").int(), 1);
    loaded(input.path(), &url(&server), &["--replace", "--db-map", "20:3"]);
    client.line("SELECT 3");
    assert_eq!(client.line("DBSIZE").int(), 2);
    loaded(input.path(), &format!("{}/5", url(&server)), &[]);
    client.line("SELECT 5");
    assert_eq!(client.line("DBSIZE").int(), 3);
}

#[test]
fn expired_keys_stay_behind_and_selections_narrow() {
    let (_folder, server) = started(&Program::ours());
    let file =
        b"REDIS0003\xfe\x00\xfc\x01\0\0\0\0\0\0\0\x00\x04past\x011\x00\x03one\x011\x01\x04list\x02\x01x\x01y\xff";
    let mut input = tempfile::NamedTempFile::new().unwrap();
    input.write_all(file).unwrap();
    let told = loaded(input.path(), &url(&server), &["--dry-run"]);
    assert_eq!((&told["would_load"], &told["loaded"]), (&2.into(), &0.into()));
    assert_eq!(server.client().line("DBSIZE").int(), 0);
    for mode in ["restore", "commands"] {
        let told = loaded(input.path(), &url(&server), &["--type", "string", "--mode", mode, "--replace"]);
        let counts = ["loaded", "expired", "not_selected"].map(|name| told[name].as_u64().unwrap());
        assert_eq!(counts, [1, 1, 1], "{told}");
    }
    let told = loaded(input.path(), &url(&server), &["--dry-run"]);
    assert_eq!((&told["would_load"], &told["there_already"]), (&2.into(), &1.into()));
    let told = loaded(input.path(), &url(&server), &["--replace", "--min-size", "10", "--rate", "1000"]);
    assert_eq!(told["loaded"], 1, "{told}");
}

#[test]
fn a_large_value_goes_by_commands_and_arrives_whole() {
    for program in peers() {
        let (folder, source) = started(&program);
        let mut client = source.client();
        let requests: Vec<Vec<Vec<u8>>> = (0..3_000)
            .map(|index| {
                ["HSET", "big", &format!("field:{index}"), &"v".repeat(index % 90)]
                    .map(|word| word.as_bytes().to_vec())
                    .to_vec()
            })
            .collect();
        client.pipeline(&requests);
        client.line("SET small 1");
        client.line("SAVE");
        let wanted = read_contents(&mut client);
        let (_target_folder, target) = started(&program);
        let told = loaded(&folder.path().join("dump.rdb"), &url(&target), &["--max-restore", "10kb"]);
        assert_eq!((&told["by_restore"], &told["by_commands"]), (&1.into(), &1.into()));
        assert_eq!(wrongs(&target, &wanted), Vec::<String>::new(), "{}", program.name);
    }
}

/// A server that takes no payload at all gets everything by commands.
#[test]
fn a_payload_that_is_refused_goes_by_commands() {
    let (_folder, server) = started(&Program::ours());
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let proxy = format!("redis://{}", listener.local_addr().unwrap());
    let port = server.port();
    // Renames RESTORE on its way, so that the answer is an error; then that error is spelled as Redis spells it.
    let thread = std::thread::spawn(move || {
        let (mut from, _) = listener.accept().unwrap();
        let mut to = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut back_from, mut back_to) = (to.try_clone().unwrap(), from.try_clone().unwrap());
        let back = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(read @ 1..) = back_from.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                let told: String = text
                    .split_inclusive("\r\n")
                    .map(|line| if line.starts_with("-ERR unknown") { "-ERR Bad data format\r\n" } else { line })
                    .collect();
                back_to.write_all(told.as_bytes()).unwrap();
            }
        });
        let mut buffer = vec![0; 1 << 20];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let mut bytes = buffer[..read].to_vec();
            while let Some(at) = bytes.windows(9).position(|window| window == b"\r\nRESTORE") {
                bytes[at + 2..at + 9].copy_from_slice(b"NOSUCHC");
            }
            to.write_all(&bytes).unwrap();
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
        let _ = back.join();
    });
    let mut input = tempfile::NamedTempFile::new().unwrap();
    input.write_all(b"REDIS0003\xfe\x00\x00\x01a\x011\x01\x01l\x02\x01x\x01y\x02\x01s\x01\x01m\xff").unwrap();
    let told = loaded(input.path(), &proxy, &[]);
    assert_eq!((&told["by_restore"], &told["by_commands"]), (&0.into(), &3.into()));
    thread.join().unwrap();
    assert_eq!(keys_of(&mut server.client()), ["a", "l", "s"]);
}

fn keys_of(client: &mut Client) -> Vec<String> {
    let mut keys: Vec<String> = client.line("KEYS *").array().into_iter().map(|key| key.text()).collect();
    keys.sort();
    keys
}

#[test]
fn damage_stops_it_where_it_is_and_says_how_to_go_on() {
    let (_folder, server) = started(&Program::ours());
    let content = std::fs::read(sample("redis-7.0.15", "types.rdb")).unwrap();
    let mut input = tempfile::NamedTempFile::new().unwrap();
    input.write_all(&content[..content.len() / 2]).unwrap();
    // A file that is seen to break off was half loaded before that was said.
    let output = load(input.path(), &url(&server), &[]);
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr_of(&output).contains("nothing was sent: `rdbtool repair`"), "{}", stderr_of(&output));
    let output = load(input.path(), &url(&server), &["--no-verify"]);
    assert_eq!(output.status.code(), Some(3));
    let (told, loaded) = (stderr_of(&output), report(&output)["loaded"].as_u64().unwrap());
    assert!(told.contains("offset") && told.contains("go on with --skip"), "{told}");
    assert!(loaded > 10);
    let mut changed = content.clone();
    let at = changed.windows(13).position(|window| window == b"the empty key").unwrap();
    changed[at] ^= 1;
    std::fs::write(input.path(), &changed).unwrap();
    let output = load(input.path(), &url(&server), &["--replace"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr_of(&output));
    assert_eq!(load(input.path(), &url(&server), &["--replace", "--no-verify"]).status.code(), Some(0));
    assert!(stderr_of(&load(input.path(), "redis://127.0.0.1:1", &["--no-verify"])).contains("nothing listens there"));
    assert_eq!(load(input.path(), "dump.rdb", &[]).status.code(), Some(2));
}
