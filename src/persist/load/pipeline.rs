//! Two threads for one load: one reads and decodes, the other takes what comes, in batches and in order.
//!
//! The reading thread is ahead by a few batches at most. Its memory comes from the arena of the thread that started it,
//! so that what it makes and what commands make later lie together.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use crate::allocator;

/// Batches that wait to be taken, at most.
const AHEAD: usize = 4;

/// Where the reading thread puts its batches.
pub(super) struct Outlet<B> {
    full: SyncSender<B>,
    spent: Receiver<B>,
}

impl<B: Default> Outlet<B> {
    /// Hands a batch over, and gives one to fill. `None` where the other side has given up.
    pub(super) fn exchange(&self, batch: B) -> Option<B> {
        self.full.send(batch).ok()?;
        Some(self.spent.try_recv().unwrap_or_default())
    }
}

/// Runs `read` on a thread, and `take` here with every batch, which it leaves empty. Returns what `read` came to, and the
/// error at which `take` gave up, if it did.
pub(super) fn run<B, T, E>(
    read: impl FnOnce(Outlet<B>) -> T + Send,
    mut take: impl FnMut(&mut B) -> Result<(), E>,
) -> (T, Result<(), E>)
where
    B: Default + Send,
    T: Send,
{
    let (full, batches) = sync_channel::<B>(AHEAD);
    let (returned, spent) = channel();
    let arena = allocator::arena();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            allocator::use_arena(arena);
            read(Outlet { full, spent })
        });
        let taken = batches.iter().try_for_each(|mut batch| {
            take(&mut batch)?;
            let _ = returned.send(batch); // the reading thread may have ended already
            Ok(())
        });
        drop(batches);
        match reading.join() {
            Ok(read) => (read, taken),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_to(last: u64) -> impl FnOnce(Outlet<Vec<u64>>) -> u64 + Send {
        move |outlet| {
            let mut batch = Vec::new();
            for number in 1..=last {
                batch.push(number);
                match outlet.exchange(batch) {
                    Some(next) => batch = next,
                    None => return number,
                }
                assert!(batch.is_empty());
            }
            last
        }
    }

    #[test]
    fn batches_come_in_order_and_the_last_one_too() {
        let mut seen = Vec::new();
        let (read, taken) = run(count_to(1_000), |batch| {
            seen.append(batch);
            Ok::<(), ()>(())
        });
        assert_eq!((read, taken), (1_000, Ok(())));
        assert_eq!(seen, (1..=1_000).collect::<Vec<_>>());
    }

    #[test]
    fn giving_up_ends_the_reading_soon() {
        let (read, taken) = run(count_to(u64::MAX), |batch| {
            if batch[0] < 5 {
                batch.clear();
                Ok(())
            } else {
                Err("enough")
            }
        });
        assert!(read < 5 + 2 * AHEAD as u64, "{read}");
        assert_eq!(taken, Err("enough"));
    }
}
