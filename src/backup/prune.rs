//! What of a catalogue is kept by the rules, and what goes.

use std::collections::BTreeMap;
use std::rc::Rc;

use jiff::tz::TimeZone;

use crate::calendar::{Keep, Retention};

use super::BackupError;
use super::archive::{self, Archive, Segment, run_behind};
use super::catalogue::{Catalogue, Listed};
use super::manifest::Manifest;

/// Segments of a timeline without a backup are kept for a day: the backup may be on its way.
const WITHOUT_BACKUP_MS: i64 = 86_400_000;

/// What is to be kept, and as of when.
#[derive(Debug, Clone)]
pub struct Rules {
    pub retention: Retention,
    /// Whose hours and days it means.
    pub zone: TimeZone,
    /// For so long any second can be brought back; 0 is since the oldest backup that is kept.
    pub window_ms: i64,
    /// Unix ms.
    pub now_ms: i64,
}

/// A backup, and why it stays; without a reason it goes.
#[derive(Debug, Clone)]
pub struct Planned {
    pub listed: Listed,
    pub reasons: Vec<Keep>,
}

impl Planned {
    pub fn goes(&self) -> bool {
        self.reasons.is_empty() && self.listed.manifest.is_ok()
    }
}

/// The segments of each timeline, by all of its names.
type Archived = BTreeMap<String, Rc<[Segment]>>;

/// Looks through a catalogue. One that was read back and found damaged is not good, the newest that was found whole stays in
/// any case, and what has no manifest that can be read is left alone.
pub fn plan(catalogue: &Catalogue, rules: &Rules) -> Result<Vec<Planned>, BackupError> {
    let listed = catalogue.list()?;
    let known: Vec<usize> = (0..listed.len()).filter(|index| listed[*index].manifest.is_ok()).collect();
    let manifests: Vec<&Manifest> = known.iter().filter_map(|index| listed[*index].manifest.as_ref().ok()).collect();
    let verified = manifests.iter().rposition(|manifest| manifest.is_verified());
    let moment = |manifest: &&Manifest| (manifest.started_ms, manifest.fault().is_none());
    let moments: Vec<(i64, bool)> = manifests.iter().map(moment).collect();
    let mut plan = rules.retention.plan(&moments, &rules.zone);
    if let Some(why) = verified.map(|verified| &mut plan[verified]).filter(|why| why.is_empty()) {
        why.push(Keep::LastVerified);
    }
    if rules.window_ms > 0 {
        for index in needed_in_window(&manifests, &archived(catalogue)?, rules) {
            plan[index].push(Keep::Window);
        }
    }
    let mut reasons = vec![Vec::new(); listed.len()];
    for (index, why) in known.into_iter().zip(plan) {
        reasons[index] = why;
    }
    Ok(listed.into_iter().zip(reasons).map(|(listed, reasons)| Planned { listed, reasons }).collect())
}

fn archived(catalogue: &Catalogue) -> Result<Archived, BackupError> {
    let mut archived = Archived::new();
    for archive in archive::timelines(catalogue)? {
        let segments: Rc<[Segment]> = archive.segments()?.into();
        archived.extend(archive.names().into_iter().map(|name| (name, Rc::clone(&segments))));
    }
    Ok(archived)
}

/// The backups with which a restore to some second of the window begins: the last one in front of it, and those that no
/// archive leads to from the one before.
fn needed_in_window(manifests: &[&Manifest], archived: &Archived, rules: &Rules) -> Vec<usize> {
    let place = |manifest: &Manifest| Some((manifest.timeline.clone()?, manifest.position?));
    let has_archive = |manifest: &Manifest| {
        place(manifest)
            .is_some_and(|(timeline, _)| archived.get(&timeline).is_some_and(|segments| !segments.is_empty()))
    };
    let good = (0..manifests.len()).filter(|index| manifests[*index].fault().is_none());
    let good: Vec<usize> = good.filter(|index| has_archive(manifests[*index])).collect();
    let start = rules.now_ms.saturating_sub(rules.window_ms);
    let first = good.iter().rposition(|index| manifests[*index].started_ms <= start).unwrap_or(0);
    let mut needed: Vec<usize> = Vec::new();
    for index in good.into_iter().skip(first) {
        let leads_here = needed.last().is_some_and(|last: &usize| {
            let (Some((timeline, from)), Some((this, to))) = (place(manifests[*last]), place(manifests[index])) else {
                return false;
            };
            let (Some(segments), Some(these)) = (archived.get(&timeline), archived.get(&this)) else { return false };
            let reached = run_behind(segments, from).last().map_or(from, |last| last.to);
            Rc::ptr_eq(segments, these) && (from..=reached).contains(&to)
        });
        if !leads_here {
            needed.push(index);
        }
    }
    needed
}

/// Removes what goes, the oldest first: the names of what is gone, and what is left. For who holds the catalogue.
pub fn prune(catalogue: &Catalogue, planned: Vec<Planned>) -> Result<(Vec<String>, Vec<Listed>), BackupError> {
    let (mut gone, mut left) = (Vec::new(), Vec::new());
    for planned in planned {
        if planned.goes() {
            catalogue.remove(&planned.listed.id)?;
            gone.push(planned.listed.id);
        } else {
            left.push(planned.listed);
        }
    }
    Ok((gone, left))
}

