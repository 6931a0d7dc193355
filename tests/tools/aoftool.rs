//! `aoftool` as a user meets it: the binary, on copies of the logs of real servers and on logs made here.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus")
}

fn aoftool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aoftool"));
    command.env_remove("IRONKEEP_DIR").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str], path: &Path) -> Output {
    aoftool().args(arguments).arg(path).output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn record(words: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ironkeep::resp::encode_request(&mut bytes, words);
    bytes
}

fn records(commands: &[&[&str]]) -> Vec<u8> {
    commands.iter().flat_map(|words| record(words)).collect()
}

/// A data folder with a single-file log.
fn saved(content: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("appendonly.aof");
    fs::write(&path, content).unwrap();
    (folder, path)
}

/// A data folder with a multi-part log of increments.
fn saved_parts(parts: &[&[u8]]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("appendonlydir");
    fs::create_dir(&log).unwrap();
    let mut manifest = String::new();
    for (index, content) in parts.iter().enumerate() {
        let seq = index + 1;
        manifest += &format!("file appendonly.aof.{seq}.incr.aof seq {seq} type i\n");
        fs::write(log.join(format!("appendonly.aof.{seq}.incr.aof")), content).unwrap();
    }
    fs::write(log.join("appendonly.aof.manifest"), manifest).unwrap();
    (folder, log)
}

/// The data folders below the corpus that hold a log of the kind: `aof` or `flushed-aof`.
fn samples(kind: &str) -> Vec<PathBuf> {
    let servers = fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().path().join(kind));
    let mut found: Vec<_> = servers.filter(|path| path.is_dir()).collect();
    found.sort();
    assert_eq!(found.len(), 15, "the corpus has a log of each of 15 servers");
    found
}

/// Copies files, which in the corpus are read-only.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// All files below a folder with their content, by relative name.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push((path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The shell line behind `To undo: `.
fn undo_line(output: &Output) -> String {
    let words = text(&output.stderr);
    words.lines().find_map(|line| line.strip_prefix("To undo: ")).expect(&words).to_owned()
}

#[test]
fn every_log_of_the_corpus_is_valid_and_has_its_commands() {
    for folder in samples("aof").into_iter().chain(samples("flushed-aof")) {
        let output = run(&["check"], &folder);
        assert_eq!(code(&output), Some(0), "{}: {}{}", folder.display(), text(&output.stdout), text(&output.stderr));
        assert!(text(&output.stdout).contains("All AOF files and manifest are valid"));
        let report: Value = serde_json::from_slice(&run(&["info", "--json"], &folder).stdout).unwrap();
        let names: Vec<_> = report["commands"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
        let is_flushed = folder.ends_with("flushed-aof");
        assert_eq!(names.contains(&&Value::from("FLUSHALL")), is_flushed, "{}", folder.display());
    }
}

#[test]
fn stripping_the_flushall_of_a_real_log_leaves_every_other_byte() {
    for folder in samples("flushed-aof") {
        let result = tempfile::tempdir().unwrap();
        let output = aoftool()
            .args(["strip-command", "flushall"])
            .arg(&folder)
            .arg("--output")
            .arg(result.path().join("out"))
            .output()
            .unwrap();
        assert_eq!(code(&output), Some(0), "{}: {}", folder.display(), text(&output.stderr));
        let (before, after) = (files(&folder), files(&result.path().join("out")));
        assert_eq!(before.len(), after.len());
        let mut changed = 0;
        for ((name, old), (new_name, new)) in before.iter().zip(&after) {
            assert_eq!(name, new_name);
            let is_manifest = name.extension().is_some_and(|end| end == "manifest");
            // A manifest of ours has a sum in front.
            if old == new || is_manifest && new.ends_with(old) {
                continue;
            }
            changed += 1;
            let first = old.iter().zip(new).position(|(old, new)| old != new).unwrap_or(new.len());
            // The difference begins where the common start `*1\r\n$` of the FLUSHALL and the next record ends.
            let start = (first.saturating_sub(12)..=first)
                .find(|&at| old[at..].to_ascii_uppercase().starts_with(&record(&["FLUSHALL"])))
                .expect("a FLUSHALL lies where the files begin to differ");
            let mut expected = old.clone();
            expected.drain(start..start + record(&["FLUSHALL"]).len());
            assert!(expected == *new, "{}: {}", folder.display(), name.display());
            let line = format!("{} offset {start}, database ", name.file_name().unwrap().to_string_lossy());
            assert!(text(&output.stdout).contains(&line), "{}", text(&output.stdout));
        }
        assert_eq!(changed, 1);
    }
}

#[test]
fn stripping_in_place_keeps_the_original_and_the_printed_line_brings_it_back() {
    for folder in samples("flushed-aof") {
        let copy = tempfile::tempdir().unwrap();
        let data = copy.path().join("data");
        copy_folder(&folder, &data);
        let original = files(&data);
        // As typed, in the data folder itself.
        let output = aoftool().args(["strip-command", "FLUSHALL"]).current_dir(&data).output().unwrap();
        assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
        let again = aoftool().args(["strip-command", "FLUSHALL", "--dir"]).arg(&data).output().unwrap();
        assert_eq!(code(&again), Some(1), "{}", text(&again.stderr));
        assert!(text(&again.stderr).contains("swallowed"), "{}", text(&again.stderr));
        let backup = fs::read_dir(&data)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().contains(".bak-20"))
            .expect("the original was put aside");
        if backup.is_dir() {
            assert_eq!(files(&backup), files(&folder.join("appendonlydir")));
        }
        assert!(Command::new("sh").args(["-c", &undo_line(&output)]).status().unwrap().success());
        let restored: Vec<_> = files(&data).into_iter().filter(|(name, _)| !name.starts_with("undone")).collect();
        for file in &original {
            assert!(restored.contains(file), "{} is back", file.0.display());
        }
    }
}

