//! Which versions could hold what a file has, hints apart: found while the file is passed over, looking only into the
//! values whose type alone does not tell.

use ironkeep::rdb::{Error, Feature, KeyHeader, Kind, Version, Visitor, Weight};
use ironkeep::value::Element;
use ironkeep::value::stream::{IdempotenceCounts, Retention, StreamId};
use std::collections::BTreeSet;

use crate::opened::FileReader;

/// The features that a file has.
#[derive(Default)]
pub struct Fits(BTreeSet<Feature>);

impl Fits {
    /// Takes the value that is next.
    pub fn key(&mut self, reader: &mut FileReader, key: &KeyHeader) -> Result<(), Error> {
        if !key.metadata.is_empty() {
            self.add(Feature::KeyMetadata);
        }
        match key.kind.type_name() {
            "stream" => self.add(Feature::Stream),
            "array" => self.add(Feature::Array),
            "module" => self.add(Feature::Module),
            _ => {}
        }
        let tells_by_type = match key.kind {
            Kind::HashMetadataPreGa
            | Kind::HashListpackExPreGa
            | Kind::HashMetadata
            | Kind::HashListpackEx
            | Kind::ValkeyHash2 => self.0.contains(&Feature::FieldExpiry),
            Kind::StreamListpacks4 | Kind::StreamListpacks5 => {
                self.0.contains(&Feature::StreamProducers) && self.0.contains(&Feature::StreamUnowned)
            }
            _ => true,
        };
        if tells_by_type { reader.skip() } else { reader.value(self) }
    }

    /// Notes something that is not in a value.
    pub fn add(&mut self, feature: Feature) {
        self.0.insert(feature);
    }

    /// The versions that can hold all of it.
    pub fn versions(&self) -> impl Iterator<Item = Version> {
        let data = |feature: &&Feature| feature.row().weight != Weight::Hint;
        Version::ALL
            .into_iter()
            .filter(move |version| self.0.iter().filter(data).all(|feature| version.holds(*feature)))
    }

    /// The same in words: `11 to 15, valkey-80`.
    pub fn sentence(&self) -> String {
        let (valkey, redis): (Vec<Version>, Vec<Version>) =
            self.versions().partition(|version| *version == Version::Valkey80);
        let redis = match (redis.first(), redis.last()) {
            (Some(first), Some(last)) if first != last => Some(format!("{first} to {last}")),
            (Some(only), _) => Some(only.to_string()),
            _ => None,
        };
        let all: Vec<String> = redis.into_iter().chain(valkey.iter().map(Version::to_string)).collect();
        if all.is_empty() { "none without loss".to_owned() } else { all.join(", ") }
    }
}

impl Visitor for Fits {
    fn hash_field(&mut self, _: Element<'_>, _: Element<'_>, expire_at_ms: Option<i64>) {
        if expire_at_ms.is_some() {
            self.add(Feature::FieldExpiry);
        }
    }

    fn stream_nacked(&mut self, _: StreamId) {
        self.add(Feature::StreamUnowned);
    }

    fn stream_idempotence(&mut self, retention: &Retention) {
        if *retention != Retention::default() {
            self.add(Feature::StreamProducers);
        }
    }

    fn stream_producer(&mut self, _: &[u8]) {
        self.add(Feature::StreamProducers);
    }

    fn stream_idempotence_counts(&mut self, counts: &IdempotenceCounts) {
        if *counts != IdempotenceCounts::default() {
            self.add(Feature::StreamProducers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_fits_the_versions_that_hold_all_of_its_features() {
        let sentence = |features: &[Feature]| {
            let mut fits = Fits::default();
            features.iter().for_each(|feature| fits.add(*feature));
            fits.sentence()
        };
        assert_eq!(sentence(&[]), "6 to 15, valkey-80");
        assert_eq!(sentence(&[Feature::Stream, Feature::Access]), "9 to 15, valkey-80");
        assert_eq!(sentence(&[Feature::FieldExpiry]), "12 to 15, valkey-80");
        assert_eq!(sentence(&[Feature::Array]), "14 to 15");
        assert_eq!(sentence(&[Feature::SlotImport]), "valkey-80");
        assert_eq!(sentence(&[Feature::SlotImport, Feature::Array]), "none without loss");
    }
}
