//! `aoftool stats`: what was written when, how much, and to which keys.
//!
//! Times are those that the log tells, so that a step shorter than a second shows no more than a second does. Hot keys are
//! counted in bounded memory: a count may be too low by at most the number of writes divided by the room.

mod page;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::Item;
use ironkeep::cli::escape::Quoted;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::show;
use ironkeep::cli::target::{self, Target};
use ironkeep::cli::utc::Utc;
use ironkeep::disk::Disk;

use crate::filter::Filter;
use crate::records::{self, Taker};
use crate::report;
use crate::timeline::{self, Timeline};

/// Keys that are counted at a time, in all and in one step.
const ROOM: usize = 4096;
const ROOM_OF_STEP: usize = 512;
/// Steps that are shown where nobody says how long one is, and the most that may be.
const USUAL_STEPS: i64 = 60;
const MOST_STEPS: i64 = 10_000;
/// Seconds that a step may have where nobody says; each a multiple of the one before, so that none is cut apart.
const LADDER: &[i64] = &[1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 604_800];
/// Characters of the longest bar.
const BAR: u64 = 40;

/// Show writes, bytes and hot keys per second or a longer step, as text or as a page with a plot
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    /// Seconds of one step; without it, as many as make 60 steps at most
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(1..))]
    step: Option<i64>,
    /// How many hot keys
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    top: usize,
    /// Write a page with a plot into this file, which needs nothing from elsewhere; `-` for standard output
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// Replace the page if it is there
    #[arg(long, requires = "html")]
    force: bool,
    /// The report as one JSON object (schema aoftool.stats/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
    #[command(flatten)]
    filter: Filter,
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let located = arguments.place.locate(disk)?;
    if let Some(path) = &arguments.html {
        located.log.files.iter().try_for_each(|file| target::refuse_input(&**disk, &file.path, path))?;
    }
    let mut stats = Stats::new(arguments);
    let exit = records::walk_log(disk, &located.log, &mut stats)?;
    if let Some(path) = &arguments.html {
        let mut target = Target::create(disk, path, arguments.force)?;
        let page = page::page(&located.name, &stats);
        target.write_all(page.as_bytes()).with_context(|| show(path))?;
        target.commit()?;
        return Ok(exit);
    }
    let mut out = Vec::new();
    match arguments.json {
        true => stats.write_json(&located.name, &mut out),
        false => stats.write_text(&located.name, &mut out)?,
    }
    report::print(&out)?;
    Ok(exit)
}

/// How much was written.
#[derive(Clone, Copy, Default)]
struct Tally {
    writes: u64,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.writes += other.writes;
        self.bytes += other.bytes;
    }
}

/// Database and name.
type Key = (u64, Vec<u8>);

/// The most frequent of many keys, in room for some of them: where a new one finds no room, all lose one. (Misra and
/// Gries, "Finding repeated elements", 1982)
struct HotKeys {
    counts: HashMap<Key, u64>,
    room: usize,
}

impl HotKeys {
    fn new(room: usize) -> Self {
        Self { counts: HashMap::new(), room }
    }

    fn add(&mut self, db: u64, key: &[u8], count: u64) {
        let place = (db, key.to_vec());
        if self.counts.len() < self.room || self.counts.contains_key(&place) {
            *self.counts.entry(place).or_default() += count;
            return;
        }
        let least = self.counts.values().copied().min().unwrap_or(0).min(count);
        self.counts.values_mut().for_each(|held| *held -= least);
        self.counts.retain(|_, held| *held > 0);
        if count > least {
            self.counts.insert(place, count - least);
        }
    }

    /// The most frequent first; of equal ones the first by name.
    fn top(&self, most: usize) -> Vec<(&Key, u64)> {
        let mut ranked: Vec<_> = self.counts.iter().map(|(key, count)| (key, *count)).collect();
        ranked.sort_by(|(one, count), (other, others)| others.cmp(count).then(one.cmp(other)));
        ranked.truncate(most);
        ranked
    }
}

/// What was written in one step.
struct Step {
    tally: Tally,
    keys: HotKeys,
}

impl Default for Step {
    fn default() -> Self {
        Self { tally: Tally::default(), keys: HotKeys::new(ROOM_OF_STEP) }
    }
}

struct Stats<'a> {
    arguments: &'a Arguments,
    /// Seconds.
    step: i64,
    /// By the second in which they begin, divided by the step.
    steps: BTreeMap<i64, Step>,
    total: Tally,
    /// Before the log has told a time.
    untimed: Tally,
    keys: HotKeys,
}

impl Taker for Stats<'_> {
    fn item(&mut self, file: &str, item: &Item<'_>, timeline: &Timeline) -> anyhow::Result<()> {
        let Item::Record(record) = item else { return Ok(()) };
        let is_frame = [&b"SELECT"[..], b"MULTI", b"EXEC"].iter().any(|name| record.is(name));
        if is_frame || !self.arguments.filter.takes(file, record, timeline) {
            return Ok(());
        }
        let tally = Tally { writes: 1, bytes: record.len() };
        self.total.add(tally);
        let keys = timeline::keys(record);
        keys.iter().for_each(|key| self.keys.add(timeline.db, key, 1));
        let Some(time_ms) = timeline.time_ms else {
            self.untimed.add(tally);
            return Ok(());
        };
        let step = self.steps.entry(time_ms.div_euclid(1000).div_euclid(self.step)).or_default();
        step.tally.add(tally);
        keys.iter().for_each(|key| step.keys.add(timeline.db, key, 1));
        self.widen()
    }
}

