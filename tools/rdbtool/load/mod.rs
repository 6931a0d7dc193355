//! `rdbtool load`: the keys of a file into a running server.
//!
//! A key goes by RESTORE, its value as it stands in the file; anew where the server does not know its encoding; and by
//! commands where the server refuses the payload, where it is too large for one request, or where it is asked for.
//! Either way it appears whole or not at all ([`build`]). Many are under way at once ([`session`]); what is refused stops
//! the load, and a later one goes on exactly there ([`state`]).

mod arguments;
mod build;
mod pace;
mod report;
mod server;
mod session;
mod state;

use crate::Place as InputPlace;
use crate::library::Library;
use crate::opened::{self, FileReader};
use anyhow::Context;
pub use arguments::Arguments;
use arguments::Mode;
use build::{Builder, reader_of};
use ironkeep::cli::client::Client;
use ironkeep::cli::escape::Quoted;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::input::{self, Source};
use ironkeep::cli::locate::show;
use ironkeep::cli::url::{Address, ServerUrl};
use ironkeep::cli::utc::Utc;
use ironkeep::codec::crc64::crc64;
use ironkeep::disk::{Disk, Mode as DiskMode, RealDisk};
use ironkeep::rdb::{Checksum, CopyError, Error, Event, KeyHeader, Kind, WriteError, check, dump};
use ironkeep::value::Limits;
use pace::Pace;
use report::Report;
use server::Server;
use session::{Entry, Existing, Retry, Rules, Session, Stop, Work};
use state::{Place, State};
use std::cell::RefCell;
use std::io::{self, Read, Seek, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let Some(url) = ServerUrl::of(&arguments.server) else {
        let message = "load writes to a server, written redis://[user[:password]@]host[:port][/db]";
        return Err(Failure::error(Exit::Usage, message));
    };
    let address = url.address()?;
    let input = opened::open_quietly(&arguments.place)?;
    let name = input.name.clone();
    if !arguments.place.no_verify {
        refuse_changed(&arguments.place, &name)?;
    }
    let state = arguments.resume.as_deref().map(State::open).transpose()?;
    let mut client = Client::connect(&address, Duration::from_secs(arguments.timeout))?;
    let server = Server::of(&mut client, &address)?;
    let mut reader =
        opened::reader(input, arguments.place.options()).map_err(|error| opened::failure(&name, &error))?;
    let start = Instant::now();
    let mut load = Load::new(arguments, &address, client, server, state);
    let walked = load.walk(&mut reader).and_then(|outcome| {
        load.settle()?;
        Ok(outcome)
    });
    drop(reader);
    let damage = walked.with_context(|| name.clone())?;
    let seconds = start.elapsed().as_secs_f64();
    load.end(&name, &address, damage, seconds)
}

/// A file whose bytes are not those that were written, or that breaks off, goes nowhere. Other inputs are verified at their end alone.
fn refuse_changed(place: &InputPlace, name: &str) -> anyhow::Result<()> {
    let (source, _) = input::find_rdb(&RealDisk, place.file.as_deref(), place.dir.as_deref())?;
    let Source::File(path) = source else { return Ok(()) };
    let mut file = RealDisk.open(&path, DiskMode::Read).with_context(|| name.to_owned())?;
    match check::prove(&mut file) {
        Ok((Checksum::Mismatch { .. }, _)) => {
            let message =
                "its checksum is wrong, nothing was sent: see `rdbtool check` and `repair`, or say --no-verify";
            Err(Failure::error(Exit::Refused, message).context(name.to_owned()))
        }
        // A disk that fails and what is newer than this tool show as the file is read.
        Err(error) if !opened::is_disk_error(&error) && !error.is_unsupported() => {
            let message = format!(
                "{error}; nothing was sent: `rdbtool repair` keeps what can be kept, --no-verify loads what stands \
                 before the damage"
            );
            Err(Failure::error(Exit::Refused, message).context(name.to_owned()))
        }
        _ => Ok(()),
    }
}

