//! Some of the faults done to real Redis and Valkey too, so that it can be said what others lose. These tests give
//! figures and are not run in CI; of ours they demand what the other tests demand.
//!
//! `IRONKEEP_COMPARISONS` is the number of rounds per server: 5 by default.

use super::ledger::{Ledger, PATIENCE};
use super::lossy::filesystem::{Lie, Lossy};
use super::operations::wait_for_rest;
use super::small_disk::SmallDisk;
use super::tracer::{Fault, Kind, Traced};
use crate::durability::load::write_until_death;
use crate::durability::model::Model;
use crate::rig::{Client, Program, Server, length};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const EVERYSEC: [(&str, &str); 2] = [("appendonly", "yes"), ("appendfsync", "everysec")];

fn programs() -> Vec<Program> {
    [Some(Program::ours()), Program::redis_8(), Program::valkey_9()].into_iter().flatten().collect()
}

/// What a server's rounds came to.
#[derive(Debug, Default)]
struct Tally {
    rounds: usize,
    acknowledged: usize,
    rounds_with_loss: usize,
    lost: usize,
    did_not_start: usize,
}

impl Tally {
    fn say(&self, what: &str, program: &Program) {
        println!("{what}, {}: {self:?}", program.name);
        if program.name == "ironkeep" {
            assert_eq!((self.rounds_with_loss, self.did_not_start), (0, 0));
        }
    }

    /// Starts a server on what is there and compares with the ledger.
    fn restart(&mut self, program: &Program, dir: &Path, ledger: &Ledger) {
        self.rounds += 1;
        self.acknowledged += ledger.acknowledged();
        match Server::try_start(program, dir, &EVERYSEC) {
            Err(output) => {
                self.did_not_start += 1;
                let last = output.lines().rev().find(|line| !line.starts_with('(')).unwrap_or_default();
                println!("{} does not start: {last}", program.name);
            }
            Ok(server) => {
                let missing = ledger.missing(&mut server.client()).unwrap();
                self.rounds_with_loss += usize::from(missing > 0);
                self.lost += missing;
            }
        }
    }
}

/// kill -9 under load, on a disk whose fsync takes a while.
#[test]
#[ignore = "gives figures"]
fn compared_kills_under_everysec() {
    for program in programs() {
        let mut tally = Tally::default();
        for round in 0..length("IRONKEEP_COMPARISONS", 5) {
            let empty = tempfile::tempdir().unwrap();
            let lossy = Lossy::mount(empty.path(), Lie::None, Duration::from_millis(700)).unwrap();
            let mut server = Server::start(&program, &lossy.folder(), &EVERYSEC);
            let mut models: Vec<_> = (0..3).map(|id| Model::new(id, round as u64)).collect();
            let (total, port) = (AtomicUsize::new(0), server.port());
            std::thread::scope(|scope| {
                let writers: Vec<_> =
                    models.iter_mut().map(|model| scope.spawn(|| write_until_death(port, model, &total))).collect();
                std::thread::sleep(Duration::from_millis(1_500 + fastrand::u64(..2_000)));
                server.kill();
                writers.into_iter().for_each(|writer| writer.join().unwrap().unwrap());
            });
            tally.rounds += 1;
            tally.acknowledged += total.load(Ordering::Relaxed);
            let server = Server::start(&program, &lossy.folder(), &EVERYSEC);
            let mut client = server.client();
            let losses = models.iter_mut().filter_map(|model| model.settle(&mut client).err());
            let lost: usize = losses.map(|loss| loss.lost.unwrap_or(1)).sum();
            tally.rounds_with_loss += usize::from(lost > 0);
            tally.lost += lost;
        }
        tally.say("kill -9 under everysec, fsync of 0.7 s", &program);
    }
}

/// SHUTDOWN on a full disk, which has room again before the next start.
#[test]
#[ignore = "gives figures"]
fn compared_full_disks_and_shutdowns() {
    for program in programs() {
        let mut tally = Tally::default();
        for round in 0..length("IRONKEEP_COMPARISONS", 5) {
            let disk = SmallDisk::mount().unwrap();
            let folder = disk.folder();
            disk.take_room();
            let mut server = Server::start(&program, &folder, &EVERYSEC);
            let mut client = server.client();
            let mut ledger = Ledger::padded(500 + round * 997);
            fill(&mut client, &mut ledger);
            // Redis and Valkey end; ours may refuse to, and is killed then.
            let _ = client.ask(&["SHUTDOWN"]);
            server.kill();
            disk.give_room();
            tally.restart(&program, &folder, &ledger);
        }
        tally.say("full disk, then SHUTDOWN", &program);
    }
}

/// Writes until ten writes have been refused.
fn fill(client: &mut Client, ledger: &mut Ledger) {
    let (began, mut refused) = (Instant::now(), 0);
    while refused < 10 {
        assert!(began.elapsed() < PATIENCE, "the disk did not become full");
        refused += usize::from(!ledger.write(client).unwrap());
    }
}

/// A rename or the sync of a folder fails once in a rewrite; later the server is killed.
#[test]
#[ignore = "gives figures"]
fn compared_failures_in_a_rewrite() {
    for (what, kind) in [("folder's sync", Kind::SyncFolder), ("rename", Kind::Rename)] {
        for program in programs() {
            let mut tally = Tally::default();
            for at in 0..4 {
                let owner = tempfile::tempdir().unwrap();
                let dir = owner.path().canonicalize().unwrap();
                let server = Traced::start(&program, &dir, None, &EVERYSEC, Fault::None);
                assert!(server.is_ready_within(PATIENCE), "{}", server.output());
                let (mut client, mut ledger) = (server.client().unwrap(), Ledger::default());
                for _ in 0..100 {
                    assert!(ledger.write(&mut client).unwrap());
                }
                server.arm(Fault::Fail { at, count: 1, errno: Errno::EIO as i32, kind });
                let _ = client.ask(&["BGREWRITEAOF"]);
                wait_for_rest(&mut client, Duration::from_secs(3));
                let has_failed = !server.met().is_empty();
                server.cure();
                for _ in 0..100 {
                    if ledger.write(&mut client).is_err() {
                        break;
                    }
                }
                server.signal(Signal::SIGKILL);
                assert!(server.end_within(PATIENCE).is_some());
                if has_failed {
                    tally.restart(&program, &dir, &ledger);
                }
            }
            tally.say(&format!("a failed {what} in a rewrite"), &program);
        }
    }
}
