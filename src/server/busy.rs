//! Clients that speak while a script runs for longer than `busy-reply-threshold`.
//!
//! The script has the executor, and nothing else of the server runs: not the tasks that read, not those that accept. From
//! time to time Lua lets this module look ([`Job::Log`] lines are written, new clients let in, requests read), and whoever
//! asks for something hears that the server is busy, but for what ends the script: SCRIPT KILL, FUNCTION KILL, SHUTDOWN
//! NOSAVE. Requests that had come in the same turn as the script wait for its end.
//!
//! Not done meanwhile, as in Redis: expiry, saves, rewrites, and the fsync of what was written before; nor are signals heard.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use crate::command;
use crate::engine::Engine;
use crate::engine::jobs::Job;
use crate::resp::request::RequestLimits;

use super::listen::{self, Door};
use super::log;
use super::shared::Shared;

/// How often sockets are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What is kept from one look to the next.
struct Busy {
    shared: Weak<Shared>,
    doors: Vec<Door>,
    last_look: Cell<Option<Instant>>,
}

/// Has the engine hear clients while a script runs, at these doors too.
pub(super) fn listen_while_busy(shared: &Rc<Shared>, doors: Vec<Door>) {
    let busy = Busy { shared: Rc::downgrade(shared), doors, last_look: Cell::default() };
    shared.engine.borrow_mut().listener = Some(Rc::new(move |engine| busy.look(engine)));
}

impl Busy {
    fn look(&self, engine: &mut Engine) {
        let now = Instant::now();
        if self.last_look.get().is_some_and(|last| now - last < LOOK_EVERY) {
            return;
        }
        self.last_look.set(Some(now));
        let Some(shared) = self.shared.upgrade() else { return };
        for door in &self.doors {
            while let Some(guest) = door.try_accept(&engine.config) {
                listen::admit(&shared, engine, guest);
            }
        }
        let connections: Vec<_> = shared.connections.borrow().values().filter_map(Weak::upgrade).collect();
        for connection in connections {
            let max_bulk_len = engine.config.proto_max_bulk_len;
            let authenticated = connection.is_authenticated();
            connection.hear(&shared, RequestLimits { max_bulk_len, authenticated }, |session, arguments, out| {
                command::execute_while_busy(engine, session, arguments, out);
            });
        }
        carry_out(engine);
    }
}

/// Writes the lines of the log that have come, and ends the process where that is asked for and the script can't be ended.
fn carry_out(engine: &mut Engine) {
    let (lines, jobs): (Vec<Job>, Vec<Job>) =
        std::mem::take(&mut engine.jobs).into_iter().partition(|job| matches!(job, Job::Log(..)));
    engine.jobs = jobs;
    for line in lines {
        if let Job::Log(level, text) = line {
            log::of_script(level, &text);
        }
    }
    let wants_end = engine.jobs.iter().any(|job| matches!(job, Job::Shutdown(_)));
    let has_written = engine.scripts.running.as_ref().is_some_and(|running| running.has_written);
    if wants_end && has_written {
        // All that was acknowledged is written. What the script has changed is not to be logged by half, as if it were whole.
        log::warning("SHUTDOWN NOSAVE while a script runs that has written: it leaves nothing behind");
        log::drain();
        std::process::exit(0);
    }
}