/// A load under way.
struct Load<'a> {
    arguments: &'a Arguments,
    to_db: Option<u64>,
    session: Rc<RefCell<Session>>,
    builder: Builder,
    server: Server,
    state: Option<State>,
    existing: Existing,
    pace: Pace,
    now: Utc,
    /// The next thing's.
    next: Place,
    selected: u64,
}

impl<'a> Load<'a> {
    fn new(arguments: &'a Arguments, address: &Address, client: Client, server: Server, state: Option<State>) -> Self {
        let existing = if arguments.replace { Existing::Replace } else { arguments.existing };
        let pipeline = usize::try_from(arguments.pipeline).unwrap_or(usize::MAX);
        let rules = Rules { existing, pipeline, goes_on: arguments.goes_on };
        let session = Rc::new(RefCell::new(Session::new(client, rules)));
        Load {
            arguments,
            to_db: address.db,
            builder: Builder::new(&session, existing, server.version()),
            session,
            server,
            state,
            existing,
            pace: Pace::new(arguments.rate),
            now: Utc::now(),
            next: Place::default(),
            selected: 0,
        }
    }

    /// Walks the input up to its end, its damage, or what stops the load. The inner error is the input's.
    fn walk(&mut self, reader: &mut FileReader) -> anyhow::Result<Option<Error>> {
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(damage) => return Ok(Some(damage)),
            };
            let loaded = match event {
                Event::Function { .. } if self.arguments.no_functions => {
                    self.session.borrow_mut().counts.functions_left_out += 1;
                    Ok(())
                }
                Event::Function { code } => {
                    let name = Library::of(&code).name.unwrap_or_default().to_vec();
                    let place = Place { count: self.next.count, offset: reader.offset(), key: name };
                    self.function(place, &code)?;
                    Ok(())
                }
                Event::Key(header) => {
                    let place = Place { count: self.next.count, offset: header.offset, key: header.key.clone() };
                    self.key(place, header, reader)?
                }
                Event::ModuleAux { .. } => {
                    self.session.borrow_mut().counts.module_aux += 1;
                    continue;
                }
                Event::End { .. } => return Ok(None),
                _ => continue,
            };
            if let Err(damage) = loaded {
                return Ok(Some(damage));
            }
            self.next.count += 1;
            if self.session.borrow().stop.is_some() {
                return Ok(None);
            }
            self.retry()?;
        }
    }

    /// Whether the thing lies behind the point to go on from; there the input must be the one of before.
    fn is_reached(&self, place: &Place) -> anyhow::Result<bool> {
        let Some(state) = &self.state else { return Ok(place.count >= self.arguments.skip) };
        if place.count == state.done.count && state.is_continued() && *place != state.done {
            let message = format!(
                "the state in --resume is of another input: there {} stands at offset {}, here {} at {}",
                Quoted(&state.done.key),
                state.done.offset,
                Quoted(&place.key),
                place.offset
            );
            return Err(Failure::error(Exit::Refused, message));
        }
        if state.is_there(place.count) {
            let mut session = self.session.borrow_mut();
            session.counts.before_cut += 1;
            // A load that is stopped in its turn passes it on.
            session.note_over(place);
            return Ok(false);
        }
        Ok(place.count >= state.done.count)
    }

    /// Waits as the rate asks, and notes in the state what may be sent from here on.
    fn before_sending(&mut self, place: &Place, bytes: usize) -> anyhow::Result<()> {
        self.next = place.clone();
        if let Some(wait) = self.pace.wait_for(bytes) {
            self.session.borrow_mut().drain();
            std::thread::sleep(wait);
        }
        if let Some(state) = &mut self.state
            && !self.arguments.dry_run
        {
            state.before_sending(place.count, &self.session.borrow().done(place))?;
        }
        Ok(())
    }

    fn entry(&self, place: Place, db: u64, work: Work) -> Entry {
        let may_be_there = self.state.as_ref().is_some_and(|state| state.may_be_there(place.count));
        let mut entry = Entry::new(place, db, work);
        entry.may_be_there = may_be_there;
        entry
    }

    fn function(&mut self, place: Place, code: &[u8]) -> anyhow::Result<()> {
        if !self.is_reached(&place)? || self.arguments.dry_run {
            return Ok(());
        }
        self.before_sending(&place, code.len())?;
        let entry = self.entry(place, 0, Work::Function);
        let mut session = self.session.borrow_mut();
        session.begin(entry);
        if self.existing == Existing::Replace {
            session.request(&[b"FUNCTION", b"LOAD", b"REPLACE", code]);
        } else {
            session.request(&[b"FUNCTION", b"LOAD", code]);
        }
        session.end();
        Ok(())
    }

    /// Loads a key, or says why not. The inner error is the input's.
    fn key(&mut self, place: Place, header: KeyHeader, reader: &mut FileReader) -> anyhow::Result<Result<(), Error>> {
        let is_reached = self.is_reached(&place)?;
        let selection = &self.arguments.selection;
        let is_within = selection.limit.is_none_or(|limit| self.selected < limit);
        let is_wanted = is_within && selection.wants(&header, self.now);
        let has_expired = header.expire_at_ms.is_some_and(|at_ms| at_ms <= self.now.0);
        if !is_wanted || (has_expired && !selection.needs_size()) || !is_reached {
            return Ok(self.pass(is_reached, is_wanted, &header, reader));
        }
        self.session.borrow_mut().counts.key_metadata += u64::from(!header.metadata.is_empty());
        let db = self.target_db(header.db);
        if self.arguments.dry_run {
            return self.probe(place, db, &header, reader);
        }
        let is_direct = self.arguments.mode == Mode::Commands && !selection.needs_size();
        if is_direct {
            self.selected += 1;
            self.before_sending(&place, 0)?;
            let entry = self.entry(place, db, Work::Commands);
            return self.build(entry, &header, reader);
        }
        self.copied(place, db, header, reader)
    }

    /// Passes over a key and counts why.
    fn pass(
        &mut self,
        is_reached: bool,
        is_wanted: bool,
        header: &KeyHeader,
        reader: &mut FileReader,
    ) -> Result<(), Error> {
        reader.skip()?;
        let is_wanted = is_wanted && self.arguments.selection.wants_size(reader.offset() - header.offset);
        self.selected += u64::from(is_wanted);
        if is_reached {
            let counts = &mut self.session.borrow_mut().counts;
            *(if is_wanted { &mut counts.expired } else { &mut counts.not_selected }) += 1;
        }
        Ok(())
    }

    fn probe(
        &mut self,
        place: Place,
        db: u64,
        header: &KeyHeader,
        reader: &mut FileReader,
    ) -> anyhow::Result<Result<(), Error>> {
        if let Err(damage) = reader.skip() {
            return Ok(Err(damage));
        }
        if !self.wants_size(header, reader) {
            return Ok(Ok(()));
        }
        self.before_sending(&place, 0)?;
        let mut session = self.session.borrow_mut();
        session.counts.would_load += 1;
        if session.begin(Entry::new(place, db, Work::Probe)) {
            session.request(&[b"EXISTS", &header.key]);
            session.end();
        }
        Ok(Ok(()))
    }

    /// Counts a key whose value has been read as selected, or not.
    fn wants_size(&mut self, header: &KeyHeader, reader: &FileReader) -> bool {
        let is_wanted = self.arguments.selection.wants_size(reader.offset() - header.offset);
        self.selected += u64::from(is_wanted);
        let has_expired = header.expire_at_ms.is_some_and(|at_ms| at_ms <= self.now.0);
        let counts = &mut self.session.borrow_mut().counts;
        counts.not_selected += u64::from(!is_wanted);
        counts.expired += u64::from(is_wanted && has_expired);
        is_wanted && !has_expired
    }

    /// Refuses a key whose value cannot be written anew for the server.
    fn not_encoded(&mut self, place: Place, db: u64, error: WriteError) -> anyhow::Result<()> {
        self.before_sending(&place, 0)?;
        let entry = self.entry(place, db, Work::Commands);
        let mut session = self.session.borrow_mut();
        match error {
            WriteError::Lacks { feature, version, .. } => {
                let phrase = feature.row().phrase;
                session.cannot_hold(&entry, &format!("it {phrase}, which RDB version {version} cannot hold"));
            }
            other => session.refuse_as(&entry, &other.to_string(), false),
        }
        Ok(())
    }

    /// Takes the value out of the input first, then decides how it goes.
    fn copied(
        &mut self,
        place: Place,
        db: u64,
        mut header: KeyHeader,
        reader: &mut FileReader,
    ) -> anyhow::Result<Result<(), Error>> {
        let restores = self.arguments.mode == Mode::Restore;
        let is_template = matches!(header.kind, Kind::HashTemplateListpackRef | Kind::HashTemplateArrayRef);
        let (value, version, file) = match self.server.takes(header.kind) {
            None if restores || is_template => {
                let object = match reader.object(&Limits::default()) {
                    Ok(object) => object,
                    Err(damage) => return Ok(Err(damage)),
                };
                if !self.wants_size(&header, reader) {
                    return Ok(Ok(()));
                }
                let Some(object) = object else {
                    self.session.borrow_mut().counts.empty += 1;
                    return Ok(Ok(()));
                };
                match dump::encode(&object, self.server.version()) {
                    Ok(payload) => {
                        let version = self.server.version();
                        header.kind = Kind::of(payload[0], version.header().lineage).unwrap_or(header.kind);
                        let value = payload[1..payload.len().saturating_sub(10)].to_vec();
                        (value, version.number(), version.header())
                    }
                    Err(error) => return self.not_encoded(place, db, error).map(Ok),
                }
            }
            version => {
                let mut spool = tempfile::SpooledTempFile::new(1 << 20);
                match reader.copy_value(&mut spool) {
                    Ok(()) => {}
                    Err(CopyError::Read(damage)) => return Ok(Err(damage)),
                    Err(CopyError::Write(error)) => return Err(error.into()),
                }
                if !self.wants_size(&header, reader) {
                    return Ok(Ok(()));
                }
                let len = spool.stream_position()?;
                spool.rewind()?;
                let (Some(version), true) = (version, restores && len <= self.arguments.max_restore) else {
                    self.before_sending(&place, usize::try_from(len).unwrap_or(usize::MAX))?;
                    let entry = self.entry(place, db, Work::Commands);
                    let mut value = reader_of(reader.header(), &header, Box::new(spool))?;
                    return self.build(entry, &header, &mut value);
                };
                let mut value = Vec::new();
                spool.read_to_end(&mut value)?;
                (value, version, reader.header())
            }
        };
        self.before_sending(&place, value.len())?;
        self.restore(place, db, Retry { header, file, value }, version);
        Ok(Ok(()))
    }

    fn restore(&mut self, place: Place, db: u64, retry: Retry, version: u16) {
        let mut payload = Vec::with_capacity(retry.value.len() + 11);
        payload.push(retry.header.kind.number());
        payload.extend_from_slice(&retry.value);
        payload.extend_from_slice(&version.to_le_bytes());
        payload.extend_from_slice(&crc64(&payload).to_le_bytes());
        let header = &retry.header;
        let at_ms = header.expire_at_ms.unwrap_or(0);
        let ttl = if self.server.has_options || at_ms == 0 { at_ms } else { (at_ms - Utc::now().0).max(1) };
        let (ttl, idle, frequency) = (
            ttl.to_string(),
            header.idle_seconds.map(|idle| idle.to_string()),
            header.frequency.map(|count| count.to_string()),
        );
        let key = place.key.clone();
        let mut request: Vec<&[u8]> = vec![b"RESTORE", &key, ttl.as_bytes(), &payload];
        if self.existing == Existing::Replace {
            request.push(b"REPLACE");
        }
        if self.server.has_options {
            request.push(b"ABSTTL");
            match (&idle, &frequency) {
                (Some(idle), _) => request.extend([&b"IDLETIME"[..], idle.as_bytes()]),
                (None, Some(count)) => request.extend([&b"FREQ"[..], count.as_bytes()]),
                (None, None) => {}
            }
        }
        let entry = self.entry(place, db, Work::Restore(Box::new(retry)));
        let mut session = self.session.borrow_mut();
        if session.begin(entry) {
            session.request(&request);
            session.end();
        }
    }

    fn build(
        &mut self,
        entry: Entry,
        header: &KeyHeader,
        reader: &mut FileReader,
    ) -> anyhow::Result<Result<(), Error>> {
        let again = Entry::new(entry.place.clone(), entry.db, Work::Commands);
        match self.builder.build(entry, header, reader) {
            Ok(taken) => Ok(taken),
            Err(error) => {
                self.session.borrow_mut().refuse_as(&again, &format!("{error:#}"), false);
                Ok(Ok(()))
            }
        }
    }

    /// Builds by commands what the server did not take as it was.
    fn retry(&mut self) -> anyhow::Result<()> {
        let retries = std::mem::take(&mut self.session.borrow_mut().retries);
        for (entry, retry) in retries {
            let mut reader = reader_of(retry.file, &retry.header, Box::new(io::Cursor::new(retry.value)))?;
            if let Err(damage) = self.build(entry, &retry.header, &mut reader)? {
                return Err(damage.into());
            }
        }
        Ok(())
    }

    /// Waits for all that is under way.
    fn settle(&mut self) -> anyhow::Result<()> {
        self.session.borrow_mut().drain();
        while !self.session.borrow().retries.is_empty() && self.session.borrow().stop.is_none() {
            self.retry()?;
            self.session.borrow_mut().drain();
        }
        Ok(())
    }

    fn target_db(&self, db: u64) -> u64 {
        let mapped = self.arguments.db_map.iter().find(|(from, _)| *from == db).map(|(_, to)| *to);
        self.to_db.or(mapped).unwrap_or(db)
    }

    /// Writes the report, or the state to go on from and the error.
    fn end(&mut self, name: &str, address: &Address, damage: Option<Error>, seconds: f64) -> anyhow::Result<Exit> {
        let stop = self.session.borrow_mut().stop.take();
        let session = self.session.borrow();
        let report = Report {
            input: name,
            server: &address.to_string(),
            server_name: &self.server.name,
            dry_run: self.arguments.dry_run,
            seconds,
            counts: &session.counts,
        };
        let mut out = Vec::new();
        if self.arguments.json {
            report.write_json(&mut out)
        } else {
            report.write_text(&mut out)?
        }
        io::stdout().write_all(&out).and_then(|()| io::stdout().flush()).context("standard output")?;
        if stop.is_none() && damage.is_none() {
            if let Some(state) = &self.state
                && !self.arguments.dry_run
            {
                state.finish()?;
            }
            return Ok(if session.counts.refused > 0 { Exit::Findings } else { Exit::Fine });
        }
        let done = session.done(&self.next);
        let how = self.how_to_go_on(&done)?;
        let (exit, context, what) = match (stop, damage) {
            (Some(Stop::Exists(what)), _) => (Exit::Refused, address.to_string(), what),
            (Some(Stop::Refused(what)), _) => (Exit::Unreadable, address.to_string(), what),
            (Some(Stop::Unsupported(what)), _) => (Exit::Unsupported, address.to_string(), what),
            (Some(Stop::Broken(error)), _) => (Exit::Unreadable, address.to_string(), error.to_string()),
            (None, Some(error)) => (opened::exit_of(&error), name.to_owned(), error.to_string()),
            (None, None) => return Ok(Exit::Fine),
        };
        Err(Failure::error(exit, format!("{what}; {how}")).context(context))
    }

    fn how_to_go_on(&self, place: &Place) -> anyhow::Result<String> {
        let count = place.count;
        if self.arguments.dry_run {
            return Ok("nothing was sent".to_owned());
        }
        let done = match count {
            0 => "nothing of the input is done yet".to_owned(),
            1 => "the first key or library of the input is done".to_owned(),
            _ => format!("the first {count} keys and libraries of the input are done"),
        };
        match (&self.state, &self.arguments.resume) {
            (Some(state), Some(path)) => {
                let (loaded, unanswered) = self.session.borrow().behind(place);
                state.stop(place, &loaded, &unanswered)?;
                Ok(format!("{done}, go on with the same command (--resume {})", show(path)))
            }
            _ => Ok(format!(
                "{done}, go on with --skip {count} --existing skip (or, from the start, with --resume FILE, which keeps \
                 track)"
            )),
        }
    }
}
