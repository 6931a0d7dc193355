//! Backups: when they are due, their thread, and what the server learns from them.
//!
//! One is made at a time. A scheduled one that fails is tried again, sooner at first, and is told of as late until one
//! succeeds. Where one is due while another is under way, that other one is it.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::aof::seal::HistoryId;
use crate::backup::create::{Order, create};
use crate::backup::prune;
use crate::backup::{BackupError, Catalogue, Keys, Level, Listed, Manifest, verify};
use crate::calendar::Schedule;
use crate::engine::Engine;
use crate::engine::backups::{Attempt, Backups, Moment};
use crate::engine::jobs::BackupWork;
use crate::engine::params::{BackupVerify, Config};
use crate::engine::persistence::{Kept, Progress};
use crate::persist::rests;
use crate::persist::save::Image;
use crate::resp::{Encoder, Protocol};

use super::background::on_thread;
use super::shared::Shared;
use super::{flush, log, sealed_set, seat, waiting};

/// How often it is looked whether one is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the log may take to be synced up to a backup's position.
const SYNC_TIME: Duration = Duration::from_secs(30);
/// Pauses between attempts double from the first to the last, in ms.
const FIRST_PAUSE_MS: i64 = 60_000;
const LAST_PAUSE_MS: i64 = 3_600_000;

const OK: &[u8] = b"+OK\r\n";

/// What a client or the schedule may say of a backup.
struct Wish {
    cause: &'static str,
    label: Option<String>,
}

/// Does what a client asks for, and replies when it is done.
pub(super) fn work(shared: &Rc<Shared>, client: u64, work: BackupWork) {
    let shared = Rc::clone(shared);
    let connection = shared.connections.borrow().get(&client).and_then(std::rc::Weak::upgrade);
    let Some(protocol) = connection.map(|connection| connection.session.borrow().protocol) else { return };
    seat::spawn(async move {
        let outcome = match work {
            BackupWork::Create { label } => {
                let made = make(&shared, Wish { cause: "command", label }).await;
                made.map(|manifest| bulk(&manifest.id, protocol))
            }
            BackupWork::List => list_all(&shared).await.map(|(listed, files)| listing(&listed, &files, protocol)),
            BackupWork::StartSet => sealed_set::start(&shared).await.map(|()| OK.to_vec()),
            BackupWork::SealSet => sealed_set::seal(&shared).await.map(|()| OK.to_vec()),
            BackupWork::AbortSet => sealed_set::abort(&shared).await.map(|()| OK.to_vec()),
            BackupWork::CleanUpSet => sealed_set::clean_up(&shared).await.map(|()| OK.to_vec()),
            BackupWork::Verify { id, is_quick } => {
                let level = if is_quick { Level::Quick } else { Level::Restore };
                shared.engine.borrow_mut().backups.is_verifying = true;
                let verified = verify_one(&shared, id, level).await;
                shared.engine.borrow_mut().backups.is_verifying = false;
                verified.map(|()| OK.to_vec())
            }
        };
        let reply = outcome.unwrap_or_else(|error| format!("-ERR {}\r\n", one_line(&error.to_string())).into_bytes());
        waiting::reply(&shared, client, &reply);
    });
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

/// Makes the backups that are scheduled, for as long as the server runs.
pub(super) async fn make_forever(shared: Rc<Shared>) {
    let mut planner = Planner::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let has_catalogue = !shared.engine.borrow().config.backup_repo.is_empty();
        if !has_catalogue || shared.is_stopping.get() {
            continue;
        }
        if !planner.knows_catalogue {
            refresh(&shared).await;
            planner.knows_catalogue = true;
        }
        if planner.is_due(&mut shared.engine.borrow_mut()) {
            let made = make(&shared, Wish { cause: "schedule", label: None }).await;
            planner.attempted(&mut shared.engine.borrow_mut(), made.is_ok());
        } else if planner.is_base_due(&shared.engine.borrow()) {
            log::notice("The archive has no backup to begin with: one is made");
            let made = make(&shared, Wish { cause: "archive", label: None }).await;
            let is_based = made.is_ok() && !shared.engine.borrow().backups.archive.wants_base;
            planner.tried_base(&shared.engine.borrow(), is_based);
        }
    }
}

