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
use super::writers::Gathering;

/// How long one turn may execute.
const TURN: Duration = Duration::from_millis(1);

/// How often the executor looks at the sockets at most before it sleeps: some ten microseconds, which is about what
/// falling asleep and being woken takes, of its own time and of the client's that has to wake it.
const MOST_LOOKS: u32 = 24;
/// Turns after which one more look is tried where looking has not helped.
const TRY_AGAIN_AFTER: u32 = 32;

/// Takes a turn whenever there is something to execute or to send, for as long as the server runs.
pub(super) async fn take_turns(shared: Rc<Shared>) {
    let mut batch = Batch::default();
    let mut patience = Patience::default();
    let mut gathering = Gathering::default();
    loop {
        shared.turn_wanted.notified().await;
        shared.is_executor_awake.set(true);
        loop {
            shared.is_turn_wanted.set(false);
            let mut turn = Turn::begin(&shared);
            flush::take_report(&shared);
            turn.execute(&shared, &mut batch);
            if gathering.goes_on(&shared) {
                flush::send_settled(&shared);
                if !turn.in_commands.is_zero() {
                    turn.end(&shared);
                }
                tokio::task::yield_now().await;
                continue;
            }
            flush::flush(&shared);
            let is_done = turn.end(&shared);
            if shared.tray.is_waiting() {
                // The next turn begins when the log is written.
                break;
            }
            if !is_done {
                // The sockets are looked at before what is left over.
                tokio::task::yield_now().await;
            } else if !patience.wait(&shared).await {
                break;
            }
        }
        shared.is_executor_awake.set(false);
    }
}

/// How long it pays to look for more before falling asleep: a client that waits for a reply sends its next request
/// soon, and need not wake anybody then. Where nothing comes in time, there is soon no looking any more.
#[derive(Default)]
struct Patience {
    looks: u32,
    idle_turns: u32,
}

impl Patience {
    /// Looks at the sockets; true if there is something for a turn.
    async fn wait(&mut self, shared: &Shared) -> bool {
        for _ in 0..self.looks {
            tokio::task::yield_now().await;
            if shared.is_turn_wanted.get() {
                self.looks = (self.looks + 1).min(MOST_LOOKS);
                return true;
            }
        }
        self.looks /= 2;
        if self.looks == 0 {
            self.idle_turns += 1;
            if self.idle_turns == TRY_AGAIN_AFTER {
                (self.looks, self.idle_turns) = (1, 0);
            }
        }
        // The turn itself may have asked for another.
        shared.is_turn_wanted.get()
    }
}

/// One turn.
struct Turn {
    started: Instant,
    budget: Budget,
    in_commands: Duration,
}

impl Turn {
    fn begin(shared: &Shared) -> Self {
        let started = shared.tick();
        Self { started, budget: Budget::new(started, TURN), in_commands: Duration::ZERO }
    }

    /// Executes what has come.
    fn execute(&mut self, shared: &Rc<Shared>, batch: &mut Batch) {
        while !self.budget.is_spent && shared.exit.get().is_none() && gather(shared, batch) {
            let before = Instant::now();
            {
                let mut engine = shared.engine.borrow_mut();
                batch.prefetch(&engine.keyspace);
                batch.run(shared, &mut engine, &mut self.budget);
                if engine.is_room_wanted() {
                    shared.room_wanted.notify_one();
                }
            }
            let now = Instant::now();
            self.in_commands += now - before;
            self.budget.is_spent |= now - self.started >= TURN;
            settle(shared, batch);
            shared.take_up_jobs();
        }
    }

    /// Ends it, the log written or not; false if requests are left for the next turn.
    fn end(self, shared: &Shared) -> bool {
        let stats = &mut shared.engine.borrow_mut().stats.turns;
        stats.count(self.started.elapsed(), self.in_commands);
        shared.ready.borrow().is_empty() || shared.exit.get().is_some()
    }
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
        if connection.waits_for_log() {
            shared.writers.count(&connection.last_sync);
        }
        connection.settle(shared, member.consumed, member.has_more || member.is_cut, member.is_cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::counting;
    use crate::disk::RealDisk;
    use crate::engine::clock::Clock;
    use crate::engine::params::Config;
    use crate::engine::{Engine, Session};
    use crate::persist::append::Append;
    use crate::persist::log_dir::LogDir;
    use crate::resp::encode_request;
    use crate::server::connection::{Connection, serve};
    use crate::server::seat::{self, Place};
    use crate::server::socket::split_unix;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    fn server() -> (Rc<Shared>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(Config::default(), Clock::system(), fastrand::Rng::with_seed(1));
        let disk: Arc<dyn crate::disk::Disk> = Arc::new(RealDisk);
        let log_dir = LogDir::new(Arc::clone(&disk), dir.path(), "appendonlydir", "appendonly.aof", Default::default());
        (Shared::new(engine, Append::off(Instant::now()), log_dir, disk, Place::alone()), dir)
    }

    fn connect(shared: &Rc<Shared>, id: u64) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let (reader, writer) = split_unix(tokio::net::UnixStream::from_std(ours).unwrap());
        let connection = Connection::new(writer, Session::new(id, format!("test:{id}"), 0));
        seat::spawn(serve(Rc::clone(shared), connection, reader));
        theirs
    }

