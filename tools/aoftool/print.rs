//! How records are printed, by every verb that prints some.

use std::io::{self, Write};

use ironkeep::aof::seal::{self, Mark};
use ironkeep::aof::{Item, RdbPart};
use ironkeep::cli::escape::{Escaped, Quoted};
use ironkeep::cli::json::{self, Object};
use ironkeep::resp::encode_request;

use crate::report;
use crate::timeline::{self, Timeline};

/// The options.
#[derive(clap::Args, Clone, Copy)]
pub struct Output {
    /// One JSON array
    #[arg(long, conflicts_with_all = ["ndjson", "resp"])]
    json: bool,
    /// One JSON object per line: file, offset, time_ms (where the log has told one), db, command, keys
    #[arg(long, conflicts_with = "resp")]
    ndjson: bool,
    /// The records' own bytes, fit for redis-cli --pipe; where some are left out, with the SELECTs that they need
    #[arg(long)]
    resp: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    JsonLines,
    Resp,
}

impl Output {
    /// Whether what is printed is not whole before its end.
    pub fn is_one_array(&self) -> bool {
        self.json
    }
}

/// Prints to standard output.
pub struct Printer {
    out: io::BufWriter<io::Stdout>,
    format: Format,
    line: Vec<u8>,
    count: u64,
    /// Some records are left out, so that their SELECTs may be missing; the database that was selected last.
    selects: Option<u64>,
}

impl Printer {
    /// `is_whole`: no record will be left out.
    pub fn new(output: Output, is_whole: bool) -> Self {
        let format = match (output.json, output.ndjson, output.resp) {
            (true, ..) => Format::Json,
            (_, true, _) => Format::JsonLines,
            (.., true) => Format::Resp,
            _ => Format::Text,
        };
        let out = io::BufWriter::with_capacity(1 << 16, io::stdout());
        Self { out, format, line: Vec::new(), count: 0, selects: (!is_whole).then_some(0) }
    }

    pub fn begin(&mut self) -> io::Result<()> {
        if self.format == Format::Json { self.out.write_all(b"[") } else { Ok(()) }
    }

    pub fn finish(&mut self) -> io::Result<()> {
        if self.format == Format::Json {
            self.out.write_all(b"\n]\n")?;
        }
        self.out.flush()
    }

    /// Lets go of what is printed, where more may be long in coming.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The RDB in front of a file, as a remark.
    pub fn rdb(&mut self, name: &str, rdb: &RdbPart) -> io::Result<()> {
        self.line.clear();
        match self.format {
            Format::Resp => return Ok(()),
            Format::Text => {
                let name = Escaped(name.as_bytes());
                writeln!(self.line, "{name}:0 # RDB: {}, see rdbtool dump", report::rdb_words(rdb))?;
            }
            Format::Json | Format::JsonLines => {
                let mut object = Object::open(&mut self.line);
                object.bytes("file", name.as_bytes()).u64("offset", 0);
                let mut inner = Object::open(object.member(b"rdb"));
                inner.str("version", &rdb.header.to_string()).u64("bytes", rdb.len).u64("keys", rdb.keys);
                inner.close();
                object.close();
            }
        }
        self.emit()
    }

    pub fn item(&mut self, name: &str, item: &Item<'_>, timeline: &Timeline) -> io::Result<()> {
        self.line.clear();
        match self.format {
            Format::Resp => return self.bytes(item, timeline),
            Format::Text => self.text(name, item, timeline)?,
            Format::Json | Format::JsonLines => self.object(name, item, timeline),
        }
        self.emit()
    }

    fn bytes(&mut self, item: &Item<'_>, timeline: &Timeline) -> io::Result<()> {
        let Item::Record(record) = item else { return Ok(()) };
        let is_select = timeline::selected(record).is_some();
        match &mut self.selects {
            Some(_) if is_select => return Ok(()),
            Some(selected) if *selected != timeline.db => {
                *selected = timeline.db;
                encode_request(&mut self.line, &["SELECT", &timeline.db.to_string()]);
                self.out.write_all(&self.line)?;
            }
            _ => {}
        }
        self.out.write_all(record.raw)
    }

    fn text(&mut self, name: &str, item: &Item<'_>, timeline: &Timeline) -> io::Result<()> {
        write!(self.line, "{}:{} ", Escaped(name.as_bytes()), item.offset())?;
        match item {
            Item::Annotation(annotation) => writeln!(self.line, "#{}", Escaped(annotation.text())),
            Item::Record(record) => {
                write!(self.line, "[{}]", timeline.db)?;
                write_words(&mut self.line, &record.arguments)?;
                writeln!(self.line)
            }
        }
    }

    fn object(&mut self, name: &str, item: &Item<'_>, timeline: &Timeline) {
        let mut object = Object::open(&mut self.line);
        object.bytes("file", name.as_bytes()).u64("offset", item.offset());
        match item {
            Item::Annotation(annotation) => {
                object.bytes("annotation", annotation.text());
                if let Some(Ok(mark)) = annotation.mark() {
                    write_mark(&mut object, &mark);
                }
            }
            Item::Record(record) => {
                if let Some(time_ms) = timeline.time_ms {
                    object.i64("time_ms", time_ms);
                }
                object.u64("db", timeline.db);
                object.array("command", &record.arguments, |out, argument| json::write_bytes(out, argument));
                object.array("keys", timeline::keys(record), json::write_bytes);
            }
        }
        object.close();
    }

    fn emit(&mut self) -> io::Result<()> {
        match self.format {
            Format::Json => {
                self.out.write_all(if self.count == 0 { b"\n" } else { b",\n" })?;
            }
            Format::JsonLines => self.line.push(b'\n'),
            Format::Text | Format::Resp => {}
        }
        self.count += 1;
        self.out.write_all(&self.line)
    }
}

/// A command as a person would type it, with a space in front of each word.
pub fn write_words(line: &mut Vec<u8>, arguments: &[&[u8]]) -> io::Result<()> {
    for argument in arguments {
        let is_word =
            !argument.is_empty() && argument.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\#".contains(byte));
        line.push(b' ');
        match is_word {
            true => line.extend_from_slice(argument),
            false => write!(line, "{}", Quoted(argument))?,
        }
    }
    Ok(())
}

/// What a seal or an identity says.
fn write_mark(object: &mut Object<'_>, mark: &Mark<'_>) {
    match mark {
        Mark::Identity(identity) => {
            let mut inner = Object::open(object.member(b"identity"));
            inner.str("history", identity.id.as_str()).u64("position", identity.at).u64("synced", identity.synced);
            inner.bytes("version", &seal::unescape(identity.version)).i64("time_ms", identity.time_ms);
            inner.close();
        }
        Mark::Seal(seal) => {
            let mut inner = Object::open(object.member(b"seal"));
            inner.u64("bytes", seal.len).u64("position", seal.at).u64("synced", seal.synced);
            inner.i64("time_ms", seal.time_ms);
            if let Some(sender) = seal.sender {
                inner.bytes("command", &seal::unescape(sender.command));
                inner.bytes("address", &seal::unescape(sender.address));
                inner.bytes("user", &seal::unescape(sender.user));
            }
            inner.close();
        }
    }
}