#[test]
fn real_servers_load_a_stripped_log() {
    let peers = ["/opt/peers/bin/redis-server", "/opt/peers/bin/valkey-server"].map(Path::new);
    for peer in peers.into_iter().filter(|peer| peer.exists()) {
        let is_valkey = peer.ends_with("valkey-server");
        for folder in samples("flushed-aof") {
            let server = folder.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
            // Since they parted, neither reads what is new in the other.
            let parted = if is_valkey { ["redis-7.4", "redis-8"] } else { ["valkey-", "valkey-"] };
            if parted.iter().any(|prefix| server.starts_with(prefix)) {
                continue;
            }
            let copy = tempfile::tempdir().unwrap();
            copy_folder(&folder, copy.path());
            let output = run(&["strip-command", "FLUSHALL"], copy.path());
            assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
            let truth = folder.with_file_name("flushed-aof.before.truth.json");
            let truth: Value = serde_json::from_slice(&fs::read(truth).unwrap()).unwrap();
            let expected = truth["keys"].as_array().unwrap().len() as u64;
            assert_eq!(keys_in_peer(peer, copy.path()), expected, "{server} in {}", peer.display());
        }
    }
}

/// Starts a real server on the folder and counts the keys of all databases.
fn keys_in_peer(peer: &Path, dir: &Path) -> u64 {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port_text = port.to_string();
    let mut server = Command::new(peer)
        .args(["--port", &port_text, "--bind", "127.0.0.1", "--appendonly", "yes", "--save", "", "--dir"])
        .arg(dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut keyspace = None;
    for _ in 0..200 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        // While it loads, it answers INFO but not PING.
        keyspace = ask(port, "PING\r\nINFO keyspace\r\n").filter(|reply| reply.starts_with("+PONG"));
        if keyspace.is_some() || server.try_wait().unwrap().is_some() {
            break;
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    let counts = keyspace.expect("the server loads the log");
    let counts = counts.lines().filter_map(|line| line.split_once("keys=")?.1.split(',').next()?.parse::<u64>().ok());
    counts.sum()
}

fn ask(port: u16, command: &str) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("{command}QUIT\r\n").as_bytes()).ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    Some(reply)
}

