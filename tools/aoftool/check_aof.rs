//! `redis-check-aof` by name: a link of that name to this tool takes its arguments, and prints its lines and exit codes.
//!
//! Facts come from Redis 7.0 and 8.0 and Valkey 9.1, run on such files. It judges as they do, by syntax and MULTI and EXEC
//! alone: names of commands, and seals, are for `aoftool check`. Unlike them it keeps the original of what it cuts, leaves
//! a running server's files alone, and never cuts inside of a transaction at a time; both is said on stderr.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use ironkeep::aof::check::{RdbDepth, pass_rdb};
use ironkeep::aof::{Log, LogFile, Role};
use ironkeep::cli::escape::Escaped;
use ironkeep::cli::locate::show;
use ironkeep::cli::{in_place, lock};
use ironkeep::codec::number;
use ironkeep::disk::{Disk, Mode, RealDisk};

use crate::remade::{self, Marks, Piece};
use crate::report;

/// The names that this answers to.
pub const NAMES: [&str; 2] = ["redis-check-aof", "valkey-check-aof"];
/// A line of a header, or an annotation, is not longer.
const MAX_LINE: u64 = 1024;

const UNFINISHED: &str = "Reached EOF before reading EXEC for MULTI";

/// What is asked for.
struct Job {
    disk: Arc<dyn Disk>,
    log: Log,
    fix: bool,
    /// Unix seconds.
    until: Option<i64>,
    /// Lines read so far, of all files.
    line: u64,
}

/// What a pass over the records of a file has found.
struct Scan {
    /// Where they begin, and up to where they are good.
    start: u64,
    good: u64,
    has_marks: bool,
    error: Option<String>,
    /// The first time behind the wanted one stands at `good`.
    is_late: bool,
}

/// Stops a check with exit code 1; what is to be said has been.
struct Stop;

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        // Where nobody reads the lines any more, nobody reads this.
        let _ = writeln!(io::stderr(), "{error}");
        Stop
    }
}

/// The whole program.
pub fn main(name: &str, arguments: &[OsString]) -> ExitCode {
    match run(name, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop) => ExitCode::FAILURE,
    }
}

fn run(name: &str, arguments: &[OsString]) -> Result<(), Stop> {
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let (path, fix, until) = match &words[..] {
        ["-v" | "--version"] => {
            say(&format!("{name} v={} (ironkeep)", env!("CARGO_PKG_VERSION")))?;
            return Ok(());
        }
        [_] => (&arguments[0], false, None),
        ["--fix", _] => (&arguments[1], true, None),
        ["--truncate-to-timestamp", time, _] => match number::parse_i64(time.as_bytes()) {
            Some(time) => (&arguments[2], false, Some(time)),
            None => return fail("Invalid timestamp, aborting..."),
        },
        _ => {
            return fail(&format!("Usage: {name} [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>"));
        }
    };
    let (disk, path): (Arc<dyn Disk>, _) = (Arc::new(RealDisk), PathBuf::from(path));
    if let Err(error) = disk.open(&path, Mode::Read) {
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        return fail(&format!("Cannot open file {}: {text}", show(&path)));
    }
    let log = match Log::open(&*disk, &path) {
        Ok(log) => log,
        Err(error) => return fail(&format!("*** FATAL AOF MANIFEST FILE ERROR ***\n{error}")),
    };
    Job { disk, log, fix, until, line: 1 }.check()
}

impl Job {
    fn check(&mut self) -> Result<(), Stop> {
        let is_multi_part = self.log.manifest.is_some();
        say(&format!("Start checking {} AOF", if is_multi_part { "Multi Part" } else { "Old-Style" }))?;
        let mut was_base = true;
        for index in 0..self.log.files.len() {
            let file = self.log.files[index].clone();
            match file.role {
                Role::Base => {
                    say(&format!("Start to check BASE AOF ({} format).", if file.has_rdb { "RDB" } else { "RESP" }))?
                }
                Role::Increment if was_base => say("Start to check INCR files.")?,
                Role::Increment | Role::Single => {}
            }
            was_base = file.role == Role::Base;
            self.check_file(index, &file)?;
        }
        if is_multi_part { say("All AOF files and manifest are valid") } else { Ok(()) }
    }

