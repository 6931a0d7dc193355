//! Back to a moment: the newest backup before it, and the records of the [archive](super::archive) from there on.
//!
//! [`plan`] finds both, reads all records up to the moment, and says where it cuts, between two units. [`replay`] has the
//! backup loaded through the code of a start, and the records replayed behind it. Times are those that the log tells, to the
//! second: what happened in the wanted second is in the result, what happened in a later one is not.

use std::collections::VecDeque;

use crate::aof::{Item, Place, Record};
use crate::codec::number;
use crate::command::replay::Replay;
use crate::engine::Engine;
use crate::engine::clock::Clock;
use crate::engine::params::Config;
use crate::persist::load::look_through;

use super::BackupError;
use super::archive::{Archive, Segment, Step, run_behind, timelines};
use super::catalogue::Catalogue;
use super::manifest::Manifest;
use super::verify::{MOST_DATABASES, read_file};

/// How many records a plan shows on either side of its cut, and how much of each.
const SHOWN: usize = 3;
const SHOWN_ARGUMENTS: usize = 8;
const SHOWN_BYTES: usize = 40;

/// What is to be brought back.
#[derive(Clone, Debug)]
pub struct Target {
    pub until: Until,
    /// Names of commands that are left out.
    pub skip: Vec<Vec<u8>>,
    /// The backup to begin with; none for the one that fits best.
    pub base: Option<String>,
}

/// Where it is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// With the last record that is archived.
    End,
    /// With the last record of this Unix second.
    Second(i64),
    /// In front of the last command of this name.
    Before(Vec<u8>),
}

/// What a restore will do.
pub struct Plan {
    pub base: Manifest,
    archive: Option<Archive>,
    pub segments: Vec<Segment>,
    /// Records, MULTI, EXEC and SELECT among them, up to this position are replayed.
    pub cut: u64,
    pub records: u64,
    /// Those among them that are left out by their name.
    pub skipped: u64,
    /// The last records in front of the cut, and the first ones behind it.
    pub kept: VecDeque<Shown>,
    pub dropped: Vec<Shown>,
    /// Unix ms: nothing that is archived was written later.
    pub archived_until_ms: i64,
    /// What was written after that, and before the wanted moment, is in no archive.
    pub is_short: bool,
    /// The clock was set back behind the cut: what follows tells times up to the wanted one again.
    pub is_set_back: bool,
    /// Unix ms of the result.
    pub as_of_ms: i64,
    databases: u64,
}

/// A record as a plan shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub position: u64,
    /// Unix ms: it happened then or later.
    pub time_ms: i64,
    pub db: u64,
    /// As far as they are shown.
    pub arguments: Vec<Vec<u8>>,
    pub is_cut: bool,
}

impl Plan {
    /// A backup as it is.
    pub fn only(base: Manifest) -> Self {
        Self {
            archive: None,
            segments: Vec::new(),
            cut: base.position.unwrap_or(0),
            records: 0,
            skipped: 0,
            kept: VecDeque::new(),
            dropped: Vec::new(),
            archived_until_ms: base.started_ms,
            is_short: false,
            is_set_back: false,
            as_of_ms: base.started_ms,
            databases: base.databases.keys().max().map_or(0, |highest| highest.saturating_add(1)),
            base,
        }
    }
}

