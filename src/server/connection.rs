//! One client: what has come from it, its session, what is to go to it.
//!
//! A task per client reads; the executor ([`turn`](super::turn)) runs what was read and sends the replies.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use crate::engine::session::ReplyMode;
use crate::engine::{Engine, Session};
use crate::resp::request::{Arguments, RequestLimits, Step};

use super::input::Input;
use super::outbox::Outbox;
use super::senders::Parcel;
use super::shared::Shared;
use super::socket::{ReadHalf, Sent, Stop, WriteHalf};

/// Unsent replies beyond which no further request of the client is executed or read: whoever does not take his answers
/// waits. A larger hard limit of `client-output-buffer-limit` takes its place, as that ends the client.
const MAX_UNSENT: usize = 8 << 20;
/// Bytes that the log holds back, beyond which no further request is executed of a client whose replies wait for it.
const MAX_UNLOGGED: usize = 64 << 20;
/// How long a client that is to go may take none of its last replies.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

pub(super) struct Connection {
    writer: Arc<WriteHalf>,
    pub(super) input: RefCell<Input>,
    pub(super) session: RefCell<Session>,
    outbox: RefCell<Outbox>,
    /// It stands in the queue of those that have sent something.
    is_ready: Cell<bool>,
    /// Requests that are there wait for room for their replies.
    is_stalled: Cell<bool>,
    /// It stands in the list of the next flush.
    is_pending: Cell<bool>,
    is_closed: Cell<bool>,
    /// Nothing more will come.
    has_ended: Cell<bool>,
    /// A task waits for the socket to take more.
    is_draining: Cell<bool>,
    /// How far the log has got, as of the last flush.
    settled: Cell<u64>,
    /// The last sync that it has waited for: see [`Writers`](super::writers::Writers).
    pub(super) last_sync: Cell<u64>,
    /// Wakes the reading task.
    reader: RefCell<Option<Waker>>,
    reader_waits: Cell<bool>,
    /// The last replies wait to leave.
    is_parting: Cell<bool>,
    has_left: Notify,
    /// Unix ms of the last bytes in either direction.
    pub(super) last_seen_ms: Cell<i64>,
    /// Unix ms since which the soft limit of replies has been exceeded; 0 where it is not.
    pub(super) over_soft_limit_ms: Cell<i64>,
}

impl Connection {
    pub(super) fn new(writer: WriteHalf, session: Session) -> Rc<Self> {
        Rc::new(Self {
            writer: Arc::new(writer),
            last_seen_ms: Cell::new(session.created_ms),
            over_soft_limit_ms: Cell::new(0),
            input: RefCell::default(),
            session: RefCell::new(session),
            outbox: RefCell::default(),
            is_ready: Cell::new(false),
            is_stalled: Cell::new(false),
            is_pending: Cell::new(false),
            is_closed: Cell::new(false),
            has_ended: Cell::new(false),
            is_draining: Cell::new(false),
            settled: Cell::new(0),
            last_sync: Cell::new(0),
            reader: RefCell::default(),
            reader_waits: Cell::new(false),
            is_parting: Cell::new(false),
            has_left: Notify::new(),
        })
    }

    /// Lets go of the client: whoever waits for the socket wakes up and finds it closed.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        self.writer.shut_down();
        self.has_left.notify_one();
        self.wake_reader();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Whether it may send more than a few bytes; not if its session is in use.
    pub(super) fn is_authenticated(&self) -> bool {
        self.session.try_borrow().is_ok_and(|session| session.is_authenticated)
    }

    /// Bytes of replies that have not left.
    pub(super) fn unsent(&self) -> usize {
        self.outbox.borrow().len()
    }

    /// Whether another request may be executed.
    pub(super) fn has_room(&self, engine: &Engine) -> bool {
        let outbox = self.outbox.borrow();
        let hard = engine.config.client_output_buffer_limit.normal.hard;
        let most = if hard > 0 { hard.saturating_add(1) } else { MAX_UNSENT };
        outbox.len() < most && (engine.journal.pending().len() < MAX_UNLOGGED || !outbox.is_held())
    }

    /// Adds what `write` appends, if anything; it returns the log position that this rests on, if on any.
    pub(super) fn append_reply(&self, write: impl FnOnce(&mut Vec<u8>) -> Option<u64>) {
        let mut outbox = self.outbox.borrow_mut();
        let start = outbox.end();
        let position = write(outbox.bytes_mut());
        let is_held = outbox.end() > start && !cfg!(feature = "fault-reply-first");
        if let (Some(position), true) = (position, is_held) {
            outbox.hold_since(start, position);
        }
    }

