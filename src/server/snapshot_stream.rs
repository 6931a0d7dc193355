//! A snapshot sent to a client that has asked for it by SYNC, behind `$EOF:<mark>`, and the mark behind it.
//!
//! A thread writes the RDB, the client's connection takes it in parts: never more than [`MOST_UNSENT`] waits for a client
//! that reads slowly, and one that reads nothing for [`GIVE_UP_AFTER`] is let go, as it keeps the snapshot alive.

use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::engine::persistence::Progress;
use crate::persist::save::Image;

use super::connection::Connection;
use super::shared::Shared;
use super::{background, log, seat};

/// Bytes of a part, and how many may wait for the connection.
const PART: usize = 64 << 10;
const PARTS: usize = 4;
/// Bytes that may wait for the socket.
const MOST_UNSENT: usize = 1 << 20;
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// How often a full socket is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Takes the snapshot and begins to send it.
pub(super) fn begin(shared: &Rc<Shared>, client: u64) {
    let connection = shared.connections.borrow().get(&client).and_then(std::rc::Weak::upgrade);
    let Some(connection) = connection else { return };
    let (image, progress, mark) = {
        let engine = &mut *shared.engine.borrow_mut();
        let mark: String = (0..40).map(|_| char::from(b"0123456789abcdef"[engine.random.usize(..16)])).collect();
        let image = Image::take(engine, false);
        engine.stats.snapshots += 1;
        engine.stats.full_syncs += 1;
        let progress = Progress::new(engine.clock.now_ms(), image.keys());
        // The data may hold what the log does not yet.
        let position = engine.journal.is_on().then(|| engine.journal.end());
        connection.append_reply(|out| {
            out.extend_from_slice(format!("$EOF:{mark}\r\n").as_bytes());
            position
        });
        (image, progress, mark)
    };
    let (sender, parts) = mpsc::channel(PARTS);
    let shared = Rc::clone(shared);
    seat::spawn(async move {
        let writing = background::on_thread("snapshot-stream", move || {
            let mut out = Parts { sender, part: Vec::with_capacity(PART) };
            image.write_seen(&mut out, (Path::new("the client"), &progress), &mut |_, _| {})?;
            out.flush().map_err(crate::persist::PersistError::io(Path::new("the client")))
        });
        let (outcome, ()) = tokio::join!(writing, send(&shared, &connection, parts));
        let address = connection.session.borrow().address.clone();
        match outcome {
            Ok(()) => {
                log::notice(format!("A snapshot has been sent to {address}"));
                connection.resume(&shared, mark.as_bytes(), None);
            }
            // Without the mark the client knows that it is not whole.
            Err(error) => {
                log::warning(format!("The snapshot for {address} was broken off: {error}"));
                connection.close();
            }
        }
    });
}

/// Hands the parts to the connection, as fast as the client takes them.
async fn send(shared: &Rc<Shared>, connection: &Rc<Connection>, mut parts: mpsc::Receiver<Vec<u8>>) {
    while let Some(part) = parts.recv().await {
        connection.push_reply(&part);
        connection.offer_replies(shared);
        let (mut unsent, mut since) = (connection.unsent(), Instant::now());
        while connection.unsent() > MOST_UNSENT {
            tokio::time::sleep(LOOK_EVERY).await;
            if connection.unsent() != unsent {
                (unsent, since) = (connection.unsent(), Instant::now());
            }
            if connection.is_closed() || since.elapsed() > GIVE_UP_AFTER {
                return connection.close();
            }
        }
        if connection.is_closed() {
            return;
        }
    }
}

/// What the thread writes, in parts.
struct Parts {
    sender: mpsc::Sender<Vec<u8>>,
    part: Vec<u8>,
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let part = std::mem::replace(&mut self.part, Vec::with_capacity(PART));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone");
        if part.is_empty() { Ok(()) } else { self.sender.blocking_send(part).map_err(gone) }
    }
}
