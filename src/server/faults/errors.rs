//! Errors of the disk: each call of a run that changes something fails, in each way, once, three times, or until the disk
//! is cured. The server goes on, says what it could not do, comes back by itself, and loses nothing that it has
//! acknowledged.

use super::*;
use crate::disk::{Fault, FaultyDisk};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases that are tried; 0 is all.
const USUAL_CASES: usize = 240;
/// Most of the time a case waits.
const THREADS: usize = 24;

/// EIO, ENOSPC, EDQUOT, EROFS, EMFILE, EINTR. The last is tried again at once, so no disk gives it for ever.
const ERRORS: [i32; 6] = [5, 28, 122, 30, 24, EINTR];
const EINTR: i32 = 4;
const COUNTS: [usize; 3] = [1, 3, usize::MAX];

#[derive(Debug, Clone, Copy)]
struct Case {
    policy: AppendFsync,
    fault: Fault,
}

/// A server on a disk that may fail.
struct Patient {
    config: Config,
    memory: MemoryDisk,
    disk: FaultyDisk,
    history: History,
}

impl Patient {
    fn new(policy: AppendFsync) -> Self {
        let memory = empty_disk();
        let disk = FaultyDisk::new(memory.clone(), None);
        Self { config: config(true, policy), memory, disk, history: History::default() }
    }

    async fn start(&self) -> anyhow::Result<Rc<Shared>> {
        start_server(self.config.clone(), Arc::new(self.disk.clone())).await
    }

    async fn write(&mut self, client: &mut Client, count: u32) -> bool {
        let memory = self.memory.clone();
        self.history.write(client, count, || memory.steps()).await
    }