/// When the next one is due.
#[derive(Default)]
struct Planner {
    knows_catalogue: bool,
    schedule: Schedule,
    /// What the schedule was made of: patterns, zone, and jitter in seconds.
    source: Option<(String, String, u64)>,
    /// Unix ms; none where nothing is scheduled.
    due_ms: Option<i64>,
    /// When that was computed: where the clock is set back behind it, it is computed anew.
    planned_ms: i64,
    failures: u32,
    /// Unix ms: when a backup that the archive wants may be tried again, and how often it has failed.
    next_base_ms: i64,
    base_failures: u32,
}

impl Planner {
    fn is_due(&mut self, engine: &mut Engine) -> bool {
        let now_ms = engine.clock.now_ms();
        let config = &engine.config;
        let source = (config.backup_schedule.clone(), config.backup_timezone.clone(), config.backup_jitter);
        if self.source.as_ref() != Some(&source) {
            let is_start = self.source.is_none();
            (self.schedule, self.source, self.failures) = (config.backup_times(), Some(source), 0);
            self.plan(engine, now_ms);
            if is_start {
                self.catch_up(engine, now_ms);
            }
        } else if now_ms < self.planned_ms {
            self.plan(engine, now_ms);
        }
        if self.due_ms.is_none_or(|due_ms| now_ms < due_ms) {
            return false;
        }
        let backups = &engine.backups;
        let is_unchanged = backups.changes_at_last == Some(engine.journal.changes());
        if backups.under_way.is_some() {
            log::notice("A scheduled backup is due, and one is under way: that will do");
        } else if engine.config.backup_skip_unchanged && is_unchanged {
            log::notice("A scheduled backup is due, and nothing has changed since the last (backup-skip-unchanged)");
        } else {
            return true;
        }
        self.plan(engine, now_ms);
        false
    }

    fn plan(&mut self, engine: &mut Engine, now_ms: i64) {
        let jitter_ms = i64::try_from(engine.config.backup_jitter.saturating_mul(1000)).unwrap_or(i64::MAX);
        let late_ms = engine.random.i64(0..=jitter_ms);
        self.planned_ms = now_ms;
        self.set(engine, self.schedule.next_after(now_ms).map(|next| next.saturating_add(late_ms)));
    }

    fn set(&mut self, engine: &mut Engine, due_ms: Option<i64>) {
        self.due_ms = due_ms;
        engine.backups.due_ms = due_ms;
    }

    /// One that was due while the server was down is due now.
    fn catch_up(&mut self, engine: &mut Engine, now_ms: i64) {
        let Some(newest) = engine.backups.newest.as_ref().filter(|_| engine.config.backup_catch_up) else { return };
        let missed = self.schedule.next_after(newest.at_ms).filter(|missed_ms| *missed_ms <= now_ms);
        if missed.is_some() {
            log::notice("A scheduled backup was missed while the server was down: it is made now (backup-catch-up)");
            self.set(engine, Some(now_ms));
        }
    }

    /// Whether the archive wants a backup, since nothing in it can be brought back without.
    fn is_base_due(&self, engine: &Engine) -> bool {
        let backups = &engine.backups;
        let is_wanted = backups.archive.wants_base && engine.config.archives() && engine.journal.is_on();
        is_wanted && backups.under_way.is_none() && engine.clock.now_ms() >= self.next_base_ms
    }

    fn tried_base(&mut self, engine: &Engine, is_made: bool) {
        self.base_failures = if is_made { 0 } else { self.base_failures + 1 };
        self.next_base_ms = engine.clock.now_ms().saturating_add(pause_ms(self.base_failures));
    }

