//! Who writes and syncs the log: the executor's own thread between two turns, or a thread for the log alone.
//!
//! One errand at a time: bytes, and whether they are to be synced. Whoever carries it out hands back all that he was given,
//! with what came of it; until then nobody else writes the file.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::disk::File;

/// Tells the executor that a report is there.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Something to write, and perhaps to sync.
pub(super) struct Errand {
    pub(super) file: Box<dyn File>,
    pub(super) bytes: Bytes,
    pub(super) wants_sync: bool,
    pub(super) room: Room,
}

/// What becomes of the blocks that are kept for a file behind its end.
pub(super) enum Room {
    AsItIs,
    /// More are kept, up to this offset, before anything is written.
    Until(u64),
    /// They are given back when all is synced.
    GiveBack,
}

/// Bytes for the end of the log.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    pub(super) queue: Vec<u8>,
    /// Bytes of the queue that are in the file already, after a failed write that could not be cut back.
    pub(super) done: usize,
}

/// What came of an errand.
pub(super) struct Report {
    pub(super) file: Box<dyn File>,
    /// What was to be written: nothing is left in it after a success.
    pub(super) bytes: Bytes,
    pub(super) written: io::Result<()>,
    pub(super) write_took: Duration,
    /// The sync's outcome and duration, if it was asked for and everything had been written.
    pub(super) synced: Option<(io::Result<()>, Duration)>,
    /// Up to where blocks are kept, if more were asked for.
    pub(super) reserved: Option<io::Result<u64>>,
}

impl Bytes {
    /// Writes all to `file`, whose last whole unit ends at `len`. After an error the file is cut back to that; where not
    /// even this succeeds, the next attempt goes on behind the last byte written.
    pub(super) fn write_to(&mut self, file: &mut dyn File, len: u64) -> io::Result<()> {
        while self.done < self.queue.len() {
            let error = match file.write(&self.queue[self.done..]) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    self.done += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            if self.done > 0 && file.set_len(len).is_ok() {
                self.done = 0;
            }
            return Err(error);
        }
        self.queue.clear();
        self.done = 0;
        if self.queue.capacity() > 4 << 20 {
            self.queue = Vec::new();
        }
        Ok(())
    }
}

/// Where an errand lies for the thread that executes: it stops executing, carries the errand out, and goes on.
///
/// Nobody hangs if the disk does: another thread goes on executing then, and finds the report here later.
pub struct Tray {
    state: Mutex<TrayState>,
    is_reported: Condvar,
    /// Tells the thread that executes to look here.
    placed: Wake,
}

enum TrayState {
    Empty,
    Placed(Work),
    /// Somebody is carrying it out; somebody may wait for him.
    Taken {
        is_awaited: bool,
    },
    Reported(Report),
}

/// An errand to be carried out, and where the file's last whole unit ends.
pub struct Work {
    errand: Errand,
    len: u64,
}

impl Tray {
    /// `placed` is called when something has been put here.
    pub fn new(placed: Wake) -> Self {
        Self { state: Mutex::new(TrayState::Empty), is_reported: Condvar::new(), placed }
    }

    fn state(&self) -> MutexGuard<'_, TrayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn place(&self, errand: Errand, len: u64) {
        *self.state() = TrayState::Placed(Work { errand, len });
        (self.placed)();
    }

    /// Whether something is to be done that nobody has taken up.
    pub fn is_waiting(&self) -> bool {
        matches!(*self.state(), TrayState::Placed(_))
    }

    /// What is to be done, for who then calls [`Tray::carry_out`].
    pub fn take(&self) -> Option<Work> {
        let mut state = self.state();
        if !matches!(*state, TrayState::Placed(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, TrayState::Taken { is_awaited: false }) {
            TrayState::Placed(work) => Some(work),
            _ => None,
        }
    }

    /// Does the work, however long the disk takes, and leaves the report here.
    pub fn carry_out(&self, work: Work) {
        let report = carry_out(work.errand, work.len);
        let before = std::mem::replace(&mut *self.state(), TrayState::Reported(report));
        if matches!(before, TrayState::Taken { is_awaited: true }) {
            self.is_reported.notify_all();
        }
    }

    /// The report, if it is there.
    pub(super) fn report(&self) -> Option<Report> {
        let mut state = self.state();
        if !matches!(*state, TrayState::Reported(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, TrayState::Empty) {
            TrayState::Reported(report) => Some(report),
            _ => None,
        }
    }

    /// Waits for the report; does the work itself if nobody has taken it up.
    pub(super) fn wait_for_report(&self) -> Option<Report> {
        if let Some(work) = self.take() {
            self.carry_out(work);
        }
        let waiting = self.is_reported.wait_while(self.state(), |state| match state {
            TrayState::Taken { is_awaited } => {
                *is_awaited = true;
                true
            }
            _ => false,
        });
        drop(waiting);
        self.report()
    }
}

/// The way to the log's own thread, and back.
pub(super) struct LogThread {
    errands: mpsc::Sender<(Errand, u64)>,
    reports: mpsc::Receiver<Report>,
}

impl LogThread {
    /// Starts the thread, which ends when this is dropped.
    pub(super) fn start(wake: Wake) -> io::Result<Self> {
        let (errands, to_do) = mpsc::channel::<(Errand, u64)>();
        let (done, reports) = mpsc::channel();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            while let Ok((errand, len)) = to_do.recv() {
                if done.send(carry_out(errand, len)).is_err() {
                    break;
                }
                wake();
            }
        })?;
        Ok(Self { errands, reports })
    }

    /// Hands over an errand; `len` is where the file's last whole unit ends.
    pub(super) fn send(&self, errand: Errand, len: u64) -> Result<(), Errand> {
        self.errands.send((errand, len)).map_err(|mpsc::SendError((errand, _))| errand)
    }

    /// The report, if it is there.
    pub(super) fn report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Waits for the report; none only if the thread has died.
    pub(super) fn wait_for_report(&self) -> Option<Report> {
        self.reports.recv().ok()
    }
}

fn carry_out(mut errand: Errand, len: u64) -> Report {
    let reserved = match errand.room {
        Room::Until(end) => Some(errand.file.reserve(end).map(|()| end)),
        Room::AsItIs | Room::GiveBack => None,
    };
    let started = Instant::now();
    let written = errand.bytes.write_to(errand.file.as_mut(), len);
    let write_took = started.elapsed();
    let synced = (written.is_ok() && errand.wants_sync).then(|| {
        let started = Instant::now();
        (errand.file.sync_data(), started.elapsed())
    });
    if let (Room::GiveBack, Some((Ok(()), _))) = (&errand.room, &synced) {
        let _ = errand.file.give_back(); // they stay with the file then, which only takes room
    }
    Report { file: errand.file, bytes: errand.bytes, written, write_took, synced, reserved }
}
