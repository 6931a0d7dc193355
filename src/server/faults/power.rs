//! Power cuts: every step of a run, and for each in every way what was not durable may be lost.

use super::*;
use crate::disk::{FaultyDisk, Lie};

/// Power cuts that are tried by all tests together.
const USUAL_CUTS: usize = 4_000;

/// A run on one disk, without faults.
struct Run {
    config: Config,
    disk: MemoryDisk,
    /// What the disk says it has done and has not.
    lie: Option<Lie>,
    history: History,
}

impl Run {
    fn new(config: Config) -> Self {
        Self { config, disk: empty_disk(), lie: None, history: History::default() }
    }

    /// Serves until `script` is done. The history knows the whole list afterwards.
    fn serve(&mut self, script: impl AsyncFnOnce(&mut Client, &mut History, &MemoryDisk)) {
        run(async {
            let disk: Arc<dyn Disk> = match self.lie {
                None => Arc::new(self.disk.clone()),
                Some(lie) => Arc::new(FaultyDisk::lying(self.disk.clone(), lie)),
            };
            let shared = start_server(self.config.clone(), disk).await.unwrap();
            let mut client = Client::connect(&shared);
            script(&mut client, &mut self.history, &self.disk).await;
            self.history.note_list(&mut Client::connect(&shared)).await;
        });
    }

    /// Tries power cuts at random steps, and each step at least once. How many were tried, or what is wrong behind one.
    fn cut(&self, count: usize, cuts: &[PowerCut], seed: u64) -> Result<usize, String> {
        let mut random = fastrand::Rng::with_seed(seed);
        let steps = self.disk.steps();
        let count = count.max(steps + 1);
        for index in 0..count {
            let at = if index <= steps { index } else { random.usize(..=steps) };
            let cut = cuts[random.usize(..cuts.len())];
            let image_seed = random.u64(..);
            let image = self.disk.after(at, cut, &mut fastrand::Rng::with_seed(image_seed));
            let is_promised = cut == PowerCut::Kept || self.config.appendfsync == AppendFsync::Always;
            let needed = self.history.needed(at).filter(|_| is_promised);
            if let Err(wrong) = check(&self.config, &image, &self.history, needed) {
                let trace = self.disk.trace(at);
                let last = &trace[trace.len().saturating_sub(12)..];
                let last = last.join("\n");
                return Err(format!(
                    "step {at} of {steps}, {cut:?}, image {image_seed}: {wrong}\nthe last steps:\n{last}"
                ));
            }
        }
        Ok(count)
    }
}

