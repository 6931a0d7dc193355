//! `aoftool replay`: the records of a log into a running server, as they stand.
//!
//! An RDB in front goes first, as the fewest commands that make its data. Commands are sent in batches of whole units
//! ([`session`]); a MULTI goes with its EXEC. A SELECT is sent where the database is another one than before. What the
//! server refuses stops the replay, and a later one can go on behind it ([`state`]).

mod session;
mod state;

use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use ironkeep::aof::{self, Item, LogFile, Reader, Record, Report};
use ironkeep::cli::client::{self, Client};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::{Located, show};
use ironkeep::cli::progress::Progress;
use ironkeep::cli::url::{Address, ServerUrl};
use ironkeep::cli::utc::Utc;
use ironkeep::disk::{Disk, Mode};

use crate::compact::{self, Compact};
use crate::filter::end_of;
use crate::report;
use crate::timeline::{Timeline, selected};
use session::Session;
use state::{Place, State};

/// Send the records of a log to a running server: all of them, or those of a span of time, at full or at their own speed
///
/// Exits with 1 where the server has refused a command.
#[derive(clap::Args)]
pub struct Arguments {
    /// The server, as redis://[user[:password]@]host[:port]; the password may be in REDISCLI_AUTH
    #[arg(value_name = "URL")]
    server: String,
    #[command(flatten)]
    place: crate::Place,
    /// Wait as the log's times tell: 1 is real time, 10 ten times as fast. Without it there is no waiting
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    speed: Option<f64>,
    /// Only what happened from this time on; the base, and what stands before the first time in the log, is left out
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<Utc>,
    /// Only what happened up to this time; a whole second includes all of it
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<Utc>,
    /// Commands in one batch; up to two batches are under way. 1 stops exactly at a refused command
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pipeline: u32,
    /// Go on where the replay has stopped that wrote this file, and write it; it is removed at the end
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// With --resume, after a replay that was killed or cut off: send again what may have been executed
    #[arg(long, requires = "resume", conflicts_with = "skip")]
    repeat: bool,
    /// With --resume, after a replay that was killed or cut off: leave out what may not have been executed
    #[arg(long, requires = "resume")]
    skip: bool,
    /// Go on behind a refused command; all are counted
    #[arg(long = "continue")]
    goes_on: bool,
    /// Also into a server that holds data: the log may change or flush it
    #[arg(long)]
    force: bool,
    /// Read everything and count, send nothing
    #[arg(long)]
    dry_run: bool,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = client::PATIENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// The report as one JSON object (schema aoftool.replay/1)
    #[arg(long)]
    json: bool,
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().ok().filter(|factor| *factor > 0.0 && factor.is_finite());
    factor.ok_or_else(|| "a factor is a number above 0: 1 is real time".to_owned())
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let Some(url) = ServerUrl::of(&arguments.server) else {
        let message = "replay writes to a server, written redis://[user[:password]@]host[:port], and the log behind it";
        return Err(Failure::error(Exit::Usage, message));
    };
    let address = url.address()?;
    if address.db.is_some_and(|db| db > 0) {
        return Err(Failure::error(Exit::Usage, "a log says itself which database it works on: leave out the number"));
    }
    let located = arguments.place.locate(disk)?;
    let survey = report::survey(&**disk, &located)?;
    let files = &located.log.files;
    let state = arguments.resume.as_deref().map(|path| State::open(disk, path, files)).transpose()?;
    let start = start_of(arguments, state.as_ref())?;
    let session = match arguments.dry_run {
        true => None,
        false => {
            let mut client = Client::connect(&address, Duration::from_secs(arguments.timeout))?;
            if !arguments.force && state.as_ref().is_none_or(|state| state.earlier.is_none()) {
                refuse_data(&mut client, &address)?;
            }
            Some(Session::new(client, arguments.pipeline as usize, start)) // fits
        }
    };
    let mut replay = Replay {
        arguments,
        files,
        address: &address,
        session,
        state,
        selected: None,
        sent_to: start,
        pace: None,
        commands: 0,
        has_times: false,
        is_over: false,
    };
    let began = Instant::now();
    replay.log(disk, &survey, start)?;
    replay.end(&located, began.elapsed())
}

/// Where the replay begins.
fn start_of(arguments: &Arguments, state: Option<&State>) -> anyhow::Result<Place> {
    let Some(earlier) = state.and_then(|state| state.earlier.as_ref()) else { return Ok(Place::default()) };
    if earlier.done == earlier.sent || arguments.repeat {
        return Ok(earlier.done);
    }
    if arguments.skip {
        return Ok(earlier.sent);
    }
    let (done, sent) = (&earlier.done, &earlier.sent);
    let message = format!(
        "the replay before was cut off: what stands between offset {} of file {} and offset {} of file {} may have been \
         executed or not. --repeat sends it again, --skip leaves it out",
        done.offset,
        done.file + 1,
        sent.offset,
        sent.file + 1
    );
    Err(Failure::error(Exit::Refused, message))
}