    /// Adds a reply that rests on nothing.
    pub(super) fn push_reply(&self, reply: &[u8]) {
        self.outbox.borrow_mut().bytes_mut().extend_from_slice(reply);
    }

    /// As [`Connection::push_reply`], and sends it.
    pub(super) fn reply_now(self: &Rc<Self>, shared: &Rc<Shared>, reply: &[u8]) {
        self.push_reply(reply);
        self.send(shared, self.settled.get());
    }

    /// Gives the client the reply that it awaits, which rests on a position of the log, if on any, and lets it go on.
    pub(super) fn resume(self: &Rc<Self>, shared: &Rc<Shared>, reply: &[u8], position: Option<u64>) {
        let is_wanted = {
            let mut session = self.session.borrow_mut();
            session.awaits_reply = false;
            session.log_end = session.log_end.max(position.unwrap_or(0));
            session.reply_mode == ReplyMode::On
        };
        if is_wanted {
            self.append_reply(|out| {
                out.extend_from_slice(reply);
                position
            });
        }
        self.wait_for_flush(shared);
        shared.want_flush();
    }

    /// Gives the client a message.
    pub(super) fn receive(self: &Rc<Self>, shared: &Rc<Shared>, message: &[u8], position: Option<u64>) {
        self.outbox.borrow_mut().push_message(message, position);
        self.wait_for_flush(shared);
        shared.want_flush();
    }

    /// Has what [`Connection::push_reply`] has added leave with the next flush.
    pub(super) fn offer_replies(self: &Rc<Self>, shared: &Rc<Shared>) {
        self.wait_for_flush(shared);
        shared.want_flush();
    }

    /// Stands in the list of the next flush.
    fn wait_for_flush(self: &Rc<Self>, shared: &Shared) {
        if !self.is_pending.replace(true) {
            shared.pending.borrow_mut().push(Rc::clone(self));
        }
    }

    /// The executor is done with the first `consumed` bytes of the input; `has_more` says that requests may stand behind
    /// them, and `is_restart` that they are to be found again.
    pub(super) fn settle(self: &Rc<Self>, shared: &Rc<Shared>, consumed: usize, has_more: bool, is_restart: bool) {
        self.last_seen_ms.set(shared.now_ms.get());
        {
            let mut input = self.input.borrow_mut();
            input.consume(consumed, is_restart);
            input.give_back(&mut shared.spare.borrow_mut());
        }
        self.is_ready.set(false);
        let is_closing = self.session.borrow().is_closing;
        if has_more && !is_closing && !self.is_closed.get() {
            if self.may_go_on(&shared.engine.borrow()) {
                self.offer(shared);
            } else {
                self.is_stalled.set(true);
            }
        }
        if is_closing || self.has_ended.get() || self.reader_waits.get() {
            self.wake_reader();
        }
        self.wait_for_flush(shared);
        let id = self.session.borrow().id;
        super::limits::check_output(shared, &mut shared.engine.borrow_mut(), id, self);
    }

    /// Has the executor look at the input.
    fn offer(self: &Rc<Self>, shared: &Rc<Shared>) {
        if !self.is_ready.replace(true) {
            shared.ready.borrow_mut().push_back(Rc::clone(self));
            shared.want_flush();
        }
    }

    /// Sends what may leave now that the log has reached `settled`. What the socket does not take is left to a task
    /// that waits for it. Returns how many bytes left.
    pub(super) fn send(self: &Rc<Self>, shared: &Rc<Shared>, settled: u64) -> usize {
        self.settled.set(settled);
        if !self.may_send() {
            return 0;
        }
        let sent = {
            let mut outbox = self.outbox.borrow_mut();
            let sent = self.writer.write(outbox.sendable(settled));
            outbox.advance(sent.count);
            sent
        };
        self.after_sending(shared, sent);
        sent.count
    }

    /// The half of [`Connection::send`] before the socket is written to: what may leave, for another thread to send. Until
    /// it is given to [`Connection::end_sending`] nothing else is done with the connection.
    pub(super) fn begin_sending(&self, settled: u64) -> Option<Parcel> {
        self.settled.set(settled);
        let (bytes, sendable) = self.may_send().then(|| self.outbox.borrow_mut().take_sendable(settled))??;
        Some(Parcel { socket: Arc::clone(&self.writer), bytes, sendable, sent: Sent::default() })
    }

