//! Reading a file from front to back, one event at a time.

use std::io::{Read, Seek, Write};

use super::error::{Cause, Error};
use super::event::{Checksum, Event, KeyHeader, KeyMetadata, Visitor};
use super::input::Input;
use super::kind::{Header, Kind, Lineage, Opcode, OpcodeRow};
use super::object::{self, Gathered, Scratch};
use super::template;
use super::writer::CopyError;
use crate::value::{Limits, Module, Object};

/// The versions of each lineage that can be read, at least as far as what they hold is known.
const REDIS_VERSIONS: std::ops::RangeInclusive<u32> = 1..=15;
const VALKEY_VERSIONS: std::ops::RangeInclusive<u32> = 80..=81;
/// The first version with a checksum at its end.
const CHECKSUM_SINCE: u32 = 5;
/// The first version of Redis with types from 29 on.
const TEMPLATES_SINCE: u32 = 15;
/// More ranges than this are not believed before they have been read.
const MOST_RANGES_AT_ONCE: usize = 1024;

/// How to read.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether a checksum that does not fit is an error (`true`, the default) or only reported.
    pub verify: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { verify: true }
    }
}

/// Reads a file from front to back.
///
/// [`Reader::next`] gives what comes next. After [`Event::Key`] one of [`Reader::value`], [`Reader::object`],
/// [`Reader::gather`],
/// [`Reader::copy_value`] and [`Reader::skip`] takes the value; what was not taken is skipped by the next call of `next`. The reader holds a
/// buffer, and otherwise no more of the file than the value asked for; of a value that is streamed, no more than two
/// elements or one packed node.
///
/// The reader reports and decides nothing: keys may be empty, repeated or expired.
///
/// ```
/// use ironkeep::rdb::{Event, Options, Reader};
/// let file = b"REDIS0006\xfe\x00\x00\x03key\x05value\xff\0\0\0\0\0\0\0\0";
/// let mut reader = Reader::new(&file[..], Options::default())?;
/// assert_eq!(reader.next()?, Event::SelectDb(0));
/// let Event::Key(header) = reader.next()? else { panic!() };
/// assert_eq!((&header.key[..], header.kind.type_name()), (&b"key"[..], "string"));
/// let Some(ironkeep::value::Object::String(value)) = reader.object(&Default::default())? else { panic!() };
/// assert_eq!(value.into_vec(), b"value");
/// # Ok::<(), ironkeep::rdb::Error>(())
/// ```
pub struct Reader<R> {
    input: Input<'static, R>,
    options: Options,
    state: State,
    db: u64,
    type_offset: u64,
    /// The key whose value is next or was last, for errors.
    key: Vec<u8>,
    /// Room for the next header's key; see [`Reader::reuse`].
    spare: Vec<u8>,
    scratch: Scratch,
    /// Behind which offset a remark says that Dragonfly wrote the file, some of whose types have Redis 8.10's numbers.
    dragonfly_from: Option<u64>,
}

/// Where the reader stands.
#[derive(Clone, Copy)]
enum State {
    /// Before an opcode or type byte.
    Between,
    /// Before a value.
    Value(Kind),
    /// Behind the end marker.
    Ended(Checksum),
    /// Behind an error.
    Failed,
}

/// What was said of a key before its type.
#[derive(Default)]
struct Attributes {
    offset: Option<u64>,
    expire_at_ms: Option<i64>,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
    metadata: Vec<KeyMetadata>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn new(inner: R, options: Options) -> Result<Self, Error> {
        let unknown = Header { lineage: Lineage::Redis, version: 0 };
        let mut input = Input::new(inner, unknown);
        input.header = read_header(&mut input)?;
        Ok(Reader {
            input,
            options,
            state: State::Between,
            db: 0,
            type_offset: 0,
            key: Vec::new(),
            spare: Vec::new(),
            scratch: Scratch::default(),
            dragonfly_from: None,
        })
    }

    /// What the first nine bytes say.
    pub fn header(&self) -> Header {
        self.input.header
    }