    /// What fails here may fail; nothing may hang.
    async fn work(&mut self, client: &mut Client) {
        for burst in [1, 5, 1] {
            self.write(client, burst).await;
        }
        client.ask("BGREWRITEAOF").await;
        for burst in [1, 4, 1] {
            self.write(client, burst).await;
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        client.wait_for_jobs().await;
        client.ask("BGSAVE").await;
        self.write(client, 1).await;
        client.wait_for_jobs().await;
        client.ask("SAVE").await;
        self.write(client, 1).await;
    }

    /// Writes until it is acknowledged, then asks for all that is there.
    async fn recover(&mut self, client: &mut Client) {
        let since = Instant::now();
        while !self.write(client, 1).await {
            assert!(since.elapsed() < PATIENCE, "writes do not come back");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.history.note_list(client).await;
    }

    /// Power cuts at the last step and at some before.
    fn cut(&self, is_shut_down: bool, seed: u64) -> Result<(), String> {
        let mut random = fastrand::Rng::with_seed(seed);
        let last = self.memory.steps();
        for (index, cut) in PowerCut::ALL.into_iter().cycle().take(10).enumerate() {
            let at = if index < 5 { last } else { random.usize(..=last) };
            let image = self.memory.after(at, cut, &mut random);
            let is_promised =
                cut == PowerCut::Kept || self.config.appendfsync == AppendFsync::Always || (is_shut_down && at == last);
            let needed = self.history.needed(at).filter(|_| is_promised);
            check(&self.config, &image, &self.history, needed)
                .map_err(|wrong| format!("a power cut at step {at} of {last}, {cut:?}: {wrong}"))?;
        }
        Ok(())
    }
}

fn try_case(case: Case) -> Result<(), String> {
    let mut patient = Patient::new(case.policy);
    let is_shut_down = run(async {
        let shared = patient.start().await.map_err(|error| format!("{error:#}"))?;
        let mut client = Client::connect(&shared);
        if !patient.write(&mut client, 3).await {
            return Err("a sound disk fails".to_owned());
        }
        patient.disk.fail(case.fault);
        patient.work(&mut client).await;
        patient.disk.cure();
        patient.recover(&mut client).await;
        Ok(client.shut_down(&shared).await)
    })?;
    if !is_shut_down {
        return Err("SHUTDOWN is refused on a disk that is well again".to_owned());
    }
    patient.cut(true, case.fault.first as u64)
}

/// Has all cases tried by some threads at once; what went wrong.
pub(super) fn try_all<C: Copy + Sync + std::fmt::Debug>(cases: &[C], one: impl Fn(C) -> Result<(), String> + Sync) {
    let (next, wrong) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(*case)));
                    if let Err(what) = outcome.unwrap_or_else(|_| Err("a panic, see above".to_owned())) {
                        wrong.lock().unwrap().push(format!("{case:?}: {what}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong[..wrong.len().min(5)].join("\n"));
}

/// Calls that a run on a sound disk makes.
fn calls_of_a_run(policy: AppendFsync) -> usize {
    let mut patient = Patient::new(policy);
    run(async {
        let shared = patient.start().await.unwrap();
        let mut client = Client::connect(&shared);
        let before = patient.disk.made();
        patient.work(&mut client).await;
        patient.disk.made() - before
    })
}

#[test]
fn a_server_outlives_an_error_at_every_call() {
    let mut cases = Vec::new();
    for policy in [AppendFsync::Always, AppendFsync::Everysec, AppendFsync::No] {
        for first in 0..calls_of_a_run(policy) {
            for count in COUNTS {
                let errors = ERRORS.into_iter().filter(|errno| *errno != EINTR || count != usize::MAX);
                cases
                    .extend(errors.map(|errno| Case { policy, fault: Fault { first, count, errno, is_short: false } }));
            }
            cases.push(Case { policy, fault: Fault { first, count: 2, errno: ERRORS[1], is_short: true } });
        }
    }
    let all = cases.len();
    let count = length("IRONKEEP_DISK_ERRORS", USUAL_CASES);
    fastrand::Rng::with_seed(7).shuffle(&mut cases);
    cases.truncate(if count == 0 { all } else { count });
    try_all(&cases, try_case);
    tell(&format!("{} of {all} errors of the disk outlived: acknowledged writes lost 0", cases.len()));
}

/// An error at a start stops it, or does not matter; the next start finds everything.
#[test]
fn a_start_that_fails_leaves_what_the_next_one_loads() {
    let mut cases = Vec::new();
    for is_new in [true, false] {
        cases.extend((0..12).flat_map(|first| COUNTS.map(|count| (is_new, first, count))));
    }
    try_all(&cases, |(is_new, first, count)| {
        let mut patient = Patient::new(AppendFsync::Always);
        if !is_new {
            run(async {
                let shared = patient.start().await.unwrap();
                patient.write(&mut Client::connect(&shared), 9).await;
            });
            // A torn tail and a leftover, for the start to mend.
            let path = Path::new(DIR).join("appendonlydir/appendonly.aof.1.incr.aof");
            let mut log = patient.memory.open(&path, crate::disk::Mode::Append).unwrap();
            log.write_all(b"*3\r\n$5\r\nRPU").unwrap();
            patient.memory.open(&Path::new(DIR).join("temp-1-1-dump.rdb"), crate::disk::Mode::CreateNew).unwrap();
        }
        patient.disk.fail(Fault { first, count, errno: 28, is_short: false });
        run(async { drop(patient.start().await) });
        patient.disk.cure();
        run(async {
            let shared = patient.start().await.map_err(|error| format!("the next start: {error:#}"))?;
            patient.recover(&mut Client::connect(&shared)).await;
            Ok::<(), String>(())
        })?;
        patient.cut(false, first as u64)
    });
}

/// Symptom: a log that was switched on while its history was looked at got back the manifest from before, which named
/// files that were gone.
#[test]
fn a_log_is_not_switched_on_while_its_history_is_looked_at() {
    run(async {
        let shared = start_server(config(false, AppendFsync::Always), Arc::new(empty_disk())).await.unwrap();
        let mut client = Client::connect(&shared);
        shared.engine.borrow_mut().persistence.is_sweeping = true;
        client.send(&encode("CONFIG SET appendonly yes")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!shared.append.borrow().is_on(), "it waits");
        shared.engine.borrow_mut().persistence.is_sweeping = false;
        assert_eq!(client.answer().await, Some(Answer::Simple(b"OK".to_vec())));
        assert!(shared.append.borrow().is_on());
    });
}

/// Symptom: writes were there twice. A rewrite whose last sync failed left a manifest that may or may not survive; the next
/// rewrite put its own base under the name that this manifest gives, in front of an increment that the base holds already.
#[test]
fn a_manifest_in_doubt_never_names_what_comes_later() {
    let cases: Vec<_> = (0..60).collect();
    let failed = AtomicUsize::new(0);
    try_all(&cases, |first| {
        let mut patient = Patient::new(AppendFsync::Always);
        let fault = |first| Fault { first, count: 1, errno: ERRORS[0], is_short: false };
        let before = run(async {
            let shared = patient.start().await.map_err(|error| format!("{error:#}"))?;
            let mut client = Client::connect(&shared);
            patient.write(&mut client, 3).await;
            patient.disk.fail(fault(first));
            client.ask("BGREWRITEAOF").await;
            for _ in 0..3 {
                patient.write(&mut client, 1).await;
            }
            client.wait_for_jobs().await;
            failed.fetch_add(patient.disk.failed(), Ordering::Relaxed);
            let before = patient.memory.steps();
            // A write succeeds, its sync fails: the log goes on behind a base of its own.
            patient.disk.fail(fault(1));
            patient.write(&mut client, 2).await;
            client.wait_for_jobs().await;
            patient.disk.cure();
            patient.recover(&mut client).await;
            Ok::<_, String>(before)
        })?;
        let mut random = fastrand::Rng::with_seed(first as u64);
        for at in before..=patient.memory.steps() {
            for cut in PowerCut::ALL {
                let image = patient.memory.after(at, cut, &mut random);
                check(&patient.config, &image, &patient.history, patient.history.needed(at))
                    .map_err(|wrong| format!("a power cut at step {at}, {cut:?}: {wrong}"))?;
            }
        }
        Ok(())
    });
    assert!(failed.into_inner() >= 20, "a rewrite makes more calls than that");
}