    /// The half of [`Connection::send`] behind that.
    pub(super) fn end_sending(self: &Rc<Self>, shared: &Rc<Shared>, parcel: Parcel) -> usize {
        self.outbox.borrow_mut().put_back(parcel.bytes, parcel.sent.count);
        self.after_sending(shared, parcel.sent);
        parcel.sent.count
    }

    fn may_send(&self) -> bool {
        !self.is_draining.get() && !self.is_closed.get()
    }

    fn after_sending(self: &Rc<Self>, shared: &Rc<Shared>, sent: Sent) {
        match sent.stop {
            Some(Stop::Broken) => return self.close(),
            Some(Stop::Full) => {
                self.is_draining.set(true);
                super::seat::spawn(drain(Rc::clone(shared), Rc::clone(self)));
            }
            None => {}
        }
        if sent.count > 0 {
            self.last_seen_ms.set(shared.now_ms.get());
        }
        if self.is_parting.get() && (sent.count > 0 || self.unsent() == 0) {
            self.has_left.notify_one();
        }
        if self.is_stalled.get() {
            self.go_on(shared);
        }
    }

    /// Whether the next request may be executed.
    fn may_go_on(&self, engine: &Engine) -> bool {
        let session = self.session.borrow();
        !session.awaits_reply && !session.is_held && self.has_room(engine)
    }

    /// A pause has ended.
    pub(super) fn let_go(self: &Rc<Self>, shared: &Rc<Shared>) {
        if std::mem::take(&mut self.session.borrow_mut().is_held) {
            self.go_on(shared);
        }
    }

    /// What stopped for want of room, or for a reply that comes later, goes on, if nothing keeps it.
    fn go_on(self: &Rc<Self>, shared: &Rc<Shared>) {
        // Whoever executes now looks again when it is done.
        let may_go_on = shared.engine.try_borrow().is_ok_and(|engine| self.may_go_on(&engine));
        if may_go_on && self.is_stalled.get() {
            self.is_stalled.set(false);
            self.offer(shared);
        }
    }

    /// Reads what is there while the executor can do nothing else, and lets `answer` see each request, in the order of
    /// their coming. Requests that wait for the executor are left to it, and what comes behind them, too.
    pub(super) fn hear(
        self: &Rc<Self>,
        shared: &Rc<Shared>,
        limits: RequestLimits,
        mut answer: impl FnMut(&mut Session, &[&[u8]], &mut Vec<u8>),
    ) {
        let is_waiting = self.is_ready.get() || self.is_stalled.get() || self.is_closed.get() || self.has_ended.get();
        let (Ok(mut session), Ok(mut input)) = (self.session.try_borrow_mut(), self.input.try_borrow_mut()) else {
            return;
        };
        if is_waiting || session.is_closing || session.awaits_reply {
            return;
        }
        let received = self.writer.receive(input.space(&mut shared.spare.borrow_mut()));
        if let Ok(count @ 1..) = received {
            input.received(count);
        }
        let (mut consumed, len) = (0, input.len());
        let mut replies = Vec::new();
        while consumed < len && !session.is_closing && matches!(received, Ok(1..)) {
            let (decoder, bytes) = input.decoder(consumed);
            match decoder.decode(bytes, limits) {
                Ok(Step::Incomplete) => break,
                Ok(Step::Request { consumed: taken }) => {
                    let arguments: Arguments<'_> = decoder.ranges().iter().map(|range| &bytes[range.clone()]).collect();
                    if !arguments.is_empty() {
                        answer(&mut session, &arguments, &mut replies);
                    }
                    consumed += taken;
                }
                Ok(Step::Inline { consumed: taken }) => {
                    let words = decoder.take_inline_words();
                    let arguments: Arguments<'_> = words.iter().map(Vec::as_slice).collect();
                    if !arguments.is_empty() {
                        answer(&mut session, &arguments, &mut replies);
                    }
                    consumed += taken;
                }
                Err(error) => {
                    replies.extend_from_slice(format!("-ERR Protocol error: {error}\r\n").as_bytes());
                    session.is_closing = true;
                }
            }
        }
        input.consume(consumed, false);
        input.give_back(&mut shared.spare.borrow_mut());
        let is_closing = session.is_closing;
        drop((session, input));
        if is_closing {
            self.wake_reader();
        }
        self.answer_now(shared, &replies);
    }

    /// Sends replies that rest on nothing, without the runtime, which has not looked at a new socket yet. What does not leave
    /// now leaves with the next flush.
    fn answer_now(self: &Rc<Self>, shared: &Rc<Shared>, replies: &[u8]) {
        let is_next = self.may_send() && self.unsent() == 0;
        let sent = if is_next { self.writer.send_now(replies) } else { 0 };
        if sent < replies.len() {
            self.push_reply(&replies[sent..]);
            self.wait_for_flush(shared);
        }
    }