    fn attempted(&mut self, engine: &mut Engine, is_made: bool) {
        let now_ms = engine.clock.now_ms();
        engine.backups.is_late = !is_made;
        self.plan(engine, now_ms);
        if is_made {
            self.failures = 0;
            return;
        }
        self.failures += 1;
        let pause_ms = pause_ms(self.failures);
        log::warning(format!("The scheduled backup is late; the next attempt comes in {} s", pause_ms / 1000));
        let retry_ms = now_ms.saturating_add(pause_ms);
        self.set(engine, self.due_ms.map(|due_ms| due_ms.min(retry_ms)));
    }
}

/// How long to wait behind so many failures in a row.
fn pause_ms(failures: u32) -> i64 {
    let doubled = failures.saturating_sub(1).min(10);
    if failures == 0 { 0 } else { FIRST_PAUSE_MS.saturating_mul(1 << doubled).min(LAST_PAUSE_MS) }
}

pub(super) fn catalogue(shared: &Shared, config: &Config) -> Catalogue {
    let keys =
        Keys::to_recipients(&config.backup_encryption_recipient).expect("recipients are checked when they are set");
    let share = Arc::clone(&shared.engine.borrow().backups.share);
    Catalogue::new(Arc::clone(&shared.disk), Path::new(&config.backup_repo)).with_keys(keys).with_share(share)
}

/// Makes a backup and goes through the catalogue by the rules.
async fn make(shared: &Rc<Shared>, wish: Wish) -> Result<Manifest, BackupError> {
    let (image, mut order, progress, changes) = begin(shared, wish)?;
    // A power cut must not take from the log what is behind its position, or that would be another one's later.
    if let Some((_, position)) = order.position
        && !flush::until_synced(shared, position, SYNC_TIME).await
    {
        log::notice("The log could not be synced: this backup will not be joined with an archive of it");
        order.position = None;
    }
    let (catalogue, rules) = {
        let engine = shared.engine.borrow();
        (catalogue(shared, &engine.config), rules(&engine))
    };
    let worked = on_backup_thread(shared, "backup", move || carry_out(&catalogue, image, (&order, &progress), &rules));
    let outcome = worked.await;
    end(shared, outcome, changes)
}

/// Runs work on a thread that gives way to all others, unless `backup-max-cpu` sets no limit.
async fn on_backup_thread<T: Send + 'static>(
    shared: &Shared,
    name: &str,
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let gives_way = shared.engine.borrow().config.backup_max_cpu > 0;
    let work = move || {
        if gives_way {
            rests::give_way();
        }
        Ok(work())
    };
    on_thread(name, work).await?
}

/// Backups rest while clients ask for something, and have the cores for themselves while none does.
pub(super) fn spare_clients(engine: &mut Engine) {
    let executed = engine.stats.commands_processed;
    let has_clients = std::mem::replace(&mut engine.backups.commands_seen, executed) != executed;
    let share = if has_clients { engine.config.backup_max_cpu } else { 0 };
    engine.backups.share.store(share, Ordering::Relaxed);
}

/// What is kept of the catalogue.
fn rules(engine: &Engine) -> prune::Rules {
    let config = &engine.config;
    prune::Rules {
        retention: config.backup_rules(),
        zone: config.backup_zone(),
        window_ms: i64::try_from(config.backup_pitr_window.saturating_mul(1000)).unwrap_or(i64::MAX),
        now_ms: engine.clock.now_ms(),
    }
}

