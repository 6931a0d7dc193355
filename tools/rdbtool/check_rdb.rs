//! `redis-check-rdb` by name: a link of that name to this tool takes its argument, and prints its lines and exit codes.
//!
//! Facts come from Redis 7.0 and 8.0 and Valkey 9.1, run on such files. It stops at the first fault, as they do; all that is
//! wrong with a file, and what can be saved of it, is for `rdbtool check`. Unlike theirs it reads files of every version of
//! both families, says why a file can't be opened, and escapes what would garble a terminal.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use ironkeep::cli::escape::Escaped;
use ironkeep::cli::input::Source;
use ironkeep::cli::utc::Utc;
use ironkeep::disk::RealDisk;
use ironkeep::engine::functions::Functions;
use ironkeep::rdb::{Cause, Checksum, Error, Event, KeyHeader, Kind, Options, Reader};
use ironkeep::value::Limits;

/// The names that this answers to.
pub const NAMES: [&str; 2] = ["redis-check-rdb", VALKEY];
const VALKEY: &str = "valkey-check-rdb";

/// The whole program.
pub fn main(name: &str, arguments: &[OsString]) -> ExitCode {
    let told = match arguments {
        [word] if word == "-v" || word == "--version" => {
            writeln!(io::stdout(), "{name} v={} (ironkeep)", env!("CARGO_PKG_VERSION")).map(|()| true)
        }
        [path] => check(name, Path::new(path)),
        _ => writeln!(io::stderr(), "Usage: {name} <rdb-file-name>").map(|()| false),
    };
    match told {
        Ok(true) => ExitCode::SUCCESS,
        // Where nobody reads the lines any more, nobody reads why.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// What has been read so far.
#[derive(Default)]
struct Tally {
    keys: u64,
    expires: u64,
    expired: u64,
    /// Small hashes with fields that expire.
    subexpires: u64,
    functions: u64,
    /// What is under way, and the key that it is about.
    doing: &'static str,
    key: Option<(Vec<u8>, Kind)>,
}

/// Why a check ended, where, and in which words.
struct Stop {
    offset: u64,
    words: String,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        let words = match error.cause() {
            Cause::CutShort => "Unexpected EOF reading RDB file".to_owned(),
            Cause::NotRdb => "Wrong signature trying to load DB from file".to_owned(),
            Cause::NewerVersion(header) => format!("Can't handle RDB format version {}", header.version),
            Cause::UnknownNumber(number) => format!("Invalid object type: {number}"),
            Cause::Checksum { .. } => "RDB CRC error".to_owned(),
            _ => error.to_string(),
        };
        Self { offset: error.offset(), words }
    }
}

fn check(name: &str, path: &Path) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    writeln!(out, "[offset 0] Checking RDB file {}", Escaped(path.as_os_str().as_encoded_bytes()))?;
    let file = match Source::File(path.to_owned()).open(&RealDisk) {
        Ok(input) => input.reader,
        Err(error) => {
            writeln!(io::stderr(), "{error:#}")?;
            return Ok(false);
        }
    };
    let mut tally = Tally { doing: "start", ..Tally::default() };
    let outcome = tally.read(file, &mut out)?;
    let offset = match &outcome {
        Ok(offset) => {
            if name == VALKEY {
                writeln!(out, "[offset {offset}] Check RDB returned error code 0 (0 means success)")?;
            }
            writeln!(out, "[offset {offset}] \\o/ RDB looks OK! \\o/")?;
            *offset
        }
        Err(Stop { offset, words }) => {
            writeln!(out, "--- RDB ERROR DETECTED ---\n[offset {offset}] {}", Escaped(words.as_bytes()))?;
            writeln!(out, "[additional info] While doing: {}", tally.doing)?;
            if let Some((key, kind)) = &tally.key {
                writeln!(out, "[additional info] Reading key '{}'", Escaped(key))?;
                writeln!(out, "[additional info] Reading type {} ({})", kind.number(), kind.name())?;
            }
            *offset
        }
    };
    writeln!(out, "[info] {} keys read\n[info] {} expires", tally.keys, tally.expires)?;
    writeln!(out, "[info] {} already expired", tally.expired)?;
    if name == VALKEY {
        writeln!(out, "[info] {} functions", tally.functions)?;
        if outcome.is_err() {
            writeln!(out, "[offset {offset}] Check RDB returned error code 1 (0 means success)")?;
        }
    } else {
        writeln!(out, "[info] {} subexpires", tally.subexpires)?;
    }
    out.flush()?;
    Ok(outcome.is_ok())
}

