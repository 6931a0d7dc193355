//! The executor: what all clients have sent since the last turn is executed in batches, then the log is written once,
//! then the replies leave.
//!
//! A turn executes for a millisecond at most (and then to the end of the sixteen requests under way): a client with a
//! long pipeline waits behind the others, who are looked at in between.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::batch::{Batch, Budget};
use super::flush;
use super::shared::Shared;

/// How long one turn may execute.
const TURN: Duration = Duration::from_millis(1);

/// Takes a turn whenever there is something to execute or to send, for as long as the server runs.
pub(super) async fn take_turns(shared: Rc<Shared>) {
    let mut batch = Batch::default();
    loop {
        shared.turn_wanted.notified().await;
        loop {
            shared.is_turn_wanted.set(false);
            let is_done = take_turn(&shared, &mut batch);
            if is_done {
                break;
            }
            // The sockets are looked at before what is left over.
            tokio::task::yield_now().await;
        }
    }
}

/// One turn; false if requests are left for the next one.
fn take_turn(shared: &Rc<Shared>, batch: &mut Batch) -> bool {
    let started = shared.tick();
    let mut budget = Budget::new(started, TURN);
    let mut in_commands = Duration::ZERO;
    while !budget.is_spent && shared.exit.get().is_none() && gather(shared, batch) {
        let before = Instant::now();
        {
            let mut engine = shared.engine.borrow_mut();
            batch.prefetch(&engine.keyspace);
            batch.run(&mut engine, &mut budget);
            if engine.is_room_wanted() {
                shared.room_wanted.notify_one();
            }
        }
        let now = Instant::now();
        in_commands += now - before;
        budget.is_spent |= now - started >= TURN;
        settle(shared, batch);
        shared.take_up_jobs();
    }
    flush::flush(shared);
    let stats = &mut shared.engine.borrow_mut().stats.turns;
    stats.count(started.elapsed(), in_commands);
    shared.ready.borrow().is_empty() || shared.exit.get().is_some()
}

/// Finds the next requests of the clients that have sent any; false if there are none.
fn gather(shared: &Shared, batch: &mut Batch) -> bool {
    batch.clear();
    let mut ready = shared.ready.borrow_mut();
    if ready.is_empty() {
        return false;
    }
    let engine = shared.engine.borrow();
    while !batch.is_full()
        && let Some(connection) = ready.pop_front()
    {
        batch.add(&engine, connection);
    }
    true
}

/// Lets go of what was executed. Who has more waits behind the others, or for room for its replies.
fn settle(shared: &Rc<Shared>, batch: &mut Batch) {
    for member in batch.members.drain(..) {
        let connection = member.connection;
        connection.settle(shared, member.consumed, member.has_more || member.is_cut, member.is_cut);
    }
}