    fn check_file(&mut self, index: usize, file: &LogFile) -> Result<(), Stop> {
        let (role, name) = (report::role(file), self.name_of(file));
        if file.len == 0 {
            return say(&format!("{role} {name} is empty"));
        }
        let start = self.pass_preamble(file)?;
        let scan = self.scan(file, start)?;
        let diff = file.len - scan.good;
        match self.until {
            Some(time) if scan.is_late => return self.cut_at_time(index, file, &scan, time),
            Some(time) if diff == 0 => {
                say(&format!("Truncate nothing in AOF {} to timestamp {time}", show(&file.path)))?;
                return say(&format!("{role} {name} is valid"));
            }
            _ => {}
        }
        if let Some(error) = &scan.error {
            say(error)?;
        }
        let (size, good) = (file.len, scan.good);
        let line = self.line;
        say(&format!(
            "AOF analyzed: filename={name}, size={size}, ok_up_to={good}, ok_up_to_line={line}, diff={diff}"
        ))?;
        if diff == 0 {
            return say(&format!("{role} {name} is valid"));
        }
        if !self.fix {
            return fail(&format!("AOF {name} is not valid. Use the --fix option to try fixing it."));
        }
        if index + 1 < self.log.files.len() {
            return fail(&format!("Failed to truncate AOF {name} because it is not the last file"));
        }
        say(&format!("This will shrink the AOF {name} from {size} bytes, with {diff} bytes, to {good} bytes"))?;
        write!(io::stdout(), "Continue? [y/N]: ").and_then(|()| io::stdout().flush())?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if !answer.to_ascii_lowercase().starts_with('y') {
            return fail("Aborting...");
        }
        self.cut(file, &scan)?;
        say(&format!("Successfully truncated AOF {name}"))
    }

    /// A single file is called as it was on the command line.
    fn name_of(&self, file: &LogFile) -> String {
        if file.role == Role::Single { show(&file.path) } else { report::name(file) }
    }

    /// Checks the RDB in front; where the records begin.
    fn pass_preamble(&self, file: &LogFile) -> Result<u64, Stop> {
        if !file.has_rdb {
            return Ok(0);
        }
        say(&format!("[offset 0] Checking RDB file {}", show(&file.path)))?;
        let open = self.disk.open(&file.path, Mode::Read)?;
        let passed = ironkeep::rdb::envelope::unwrap(BufReader::new(open))
            .map_err(|error| error.to_string())
            .and_then(|source| pass_rdb(source, RdbDepth::Values, &mut |_| {}).map_err(|error| error.to_string()));
        match passed {
            Ok((rdb, ..)) => {
                say(&format!("[offset {}] \\o/ RDB looks OK! \\o/\n[info] {} keys read", rdb.len, rdb.keys))?;
                say("RDB preamble is OK, proceeding with AOF tail...")?;
                Ok(if file.is_wrapped { file.len } else { rdb.len })
            }
            Err(error) => {
                say(&format!("--- RDB ERROR DETECTED ---\n{}", Escaped(error.as_bytes())))?;
                fail("RDB preamble of AOF file is not sane, aborting.")
            }
        }
    }

    fn cut_at_time(&self, index: usize, file: &LogFile, scan: &Scan, time: i64) -> Result<(), Stop> {
        let path = show(&file.path);
        if scan.good == 0 {
            return fail(&format!("AOF {path} has nothing before timestamp {time}, aborting..."));
        }
        if index + 1 < self.log.files.len() {
            say(&format!(
                "Failed to truncate AOF {path} to timestamp {time} to offset {} because it is not the last file.",
                scan.good
            ))?;
            return fail(
                "`aoftool truncate --to-time` takes the files behind it out of the manifest, and keeps the original.",
            );
        }
        self.cut(file, scan)?;
        say(&format!("Successfully truncated AOF {path} to timestamp {time}"))
    }

    /// Cuts the file behind what is good, and keeps the original.
    fn cut(&self, file: &LogFile, scan: &Scan) -> Result<(), Stop> {
        let cut = || -> anyhow::Result<in_place::Aside> {
            let _hold = lock::hold(&*self.disk, &self.log)?;
            let aside = in_place::put_aside(&self.disk, &self.log, |other| other.path == file.path)?;
            let pieces = [Piece::Span(scan.start..scan.good)];
            in_place::replace(&self.disk, &file.path, |out| {
                remade::write(&*self.disk, file, scan.start, (&pieces, Marks::of(scan.has_marks)), out)
            })?;
            Ok(aside)
        };
        match cut() {
            Ok(aside) => {
                writeln!(io::stderr(), "The original is {}", show(&aside.backup))?;
                writeln!(io::stderr(), "To undo: {}", aside.undo())?;
                Ok(())
            }
            Err(error) => fail(&format!("Failed to truncate AOF {}: {error:#}", self.name_of(file))),
        }
    }

    fn scan(&mut self, file: &LogFile, start: u64) -> Result<Scan, Stop> {
        let mut open = self.disk.open(&file.path, Mode::Read)?;
        io::Seek::seek(&mut open, io::SeekFrom::Start(start))?;
        let mut lines = Lines { source: BufReader::with_capacity(1 << 16, open), at: start, last: start };
        let mut scan = Scan { start, good: start, has_marks: false, error: None, is_late: false };
        let mut is_open = false;
        loop {
            if !is_open {
                scan.good = lines.at;
            }
            match lines.peek()? {
                None if is_open => {
                    scan.error = Some(lines.told(UNFINISHED));
                    break;
                }
                None => break,
                Some(b'#') => {
                    let line = lines.line()?;
                    scan.has_marks |= ironkeep::aof::seal::begins_mark(&line);
                    let time = line.strip_prefix(b"#TS:").and_then(|time| number::parse_i64(time.trim_ascii_end()));
                    if time.is_some_and(|time| self.until.is_some_and(|until| time > until)) {
                        scan.is_late = true;
                        break;
                    }
                }
                Some(b'*') => match self.record(&mut lines, &mut is_open, &self.name_of(file))? {
                    Ok(()) => {}
                    Err(error) => {
                        let unfinished = || is_open.then(|| lines.told(UNFINISHED));
                        scan.error = error.or_else(unfinished);
                        break;
                    }
                },
                Some(_) => {
                    scan.error = Some(format!("AOF {} format error", self.name_of(file)));
                    break;
                }
            }
        }
        Ok(scan)
    }

