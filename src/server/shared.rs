//! What the tasks share: the engine, the open end of the log, the connections.
//!
//! Everything lives on one thread. A borrow never crosses an `.await`.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use crate::disk::Disk;
use crate::engine::Engine;
use crate::engine::jobs::Job;
use crate::persist::append::Append;
use crate::persist::log_dir::LogDir;
use crate::persist::log_thread::Tray;

use super::connection::Connection;
use super::input::Spare;
use super::seat::Place;
use super::senders::Senders;
use super::writers::Writers;

pub(super) struct Shared {
    pub(super) engine: RefCell<Engine>,
    pub(super) append: RefCell<Append>,
    /// The log's folder; taken by the job that is changing it.
    pub(super) log_dir: RefCell<LogDir>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) connections: RefCell<HashMap<u64, Weak<Connection>>>,
    /// Connections with replies that the next flush may send.
    pub(super) pending: RefCell<Vec<Rc<Connection>>>,
    /// Connections that have sent something.
    pub(super) ready: RefCell<VecDeque<Rc<Connection>>>,
    /// Buffers for reading that no connection holds.
    pub(super) spare: RefCell<Spare>,
    pub(super) senders: RefCell<Senders>,
    pub(super) writers: Writers,
    /// The time, as of the last [`Shared::tick`].
    pub(super) now_ms: Cell<i64>,
    /// Wakes the executor.
    pub(super) turn_wanted: Arc<Notify>,
    /// Where the log's batches lie for the thread that executes.
    pub(super) tray: Arc<Tray>,
    pub(super) is_turn_wanted: Cell<bool>,
    /// The executor looks at `is_turn_wanted` by itself before it sleeps.
    pub(super) is_executor_awake: Cell<bool>,
    /// Wakes the task that evicts.
    pub(super) room_wanted: Notify,
    /// When it is looked next whose waiting for a key is over, and what has that looked at sooner.
    pub(super) next_look: Cell<Option<Instant>>,
    pub(super) deadline_came: Notify,
    /// Wakes whoever waits for the log to be synced.
    pub(super) synced: Notify,
    /// Held by who rewrites the configuration file.
    pub(super) config_file: tokio::sync::Mutex<()>,
    /// A thread looks for the log's files.
    pub(super) is_looking: Cell<bool>,
    /// Wakes whoever waits for the end.
    pub(super) stop: Notify,
    pub(super) exit: Cell<Option<u8>>,
    /// A shutdown is being carried out.
    pub(super) is_stopping: Cell<bool>,
    /// Wakes who archives the log, for the last piece; and who waits for that.
    pub(super) last_piece_wanted: Notify,
    pub(super) last_piece_done: Notify,
}

impl Shared {
    pub(super) fn new(engine: Engine, append: Append, log_dir: LogDir, disk: Arc<dyn Disk>, place: Place) -> Rc<Self> {
        let Place { tray, turn_wanted } = place;
        let now_ms = Cell::new(engine.clock.now_ms());
        Rc::new(Self {
            engine: RefCell::new(engine),
            append: RefCell::new(append),
            log_dir: RefCell::new(log_dir),
            disk,
            connections: RefCell::default(),
            pending: RefCell::default(),
            ready: RefCell::default(),
            spare: RefCell::default(),
            senders: RefCell::default(),
            writers: Writers::default(),
            now_ms,
            turn_wanted,
            tray,
            is_turn_wanted: Cell::new(false),
            is_executor_awake: Cell::new(false),
            room_wanted: Notify::new(),
            next_look: Cell::new(None),
            deadline_came: Notify::new(),
            synced: Notify::new(),
            config_file: tokio::sync::Mutex::new(()),
            is_looking: Cell::new(false),
            stop: Notify::new(),
            exit: Cell::new(None),
            is_stopping: Cell::new(false),
            last_piece_wanted: Notify::new(),
            last_piece_done: Notify::new(),
        })
    }

    /// Goes on with a log that was opened; who writes it wakes the executor.
    pub(super) fn set_append(&self, mut append: Append) {
        let wanted = Arc::clone(&self.turn_wanted);
        append.allow_thread(Arc::new(move || wanted.notify_one()), Some(Arc::clone(&self.tray)));
        *self.append.borrow_mut() = append;
    }

    /// Has the executor take a turn, which ends by writing the log and sending what may leave.
    pub(super) fn want_flush(&self) {
        if !self.is_turn_wanted.replace(true) && !self.is_executor_awake.get() {
            self.turn_wanted.notify_one();
        }
    }

    /// Reads the clock, for all that happens until the next time.
    pub(super) fn tick(&self) -> Instant {
        let engine = &mut *self.engine.borrow_mut();
        engine.tick();
        let now_ms = engine.clock.now_ms();
        self.now_ms.set(now_ms);
        engine.journal.set_time(now_ms, engine.config.tells_times());
        engine.clock.monotonic()
    }

    /// Hands out what is to go to clients beside the replies to their requests of this turn.
    pub(super) fn deliver(self: &Rc<Self>, engine: &mut Engine) {
        for letter in engine.mail.take() {
            let connection = self.connections.borrow().get(&letter.client).and_then(Weak::upgrade);
            let Some(connection) = connection else { continue };
            if letter.is_reply {
                connection.resume(self, &letter.bytes, letter.position);
            } else {
                connection.receive(self, &letter.bytes, letter.position);
                super::limits::check_output(self, engine, letter.client, &connection);
            }
        }
    }

    /// Serves those who wait for what has changed without a command.
    pub(super) fn serve_waiters(self: &Rc<Self>, engine: &mut Engine) {
        engine.tell_of_changes();
        engine.mail.rest_on(0, engine.journal.end());
        crate::command::serve_ready(engine);
        self.deliver(engine);
    }

    /// Carries out what commands asked for.
    pub(super) fn take_up_jobs(self: &Rc<Self>) {
        let (jobs, deadline) = {
            let engine = &mut *self.engine.borrow_mut();
            (std::mem::take(&mut engine.jobs), engine.waiters.next_deadline())
        };
        if deadline.is_some_and(|deadline| self.next_look.get().is_none_or(|look| deadline < look)) {
            self.deadline_came.notify_one();
        }
        let mut wanted = super::background::Wanted::default();
        for job in jobs {
            match job {
                Job::BackgroundSave => wanted.save = true,
                Job::RewriteLog => wanted.rewrite = true,
                Job::KillClient(id) => self.close_connection(id),
                Job::AwaitEndOfPause => super::waiting::await_end_of_pause(self),
                Job::SwitchLog(switch) => super::switch::begin(self, switch),
                Job::TellOfFlush(flush) => super::history::tell_of_flush(self, &flush),
                Job::Log(level, text) => super::log::of_script(level, &text),
                Job::Shutdown(wanted) => super::shutdown::begin(self, wanted),
                Job::AwaitSync(wait) => super::waiting::begin(self, wait),
                Job::Save { client } => super::waiting::save(self, client),
                Job::RewriteConfig { client } => super::waiting::rewrite_config(self, client),
                Job::StreamSnapshot { client } => super::snapshot_stream::begin(self, client),
                Job::Backup { client, work } => super::backups::work(self, client, work),
            }
        }
        super::background::start(self, wanted);
    }

    fn close_connection(&self, id: u64) {
        let connection = self.connections.borrow().get(&id).and_then(Weak::upgrade);
        if let Some(connection) = connection {
            connection.close();
        }
    }

    /// Ends the process with this code, once the tasks have let go.
    pub(super) fn stop_with(&self, code: u8) {
        self.exit.set(Some(code));
        self.stop.notify_one();
    }
}