    /// File offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// Reads up to the next event. Behind the end it gives the end again; behind an error, an error.
    #[allow(clippy::should_implement_trait)] // an iterator could not lend its reader between two items
    pub fn next(&mut self) -> Result<Event, Error> {
        if let State::Value(_) = self.state {
            self.skip()?;
        }
        match self.state {
            State::Ended(checksum) => return Ok(Event::End { checksum }),
            State::Failed => return Err(self.input.damaged("reading stopped here at an error before")),
            State::Value(_) | State::Between => {}
        }
        let event = self.read_event();
        if event.is_err() {
            self.state = State::Failed;
        }
        event
    }

    /// After [`Event::Key`]: streams the elements of the value.
    pub fn value(&mut self, visitor: &mut dyn Visitor) -> Result<(), Error> {
        self.take(|input, kind, scratch| object::visit(input, kind, visitor, scratch)).map(|_| ())
    }

    /// After [`Event::Key`]: decodes the value. `None` for a collection without elements, which servers pass over.
    pub fn object(&mut self, limits: &Limits) -> Result<Option<Object>, Error> {
        let taken = self.take(|input, kind, scratch| object::build(input, kind, limits, scratch))?;
        Ok(taken.flatten())
    }

    /// Takes back the key of a header that is not needed any more: its memory becomes the next one's.
    pub fn reuse(&mut self, key: Vec<u8>) {
        self.spare = key;
    }

    /// After [`Event::Key`]: decodes the value as [`Reader::object`] does, but appends a string or a small collection to
    /// `out`. `None` for a collection without elements.
    pub fn gather(&mut self, limits: &Limits, out: &mut Vec<u8>) -> Result<Option<Gathered>, Error> {
        let taken = self.take(|input, kind, scratch| object::gather(input, kind, limits, scratch, out))?;
        Ok(taken.flatten())
    }

    /// After [`Event::Key`]: passes over the value. Strings are not looked into.
    pub fn skip(&mut self) -> Result<(), Error> {
        self.take(|input, kind, _| object::skip(input, kind)).map(|_| ())
    }

    /// After [`Event::Key`]: copies the value to `sink` byte for byte as it stands in the file, what comes behind the
    /// key, in pieces as they are read; strings are not looked into. [`Writer::raw_key`](super::Writer::raw_key) takes
    /// it, and [`dump`](super::dump) frames it as a payload.
    ///
    /// Where the value is damaged, what stands before the damage has gone to the sink. After an error of the sink the
    /// value has been passed over, and reading may go on. Without a value that is next, nothing happens.
    pub fn copy_value(&mut self, sink: &mut dyn Write) -> Result<(), CopyError> {
        let mut failure = None;
        self.take(|input, kind, _| {
            let mut tap = |piece: &[u8]| {
                if failure.is_none() {
                    failure = sink.write_all(piece).err();
                }
            };
            input.tapped(&mut tap, |input| object::skip(input, kind))
        })?;
        failure.map_or(Ok(()), |error| Err(CopyError::Write(error.into())))
    }

    /// The input, and what was read from it but not used: behind the end, the bytes that follow the file, such as
    /// the commands of a log that begins with an RDB.
    pub fn into_inner(self) -> (R, Vec<u8>) {
        self.input.into_inner()
    }

    /// The database of the keys that come.
    pub(super) fn db(&self) -> u64 {
        self.db
    }

    /// File offset of the type byte of the last key.
    pub(super) fn type_offset(&self) -> u64 {
        self.type_offset
    }

    /// What comes next, some bytes of it; none at the end.
    pub(super) fn ahead(&mut self) -> Result<&[u8], Error> {
        self.input.ahead()
    }

    /// Takes the next bytes for a key of `kind`, whatever its type byte said.
    pub(super) fn key_as(&mut self, kind: Kind) -> Result<Event, Error> {
        let offset = self.input.offset();
        self.read_key(kind, Attributes::default(), offset)
    }

    /// Reads the value that is next with `read`; `None` if none is next.
    fn take<T>(
        &mut self,
        read: impl FnOnce(&mut Input<R>, Kind, &mut Scratch) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let State::Value(kind) = self.state else { return Ok(None) };
        self.input.part = "the value";
        let result = read(&mut self.input, kind, &mut self.scratch);
        self.state = if result.is_ok() { State::Between } else { State::Failed };
        result.map(Some).map_err(|error| error.with_key(&self.key))
    }