fn begin(shared: &Shared, wish: Wish) -> Result<(Image, Order, Progress, u64), BackupError> {
    let engine = &mut *shared.engine.borrow_mut();
    let Wish { cause, label } = wish;
    let reason = match () {
        () if engine.backups.under_way.is_some() => "another backup is in progress",
        () if engine.persistence.is_loading => "the data is being loaded",
        () if shared.is_stopping.get() => "the server is ending",
        () => "",
    };
    if !reason.is_empty() {
        let path = PathBuf::from(&engine.config.backup_repo);
        return Err(BackupError::Refused { path, reason: reason.to_owned() });
    }
    let image = Image::take(engine, false);
    engine.stats.snapshots += 1;
    // Where the archive is not known yet, it might be of a branch.
    let is_known = !engine.config.archives() || engine.backups.archive.timeline.is_some();
    let history = engine.journal.history().filter(|_| engine.journal.is_on() && is_known);
    if history.is_some() {
        // Whoever goes on from here must not have to know what was selected before.
        engine.journal.forget_selected_db();
    }
    let timeline = |id: HistoryId| engine.backups.archive.timeline_of(id);
    let order = Order {
        label,
        cause,
        compression: engine.config.backup_level(),
        verify: match engine.config.backup_verify {
            BackupVerify::None => None,
            BackupVerify::Quick => Some(Level::Quick),
            BackupVerify::Restore => Some(Level::Restore),
        },
        position: history.map(|id| (timeline(id), engine.journal.end())),
        max_rate: Arc::clone(&engine.backups.max_rate),
    };
    let progress = Progress::new(engine.clock.now_ms(), image.keys());
    engine.backups.under_way = Some(progress.clone());
    log::notice("Backup started");
    Ok((image, order, progress, engine.journal.changes()))
}

/// What the thread has done: the backup, what went by the rules, or why nothing did, and all that is there now.
struct Done {
    manifest: Manifest,
    pruned: Result<Vec<String>, BackupError>,
    listed: Vec<Listed>,
}

fn carry_out(
    catalogue: &Catalogue,
    image: Image,
    (order, progress): (&Order, &Progress),
    rules: &prune::Rules,
) -> Result<Done, BackupError> {
    catalogue.create()?;
    let _hold = catalogue.hold()?;
    catalogue.sweep()?;
    let made = create(catalogue, image, order, progress);
    if matches!(made, Err(BackupError::Cancelled)) {
        return made.map(|manifest| Done { manifest, pruned: Ok(Vec::new()), listed: Vec::new() });
    }
    // Also where none could be made: there may have been no room.
    let pruned = prune::plan(catalogue, rules).and_then(|planned| prune::prune(catalogue, planned));
    let pruned = pruned.and_then(|(gone, left)| {
        prune::prune_archive(catalogue, &left, rules)?;
        Ok((gone, left))
    });
    let manifest = made?;
    match pruned {
        Ok((gone, listed)) => Ok(Done { manifest, pruned: Ok(gone), listed }),
        Err(error) => Ok(Done { manifest, pruned: Err(error), listed: catalogue.list()? }),
    }
}

fn end(shared: &Shared, outcome: Result<Done, BackupError>, changes: u64) -> Result<Manifest, BackupError> {
    let engine = &mut *shared.engine.borrow_mut();
    engine.clock.tick();
    let now_ms = engine.clock.now_ms();
    let backups = &mut engine.backups;
    let started_ms = backups.under_way.take().map_or(now_ms, |progress| progress.started_ms);
    let outcome = outcome.and_then(|Done { manifest, pruned, listed }| {
        look_over(backups, &listed);
        match pruned {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => log::notice(format!("Backups that backup-retention keeps no longer: {}", gone.join(", "))),
            Err(error) => log::warning(format!("Old backups can't be removed: {error}")),
        }
        match manifest.fault() {
            None => Ok(manifest),
            Some(fault) => Err(BackupError::Damaged { id: manifest.id.clone(), fault: fault.to_owned() }),
        }
    });
    let seconds = (now_ms - started_ms) / 1000;
    let told = outcome.as_ref().map(|manifest| manifest.id.clone()).map_err(ToString::to_string);
    backups.last = Some(Attempt { started_ms, seconds, outcome: told });
    match &outcome {
        Ok(manifest) => {
            backups.made += 1;
            backups.changes_at_last = Some(changes);
            backups.is_late = false;
            log::notice(format!("Backup {} made: {}", manifest.id, words(manifest)));
        }
        Err(error) => {
            backups.failures += 1;
            log::warning(format!("Backup failed: {error}"));
        }
    }
    outcome
}

fn words(manifest: &Manifest) -> String {
    let verified = match &manifest.verification {
        Some(verification) => format!("read back ({})", verification.level.word()),
        None => "not read back (backup-verify none)".to_owned(),
    };
    let (keys, bytes) = (manifest.keys(), manifest.file.bytes);
    format!("{keys} keys, {bytes} bytes, {verified}, {} ms", manifest.ended_ms - manifest.started_ms)
}

