//! The load of a start, while clients are told that it goes on.
//!
//! A thread loads into an engine of its own; the one that clients speak to is empty meanwhile and refuses whatever is not
//! meant for a server that loads. When the load is done its data moves over in a moment.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::allocator;
use crate::aof::seal::HistoryId;
use crate::backup::sealed_set::{Sealed, SetFolder};
use crate::disk::Disk;
use crate::engine::clock::Clock;
use crate::engine::params::Config;
use crate::engine::params::backup::Preload;
use crate::engine::persistence::LoadProgress;
use crate::engine::{Data, Engine};
use crate::persist::append::{Append, Extent};
use crate::persist::load::{self, Loaded, LogEnd};
use crate::persist::log_dir::{Increment, LogDir};
use crate::persist::rewrite;

use super::shared::Shared;
use super::{log, sealed_set};

/// How often the log says how far a load is.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// What a load gives: data, and a log that is ready to be continued.
pub(super) struct Start {
    pub(super) data: Data,
    append: Append,
    log_dir: LogDir,
    loaded: Loaded,
    /// A set that BACKUP SEAL has left.
    pub(super) sealed_set: Option<Sealed>,
}

/// Loads what is on disk and opens the log. Until this ends the server is loading.
pub(super) fn load(shared: &Rc<Shared>) -> impl Future<Output = anyhow::Result<()>> + use<> {
    // From this call on, not from the first look at the future.
    shared.engine.borrow_mut().persistence.is_loading = true;
    load_on_thread(Rc::clone(shared))
}

async fn load_on_thread(shared: Rc<Shared>) -> anyhow::Result<()> {
    let started = Instant::now();
    let (config, progress) = {
        let engine = shared.engine.borrow();
        (engine.config.clone(), Arc::clone(&engine.persistence.load))
    };
    let (disk, arena) = (Arc::clone(&shared.disk), allocator::arena());
    let thread_progress = Arc::clone(&progress);
    let mut loading = tokio::task::spawn_blocking(move || {
        // What is loaded lies where commands will put what they make.
        allocator::use_arena(arena);
        load_here(config, &disk, thread_progress)
    });
    let start = loop {
        match tokio::time::timeout(REPORT_EVERY, &mut loading).await {
            Ok(outcome) => break outcome??,
            Err(_) => report_progress(&progress),
        }
    };
    take_over(&shared, start, started);
    Ok(())
}

fn report_progress(progress: &LoadProgress) {
    let (loaded, total) = (progress.loaded_bytes(), progress.total_bytes.load(Ordering::Relaxed));
    let percent = loaded.saturating_mul(100).checked_div(total).unwrap_or(100);
    log::notice(format!("Loading: {loaded} of {total} bytes ({percent}%)"));
}

pub(super) fn load_here(config: Config, disk: &Arc<dyn Disk>, progress: Arc<LoadProgress>) -> anyhow::Result<Start> {
    let mut engine = Engine::new(config, Clock::system(), fastrand::Rng::new());
    engine.persistence.load = progress;
    let mut append = Append::off(Instant::now());
    let (log_dir, loaded) = if let Some(wanted) = engine.config.preload() {
        preload(&mut engine, disk, &wanted, &mut append)?
    } else if engine.config.appendonly {
        load_with_log(&mut engine, disk, &mut append)?
    } else {
        load_without_log(&mut engine, disk)?
    };
    for path in log_dir.remove_leftovers() {
        log::notice(format!("Removed {}, which a crash left behind", path.display()));
    }
    let sealed_set = SetFolder::new(disk, &engine.config.dir, &engine.config).recover().unwrap_or_else(|error| {
        log::warning(format!("The files of BACKUP START can't be looked at: {error}"));
        None
    });
    Ok(Start { data: engine.into_data(), append, log_dir, loaded, sealed_set })
}

/// Hands to the server what was loaded.
fn take_over(shared: &Shared, start: Start, started: Instant) {
    let Start { data, append, log_dir, loaded, sealed_set } = start;
    report(&loaded, started);
    let mut engine = shared.engine.borrow_mut();
    engine.adopt(data);
    engine.clock.tick();
    let (base, all) = log_dir.sizes();
    let changes = engine.journal.changes();
    let persistence = &mut engine.persistence;
    persistence.loaded_keys = loaded.keys;
    persistence.loaded_expired = loaded.expired;
    (persistence.flushed_ms, persistence.unsaved_flush_ms) = (loaded.flushed_ms, loaded.flushed_ms);
    persistence.log_base_size = base;
    persistence.log_files_before = all.saturating_sub(append.len());
    persistence.log_size = all;
    persistence.changes_at_last_save = changes;
    persistence.is_loading = false;
    // Whatever libraries have come are told of now if they can't be called.
    crate::command::prepare_functions(&mut engine);
    shared.set_append(append);
    *shared.log_dir.borrow_mut() = log_dir;
    drop(engine);
    if let Some(sealed) = sealed_set {
        sealed_set::adopt(shared, sealed);
    }
}

