//! Counters that INFO shows, and what the machine says of the process.

use std::time::Duration;

use super::latency::Histogram;

/// The version of Redis whose behaviour clients may expect: what HELLO and INFO say.
pub const REDIS_VERSION: &str = "7.4.0";

/// Counters since the start or the last CONFIG RESETSTAT.
#[derive(Debug, Default)]
pub struct Stats {
    pub commands_processed: u64,
    pub connections_received: u64,
    pub rejected_connections: u64,
    pub error_replies: u64,
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub expired_keys: u64,
    /// Fields of hashes that expired.
    pub expired_fields: u64,
    /// Keys past their time that active expiry finds, as a share of those with an expiry, in percent: a mean that moves.
    pub stale_percent: f64,
    /// Turns of active expiry that ended for want of time.
    pub expire_time_caps: u64,
    /// Time that active expiry took, in microseconds.
    pub expire_us: u64,
    pub evicted_keys: u64,
    /// Time spent above `maxmemory` until the last time it was met again, in ms.
    pub eviction_exceeded_ms: i64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    /// Clients' replies that left by an I/O thread, and whether the last ones were shared out among them.
    pub writes_by_threads: u64,
    pub is_sending_by_threads: bool,
    pub calls: Calls,
    pub errors: Errors,
    /// Clients that were closed for what they sent, or did not read.
    pub query_limit_disconnections: u64,
    pub output_limit_disconnections: u64,
    pub turns: Turns,
    /// Snapshots that were taken, for saves and rewrites alike.
    pub snapshots: u64,
    /// Of those, sent to a client.
    pub full_syncs: u64,
    /// Of the machine, as of the last tick; CONFIG RESETSTAT leaves it.
    pub machine: Machine,
}

/// The executor's turns, which the field calls cycles of the event loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turns {
    pub count: u64,
    pub total: Duration,
    /// Of that, executing commands.
    pub in_commands: Duration,
    pub longest: Duration,
}

impl Turns {
    /// One more, which took this long.
    pub fn count(&mut self, took: Duration, in_commands: Duration) {
        self.count += 1;
        self.total += took;
        self.in_commands += in_commands;
        self.longest = self.longest.max(took);
    }
}

impl Stats {
    /// An error reply left.
    pub fn count_error(&mut self, text: &str) {
        self.error_replies += 1;
        self.errors.note(text);
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        *self = Self { machine: std::mem::take(&mut self.machine), ..Self::default() };
    }
}

/// How often a command was called, and how it went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCount {
    pub calls: u64,
    /// Calls that ran and replied an error.
    pub failed: u64,
    /// Calls that were refused before they ran.
    pub rejected: u64,
    /// How long the calls took, in [ticks](super::clock::Clock::ticks), but for what they waited.
    pub ticks: u64,
}

/// Counts per row of the command table.
///
/// Rows are known by their address, which costs a shift and a compare on the path of every command instead of the hash
/// of a name; who shows the counts has the table to find the names.
#[derive(Debug)]
pub struct Calls {
    slots: Vec<(usize, CallCount)>,
    /// By slot; nothing where durations are not counted.
    histograms: Vec<Option<Histogram>>,
    used: usize,
}

/// More than there are rows in the table, so that a free slot is always near.
const SLOTS: usize = 2048;

impl Default for Calls {
    fn default() -> Self {
        Self { slots: vec![(0, CallCount::default()); SLOTS], histograms: vec![None; SLOTS], used: 0 }
    }
}

impl Calls {
    /// The count of the row at this address, to change. Addresses are not 0.
    pub fn of_mut<T>(&mut self, row: &'static T) -> &mut CallCount {
        let slot = self.slot_at(std::ptr::from_ref(row).addr());
        &mut self.slots[slot].1
    }

    /// Counts a call, but for its time.
    #[inline]
    pub fn count<T>(&mut self, row: &'static T, is_repeated: bool, has_failed: bool) {
        let count = self.of_mut(row);
        count.calls += u64::from(!is_repeated);
        count.failed += u64::from(has_failed);
    }

    /// Adds the time of calls of the row at this address that were timed together; in a histogram each has the same.
    #[inline]
    pub fn add_time(&mut self, address: usize, ticks: u64, calls: u32, is_tracked: bool) {
        let slot = self.slot_at(address);
        self.slots[slot].1.ticks += ticks;
        if is_tracked {
            self.histograms[slot].get_or_insert_default().count(ticks / u64::from(calls.max(1)), calls);
        }
    }

    fn slot_at(&mut self, address: usize) -> usize {
        let mut slot = Self::first_slot(address);
        while self.slots[slot].0 != address {
            if self.slots[slot].0 == 0 {
                assert!(self.used < SLOTS - 1, "the table has fewer rows than there are slots");
                self.used += 1;
                self.slots[slot].0 = address;
                break;
            }
            slot = (slot + 1) % SLOTS;
        }
        slot
    }

    /// The count of the row at this address.
    pub fn of<T>(&self, row: &'static T) -> CallCount {
        self.slots[self.known_slot(row)].1
    }

    /// How long the calls of the row at this address took, where that was counted.
    pub fn histogram<T>(&self, row: &'static T) -> Option<&Histogram> {
        self.histograms[self.known_slot(row)].as_ref()
    }

    /// The slot of that row, or a free one.
    fn known_slot<T>(&self, row: &'static T) -> usize {
        let address = std::ptr::from_ref(row).addr();
        let mut slot = Self::first_slot(address);
        while self.slots[slot].0 != address && self.slots[slot].0 != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slot
    }

    fn first_slot(address: usize) -> usize {
        // Rows are tens of bytes apart.
        (address >> 4) % SLOTS
    }
}