    /// Sends `requests` and waits for as many bytes of replies; how many blocks were allocated meanwhile.
    async fn exchange(stream: &mut UnixStream, requests: &[u8], replies: usize, buffer: &mut [u8]) -> u64 {
        let before = counting::blocks();
        stream.write_all(requests).unwrap();
        let mut missing = replies;
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
            match stream.read(buffer) {
                Ok(count) => missing -= count,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            if missing == 0 {
                return counting::blocks() - before;
            }
        }
        panic!("{missing} bytes of replies are missing");
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn reading_and_answering_allocate_nothing() {
        run(async {
            let (shared, _dir) = server();
            seat::spawn(take_turns(Rc::clone(&shared)));
            let mut stream = connect(&shared, 1);
            let (mut sets, mut gets) = (Vec::new(), Vec::new());
            for key in 0..64 {
                let key = format!("key:{key:012}");
                encode_request(&mut sets, &[b"SET", key.as_bytes(), &[b'v'; 40]]);
                encode_request(&mut gets, &[b"GET", key.as_bytes()]);
            }
            let mut buffer = vec![0; 1 << 20];
            let get_reply = 64 * (40 + "$40\r\n\r\n".len());
            // Buffers find their sizes, and maps and stat counters their rows.
            for _ in 0..10 {
                exchange(&mut stream, &sets, 64 * 5, &mut buffer).await;
                exchange(&mut stream, &gets, get_reply, &mut buffer).await;
            }
            for _ in 0..100 {
                assert_eq!(exchange(&mut stream, &gets, get_reply, &mut buffer).await, 0, "for 64 GETs");
                let blocks = exchange(&mut stream, &sets, 64 * 5, &mut buffer).await;
                assert!(blocks <= 64, "{blocks} blocks for 64 SETs: one each is the entry");
            }
        });
    }

    #[test]
    fn the_executor_looks_for_more_before_it_sleeps_where_that_has_helped_and_nowhere_else() {
        run(async {
            let (shared, _dir) = server();
            let mut patience = Patience::default();
            for _ in 0..TRY_AGAIN_AFTER {
                assert!(patience.looks == 0 && !patience.wait(&shared).await);
            }
            shared.is_executor_awake.set(true);
            for looks in 1..=MOST_LOOKS + 2 {
                assert_eq!(patience.looks, looks.min(MOST_LOOKS));
                shared.is_turn_wanted.set(false);
                let sharing = Rc::clone(&shared);
                seat::spawn(async move { sharing.want_flush() });
                assert!(patience.wait(&shared).await, "a client has sent something while it looked");
            }
            shared.is_turn_wanted.set(false);
            let mut waits = 0;
            while patience.looks > 0 {
                assert!(waits < 6 && !patience.wait(&shared).await, "{} looks", patience.looks);
                waits += 1;
            }
            shared.is_turn_wanted.set(true);
            assert!(patience.wait(&shared).await, "what the turn asked for itself is not slept over");
        });
    }

    /// What seven clients receive who have all asked for more than a socket takes at once, as an eighth has who left.
    async fn receive(shared: &Rc<Shared>) -> Vec<Vec<u8>> {
        let mut streams: Vec<_> = (0..8).map(|id| connect(shared, id)).collect();
        for stream in &mut streams {
            stream.write_all(b"GET large\r\nPING\r\nQUIT\r\n").unwrap();
        }
        streams.pop();
        let (mut received, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        for mut stream in streams {
            let mut bytes = Vec::new();
            for _ in 0..1_000_000 {
                tokio::task::yield_now().await;
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                }
            }
            received.push(bytes);
        }
        received
    }

    #[test]
    fn replies_leave_by_several_threads_as_they_do_by_one() {
        run(async {
            let (shared, _dir) = server();
            seat::spawn(take_turns(Rc::clone(&shared)));
            let large = [vec![0; 999_999], vec![b'x']].concat();
            let set = b"SETRANGE large 999999 x\r\n";
            exchange(&mut connect(&shared, 9), set, ":1000000\r\n".len(), &mut [0; 64]).await;
            let expected = [b"$1000000\r\n", large.as_slice(), b"\r\n+PONG\r\n+OK\r\n"].concat();
            let by_threads = || shared.engine.borrow().stats.writes_by_threads;
            for threads in [1, 3, 4, 1] {
                shared.engine.borrow_mut().config.io_threads = threads;
                let before = by_threads();
                let received = receive(&shared).await;
                assert_eq!(received.len(), 7);
                assert!(received.iter().all(|bytes| *bytes == expected), "{threads} threads");
                assert_eq!(by_threads() > before, threads > 1, "{threads} threads");
            }
        });
    }

    #[test]
    fn a_pipeline_longer_than_a_turn_yields_to_the_others() {
        run(async {
            let (shared, _dir) = server();
            let (mut greedy, mut modest) = (connect(&shared, 1), connect(&shared, 2));
            // Half a megabyte of requests, which a turn does not get through.
            let requests = b"*1\r\n$4\r\nPING\r\n".repeat(10_000);
            let mut sent = 0;
            let mut batch = Batch::default();
            while let (true, Ok(count)) = (sent < requests.len(), greedy.write(&requests[sent..])) {
                sent += count;
                tokio::task::yield_now().await;
            }
            modest.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
            while shared.ready.borrow().len() < 2 {
                tokio::task::yield_now().await;
            }
            let mut take_batch = || {
                assert!(gather(&shared, &mut batch), "both have sent something");
                let mut budget = Budget::new(Instant::now(), TURN);
                batch.run(&shared, &mut shared.engine.borrow_mut(), &mut budget);
                let first = &batch.members[0];
                let served = (first.connection.session.borrow().id, first.consumed > 0, first.has_more);
                settle(&shared, &mut batch);
                served
            };
            assert_eq!(take_batch(), (1, true, true), "a part of many");
            assert_eq!(take_batch(), (2, true, false), "the rest waits behind the other");
        });
    }
}
