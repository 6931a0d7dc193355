//! Who drives the executor: one thread at a time, and never one that a disk keeps.
//!
//! The tasks of the server run on a runtime for one thread. What is to be written to the log lies in a [tray](Tray); the
//! thread that drives leaves the runtime, writes it, and comes back, which takes no change of threads. There are two such
//! threads. Where the one that went to write is not back after [`TOO_LONG`], the other takes its seat and drives on: clients
//! are served, timers run, and the log's batch is under way as if the log's own thread had it. Who comes back to a taken seat
//! leaves its report, and watches from then on.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Runtime, RuntimeFlavor};
use tokio::sync::Notify;

use crate::allocator;
use crate::persist::log_thread::Tray;

/// How long a write or sync may take before the other thread goes on executing.
const TOO_LONG: Duration = Duration::from_millis(1);
/// How often the other thread looks while the log is being written to; and how many looks without that let it sleep.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const IDLE_LOOKS: u32 = 100;
/// How long the thread that is to return the outcome may take, where the other one has come to the end.
const GIVE_UP_AFTER: Duration = Duration::from_millis(300);

/// A task of the server, which shares with the others what no lock guards.
struct Exclusive(Pin<Box<dyn Future<Output = ()>>>);

// SAFETY: such tasks are spawned by [`spawn`] only, on a runtime for one thread, and what they share stays among them. Only a
// thread inside `Runtime::block_on` runs or drops them, and the runtime's core lets in one at a time, with what the one before
// has done in its sight.
#[expect(unsafe_code)]
unsafe impl Send for Exclusive {}

