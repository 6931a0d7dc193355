//! `rdbtool check`: whether servers load the file, where they stop if not, and everything that is wrong with it.
//!
//! The judgement is the library's (`rdb::check`), which goes on behind damage; here it is told. Exit code 1 for any
//! finding, damage of what the file is packed in included; counts that a writer announced and that do not fit are told, but no server minds them.

use crate::Place;
use crate::opened;
use anyhow::Context;
use ironkeep::cli::escape::{Escaped, Quoted};
use ironkeep::cli::exit::Exit;
use ironkeep::cli::json::Object;
use ironkeep::cli::plural::plural;
use ironkeep::cli::utc::Utc;
use ironkeep::engine::functions::Functions;
use ironkeep::rdb::Error;
use ironkeep::rdb::check::{Concern, Finding, Report, Resumed, Rules, judge};
use std::io::{self, Write};

/// How many findings a text report lists without --all.
const LISTED: usize = 100;
/// How many places of one kind stand in the lists of that kind.
const FIRST: usize = 20;

/// Tell whether servers load the file, and all that is wrong with it, key by key
///
/// Goes on after a fault: what can be read behind it is read. Every value is decoded and the checksum verified.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The report as one JSON object (schema rdbtool.check/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
    /// How many databases the server has; a key beyond them stops its start
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    databases: u64,
    /// List every finding, not the first 100
    #[arg(long)]
    all: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let (name, mut input, packing) = opened::seekable_part(&arguments.place)?;
    let rules = Rules {
        databases: arguments.databases,
        now_ms: Utc::now().0,
        verify: arguments.place.options().verify,
        ..Rules::default()
    };
    let report = judged(&mut input, &rules).map_err(|error| opened::failure(&name, &error))?;
    drop(input); // the progress bar ends before the report
    let told = Told {
        report: &report,
        verify: rules.verify,
        packing: packing.map(|fault| fault.to_string()),
        listed: if arguments.all { usize::MAX } else { LISTED },
    };
    let mut out = Vec::new();
    if arguments.json {
        told.write_json(&name, &mut out);
    } else {
        told.write_text(&name, &mut out)?;
    }
    io::stdout().write_all(&out).and_then(|()| io::stdout().flush()).context("standard output")?;
    Ok(told.exit())
}

/// Judges the file with the functions of our own server.
pub fn judged<R: io::Read + io::Seek>(input: &mut R, rules: &Rules) -> Result<Report, Error> {
    let mut functions = Functions::default();
    judge(input, rules, &mut |code| functions.load(code, false).map(|_| ()).map_err(|error| error.to_string()))
}

/// A report and how it is told.
struct Told<'a> {
    report: &'a Report,
    verify: bool,
    /// What is wrong with the packing of the file, whose bytes were judged as far as they came out.
    packing: Option<String>,
    listed: usize,
}

