//! What the first reading finds: the version to write, the keys of each database, and whether a key comes twice.

use super::{Record, Records};
use crate::losses;
use anyhow::Context;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::plural::plural;
use ironkeep::codec::fingerprint::Fingerprints;
use ironkeep::disk::Sorter;
use ironkeep::rdb::{Feature, Losses, ObjectRef, Version, WriteError, WriteOptions, Writer};
use ironkeep::value::Object as Value;
use std::collections::BTreeMap;
use std::io::{self, Sink, Write};

/// Bytes of fingerprints that stay in memory.
const IN_MEMORY: usize = 32 << 20;

/// Keys of a database.
#[derive(Clone, Copy, Default)]
struct Count {
    keys: u64,
    expires: u64,
}

/// How the file is written.
pub struct Plan {
    pub version: Version,
    databases: BTreeMap<u64, Count>,
    /// Collections without elements.
    empty: u64,
    /// Numbers under opcodes of other products.
    foreign: u64,
    losses: Losses,
}

/// A reading that finds it.
struct Survey {
    plan: Plan,
    /// Writes to nowhere, and says what the version cannot hold.
    writer: Writer<Sink>,
    /// Whether the version may still rise.
    is_open: bool,
    /// Whether a remark says that a Valkey wrote the data.
    of_valkey: bool,
    lossy: bool,
    fingerprints: Fingerprints,
    /// Fingerprint of each key, and its number.
    seen: Sorter,
    number: u64,
}

/// Whether servers skip the key, since it holds nothing.
fn is_empty(value: &ObjectRef<'_>) -> bool {
    match value {
        ObjectRef::Object(Value::List(list)) => list.is_empty(),
        ObjectRef::Object(Value::Set(set)) => set.is_empty(),
        ObjectRef::Object(Value::Zset(zset)) => zset.is_empty(),
        ObjectRef::Object(Value::Hash(hash)) => hash.is_empty(),
        ObjectRef::Object(Value::Array(array)) => array.is_empty(),
        _ => false,
    }
}

fn nowhere(version: Version, lossy: bool) -> Result<Writer<Sink>, WriteError> {
    let options = WriteOptions { checksum: false, compress: false };
    Ok(Writer::new(io::sink(), version, options)?.lossy(lossy))
}

/// The lowest version above that holds the feature too; none where Redis and Valkey each would have to read a part. What
/// comes from Valkey (`of_valkey`) becomes Valkey's own version, since no Valkey loads Redis' 12.
fn next_version(version: Version, feature: Feature, of_valkey: bool) -> Option<Version> {
    let own = (of_valkey && version == Version::Rdb11).then_some(Version::Valkey80);
    own.into_iter().chain(Version::ALL).filter(|next| *next > version).find(|next| {
        let reads_on = next.header().lineage == version.header().lineage || version == Version::Rdb11;
        reads_on && next.holds(feature)
    })
}

impl Plan {
    /// Reads everything once. `to` is the version that was asked for.
    pub fn of(records: &mut Records, to: Option<Version>, lossy: bool) -> anyhow::Result<Plan> {
        let version = to.unwrap_or(Version::Rdb11);
        let plan = Plan { version, databases: BTreeMap::new(), empty: 0, foreign: 0, losses: Losses::default() };
        let mut survey = Survey {
            plan,
            writer: nowhere(version, lossy)?,
            is_open: to.is_none(),
            of_valkey: false,
            lossy,
            fingerprints: Fingerprints::new(),
            seen: Sorter::new(IN_MEMORY),
            number: 0,
        };
        records.each(&mut |record| survey.take(&record))?;
        let Survey { mut plan, writer, seen, .. } = survey;
        plan.losses = writer.losses().clone();
        if let Some(number) = repeated(seen)? {
            let message = format!(
                "a key comes twice in one database, and servers refuse such a file: the {number}. key of the input \
                 has the name of one before it"
            );
            return Err(Failure::error(Exit::Unreadable, message).context(records.name().to_owned()));
        }
        Ok(plan)
    }

    /// Writes a record; `db` is the database that is selected.
    pub fn write<W: Write>(
        &self,
        writer: &mut Writer<W>,
        db: &mut Option<u64>,
        record: Record<'_>,
    ) -> anyhow::Result<()> {
        if let Record::Key { db: wanted, value, .. } = &record {
            if is_empty(value) {
                return Ok(());
            }
            if db.replace(*wanted) != Some(*wanted) {
                let Count { keys, expires } = self.databases.get(wanted).copied().unwrap_or_default();
                writer.select_db(*wanted, keys, expires)?;
            }
        }
        Ok(put(writer, &record)?)
    }

