//! What of a catalogue is kept by the rules, and what goes.

use jiff::tz::TimeZone;

use crate::calendar::{Keep, Retention};

use super::BackupError;
use super::catalogue::{Catalogue, Listed};
use super::manifest::Manifest;

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

/// Looks through a catalogue. One that was read back and found damaged is not good, the newest that was found whole stays in
/// any case, and what has no manifest that can be read is left alone.
pub fn plan(catalogue: &Catalogue, retention: &Retention, zone: &TimeZone) -> Result<Vec<Planned>, BackupError> {
    let listed = catalogue.list()?;
    let known: Vec<usize> = (0..listed.len()).filter(|index| listed[*index].manifest.is_ok()).collect();
    let manifests: Vec<&Manifest> = known.iter().filter_map(|index| listed[*index].manifest.as_ref().ok()).collect();
    let verified = manifests.iter().rposition(|manifest| manifest.is_verified());
    let moment = |manifest: &&Manifest| (manifest.started_ms, manifest.fault().is_none());
    let moments: Vec<(i64, bool)> = manifests.iter().map(moment).collect();
    let mut plan = retention.plan(&moments, zone);
    if let Some(why) = verified.map(|verified| &mut plan[verified]).filter(|why| why.is_empty()) {
        why.push(Keep::LastVerified);
    }
    let mut reasons = vec![Vec::new(); listed.len()];
    for (index, why) in known.into_iter().zip(plan) {
        reasons[index] = why;
    }
    Ok(listed.into_iter().zip(reasons).map(|(listed, reasons)| Planned { listed, reasons }).collect())
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