/// Notes what the catalogue holds.
fn look_over(backups: &mut Backups, listed: &[Listed]) {
    let manifests = || listed.iter().filter_map(|listed| listed.manifest.as_ref().ok());
    let moment = |manifest: &Manifest| Moment { id: manifest.id.clone(), at_ms: manifest.started_ms };
    backups.newest = manifests().rfind(|manifest| manifest.fault().is_none()).map(moment);
    backups.verified = manifests().rfind(|manifest| manifest.is_verified()).map(moment);
    let archive = &mut backups.archive;
    let is_base = |manifest: &Manifest| {
        let is_of = |timeline: &String| archive.names.contains(timeline);
        let is_joined = manifest.timeline.as_ref().is_some_and(is_of);
        is_joined
            && manifest.fault().is_none()
            && manifest.position.is_some_and(|position| position >= archive.run_start)
    };
    let has_base = manifests().any(is_base);
    archive.has_base = has_base;
    archive.wants_base = archive.timeline.is_some() && !has_base;
    backups.kept = Kept { files: listed.len(), bytes: manifests().map(|manifest| manifest.file.bytes).sum() };
}

/// Learns what the catalogue holds.
pub(super) async fn refresh(shared: &Rc<Shared>) {
    match list(shared).await {
        Ok(listed) => look_over(&mut shared.engine.borrow_mut().backups, &listed),
        Err(error) => log::warning(format!("The catalogue of backups can't be read: {error}")),
    }
}

async fn list(shared: &Rc<Shared>) -> Result<Vec<Listed>, BackupError> {
    let catalogue = catalogue(shared, &shared.engine.borrow().config);
    on_thread("backup list", move || Ok(catalogue.list())).await?
}

/// The catalogue, if there is one, and the files of the set.
async fn list_all(shared: &Rc<Shared>) -> Result<(Vec<Listed>, Vec<PathBuf>), BackupError> {
    let has_catalogue = !shared.engine.borrow().config.backup_repo.is_empty();
    let listed = if has_catalogue { list(shared).await? } else { Vec::new() };
    Ok((listed, shared.engine.borrow().backups.set.files.clone()))
}

async fn verify_one(shared: &Rc<Shared>, id: String, level: Level) -> Result<(), BackupError> {
    let catalogue = catalogue(shared, &shared.engine.borrow().config);
    let now_ms = shared.engine.borrow().clock.now_ms();
    let work = move || verify::verify_and_note(&catalogue, &id, level, now_ms);
    let verified = on_backup_thread(shared, "backup verify", work).await;
    refresh(shared).await;
    verified.map(drop).inspect_err(|error| log::warning(error.to_string()))
}

fn bulk(text: &str, protocol: Protocol) -> Vec<u8> {
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, protocol).bulk(text.as_bytes());
    bytes
}

/// The reply of BACKUP LIST: a map for each backup of the catalogue, and a string for each file of the set.
fn listing(listed: &[Listed], files: &[PathBuf], protocol: Protocol) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reply = Encoder::new(&mut bytes, protocol);
    reply.array(listed.len() + files.len());
    for Listed { id, manifest } in listed {
        let mut fields = vec![("id", id.clone())];
        match manifest {
            Err(error) => fields.push(("error", error.clone())),
            Ok(manifest) => {
                fields.extend([
                    ("time", (manifest.started_ms / 1000).to_string()),
                    ("label", manifest.label.clone().unwrap_or_default()),
                    ("cause", manifest.cause.clone()),
                    ("keys", manifest.keys().to_string()),
                    ("bytes", manifest.file.bytes.to_string()),
                    ("status", manifest.status().to_owned()),
                ]);
            }
        }
        reply.map(fields.len());
        for (name, value) in &fields {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        }
    }
    for path in files {
        reply.bulk(path.as_os_str().as_bytes());
    }
    bytes
}