    fn read_event(&mut self) -> Result<Event, Error> {
        let mut attributes = Attributes::default();
        loop {
            self.input.part = "an opcode or type";
            let offset = self.input.offset();
            let number = self.input.byte()?;
            let header = self.input.header;
            if let Some(kind) = Kind::of(number, header.lineage) {
                let name = self.foreign_name(number).or_else(|| (!kind.row().supported).then(|| kind.name()));
                if let Some(name) = name {
                    let cause = Cause::Unsupported { name, number, header };
                    return Err(Error::new(offset, "the value's type", cause));
                }
                return self.read_key(kind, attributes, offset);
            }
            let Some(row) = Opcode::of(number, header.lineage) else {
                let unknown = Cause::UnknownNumber(number);
                let foreign = |name| Cause::Unsupported { name, number, header };
                let cause = self.foreign_name(number).map_or(unknown, foreign);
                return Err(Error::new(offset, self.input.part, cause));
            };
            if !row.supported {
                let cause = Cause::Unsupported { name: row.name, number, header };
                return Err(Error::new(offset, "an opcode", cause));
            }
            self.input.part = row.name;
            if let Some(event) = self.read_opcode(row, &mut attributes, offset)? {
                return Ok(event);
            }
        }
    }

    /// The name of a type that is Dragonfly's: a remark says that it wrote the file, or the number is beyond what the
    /// file's version has.
    fn foreign_name(&self, number: u8) -> Option<&'static str> {
        let Header { lineage, version } = self.input.header;
        let is_beyond = lineage == Lineage::Redis && version < TEMPLATES_SINCE;
        (self.dragonfly_from.is_some() || is_beyond).then(|| Kind::of_dragonfly(number)).flatten()
    }

    /// Reads what follows an opcode; `None` if it says something of the next key.
    fn read_opcode(
        &mut self,
        row: &'static OpcodeRow,
        attributes: &mut Attributes,
        offset: u64,
    ) -> Result<Option<Event>, Error> {
        let input = &mut self.input;
        let event = match row.opcode {
            Opcode::ExpireMs | Opcode::ExpireSeconds | Opcode::Frequency | Opcode::Idle | Opcode::KeyMeta => {
                attributes.offset.get_or_insert(offset);
                return attributes.read(input, row.opcode).map(|()| None);
            }
            Opcode::SelectDb => {
                self.db = input.length()?;
                Event::SelectDb(self.db)
            }
            Opcode::ResizeDb => Event::ResizeDb { keys: input.length()?, expires: input.length()? },
            Opcode::SlotInfo => {
                Event::SlotInfo { slot: input.length()?, keys: input.length()?, expires: input.length()? }
            }
            Opcode::Aux => {
                let (name, value) = (input.blob()?, input.blob()?);
                if name == b"df-ver" {
                    self.dragonfly_from.get_or_insert(offset);
                }
                Event::Aux { name, value }
            }
            Opcode::Function => Event::Function { code: input.blob()? },
            Opcode::ModuleAux => {
                let id = input.length()?;
                let module = Module { id, raw: Default::default() }.name();
                Event::ModuleAux { id, module, raw: object::capture_module(input)? }
            }
            Opcode::SlotImport => read_slot_import(input)?,
            Opcode::FunctionPreGa => Event::FunctionPreGa {
                name: input.blob()?,
                engine: input.blob()?,
                description: if input.length()? == 0 { None } else { Some(input.blob()?) },
                code: input.blob()?,
            },
            Opcode::HashTemplate => template::read(input).map(|(id, fields)| Event::HashTemplate { id, fields })?,
            Opcode::ValkeyUpdate => Event::Update { arguments: read_command(input)? },
            Opcode::EnterpriseRamLru | Opcode::EnterpriseSlotNum => {
                Event::Foreign { name: row.name, value: input.length()? }
            }
            Opcode::Eof => self.read_end()?,
            Opcode::Enterprise | Opcode::Dragonfly => {
                return Err(input.damaged("an opcode that is known by name only"));
            }
        };
        Ok(Some(event))
    }

    fn read_key(&mut self, kind: Kind, attributes: Attributes, offset: u64) -> Result<Event, Error> {
        self.input.part = "a key";
        self.type_offset = offset;
        self.key.clear();
        self.input.append_text(&mut self.key)?;
        self.state = State::Value(kind);
        let mut key = std::mem::take(&mut self.spare);
        key.clear();
        key.extend_from_slice(&self.key);
        Ok(Event::Key(KeyHeader {
            db: self.db,
            key,
            kind,
            expire_at_ms: attributes.expire_at_ms,
            idle_seconds: attributes.idle_seconds,
            frequency: attributes.frequency,
            metadata: attributes.metadata,
            offset: attributes.offset.unwrap_or(offset),
        }))
    }

    fn read_end(&mut self) -> Result<Event, Error> {
        let checksum = match self.input.header.version {
            ..CHECKSUM_SINCE => Checksum::Absent,
            _ => {
                self.input.part = "the checksum";
                let found = self.input.checksum();
                let offset = self.input.offset();
                match u64::from_le_bytes(self.input.array()?) {
                    0 => Checksum::Disabled,
                    expected if expected == found => Checksum::Ok,
                    expected if self.options.verify => {
                        return Err(Error::new(offset, self.input.part, Cause::Checksum { expected, found }));
                    }
                    expected => Checksum::Mismatch { expected, found },
                }
            }
        };
        self.state = State::Ended(checksum);
        Ok(Event::End { checksum })
    }
}

