//! The first pass of a conversion: what not every version holds, and how many keys each database has.

use super::source::Source;
use crate::opened::{self, FileReader, Trailing};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::rdb::{Error, Event, Feature, Header, KeyHeader, Kind, Options, Version, Weight, features};
use ironkeep::value::Limits;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What a file holds.
pub struct Survey {
    /// What its first bytes say.
    pub header: Header,
    /// What of it not every version holds.
    pub found: BTreeMap<Feature, Found>,
    /// Its databases in the order of the file; one that comes twice stands here twice.
    pub databases: Vec<Database>,
    /// Bytes behind the end that are no commands.
    pub trailing_bytes: u64,
}

/// How often there is a feature, and where first.
#[derive(Default)]
pub struct Found {
    pub count: u64,
    /// `None` for what belongs to no key.
    pub first: Option<Place>,
}

/// A key and its place.
pub struct Place {
    pub db: u64,
    pub key: Vec<u8>,
    pub offset: u64,
}

/// The keys of one database.
#[derive(Default)]
pub struct Database {
    pub db: u64,
    all: Count,
    /// Of these, keys that go as a whole where a version does not hold the feature.
    by_feature: BTreeMap<Feature, Count>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    keys: u64,
    expires: u64,
}

impl Count {
    fn add(&mut self, key: &KeyHeader) {
        self.keys += 1;
        self.expires += u64::from(key.expire_at_ms.is_some());
    }
}

impl Database {
    /// The keys, and the keys that expire, which a file of this version can hold.
    pub fn kept(&self, version: Version) -> (u64, u64) {
        let gone = self.by_feature.iter().filter(|(feature, _)| !version.holds(**feature));
        let Count { keys, expires } = gone.fold(self.all, |left, (_, gone)| Count {
            keys: left.keys - gone.keys,
            expires: left.expires - gone.expires,
        });
        (keys, expires)
    }
}

impl Survey {
    /// The data, hints apart, that `version` cannot hold.
    pub fn lacking(&self, version: Version) -> impl Iterator<Item = (Feature, &Found)> {
        let found = self.found.iter().map(|(feature, found)| (*feature, found));
        found.filter(move |(feature, _)| feature.row().weight != Weight::Hint && !version.holds(*feature))
    }

    /// Reads the whole file.
    fn of(reader: &mut FileReader) -> Result<Survey, Error> {
        let header = reader.header();
        let mut survey = Survey { header, found: BTreeMap::new(), databases: Vec::new(), trailing_bytes: 0 };
        loop {
            match reader.next()? {
                Event::Key(key) => survey.key(reader, &key)?,
                Event::SelectDb(db) => survey.databases.push(Database { db, ..Database::default() }),
                Event::Function { .. } => survey.beside(Feature::Function),
                Event::ModuleAux { .. } => survey.beside(Feature::ModuleAux),
                Event::SlotImport { .. } => survey.beside(Feature::SlotImport),
                // The copy refuses the one and needs no other.
                Event::FunctionPreGa { .. } | Event::Update { .. } | Event::HashTemplate { .. } => {}
                Event::End { .. } => return Ok(survey),
                // Every version holds these, or they are hints.
                Event::Aux { .. } | Event::ResizeDb { .. } | Event::SlotInfo { .. } | Event::Foreign { .. } => {}
            }
        }
    }

    fn beside(&mut self, feature: Feature) {
        self.found.entry(feature).or_default().count += 1;
    }

    fn key(&mut self, reader: &mut FileReader, key: &KeyHeader) -> Result<(), Error> {
        if self.databases.is_empty() {
            self.databases.push(Database { db: key.db, ..Database::default() });
        }
        if !key.metadata.is_empty() {
            self.feature(Feature::KeyMetadata, key);
        }
        // A type that version 6 knows has nothing that any version lacks; of the others, those of old features do not.
        if !may_have_features(key.kind) {
            self.count(None, key);
            return reader.skip();
        }
        let Some(object) = reader.object(&Limits::default())? else {
            self.count(None, key);
            return Ok(());
        };
        let all: Vec<Feature> = features(&object).collect();
        self.count(all.iter().copied().find(|feature| feature.row().weight == Weight::Key), key);
        all.into_iter().for_each(|feature| self.feature(feature, key));
        Ok(())
    }

    /// Counts a key of the current database, which goes with `feature`, if with any.
    fn count(&mut self, feature: Option<Feature>, key: &KeyHeader) {
        let Some(database) = self.databases.last_mut() else { return };
        database.all.add(key);
        if let Some(feature) = feature {
            database.by_feature.entry(feature).or_default().add(key);
        }
    }

    fn feature(&mut self, feature: Feature, key: &KeyHeader) {
        let found = self.found.entry(feature).or_default();
        found.count += 1;
        found.first.get_or_insert_with(|| Place { db: key.db, key: key.key.clone(), offset: key.offset });
    }
}

/// Whether a value of this type may have what not every version holds.
fn may_have_features(kind: Kind) -> bool {
    match kind.type_name() {
        "string" | "list" | "set" | "zset" => false,
        "hash" => !matches!(kind, Kind::Hash | Kind::HashZipmap | Kind::HashZiplist | Kind::HashListpack),
        _ => true,
    }
}

/// Reads the source once. An RDB with commands behind it turns out to be a log here, which `replay` makes an RDB of, if
/// it can.
pub fn take(
    source: Source,
    options: Options,
    replay: impl FnOnce(&Source) -> anyhow::Result<Option<Source>>,
) -> anyhow::Result<(Source, Survey)> {
    let (survey, trailing) = read(&source, options)?;
    match trailing {
        Some(Trailing { is_commands: true, offset, .. }) => {
            let Some(log) = replay(&source)? else {
                let message = format!("commands follow the RDB from offset {offset} on: this is a log, name its file");
                return Err(Failure::error(Exit::Unreadable, message).context(source.name().to_owned()));
            };
            let (survey, _) = read(&log, options)?;
            Ok((log, survey))
        }
        Some(Trailing { bytes, offset, .. }) => {
            let name = source.name();
            writeln!(io::stderr(), "{name}: {bytes} bytes behind the end at offset {offset} are left out")?;
            Ok((source, Survey { trailing_bytes: bytes, ..survey }))
        }
        None => Ok((source, survey)),
    }
}

fn read(source: &Source, options: Options) -> anyhow::Result<(Survey, Option<Trailing>)> {
    let mut reader = source.reader(options)?;
    let survey = Survey::of(&mut reader).map_err(|error| opened::failure(source.name(), &error))?;
    let trailing =
        opened::trailing(reader).map_err(|error| anyhow::Error::from(error).context(source.name().to_owned()))?;
    Ok((survey, trailing))
}