impl<'a> Stats<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        Self {
            arguments,
            step: arguments.step.unwrap_or(LADDER[0]),
            steps: BTreeMap::new(),
            total: Tally::default(),
            untimed: Tally::default(),
            keys: HotKeys::new(ROOM),
        }
    }

    /// From the first step to the last, those without a write included.
    fn span(&self) -> i64 {
        let ends = self.steps.first_key_value().zip(self.steps.last_key_value());
        ends.map_or(0, |((first, _), (last, _))| last.saturating_sub(*first).saturating_add(1))
    }

    /// Makes steps longer where there are too many.
    fn widen(&mut self) -> anyhow::Result<()> {
        if self.arguments.step.is_some() {
            if self.span() > MOST_STEPS {
                let message =
                    format!("more than {MOST_STEPS} steps: name a larger --step, or choose by --from and --to");
                return Err(Failure::error(Exit::Usage, message));
            }
            return Ok(());
        }
        while self.span() > USUAL_STEPS {
            let next = LADDER.iter().find(|step| **step > self.step);
            let next = next.copied().unwrap_or(self.step.saturating_mul(2));
            let factor = next / self.step;
            self.step = next;
            for (number, step) in std::mem::take(&mut self.steps) {
                let wider = self.steps.entry(number.div_euclid(factor)).or_default();
                wider.tally.add(step.tally);
                step.keys.counts.iter().for_each(|((db, key), count)| wider.keys.add(*db, key, *count));
            }
        }
        Ok(())
    }

    /// Every step with its time, those without a write included.
    fn rows(&self) -> Vec<(Utc, Tally, Option<&Step>)> {
        let Some((first, _)) = self.steps.first_key_value() else { return Vec::new() };
        let row = |number: i64| {
            let step = self.steps.get(&number);
            let time = Utc(number.saturating_mul(self.step).saturating_mul(1000));
            (time, step.map_or(Tally::default(), |step| step.tally), step)
        };
        (*first..first.saturating_add(self.span())).map(row).collect()
    }

    fn write_text(&self, name: &str, out: &mut Vec<u8>) -> io::Result<()> {
        let Tally { writes, bytes } = self.total;
        writeln!(out, "{name}: {}, {}", report::plural(writes, "write"), report::plural(bytes, "byte"))?;
        if self.steps.is_empty() {
            writeln!(out, "this log tells no times (see aof-timestamp-enabled), so there is no course of them")?;
        } else {
            writeln!(out, "in steps of {}:", report::plural(self.step.unsigned_abs(), "second"))?;
        }
        if self.untimed.writes > 0 && !self.steps.is_empty() {
            writeln!(out, "{:<24} {:>9} {:>12}", "before the first time", self.untimed.writes, self.untimed.bytes)?;
        }
        let rows = self.rows();
        let most = rows.iter().map(|(_, tally, _)| tally.writes).max().unwrap_or(0).max(1);
        for (time, tally, step) in rows {
            let bar = "#".repeat(usize::try_from(tally.writes * BAR / most).unwrap_or(0));
            write!(out, "{time} {:>9} {:>12} {bar}", tally.writes, tally.bytes)?;
            if let Some(((db, key), count)) = step.and_then(|step| step.keys.top(1).first().copied()) {
                write!(out, " {} ({db}, {count})", Quoted(key))?;
            }
            writeln!(out)?;
        }
        let hot = self.keys.top(self.arguments.top);
        if !hot.is_empty() {
            writeln!(out, "hot keys:")?;
        }
        for ((db, key), count) in hot {
            writeln!(out, "{count:>12} db {db} {}", Quoted(key))?;
        }
        Ok(())
    }

    fn write_json(&self, name: &str, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        object.str("schema", "aoftool.stats/1").str("log", name).i64("step_seconds", self.step);
        object.u64("writes", self.total.writes).u64("bytes", self.total.bytes);
        object.u64("writes_before_first_time", self.untimed.writes);
        object.array("steps", self.rows(), |out, (time, tally, step)| {
            let mut row = Object::open(out);
            row.i64("time_ms", time.0).u64("writes", tally.writes).u64("bytes", tally.bytes);
            let keys = step.map(|step| step.keys.top(3)).unwrap_or_default();
            row.array("hot_keys", keys, write_key);
            row.close();
        });
        object.array("hot_keys", self.keys.top(self.arguments.top), write_key);
        object.close();
        out.push(b'\n');
    }
}

fn write_key(out: &mut Vec<u8>, ((db, key), count): (&Key, u64)) {
    let mut object = Object::open(out);
    object.u64("db", *db).bytes("key", key).u64("count", count);
    object.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_key_survives_any_number_of_cold_ones() {
        let mut keys = HotKeys::new(8);
        for number in 0..1000u32 {
            keys.add(0, b"hot", 1);
            keys.add(0, &number.to_be_bytes(), 1);
        }
        assert!(keys.counts.len() <= 8);
        let top = keys.top(1);
        assert_eq!(top[0].0.1, b"hot");
        // 2000 writes, room for 8: at most 250 too low.
        assert!((750..=1000).contains(&top[0].1), "{}", top[0].1);
    }
}
