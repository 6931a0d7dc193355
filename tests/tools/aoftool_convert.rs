//! `aoftool convert`, in all directions: what a server then holds is the truth beside the sample.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::rig::{Program, Server, differences, logs, rdb_files, read_contents, truth_of};
use serde_json::Value;
use tempfile::TempDir;

fn aoftool(arguments: &[&str], log: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aoftool"));
    let (verb, more) = arguments.split_first().unwrap();
    command.arg(verb).arg(log).args(more).env_remove("IRONKEEP_DIR").stdin(Stdio::null()).output().unwrap()
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A shape of the result, where a server looks for it, and with which directives.
struct Shape {
    arguments: &'static [&'static str],
    name: &'static str,
    appendonly: &'static str,
}

const RDB: Shape = Shape { arguments: &[], name: "dump.rdb", appendonly: "no" };
const FILE: Shape = Shape { arguments: &[], name: "appendonly.aof", appendonly: "yes" };
const COMMANDS: Shape = Shape { arguments: &["--rewrite"], name: "appendonly.aof", appendonly: "yes" };
const IN_PARTS: Shape =
    Shape { arguments: &["--rewrite", "--part-size", "1kb"], name: "appendonly.aof", appendonly: "yes" };
const PREAMBLE: Shape = Shape { arguments: &["--rewrite=rdb"], name: "appendonly.aof", appendonly: "yes" };
const DIR: Shape = Shape { arguments: &["--to", "dir"], name: "appendonlydir", appendonly: "yes" };
const DIR_COMMANDS: Shape =
    Shape { arguments: &["--to", "dir", "--rewrite"], name: "appendonlydir", appendonly: "yes" };
const DIR_RDB: Shape = Shape { arguments: &["--to", "dir", "--rewrite=rdb"], name: "appendonlydir", appendonly: "yes" };

fn convert(input: &Path, shape: &Shape) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let result = folder.path().join(shape.name);
    let arguments = [&["convert", "--output", result.to_str().unwrap()], shape.arguments].concat();
    let output = aoftool(&arguments, input);
    assert_eq!(output.status.code(), Some(0), "{} {arguments:?}: {}", input.display(), stderr_of(&output));
    (folder, result)
}

/// What a server that is started on the result holds otherwise than the truth says.
fn wrongs(program: &Program, folder: &Path, shape: &Shape, sample: &Path) -> Vec<String> {
    let server = Server::start(program, folder, &[("appendonly", shape.appendonly), ("databases", "16")]);
    differences(&read_contents(&mut server.client()), &truth_of(sample))
}

#[track_caller]
fn assert_is_truth(program: &Program, input: &Path, shape: &Shape, sample: &Path) {
    let (folder, result) = convert(input, shape);
    if shape.appendonly == "yes" {
        let checked = aoftool(&["check"], &result);
        assert_eq!(checked.status.code(), Some(0), "{}: {}", input.display(), stderr_of(&checked));
    }
    let found = wrongs(program, folder.path(), shape, sample);
    assert!(found.is_empty(), "{} {} {:?}:\n{}", program.name, input.display(), shape.arguments, found.join("\n"));
}

#[test]
fn a_log_of_any_server_becomes_an_rdb_a_file_and_a_folder_with_the_same_data() {
    for log in logs() {
        for shape in [&RDB, &FILE, &COMMANDS, &IN_PARTS, &PREAMBLE, &DIR_COMMANDS, &DIR_RDB] {
            assert_is_truth(&Program::ours(), &log, shape, &log);
        }
        if !log.join("appendonlydir").exists() {
            assert_is_truth(&Program::ours(), &log, &DIR, &log);
        }
    }
}

#[test]
fn an_rdb_of_any_server_becomes_a_log() {
    for rdb in rdb_files() {
        for shape in [&FILE, &COMMANDS, &DIR, &DIR_COMMANDS] {
            assert_is_truth(&Program::ours(), &rdb, shape, &rdb);
        }
    }
}