/// Error replies by their code word.
#[derive(Debug, Default)]
pub struct Errors {
    counts: std::collections::BTreeMap<String, u64>,
}

/// Scripts can make up code words; beyond these many they are counted as one.
const MAX_CODES: usize = 128;

impl Errors {
    /// Counts an error reply by the first word of its text.
    pub fn note(&mut self, text: &str) {
        let code = text.split(' ').next().unwrap_or(text);
        if let Some(count) = self.counts.get_mut(code) {
            *count += 1;
        } else {
            let code = if self.counts.len() < MAX_CODES { code } else { "OTHER" };
            *self.counts.entry(code.to_owned()).or_default() += 1;
        }
    }

    /// Code words and counts, in the order of the words.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(code, count)| (code.as_str(), *count))
    }
}

/// What the system says of this process and of the machine. Zero where it wasn't asked yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Machine {
    /// Resident memory, in bytes.
    pub rss: u64,
    /// The most that `rss` has been.
    pub rss_peak: u64,
    /// `rss` when the server was ready, before it had data.
    pub rss_startup: u64,
    /// Memory of the machine, in bytes.
    pub total_memory: u64,
    /// Seconds of processor time.
    pub cpu_system: f64,
    pub cpu_user: f64,
    /// Commands per second, bytes per second, of late.
    pub ops_per_second: u64,
    pub input_per_second: u64,
    pub output_per_second: u64,
    pub turns_per_second: u64,
    /// Microseconds of a turn on average.
    pub turn_us: u64,
    last: Sample,
}

/// Counters as they were at the last [`Machine::rates`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sample {
    at_ms: i64,
    commands: u64,
    input: u64,
    output: u64,
    turns: u64,
    turns_us: u64,
}

impl Machine {
    /// Takes over what Linux says in `/proc/self/stat`, `/proc/self/status` and `/proc/meminfo`; what is missing or
    /// unreadable in a text is left as it was.
    pub fn read(&mut self, stat: &str, status: &str, meminfo: &str) {
        let kilobytes = |text: &str, name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
        };
        if let Some(rss) = kilobytes(status, "VmRSS") {
            self.rss = rss;
            self.rss_peak = self.rss_peak.max(rss);
            if self.rss_startup == 0 {
                self.rss_startup = rss;
            }
        }
        if let Some(total) = kilobytes(meminfo, "MemTotal") {
            self.total_memory = total;
        }
        // The name of the process, in parentheses, may hold anything; utime and stime are the 12th and 13th behind it,
        // in hundredths of a second.
        let times: Vec<f64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_ascii_whitespace().skip(11).take(2))
            .into_iter()
            .flatten()
            .filter_map(|word| word.parse().ok())
            .collect();
        if let [user, system] = times[..] {
            (self.cpu_user, self.cpu_system) = (user / 100.0, system / 100.0);
        }
    }
}

impl Stats {
    /// Works out the rates since the last call; to be called about once per second.
    pub fn measure_rates(&mut self, now_ms: i64) {
        let now = Sample {
            at_ms: now_ms,
            commands: self.commands_processed,
            input: self.net_input_bytes,
            output: self.net_output_bytes,
            turns: self.turns.count,
            turns_us: u64::try_from(self.turns.total.as_micros()).unwrap_or(u64::MAX),
        };
        let last = std::mem::replace(&mut self.machine.last, now);
        let elapsed_ms = u64::try_from(now_ms.saturating_sub(last.at_ms)).unwrap_or(0);
        if last.at_ms == 0 || elapsed_ms == 0 {
            return;
        }
        let rate = |now: u64, before: u64| now.saturating_sub(before).saturating_mul(1000) / elapsed_ms;
        self.machine.ops_per_second = rate(now.commands, last.commands);
        self.machine.input_per_second = rate(now.input, last.input);
        self.machine.output_per_second = rate(now.output, last.output);
        self.machine.turns_per_second = rate(now.turns, last.turns);
        let turns = now.turns.saturating_sub(last.turns).max(1);
        self.machine.turn_us = now.turns_us.saturating_sub(last.turns_us) / turns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_linux_are_read_and_broken_ones_change_nothing() {
        let mut machine = Machine::default();
        machine.read(
            "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 250 0 0",
            "Name:\tx\nVmRSS:\t    2048 kB\n",
            "MemTotal:       1000 kB\nMemFree: 1 kB\n",
        );
        assert_eq!((machine.rss, machine.rss_startup, machine.total_memory), (2 << 20, 2 << 20, 1_024_000));
        assert_eq!((machine.cpu_user, machine.cpu_system), (1.5, 2.5));
        let before = machine.clone();
        machine.read("", "VmRSS: x", "MemTotal");
        assert_eq!(machine, before);
    }

    #[test]
    fn rows_are_counted_apart() {
        static ROWS: [u64; 300] = [0; 300];
        let mut calls = Calls::default();
        for (index, row) in ROWS.iter().enumerate() {
            for _ in 0..=index {
                calls.of_mut(row).calls += 1;
            }
        }
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(calls.of(row).calls, index as u64 + 1);
        }
        static OTHER: u64 = 1;
        assert_eq!(calls.of(&OTHER), CallCount::default());
    }

    #[test]
    fn rates_come_from_two_moments() {
        let mut stats = Stats { commands_processed: 10, ..Stats::default() };
        stats.measure_rates(1000);
        stats.commands_processed = 1010;
        stats.measure_rates(1500);
        assert_eq!(stats.machine.ops_per_second, 2000);
        stats.errors.note("ERR no such key");
        stats.errors.note("ERR syntax error");
        stats.reset();
        assert_eq!(stats.commands_processed, 0);
        assert_eq!(stats.errors.iter().count(), 0);
        assert_eq!(stats.machine.ops_per_second, 2000);
    }
}
