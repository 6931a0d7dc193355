//! The server's log: `pid:M 21 Nov 2026 08:15:30.123 * text`, as Redis writes it and as operators grep it.

use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::disk::{Disk, Mode};
use crate::engine::params::LogLevel;

type Sink = Box<dyn Write + Send>;

struct Log {
    sink: Mutex<Sink>,
    least: LogLevel,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log: the file, or standard output where the name is empty.
pub(super) fn open(disk: &dyn Disk, file: &str, least: LogLevel) -> std::io::Result<()> {
    let sink: Sink = if file.is_empty() {
        Box::new(std::io::stdout())
    } else {
        Box::new(Opened(disk.open(Path::new(file), Mode::Append)?))
    };
    // A second start in one process, as tests might do, keeps the first log.
    let _ = LOG.set(Log { sink: Mutex::new(sink), least });
    Ok(())
}

/// Whether there is a log to write to.
pub(super) fn is_open() -> bool {
    LOG.get().is_some()
}

struct Opened(Box<dyn crate::disk::File>);

impl Write for Opened {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
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

/// A line without time and level.
pub(super) fn raw(text: &str) {
    if let Some(log) = LOG.get() {
        emit(log, &format!("{text}\n"));
    }
}

fn write(level: LogLevel, mark: char, text: &str) {
    let Some(log) = LOG.get() else { return };
    if rank(level) < rank(log.least) {
        return;
    }
    emit(log, &format!("{}:M {} {mark} {text}\n", std::process::id(), timestamp()));
}

fn emit(log: &Log, line: &str) {
    // A log that can't be written must not stop the server; there is nobody to tell.
    if let Ok(mut sink) = log.sink.lock() {
        let _ = sink.write_all(line.as_bytes());
        let _ = sink.flush();
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
    use super::civil_date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(civil_date(0), (1970, 0, 1));
        assert_eq!(civil_date(11_016), (2000, 1, 29));
        assert_eq!(civil_date(20_778), (2026, 10, 21));
    }
}
