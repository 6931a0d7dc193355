//! A server whose allocations fail while it writes, saves, rewrites or loads: it dies of it, and nothing acknowledged is
//! lost. The shell limits its address space (`ulimit -v`).
//!
//! `IRONKEEP_MEMORY_ROUNDS` is the number of deaths: 4 by default, 20 in CI, 200 in the full run.

use super::load::write_until_death;
use super::model::Model;
use crate::rig::{Client, Program, Server, files_below, length};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 2;
const OPTIONS: [(&str, &str); 2] = [("appendonly", "yes"), ("auto-aof-rewrite-percentage", "0")];
/// Signals of such an end: SIGABRT, and SIGSEGV where jemalloc finds no room for the arena of a new thread.
const DEATHS: [i32; 2] = [6, 11];
/// Megabytes beyond what an empty server has reserved.
const ROOM: std::ops::Range<u64> = 20..120;

/// Kilobytes of address space that an empty server has reserved at most.
fn reserved_by_an_empty_server() -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &OPTIONS);
    server.client().line("SAVE");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Our server within so many kilobytes of address space.
fn limited(folder: &Path, kilobytes: u64) -> Program {
    use std::os::unix::fs::PermissionsExt;
    let script = folder.join("limited");
    let server = Program::ours();
    let text = format!("#!/bin/sh\nulimit -v {kilobytes}\nexec '{}' \"$@\"\n", server.path().display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    Program::at("ironkeep with little memory", &script)
}

/// Sets large values until the server is gone.
fn fill_until_death(mut client: Client) {
    let value = vec![b'm'; 60_000];
    for index in 0..100_000 {
        if client.ask(&[b"SET".as_slice(), format!("large:{index}").as_bytes(), &value]).is_err() {
            return;
        }
    }
}

/// One death under load, one or more while loading, then a start that has all the memory it wants.
fn die_and_come_back(seed: u64, reserved: u64, acknowledged: &AtomicUsize) -> Result<bool, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (scripts, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut models: Vec<Model> = (0..CLIENTS).map(|id| Model::new(id, seed)).collect();
    let room = random.u64(ROOM) << 10;
    let server = Server::try_start(&limited(scripts.path(), reserved + room), dir.path(), &OPTIONS)?;
    let (port, stopper) = (server.port(), Arc::new(AtomicUsize::new(0)));
    let job = ["BGSAVE", "BGREWRITEAOF", "PING"][random.usize(..3)];
    std::thread::scope(|scope| {
        let control = server.client();
        let filler = scope.spawn(|| fill_until_death(control));
        let mut jobs = server.client();
        let begun = Instant::now();
        scope.spawn(move || while jobs.ask(&[job]).is_ok() && begun.elapsed() < Duration::from_secs(60) {});
        let writers: Vec<_> =
            models.iter_mut().map(|model| scope.spawn(|| write_until_death(port, model, &stopper))).collect();
        filler.join().unwrap();
        writers.into_iter().try_for_each(|writer| writer.join().unwrap())
    })?;
    let status = server.wait();
    if !DEATHS.contains(&status.signal().unwrap_or_default()) {
        return Err(format!("did not die for want of memory, but with {status}"));
    }
    acknowledged.fetch_add(stopper.load(Ordering::Relaxed), Ordering::Relaxed);
    let less = limited(scripts.path(), reserved + room * random.u64(2..8) / 10);
    let died_at_start = Server::try_start(&less, dir.path(), &OPTIONS).is_err();
    let server = Server::try_start(&Program::ours(), dir.path(), &OPTIONS)?;
    let mut client = server.client();
    models.iter_mut().try_for_each(|model| model.settle(&mut client)).map_err(|loss| loss.description)?;
    let files = files_below(dir.path());
    match files.iter().find(|file| ironkeep::disk::is_temporary(file.file_name().unwrap())) {
        Some(file) => Err(format!("{} was left behind", file.display())),
        None => Ok(died_at_start),
    }
}

#[test]
fn a_death_for_want_of_memory_loses_nothing() {
    let rounds = length("IRONKEEP_MEMORY_ROUNDS", 4);
    let reserved = reserved_by_an_empty_server();
    let (acknowledged, mut at_starts) = (AtomicUsize::new(0), 0);
    for _ in 0..rounds {
        let seed = fastrand::u64(..);
        let outcome = die_and_come_back(seed, reserved, &acknowledged);
        at_starts += usize::from(outcome.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}")));
    }
    println!(
        "{rounds} deaths for want of memory under load and {at_starts} while loading: {} writes acknowledged, 0 lost",
        acknowledged.into_inner()
    );
}