#[test]
fn a_torn_tail_is_cut_and_kept_in_the_original() {
    let whole = records(&[&["SET", "a", "1"], &["SET", "b", "2"]]);
    for tail in [&b"*3\r\n$3\r\nSET\r\n$1\r\nc"[..], &[0; 4096], &record(&["MULTI"])] {
        let torn = [&whole, tail].concat();
        let (folder, path) = saved(&torn);
        let found = run(&["check"], &path);
        assert_eq!(code(&found), Some(1));
        assert!(text(&found.stdout).contains(&format!("size={}, ok_up_to={}", torn.len(), whole.len())));
        let planned = run(&["check", "--fix", "--dry-run"], &path);
        assert_eq!((code(&planned), fs::read(&path).unwrap()), (Some(0), torn.clone()));
        let fixed = run(&["check", "--fix"], &path);
        assert_eq!((code(&fixed), fs::read(&path).unwrap()), (Some(0), whole.clone()), "{}", text(&fixed.stderr));
        assert_eq!(files(folder.path()).len(), 2);
        assert_eq!(files(folder.path())[1].1, torn);
        assert_eq!(code(&run(&["check", "--fix"], &path)), Some(0));
        assert!(Command::new("sh").args(["-c", &undo_line(&fixed)]).status().unwrap().success());
        assert_eq!(fs::read(&path).unwrap(), torn);
    }
}

#[test]
fn damage_in_the_middle_is_reported_and_never_cut() {
    let mut bytes = records(&[&["SET", "a", "1"], &["SET", "b", "2"], &["SET", "c", "3"]]);
    bytes[27] = b'+';
    let (folder, path) = saved(&bytes);
    let output = run(&["check", "--fix", "--yes"], &path);
    assert_eq!((code(&output), fs::read(&path).unwrap()), (Some(1), bytes));
    assert!(text(&output.stdout).contains("offset 27"), "{}", text(&output.stdout));
    assert_eq!(files(folder.path()).len(), 1);
    assert_eq!(code(&run(&["strip-command", "SET"], &path)), Some(1));
}

#[test]
fn a_cut_file_that_is_not_the_last_is_damage_and_the_files_behind_it_are_read_too() {
    let whole = record(&["SET", "a", "1"]);
    let (_folder, log) = saved_parts(&[&whole[..10], &whole, b""]);
    let output = run(&["check", "--json"], &log);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (code(&output), &report["verdict"], &report["schema"]),
        (Some(1), &"damaged".into(), &"aoftool.check/1".into())
    );
    let verdicts: Vec<_> = report["files"].as_array().unwrap().iter().map(|file| file["verdict"].clone()).collect();
    assert_eq!(verdicts, ["damaged", "clean", "clean"]);
}

#[test]
fn a_command_is_stripped_from_every_file_and_the_manifest_stays() {
    let first = records(&[&["SELECT", "0"], &["SET", "a", "1"], &["FLUSHDB"]]);
    let second = records(&[&["SELECT", "3"], &["MULTI"], &["flushall", "ASYNC"], &["SET", "b", "2"], &["EXEC"]]);
    let third = records(&[&["SELECT", "0"], &["SET", "c", "3"]]);
    let (folder, log) = saved_parts(&[&first, &second, &third]);
    let manifest = fs::read(log.join("appendonly.aof.manifest")).unwrap();
    let output = run(&["strip-command", "FLUSHALL", "flushdb"], folder.path());
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert_eq!(told.lines().count(), 3, "two records, and what comes back: {told}");
    assert!(told.ends_with("1 key comes back: \"a\"\n"), "{told}");
    let read = |seq: u32| fs::read(log.join(format!("appendonly.aof.{seq}.incr.aof"))).unwrap();
    assert_eq!(read(1), records(&[&["SELECT", "0"], &["SET", "a", "1"]]));
    assert_eq!(read(2), records(&[&["SELECT", "3"], &["MULTI"], &["SET", "b", "2"], &["EXEC"]]));
    assert_eq!((read(3), fs::read(log.join("appendonly.aof.manifest")).unwrap()), (third, manifest));
}

#[test]
fn a_flushall_that_a_rewrite_has_swallowed_is_said_to_be_gone() {
    let (_folder, log) = saved_parts(&[]);
    fs::write(log.join("appendonly.aof.2.base.aof"), b"").unwrap();
    fs::write(log.join("appendonly.aof.2.incr.aof"), record(&["SET", "a", "1"])).unwrap();
    let manifest = "file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
    fs::write(log.join("appendonly.aof.manifest"), manifest).unwrap();
    let output = run(&["strip-command", "FLUSHALL"], &log);
    assert_eq!(code(&output), Some(1));
    assert!(text(&output.stderr).contains("swallowed"), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("no keys"), "{}", text(&output.stderr));
}

