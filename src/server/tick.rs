//! What comes round by itself.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::background::Wanted;
use super::shared::Shared;
use super::{background, backups, flush, history, limits, log, vanished};

/// How long one tick may go on with handing what a snapshot has left to the thread that frees.
const RECLAIM_TIME: Duration = Duration::from_millis(1);

/// How soon a failed save is tried again where writes are refused until one succeeds: they come back within 2 s of the disk's cure.
/// Elsewhere it has the 5 s of Redis.
const TRY_AGAIN_AFTER_MS: i64 = 1_000;

/// Ticks for as long as the server runs.
pub(super) async fn tick_forever(shared: Rc<Shared>) {
    let mut last_look = 0;
    loop {
        let hz = shared.engine.borrow().config.hz.clamp(1, 500);
        tokio::time::sleep(Duration::from_millis(u64::from(1000 / hz))).await;
        tick(&shared);
        let now = shared.engine.borrow().clock.now_ms() / 1000;
        if std::mem::replace(&mut last_look, now) != now {
            look_at_machine(&shared);
            limits::look_at_clients(&shared);
            history::sweep(&shared);
            vanished::look(&shared);
            shared.spare.borrow_mut().shrink();
        }
    }
}

/// Asks the system about this process, for INFO.
fn look_at_machine(shared: &Rc<Shared>) {
    let read = |path: &str| {
        let text = shared.disk.read_small(Path::new(path), 1 << 20).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    };
    let (stat, status, meminfo) = (read("/proc/self/stat"), read("/proc/self/status"), read("/proc/meminfo"));
    let mut engine = shared.engine.borrow_mut();
    engine.stats.machine.read(&stat, &status, &meminfo);
    let rss = engine.stats.machine.rss;
    engine.memory.note_resident(rss);
    let now = engine.clock.now_ms();
    engine.stats.measure_rates(now);
}

fn tick(shared: &Rc<Shared>) {
    shared.tick();
    let is_broken = {
        let mut engine = shared.engine.borrow_mut();
        background::note_deferred(&mut engine);
        let started = Instant::now();
        while engine.keyspace.reclaim() && started.elapsed() < RECLAIM_TIME {}
        let now_us = engine.clock.now_us();
        engine.memory.refresh(now_us);
        backups::spare_clients(&mut engine);
        engine.persistence.log_error.is_some()
    };
    if is_broken || !shared.engine.borrow().journal.pending().is_empty() {
        shared.want_flush();
    }
    flush::sync_if_due(shared);
    flush::give_up_waiting(shared);
    if !shared.is_stopping.get() {
        // Both before either begins: they share a snapshot then.
        let (save, rewrite) = (is_save_due(shared), is_rewrite_due(shared));
        background::start(shared, Wanted { save, rewrite });
    }
}

fn is_save_due(shared: &Shared) -> bool {
    let engine = shared.engine.borrow();
    let persistence = &engine.persistence;
    if persistence.save.is_some() || persistence.rewrite.is_some() {
        return false;
    }
    let changes = i64::try_from(engine.journal.changes() - persistence.changes_at_last_save).unwrap_or(i64::MAX);
    let now = engine.clock.now_ms();
    let since_failure_ms = now - persistence.last_save_failed_ms;
    if engine.refuses_unsaved() {
        return since_failure_ms >= TRY_AGAIN_AFTER_MS;
    }
    let may_retry = persistence.last_save_ok || since_failure_ms > 5_000;
    let due = engine.config.save.iter().find(|point| {
        changes > 0 && changes >= point.changes && now / 1000 - persistence.last_save > point.seconds && may_retry
    });
    if let Some(point) = due {
        log::notice(format!("{} changes in {} seconds. Saving...", point.changes, point.seconds));
    }
    due.is_some() || persistence.save_scheduled
}

fn is_rewrite_due(shared: &Shared) -> bool {
    let engine = shared.engine.borrow();
    let persistence = &engine.persistence;
    let busy = persistence.save.is_some() || persistence.rewrite.is_some();
    if !busy && persistence.rewrite_scheduled {
        return true;
    }
    if busy || !shared.append.borrow().is_on() || engine.config.auto_aof_rewrite_percentage == 0 {
        return false;
    }
    // After three failures the pauses grow: 1, 2, 4 ... 60 minutes.
    let pause_minutes = match persistence.rewrite_failures {
        0..3 => 0,
        failures => (1i64 << (failures - 3).min(6)).min(60),
    };
    if engine.clock.now_ms() - persistence.last_rewrite_ended_ms < pause_minutes * 60_000 {
        return false;
    }
    let base = persistence.log_base_size.max(1);
    let growth = persistence.log_size.saturating_mul(100) / base;
    let growth = growth.saturating_sub(100);
    let is_large = persistence.log_size > engine.config.auto_aof_rewrite_min_size;
    let is_due = is_large && growth >= u64::from(engine.config.auto_aof_rewrite_percentage);
    if is_due {
        log::notice(format!("Starting automatic rewriting of AOF on {growth}% growth"));
    }
    is_due
}
