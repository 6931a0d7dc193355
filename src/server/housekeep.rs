//! What goes away by itself, in slices between which everybody else has a turn: what expires, and what `maxmemory` has
//! no room for.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::engine::evict::Room;

use super::shared::Shared;

/// The longest that active expiry holds the executor.
const SLICE: Duration = Duration::from_millis(1);
/// The pause behind a slice, so that four of them leave three quarters of the time to others.
const PAUSE: Duration = Duration::from_millis(3);

/// Removes what expires, for as long as the server runs: `hz` rounds a second, each of which may take a quarter of its
/// time, and up to 43 % with `active-expire-effort`.
pub(super) async fn expire_forever(shared: Rc<Shared>) {
    loop {
        let (hz, effort) = {
            let config = &shared.engine.borrow().config;
            (config.hz.clamp(1, 500), config.active_expire_effort.clamp(1, 10))
        };
        let period = Duration::from_millis(u64::from(1000 / hz));
        tokio::time::sleep(period).await;
        let budget = period * (25 + 2 * (effort - 1)) / 100;
        let mut spent = Duration::ZERO;
        while expire(&shared, SLICE.min(budget - spent), &mut spent) {
            if spent >= budget {
                shared.engine.borrow_mut().stats.expire_time_caps += 1;
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// One slice; true if there is more.
fn expire(shared: &Rc<Shared>, slice: Duration, spent: &mut Duration) -> bool {
    let started = Instant::now();
    let has_more = {
        shared.tick();
        let mut engine = shared.engine.borrow_mut();
        // Nothing changes by itself while clients are held.
        let is_paused = engine.pause.held(engine.clock.monotonic()).is_some();
        let has_more = !is_paused && engine.expire_for(slice);
        shared.serve_waiters(&mut engine);
        has_more
    };
    *spent += started.elapsed();
    flush_if_logged(shared);
    has_more
}

/// Goes on with evicting where a command has left more to do, for as long as the server runs.
pub(super) async fn make_room_forever(shared: Rc<Shared>) {
    loop {
        shared.room_wanted.notified().await;
        loop {
            let room = {
                shared.tick();
                let mut engine = shared.engine.borrow_mut();
                let room = engine.make_room();
                shared.serve_waiters(&mut engine);
                room
            };
            flush_if_logged(&shared);
            if room != Room::Coming {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn flush_if_logged(shared: &Rc<Shared>) {
    if !shared.engine.borrow().journal.pending().is_empty() {
        shared.want_flush();
    }
}
