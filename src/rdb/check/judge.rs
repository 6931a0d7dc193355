//! The verdict: what a server that is started with the file does, where it stops and why, and all else that is wrong.
//!
//! It is the server's own order: the items in the file's order, of each key first its value, then whether it has
//! elements, its database, and whether the key is there already; the checksum last. (`persist::load` is what is
//! followed; `tests/formats/agreement.rs` holds the two against each other.)

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Seek};
use std::ops::Range;

use super::repeats::Repeats;
use super::walk::{Damage, Item, Resumed, Step, Value, Walk};
use crate::rdb::error::{Cause, Error};
use crate::rdb::event::{Checksum, Event, KeyHeader};
use crate::rdb::kind::Header;

/// Memory for the fingerprints of all keys.
const KEY_BYTES: usize = 64 << 20;

/// What the server would be started with.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How many databases it has (`databases`).
    pub databases: u64,
    /// Unix time in ms, for what has expired.
    pub now_ms: i64,
    /// Whether the checksum counts.
    pub verify: bool,
    /// How many findings are kept; all are counted.
    pub most_findings: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { databases: 16, now_ms: 0, verify: true, most_findings: 100_000 }
    }
}

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Concern {
    /// Bytes that cannot be read.
    Damage,
    /// A value that is whole and contradicts itself, such as a set with a member twice.
    Value,
    /// A key that its database has already.
    Duplicate,
    /// A collection without elements, which servers skip.
    Empty,
    /// A key in a database beyond those configured.
    Database,
    /// A function library that does not load.
    Function,
    /// Something whole that ironkeep does not take, since it could not keep it.
    Unkept,
    /// The end marker is missing.
    End,
    /// The checksum does not fit.
    Checksum,
    /// Bytes behind the end.
    Trailing,
    /// A count of keys that a writer announced and that is not so. No server minds.
    Hint,
}

impl Concern {
    /// One word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Concern::Damage => "damage",
            Concern::Value => "value",
            Concern::Duplicate => "duplicate",
            Concern::Empty => "empty",
            Concern::Database => "database",
            Concern::Function => "function",
            Concern::Unkept => "unkept",
            Concern::End => "end",
            Concern::Checksum => "checksum",
            Concern::Trailing => "trailing",
            Concern::Hint => "hint",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    pub concern: Concern,
    /// The bytes that it is about.
    pub span: Range<u64>,
    pub db: Option<u64>,
    /// Whether the database is only assumed, since damage before may have held a change of it.
    pub db_uncertain: bool,
    pub key: Option<Vec<u8>>,
    /// One sentence or less.
    pub what: String,
    /// Behind damage: how reading went on.
    pub resumed: Option<Resumed>,
}

/// Why a server does not start.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Where it stops.
    pub offset: u64,
    pub what: String,
    /// Where the item begins, which orders refusals.
    item: u64,
}

/// What stands behind the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailing {
    pub offset: u64,
    pub bytes: u64,
    /// Whether it begins like a command log, as that of a log with an RDB in front.
    pub is_commands: bool,
    /// Whether it is all zeros.
    pub is_nul: bool,
}

/// All that is to be said of a file.
#[derive(Debug, Default)]
pub struct Report {
    pub header: Option<Header>,
    /// Bytes up to the end of the RDB.
    pub bytes: u64,
    /// Keys whose bytes are whole.
    pub keys: u64,
    pub databases: BTreeSet<u64>,
    pub expiring: u64,
    pub expired: u64,
    pub functions: u64,
    /// `None` where the end was not reached.
    pub checksum: Option<Checksum>,
    pub checksum_offset: u64,
    /// In the file's order.
    pub findings: Vec<Finding>,
    /// How many of each kind there are, those that were not kept included.
    pub counts: HashMap<Concern, u64>,
    pub trailing: Option<Trailing>,
    /// The first fault, in the words of the reader, with the number of keys before it.
    pub fault: Option<(Error, u64)>,
    refusal: Option<Refusal>,
    most_findings: usize,
}

impl Report {
    /// What a server says that does not start with the file; `None` where it starts.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// How many findings of a kind there are.
    pub fn count(&self, concern: Concern) -> u64 {
        self.counts.get(&concern).copied().unwrap_or(0)
    }