/// Finds the backup and the records that lead to the target, and reads all of these.
pub fn plan(catalogue: &Catalogue, target: &Target) -> Result<Plan, BackupError> {
    let good: Vec<Manifest> = catalogue.list()?.into_iter().filter_map(|listed| listed.manifest.ok()).collect();
    let good: Vec<Manifest> = good.into_iter().filter(|manifest| manifest.fault().is_none()).collect();
    let is_early = |manifest: &&Manifest| match target.until {
        Until::Second(second) => manifest.started_ms.div_euclid(1000) <= second,
        _ => true,
    };
    let archives = timelines(catalogue)?;
    let archive_of = |manifest: &Manifest| archives.iter().find(|archive| archive.has(manifest));
    let named = target.base.as_deref().map(|id| catalogue.find(id)).transpose()?;
    let archive = match (&named, &target.until) {
        (Some(named), _) => Some(archive_of(named).ok_or_else(|| no_archive(catalogue, named))?),
        // One that no archive goes with says nothing of what came behind it.
        (None, Until::Second(_)) => good.iter().rev().filter(is_early).find_map(archive_of),
        (None, _) => newest_archive(&archives)?,
    };
    let segments = archive.map_or(Ok(Vec::new()), Archive::segments)?;
    let place = place_of(catalogue, archive, &segments, target)?;
    let is_before_place = |manifest: &&Manifest| match place {
        Some(place) => manifest.position.is_some_and(|position| position <= place),
        None => true,
    };
    let is_of = |manifest: &&Manifest| archive.is_none_or(|archive| archive.has(manifest));
    let fits = |manifest: &&Manifest| is_of(manifest) && is_early(manifest) && is_before_place(manifest);
    let base = match named {
        Some(named) if fits(&&named) => named,
        Some(named) => {
            let reason = format!("the backup {} is of a later moment than the one that is wanted", named.id);
            return Err(BackupError::Refused { path: catalogue.folder_of(&named.id), reason });
        }
        None => good.iter().rfind(fits).cloned().ok_or_else(|| no_base(catalogue, &good, target))?,
    };
    scan(catalogue, base, (archive, &segments), (target, place))
}

fn no_archive(catalogue: &Catalogue, named: &Manifest) -> BackupError {
    let reason = format!("no archive of the log goes with the backup {}", named.id);
    BackupError::Refused { path: catalogue.folder_of(&named.id), reason }
}

fn no_base(catalogue: &Catalogue, good: &[Manifest], target: &Target) -> BackupError {
    let reason = match (good.first(), &target.until) {
        (None, _) => "there is no good backup to begin with".to_owned(),
        (Some(first), Until::Second(_)) => {
            let seconds = first.started_ms.div_euclid(1000);
            format!("no backup is so old: the first is {}, of the Unix second {seconds}", first.id)
        }
        (Some(_), _) => "no backup that is kept is older than that command".to_owned(),
    };
    BackupError::Refused { path: catalogue.repo().to_owned(), reason }
}

/// The archive that was added to last.
fn newest_archive(archives: &[Archive]) -> Result<Option<&Archive>, BackupError> {
    let mut newest: Option<(i64, &Archive)> = None;
    for archive in archives {
        let Some(last) = archive.segments()?.pop() else { continue };
        if newest.as_ref().is_none_or(|(until_ms, _)| *until_ms < last.until_ms) {
            newest = Some((last.until_ms, archive));
        }
    }
    Ok(newest.map(|(_, archive)| archive))
}

/// In front of which position the backup must stand, where the target names commands to stop at or to leave out: the last one
/// of each name must be behind it.
fn place_of(
    catalogue: &Catalogue,
    archive: Option<&Archive>,
    segments: &[Segment],
    target: &Target,
) -> Result<Option<u64>, BackupError> {
    let names: Vec<&[u8]> = match &target.until {
        Until::Before(name) => vec![name],
        _ => target.skip.iter().map(Vec::as_slice).collect(),
    };
    let last_second = if let Until::Second(second) = target.until { Some(second) } else { None };
    let mut places: Vec<Option<u64>> = vec![None; names.len()];
    for segment in segments.iter().rev() {
        let Some(archive) = archive.filter(|_| places.contains(&None)) else { break };
        let (mut progress, mut found) = (Progress::default(), vec![None; names.len()]);
        archive.read(segment, &mut |item, place, at| {
            progress.take(item, place, at);
            let Some(record) = item.record() else { return Ok(Step::On) };
            for (name, found) in names.iter().zip(&mut found) {
                if record.is(name) && last_second.is_none_or(|second| progress.second() <= second) {
                    *found = Some(progress.unit);
                }
            }
            Ok(Step::On)
        })?;
        places.iter_mut().zip(found).for_each(|(place, found)| *place = place.or(found));
    }
    match places.iter().position(Option::is_none) {
        Some(missing) => Err(not_found(catalogue, names[missing])),
        None => Ok(places.into_iter().flatten().min()),
    }
}

fn not_found(catalogue: &Catalogue, name: &[u8]) -> BackupError {
    let reason = format!("no {} is in the newest archive", name.escape_ascii());
    BackupError::Refused { path: catalogue.repo().join("log"), reason }
}

/// What the items of a segment have told.
#[derive(Default)]
struct Progress {
    /// Unix ms.
    time_ms: i64,
    db: u64,
    /// Position at which the unit under way begins.
    unit: u64,
}

