//! `aoftool undo-flush` and `aoftool undo`: what loads afterwards is what a log holds in which nobody has typed FLUSHALL.

use crate::rig::{
    Contents, Program, Server, copy_folder, differences, files_below, flushed_logs, read_contents, records, skip,
    truth_of,
};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Runs `aoftool` on a path.
pub fn run(words: &[&str], path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aoftool"));
    command.args(words).arg(path).env_remove("IRONKEEP_DIR").stdin(Stdio::null()).output().unwrap()
}

pub fn words_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs it and expects this exit code.
pub fn run_to(code: i32, words: &[&str], path: &Path) -> Output {
    let output = run(words, path);
    assert_eq!(output.status.code(), Some(code), "{words:?} {}:\n{}", path.display(), words_of(&output));
    output
}

/// A data folder whose log has these increments.
pub fn increments(parts: &[Vec<u8>]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("appendonlydir");
    fs::create_dir(&folder).unwrap();
    let mut manifest = String::new();
    for (index, part) in parts.iter().enumerate() {
        let name = format!("appendonly.aof.{}.incr.aof", index + 1);
        manifest += &format!("file {name} seq {} type i\n", index + 1);
        fs::write(folder.join(name), part).unwrap();
    }
    fs::write(folder.join("appendonly.aof.manifest"), manifest).unwrap();
    dir
}

/// What a server holds that starts on a copy of the folder, its log verified.
pub fn load(program: &Program, dir: &Path) -> Contents {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(dir, copy.path());
    let mut options = vec![("appendonly", "yes")];
    if program.name == Program::ours().name {
        options.push(("aof-verify", "yes"));
    }
    let server = Server::start(program, copy.path(), &options);
    read_contents(&mut server.client())
}

/// Fails where two folders do not load to the same, in ours and in Redis 8 where it is at hand.
pub fn assert_same_data(what: &str, found: &Path, wanted: &Path) {
    for program in std::iter::once(Program::ours()).chain(Program::redis_8()) {
        let wrongs = differences(&load(&program, found), &load(&program, wanted));
        assert!(wrongs.is_empty(), "{what} in {}:\n{}", program.name, wrongs.join("\n"));
    }
}

#[test]
fn the_flush_of_every_server_of_the_corpus_is_undone_and_the_undo_too() {
    let mut count = 0;
    for sample in flushed_logs() {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(&sample, dir.path());
        let planned = run_to(0, &["undo-flush", "--dry-run"], dir.path());
        assert_eq!(files_below(dir.path()).len(), files_below(&sample).len(), "{}", sample.display());
        let done = run_to(0, &["undo-flush", "--json"], dir.path());
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!((&report["schema"], &report["command"]), (&"aoftool.undo-flush/1".into(), &"FLUSHALL".into()));
        assert!(words_of(&planned).contains(&format!("{} keys come back", report["keys_back"])), "{report}");
        let truth = truth_of(&sample.with_file_name("flushed-aof.before.rdb"));
        assert_eq!(report["keys"].as_u64(), Some(truth.keys.len() as u64), "{}", sample.display());
        let wrongs = differences(&load(&Program::ours(), dir.path()), &truth);
        assert!(wrongs.is_empty(), "{}:\n{}", sample.display(), wrongs.join("\n"));
        run_to(0, &["undo"], dir.path());
        let is_original = |path: &PathBuf| !path.to_string_lossy().contains(".undone-");
        for path in files_below(dir.path()).into_iter().filter(is_original) {
            let name = path.strip_prefix(dir.path()).unwrap();
            assert_eq!(fs::read(&path).unwrap(), fs::read(sample.join(name)).unwrap(), "{}", path.display());
        }
        count += 1;
    }
    println!("{count} logs of real servers, flush undone, and the undo too");
}

/// The lines `FLUSH...` of the last group go; nothing else does.
const CASES: &[(&str, &[&[&str]])] = &[
    ("plain", &[&["SELECT 0", "SET a 1", "FLUSHALL", "SET b 2"]]),
    ("in a transaction", &[&["SELECT 0", "SET a 1", "MULTI", "SET c 1", "FLUSHALL", "SET b 2", "EXEC", "SET d 1"]]),
    ("alone in a transaction", &[&["SELECT 0", "SET a 1", "MULTI", "FLUSHALL", "EXEC", "SET d 1"]]),
    ("in an older increment", &[&["SELECT 0", "SET a 1", "FLUSHALL ASYNC"], &["SELECT 0", "SET b 2"], &[]]),
    ("twice", &[&["SELECT 0", "SET a 1", "flushall", "SET b 2"], &["SELECT 0", "SET c 3", "FLUSHALL", "SET d 4"]]),
    ("of another database", &[&["SELECT 0", "SET a 1", "SELECT 3", "SET b 2", "FLUSHDB", "SET c 3"], &["SELECT 0"]]),
    (
        "of the first database, with times",
        &[&["#TS:1700000000", "SELECT 0", "SET a 1", "FLUSHDB", "SELECT 9", "SET b 2"]],
    ),
];

/// The same lines without the last flush.
fn without_flush(parts: &[&[&str]]) -> Vec<Vec<u8>> {
    let is_flush = |line: &str| line.to_ascii_uppercase().starts_with("FLUSH");
    let last = parts.iter().rposition(|part| part.iter().any(|line| is_flush(line))).unwrap();
    let keep = |(index, part): (usize, &&[&str])| {
        let mut lines = part.to_vec();
        if index == last {
            lines.remove(lines.iter().rposition(|line| is_flush(line)).unwrap());
        }
        records(&lines)
    };
    parts.iter().enumerate().map(keep).collect()
}