    /// Whether nothing is wrong. Counts that do not fit and a log behind the end are not.
    pub fn is_healthy(&self) -> bool {
        self.counts.iter().all(|(concern, count)| *concern == Concern::Hint || *count == 0)
    }

    /// Whether every byte is in order, and only this server would not take what some of them say.
    pub fn is_unkept_only(&self) -> bool {
        let tolerable = [Concern::Unkept, Concern::Hint];
        self.count(Concern::Unkept) > 0
            && self.counts.iter().all(|(concern, count)| tolerable.contains(concern) || *count == 0)
    }

    fn add(&mut self, finding: Finding) {
        *self.counts.entry(finding.concern).or_default() += 1;
        if self.findings.len() < self.most_findings {
            self.findings.push(finding);
        }
    }

    fn refuse(&mut self, item: u64, offset: u64, what: impl Into<String>) {
        if self.refusal.as_ref().is_none_or(|first| item < first.item) {
            self.refusal = Some(Refusal { offset, what: what.into(), item });
        }
    }

    fn add_key(&mut self, concern: Concern, span: &Range<u64>, key: &KeyHeader, uncertain: bool, what: String) {
        self.add(Finding {
            concern,
            span: span.clone(),
            db: Some(key.db),
            db_uncertain: uncertain,
            key: Some(key.key.clone()),
            what,
            resumed: None,
        });
    }

    fn add_plain(&mut self, concern: Concern, span: Range<u64>, what: String) {
        self.add(Finding { concern, span, db: None, db_uncertain: false, key: None, what, resumed: None });
    }
}

