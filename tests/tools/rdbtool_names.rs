//! `rdbtool` as `redis-check-rdb` and `valkey-check-rdb`: beside the real programs, on what real servers wrote, the same lines
//! and exit codes.

use crate::rig::skip;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn check(program: &Path, file: &Path) -> Output {
    Command::new(program).arg(file).output().unwrap()
}

/// Lines that are told of a file; not those of the servers' own logs.
fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| line.starts_with(['[', '-'])).map(str::to_owned).collect()
}

#[test]
fn lines_and_exit_codes_are_those_of_the_real_programs() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus");
    let mut count = 0;
    for name in ["redis-check-rdb", "valkey-check-rdb"] {
        let real = PathBuf::from("/opt/peers/bin").join(name);
        if !real.exists() {
            return skip("no redis-check-rdb to compare with");
        }
        let link = dir.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rdbtool"), &link).unwrap();
        for server in std::fs::read_dir(&corpus).unwrap() {
            let file = server.unwrap().path().join("types.rdb");
            // Neither family's program reads the newest files of the other; ours does.
            let foreign: &[&str] = if name == "redis-check-rdb" { &["valkey-9"] } else { &["redis-7.4", "redis-8"] };
            if !file.exists() || foreign.iter().any(|version| file.to_string_lossy().contains(version)) {
                continue;
            }
            let (theirs, ours) = (check(&real, &file), check(&link, &file));
            assert_eq!(lines(&ours), lines(&theirs), "{name} {}", file.display());
            assert_eq!(ours.status.code(), theirs.status.code(), "{name} {}", file.display());
            count += 1;
        }
    }
    println!("{count} files: the same lines and exit codes as the real programs");
    assert!(count > 20);
}

#[test]
fn a_broken_file_ends_with_one_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("redis-check-rdb");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rdbtool"), &link).unwrap();
    let file = dir.path().join("cut.rdb");
    std::fs::write(&file, b"REDIS0006\xfe\x00\x00\x03key\x05val").unwrap();
    let output = check(&link, &file);
    assert_eq!(output.status.code(), Some(1));
    let told = lines(&output);
    assert!(told.contains(&"--- RDB ERROR DETECTED ---".to_owned()), "{told:?}");
    assert!(told.contains(&"[additional info] Reading key 'key'".to_owned()), "{told:?}");
    assert!(told.iter().any(|line| line.ends_with("Unexpected EOF reading RDB file")), "{told:?}");
}