#[test]
fn a_flush_is_undone_wherever_it_stands() {
    for (what, parts) in CASES {
        let wanted = increments(&without_flush(parts));
        let whole: Vec<_> = parts.iter().map(|part| records(part)).collect();
        for tail in [&b""[..], b"*3\r\n$3\r\nSET\r\n$1\r\nz\r\n$5\r\nha"] {
            let mut torn = whole.clone();
            torn.last_mut().unwrap().extend_from_slice(tail);
            for is_sealed in [false, true] {
                let dir = increments(if is_sealed { &whole } else { &torn });
                if is_sealed {
                    run_to(0, &["seal"], dir.path());
                    let last = dir.path().join(format!("appendonlydir/appendonly.aof.{}.incr.aof", parts.len()));
                    fs::write(&last, [&fs::read(&last).unwrap(), tail].concat()).unwrap();
                }
                let output = run_to(0, &["undo-flush"], dir.path());
                assert!(words_of(&output).contains("To undo: "), "{}", words_of(&output));
                if tail.is_empty() {
                    run_to(0, &["check"], dir.path());
                }
                assert_same_data(what, dir.path(), wanted.path());
            }
        }
    }
}

#[test]
fn a_flush_behind_which_the_log_was_rewritten_comes_out_of_history_and_the_printed_line_starts_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    let mut client = server.client();
    for line in ["SET a 1", "SELECT 3", "SET b 2", "FLUSHALL", "SET c 3", "BGREWRITEAOF"] {
        client.line(line);
    }
    client.wait_for_rewrite();
    client.line("SET d 4");
    assert_eq!(run(&["undo-flush"], dir.path()).status.code(), Some(5), "a running server is left alone");
    assert!(server.terminate().success());
    let output = run_to(0, &["undo-flush"], dir.path());
    let words = words_of(&output);
    assert!(words.contains("2 keys come back: \"a\", \"b\" (database 3)"), "{words}");
    assert!(words.contains("sent by 127.0.0.1:"), "{words}");
    let start = words.lines().find_map(|line| line.strip_prefix("To start a server on it: ")).unwrap();
    assert_eq!(start, format!("ironkeep --dir {} --appendonly yes", dir.path().display()));
    let contents = load(&Program::ours(), dir.path());
    let names: Vec<_> = contents.keys.keys().map(|(db, name)| (*db, String::from_utf8_lossy(name))).collect();
    assert_eq!(names, [(0, "a".into()), (3, "b".into()), (3, "c".into()), (3, "d".into())]);
    run_to(0, &["undo"], dir.path());
    assert_eq!(load(&Program::ours(), dir.path()).keys.len(), 2);
}

#[test]
fn a_result_that_does_not_load_is_not_left_in_place() {
    // What stands behind the flush can't be replayed: neither can what is there, and it's left as it is.
    let dir = increments(&[records(&["SELECT 0", "SET a 1", "FLUSHALL", "NOSUCH a"])]);
    let before = fs::read(dir.path().join("appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
    let output = run_to(4, &["undo-flush"], dir.path());
    assert!(words_of(&output).contains("unknown command 'NOSUCH'"), "{}", words_of(&output));
    assert_eq!(fs::read(dir.path().join("appendonlydir/appendonly.aof.1.incr.aof")).unwrap(), before);
    assert_eq!(files_below(dir.path()).len(), 2);
}

#[test]
fn undo_goes_back_change_by_change_and_says_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("appendonly.aof");
    let original = records(&["SET a 1", "DEL b", "FLUSHALL"]);
    fs::write(&path, &original).unwrap();
    let empty = run_to(1, &["undo"], &path);
    assert!(words_of(&empty).contains("nothing is put aside"), "{}", words_of(&empty));
    run_to(0, &["strip-command", "FLUSHALL"], &path);
    let once = fs::read(&path).unwrap();
    run_to(0, &["strip-command", "DEL"], &path);
    let twice = fs::read(&path).unwrap();
    let planned = run_to(0, &["undo", "--dry-run"], &path);
    assert!(words_of(&planned).contains("This would bring"), "{}", words_of(&planned));
    assert_eq!(fs::read(&path).unwrap(), twice);
    let report: Value = serde_json::from_slice(&run_to(0, &["undo", "--json"], &path).stdout).unwrap();
    assert_eq!((&report["schema"], &report["outcome"]), (&"aoftool.undo/1".into(), &"undone".into()));
    assert_eq!(fs::read(&path).unwrap(), once);
    assert_eq!(fs::read(report["kept"].as_str().unwrap()).unwrap(), twice);
    run_to(0, &["undo"], &path);
    assert_eq!(fs::read(&path).unwrap(), original);
    run_to(1, &["undo"], &path);
}

#[test]
fn real_servers_of_the_right_age_load_what_undo_flush_leaves() {
    let peers = [
        (Program::redis_7(), ["redis-6.2", "redis-7.0"].as_slice()),
        (Program::redis_8(), &["redis-7.2", "redis-8"]),
        (Program::valkey_9(), &["valkey-8", "valkey-9"]),
    ];
    let mut count = 0;
    for (program, writers) in peers {
        let Some(program) = program else { continue };
        let is_of = |sample: &&PathBuf| writers.iter().any(|writer| sample.to_string_lossy().contains(writer));
        for sample in flushed_logs().iter().filter(is_of) {
            let dir = tempfile::tempdir().unwrap();
            copy_folder(sample, dir.path());
            run_to(0, &["undo-flush"], dir.path());
            let truth = truth_of(&sample.with_file_name("flushed-aof.before.rdb"));
            let wrongs = differences(&load(&program, dir.path()), &truth);
            assert!(wrongs.is_empty(), "{} in {}:\n{}", sample.display(), program.name, wrongs.join("\n"));
            count += 1;
        }
    }
    if count == 0 {
        return skip("no peer to load a log");
    }
    println!("{count} logs loaded by real servers");
}