impl Progress {
    fn take(&mut self, item: &Item<'_>, place: Place, at: u64) {
        match item {
            Item::Annotation(annotation) => {
                let told = match annotation.mark() {
                    Some(mark) => mark.ok().map(|mark| mark.time_ms()),
                    None => annotation.timestamp().map(|second| second.saturating_mul(1000)),
                };
                // A server that has just begun may not know the time yet. The second of a `#TS:` is that of a mark in it.
                let is_known = |told: &i64| *told > 0 && told.div_euclid(1000) != self.second();
                self.time_ms = told.filter(is_known).unwrap_or(self.time_ms);
            }
            Item::Record(record) => {
                if matches!(place, Place::Alone | Place::Opens) {
                    self.unit = at;
                }
                if record.is(b"SELECT") {
                    let db = record.arguments.get(1).and_then(|word| number::parse_u64(word));
                    self.db = db.unwrap_or(self.db);
                }
            }
        }
    }

    fn second(&self) -> i64 {
        self.time_ms.div_euclid(1000)
    }
}

/// Whether a record says something of the data by itself.
fn is_told(record: &Record<'_>) -> bool {
    ![&b"SELECT"[..], b"MULTI", b"EXEC"].iter().any(|name| record.is(name))
}

fn scan(
    catalogue: &Catalogue,
    base: Manifest,
    (archive, segments): (Option<&Archive>, &[Segment]),
    (target, place): (&Target, Option<u64>),
) -> Result<Plan, BackupError> {
    let from = base.position.unwrap_or(0);
    let run = &run_behind(segments, from)[..];
    refuse_gap(catalogue, (segments, run), (from, target), place)?;
    let mut plan = Plan { archive: archive.cloned(), ..Plan::only(base) };
    plan.archived_until_ms = run.last().map_or(0, |last| last.until_ms).max(plan.archived_until_ms);
    let mut scan = Scan { from, target, place, progress: Progress::default(), is_cut: false, has_begun: false };
    for segment in run {
        if scan.is_cut && plan.dropped.len() >= SHOWN {
            break;
        }
        let is_behind = scan.is_cut;
        let Some(archive) = archive else { break };
        archive.read(segment, &mut |item, place, at| {
            scan.take(&mut plan, item, place, at);
            Ok(Step::On)
        })?;
        if !is_behind {
            plan.segments.push(segment.clone());
        }
        if !scan.has_begun {
            let reason = format!("no record begins at position {from}, where the backup {} ends", plan.base.id);
            return Err(BackupError::Damaged { id: archive.path_of(segment).display().to_string(), fault: reason });
        }
    }
    if let Until::Second(second) = target.until {
        let unread = run[plan.segments.len()..].iter();
        plan.is_set_back |= scan.is_cut && { unread }.any(|segment| segment.until_ms.div_euclid(1000) <= second);
        plan.is_short = !scan.is_cut && plan.archived_until_ms.div_euclid(1000) <= second;
        plan.as_of_ms = second.saturating_mul(1000).max(plan.base.started_ms);
    }
    Ok(plan)
}

/// Fails where records between the backup and the target are not archived.
fn refuse_gap(
    catalogue: &Catalogue,
    (segments, run): (&[Segment], &[Segment]),
    (from, target): (u64, &Target),
    place: Option<u64>,
) -> Result<(), BackupError> {
    let reached = run.last().map_or(from, |last| last.to);
    let Some(next) = segments.iter().find(|segment| segment.from > reached) else { return Ok(()) };
    let until_ms = run.last().map_or(i64::MIN, |last| last.until_ms);
    let is_beyond = match target.until {
        Until::Second(second) => until_ms.div_euclid(1000) <= second,
        Until::Before(_) => place.is_some_and(|place| place >= reached),
        Until::End => true,
    };
    if !is_beyond {
        return Ok(());
    }
    let way = match run.last() {
        Some(last) => format!("Up to there it can be brought back with --to {}", last.until_ms.div_euclid(1000) - 1),
        None => "The backup in front of it can be restored as it is".to_owned(),
    };
    let reason = format!(
        "the archive has a gap from position {reached} to {}, in front of what is wanted. {way}, and from the next backup on \
         again",
        next.from
    );
    Err(BackupError::Refused { path: catalogue.repo().join("log"), reason })
}

