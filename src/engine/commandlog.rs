//! SLOWLOG and COMMANDLOG: the last commands that took long, or were large, or had large replies.

use std::collections::VecDeque;

use super::clock::Clock;
use super::params::Config;

/// Arguments of a command that an entry keeps, and bytes of each; what is more is told by its number.
const MOST_ARGUMENTS: usize = 32;
const MOST_BYTES: usize = 128;

/// What a command was kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Slow,
    LargeRequest,
    LargeReply,
}

/// A command that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: u64,
    pub unix_seconds: i64,
    /// Microseconds of a slow one, bytes of a large one.
    pub value: u64,
    pub arguments: Vec<Vec<u8>>,
    pub address: String,
    pub name: Vec<u8>,
}

/// What is shorter is not made up of several commands, in ns.
const FINE_NS: u64 = 1_000_000;

/// From where on a command is looked at more closely: below, nothing of it is kept.
#[derive(Debug, Clone, Copy)]
pub struct Notable {
    /// How long it took, in [ticks](super::clock::Clock::ticks).
    pub ticks: u64,
    /// That is so short that each command is to be looked at by itself.
    pub is_fine: bool,
    /// Bytes of its request and of its reply.
    pub request_len: usize,
    pub reply_len: usize,
}

impl Default for Notable {
    /// Every command.
    fn default() -> Self {
        Self { ticks: 0, is_fine: true, request_len: 0, reply_len: 0 }
    }
}

impl Notable {
    /// What the configuration says.
    pub fn of(config: &Config, clock: &Clock) -> Self {
        let slow_ns = u64::try_from(config.slowlog_log_slower_than).map_or(u64::MAX, |us| us.saturating_mul(1000));
        let late_ns = match config.latency_monitor_threshold {
            0 => u64::MAX,
            ms => ms.saturating_mul(1_000_000),
        };
        let limit = |bytes: i64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            ticks: clock.ticks(slow_ns.min(late_ns)),
            is_fine: slow_ns.min(late_ns) < FINE_NS,
            // The lengths of the parts of a request take some bytes too.
            request_len: match limit(config.commandlog_request_larger_than) {
                usize::MAX => usize::MAX,
                limit => limit / 8,
            },
            reply_len: limit(config.commandlog_reply_larger_than),
        }
    }
}

/// Who sent a command, and when.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    pub address: &'a str,
    pub name: &'a [u8],
    pub unix_seconds: i64,
}

#[derive(Debug, Default)]
struct Log {
    /// The newest in front.
    entries: VecDeque<Entry>,
    next_id: u64,
}

/// The three logs, by [`Reason`].
#[derive(Debug, Default)]
pub struct CommandLog {
    logs: [Log; 3],
}

impl CommandLog {
    /// Keeps a command; of more than `most` the oldest go. Where `most` is 0, none is added and none goes. `secrets` are
    /// the arguments that are not to be kept.
    pub fn push(
        &mut self,
        (reason, value): (Reason, u64),
        arguments: &[&[u8]],
        secrets: &std::ops::Range<usize>,
        sender: Sender<'_>,
        most: usize,
    ) {
        if most == 0 {
            return;
        }
        let log = &mut self.logs[reason as usize];
        log.entries.push_front(Entry {
            id: log.next_id,
            unix_seconds: sender.unix_seconds,
            value,
            arguments: shortened(arguments, secrets),
            address: sender.address.to_owned(),
            name: sender.name.to_vec(),
        });
        log.next_id += 1;
        log.entries.truncate(most);
    }

    /// The entries, the newest first.
    pub fn entries(&self, reason: Reason) -> impl ExactSizeIterator<Item = &Entry> {
        self.logs[reason as usize].entries.iter()
    }

    /// Forgets them; ids go on.
    pub fn reset(&mut self, reason: Reason) {
        self.logs[reason as usize].entries.clear();
    }
}

fn shortened(arguments: &[&[u8]], secrets: &std::ops::Range<usize>) -> Vec<Vec<u8>> {
    let is_cut = arguments.len() > MOST_ARGUMENTS;
    let kept = if is_cut { MOST_ARGUMENTS - 1 } else { arguments.len() };
    let shown = arguments[..kept].iter().enumerate().map(|(at, argument)| match argument.len() {
        _ if secrets.contains(&at) => b"(redacted)".to_vec(),
        len if len > MOST_BYTES => {
            let rest = format!("... ({} more bytes)", len - MOST_BYTES);
            [&argument[..MOST_BYTES], rest.as_bytes()].concat()
        }
        _ => argument.to_vec(),
    });
    let rest = is_cut.then(|| format!("... ({} more arguments)", arguments.len() - kept).into_bytes());
    shown.chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_cut_short_counted_on_and_let_go() {
        let mut log = CommandLog::default();
        let sender = Sender { address: "a:1", name: b"me", unix_seconds: 7 };
        let long = [b'x'; 200];
        let many: Vec<&[u8]> = vec![b"a"; 40];
        log.push((Reason::Slow, 5), &[b"SET", b"k", &long], &(1..2), sender, 2);
        log.push((Reason::Slow, 6), &many, &(0..0), sender, 2);
        log.push((Reason::LargeReply, 9), &[b"GET"], &(0..0), sender, 2);
        let [newest, oldest] = log.entries(Reason::Slow).collect::<Vec<_>>()[..] else { panic!("two are kept") };
        assert_eq!((newest.id, newest.value, newest.arguments.len()), (1, 6, 32));
        assert_eq!(newest.arguments[31], b"... (9 more arguments)");
        assert_eq!(oldest.arguments[1], b"(redacted)");
        assert!(oldest.arguments[2].ends_with(b"x... (72 more bytes)") && oldest.arguments[2].len() == 128 + 19);
        log.push((Reason::Slow, 7), &[b"A"], &(0..0), sender, 2);
        assert_eq!(log.entries(Reason::Slow).map(|entry| entry.id).collect::<Vec<_>>(), [2, 1]);
        log.reset(Reason::Slow);
        log.push((Reason::Slow, 8), &[b"A"], &(0..0), sender, 2);
        assert_eq!(log.entries(Reason::Slow).map(|entry| entry.id).collect::<Vec<_>>(), [3]);
        assert_eq!(log.entries(Reason::LargeReply).len(), 1);
        log.push((Reason::Slow, 9), &[b"A"], &(0..0), sender, 0);
        assert_eq!(log.entries(Reason::Slow).map(|entry| entry.id).collect::<Vec<_>>(), [3]);
    }
}
