//! `rdbtool fetch`: the data of a running server as an RDB file, as `redis-cli --rdb` gets it.
//!
//! The bytes are read by an [`rdb::Reader`](ironkeep::rdb::Reader) as they pass, so that the checksum is known before the
//! file gets its name, and a transfer that breaks off leaves no file. Nothing of it is decoded, and unknown types do no
//! harm: then only the transfer's own length or mark says that it is whole.

use crate::opened;
use anyhow::Context;
use ironkeep::cli::client;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::plural::plural;
use ironkeep::cli::progress::Progress;
use ironkeep::cli::sync::{SyncOptions, Transfer};
use ironkeep::cli::target::Target;
use ironkeep::cli::url::ServerUrl;
use ironkeep::disk::{Disk, RealDisk};
use ironkeep::rdb::{Checksum, Error, Event, Header, Options, Reader};
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that are copied at once behind what the reader has read.
const CHUNK: usize = 64 * 1024;

/// Copy the data of a running server into an RDB file, by SYNC
#[derive(clap::Args)]
pub struct Arguments {
    /// The server: redis://[user[:password]@]host[:port]; the password also by REDISCLI_AUTH
    server: String,
    /// The file to write, `-` for standard output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// Function libraries and no keys (Redis >= 7, Valkey)
    #[arg(long)]
    functions_only: bool,
    /// How long to wait for the server's next byte
    #[arg(long, value_name = "SECONDS", default_value_t = client::PATIENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// The report as one JSON object (schema rdbtool.fetch/1)
    #[arg(long)]
    json: bool,
}

/// What was fetched.
#[derive(Default)]
struct Report {
    header: Option<Header>,
    keys: u64,
    functions: u64,
    bytes: u64,
    checksum: Option<Checksum>,
    /// What the reader does not know, where it met such.
    unread: Option<Error>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let Some(url) = ServerUrl::of(&arguments.server) else {
        let message = "fetch reads a server, written redis://[user[:password]@]host[:port]";
        return Err(Failure::error(Exit::Usage, message));
    };
    let address = url.address()?;
    if address.db.is_some_and(|db| db > 0) {
        let message =
            "a server gives all its databases: leave the number out of the URL, and filter the file afterwards";
        return Err(Failure::error(Exit::Usage, message).context(url.to_string()));
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    // Before the server is put to work.
    let target = Target::create(&disk, &arguments.output, arguments.force)?;
    let options = SyncOptions { functions_only: arguments.functions_only };
    let transfer = Transfer::begin(&address, options, Duration::from_secs(arguments.timeout))?;
    let remaining = transfer.remaining();
    let name = target.name().to_owned();
    let copied = Copied {
        from: Progress::new(transfer, remaining, &address.to_string()),
        to: BufWriter::with_capacity(CHUNK, target),
        count: 0,
        failed: None,
    };
    let (report, target) = fetch(copied, &address.to_string(), &name)?;
    target.commit()?;
    report.write(arguments, &url.to_string(), &name)?;
    Ok(Exit::Fine)
}

/// Copies everything; the file is complete, and has no name yet.
fn fetch(copied: Copied, server: &str, target: &str) -> anyhow::Result<(Report, Target)> {
    let mut report = Report::default();
    let mut reader = Reader::new(copied, Options { verify: false }).map_err(|error| opened::failure(server, &error))?;
    report.header = Some(reader.header());
    let walked = report.walk(&mut reader);
    let mut copied = reader.into_inner().0;
    copied.check(target)?;
    match walked {
        // The bytes are right, as far as anybody here can tell.
        Err(error) if error.is_unsupported() => report.unread = Some(error),
        Err(error) => return Err(opened::failure(server, &error)),
        Ok(()) => {}
    }
    // What follows the end, or what the reader does not know: the transfer itself knows where it ends.
    let mut buffer = vec![0; CHUNK];
    loop {
        match copied.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| server.to_owned()),
        }
    }
    report.bytes = copied.count;
    copied.check(target)?;
    let target = copied.to.into_inner().map_err(io::IntoInnerError::into_error).with_context(|| target.to_owned())?;
    if let Some(Checksum::Mismatch { expected, found }) = report.checksum {
        let message = format!(
            "the checksum is {expected:016x} but the bytes that came give {found:016x}: nothing was written, fetch again"
        );
        return Err(Failure::error(Exit::Unreadable, message).context(server.to_owned()));
    }
    Ok((report, target))
}

impl Report {
    fn walk(&mut self, reader: &mut Reader<Copied>) -> Result<(), Error> {
        loop {
            match reader.next()? {
                Event::Key(_) => {
                    reader.skip()?;
                    self.keys += 1;
                }
                Event::Function { .. } => self.functions += 1,
                Event::End { checksum } => {
                    self.checksum = Some(checksum);
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    fn checksum_state(&self) -> &'static str {
        self.checksum.as_ref().map_or("not reached", Checksum::state)
    }

    /// On stdout, unless the data went there.
    fn write(&self, arguments: &Arguments, server: &str, target: &str) -> anyhow::Result<()> {
        let mut out = Vec::new();
        let header = self.header.map_or_else(String::new, |header| header.to_string());
        if arguments.json {
            let mut report = Object::open(&mut out);
            report.str("schema", "rdbtool.fetch/1").str("server", server).str("output", target).str("header", &header);
            report.u64("bytes", self.bytes).u64("keys", self.keys).u64("functions", self.functions);
            report.str("checksum", self.checksum_state());
            if let Some(error) = &self.unread {
                report.str("not_counted", &error.to_string());
            }
            report.close();
            out.push(b'\n');
        } else {
            let (bytes, keys, functions, checksum) = (self.bytes, self.keys, self.functions, self.checksum_state());
            writeln!(
                out,
                "{target}: {header}, {bytes} bytes, {}, {}, checksum {checksum}",
                plural(keys, "key"),
                plural(functions, "function library")
            )?;
            if let Some(error) = &self.unread {
                writeln!(out, "the keys behind this were copied but not counted, the checksum not looked at: {error}")?;
            }
        }
        let is_data = arguments.output.as_os_str() == "-";
        let mut to: Box<dyn Write> = if is_data { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
        to.write_all(&out).and_then(|()| to.flush()).context("standard output")
    }
}

/// Hands on what it reads, and writes it to the target.
struct Copied {
    from: Progress<Transfer>,
    to: BufWriter<Target>,
    count: u64,
    /// Why the target takes no more; the server is not to blame.
    failed: Option<io::Error>,
}

impl Copied {
    /// The error of the target, if it has had one.
    fn check(&mut self, target: &str) -> anyhow::Result<()> {
        self.failed.take().map_or(Ok(()), |error| Err(error).with_context(|| target.to_owned()))
    }
}

impl Read for Copied {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.failed.is_some() {
            return Ok(0);
        }
        let count = self.from.read(out)?;
        self.count += count as u64; // usize fits
        self.failed = self.to.write_all(&out[..count]).err();
        Ok(count)
    }
}
