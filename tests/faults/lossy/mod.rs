//! Power cuts of a real file system under the server's binary: one of our own that forgets what was not synced. The
//! server is killed under load, with rewrites and saves; what the cut leaves becomes the folder of the next start.
//!
//! `IRONKEEP_FUSE_CUTS` is the number of cuts: 6 by default, 12 in CI, 500 in the full run; `IRONKEEP_SEED` chooses them.

pub mod filesystem;

use super::operations::no_leftovers;
use crate::durability::load::write_until_death;
use crate::durability::model::{Loss, Model};
use crate::rig::{Program, Server, denied, length};
use filesystem::{Cut, Lie, Lossy};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 3;
const POLICIES: [&str; 3] = ["always", "everysec", "no"];
/// The longest load before a cut.
const LONGEST_MS: u64 = 250;

/// A folder that goes through one cut after the other, and what its clients know.
struct Run {
    policy: &'static str,
    dir: tempfile::TempDir,
    models: Vec<Model>,
    random: fastrand::Rng,
    acknowledged: usize,
}

impl Run {
    fn new(policy: &'static str, seed: u64) -> Self {
        let models = (0..CLIENTS).map(|id| Model::new(id, seed)).collect();
        let random = fastrand::Rng::with_seed(seed);
        Self { policy, dir: tempfile::tempdir().unwrap(), models, random, acknowledged: 0 }
    }

    fn start(&self, dir: &Path) -> Result<Server, String> {
        let options = [("appendonly", "yes"), ("appendfsync", self.policy), ("auto-aof-rewrite-percentage", "0")];
        Server::try_start(&Program::ours(), dir, &options)
    }

    /// Loads a server on the lossy file system, kills it, cuts the power, and starts on what is left. A system that can't
    /// mount says so in the outer result.
    fn cut(&mut self, lie: Lie) -> Result<Result<(), String>, String> {
        let lossy = Lossy::mount(self.dir.path(), lie, Duration::ZERO)?;
        Ok(self.cut_on(&lossy))
    }

    fn cut_on(&mut self, lossy: &Lossy) -> Result<(), String> {
        let mut server = self.start(&lossy.folder())?;
        let mut control = server.client();
        let (total, port) = (AtomicUsize::new(0), server.port());
        let (random, models) = (&mut self.random, &mut self.models);
        std::thread::scope(|scope| {
            let writers: Vec<_> =
                models.iter_mut().map(|model| scope.spawn(|| write_until_death(port, model, &total))).collect();
            let end = Instant::now() + Duration::from_millis(random.u64(20..LONGEST_MS));
            while Instant::now() < end {
                std::thread::sleep(Duration::from_millis(random.u64(1..30)));
                let verb = ["BGREWRITEAOF", "BGSAVE", "SAVE", "PING"][random.usize(..4)];
                let _ = control.ask(&[verb]); // one may be under way already
            }
            server.kill();
            writers.into_iter().try_for_each(|writer| writer.join().unwrap())
        })
        .map_err(|text| format!("a write was refused: {text}\n{}", server.output()))?;
        self.acknowledged += total.load(Ordering::Relaxed);
        let cut = if self.random.bool() { Cut::Everything } else { Cut::ByLot };
        let left = tempfile::tempdir().unwrap();
        lossy.cut(left.path(), cut, &mut self.random);
        self.dir = left;
        let mut server =
            self.start(self.dir.path()).map_err(|output| format!("does not start after {cut:?}:\n{output}"))?;
        let mut client = server.client();
        for model in &mut self.models {
            if self.policy != "always" {
                // A beginning of what was sent, however short.
                model.acknowledged = 0;
            }
            let loss = |loss: Loss| format!("{cut:?}: {}\n{}", loss.description, server.output());
            model.settle(&mut client).map_err(loss)?;
        }
        no_leftovers(self.dir.path(), &server)?;
        server.kill();
        Ok(())
    }
}

#[test]
fn a_power_cut_of_a_real_file_system_takes_only_what_was_not_promised() {
    let (count, first) = (length("IRONKEEP_FUSE_CUTS", 6), length("IRONKEEP_SEED", 1));
    let began = Instant::now();
    for (number, policy) in POLICIES.into_iter().enumerate() {
        let seed = (first * POLICIES.len() + number) as u64;
        let mut run = Run::new(policy, seed);
        for round in 0..count.div_ceil(POLICIES.len()) {
            match run.cut(Lie::None) {
                Err(reason) => return denied(&reason),
                Ok(outcome) => {
                    outcome.unwrap_or_else(|reason| panic!("IRONKEEP_SEED={first}, {policy}, cut {round}: {reason}"));
                }
            }
        }
        let (cuts, seconds) = (count.div_ceil(POLICIES.len()), began.elapsed().as_secs_f64());
        println!(
            "{policy}: {cuts} power cuts, {} writes acknowledged, {seconds:.0} s since the first",
            run.acknowledged
        );
    }
}

/// Shows that the cuts above could find something.
#[test]
fn a_file_system_that_only_says_that_it_syncs_is_caught() {
    for lie in [Lie::SyncsNoFiles, Lie::SyncsNoFolders] {
        let mut run = Run::new("always", 7);
        let caught = (0..20).find_map(|_| match run.cut(lie) {
            Err(reason) => Some(Err(reason)),
            Ok(Err(reason)) => Some(Ok(reason)),
            Ok(Ok(())) => None,
        });
        match caught {
            Some(Err(reason)) => return denied(&reason),
            Some(Ok(reason)) => println!("{lie:?} is caught: {}", reason.lines().next().unwrap_or_default()),
            None => panic!("20 cuts passed on a file system that {lie:?}"),
        }
    }
}
