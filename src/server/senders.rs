//! `io-threads`: replies leave over several threads at once.
//!
//! At the end of a batch the executor hands out what may leave, sends a share of it itself, and waits for the others.
//! Meanwhile nothing else happens, so clients and their replies still belong to the executor alone; what the threads get
//! is a buffer and a socket. A send(2) is mostly the kernel's work, on loopback that of the receiving side too, which is
//! more than finding and executing a small command takes. Requests are read by the executor.

use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::connection::Connection;
use super::log;
use super::shared::Shared;
use super::socket::{Sent, WriteHalf};

/// Clients for each thread from which on it pays: with fewer the threads sleep, and the executor sends alone.
const LEAST_CLIENTS: usize = 2;
/// How often a thread looks for work before it sleeps, some tens of microseconds: about a turn under load.
const LOOKS: u32 = 2_000;

/// What is to leave to one client.
pub(super) struct Parcel {
    pub(super) socket: Arc<WriteHalf>,
    pub(super) bytes: Vec<u8>,
    pub(super) sendable: Range<usize>,
    pub(super) sent: Sent,
}

impl Parcel {
    fn send(&mut self) {
        self.sent = self.socket.write(&self.bytes[self.sendable.clone()]);
    }
}

/// Parcels of one thread, each with the place of its client in the list.
type Share = Vec<(usize, Parcel)>;

/// The threads; the executor itself is one more.
#[derive(Default)]
pub(super) struct Senders {
    helpers: Vec<Helper>,
    own: Share,
    /// `io-threads` as it was when the threads were started; they can be fewer, if the system refused some.
    asked: usize,
}

struct Helper {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where a thread finds its share and leaves it again.
#[derive(Default)]
struct Desk {
    share: Mutex<Share>,
    /// One of the three below. Only the executor sets it to `FULL` and only the thread back to `FREE`, and whoever has set
    /// it does not touch the share until the other has.
    state: AtomicU8,
}

const FREE: u8 = 0;
const FULL: u8 = 1;
const CLOSED: u8 = 2;

impl Desk {
    fn share(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread does until the desk is closed.
    fn work(&self) {
        let mut looks = 0;
        loop {
            match self.state.load(Ordering::Acquire) {
                FULL => {
                    self.share().iter_mut().for_each(|(_, parcel)| parcel.send());
                    self.state.store(FREE, Ordering::Release);
                    looks = 0;
                }
                CLOSED => return,
                _ if looks < LOOKS => {
                    looks += 1;
                    std::hint::spin_loop();
                }
                _ => thread::park(),
            }
        }
    }
}

impl Helper {
    fn start(number: usize) -> std::io::Result<Self> {
        let desk = Arc::<Desk>::default();
        let theirs = Arc::clone(&desk);
        let thread = thread::Builder::new().name(format!("io-{number}")).spawn(move || theirs.work())?;
        Ok(Self { desk, thread: Some(thread) })
    }

    /// Sets the state, and wakes the thread if it sleeps.
    fn set(&self, state: u8) {
        self.desk.state.store(state, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    fn wait(&self) {
        let mut looks = 0;
        while self.desk.state.load(Ordering::Acquire) == FULL {
            looks += 1;
            if looks % LOOKS == 0 {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.set(CLOSED);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it has nothing to tell
        }
    }
}

impl Senders {
    /// Sends to each of `connections` what may leave now that the log has reached `settled`.
    pub(super) fn send(&mut self, shared: &Rc<Shared>, connections: &[Rc<Connection>], settled: u64) {
        let wanted = shared.engine.borrow().config.io_threads;
        if wanted != self.asked {
            self.start(wanted);
        }
        let threads = self.helpers.len() + 1;
        let is_shared = threads > 1 && connections.len() >= threads * LEAST_CLIENTS;
        let (bytes, parcels) = if is_shared {
            self.send_together(shared, connections, settled)
        } else {
            (connections.iter().map(|connection| connection.send(shared, settled)).sum(), 0)
        };
        let stats = &mut shared.engine.borrow_mut().stats;
        stats.net_output_bytes += bytes as u64; // usize has at most 64 bits
        stats.writes_by_threads += parcels;
        stats.is_sending_by_threads = is_shared;
    }

    /// Starts as many threads as `io-threads` asks for beside the executor.
    fn start(&mut self, wanted: usize) {
        self.asked = wanted;
        self.helpers.clear();
        for number in 1..wanted {
            match Helper::start(number) {
                Ok(helper) => self.helpers.push(helper),
                Err(error) => {
                    log::warning(format!(
                        "io-threads: {number} of {wanted} threads, as no more can be started: {error}"
                    ));
                    break;
                }
            }
        }
    }

    /// As [`Senders::send`], by all threads; the bytes, and how many clients they went to by threads other than the
    /// executor.
    fn send_together(&mut self, shared: &Rc<Shared>, connections: &[Rc<Connection>], settled: u64) -> (usize, u64) {
        let mut bytes = 0;
        let mut next = 0;
        for (index, connection) in connections.iter().enumerate() {
            let Some(parcel) = connection.begin_sending(settled) else {
                bytes += connection.send(shared, settled);
                continue;
            };
            match self.helpers.get(next) {
                Some(helper) => helper.desk.share().push((index, parcel)),
                None => self.own.push((index, parcel)),
            }
            next = (next + 1) % (self.helpers.len() + 1);
        }
        self.helpers.iter().for_each(|helper| helper.set(FULL));
        self.own.iter_mut().for_each(|(_, parcel)| parcel.send());
        let deliver = |share: &mut Share| {
            share.drain(..).map(|(index, parcel)| connections[index].end_sending(shared, parcel)).sum::<usize>()
        };
        bytes += deliver(&mut self.own);
        let mut parcels = 0;
        for helper in &self.helpers {
            helper.wait();
            let mut share = helper.desk.share();
            parcels += share.len() as u64; // usize has at most 64 bits
            bytes += deliver(&mut share);
        }
        (bytes, parcels)
    }
}