impl Tally {
    /// Reads all of a file, and tells what stands between the keys.
    fn read(&mut self, file: impl io::Read, out: &mut dyn Write) -> io::Result<Result<u64, Stop>> {
        let mut reader = match Reader::new(file, Options::default()) {
            Ok(reader) => reader,
            Err(error) => return Ok(Err(error.into())),
        };
        let (now_ms, mut functions) = (Utc::now().0, Functions::default());
        loop {
            (self.doing, self.key) = ("read-type", None);
            let event = match reader.next() {
                Ok(event) => event,
                Err(error) => {
                    self.doing = doing(&error);
                    return Ok(Err(error.into()));
                }
            };
            let offset = reader.offset();
            let stop = |words: String| Ok(Err(Stop { offset, words }));
            if let Some(words) = event.refusal() {
                return stop(words.to_owned());
            }
            match event {
                Event::Aux { name, value } => {
                    writeln!(out, "[offset {offset}] AUX FIELD {} = '{}'", Escaped(&name), Escaped(&value))?;
                }
                Event::SelectDb(db) => writeln!(out, "[offset {offset}] Selecting DB ID {db}")?,
                Event::ModuleAux { module, .. } => {
                    writeln!(out, "[offset {offset}] MODULE AUX for: {}", Escaped(module.as_bytes()))?;
                }
                Event::Function { code } => {
                    self.functions += 1;
                    if let Err(error) = functions.load(&code, false) {
                        self.doing = "read-functions";
                        return stop(format!("Failed loading library, {error}"));
                    }
                }
                Event::Key(header) => {
                    self.count(&header, now_ms);
                    if let Err(error) = reader.object(&Limits::default()) {
                        self.doing = "read-object-value";
                        return Ok(Err(error.into()));
                    }
                }
                Event::End { checksum } => {
                    match checksum {
                        Checksum::Ok => writeln!(out, "[offset {offset}] Checksum OK")?,
                        Checksum::Absent => {}
                        _ => writeln!(
                            out,
                            "[offset {offset}] RDB file was saved with checksum disabled: no check performed."
                        )?,
                    }
                    return Ok(Ok(offset));
                }
                _ => {}
            }
        }
    }

    fn count(&mut self, header: &KeyHeader, now_ms: i64) {
        self.keys += 1;
        self.expires += u64::from(header.expire_at_ms.is_some());
        self.expired += u64::from(header.expire_at_ms.is_some_and(|at| at < now_ms));
        // Redis 8.0 does not count those with a table.
        self.subexpires += u64::from(matches!(header.kind, Kind::HashListpackEx | Kind::HashListpackExPreGa));
        self.key = Some((header.key.clone(), header.kind));
    }
}

/// What servers' tools call the part of the file that an error is in.
fn doing(error: &Error) -> &'static str {
    match error.part() {
        "a key" => "read-key",
        "the checksum" => "check-sum",
        "AUX" => "read-aux",
        "EXPIRETIME" | "EXPIRETIME_MS" => "read-expire",
        "SELECTDB" | "RESIZEDB" | "IDLE" | "FREQ" | "SLOT_INFO" => "read-len",
        "MODULE_AUX" => "read-module-aux",
        "FUNCTION" | "FUNCTION2" | "FUNCTION_PRE_GA" => "read-functions",
        _ => "read-type",
    }
}
