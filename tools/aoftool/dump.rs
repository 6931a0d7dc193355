//! `aoftool dump`: the records of a log, one after the other, without changing or keeping any.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::check::open_records;
use ironkeep::aof::log::begins_rdb;
use ironkeep::aof::seal::{self, Mark};
use ironkeep::aof::{Fault, Item, RdbDepth, RdbPart};
use ironkeep::cli::escape::{Escaped, Quoted};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::{self, Object};
use ironkeep::cli::progress::Progress;
use ironkeep::codec::number;
use ironkeep::disk::{Disk, Mode};
use ironkeep::rdb::envelope;

use crate::report;

/// Print the records of a log: file, offset, database, command
///
/// What an RDB in front of a file holds is not among them; rdbtool dump prints that.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    /// One JSON array
    #[arg(long, conflicts_with_all = ["ndjson", "resp"])]
    json: bool,
    /// One JSON object per line
    #[arg(long, conflicts_with = "resp")]
    ndjson: bool,
    /// The records' own bytes, fit for redis-cli --pipe
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

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let format = match (arguments.json, arguments.ndjson, arguments.resp) {
        (true, ..) => Format::Json,
        (_, true, _) => Format::JsonLines,
        (.., true) => Format::Resp,
        _ => Format::Text,
    };
    let mut printer =
        Printer { out: io::BufWriter::with_capacity(1 << 16, io::stdout()), format, line: Vec::new(), db: 0, count: 0 };
    printer.begin()?;
    let exit = dump(disk, arguments, &mut printer)?;
    printer.finish()?;
    Ok(exit)
}

fn dump(disk: &Arc<dyn Disk>, arguments: &Arguments, printer: &mut Printer) -> anyhow::Result<Exit> {
    if arguments.place.path.as_deref() == Some(Path::new("-")) {
        // A stream needs no second look, so it is not kept.
        let mut start = Vec::new();
        let mut input = io::stdin();
        (&mut input).take(9).read_to_end(&mut start).context("standard input")?;
        let has_rdb = begins_rdb(&start);
        let source = envelope::unwrap(io::Cursor::new(&start).chain(input));
        return dump_file("-", source.context("standard input")?, has_rdb, None, printer).context("standard input");
    }
    let located = arguments.place.locate(disk)?;
    let mut exit = Exit::Fine;
    for file in &located.log.files {
        let open = disk.open(&file.path, Mode::Read).with_context(|| report::name(file))?;
        // On a terminal the records themselves show how far it is.
        let source: Box<dyn Read> = match io::stdout().is_terminal() {
            true => Box::new(open),
            false => Box::new(Progress::new(open, Some(file.len), &report::name(file))),
        };
        let source = envelope::unwrap(source).with_context(|| report::name(file))?;
        let ended = dump_file(&file.name(), source, file.has_rdb, file.unpacked_len(), printer)
            .with_context(|| report::name(file))?;
        if ended != Exit::Fine {
            exit = ended;
        }
    }
    Ok(exit)
}

/// Prints a file up to its end, or up to the first place that can't be read, which is named on stderr.
fn dump_file<R: Read>(
    name: &str,
    source: R,
    has_rdb: bool,
    len: Option<u64>,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    printer.db = 0;
    let (rdb, mut reader) = match open_records(source, has_rdb, len, RdbDepth::Skip, &mut |_| {}) {
        Ok(opened) => opened,
        Err(error) => {
            let exit = if error.is_unsupported() { Exit::Unsupported } else { Exit::Findings };
            return Err(Failure::error(exit, format!("the RDB in front can't be read: {error}")));
        }
    };
    if let Some(rdb) = rdb {
        printer.rdb(name, &rdb)?;
    }
    loop {
        match reader.next() {
            Ok(Some(item)) => printer.item(name, &item)?,
            Ok(None) => return Ok(Exit::Fine),
            Err(Fault::Io { source, .. }) => return Err(source.into()),
            Err(fault) => {
                writeln!(io::stderr(), "{}: {fault}; see aoftool check", Escaped(name.as_bytes()))?;
                return Ok(Exit::Findings);
            }
        }
    }
}

struct Printer {
    out: io::BufWriter<io::Stdout>,
    format: Format,
    line: Vec<u8>,
    db: u64,
    count: u64,
}

impl Printer {
    fn begin(&mut self) -> io::Result<()> {
        if self.format == Format::Json { self.out.write_all(b"[") } else { Ok(()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.format == Format::Json {
            self.out.write_all(b"\n]\n")?;
        }
        self.out.flush()
    }

    /// The RDB in front of a file, as a remark.
    fn rdb(&mut self, name: &str, rdb: &RdbPart) -> io::Result<()> {
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

    fn item(&mut self, name: &str, item: &Item<'_>) -> io::Result<()> {
        self.line.clear();
        if let Item::Record(record) = item
            && record.is(b"SELECT")
            && let Some(db) = record.arguments.get(1).and_then(|db| number::parse_u64(db))
        {
            self.db = db;
        }
        match self.format {
            Format::Resp => {
                if let Item::Record(record) = item {
                    self.out.write_all(record.raw)?;
                }
                return Ok(());
            }
            Format::Text => self.text(name, item)?,
            Format::Json | Format::JsonLines => self.object(name, item),
        }
        self.emit()
    }

    fn text(&mut self, name: &str, item: &Item<'_>) -> io::Result<()> {
        write!(self.line, "{}:{} ", Escaped(name.as_bytes()), item.offset())?;
        match item {
            Item::Annotation(annotation) => writeln!(self.line, "#{}", Escaped(annotation.text())),
            Item::Record(record) => {
                write!(self.line, "[{}]", self.db)?;
                for argument in &record.arguments {
                    let is_word = !argument.is_empty()
                        && argument.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\#".contains(byte));
                    if is_word {
                        self.line.push(b' ');
                        self.line.extend_from_slice(argument);
                    } else {
                        write!(self.line, " {}", Quoted(argument))?;
                    }
                }
                writeln!(self.line)
            }
        }
    }

    fn object(&mut self, name: &str, item: &Item<'_>) {
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
                object.u64("db", self.db);
                object.array("command", &record.arguments, |out, argument| json::write_bytes(out, argument));
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
