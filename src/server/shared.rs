//! What the tasks share: the engine, the open end of the log, the connections.
//!
//! Everything lives on one thread. A borrow never crosses an `.await`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::disk::Disk;
use crate::engine::Engine;
use crate::engine::jobs::Job;
use crate::persist::append::Append;
use crate::persist::log_dir::LogDir;

use super::connection::Connection;

pub(super) struct Shared {
    pub(super) engine: RefCell<Engine>,
    pub(super) append: RefCell<Append>,
    /// The log's folder; taken by the job that is changing it.
    pub(super) log_dir: RefCell<LogDir>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) connections: RefCell<HashMap<u64, Weak<Connection>>>,
    /// Connections with replies that the next flush may send.
    pub(super) pending: RefCell<Vec<Rc<Connection>>>,
    /// Wakes the flush task.
    pub(super) flush_wanted: Notify,
    pub(super) is_flush_woken: Cell<bool>,
    /// Wakes the task that evicts.
    pub(super) room_wanted: Notify,
    /// Wakes whoever waits for the end.
    pub(super) stop: Notify,
    pub(super) exit: Cell<Option<u8>>,
    /// A shutdown is being carried out.
    pub(super) is_stopping: Cell<bool>,
}

impl Shared {
    pub(super) fn new(engine: Engine, append: Append, log_dir: LogDir, disk: Arc<dyn Disk>) -> Rc<Self> {
        Rc::new(Self {
            engine: RefCell::new(engine),
            append: RefCell::new(append),
            log_dir: RefCell::new(log_dir),
            disk,
            connections: RefCell::default(),
            pending: RefCell::default(),
            flush_wanted: Notify::new(),
            is_flush_woken: Cell::new(false),
            room_wanted: Notify::new(),
            stop: Notify::new(),
            exit: Cell::new(None),
            is_stopping: Cell::new(false),
        })
    }

    /// Wakes the flush task once per turn.
    pub(super) fn want_flush(&self) {
        if !self.is_flush_woken.replace(true) {
            self.flush_wanted.notify_one();
        }
    }

    /// Carries out what commands asked for.
    pub(super) fn take_up_jobs(self: &Rc<Self>) {
        let jobs = std::mem::take(&mut self.engine.borrow_mut().jobs);
        let mut wanted = super::background::Wanted::default();
        for job in jobs {
            match job {
                Job::BackgroundSave => wanted.save = true,
                Job::RewriteLog => wanted.rewrite = true,
                Job::KillClient(id) => self.close_connection(id),
                Job::Shutdown(wanted) => super::shutdown::begin(self, wanted),
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