/// Writes, a rewrite with writes beside it, a save and a rewrite at once, a shutdown; then another start.
fn log_run(policy: AppendFsync, lie: Option<Lie>) -> Run {
    let mut run = Run { lie, ..Run::new(config(true, policy)) };
    run.serve(async |client, history, disk| {
        for burst in [1, 1, 1, 5, 1, 9] {
            assert!(history.write(client, burst, || disk.steps()).await);
        }
        client.ask("BGREWRITEAOF").await;
        for burst in [1, 4, 1, 1, 1, 1, 7] {
            assert!(history.write(client, burst, || disk.steps()).await);
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        client.wait_for_jobs().await;
        client.send(&["MULTI", "BGSAVE", "EXEC", "BGREWRITEAOF"].map(encode).concat()).await;
        for _ in 0..4 {
            client.answer().await;
        }
        for burst in [3, 1, 1] {
            assert!(history.write(client, burst, || disk.steps()).await);
        }
        client.wait_for_jobs().await;
        assert!(history.write(client, 2, || disk.steps()).await);
    });
    run.serve(async |client, history, disk| {
        for burst in [1, 6, 1] {
            assert!(history.write(client, burst, || disk.steps()).await);
        }
        client.ask("BGREWRITEAOF").await;
        client.wait_for_jobs().await;
        assert!(history.write(client, 3, || disk.steps()).await);
    });
    run
}

fn cut_log(policy: AppendFsync, seed: u64) {
    let count = length("IRONKEEP_POWER_CUTS", USUAL_CUTS) / 4;
    let run = log_run(policy, None);
    let tried = run.cut(count, &PowerCut::ALL, seed).unwrap_or_else(|wrong| panic!("{wrong}"));
    tell(&format!("{tried} power cuts at {} steps under {policy:?}: acknowledged writes lost 0", run.disk.steps()));
}

#[test]
fn the_log_survives_power_cuts_under_always() {
    cut_log(AppendFsync::Always, 1);
}

#[test]
fn the_log_survives_power_cuts_under_everysec() {
    cut_log(AppendFsync::Everysec, 2);
}

#[test]
fn the_log_survives_power_cuts_under_no() {
    cut_log(AppendFsync::No, 3);
}

/// Rewrites behind a flush keep what was before it, until the guard is off; there is a log up to the present in every
/// image between.
#[test]
fn history_survives_power_cuts_and_goes_in_steps_that_load() {
    let count = length("IRONKEEP_POWER_CUTS", USUAL_CUTS) / 8;
    let mut run = Run::new(config(true, AppendFsync::Always));
    let (mut kept_from, mut kept_until) = (0, 0);
    run.serve(async |client, history, disk| {
        assert!(history.write(client, 5, || disk.steps()).await);
        for line in ["SELECT 1", "SET other value", "FLUSHDB", "SELECT 0"] {
            assert!(!is_failure(&client.ask(line).await.unwrap()));
        }
        for _ in 0..2 {
            client.ask("BGREWRITEAOF").await;
            assert!(history.write(client, 3, || disk.steps()).await);
            client.wait_for_jobs().await;
            kept_from = kept_from.max(disk.steps() * usize::from(kept_from == 0));
        }
        kept_until = disk.steps();
        client.ask("CONFIG SET flush-guard 0").await;
        let since = Instant::now();
        while client.info("aof_history_files").await != "0" || disk.list(&folder()).unwrap().len() > 3 {
            assert!(since.elapsed() < PATIENCE, "history stays");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(history.write(client, 2, || disk.steps()).await);
    });
    let tried = run.cut(count, &PowerCut::ALL, 7).unwrap_or_else(|wrong| panic!("{wrong}"));
    let mut random = fastrand::Rng::with_seed(8);
    for at in kept_from..=kept_until {
        let image = run.disk.after(at, PowerCut::ALL[random.usize(..5)], &mut random);
        let log = crate::aof::Log::in_folder(&image, &folder()).unwrap();
        let whole = log.with_history(&image).unwrap().unwrap_or_else(|| panic!("step {at}: no history"));
        assert!(whole.files[0].name() == "appendonly.aof.1.base.rdb", "step {at}: {whole:?}");
    }
    tell(&format!("{tried} power cuts while history comes and goes: acknowledged writes lost 0"));
}

fn folder() -> std::path::PathBuf {
    Path::new(DIR).join("appendonlydir")
}

/// What a save has acknowledged is there whatever happens to the next.
#[test]
fn a_dump_survives_power_cuts_and_becomes_the_base_of_a_log() {
    let count = length("IRONKEEP_POWER_CUTS", USUAL_CUTS) / 8;
    let mut run = Run::new(config(false, AppendFsync::Always));
    run.serve(async |client, history, disk| {
        for save in ["SAVE", "BGSAVE", "SAVE"] {
            history.write(client, 6, || usize::MAX).await;
            assert!(!is_failure(&client.ask(save).await.unwrap()));
            client.wait_for_jobs().await;
            history.promised.push((disk.steps(), history.next - 1));
        }
    });
    let mut tried = run.cut(count, &PowerCut::ALL, 4).unwrap_or_else(|wrong| panic!("{wrong}"));
    run.config.appendonly = true;
    run.serve(async |client, history, disk| {
        assert!(history.write(client, 3, || disk.steps()).await);
    });
    tried += run.cut(count, &PowerCut::ALL, 5).unwrap_or_else(|wrong| panic!("{wrong}"));
    tell(&format!("{tried} power cuts of saves and of a log's beginning: nothing saved was lost"));
}

#[test]
fn syncs_that_are_left_out_are_found_out() {
    for lie in [Lie::Files, Lie::Folders] {
        let wrong = log_run(AppendFsync::Always, Some(lie)).cut(2_000, &PowerCut::ALL, 6).unwrap_err();
        assert!(wrong.contains("step"), "{wrong}");
    }
}

/// What a crash leaves of a log's beginning is passed over where its data came from a dump, and stops the start where it
/// is the only data.
#[test]
fn a_base_without_a_log_is_never_left_for_an_empty_start() {
    let mut run = Run::new(config(false, AppendFsync::Always));
    run.serve(async |client, history, _| {
        history.write(client, 6, || 0).await;
        assert!(!is_failure(&client.ask("SAVE").await.unwrap()));
    });
    run.config.appendonly = true;
    run.serve(async |_, _, _| {});
    let folder = Path::new(DIR).join("appendonlydir");
    for name in run.disk.list(&folder).unwrap() {
        if name != "appendonly.aof.1.base.rdb" {
            run.disk.remove(&folder.join(name)).unwrap();
        }
    }
    let copy = || run.disk.after(run.disk.steps(), PowerCut::Kept, &mut fastrand::Rng::with_seed(0));
    let disk = copy();
    assert_eq!(load(&run.config, &disk).unwrap(), run.history.list);
    let names = disk.list(&folder).unwrap();
    assert!(names.iter().any(|name| name.to_string_lossy().contains(".rdb.unused-")), "{names:?}");
    let disk = copy();
    disk.remove(&Path::new(DIR).join("dump.rdb")).unwrap();
    let before = disk.steps();
    let refused = load(&run.config, &disk).unwrap_err();
    assert!(refused.contains("no manifest named"), "{refused}");
    assert_eq!(disk.steps(), before, "nothing was changed");
}