    /// Reads a record; the inner error is what is said of it, if anything is.
    fn record(
        &mut self,
        lines: &mut Lines,
        is_open: &mut bool,
        name: &str,
    ) -> Result<Result<(), Option<String>>, Stop> {
        let count = match lines.number(b'*')? {
            Ok(count) => count,
            Err(error) => return Ok(Err(error)),
        };
        self.line += 1;
        for index in 0..count {
            let len = match lines.number(b'$')? {
                Ok(len) => len,
                Err(error) => return Ok(Err(error)),
            };
            self.line += 1;
            let word = match lines.word(len)? {
                Ok(word) => word,
                Err(error) => return Ok(Err(error)),
            };
            self.line += 1;
            let is = |frame: &[u8]| index == 0 && word.eq_ignore_ascii_case(frame);
            if is(b"multi") && std::mem::replace(is_open, true) {
                return Ok(Err(Some(lines.told(&format!("Unexpected MULTI in AOF {name}")))));
            }
            if is(b"exec") && !std::mem::replace(is_open, false) {
                return Ok(Err(Some(lines.told(&format!("Unexpected EXEC in AOF {name}")))));
            }
        }
        Ok(Ok(()))
    }
}

/// A file, read as those programs do.
struct Lines {
    source: BufReader<Box<dyn ironkeep::disk::File>>,
    at: u64,
    /// Where what was read last begins: errors name it.
    last: u64,
}

impl Lines {
    fn told(&self, what: &str) -> String {
        format!("0x{:>16x}: {what}", self.last)
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.source.fill_buf()?.first().copied())
    }

    /// The rest of the line with its line feed, up to a limit.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.source).take(MAX_LINE).read_until(b'\n', &mut line)?;
        self.last = self.at;
        self.at += line.len() as u64; // usize has at most 64 bits
        Ok(line)
    }

    /// A line of a mark and a number.
    fn number(&mut self, mark: u8) -> io::Result<Result<i64, Option<String>>> {
        let line = self.line()?;
        let Some(&first) = line.first() else { return Ok(Err(None)) };
        if first != mark {
            let (wanted, got) = (char::from(mark), Escaped(&[first]).to_string());
            return Ok(Err(Some(self.told(&format!("Expected prefix '{wanted}', got: '{got}'")))));
        }
        let is_of_number = |(index, byte): &(usize, &u8)| byte.is_ascii_digit() || (*index == 0 && **byte == b'-');
        let len = line[1..].iter().enumerate().take_while(is_of_number).count();
        let end = &line[1 + len..];
        if !end.starts_with(b"\r\n") {
            return Ok(Err(Some(self.no_line_end(end))));
        }
        Ok(Ok(number::parse_i64(&line[1..=len]).unwrap_or(0)))
    }

    /// So many bytes and the end of a line; of what is longer than a name only that it is there.
    fn word(&mut self, len: i64) -> io::Result<Result<Vec<u8>, Option<String>>> {
        let wanted = u64::try_from(len).unwrap_or(0).saturating_add(2);
        self.last = self.at;
        let mut start = Vec::new();
        let kept = (&mut self.source).take((wanted - 2).min(MAX_LINE)).read_to_end(&mut start)? as u64;
        let skipped = io::copy(&mut (&mut self.source).take(wanted - 2 - kept.min(wanted - 2)), &mut io::sink());
        let skipped = if kept == (wanted - 2).min(MAX_LINE) { skipped? } else { 0 };
        let mut end = Vec::new();
        (&mut self.source).take(2).read_to_end(&mut end)?;
        let got = kept + skipped + end.len() as u64; // usize has at most 64 bits
        self.at += got;
        if got < wanted {
            return Ok(Err(Some(self.told(&format!("Expected to read {wanted} bytes, got {got} bytes")))));
        }
        if end != b"\r\n" {
            return Ok(Err(Some(self.no_line_end(&end))));
        }
        Ok(Ok(start))
    }

    fn no_line_end(&self, got: &[u8]) -> String {
        let byte = |index: usize| got.get(index).copied().unwrap_or(0);
        self.told(&format!("Expected \\r\\n, got: {:02x}{:02x}", byte(0), byte(1)))
    }
}

fn say(line: &str) -> Result<(), Stop> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

fn fail<T>(line: &str) -> Result<T, Stop> {
    say(line)?;
    Err(Stop)
}
