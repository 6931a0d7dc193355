//! What is kept of the past: the words about it in the server's log, and the thread that removes what is wanted no more.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::codec::shell::quote;
use crate::engine::Engine;
use crate::engine::jobs::Flush;
use crate::persist::history::{Rules, kept_dump_name, remove_dumps};

use super::background::on_thread;
use super::shared::Shared;
use super::{log, seat};

/// Says who has flushed data, and how it can be brought back.
pub(super) fn tell_of_flush(shared: &Shared, flush: &Flush) {
    let engine = shared.engine.borrow();
    let Flush { command, address, name, keys, .. } = flush;
    let name = if name.is_empty() { String::new() } else { format!(", name \"{}\"", name.escape_ascii()) };
    let way = if shared.append.borrow().is_on() { way_by_log(&engine) } else { way_by_dump(shared, &engine, flush) };
    log::warning(format!("{command} from {address} (user default{name}) has removed {keys} keys. {way}"));
}

fn way_by_log(engine: &Engine) -> String {
    let config = &engine.config;
    let folder = Path::new(&config.dir).join(&config.appenddirname);
    let folder = quote(&folder.to_string_lossy());
    let until = match config.flush_guard {
        0 => "until the next rewrite of the log (flush-guard is 0)".to_owned(),
        seconds => format!("for {seconds} s (flush-guard)"),
    };
    format!(
        "The log keeps them {until}. To bring them back: SHUTDOWN NOSAVE, then `aoftool undo-flush \
         {folder}`, then start the server again"
    )
}

fn way_by_dump(shared: &Shared, engine: &Engine, flush: &Flush) -> String {
    let config = &engine.config;
    let dump = Path::new(&config.dir).join(&config.dbfilename);
    if !shared.disk.exists(&dump) {
        return "They were on no disk: neither the log nor a dump holds them".to_owned();
    }
    let kept = quote(&dump.with_file_name(kept_dump_name(&config.dbfilename, flush.unsaved_ms)).to_string_lossy());
    let dump = quote(&dump.to_string_lossy());
    let start = "To go back to what was saved last: SHUTDOWN NOSAVE";
    match config.flush_guard {
        0 => format!("{start} and start again, before the next save takes it away (flush-guard is 0)"),
        seconds => format!(
            "{start}, then `if [ -e {kept} ]; then mv {kept} {dump}; fi`, then start the server again. What was saved is \
             kept for {seconds} s (flush-guard)"
        ),
    }
}

/// A save has kept the dump before it.
pub(super) fn tell_of_kept_dump(engine: &mut Engine, kept: Option<PathBuf>) {
    let Some(kept) = kept else { return };
    engine.persistence.is_sweep_wanted = true;
    let config = &engine.config;
    let dump = Path::new(&config.dir).join(&config.dbfilename);
    log::notice(format!(
        "{} as it was before a flush is kept as {} for {} s (flush-guard). To go back to it: SHUTDOWN NOSAVE, then `mv {} \
         {}`, then start the server again",
        config.dbfilename,
        kept.display(),
        config.flush_guard,
        quote(&kept.to_string_lossy()),
        quote(&dump.to_string_lossy())
    ));
}

/// Once a second: where something is kept, has a thread look at it and remove what is wanted no more. Nobody else changes
/// the log's files meanwhile.
pub(super) fn sweep(shared: &Rc<Shared>) {
    let rules = {
        let mut engine = shared.engine.borrow_mut();
        let is_held = shared.append.borrow().is_held();
        let persistence = &mut engine.persistence;
        let is_busy = persistence.is_loading
            || persistence.is_sweeping
            || persistence.is_switching
            || persistence.rewrite.is_some()
            || is_held;
        let is_kept = persistence.history.files + persistence.kept_dumps.files > 0;
        if is_busy || shared.is_stopping.get() || !(is_kept || persistence.is_sweep_wanted) {
            return;
        }
        (persistence.is_sweeping, persistence.is_sweep_wanted) = (true, false);
        Rules::new(&engine)
    };
    seat::spawn(sweep_on_thread(Rc::clone(shared), rules));
}

async fn sweep_on_thread(shared: Rc<Shared>, rules: Rules) {
    let mut log_dir = shared.log_dir.borrow().clone();
    let (dir, name) = {
        let config = &shared.engine.borrow().config;
        (PathBuf::from(&config.dir), config.dbfilename.clone())
    };
    let swept = on_thread("history", move || {
        let log = log_dir.remove_history(&rules).map(|()| log_dir.history());
        let dumps = remove_dumps(log_dir.disk().as_ref(), &dir, &name, &rules);
        Ok((log_dir, log, dumps))
    });
    let swept = swept.await;
    let mut engine = shared.engine.borrow_mut();
    let persistence = &mut engine.persistence;
    persistence.is_sweeping = false;
    let failed = match swept {
        Ok((log_dir, log, dumps)) => {
            *shared.log_dir.borrow_mut() = log_dir;
            persistence.history = *log.as_ref().unwrap_or(&persistence.history);
            persistence.kept_dumps = *dumps.as_ref().unwrap_or(&persistence.kept_dumps);
            log.err().map(|error| error.to_string()).or(dumps.err().map(|error| error.to_string()))
        }
        Err(error) => Some(error.to_string()),
    };
    // It is tried again every second, and told once.
    if let (Some(error), false) = (&failed, persistence.has_sweep_failed) {
        log::warning(format!("Files that are wanted no more could not be removed: {error}"));
    }
    persistence.has_sweep_failed = failed.is_some();
    persistence.is_sweep_wanted |= failed.is_some();
}
