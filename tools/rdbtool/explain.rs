//! `rdbtool explain`: the bytes of a file beside their meaning, each byte once.
//!
//! What lies inside of a compressed string has offsets of its own, written with a plus. A damaged file is explained up
//! to the damage, whose place is marked.

use crate::Place;
use crate::opened;
use anyhow::Context;
use ironkeep::cli::escape::Escaped;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::{self, Object};
use ironkeep::rdb::Error;
use ironkeep::rdb::explain::{Piece, Witness, explain};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::Range;

/// Bytes of a line's hex column.
const COLUMN: usize = 16;
/// Bytes that are collected before they are written.
const BATCH: usize = 64 * 1024;

/// Show every byte of the file, or of one key, beside its meaning
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Only this key; one that is no text as `base64:...`, as the JSON of dump has it
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only keys of this database
    #[arg(long, value_name = "NUMBER")]
    db: Option<u64>,
    /// Only what lies in these bytes of the file: 100..200, 0x64.., ..200
    #[arg(long, value_name = "START..END", value_parser = parse_range)]
    range: Option<Range<u64>>,
    /// Stop after so many lines
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// One JSON object (schema rdbtool.explain/1) instead of columns
    #[arg(long)]
    json: bool,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str, missing: u64| match text.strip_prefix("0x") {
        _ if text.is_empty() => Ok(missing),
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let (start, end) = text.split_once("..").ok_or("a range is START..END, and either may be left out")?;
    let range = number(start, 0).and_then(|start| Ok(start..number(end, u64::MAX)?));
    let range = range.map_err(|_| "START and END are byte offsets, decimal or 0x...".to_owned())?;
    if range.is_empty() { Err("the range holds no byte".to_owned()) } else { Ok(range) }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let key = arguments.key.as_deref().map(|key| {
        json::bytes_of(key).ok_or_else(|| Failure::error(Exit::Usage, "--key: what follows base64: is no base64"))
    });
    let input = opened::open(&arguments.place)?;
    let (name, len) = (input.name.clone(), input.len);
    let mut lines = Lines {
        key: key.transpose()?,
        db: arguments.db,
        range: arguments.range.clone().unwrap_or(0..u64::MAX),
        left: arguments.limit.unwrap_or(u64::MAX),
        is_json: arguments.json,
        offset_width: len.map_or(10, |len| len.to_string().len().max(6)),
        written: 0,
        is_before: false,
        has_ended: false,
        keys: 0,
        out: Vec::new(),
        failed: None,
    };
    lines.open(&name);
    let walked = explain(opened::counted(input), &mut lines);
    let fault = walked.err().filter(|_| !lines.is_done());
    lines.close(fault.as_ref());
    lines.spill(0);
    if let Some(error) = lines.failed {
        return Err(error).context("standard output");
    }
    match fault {
        Some(error) if opened::is_disk_error(&error) => Err(opened::failure(&name, &error)),
        Some(error) if error.is_unsupported() => Ok(Exit::Unsupported),
        Some(_) => Ok(Exit::Findings),
        None if lines.keys == 0 && (lines.key.is_some() || lines.db.is_some()) => {
            writeln!(io::stderr(), "{name}: there is no such key")?;
            Ok(Exit::Findings)
        }
        None if lines.written == 0 && lines.range != (0..u64::MAX) => {
            writeln!(io::stderr(), "{name}: nothing of what is asked for lies in this range")?;
            Ok(Exit::Findings)
        }
        None => Ok(Exit::Fine),
    }
}

/// Writes what is wanted, a line a piece.
struct Lines {
    key: Option<Vec<u8>>,
    db: Option<u64>,
    range: Range<u64>,
    left: u64,
    is_json: bool,
    offset_width: usize,
    written: u64,
    /// Whether the start of the range has not come.
    is_before: bool,
    /// Whether the end of the range was passed.
    has_ended: bool,
    /// Keys that were wanted.
    keys: u64,
    out: Vec<u8>,
    failed: Option<io::Error>,
}

impl Witness for Lines {
    fn wants(&mut self, key: Option<(u64, &[u8])>) -> bool {
        let Some((db, key)) = key else { return self.key.is_none() && self.db.is_none() };
        let is_wanted =
            self.db.is_none_or(|wanted| wanted == db) && self.key.as_deref().is_none_or(|wanted| wanted == key);
        self.keys += u64::from(is_wanted);
        is_wanted
    }