#[test]
fn a_log_that_somebody_else_has_is_left_alone() {
    let (_folder, path) = saved(&records(&[&["SET", "a", "1"], &["FLUSHALL"]]));
    let mut other = Command::new("sh")
        .args(["-c", "exec 3>>\"$0\"; echo ready; read line"])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    other.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let refused = run(&["strip-command", "FLUSHALL"], &path);
    let elsewhere = tempfile::tempdir().unwrap();
    let written = aoftool()
        .args(["strip-command", "FLUSHALL"])
        .arg(&path)
        .arg("--output")
        .arg(elsewhere.path())
        .output()
        .unwrap();
    drop(other.stdin.take());
    other.wait().unwrap();
    assert_eq!(code(&refused), Some(5), "{}", text(&refused.stderr));
    assert_eq!(code(&written), Some(0), "{}", text(&written.stderr));
    assert_eq!(fs::read(elsewhere.path().join("appendonly.aof")).unwrap(), record(&["SET", "a", "1"]));
    let twice = aoftool().args(["strip-command", "FLUSHALL"]).arg(&path).arg("--output").arg(elsewhere.path()).output();
    assert_eq!(code(&twice.unwrap()), Some(5));
}

#[test]
fn the_dump_is_lossless_json_with_places_and_databases() {
    let mut bytes = b"#TS:1700000000\r\n".to_vec();
    bytes.extend(record(&["SELECT", "9"]));
    ironkeep::resp::encode_request(&mut bytes, &[&b"SET"[..], b"\xff\x00", b"base64:x"]);
    let (_folder, path) = saved(&bytes);
    let output = run(&["dump", "--json"], &path);
    let items: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(items[0]["annotation"], "TS:1700000000");
    let set = &items[2];
    assert_eq!(
        (set["offset"].as_u64(), set["db"].as_u64(), &set["file"]),
        (Some(39), Some(9), &"appendonly.aof".into())
    );
    assert_eq!(set["command"], serde_json::json!(["SET", "base64:/wA=", "base64:YmFzZTY0Ong="]));
    let lines = text(&run(&["dump", "--ndjson"], &path).stdout);
    let parsed: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::from(parsed), items);
    assert_eq!(run(&["dump", "--resp"], &path).stdout, bytes[16..]);
    let shown = text(&run(&["dump"], &path).stdout);
    assert_eq!(shown.lines().last(), Some(r#"appendonly.aof:39 [9] SET "\xff\x00" base64:x"#));
}

#[test]
fn standard_input_is_read_but_never_changed() {
    let pipe = |arguments: &[&str], input: &[u8]| {
        let mut child = aoftool()
            .args(arguments)
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A tool that refuses does not read, and then the pipe is closed.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    };
    let bytes = record(&["SET", "a", "1"]);
    assert_eq!(text(&pipe(&["dump"], &bytes).stdout), "-:0 [0] SET a 1\n");
    assert_eq!(code(&pipe(&["check"], &bytes)), Some(0));
    assert_eq!(code(&pipe(&["check"], &bytes[..9])), Some(1));
    assert!(text(&pipe(&["info"], &bytes).stdout).contains("1 command"));
    assert_eq!(code(&pipe(&["check", "--fix"], &bytes)), Some(2));
    assert_eq!(code(&pipe(&["strip-command", "SET"], &bytes)), Some(2));
}

#[test]
fn a_missing_log_a_broken_manifest_and_a_wrong_word_have_their_exit_codes() {
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(code(&run(&["check"], empty.path())), Some(3));
    assert_eq!(code(&run(&["check"], &empty.path().join("none.aof"))), Some(3));
    let (_folder, log) = saved_parts(&[b""]);
    fs::write(log.join("appendonly.aof.manifest"), "file a seq 1 type x\n").unwrap();
    let output = run(&["check"], &log);
    assert_eq!(code(&output), Some(1));
    assert!(text(&output.stderr).contains("line 1 of the manifest: Unknown AOF file type"), "{}", text(&output.stderr));
    fs::write(log.join("appendonly.aof.manifest"), "file a seq 1 type i\n").unwrap();
    assert_eq!(code(&run(&["check"], &log)), Some(1));
    let (_folder, path) = saved(b"");
    assert_eq!(code(&run(&["strip-command", "SELECT"], &path)), Some(2));
    assert_eq!(code(&run(&["strip-command"], Path::new("--help"))), Some(0));
}

#[test]
fn a_closed_pipe_is_quiet() {
    let (_folder, path) = saved(&record(&["SET", "key", "value"]).repeat(100_000));
    let mut child = aoftool().arg("dump").arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 10]).unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (Some(0), String::new()));
}