    /// Stands in the list of the next flush no more.
    pub(super) fn leave_pending(&self) {
        self.is_pending.set(false);
    }

    /// Whether replies rest on what the log had not reached at the last flush.
    pub(super) fn waits_for_log(&self) -> bool {
        !self.is_closed.get() && self.outbox.borrow().is_held()
    }

    pub(super) fn fail_unsettled(&self, settled: u64, reason: &str) {
        self.outbox.borrow_mut().fail_unsettled(settled, reason);
    }

    fn wake_reader(&self) {
        if let Some(waker) = &*self.reader.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Reads until the client has ended, or is to be.
    fn poll_reading(
        self: &Rc<Self>,
        context: &mut Context<'_>,
        shared: &Rc<Shared>,
        reader: &mut ReadHalf,
    ) -> Poll<()> {
        if self.reader.borrow().as_ref().is_none_or(|known| !known.will_wake(context.waker())) {
            *self.reader.borrow_mut() = Some(context.waker().clone());
        }
        self.reader_waits.set(false);
        loop {
            if self.is_closed.get() || self.session.borrow().is_closing {
                return Poll::Ready(());
            }
            let is_busy = self.is_ready.get() || self.is_stalled.get();
            let (awaits_reply, id) = (self.session.borrow().awaits_reply, self.session.borrow().id);
            // Who waits for a key is not there to get it any more.
            let has_given_up = || shared.engine.borrow().waiters.get(id).is_some();
            if self.has_ended.get() && (!is_busy || (awaits_reply && has_given_up())) {
                return Poll::Ready(());
            }
            // Who waits for a reply is read from, as its end is to be noticed.
            let has_no_room = self.is_stalled.get() && !awaits_reply;
            if self.has_ended.get() || has_no_room || (is_busy && self.input.borrow().is_far_ahead()) {
                self.reader_waits.set(true);
                return Poll::Pending;
            }
            let mut input = self.input.borrow_mut();
            let outcome = reader.poll_read(context, input.space(&mut shared.spare.borrow_mut()));
            if let Poll::Ready(Ok(count @ 1..)) = outcome {
                input.received(count);
                let is_over = super::limits::is_input_over(shared, input.len());
                drop(input);
                let mut engine = shared.engine.borrow_mut();
                engine.stats.net_input_bytes += count as u64; // usize has at most 64 bits
                if is_over {
                    engine.stats.query_limit_disconnections += 1;
                    let address = self.session.borrow().address.clone();
                    super::log::warning(format!("Closing client {address} that reached max query buffer length"));
                    return Poll::Ready(());
                }
                drop(engine);
                self.offer(shared);
                continue;
            }
            input.give_back(&mut shared.spare.borrow_mut());
            match outcome {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(_) => self.has_ended.set(true),
            }
        }
    }
}

/// Waits for a socket that was full.
async fn drain(shared: Rc<Shared>, connection: Rc<Connection>) {
    let is_writable = connection.writer.writable().await.is_ok();
    connection.is_draining.set(false);
    if is_writable {
        connection.send(&shared, connection.settled.get());
    } else {
        connection.close();
    }
}

/// Serves a client until it goes.
pub(super) async fn serve(shared: Rc<Shared>, connection: Rc<Connection>, mut reader: ReadHalf) {
    poll_fn(|context| connection.poll_reading(context, &shared, &mut reader)).await;
    if shared.exit.get().is_some() {
        return std::future::pending().await;
    }
    part(&shared, &connection).await;
}

/// Lets the last replies leave, and forgets the client.
async fn part(shared: &Rc<Shared>, connection: &Rc<Connection>) {
    let id = connection.session.borrow().id;
    {
        let mut engine = shared.engine.borrow_mut();
        engine.waiters.remove(id);
        engine.pubsub.remove(id);
        engine.tracking.remove(id);
        engine.monitors.retain(|&client| client != id);
    }
    connection.is_parting.set(true);
    while !connection.is_closed.get() && connection.unsent() > 0 {
        let before = connection.unsent();
        let left = tokio::time::timeout(GIVE_UP_AFTER, connection.has_left.notified()).await;
        if left.is_err() && connection.unsent() == before {
            break;
        }
    }
    connection.close();
    shared.connections.borrow_mut().remove(&id);
    let mut engine = shared.engine.borrow_mut();
    engine.clients.remove(id);
    engine.watches.unwatch(id);
}
