//! Random histories that are gone back in: commands on all types with the archive on, over seconds of a clock that the test
//! moves, with rewrites, backups, errors of the disk, kills and starts. Whatever second is asked for, a restore to it must
//! bring what a model had at its end; one to before the last FLUSHALL, what the model had before it.

use super::histories::{Author, Caller, answers_to, requests};
use super::model::{DATABASES, Model};
use super::*;
use crate::backup::restore::{Expiry, Wishes, look_at, restore_replayed};
use crate::backup::rewind::{Plan, Target, Until, plan, replay};
use crate::backup::{BackupError, Catalogue, archive};
use crate::disk::{Fault, FaultyDisk, Lie};
use crate::persist::load::load_rdb;
use crate::server::archive::Task;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Histories that are tried.
const USUAL_HISTORIES: usize = 40;
/// Times that are gone back to in each.
const TIMES: usize = 20;
const LIVES: usize = 3;
const OPERATIONS: std::ops::Range<usize> = 20..60;
const REPO: &str = "/repo";
/// The first second.
const FIRST: i64 = 1_795_316_400;

/// What was done at a time, and what there was then.
struct Moment {
    second: i64,
    state: Model,
    /// Position of the log behind it.
    position: u64,
    /// It, or the transaction that it is, has a FLUSHALL.
    flushes: bool,
}

struct Story {
    author: Author,
    disk: MemoryDisk,
    config: Config,
    moments: Vec<Moment>,
    /// How many moments there were when each backup was begun, its second, and its name.
    backups: Vec<(usize, i64, String)>,
    lie: Option<Lie>,
    /// The present one, Unix ms.
    now_ms: i64,
    /// Restores that were compared.
    compared: usize,
}

impl Story {
    fn new(seed: u64, lie: Option<Lie>) -> Self {
        let mut config = config(true, AppendFsync::Everysec);
        (config.databases, config.aof_archive, config.aof_archive_timeout) = (DATABASES, true, 0);
        config.backup_repo = REPO.to_owned();
        let mut author = Author::new(seed);
        config.aof_segment_size = author.pick(&[1, 200, 1000, 100_000]);
        config.backup_retention = author.pick(&["", "keep-last 2"]).to_owned();
        config.appendfsync = author.pick(&[AppendFsync::Always, AppendFsync::Everysec, AppendFsync::No]);
        let moments = vec![Moment { second: FIRST, state: Model::default(), position: 0, flushes: false }];
        let (backups, now_ms) = (Vec::new(), FIRST * 1000);
        Self { author, disk: empty_disk(), config, moments, backups, lie, now_ms, compared: 0 }
    }

    fn state(&self) -> &Model {
        &self.moments[self.moments.len() - 1].state
    }