/// What a file said of itself behind some offset; see [`Reader::forget_from`].
pub(super) struct Forgotten {
    templates: Vec<(u64, u64, template::Fields)>,
    dragonfly_from: Option<u64>,
}

/// The database, and what hashes took from templates.
#[derive(Clone, Copy)]
pub(super) struct Noted {
    db: u64,
    taken: u64,
}

/// Going on where the bytes did not lead.
impl<R: Read + Seek> Reader<R> {
    /// Goes on at `offset`, between two items or, with `value`, before a value of that kind. The input counts as ended
    /// at `ceiling`. The checksum means nothing afterwards.
    pub(super) fn reposition(&mut self, offset: u64, ceiling: u64, value: Option<Kind>) -> Result<(), Error> {
        self.state = value.map_or(State::Between, State::Value);
        self.input.reposition(offset, ceiling)
    }

    /// Forgets what the file said of itself at `offset` and behind it, since it will be read again or was no part of
    /// the file. The database is not meant: see [`Reader::assume_db`].
    pub(super) fn forget_from(&mut self, offset: u64) -> Forgotten {
        let templates = self.input.templates.split_off(offset);
        Forgotten { templates, dragonfly_from: self.dragonfly_from.take_if(|from| *from >= offset) }
    }

    /// Knows it again. Nothing may have been read since but what was forgotten too.
    pub(super) fn remember(&mut self, forgotten: Forgotten) {
        for (offset, id, fields) in forgotten.templates.into_iter().rev() {
            self.input.templates.insert(offset, id, fields);
        }
        self.dragonfly_from = self.dragonfly_from.or(forgotten.dragonfly_from);
    }

    /// As [`Reader::value`]; of a value that is damaged inside, all that can be read around the damage.
    pub(super) fn value_leniently(&mut self, visitor: &mut dyn Visitor) -> Result<(), Error> {
        self.input.lenient = true;
        let visited = self.value(visitor);
        self.input.lenient = false;
        visited
    }

    /// What counts once however often it is read: for [`Reader::restore`] behind a second reading.
    pub(super) fn note(&self) -> Noted {
        Noted { db: self.db, taken: self.input.templates.taken() }
    }

    /// Goes back to what was noted.
    pub(super) fn restore(&mut self, noted: Noted) {
        self.db = noted.db;
        self.input.templates.set_taken(noted.taken);
    }

    /// The database is this one until the file says otherwise.
    pub(super) fn assume_db(&mut self, db: u64) {
        self.db = db;
    }
}