#[test]
fn real_servers_load_the_results() {
    let peers = [(Program::redis_8(), "redis-7.2.6"), (Program::valkey_9(), "valkey-8.0.1")];
    for (program, server) in peers.into_iter().filter_map(|(program, server)| Some((program?, server))) {
        let log = logs().into_iter().find(|log| log.parent().unwrap().ends_with(server)).unwrap();
        for shape in [&RDB, &COMMANDS, &PREAMBLE, &DIR_COMMANDS, &DIR_RDB] {
            assert_is_truth(&program, &log, shape, &log);
        }
        let rdb = rdb_files().into_iter().find(|rdb| rdb.parent().unwrap().ends_with(server)).unwrap();
        for shape in [&COMMANDS, &DIR, &DIR_COMMANDS] {
            assert_is_truth(&program, &rdb, shape, &rdb);
        }
    }
}

fn records(commands: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands {
        ironkeep::resp::encode_request(&mut bytes, &command.split(' ').collect::<Vec<_>>());
    }
    bytes
}

/// A folder with one file of this content.
fn single(content: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.aof");
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

#[test]
fn the_fewest_commands_are_those_of_a_rewrite() {
    let commands = ["SELECT 2", "SET a 1", "SET a 2", "RPUSH l x", "RPUSH l y", "SET gone 1", "DEL gone"];
    let (folder, path) = single(&records(&commands));
    let result = folder.path().join("out.aof");
    let output = aoftool(&["convert", "--rewrite", "--json", "--output", result.to_str().unwrap()], &path);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let written = std::fs::read(&result).unwrap();
    let expected = [["SELECT 2", "SET a 2", "RPUSH l x y"], ["SELECT 2", "RPUSH l x y", "SET a 2"]];
    assert!(expected.iter().any(|commands| records(commands) == written), "{}", written.escape_ascii());
    assert_eq!(report["schema"], "aoftool.convert/1");
    assert_eq!((report["keys"].as_u64(), report["bytes"].as_u64()), (Some(2), Some(written.len() as u64)));
}

#[test]
fn files_that_are_joined_each_begin_in_database_0_and_lose_their_torn_end() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "file a.1.incr.aof seq 1 type i\nfile a.2.incr.aof seq 2 type i\n";
    let torn = [&records(&["SET b 2"])[..], b"*3\r\n$3\r\nSE"].concat();
    for (name, content) in [
        ("a.manifest", manifest.as_bytes()),
        ("a.1.incr.aof", &records(&["SELECT 3", "SET a 1"])),
        ("a.2.incr.aof", &torn),
    ] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let result = folder.path().join("out.aof");
    let output = aoftool(&["convert", "--output", result.to_str().unwrap()], folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert!(stderr_of(&output).contains("10 bytes behind offset 27 are left out"), "{}", stderr_of(&output));
    let expected = records(&["SELECT 3", "SET a 1", "SELECT 0", "SET b 2"]);
    assert_eq!(std::fs::read(&result).unwrap(), expected);
}

#[test]
fn damage_and_senseless_wishes_write_nothing() {
    let damaged = [&records(&["SET a 1"])[..], b"!!!", &records(&["SET b 2"])].concat();
    let (folder, path) = single(&damaged);
    let out = folder.path().join("out.rdb");
    let output = aoftool(&["convert", "--output", out.to_str().unwrap()], &path);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr_of(&output).contains("in.aof: offset 27: "), "{}", stderr_of(&output));
    let (_kept, path) = single(&records(&["SET a 1"]));
    for (arguments, code) in [(&["--to", "rdb", "--dry-run"][..], 0), (&["--to", "rdb", "--rewrite"], 2), (&[], 2)] {
        let name = folder.path().join("out");
        let arguments = [&["convert", "--output", name.to_str().unwrap()], arguments].concat();
        let output = aoftool(&arguments, &path);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr_of(&output));
    }
    let over = aoftool(&["convert", "--force", "--output", path.to_str().unwrap()], &path);
    assert_eq!(over.status.code(), Some(5), "{}", stderr_of(&over));
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["in.aof"]);
}