    async fn write(&mut self, shared: &Shared, caller: &mut Caller) -> Result<(), String> {
        let unit = self.author.unit();
        caller.client.send(&requests(&unit)).await;
        let answers =
            answers_to(&unit, &mut caller.client).await?.ok_or("the disk is well, and a write was refused")?;
        let mut state = self.state().clone();
        for (words, answer) in unit.iter().zip(&answers) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            state.apply(caller.db, &words, Some(answer));
        }
        let position = shared.engine.borrow().journal.end();
        // One that found nothing need not be in the log.
        let is_logged = position > self.moments[self.moments.len() - 1].position;
        let flushes = is_logged && unit.iter().any(|words| words[0] == "FLUSHALL");
        self.moments.push(Moment { second: self.now_ms / 1000, state, position, flushes });
        Ok(())
    }

    /// One life of the server; what is archived at its end is looked at.
    async fn live(&mut self, disk: &FaultyDisk) -> Result<(), String> {
        let shared = start_server(self.config.clone(), Arc::new(disk.clone())).await.map_err(|e| format!("{e:#}"))?;
        shared.engine.borrow_mut().clock = Clock::fixed(self.now_ms);
        shared.tick();
        // What a power cut has taken never was.
        let end = shared.engine.borrow().journal.end();
        self.moments.retain(|moment| moment.position <= end);
        if Model::read(&mut shared.engine.borrow_mut()) != *self.state() {
            return Err("a start has found something else".to_owned());
        }
        let mut caller = Caller { client: Client::connect(&shared), db: 0 };
        let mut task = Task::default();
        catch_up(&shared, &mut task).await?;
        for _ in 0..self.author.random.usize(OPERATIONS) {
            match self.author.random.u8(..16) {
                0 => drop(caller.client.ask("BGREWRITEAOF").await),
                1 => self.back_up(&mut caller).await?,
                2 => {
                    let (first, errno) = (self.author.random.usize(..12), self.author.pick(&[5, 28]));
                    disk.fail(Fault { first, count: self.author.pick(&[1, 100]), errno, is_short: false });
                    task.look(&shared).await;
                    disk.cure();
                    if shared.engine.borrow().backups.archive.fault.is_some() {
                        // One that begins anew does not wait.
                        task = Task::default();
                    }
                }
                3..5 => task.look(&shared).await,
                5..8 => {
                    self.now_ms += self.author.random.i64(1..3000);
                    let behind_ms = self.now_ms - shared.engine.borrow().clock.now_ms();
                    shared.engine.borrow_mut().clock.advance(behind_ms);
                    shared.tick();
                }
                8 => {
                    caller.db = self.author.random.usize(..DATABASES);
                    caller.client.ask(&format!("SELECT {}", caller.db)).await;
                }
                _ => self.write(&shared, &mut caller).await?,
            }
        }
        if self.backups.is_empty() {
            self.back_up(&mut caller).await?;
        }
        catch_up(&shared, &mut task).await
    }

    async fn back_up(&mut self, caller: &mut Caller) -> Result<(), String> {
        match caller.client.ask("BACKUP CREATE").await {
            Some(Answer::Bulk(id)) => {
                let id = String::from_utf8(id.to_vec()).unwrap();
                self.backups.push((self.moments.len(), self.now_ms / 1000, id));
                let Some(Answer::Array(left)) = caller.client.ask("BACKUP LIST").await else {
                    return Err("no list".to_owned());
                };
                let left: Vec<&[u8]> = left.iter().map(id_of).collect();
                self.backups.retain(|(.., id)| left.contains(&id.as_bytes()));
                Ok(())
            }
            other => Err(format!("no backup: {other:?}")),
        }
    }

    fn tell_all(&mut self) -> Result<(), String> {
        for life in 0..LIVES {
            let disk = match self.lie {
                Some(lie) => FaultyDisk::lying(self.disk.clone(), lie),
                // Errors of the log are tried elsewhere, this is about the catalogue.
                None => FaultyDisk::new(self.disk.clone(), None).below(Path::new(REPO)),
            };
            let begun = self.disk.steps();
            let lived = run(self.live(&disk)).and_then(|()| self.look_back(&(Arc::new(disk) as Arc<dyn Disk>)));
            lived.map_err(|wrong| format!("life {life}: {wrong}"))?;
            let last = self.disk.steps();
            // A kill, or a power cut at some step.
            let cut = self.author.pick(&PowerCut::ALL);
            let at = if cut == PowerCut::Kept { last } else { self.author.random.usize(begun..=last) };
            self.disk = self.disk.after(at, cut, &mut self.author.random);
            let left = Catalogue::new(Arc::new(self.disk.clone()), Path::new(REPO)).list();
            let left = left.map_err(|error| format!("life {life}, step {at}, {cut:?}: {error}"))?;
            self.backups.retain(|(.., id)| left.iter().any(|listed| listed.id == *id && listed.manifest.is_ok()));
            // Nothing of one life is of the same second as the next.
            self.now_ms += 1000;
        }
        Ok(())
    }

    fn look_back(&mut self, disk: &Arc<dyn Disk>) -> Result<(), String> {
        let catalogue = Catalogue::new(Arc::clone(disk), Path::new(REPO));
        let timelines = archive::timelines(&catalogue).map_err(|error| error.to_string())?;
        if timelines.iter().any(|archive| archive.timeline().contains('-')) {
            let names: Vec<_> =
                timelines.iter().map(|archive| (archive.names(), archive.segments().unwrap())).collect();
            return Err(format!("the archive had more than the log: {names:?}"));
        }
        let first = self.backups.iter().map(|(_, second, _)| *second).min().unwrap_or(FIRST);
        for _ in 0..TIMES {
            let second = self.author.random.i64(first..=self.now_ms / 1000 + 1);
            let wanted = self.moments.iter().rfind(|moment| moment.second <= second).ok_or("no such moment")?;
            self.compare(&catalogue, Until::Second(second), &wanted.state.clone())?;
        }
        self.compare(&catalogue, Until::End, &self.state().clone())?;
        let Some(flush) = self.moments.iter().rposition(|moment| moment.flushes) else { return Ok(()) };
        let before = self.moments[flush - 1].state.clone();
        if self.backups.iter().any(|(count, ..)| *count <= flush) {
            return self.compare(&catalogue, Until::Before(b"flushall".to_vec()), &before);
        }
        let target = Target { until: Until::Before(b"FLUSHALL".to_vec()), skip: Vec::new(), base: None };
        match plan(&catalogue, &target) {
            Err(BackupError::Refused { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
            // One that was removed has come back with a power cut.
            Ok(plan) if !self.backups.iter().any(|(.., id)| *id == plan.base.id) => Ok(()),
            Ok(_) => Err("a restore to before all backups is planned".to_owned()),
        }
    }

    fn compare(&mut self, catalogue: &Catalogue, until: Until, wanted: &Model) -> Result<(), String> {
        let target = Target { until, skip: Vec::new(), base: None };
        let found = rewound(catalogue, &target).map_err(|error| format!("{:?}: {error}", target.until))?;
        let (plan, mut engine) = found;
        let found = Model::read(&mut engine);
        if found != *wanted {
            let (cut, base) = (plan.cut, plan.base.position);
            let until = &target.until;
            return Err(format!("{until:?}, cut at {cut} behind a backup at {base:?}: {found:?}, and not {wanted:?}"));
        }
        self.compared += 1;
        if !self.author.random.bool() {
            return Ok(());
        }
        // Some keys of it, by way of a data folder.
        let kind = self.author.pick(&['s', 'l', 'h', 'z', 'x']);
        let mut some = wanted.clone();
        some.retain(|key| key.starts_with(kind));
        let keys = vec![format!("{kind}*").into_bytes()];
        let dir = format!("/restored-{}", self.compared);
        let wishes = Wishes { dir: (&dir).into(), force: false, keys, expiry: Expiry::Keep, now_ms: self.now_ms };
        let expected = look_at(&mut engine, &wishes).keys;
        let whose = (plan.base.id.as_str(), &mut engine, plan.as_of_ms);
        restore_replayed(catalogue, whose, &wishes).map_err(|error| error.to_string())?;
        let mut config = self.config.clone();
        config.dir = dir;
        let mut loaded = Engine::new(config, Clock::fixed(self.now_ms), fastrand::Rng::with_seed(1));
        let count = load_rdb(&mut loaded, catalogue.disk()).map_err(|error| error.to_string())?.keys;
        let found = Model::read(&mut loaded);
        if found == some && count == expected { Ok(()) } else { Err(format!("{kind}*: {found:?}, and not {some:?}")) }
    }
}

/// The name in an item of BACKUP LIST.
fn id_of(listed: &Answer) -> &[u8] {
    match listed {
        Answer::Array(fields) => fields[1].bytes().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn rewound(catalogue: &Catalogue, target: &Target) -> Result<(Plan, Engine), BackupError> {
    let plan = plan(catalogue, target)?;
    let engine = replay(catalogue, &plan, &target.skip)?;
    Ok((plan, engine))
}

/// Waits until everything is archived.
async fn catch_up(shared: &Rc<Shared>, task: &mut Task) -> Result<(), String> {
    let since = Instant::now();
    loop {
        task.look(shared).await;
        let (archive, end) = {
            let engine = shared.engine.borrow();
            (engine.backups.archive.clone(), engine.journal.end())
        };
        if archive.timeline.is_some() && archive.position == end {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            return Err(format!("the archive does not reach the end of the log: {archive:?}"));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn any_second_of_a_random_history_comes_back() {
    let seeds: Vec<u64> = match std::env::var("IRONKEEP_REWIND") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..length("IRONKEEP_REWINDS", USUAL_HISTORIES) as u64).collect(),
    };
    let compared = AtomicUsize::new(0);
    errors::try_all(&seeds, |seed| {
        let mut story = Story::new(seed, None);
        story.tell_all().map_err(|wrong| format!("IRONKEEP_REWIND={seed}: {wrong}"))?;
        compared.fetch_add(story.compared, Ordering::Relaxed);
        Ok(())
    });
    tell(&format!(
        "{} random histories of {LIVES} lives with the archive on: {} restores to a second, to before a flush and to the end \
         brought what the model had",
        seeds.len(),
        compared.into_inner()
    ));
}

#[test]
fn histories_that_are_gone_back_in_find_out_a_disk_that_does_not_sync() {
    for lie in [Lie::Files, Lie::Folders] {
        let wrong = (0..100).find_map(|seed| Story::new(seed, Some(lie)).tell_all().err());
        assert!(wrong.is_some_and(|wrong| wrong.contains("life")), "{lie:?} is found out");
    }
}
