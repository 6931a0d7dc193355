//! What a conversion tells: what it wrote, and what is missing there.

use super::source::Source;
use super::survey::Survey;
use crate::losses;
use anyhow::Context;
use ironkeep::cli::json::Object;
use ironkeep::cli::plural::plural;
use ironkeep::rdb::{Losses, Version};
use std::io::{self, Write};

/// The outcome, as it grows.
pub struct Report {
    from: String,
    /// The magic of the input, or `log`.
    origin: String,
    version: Version,
    output: String,
    /// Keys written.
    pub keys: u64,
    /// Keys without elements, which are left out.
    pub empty: u64,
    /// Opcodes of other products, which are left out.
    pub foreign: u64,
    /// Bytes written, the trailer apart.
    pub bytes: u64,
    pub losses: Losses,
    trailing_bytes: u64,
}

impl Report {
    pub fn new(survey: &Survey, version: Version, from: &Source) -> Report {
        Report {
            from: from.name().to_owned(),
            origin: if from.is_log { "log".to_owned() } else { survey.header.to_string() },
            version,
            output: String::new(),
            keys: 0,
            empty: 0,
            foreign: 0,
            bytes: 0,
            losses: Losses::default(),
            trailing_bytes: survey.trailing_bytes,
        }
    }

    /// The output is complete under this name.
    pub fn wrote(&mut self, name: &str) {
        name.clone_into(&mut self.output);
    }

    /// JSON goes to standard output unless the data went there; words go to standard error.
    pub fn print(&self, as_json: bool, stdout_is_taken: bool) -> anyhow::Result<()> {
        let mut out = Vec::new();
        if as_json {
            self.write_json(&mut out);
        } else {
            self.write_text(&mut out)?;
        }
        if as_json && !stdout_is_taken {
            io::stdout().write_all(&out).and_then(|()| io::stdout().flush()).context("standard output")
        } else {
            io::stderr().write_all(&out).context("standard error")
        }
    }

    fn write_text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let origin = if self.origin == "log" { "a log" } else { &self.origin };
        writeln!(out, "{}: {} as {}, from {origin}", self.output, plural(self.keys, "key"), self.version.header())?;
        losses::write_text(&self.losses, out)?;
        if self.empty > 0 {
            writeln!(out, "left out: {} without elements, which servers skip too", plural(self.empty, "key"))?;
        }
        if self.foreign > 0 {
            writeln!(out, "left out: {} of other products", plural(self.foreign, "opcode"))?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let mut report = Object::open(out);
        report.str("schema", "rdbtool.convert/1").str("file", &self.from).str("output", &self.output);
        report.str("from", &self.origin).str("to", &self.version.header().to_string());
        report.u64("keys", self.keys).u64("bytes", self.bytes);
        losses::write_json(&self.losses, &mut report);
        report.u64("empty_keys", self.empty).u64("foreign_opcodes", self.foreign);
        report.u64("trailing_bytes", self.trailing_bytes);
        report.close();
        out.push(b'\n');
    }
}
