//! Long work that can wait, beside clients that can't: it takes a share of a core at most, and no core that somebody else
//! wants.
//!
//! Both are needed. One busy thread of the lowest priority, of any program, still cost 50 clients on two cores a tenth to a
//! fifth of their requests: whoever wakes finds no core at rest. One that rests but has a usual priority is put before those
//! that run, each time that it wakes.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

/// How long a thread works before it rests: a client waits no longer for it.
const WORK: Duration = Duration::from_millis(1);
/// However much work was done in one go.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Per cent of a core, which may change at any time; 0 is no limit.
pub type Share = Arc<AtomicU64>;

/// Has this thread, and those that it starts, run only where nobody else wants to (SCHED_IDLE). There is no way back. What
/// does not work on this system changes nothing.
pub fn give_way() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
}

/// Reads or writes for another one, and rests in between, so that this work has its share of a core.
pub struct Resting<T> {
    inner: T,
    share: Share,
    /// How many threads work on this, about equally.
    threads: u32,
    /// The time that this thread had worked at the last rest.
    rested_at: Duration,
}

impl<T> Resting<T> {
    pub fn new(inner: T, share: Share) -> Self {
        Self { inner, share, threads: 1, rested_at: worked() }
    }

    /// As many threads share it: others work on what is read here.
    pub fn among(self, threads: u32) -> Self {
        Self { threads, ..self }
    }

    fn rest(&mut self) {
        let now = worked();
        // Less is another thread's.
        let Some(done) = now.checked_sub(self.rested_at) else {
            self.rested_at = now;
            return;
        };
        if done >= WORK {
            if let Some(rest) = rest_behind(done * self.threads, self.share.load(Ordering::Relaxed)) {
                std::thread::sleep(rest);
            }
            self.rested_at = now;
        }
    }
}

/// How long to rest behind so much work, to have no more than a share.
fn rest_behind(done: Duration, share: u64) -> Option<Duration> {
    let others = 100u64.checked_sub(share).filter(|others| (1..100).contains(others))?;
    let rest = done.saturating_mul(u32::try_from(others).ok()?) / u32::try_from(share).ok()?;
    Some(rest.min(LONGEST_REST))
}

/// What this thread has had of the processor.
fn worked() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

impl<T: Read> Read for Resting<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.rest();
        self.inner.read(buffer)
    }
}

impl<T: Write> Write for Resting<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest();
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_what_work_is_of_work_and_rest() {
        let ms = Duration::from_millis;
        for (done, share, rest) in [
            (ms(2), 20, Some(ms(8))),
            (ms(1), 99, Some(Duration::from_nanos(10_101))),
            (ms(1), 1, Some(ms(99))),
            (ms(900), 20, Some(ms(1_000))),
            (ms(5), 0, None),
            (ms(5), 100, None),
            (ms(5), 101, None),
        ] {
            assert_eq!(rest_behind(done, share), rest, "{done:?} at {share} per cent");
        }
    }

    #[test]
    fn all_that_is_written_and_read_comes_through() {
        let (share, mut written) = (Share::new(AtomicU64::new(50)), Vec::new());
        let mut out = Resting::new(&mut written, Arc::clone(&share));
        let text: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        text.chunks(1_000).for_each(|part| out.write_all(part).unwrap());
        let mut read = Vec::new();
        Resting::new(&text[..], share).read_to_end(&mut read).unwrap();
        assert!(written == text && read == text);
    }

    #[test]
    fn who_gives_way_has_the_policy_and_hands_it_on() {
        let policy = || std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // The policy is the 41st field, the 39th behind the name in parentheses: sched(7) numbers it 5.
        let policy = move || policy().rsplit(')').next().unwrap().split_whitespace().nth(38).map(str::to_owned);
        let seen = std::thread::spawn(move || {
            give_way();
            (policy(), std::thread::spawn(policy).join().unwrap())
        });
        assert_eq!(seen.join().unwrap(), (Some("5".to_owned()), Some("5".to_owned())));
    }
}