/// A server with data of its own is not written to unasked.
fn refuse_data(client: &mut Client, address: &Address) -> anyhow::Result<()> {
    let answer = client.ask(&["INFO", "keyspace"]).map_err(|error| client::unreachable(address, &error))?;
    if let Some(text) = answer.error() {
        return Err(client::refusal(address, "INFO", text));
    }
    let info = answer.bytes().unwrap_or_default();
    if !info.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"db")) {
        return Ok(());
    }
    let message = "holds data, which this log may change or flush: empty it first, or say --force";
    Err(Failure::error(Exit::Refused, message).context(address.to_string()))
}

/// When to send what has a time.
struct Pace {
    start: Instant,
    first_ms: i64,
}

/// A replay under way.
struct Replay<'a> {
    arguments: &'a Arguments,
    files: &'a [LogFile],
    address: &'a Address,
    /// None where nothing is sent.
    session: Option<Session>,
    state: Option<State>,
    /// The database of the connection.
    selected: Option<u64>,
    /// The end of the last batch.
    sent_to: Place,
    pace: Option<Pace>,
    commands: u64,
    has_times: bool,
    is_over: bool,
}

impl Replay<'_> {
    fn log(&mut self, disk: &Arc<dyn Disk>, survey: &Report, start: Place) -> anyhow::Result<()> {
        let files = self.files;
        let mut timeline = Timeline::at(start.db, start.time_ms);
        for (index, (file, found)) in files.iter().zip(&survey.files).enumerate().skip(start.file) {
            let is_first = index == start.file;
            if !is_first {
                timeline.begin_file();
            }
            let at = if is_first { start.offset } else { 0 };
            let rdb_len = found.rdb.as_ref().map_or(0, |rdb| rdb.len);
            let in_records = is_first && start.is_in_records;
            if found.rdb.is_some() && !in_records && self.arguments.from.is_none() {
                let mut reader = compact::rdb_reader(&**disk, file)?;
                let mut spool = Compact::of(&mut reader, &report::name(file))?.file;
                spool.seek(io::SeekFrom::Start(at))?;
                let place = Place { file: index, is_in_records: false, offset: at, ..start };
                self.part(spool, place, None, &mut timeline)?;
                timeline.begin_file();
            }
            let offset = if in_records { at } else { rdb_len };
            let mut open = disk.open(&file.path, Mode::Read).with_context(|| report::name(file))?;
            open.seek(io::SeekFrom::Start(offset)).with_context(|| report::name(file))?;
            // What is torn is no whole unit.
            let len = found.whole_until.max(offset);
            let source = Progress::new(open.take(len - offset), Some(len - offset), &report::name(file));
            if !file.is_wrapped && !self.is_over {
                let place = Place { file: index, is_in_records: true, offset, ..start };
                self.part(source, place, Some(len), &mut timeline)?;
            }
            if self.is_over {
                break;
            }
        }
        self.flush()
    }

    /// Sends the records of `source`, which begin at `place`.
    fn part(
        &mut self,
        source: impl Read,
        mut place: Place,
        end: Option<u64>,
        timeline: &mut Timeline,
    ) -> anyhow::Result<()> {
        let name = report::name(&self.files[place.file]);
        let mut reader = Reader::resume(source, Vec::new(), place.offset, end)
            .take_seals(aof::Sealing { after: None, is_lenient: true });
        let mut is_wanted = true;
        while let Some((item, at)) = reader.next_placed().with_context(|| name.clone())? {
            timeline.take(&item);
            self.has_times |= timeline.time_ms.is_some();
            let Item::Record(record) = &item else { continue };
            if matches!(at, aof::Place::Alone | aof::Place::Opens) {
                if self.is_behind(timeline.time_ms) {
                    self.is_over = true;
                    return Ok(());
                }
                is_wanted = self.wants(timeline.time_ms);
            }
            if is_wanted {
                self.record(record, &name, timeline, at)?;
            }
            if matches!(at, aof::Place::Alone | aof::Place::Closes) {
                place = Place { offset: item.end(), db: timeline.db, time_ms: timeline.time_ms, ..place };
                self.end_unit(place)?;
            }
            if self.is_over {
                return Ok(());
            }
        }
        Ok(())
    }

    fn is_behind(&self, time_ms: Option<i64>) -> bool {
        self.arguments.to.zip(time_ms).is_some_and(|(to, time_ms)| time_ms > end_of(to))
    }

    fn wants(&self, time_ms: Option<i64>) -> bool {
        self.arguments.from.is_none_or(|from| time_ms.is_some_and(|time_ms| time_ms >= from.0))
    }

    fn record(&mut self, record: &Record<'_>, name: &str, timeline: &Timeline, at: aof::Place) -> anyhow::Result<()> {
        let select = selected(record);
        if select.is_some() && at == aof::Place::Alone {
            return Ok(()); // the next command brings it along
        }
        if at != aof::Place::Inside && at != aof::Place::Closes {
            self.wait_for(timeline.time_ms)?;
        }
        self.commands += 1;
        let Some(session) = &mut self.session else { return Ok(()) };
        let at_offset = format!("{name} offset {}", record.offset);
        if select.is_none() && self.selected != Some(timeline.db) && matches!(at, aof::Place::Alone | aof::Place::Opens)
        {
            session.select(at_offset.clone(), timeline.db);
        }
        self.selected = Some(timeline.db);
        session.queue(at_offset, record);
        Ok(())
    }

    /// Waits until the time has come.
    fn wait_for(&mut self, time_ms: Option<i64>) -> anyhow::Result<()> {
        let (Some(speed), Some(time_ms), Some(_)) = (self.arguments.speed, time_ms, &self.session) else {
            return Ok(());
        };
        let pace = self.pace.get_or_insert_with(|| Pace { start: Instant::now(), first_ms: time_ms });
        let passed_ms = time_ms.saturating_sub(pace.first_ms).max(0);
        let due = Duration::try_from_secs_f64(passed_ms as f64 / 1000.0 / speed).unwrap_or(Duration::MAX); // ms of a log fit
        let wait = due.saturating_sub(pace.start.elapsed());
        if !wait.is_zero() {
            // The last unit must not wait with the next one.
            self.flush()?;
            std::thread::sleep(wait);
        }
        Ok(())
    }

    fn end_unit(&mut self, place: Place) -> anyhow::Result<()> {
        self.sent_to = place;
        if self.session.as_ref().is_some_and(Session::is_full) {
            self.send()?;
        }
        Ok(())
    }

    /// Sends a batch, after it is known what will have been sent.
    fn send(&mut self) -> anyhow::Result<()> {
        let Some(session) = &mut self.session else { return Ok(()) };
        if let Some(state) = &self.state {
            state.write(self.files, session.done, self.sent_to)?;
        }
        session.send(self.sent_to).map_err(|error| client::unreachable(self.address, &error))?;
        if session.refusal.is_some() && !self.arguments.goes_on {
            self.is_over = true;
        }
        if self.arguments.pipeline == 1 {
            self.drain()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> anyhow::Result<()> {
        let Some(session) = &mut self.session else { return Ok(()) };
        session.drain().map_err(|error| client::unreachable(self.address, &error))?;
        if session.refusal.is_some() && !self.arguments.goes_on {
            self.is_over = true;
        }
        Ok(())
    }

    /// Sends what is left, unless a refusal has stopped it, and waits for all answers.
    fn flush(&mut self) -> anyhow::Result<()> {
        if !self.is_over || self.session.as_ref().is_some_and(|session| session.refusal.is_none()) {
            self.send()?;
        }
        self.drain()
    }

    fn end(self, located: &Located, took: Duration) -> anyhow::Result<Exit> {
        if self.needs_times() && !self.has_times {
            writeln!(
                io::stderr(),
                "{}: tells no times (see aof-timestamp-enabled): they can't choose nor pace",
                located.name
            )?;
        }
        let refused = self.session.as_ref().map_or(0, |session| session.refused);
        let stopped = refused > 0 && !self.arguments.goes_on;
        if let (Some(state), Some(session)) = (&self.state, &self.session) {
            match stopped {
                true => state.write(self.files, session.done, session.done)?,
                false => state.finish()?,
            }
        }
        let mut out = Vec::new();
        match self.arguments.json {
            true => self.write_json(located, took, stopped, &mut out),
            false => self.write_text(took, &mut out)?,
        }
        report::print(&out)?;
        self.tell_refusal(stopped)?;
        Ok(if refused > 0 { Exit::Findings } else { Exit::Fine })
    }

    fn needs_times(&self) -> bool {
        self.arguments.from.or(self.arguments.to).is_some() || self.arguments.speed.is_some()
    }

    fn tell_refusal(&self, stopped: bool) -> anyhow::Result<()> {
        let Some(refusal) = self.session.as_ref().and_then(|session| session.refusal.as_ref()) else { return Ok(()) };
        let mut words = io::stderr().lock();
        writeln!(words, "{}: the server refuses '{}': {}", refusal.at, refusal.words, refusal.text)?;
        if stopped {
            let rest = match &self.arguments.resume {
                Some(path) => format!("--resume {} goes on behind them", show(path)),
                None => "--continue would go on behind it".to_owned(),
            };
            writeln!(words, "stopped there; commands that were on their way with it have been executed, {rest}")?;
        }
        Ok(())
    }

    fn write_text(&self, took: Duration, out: &mut Vec<u8>) -> io::Result<()> {
        let commands = report::plural(self.commands, "command");
        let Some(session) = &self.session else { return writeln!(out, "would send {commands}") };
        let answered = report::plural(session.answered, "answer");
        writeln!(out, "sent {commands} in {:.1} s, {answered}, {} refused", took.as_secs_f64(), session.refused)
    }

    fn write_json(&self, located: &Located, took: Duration, stopped: bool, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        object.str("schema", "aoftool.replay/1").str("log", &located.name).str("server", &self.address.to_string());
        object.bool("dry_run", self.session.is_none()).bool("stopped", stopped).u64("commands", self.commands);
        if let Some(session) = &self.session {
            object.u64("answers", session.answered).u64("refused", session.refused);
            if let Some(refusal) = &session.refusal {
                object.str("first_refused_at", &refusal.at).str("first_refusal", &refusal.text);
            }
        }
        object.u64("took_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        object.close();
        out.push(b'\n');
    }
}