impl Told<'_> {
    fn exit(&self) -> Exit {
        match &self.report.fault {
            Some((error, _)) if error.is_unsupported() => Exit::Unsupported,
            _ if self.packing.is_some() => Exit::Findings,
            _ if self.report.is_healthy() => Exit::Fine,
            _ if self.report.is_unkept_only() => Exit::Unsupported,
            _ => Exit::Findings,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.exit() {
            Exit::Fine => "healthy",
            Exit::Unsupported => "unsupported",
            _ if self.packing.is_some() || self.report.fault.is_some() || self.report.count(Concern::Value) > 0 => {
                "damaged"
            }
            _ => "findings",
        }
    }

    fn checksum_state(&self) -> &'static str {
        match &self.report.checksum {
            Some(_) if !self.verify => "not verified",
            Some(checksum) => checksum.state(),
            None => "not reached",
        }
    }

    fn write_json(&self, name: &str, out: &mut Vec<u8>) {
        let found = self.report;
        let mut report = Object::open(out);
        report.str("schema", "rdbtool.check/1").str("file", name).str("verdict", self.verdict());
        report.bool("loads", found.refusal().is_none() && self.packing.is_none());
        if let Some(packing) = &self.packing {
            report.str("packing", packing);
        }
        if let Some(refusal) = found.refusal() {
            let mut object = Object::open(report.member(b"refusal"));
            object.u64("offset", refusal.offset).str("what", &refusal.what);
            object.close();
        }
        if let Some(header) = found.header {
            report.str("header", &header.to_string()).u64("version", u64::from(header.version));
        }
        report.u64("bytes", found.bytes).u64("keys", found.keys).u64("databases", found.databases.len() as u64);
        report.u64("expiring", found.expiring).u64("expired", found.expired).u64("functions", found.functions);
        report.str("checksum", self.checksum_state());
        if let Some((error, keys_before)) = &found.fault {
            let mut fault = Object::open(report.member(b"fault"));
            fault.u64("offset", error.offset()).str("part", error.part());
            if let Some(key) = error.key() {
                fault.bytes("key", key);
            }
            fault.str("what", &error.to_string()).u64("keys_before", *keys_before);
            fault.close();
        }
        for (title, concern) in [
            ("damaged_keys", Concern::Damage),
            ("refused_values", Concern::Value),
            ("duplicate_keys", Concern::Duplicate),
            ("empty_keys", Concern::Empty),
            ("keys_beyond_databases", Concern::Database),
        ] {
            let of_kind = found.findings.iter().filter(|finding| finding.concern == concern);
            let mut list = Object::open(report.member(title.as_bytes()));
            list.u64("count", found.count(concern));
            list.array("first", of_kind.take(FIRST), write_finding);
            list.close();
        }
        report.array("findings", &found.findings, write_finding);
        let all: u64 = found.counts.values().sum();
        report.u64("findings_count", all);
        if let Some(trailing) = &found.trailing {
            let mut rest = Object::open(report.member(b"trailing"));
            rest.u64("offset", trailing.offset).u64("bytes", trailing.bytes).bool("is_commands", trailing.is_commands);
            rest.bool("is_nul", trailing.is_nul);
            rest.close();
        }
        report.close();
        out.push(b'\n');
    }

    fn write_text(&self, name: &str, out: &mut Vec<u8>) -> io::Result<()> {
        let found = self.report;
        match found.header {
            Some(header) => writeln!(out, "{name}: {header}, {} bytes", found.bytes)?,
            None => writeln!(out, "{name}")?,
        }
        writeln!(
            out,
            "  {} in {}, {} with an expiry ({} of them past), {}",
            plural(found.keys, "key"),
            plural(found.databases.len() as u64, "database"), // usize fits
            found.expiring,
            found.expired,
            plural(found.functions, "function library")
        )?;
        writeln!(out, "  checksum: {}", self.checksum_state())?;
        found.findings.iter().take(self.listed).try_for_each(|finding| write_line(out, finding))?;
        let all: u64 = found.counts.values().sum();
        let hidden = all - found.findings.len().min(self.listed) as u64; // a list never longer than the count
        if hidden > 0 {
            writeln!(out, "  and {hidden} more (--all or --json lists them)")?;
        }
        if let Some(trailing) = found.trailing.filter(|trailing| trailing.is_commands) {
            writeln!(out, "  {} bytes of a command log follow at offset {}", trailing.bytes, trailing.offset)?;
        }
        if let Some(packing) = &self.packing {
            writeln!(out, "  packing: damaged behind the first {} bytes that come out: {packing}", found.bytes)?;
        }
        match found.refusal() {
            None if self.packing.is_some() => writeln!(out, "damaged: what it is packed in does not come out whole"),
            None if self.exit() == Exit::Fine => writeln!(out, "healthy"),
            None => writeln!(out, "findings: servers load it all the same"),
            Some(refusal) => {
                let what = Escaped(refusal.what.as_bytes());
                let who = if found.is_unkept_only() { "ironkeep refuses" } else { "servers refuse" };
                let says_where = refusal.what.starts_with("at offset ");
                let place = if says_where { String::new() } else { format!(" at offset {}", refusal.offset) };
                writeln!(out, "{}: {who} it{place}: {what}", self.verdict())?;
                let faults = [Concern::Damage, Concern::Value, Concern::Duplicate, Concern::End, Concern::Checksum]
                    .map(|concern| found.count(concern));
                if found.header.is_none() {
                    writeln!(out, "without a header nothing can be told of the rest, nor repaired")?;
                } else if faults.iter().any(|count| *count > 0) {
                    writeln!(out, "`rdbtool repair` writes a file with all that can be kept")?;
                }
                Ok(())
            }
        }
    }
}

fn write_finding(out: &mut Vec<u8>, finding: &Finding) {
    let mut object = Object::open(out);
    object.str("kind", finding.concern.name());
    if let Some(db) = finding.db {
        object.u64("db", db);
        if finding.db_uncertain {
            object.bool("db_uncertain", true);
        }
    }
    if let Some(key) = &finding.key {
        object.bytes("key", key);
    }
    object.u64("offset", finding.span.start).u64("bytes", finding.span.end - finding.span.start);
    object.str("what", &finding.what);
    if let Some(resumed) = finding.resumed {
        object.str("resumed_by", resumed.name());
        if resumed != Resumed::Nowhere {
            object.u64("resumed_at", finding.span.end);
        }
    }
    object.close();
}

fn write_line(out: &mut Vec<u8>, finding: &Finding) -> io::Result<()> {
    let Finding { concern, span, db, db_uncertain, key, what, resumed } = finding;
    write!(out, "  {}: offset {}, {} bytes", concern.name(), span.start, span.end - span.start)?;
    if let Some(db) = db {
        write!(
            out,
            ", db {db}{}",
            if *db_uncertain { " (or another: the damage may hold a change of it)" } else { "" }
        )?;
    }
    if let Some(key) = key {
        write!(out, ", key {}", Quoted(key))?;
    }
    write!(out, ": {}", Escaped(what.as_bytes()))?;
    match resumed {
        None => writeln!(out),
        Some(Resumed::Nowhere) => writeln!(out, "; nothing behind it can be read"),
        Some(resumed) => writeln!(out, "; reading goes on at offset {} (found by {})", span.end, resumed.name()),
    }
}