/// The records between the backup and the cut, as they pass.
struct Scan<'a> {
    from: u64,
    target: &'a Target,
    place: Option<u64>,
    progress: Progress,
    is_cut: bool,
    /// The position of the backup has been passed.
    has_begun: bool,
}

impl Scan<'_> {
    fn take(&mut self, plan: &mut Plan, item: &Item<'_>, place: Place, at: u64) {
        self.progress.take(item, place, at);
        let Some(record) = item.record() else { return };
        if at < self.from {
            return;
        }
        let begins_unit = matches!(place, Place::Alone | Place::Opens);
        self.has_begun |= at == self.from && begins_unit;
        if !self.has_begun {
            return;
        }
        if begins_unit && !self.is_cut {
            self.is_cut = match self.target.until {
                Until::End => false,
                Until::Second(second) => self.progress.second() > second,
                Until::Before(_) => self.place == Some(at),
            };
        }
        let shown = || Shown {
            position: at,
            time_ms: self.progress.time_ms,
            db: self.progress.db,
            arguments: record.arguments.iter().take(SHOWN_ARGUMENTS).map(|argument| cut(argument)).collect(),
            is_cut: record.arguments.len() > SHOWN_ARGUMENTS
                || record.arguments.iter().any(|word| word.len() > SHOWN_BYTES),
        };
        if self.is_cut {
            let is_earlier = |second| self.progress.second() <= second;
            plan.is_set_back |= matches!(self.target.until, Until::Second(second) if is_earlier(second));
            if plan.dropped.len() < SHOWN && is_told(record) {
                plan.dropped.push(shown());
            }
            return;
        }
        plan.records += 1;
        plan.cut = record.len() + at;
        plan.as_of_ms = plan.as_of_ms.max(self.progress.time_ms);
        plan.databases = plan.databases.max(self.progress.db.saturating_add(1)).max(databases_named(record));
        if is_one_of(record, &self.target.skip) {
            plan.skipped += 1;
        } else if is_told(record) {
            if plan.kept.len() == SHOWN {
                plan.kept.pop_front();
            }
            plan.kept.push_back(shown());
        }
    }
}

fn cut(argument: &[u8]) -> Vec<u8> {
    argument[..argument.len().min(SHOWN_BYTES)].to_vec()
}

/// How many databases there must be for a command that names one beside its own, or more.
fn databases_named(record: &Record<'_>) -> u64 {
    let names_one = [&b"MOVE"[..], b"COPY", b"SWAPDB"].iter().any(|name| record.is(name));
    let numbers = record.arguments.iter().skip(1).filter(|_| names_one).filter_map(|word| number::parse_u64(word));
    numbers.filter(|number| *number < MOST_DATABASES).max().map_or(0, |number| number + 1)
}

fn is_one_of(record: &Record<'_>, names: &[Vec<u8>]) -> bool {
    names.iter().any(|name| record.is(name))
}

/// The data that the plan leads to, without the commands of these names behind the backup.
pub fn replay(catalogue: &Catalogue, plan: &Plan, skip: &[Vec<u8>]) -> Result<Engine, BackupError> {
    let mut config = Config::default();
    let databases = plan.databases.min(MOST_DATABASES) as usize; // at most MOST_DATABASES
    config.databases = config.databases.max(databases);
    let mut engine = Engine::new(config, Clock::fixed(plan.as_of_ms), fastrand::Rng::new());
    read_file(catalogue, &plan.base, |path, source| {
        look_through(&mut engine, path, source, &mut |_, _| {}).map_err(|error| error.to_string())
    })?;
    let Some(archive) = &plan.archive else { return Ok(engine) };
    let mut replay = Replay::new();
    let from = plan.base.position.unwrap_or(0);
    for segment in &plan.segments {
        let path = archive.path_of(segment);
        archive.read(segment, &mut |item, _, at| {
            let Some(record) = item.record() else { return Ok(Step::On) };
            if at < from || at >= plan.cut || is_one_of(record, skip) {
                return Ok(Step::On);
            }
            replay.run(&mut engine, &record.arguments).map_err(|error| {
                let fault = format!("the record at position {at} can't be replayed: {error}");
                BackupError::Damaged { id: path.display().to_string(), fault }
            })?;
            Ok(Step::On)
        })?;
    }
    Ok(engine)
}