    fn piece(&mut self, piece: Piece) {
        // What lies inside of a compressed string is shown with it.
        if !piece.unpacked {
            self.has_ended = piece.offset >= self.range.end;
            self.is_before = piece.offset + piece.len <= self.range.start;
        }
        if self.is_before || self.has_ended || self.left == 0 {
            return;
        }
        self.left -= 1;
        if self.is_json {
            self.write_object(&piece)
        } else {
            self.write_line(&piece)
        }
        self.written += 1;
        self.spill(BATCH);
    }

    fn is_done(&self) -> bool {
        self.has_ended || self.left == 0 || self.failed.is_some() || self.has_found()
    }
}

impl Lines {
    /// Whether the one key that was asked for has been shown.
    fn has_found(&self) -> bool {
        self.keys > 0 && self.key.is_some() && self.db.is_some()
    }

    fn open(&mut self, name: &str) {
        if self.is_json {
            self.out.extend_from_slice(b"{\"schema\":\"rdbtool.explain/1\",\"file\":");
            json::write_str(&mut self.out, name);
            self.out.extend_from_slice(b",\"pieces\":[");
        }
    }

    fn close(&mut self, fault: Option<&Error>) {
        if !self.is_json {
            if let Some(error) = fault {
                let width = self.offset_width;
                let marks = "^^";
                self.text(format_args!(
                    "{:>width$}  {marks:<column$} | BROKEN HERE: {error}\n",
                    error.offset(),
                    column = COLUMN * 3 - 1
                ));
            }
            return;
        }
        self.out.push(b']');
        if let Some(error) = fault {
            self.out.extend_from_slice(b",\"fault\":");
            let mut fault = Object::open(&mut self.out);
            fault.u64("offset", error.offset()).str("part", error.part());
            if let Some(key) = error.key() {
                fault.bytes("key", key);
            }
            fault.str("what", &error.to_string());
            fault.close();
        }
        self.out.extend_from_slice(b"}\n");
    }

    fn write_object(&mut self, piece: &Piece) {
        if self.written > 0 {
            self.out.push(b',');
        }
        self.out.push(b'\n');
        let mut object = Object::open(&mut self.out);
        object.u64("offset", piece.offset).u64("bytes", piece.len).u64("depth", piece.depth as u64); // small
        object.str("hex", &hex(&piece.head, "")).str("what", &piece.what).str("meaning", &piece.meaning);
        if piece.unpacked {
            object.bool("unpacked", true);
        }
        object.close();
    }

    fn write_line(&mut self, piece: &Piece) {
        let mut bytes = hex(&piece.head[..piece.head.len().min(COLUMN)], " ");
        if piece.len > COLUMN as u64 {
            bytes.truncate(COLUMN * 3 - 4);
            bytes.push_str("..");
        }
        let offset = if piece.unpacked { format!("+{}", piece.offset) } else { piece.offset.to_string() };
        let (width, column, indent) = (self.offset_width, COLUMN * 3 - 1, piece.depth * 2);
        let (what, meaning) = (Escaped(piece.what.as_bytes()), &piece.meaning);
        self.text(format_args!("{offset:>width$}  {bytes:<column$} | {:indent$}{what}: {meaning}\n", ""));
    }

    fn text(&mut self, text: std::fmt::Arguments<'_>) {
        let mut line = String::new();
        let _ = line.write_fmt(text); // a String takes everything
        self.out.extend_from_slice(line.as_bytes());
    }

    fn spill(&mut self, most: usize) {
        if self.out.len() > most && self.failed.is_none() {
            let mut stdout = io::stdout().lock();
            self.failed = stdout.write_all(&self.out).and_then(|()| stdout.flush()).err();
            self.out.clear();
        }
    }
}

fn hex(bytes: &[u8], between: &str) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            text.push_str(between);
        }
        let _ = write!(text, "{byte:02x}"); // a String takes everything
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_decimal_or_hexadecimal_and_may_be_open() {
        assert_eq!(parse_range("16..0x20"), Ok(16..32));
        assert_eq!(parse_range("16.."), Ok(16..u64::MAX));
        assert_eq!(parse_range("..9"), Ok(0..9));
        assert!(parse_range("9..9").is_err() && parse_range("9").is_err() && parse_range("a..b").is_err());
    }
}