/// The segments with which nothing can be brought back any more, of each timeline from the oldest on. `left` is what stays in
/// the catalogue; none go while a manifest of it can't be read, as that backup may need any of them.
pub fn plan_archive(
    catalogue: &Catalogue,
    left: &[&Listed],
    rules: &Rules,
) -> Result<Vec<(Archive, Segment)>, BackupError> {
    let mut plan = Vec::new();
    if left.iter().any(|listed| listed.manifest.is_err()) {
        return Ok(plan);
    }
    for archive in archive::timelines(catalogue)? {
        let kept = left.iter().filter_map(|listed| listed.manifest.as_ref().ok());
        let kept: Vec<&Manifest> =
            kept.filter(|manifest| manifest.timeline.as_deref().is_some_and(|name| archive.is_of(name))).collect();
        let mut segments = archive.segments()?;
        if !kept.is_empty() {
            // The last one says where the archive ends.
            segments.pop();
        }
        let going = segments.into_iter().take_while(|segment| goes(segment, &kept, rules));
        plan.extend(going.map(|segment| (archive.clone(), segment)));
    }
    Ok(plan)
}

/// Removes what [`plan_archive`] finds; how many. For who holds the catalogue.
pub fn prune_archive(catalogue: &Catalogue, left: &[Listed], rules: &Rules) -> Result<u64, BackupError> {
    let plan = plan_archive(catalogue, &left.iter().collect::<Vec<_>>(), rules)?;
    plan.iter().try_for_each(|(archive, segment)| archive.remove(segment))?;
    Ok(plan.len() as u64) // usize has at most 64 bits
}

fn goes(segment: &Segment, kept: &[&Manifest], rules: &Rules) -> bool {
    let good = || kept.iter().filter(|manifest| manifest.fault().is_none());
    let oldest = good().filter_map(|manifest| manifest.position).min();
    let Some(oldest) = oldest else {
        // One that was found damaged may be repaired.
        let wanted_ms = rules.window_ms.max(WITHOUT_BACKUP_MS);
        return kept.is_empty() && segment.until_ms < rules.now_ms.saturating_sub(wanted_ms);
    };
    let start = rules.now_ms.saturating_sub(rules.window_ms);
    let is_before_window = |manifest: &&&Manifest| rules.window_ms > 0 && manifest.started_ms <= start;
    let needed = good().rfind(is_before_window).and_then(|manifest| manifest.position).unwrap_or(oldest);
    segment.to <= needed
}

#[cfg(test)]
mod tests {
    use super::super::archive::Form;
    use super::super::manifest::{Compression, SCHEMA, Stored, Verification};
    use super::super::verify::Level;
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const NOW: i64 = 100 * HOUR_MS;

    fn manifest(hour: i64, timeline: &str, position: u64) -> Manifest {
        let at_ms = hour * HOUR_MS;
        let (name, sha256) = ("dump.rdb".to_owned(), String::new());
        let (compression, encryption) = (Compression::None, None);
        Manifest {
            schema: SCHEMA.to_owned(),
            id: format!("{hour}"),
            label: None,
            cause: "test".to_owned(),
            started_ms: at_ms,
            ended_ms: at_ms,
            timeline: Some(timeline.to_owned()),
            position: Some(position),
            file: Stored { name, bytes: 0, sha256, compression, encryption, rdb_bytes: 0 },
            databases: BTreeMap::new(),
            functions: 0,
            digest: String::new(),
            server: String::new(),
            rdb_version: 11,
            verification: Some(Verification { level: Level::Quick, at_ms, fault: None }),
        }
    }

    fn segment(from: u64, to: u64, hour: i64) -> Segment {
        Segment { from, to, until_ms: hour * HOUR_MS, form: Form::Plain }
    }

    fn rules(window_hours: i64) -> Rules {
        let window_ms = window_hours * HOUR_MS;
        Rules { retention: Retention::default(), zone: TimeZone::UTC, window_ms, now_ms: NOW }
    }

    #[test]
    fn a_window_needs_the_backup_before_it_and_those_that_nothing_leads_to() {
        let manifests = [
            manifest(10, "a", 100),
            manifest(20, "a", 200),
            manifest(30, "a", 300),
            manifest(40, "a", 450),
            manifest(50, "b", 500),
            manifest(60, "b", 600),
        ];
        let manifests: Vec<&Manifest> = manifests.iter().collect();
        let archived: Archived = [
            // Between 400 and 450 something is missing.
            ("a".to_owned(), Rc::new([segment(0, 250, 25), segment(250, 400, 35), segment(450, 480, 45)]) as Rc<[_]>),
            ("b".to_owned(), Rc::new([segment(500, 700, 70)])),
        ]
        .into();
        let needed = |hours| needed_in_window(&manifests, &archived, &rules(hours));
        assert_eq!(needed(75), [1, 3, 4]);
        assert_eq!(needed(1000), [0, 3, 4]);
        assert_eq!(needed(30), [5]);
        assert_eq!(needed_in_window(&manifests, &Archived::new(), &rules(75)), Vec::<usize>::new());
    }

    #[test]
    fn segments_go_that_no_kept_backup_and_no_window_needs() {
        let (old, new) = (manifest(10, "a", 100), manifest(90, "a", 900));
        let segments = [segment(0, 100, 10), segment(100, 500, 50), segment(500, 950, 95)];
        let gone = |kept: &[&Manifest], hours| {
            segments.iter().take_while(|segment| goes(segment, kept, &rules(hours))).count()
        };
        assert_eq!((gone(&[&old, &new], 0), gone(&[&new], 0)), (1, 2));
        assert_eq!((gone(&[&old, &new], 5), gone(&[&old, &new], 95)), (2, 1), "the window begins at hour 95, and at 5");
        assert_eq!((gone(&[], 0), gone(&[], 60)), (2, 1), "older than a day, or than the window");
        let mut damaged = manifest(10, "a", 100);
        damaged.verification.as_mut().unwrap().fault = Some("torn".to_owned());
        assert_eq!(gone(&[&damaged], 0), 0);
    }
}