/// Loads what `preload-file` names; where the log is on it is its base before anybody is served.
fn preload(
    engine: &mut Engine,
    disk: &Arc<dyn Disk>,
    wanted: &Preload,
    append: &mut Append,
) -> anyhow::Result<(LogDir, Loaded)> {
    let (mut log_dir, loaded) = load::preload(engine, disk, wanted)?;
    if engine.config.appendonly {
        rewrite::begin_log(engine, append, &mut log_dir)?;
        log::notice(format!("Created the log in {}", log_dir.folder().display()));
    }
    Ok((log_dir, loaded))
}

fn load_without_log(engine: &mut Engine, disk: &Arc<dyn Disk>) -> anyhow::Result<(LogDir, Loaded)> {
    let log_dir = idle_log_dir(&engine.config, disk);
    let loaded = load::load_rdb(engine, disk)?;
    let (_, log_bytes) = log_dir.sizes();
    match &loaded.source {
        None if log_bytes > 0 => anyhow::bail!(
            "{}: there is a log here, and no RDB, but appendonly is no: the start would be empty beside it. Set \
             appendonly yes to load it, or move the folder elsewhere",
            log_dir.folder().display()
        ),
        Some(source) if log_bytes > 0 => log::warning(format!(
            "{} was loaded; the log in {} was not, as appendonly is no",
            source.display(),
            log_dir.folder().display()
        )),
        _ => {}
    }
    Ok((log_dir, loaded))
}

fn load_with_log(engine: &mut Engine, disk: &Arc<dyn Disk>, append: &mut Append) -> anyhow::Result<(LogDir, Loaded)> {
    let newer_dump = load::NewerDump::find(disk.as_ref(), &engine.config);
    newer_dump.as_ref().map_or(Ok(()), load::NewerDump::refuse_unlogged)?;
    let (mut log_dir, mut loaded) = load::load_log(engine, disk)?;
    if loaded.source.is_some() {
        loaded.warnings.extend(newer_dump.and_then(|dump| dump.doubt(loaded.log_end.as_ref())));
        match (log_dir.open_increment()?, loaded.log_end.take()) {
            (Some((path, file)), Some(end)) => continue_log(engine, append, end, (path, file))?,
            _ => rewrite::begin_increment(engine, append, &mut log_dir)?,
        }
        return Ok((log_dir, loaded));
    }
    // No log: an RDB is loaded rather than ignored, and becomes the base.
    let loaded = load::load_rdb(engine, disk)?;
    if let Some(source) = &loaded.source {
        log::notice(format!("There is no log yet: {} becomes its base", source.display()));
    }
    rewrite::begin_log(engine, append, &mut log_dir)?;
    log::notice(format!("Created the log in {}", log_dir.folder().display()));
    Ok((log_dir, loaded))
}

/// Goes on at the end of the increment that was loaded last.
fn continue_log(engine: &mut Engine, append: &mut Append, end: LogEnd, (path, file): Increment) -> anyhow::Result<()> {
    let len = file.len()?;
    let extent = Extent { len, head_len: if end.has_records { 0 } else { len } };
    let id = end.history.id.unwrap_or_else(|| HistoryId::random(&mut engine.random));
    engine.journal.set_on(true);
    engine.journal.seal_as(id, end.span, end.history.at);
    append.continue_in(path, file, extent, engine.journal.end());
    Ok(())
}

/// The log's folder while the log is off.
pub(super) fn idle_log_dir(config: &Config, disk: &Arc<dyn Disk>) -> LogDir {
    let dir = Path::new(&config.dir);
    let manifest_path =
        dir.join(&config.appenddirname).join(crate::aof::naming::manifest(config.appendfilename.as_ref()));
    // A manifest that can't be read matters when the log is switched on, which replaces it then.
    let manifest = crate::aof::log::read_manifest(disk.as_ref(), &manifest_path).unwrap_or_default();
    LogDir::new(Arc::clone(disk), dir, &config.appenddirname, &config.appendfilename, manifest)
}

fn report(loaded: &Loaded, started: Instant) {
    for warning in &loaded.warnings {
        log::warning(warning);
    }
    if loaded.empty > 0 {
        log::warning(format!("{} keys without elements were skipped", loaded.empty));
    }
    match &loaded.source {
        None => log::notice("Nothing to load: starting empty"),
        Some(source) => log::notice(format!(
            "DB loaded from {}: {} keys ({} expired were dropped), {} log records replayed ({} bytes behind the last \
             seals), in {:.3} seconds",
            source.display(),
            loaded.keys,
            loaded.expired,
            loaded.records,
            loaded.unsealed_bytes,
            started.elapsed().as_secs_f64()
        )),
    }
}