impl Attributes {
    fn read<R: Read>(&mut self, input: &mut Input<R>, opcode: Opcode) -> Result<(), Error> {
        match opcode {
            // Servers take -1 for "never".
            Opcode::ExpireMs => self.expire_at_ms = Some(input.ms()?).filter(|ms| *ms != -1),
            Opcode::ExpireSeconds => {
                let seconds = i32::from_le_bytes(input.array()?);
                self.expire_at_ms = Some(i64::from(seconds) * 1000).filter(|_| seconds != -1);
            }
            Opcode::Frequency => self.frequency = Some(input.byte()?),
            Opcode::KeyMeta => self.read_metadata(input)?,
            _ => self.idle_seconds = Some(input.length()?),
        }
        Ok(())
    }

    fn read_metadata<R: Read>(&mut self, input: &mut Input<R>) -> Result<(), Error> {
        for _ in 0..input.length()? {
            let class = input.array()?;
            self.metadata.push(KeyMetadata { class, raw: object::capture_module(input)? });
        }
        Ok(())
    }
}

pub(super) fn read_header<R: Read>(input: &mut Input<R>) -> Result<Header, Error> {
    let bytes: [u8; 9] = input.array()?;
    let (lineage, digits) = if let Some(digits) = bytes.strip_prefix(b"REDIS") {
        (Lineage::Redis, digits)
    } else if let Some(digits) = bytes.strip_prefix(b"VALKEY") {
        (Lineage::Valkey, digits)
    } else {
        return Err(Error::new(0, "the header", Cause::NotRdb));
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Error::new(0, "the header", Cause::NotRdb));
    }
    let version = digits.iter().fold(0, |version, digit| version * 10 + u32::from(digit - b'0'));
    let header = Header { lineage, version };
    known(header).then_some(header).ok_or_else(|| Error::new(0, "the header", Cause::NewerVersion(header)))
}

/// Whether files of this version can be read, at least as far as what they hold is known.
pub(super) fn known(header: Header) -> bool {
    match header.lineage {
        Lineage::Redis => REDIS_VERSIONS.contains(&header.version),
        Lineage::Valkey => VALKEY_VERSIONS.contains(&header.version),
    }
}

fn read_slot_import<R: Read>(input: &mut Input<R>) -> Result<Event, Error> {
    let job = input.blob()?;
    let count = input.length()?;
    let mut ranges = Vec::with_capacity(usize::try_from(count).unwrap_or(usize::MAX).min(MOST_RANGES_AT_ONCE));
    for _ in 0..count {
        ranges.push((input.length()?, input.length()?));
    }
    Ok(Event::SlotImport { job, ranges })
}

/// A command as clients send it: `*2 \r\n $3 \r\n DEL \r\n $1 \r\n k \r\n`.
pub(super) fn read_command<R: Read>(input: &mut Input<R>) -> Result<Vec<Vec<u8>>, Error> {
    let mut arguments = Vec::new();
    for _ in 0..read_resp_number(input, b'*')? {
        let length = read_resp_number(input, b'$')?;
        let mut argument = Vec::new();
        input.take_into(&mut argument, length)?;
        if &input.array()? != b"\r\n" {
            return Err(input.damaged("an argument of a command is longer than it says"));
        }
        arguments.push(argument);
    }
    Ok(arguments)
}

fn read_resp_number<R: Read>(input: &mut Input<R>, sign: u8) -> Result<u64, Error> {
    const MOST_DIGITS: usize = 19;
    const WHAT: &str = "a command begins with no count or length";
    let offset = input.offset();
    if input.byte()? != sign {
        return Err(input.damaged_at(offset, WHAT));
    }
    let mut digits = Vec::new();
    loop {
        match input.byte()? {
            b'\r' => break,
            digit if digit.is_ascii_digit() && digits.len() < MOST_DIGITS => digits.push(digit),
            _ => return Err(input.damaged_at(offset, WHAT)),
        }
    }
    let number = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
    match (input.byte()?, number) {
        (b'\n', Some(number)) => Ok(number),
        _ => Err(input.damaged_at(offset, WHAT)),
    }
}
