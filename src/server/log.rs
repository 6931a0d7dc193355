//! The server's log: `pid:M 21 Nov 2026 08:15:30.123 * text`, as Redis writes it and as operators grep it.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::disk::{Disk, Mode};
use crate::engine::params::LogLevel;

type Sink = Box<dyn Write + Send>;

/// Lines that may wait for the disk; more are lost, and counted.
const MAX_WAITING: usize = 10_000;
/// How long the end of the process waits for them.
const GIVE_UP_AFTER: Duration = Duration::from_millis(500);

struct Log {
    lines: SyncSender<Line>,
    lost: Arc<AtomicU64>,
    least: LogLevel,
}

/// What the log's thread is told.
enum Line {
    Text(String),
    /// Somebody wants to know that all before it has been written.
    Mark(SyncSender<()>),
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log: the file, or standard output where the name is empty. A thread writes it, as its disk may stop answering like
/// any other.
pub(super) fn open(disk: &dyn Disk, file: &str, least: LogLevel) -> io::Result<()> {
    let sink: Sink = if file.is_empty() {
        Box::new(io::stdout())
    } else {
        Box::new(Opened(disk.open(Path::new(file), Mode::Append)?))
    };
    let (lines, waiting) = sync_channel(MAX_WAITING);
    let lost = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&lost);
    std::thread::Builder::new().name("logfile".to_owned()).spawn(move || write_lines(sink, &waiting, &counted))?;
    // A second start in one process, as tests might do, keeps the first log.
    let _ = LOG.set(Log { lines, lost, least });
    Ok(())
}

fn write_lines(mut sink: Sink, waiting: &Receiver<Line>, lost: &AtomicU64) {
    while let Ok(line) = waiting.recv() {
        // A log that can't be written must not stop the server; there is nobody to tell.
        let _ = match line {
            Line::Text(text) => sink.write_all(text.as_bytes()).and_then(|()| sink.flush()),
            Line::Mark(told) => told.send(()).map_err(io::Error::other),
        };
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let text = format!("{count} lines of this log are lost: its disk took none for a while");
            let _ = sink.write_all(line_of('#', &text).as_bytes());
        }
    }
}

/// Whether there is a log to write to.
pub(super) fn is_open() -> bool {
    LOG.get().is_some()
}

/// Waits until all lines are written, unless the disk does not answer: for the end of the process.
pub(super) fn drain() {
    let Some(log) = LOG.get() else { return };
    let (told, done) = sync_channel(1);
    if log.lines.try_send(Line::Mark(told)).is_ok() {
        let _ = done.recv_timeout(GIVE_UP_AFTER); // what is not written by then is lost
    }
}

struct Opened(Box<dyn crate::disk::File>);

impl Write for Opened {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn verbose(text: impl AsRef<str>) {
    write(LogLevel::Verbose, '-', text.as_ref());
}

pub(super) fn notice(text: impl AsRef<str>) {
    write(LogLevel::Notice, '*', text.as_ref());
}

pub(super) fn warning(text: impl AsRef<str>) {
    write(LogLevel::Warning, '#', text.as_ref());
}

/// A line of `redis.log`.
pub(super) fn of_script(level: crate::lua::LogLevel, text: &str) {
    use crate::lua::LogLevel as Said;
    match level {
        Said::Debug => write(LogLevel::Debug, '.', text),
        Said::Verbose => verbose(text),
        Said::Notice => notice(text),
        Said::Warning => warning(text),
    }
}

/// A line without time and level.
pub(super) fn raw(text: &str) {
    if let Some(log) = LOG.get() {
        emit(log, format!("{text}\n"));
    }
}

fn write(level: LogLevel, mark: char, text: &str) {
    let Some(log) = LOG.get() else { return };
    if rank(level) < rank(log.least) {
        return;
    }
    emit(log, line_of(mark, text));
}

fn line_of(mark: char, text: &str) -> String {
    format!("{}:M {} {mark} {text}\n", std::process::id(), timestamp())
}

fn emit(log: &Log, line: String) {
    if log.lines.try_send(Line::Text(line)).is_err() {
        log.lost.fetch_add(1, Ordering::Relaxed);
    }
}

fn rank(level: LogLevel) -> u8 {
    match level {
        LogLevel::Debug => 0,
        LogLevel::Verbose => 1,
        LogLevel::Notice => 2,
        LogLevel::Warning => 3,
        LogLevel::Nothing => 4,
    }
}

/// `21 Nov 2026 08:15:30.123`, in UTC.
fn timestamp() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][month];
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{day:02} {month} {year} {hour:02}:{minute:02}:{second:02}.{:03}", since_epoch.subsec_millis())
}

/// Year, month from 0, and day of a number of days since 1970-01-01.
fn civil_date(mut days: u64) -> (u64, usize, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= if is_leap(year) { 366 } else { 365 } {
        days -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 0;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a line when it is told to.
    struct Slow(Receiver<()>, Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv(); // for good, when nobody tells any more
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_whose_disk_hangs_keeps_nobody_waiting_and_says_what_it_has_lost() {
        let (go, told) = sync_channel(1);
        let written = Arc::default();
        let sink = Box::new(Slow(told, Arc::clone(&written)));
        let (lines, waiting) = sync_channel(2);
        let log = Log { lines, lost: Arc::default(), least: LogLevel::Notice };
        (0..7).for_each(|index| emit(&log, format!("{index}\n")));
        let lost = Arc::clone(&log.lost);
        drop(log);
        let writing = std::thread::spawn(move || write_lines(sink, &waiting, &lost));
        drop(go);
        writing.join().unwrap();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("0\n") && text.ends_with("1\n"), "{text}");
        assert!(text.contains("# 5 lines of this log are lost"), "{text}");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(civil_date(0), (1970, 0, 1));
        assert_eq!(civil_date(11_016), (2000, 1, 29));
        assert_eq!(civil_date(20_778), (2026, 10, 21));
    }
}