/// Commands that tie keys to each other, and that work on several or on all of them, in several databases.
fn tangled(seed: u64) -> Vec<u8> {
    let (mut rng, mut log, mut in_multi) = (fastrand::Rng::with_seed(seed), Vec::new(), false);
    for _ in 0..rng.usize(200..1_000) {
        let mut key = |kind: char| format!("{kind}{}", rng.u32(0..300));
        let [a, b, c] = [key('s'), key('s'), key('s')];
        let [sets, more, union] = [key('m'), key('m'), key('m')];
        let (db, value) = (rng.u32(0..4).to_string(), rng.u32(..).to_string());
        let command: &[&str] = match rng.u32(0..100) {
            0..40 => &["SET", &a, &value],
            40..50 => &["SADD", &sets, &value, "x"],
            50..58 => &["MSET", &a, &value, &b, "2", &a, "3"],
            58..66 => &["DEL", &a, &sets, &c],
            66..70 => &["RENAME", &a, &b],
            70..74 => &["SUNIONSTORE", &union, &sets, &more],
            74..78 => &["SMOVE", &sets, &more, "x"],
            78..80 => &["COPY", &b, &c, "DB", &db, "REPLACE"],
            80..82 => &["MOVE", &a, &db],
            82..84 => &["PEXPIREAT", &a, "9999999999999"],
            84..92 => &["SELECT", &db],
            92..97 if in_multi => &["EXEC"],
            92..97 => &["MULTI"],
            97 => &["SWAPDB", "0", &db],
            98 => &["FLUSHDB"],
            _ => &["SINTERSTORE", &union, &union, &sets],
        };
        in_multi = command[0] == "MULTI" || in_multi && command[0] != "EXEC";
        ironkeep::resp::encode_request(&mut log, command);
    }
    log
}

#[test]
fn a_log_in_parts_leads_to_the_data_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let [log, rewritten] = ["log.aof", "rewritten.aof"].map(|name| folder.path().join(name));
    let diff = |more: &[&str]| {
        let output = aoftool(&[&["diff", rewritten.to_str().unwrap()], more].concat(), &log);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr_of(&output))
    };
    for seed in 0..20 {
        std::fs::write(&log, tangled(seed)).unwrap();
        let arguments = ["convert", "--rewrite", "--part-size", "500b", "--force", "--output"];
        let output = aoftool(&[&arguments[..], &[rewritten.to_str().unwrap()]].concat(), &log);
        assert_eq!(output.status.code(), Some(0), "seed {seed}: {}", stderr_of(&output));
        assert!(stderr_of(&output).contains(" parts (--part-size)"), "seed {seed}: {}", stderr_of(&output));
        assert_eq!(diff(&[]).0, Some(0), "seed {seed}: {}", diff(&[]).1);

        let mut changed = std::fs::read(&rewritten).unwrap();
        for command in [&["SELECT", "2"][..], &["SET", "s7", "other"], &["SADD", "m9", "more"], &["DEL", "s1"]] {
            ironkeep::resp::encode_request(&mut changed, command);
        }
        std::fs::write(&rewritten, changed).unwrap();
        let (whole, in_parts) = (diff(&[]), diff(&["--part-size", "300b"]));
        assert_eq!((in_parts.0, &in_parts.1), (Some(1), &whole.1), "seed {seed}");
        assert!(in_parts.2.contains(" parts (--part-size)") && !whole.2.contains(" parts "), "seed {seed}");
    }
}

#[test]
fn a_sort_that_reads_keys_which_it_does_not_name_is_replayed_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (log, rewritten) = (folder.path().join("log.aof"), folder.path().join("rewritten.aof"));
    let mut bytes = Vec::new();
    for index in 0..50 {
        let (name, weight) = (index.to_string(), (index * 7 % 50).to_string());
        ironkeep::resp::encode_request(&mut bytes, &["RPUSH", "list", &name]);
        ironkeep::resp::encode_request(&mut bytes, &["SET", &format!("weight-{name}"), &weight]);
    }
    ironkeep::resp::encode_request(&mut bytes, &["SORT", "list", "BY", "weight-*", "STORE", "sorted"]);
    std::fs::write(&log, bytes).unwrap();
    let output =
        aoftool(&["convert", "--rewrite", "--part-size", "100b", "--output", rewritten.to_str().unwrap()], &log);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert!(!stderr_of(&output).contains(" parts "), "{}", stderr_of(&output));
    let output = aoftool(&["diff", rewritten.to_str().unwrap()], &log);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}