/// Judges a file. `function` takes the code of each library and says why it does not load.
///
/// What the file holds is streamed: memory does not grow with it nor with a single value, but for 16 bytes for each
/// key, up to 64 MB and on disk from there on, and a little for each key that comes twice. An error is one of the disk.
///
/// ```
/// use ironkeep::rdb::check::{Rules, judge};
/// let twice = b"REDIS0003\xfe\x00\x00\x01k\x01a\x00\x01k\x01b\xff";
/// let report = judge(&mut std::io::Cursor::new(twice), &Rules::default(), &mut |_| Ok(()))?;
/// assert_eq!(report.refusal().unwrap().offset, 16);
/// # Ok::<(), ironkeep::rdb::Error>(())
/// ```
pub fn judge<R: Read + Seek>(
    input: &mut R,
    rules: &Rules,
    function: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<Report, Error> {
    let mut report = Report { most_findings: rules.most_findings, ..Report::default() };
    let mut walk = match Walk::new(input) {
        Ok(walk) => walk,
        Err(error) if matches!(error.cause(), Cause::Io(_)) => return Err(error),
        Err(error) => {
            report.refuse(0, error.offset(), error.to_string());
            report.add_plain(Concern::Damage, 0..0, error.to_string());
            report.fault = Some((error, 0));
            return Ok(report);
        }
    };
    report.header = Some(walk.header());
    let mut keys = Repeats::new(KEY_BYTES);
    let mut hints = Hints::default();
    while let Some(item) = walk.next()? {
        report.bytes = item.span.end;
        hints.see(&item, &mut report);
        note(&mut report, rules, &mut walk, &mut keys, function, item)?;
    }
    hints.settle(&mut report);
    let repeated = keys.finish().map_err(|error| Error::new(0, "the list of keys", Cause::Io(error)))?;
    let is_ended = report.checksum.is_some();
    if is_ended {
        report.trailing = trailing(&mut walk, report.bytes)?;
    }
    if let Some(Trailing { offset, bytes, is_commands: false, is_nul }) = report.trailing {
        let what = if is_nul { "zeros" } else { "garbage" };
        report.add_plain(Concern::Trailing, offset..offset + bytes, format!("{bytes} bytes of {what} behind the end"));
    }
    if !repeated.is_empty() {
        find_duplicates(walk, &repeated, rules, &mut report)?;
    }
    Ok(report)
}

fn note<R: Read + Seek>(
    report: &mut Report,
    rules: &Rules,
    walk: &mut Walk<R>,
    keys: &mut Repeats,
    function: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    Item { span, step, db_uncertain: uncertain, .. }: Item,
) -> Result<(), Error> {
    match step {
        Step::Event(Event::Function { code }) => {
            report.functions += 1;
            if let Err(reason) = function(&code) {
                let what = format!("a function library: {reason}");
                report.refuse(span.start, span.start, what.clone());
                report.add_plain(Concern::Function, span, what);
            }
        }
        Step::Event(event) => {
            if let Some(what) = event.refusal() {
                report.refuse(span.start, span.start, what);
                report.add_plain(Concern::Unkept, span, what.to_owned());
            }
        }
        Step::Key(key, value) => {
            report.keys += 1;
            report.databases.insert(key.db);
            report.expiring += u64::from(key.expire_at_ms.is_some());
            report.expired += u64::from(key.expire_at_ms.is_some_and(|ms| ms <= rules.now_ms));
            if let Some(what) = key.refusal() {
                report.refuse(span.start, key.offset, what.clone());
                report.add_key(Concern::Unkept, &span, &key, uncertain, what);
            }
            match value {
                Value::Empty => {
                    let what = "has no elements; servers skip it".to_owned();
                    report.add_key(Concern::Empty, &span, &key, uncertain, what);
                    return Ok(());
                }
                Value::Refused { offset, what } => {
                    report.refuse(span.start, offset, what.clone());
                    report.add_key(Concern::Value, &span, &key, uncertain, what);
                }
                Value::Fine => {}
            }
            if key.db >= rules.databases {
                let what = format!(
                    "database {} is beyond the {} that are configured: set `databases` higher",
                    key.db, rules.databases
                );
                report.refuse(span.start, span.start, what.clone());
                report.add_key(Concern::Database, &span, &key, uncertain, what);
            }
            let pushed = keys.push(walk.fingerprint(&key));
            pushed.map_err(|error| Error::new(span.start, "the list of keys", Cause::Io(error)))?;
        }
        Step::Damage(damage) => note_damage(report, span, *damage, uncertain),
        Step::End(checksum) => note_end(report, rules, span, checksum),
    }
    Ok(())
}

fn note_damage(report: &mut Report, span: Range<u64>, damage: Damage, uncertain: bool) {
    let what = damage.what();
    let Damage { error, key, resumed } = damage;
    // A server looks at what stands before the value first.
    if let Some(key) = &key
        && let Some(what) = key.refusal()
    {
        report.refuse(span.start, key.offset, what);
    }
    report.refuse(span.start, error.offset(), error.to_string());
    report.add(Finding {
        concern: if Damage::is_missing_end(&span, key.as_ref()) { Concern::End } else { Concern::Damage },
        span,
        db: key.as_ref().map(|key| key.db),
        db_uncertain: uncertain,
        key: key.map(|key| key.key),
        what,
        resumed: Some(resumed),
    });
    let keys = report.keys;
    report.fault.get_or_insert((error, keys));
}

fn note_end(report: &mut Report, rules: &Rules, span: Range<u64>, checksum: Checksum) {
    report.checksum = Some(checksum);
    report.checksum_offset = span.start + 1;
    if let Checksum::Mismatch { expected, found } = checksum
        && rules.verify
    {
        let error = Error::new(span.start + 1, "the checksum", Cause::Checksum { expected, found });
        report.refuse(span.start, span.start + 1, error.to_string());
        report.add_plain(Concern::Checksum, span, error.to_string());
        let keys = report.keys;
        report.fault.get_or_insert((error, keys));
    }
}

/// What is behind the end at `offset`.
fn trailing<R: Read + Seek>(walk: &mut Walk<R>, offset: u64) -> Result<Option<Trailing>, Error> {
    let bytes = walk.len().saturating_sub(offset);
    let (mut first, mut is_nul) = (None, true);
    if bytes > 0 {
        walk.for_each_piece(offset..offset + bytes, |piece| {
            first = first.or(piece.first().copied());
            is_nul &= piece.iter().all(|byte| *byte == 0);
            Ok(())
        })?;
    }
    Ok((bytes > 0).then_some(Trailing { offset, bytes, is_commands: matches!(first, Some(b'*' | b'#')), is_nul }))
}

/// Goes through the file again for the names and places of the keys that come twice.
fn find_duplicates<R: Read + Seek>(
    walk: Walk<R>,
    repeated: &[u128],
    rules: &Rules,
    report: &mut Report,
) -> Result<(), Error> {
    let mut walk = walk.again()?;
    // The first place of each, and the first that has not expired.
    let mut places: HashMap<u128, (u64, Option<u64>)> = HashMap::new();
    while let Some(Item { span, step, db_uncertain, .. }) = walk.next()? {
        let Step::Key(key, value) = step else { continue };
        let fingerprint = walk.fingerprint(&key);
        if value == Value::Empty || repeated.binary_search(&fingerprint).is_err() {
            continue;
        }
        // Servers drop what has expired before they look whether the key is there.
        let is_live = key.expire_at_ms.is_none_or(|ms| ms > rules.now_ms);
        let Some((first, live)) = places.get_mut(&fingerprint) else {
            places.insert(fingerprint, (span.start, is_live.then_some(span.start)));
            continue;
        };
        let what = format!("stands in database {} already, first at offset {first}", key.db);
        if is_live && live.replace(span.start).is_some() {
            report.refuse(span.start, span.start, format!("the key \"{}\" {what}", key.key.escape_ascii()));
        }
        report.add_key(Concern::Duplicate, &span, &key, db_uncertain, what);
    }
    report.findings.sort_by_key(|finding| finding.span.start);
    Ok(())
}

/// The counts that a writer announced, against what came.
#[derive(Default)]
struct Hints {
    db: u64,
    database: Option<Hint>,
    slot: Option<(u64, Hint)>,
    is_damaged: bool,
}

struct Hint {
    span: Range<u64>,
    announced: (u64, u64),
    seen: (u64, u64),
}

impl Hints {
    fn see(&mut self, item: &Item, report: &mut Report) {
        match &item.step {
            Step::Event(Event::SelectDb(db)) => {
                self.settle(report);
                self.db = *db;
            }
            Step::Event(Event::ResizeDb { keys, expires }) => {
                self.settle(report);
                self.database = Some(Hint { span: item.span.clone(), announced: (*keys, *expires), seen: (0, 0) });
            }
            Step::Event(Event::SlotInfo { slot, keys, expires }) => {
                self.settle_slot(report);
                self.slot = Some((*slot, Hint { span: item.span.clone(), announced: (*keys, *expires), seen: (0, 0) }));
            }
            Step::Event(Event::Aux { name, value }) if name == b"slot-info" => {
                self.settle_slot(report);
                let text = String::from_utf8_lossy(value);
                let mut numbers = text.split(',').map(|number| number.parse::<u64>().unwrap_or(u64::MAX));
                if let (Some(slot), Some(keys), Some(expires)) = (numbers.next(), numbers.next(), numbers.next()) {
                    self.slot =
                        Some((slot, Hint { span: item.span.clone(), announced: (keys, expires), seen: (0, 0) }));
                }
            }
            Step::Key(key, _) => {
                let expires = u64::from(key.expire_at_ms.is_some());
                let hints = self.database.iter_mut().chain(self.slot.iter_mut().map(|(_, hint)| hint));
                hints.for_each(|hint| hint.seen = (hint.seen.0 + 1, hint.seen.1 + expires));
            }
            Step::Damage(_) => self.is_damaged = true,
            Step::Event(_) | Step::End(_) => {}
        }
    }

    /// The section ends.
    fn settle(&mut self, report: &mut Report) {
        self.settle_slot(report);
        if let Some(hint) = self.database.take() {
            let name = format!("{} for database {}", "RESIZEDB", self.db);
            hint.judge(&name, self.is_damaged, report);
        }
        self.is_damaged = false;
    }

    fn settle_slot(&mut self, report: &mut Report) {
        if let Some((slot, hint)) = self.slot.take() {
            hint.judge(&format!("the hint for slot {slot}"), self.is_damaged, report);
        }
    }
}

impl Hint {
    fn judge(self, name: &str, is_damaged: bool, report: &mut Report) {
        // Keys that could not be read may be what was counted.
        if self.announced != self.seen && !is_damaged {
            let ((keys, expires), (seen, seen_expires)) = (self.announced, self.seen);
            let what =
                format!("{name} announces {keys} keys, {expires} with an expiry; {seen} and {seen_expires} follow");
            report.add_plain(Concern::Hint, self.span, what);
        }
    }
}
