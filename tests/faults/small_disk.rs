//! A disk of a few megabytes that becomes full under the server, and has room again later: a tmpfs of the test's own.
//!
//! `IRONKEEP_FULL_DISKS` is the number of schedules: 4 by default, 20 in CI, 500 in the full run. `IRONKEEP_SEED` is the
//! first one's seed.

use super::ledger::{Ledger, PATIENCE};
use super::operations::no_leftovers;
use crate::rig::{Client, Program, Server, Value, denied, length};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SIZE: &str = "size=6m";
/// What is taken from the disk at first, and given back as the cure.
const FILLING: usize = 3 << 20;

/// A mounted tmpfs; gone when dropped.
pub struct SmallDisk {
    point: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, said aloud, where nothing may be mounted.
    pub fn mount() -> Option<Self> {
        let point = tempfile::tempdir().unwrap();
        match mount(Some("tmpfs"), point.path(), Some("tmpfs"), MsFlags::empty(), Some(SIZE)) {
            Ok(()) => Some(Self { point }),
            Err(error) => {
                denied(&format!("a tmpfs can't be mounted: {error}"));
                None
            }
        }
    }

    /// The server's folder on it, made anew.
    pub fn folder(&self) -> PathBuf {
        let folder = self.point.path().join("data");
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    pub fn take_room(&self) {
        std::fs::write(self.point.path().join("filling"), vec![1; FILLING]).unwrap();
    }

    pub fn give_room(&self) {
        std::fs::remove_file(self.point.path().join("filling")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.point.path(), MntFlags::MNT_DETACH);
    }
}

/// What the schedules reached.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: usize,
    refused: usize,
    killed_while_full: usize,
    told_to_end_while_full: usize,
    cured: usize,
    slowest: Duration,
}

fn start(folder: &Path, policy: &str) -> Result<Server, String> {
    let options = [("appendonly", "yes"), ("appendfsync", policy), ("auto-aof-rewrite-percentage", "0")];
    Server::try_start(&Program::ours(), folder, &options)
}

/// Writes, saves and rewrites until `refusals` writes have been refused for want of room.
fn fill(client: &mut Client, ledger: &mut Ledger, random: &mut fastrand::Rng, refusals: usize) -> Result<(), String> {
    let (began, mut refused) = (Instant::now(), 0);
    while refused < refusals {
        if began.elapsed() > PATIENCE {
            return Err("the disk did not become full".into());
        }
        match random.u8(..40) {
            0 => drop(client.ask(&["BGSAVE"])),
            1 => drop(client.ask(&["BGREWRITEAOF"])),
            2 => drop(client.ask(&["SAVE"])),
            _ if ledger.write(client)? => {}
            _ => refused += 1,
        }
    }
    if !ledger.refusal.starts_with("MISCONF Errors writing to the AOF file: No space left on device") {
        return Err(format!("a full disk is told as {:?}", ledger.refusal));
    }
    match client.ask(&["GET", "one:1"]) {
        Ok(Value::Bulk(_)) => Ok(()),
        other => Err(format!("a read on a full disk: {other:?}")),
    }
}

/// One schedule, and what it left.
fn play(disk: &SmallDisk, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let policy = ["always", "everysec", "no"][random.usize(..3)];
    let mut ledger = Ledger::padded(random.usize(500..30_000));
    let folder = disk.folder();
    disk.take_room();
    let mut server = start(&folder, policy)?;
    let mut client = server.client();
    fill(&mut client, &mut ledger, &mut random, 10)?;
    tally.refused += 10;
    let told = |server: &Server, reason: String| format!("{reason}\n{}", server.output());
    match random.u8(..3) {
        0 => {
            server.kill();
            disk.give_room();
            tally.killed_while_full += 1;
        }
        1 => {
            // It may end or refuse to; what counts is that nothing is lost.
            server = end_if_it_will(server)?;
            disk.give_room();
            tally.told_to_end_while_full += 1;
        }
        _ => {
            disk.give_room();
            let took = ledger.recover(&mut client).map_err(|reason| told(&server, reason))?;
            tally.slowest = tally.slowest.max(took);
            tally.cured += 1;
            if !server.terminate().success() {
                return Err("SIGTERM after the cure did not end with 0".into());
            }
            server = start(&folder, policy)?;
        }
    }
    server.kill();
    for _ in 0..2 {
        let server = start(&folder, policy)?;
        ledger.check(&mut server.client()).map_err(|reason| told(&server, reason))?;
        no_leftovers(&folder, &server)?;
    }
    tally.acknowledged += ledger.acknowledged();
    Ok(())
}

/// SHUTDOWN on a full disk.
fn end_if_it_will(server: Server) -> Result<Server, String> {
    let mut client = server.client();
    match client.ask(&["SHUTDOWN"]) {
        Ok(Value::Error(text)) if text.starts_with("ERR Errors trying to SHUTDOWN") => Ok(server),
        Err(_) => Ok(server),
        other => Err(format!("SHUTDOWN on a full disk: {other:?}")),
    }
}

#[test]
fn a_full_disk_costs_nothing_that_was_acknowledged() {
    let (count, first) = (length("IRONKEEP_FULL_DISKS", 4), length("IRONKEEP_SEED", 1));
    let (began, mut tally) = (Instant::now(), Tally::default());
    for seed in first..first + count {
        let Some(disk) = SmallDisk::mount() else { return };
        if let Err(reason) = play(&disk, seed as u64, &mut tally) {
            panic!("IRONKEEP_SEED={seed} IRONKEEP_FULL_DISKS=1: {reason}");
        }
    }
    println!("{count} full disks in {:.0} s: {tally:?}", began.elapsed().as_secs_f64());
}