impl Future for Exclusive {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

/// Adds a task to those of the server, from within one of them.
pub(super) fn spawn(task: impl Future<Output = ()> + 'static) {
    assert!(Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread, "a runtime for one thread at a time");
    tokio::spawn(Exclusive(Box::pin(task)));
}

/// The right to drive, and the tray.
pub(super) struct Seat<T> {
    tray: Arc<Tray>,
    placed: Arc<Notify>,
    /// Wakes the executor.
    turn_wanted: Arc<Notify>,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// Which of the two threads drives.
    driver: Thread,
    /// Since when it has been writing.
    away_since: Option<Instant>,
    /// Times that it has gone to write.
    errands: u64,
    is_other_asleep: bool,
    outcome: Option<T>,
    /// The task that gives the outcome is done.
    has_ended: bool,
    is_over: bool,
}

/// Tells the seat that its main task is done, be it by a panic.
struct Ending<T: Send + 'static>(Arc<Seat<T>>);

impl<T: Send + 'static> Drop for Ending<T> {
    fn drop(&mut self) {
        self.0.state().has_ended = true;
        self.0.placed.notify_one();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thread {
    First,
    Second,
}

impl<T: Send + 'static> Seat<T> {
    fn new() -> Arc<Self> {
        let placed = Arc::new(Notify::new());
        let tell = Arc::clone(&placed);
        Arc::new(Self {
            tray: Arc::new(Tray::new(Arc::new(move || tell.notify_one()))),
            placed,
            turn_wanted: Arc::default(),
            state: Mutex::new(State {
                driver: Thread::First,
                away_since: None,
                errands: 0,
                is_other_asleep: false,
                outcome: None,
                has_ended: false,
                is_over: false,
            }),
            changed: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until the end, driving or watching; returns when the outcome is there.
    fn serve(&self, me: Thread, runtime: &Weak<Runtime>) {
        loop {
            let is_over = if self.state().driver == me { self.drive(me, runtime) } else { self.watch(me) };
            if is_over {
                return;
            }
        }
    }

    /// Drives until the end, which is true, or until the seat is lost.
    fn drive(&self, me: Thread, runtime: &Weak<Runtime>) -> bool {
        loop {
            let Some(driven) = runtime.upgrade() else { return true };
            let is_over = driven.block_on(self.until_wanted());
            // Who is kept by the disk keeps no runtime from its end.
            drop(driven);
            if is_over {
                self.state().is_over = true;
                self.changed.notify_all();
                return true;
            }
            self.leave();
            if let Some(work) = self.tray.take() {
                self.tray.carry_out(work);
            }
            if !self.come_back(me) {
                self.turn_wanted.notify_one();
                return false;
            }
        }
    }

    /// Lets the tasks run until something lies in the tray, or, which is true, until the main one is done.
    async fn until_wanted(&self) -> bool {
        // The report of what was written before is there.
        self.turn_wanted.notify_one();
        self.placed.notified().await;
        self.state().has_ended
    }

    fn leave(&self) {
        let mut state = self.state();
        state.away_since = Some(Instant::now());
        state.errands += 1;
        if state.is_other_asleep {
            self.changed.notify_all();
        }
    }

    /// Whether the seat is still this thread's.
    fn come_back(&self, me: Thread) -> bool {
        let mut state = self.state();
        if state.driver == me {
            state.away_since = None;
        }
        state.driver == me
    }

    /// Looks after the other thread until this one is to drive, or, which is true, until the end.
    fn watch(&self, me: Thread) -> bool {
        let (mut known, mut idle_looks) = (0, 0);
        let mut state = self.state();
        while !state.is_over {
            if state.away_since.is_some_and(|since| since.elapsed() >= TOO_LONG) {
                (state.driver, state.away_since) = (me, None);
                return false;
            }
            idle_looks = if state.errands == known { idle_looks + 1 } else { 0 };
            known = state.errands;
            if idle_looks < IDLE_LOOKS {
                let looked = self.changed.wait_timeout(state, LOOK_EVERY);
                state = looked.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                state.is_other_asleep = true;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.is_other_asleep = false;
            }
        }
        true
    }
}

/// What the server's tasks need of the seat.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) tray: Arc<Tray>,
    /// Wakes the executor.
    pub(super) turn_wanted: Arc<Notify>,
}

#[cfg(test)]
impl Place {
    /// For a server in a test without a seat: a task of it writes.
    pub(super) fn alone() -> Self {
        let (placed, turn_wanted) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wake) = (Arc::clone(&placed), Arc::clone(&turn_wanted));
        let tray = Arc::new(Tray::new(Arc::new(move || tell.notify_one())));
        let writing = Arc::clone(&tray);
        tokio::spawn(async move {
            loop {
                placed.notified().await;
                if let Some(work) = writing.take() {
                    writing.carry_out(work);
                    wake.notify_one();
                }
            }
        });
        Self { tray, turn_wanted }
    }
}

/// Runs `main` and all that it spawns, to the end of `main`; the others are dropped then. `abandon` is called on the second
/// thread with the outcome where the disk keeps the first one from returning it.
pub(super) fn run<T: Send + 'static, F: Future<Output = T> + 'static>(
    runtime: Runtime,
    main: impl FnOnce(Place) -> F,
    abandon: impl Fn(T) + Send + 'static,
) -> std::io::Result<T> {
    let seat = Seat::<T>::new();
    let place = Place { tray: Arc::clone(&seat.tray), turn_wanted: Arc::clone(&seat.turn_wanted) };
    let entered = runtime.enter();
    let (main, ending) = (main(place), Ending(Arc::clone(&seat)));
    spawn(async move {
        let outcome = main.await;
        ending.0.state().outcome = Some(outcome);
    });
    drop(entered);
    let runtime = Arc::new(runtime);
    let (other, driven, arena) = (Arc::clone(&seat), Arc::downgrade(&runtime), allocator::arena());
    std::thread::Builder::new().name("executor".to_owned()).spawn(move || {
        allocator::use_arena(arena);
        other.serve(Thread::Second, &driven);
        std::thread::sleep(GIVE_UP_AFTER);
        let outcome = other.state().outcome.take();
        if let Some(outcome) = outcome {
            abandon(outcome);
        }
    })?;
    seat.serve(Thread::First, &Arc::downgrade(&runtime));
    let outcome = seat.state().outcome.take();
    if let Some(runtime) = Arc::into_inner(runtime) {
        // What the disk keeps is not waited for.
        runtime.shutdown_background();
    }
    outcome.ok_or_else(|| std::io::Error::other("the server's threads ended without an outcome"))
}