    /// Says what was written, and what was not.
    pub fn tell(&self, name: &str, out: &mut dyn Write) -> io::Result<()> {
        let keys: u64 = self.databases.values().map(|count| count.keys).sum();
        let databases = plural(self.databases.len() as u64, "database"); // usize fits
        writeln!(out, "{name}: {} in {databases}, {}", plural(keys, "key"), self.version.header())?;
        for (count, noun, what) in [
            (self.empty, "key", "without elements, which servers skip"),
            (self.foreign, "number", "under opcodes of other products"),
        ] {
            if count > 0 {
                writeln!(out, "  left out: {} {what}", plural(count, noun))?;
            }
        }
        losses::write_text(&self.losses, out)?;
        Ok(())
    }

    /// The same as one JSON object.
    pub fn write_json(&self, input: &str, output: &str, out: &mut Vec<u8>) {
        let mut report = Object::open(out);
        report.str("schema", "rdbtool.build/1").str("file", input).str("output", output);
        report.str("header", &self.version.header().to_string());
        report.u64("keys", self.databases.values().map(|count| count.keys).sum());
        report.u64("databases", self.databases.len() as u64); // usize fits
        losses::write_json(&self.losses, &mut report);
        report.u64("empty_keys", self.empty).u64("foreign_opcodes", self.foreign);
        report.close();
        out.push(b'\n');
    }
}

impl Survey {
    fn take(&mut self, record: &Record<'_>) -> anyhow::Result<()> {
        match record {
            Record::Foreign => self.plan.foreign += 1,
            Record::Key { value, .. } if is_empty(value) => self.plan.empty += 1,
            Record::Key { db, header, .. } => {
                self.number += 1;
                let fingerprint = self.fingerprints.of(*db, header.key);
                let number = self.number;
                self.seen.push_with(|out| {
                    out.extend_from_slice(&fingerprint.to_be_bytes());
                    out.extend_from_slice(&number.to_be_bytes());
                })?;
                self.hold(record)?;
                let count = self.plan.databases.entry(*db).or_default();
                count.keys += 1;
                count.expires += u64::from(header.expire_at_ms.is_some());
            }
            _ => {
                self.of_valkey |= matches!(record, Record::Aux { name: b"valkey-ver", .. });
                self.hold(record)?;
            }
        }
        Ok(())
    }

    /// Finds whether the version holds the record, and rises until one does.
    fn hold(&mut self, record: &Record<'_>) -> anyhow::Result<()> {
        loop {
            let error = match put(&mut self.writer, record) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let next = match &error {
                WriteError::Lacks { feature, .. } | WriteError::LacksBeside { feature, .. } if self.is_open => {
                    next_version(self.plan.version, *feature, self.of_valkey)
                }
                _ => None,
            };
            let Some(next) = next else {
                let message = "nothing was written; --lossy drops what does not fit";
                return Err(Failure::new(Exit::Unsupported, error)).context(message);
            };
            self.plan.version = next;
            self.writer = nowhere(next, self.lossy)?;
        }
    }
}

fn put<W: Write>(writer: &mut Writer<W>, record: &Record<'_>) -> Result<(), WriteError> {
    match record {
        Record::Aux { name, value } => writer.aux(name, value),
        Record::ModuleAux(module) => writer.module_aux(module.id, &module.raw),
        Record::Function(code) => writer.function(code),
        Record::SlotImport { job, ranges } => writer.slot_import(job, ranges),
        Record::Foreign => Ok(()),
        Record::Key { header, value, .. } => writer.key(header, *value),
    }
}

/// The number of a key that another one before it is equal to.
fn repeated(seen: Sorter) -> io::Result<Option<u64>> {
    let mut sorted = seen.finish()?;
    let (mut before, mut first) = (Vec::new(), None);
    while let Some(record) = sorted.next()? {
        let (fingerprint, number) = record.split_at(16);
        if before == fingerprint {
            let number = number.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            first = Some(first.map_or(number, |first: u64| first.min(number)));
        }
        before.clear();
        before.extend_from_slice(fingerprint);
    }
    Ok(first)
}
