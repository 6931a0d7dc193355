//! `aoftool strip-command FLUSHALL` on the logs of fifteen real servers: what loads afterwards is what was there before
//! the accident, with the writes after it.

use crate::rig::{
    Contents, Program, Server, copy_folder, differences, files_below, flushed_logs, read_contents, skip, truth_of,
};
use std::path::Path;
use std::process::{Command, Stdio};

/// The truth about the data just before the FLUSHALL, and the writes after it.
fn before(sample: &Path) -> Contents {
    truth_of(&sample.with_file_name("flushed-aof.before.rdb"))
}

fn strip(dir: &Path) -> std::process::Output {
    strip_command("FLUSHALL", dir)
}

fn strip_command(name: &str, dir: &Path) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_aoftool"))
        .args(["strip-command", name])
        .arg(dir)
        .env_remove("IRONKEEP_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Copies of all logs with the accident undone, each beside the sample that it comes from.
fn stripped() -> Vec<(std::path::PathBuf, tempfile::TempDir)> {
    let strip_one = |sample: std::path::PathBuf| {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(&sample, dir.path());
        let output = strip(dir.path());
        assert!(
            output.status.success(),
            "{}: {}\n{}{}",
            sample.display(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (sample, dir)
    };
    flushed_logs().into_iter().map(strip_one).collect()
}

fn load(program: &Program, dir: &Path) -> Contents {
    let server = Server::start(program, dir, &[("appendonly", "yes")]);
    read_contents(&mut server.client())
}

#[test]
fn a_stripped_flushall_gives_back_what_was_there_before_it() {
    for (sample, dir) in stripped() {
        let originals: Vec<_> = files_below(dir.path())
            .into_iter()
            .filter(|path| path.components().any(|part| part.as_os_str().to_string_lossy().contains(".bak-")))
            .collect();
        assert!(!originals.is_empty(), "{}: the original was not kept", sample.display());
        let wrongs = differences(&load(&Program::ours(), dir.path()), &before(&sample));
        assert!(wrongs.is_empty(), "{}:\n{}", sample.display(), wrongs.join("\n"));
    }
}

/// Each log goes to the peers that are at least as new as its writer.
#[test]
fn real_servers_load_a_stripped_log() {
    let peers = [
        (Program::redis_7(), ["redis-5", "redis-6.2", "redis-7.0"].as_slice()),
        (Program::redis_8(), &["redis-7.0", "redis-7.2", "redis-7.4", "redis-8"]),
        (Program::valkey_9(), &["redis-7.2", "valkey-8", "valkey-9"]),
    ];
    let stripped = stripped();
    let mut count = 0;
    for (program, writers) in peers {
        let Some(program) = program else { continue };
        for (sample, dir) in &stripped {
            let writer = sample.parent().unwrap().file_name().unwrap().to_str().unwrap();
            if !writers.iter().any(|prefix| writer.starts_with(prefix)) {
                continue;
            }
            let copy = tempfile::tempdir().unwrap();
            copy_folder(dir.path(), copy.path());
            let wrongs = differences(&load(&program, copy.path()), &before(sample));
            assert!(wrongs.is_empty(), "{} in {}:\n{}", sample.display(), program.name, wrongs.join("\n"));
            count += 1;
        }
    }
    if count == 0 {
        return skip("no peer to load a stripped log");
    }
    println!("{count} stripped logs loaded by real servers");
}

/// Symptom: the log went on saying who had sent a FUNCTION FLUSH that was no longer in it.
#[test]
fn the_seal_that_names_a_function_flush_goes_with_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    let mut client = server.client();
    for line in ["SET key value", "FUNCTION FLUSH", "FLUSHALL", "SET key other"] {
        client.line(line);
    }
    assert!(server.terminate().success());
    let path = dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
    let names = |name: &str| String::from_utf8(std::fs::read(&path).unwrap()).unwrap().contains(name);
    assert!(names("FUNCTION-FLUSH") && names("FLUSHALL"));
    let output = strip_command("FUNCTION", dir.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!names("FUNCTION") && names("for=FLUSHALL"), "{}", String::from_utf8_lossy(&output.stdout));
}
