//! A log as the server's own loader sees it: which keys it leads to, and how a server is started on it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use ironkeep::aof::Log;
use ironkeep::cli::escape::Quoted;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::in_place::quote;
use ironkeep::cli::json::Object;
use ironkeep::disk::Disk;
use ironkeep::persist::PersistError;

use crate::shared::replayed;

/// Databases and the keys in them.
pub type Names = HashSet<(usize, Vec<u8>)>;

/// So many names are shown.
const SAMPLE: usize = 10;

/// What a changed log leads to beside what is there.
pub struct Gain {
    pub keys: u64,
    /// Keys that are there only behind the change, and only before it.
    back: u64,
    gone: u64,
    /// Some of those that come back.
    sample: Vec<(usize, Vec<u8>)>,
}

impl Gain {
    pub fn of(before: &Names, after: Names) -> Self {
        let (keys, kept) = (after.len(), before.intersection(&after).count());
        let mut back: Vec<_> = after.into_iter().filter(|name| !before.contains(name)).collect();
        back.sort_unstable();
        let count = back.len();
        back.truncate(SAMPLE);
        let [keys, back_count, gone] = [keys, count, before.len() - kept].map(|count| count as u64); // at most 64 bits
        Self { keys, back: back_count, gone, sample: back }
    }

    pub fn words(&self) -> String {
        let name = |(db, key): &(usize, Vec<u8>)| match db {
            0 => Quoted(key).to_string(),
            db => format!("{} (database {db})", Quoted(key)),
        };
        let names: Vec<String> = self.sample.iter().map(name).collect();
        let more = self.back - names.len() as u64; // a sample is no longer than the whole
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let back = match self.back {
            0 => "no key comes back that is not there now; values may differ".to_owned(),
            1 => format!("1 key comes back: {}", names[0]),
            count => format!("{count} keys come back: {}{more}", names.join(", ")),
        };
        match self.gone {
            0 => back,
            1 => format!("{back}; 1 key of today is gone then"),
            count => format!("{back}; {count} keys of today are gone then"),
        }
    }

    pub fn write_json(&self, object: &mut Object<'_>) {
        object.u64("keys_back", self.back).u64("keys_gone", self.gone);
        object.array("sample", &self.sample, |out, (db, key)| {
            let mut object = Object::open(out);
            object.u64("db", *db as u64).bytes("key", key); // usize has at most 64 bits
            object.close();
        });
    }
}

/// The names that are there when a log is loaded; what does not load is a finding, or of another server.
pub fn names(disk: &Arc<dyn Disk>, log: &Log, databases: usize) -> anyhow::Result<Names> {
    let mut engine = replayed::engine_of(disk, log, databases).map_err(|error| {
        let cause = error.chain().find_map(|cause| cause.downcast_ref::<PersistError>());
        let exit = match cause {
            Some(PersistError::Refused { .. }) => Exit::Findings,
            Some(PersistError::Replay { .. }) => Exit::Unsupported,
            _ => return error,
        };
        Failure::error(exit, format!("{error:#}"))
    })?;
    let mut names = Names::new();
    for db in 0..engine.keyspace.db_count() {
        engine.keyspace.db(db).visit(&mut |entry| {
            names.insert((db, entry.key.to_vec()));
        });
    }
    Ok(names)
}

/// The line that starts a server of ours on a log.
pub fn start_line(log_path: &Path, is_multi_part: bool) -> String {
    let path = std::path::absolute(log_path).unwrap_or_else(|_| log_path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = if is_multi_part { name.strip_suffix(".manifest").unwrap_or(&name) } else { &name };
    let dir = if is_multi_part { folder.parent().unwrap_or(Path::new("/")) } else { folder };
    let mut line = format!("ironkeep --dir {} --appendonly yes", quote(dir));
    if name != ironkeep::aof::log::DEFAULT_FILE_NAME {
        line += &format!(" --appendfilename {}", quote(Path::new(name)));
    }
    let folder_name = folder.file_name().unwrap_or_default();
    if is_multi_part && folder_name != ironkeep::aof::log::DEFAULT_FOLDER_NAME {
        line += &format!(" --appenddirname {}", quote(Path::new(folder_name)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_counts_all_and_names_some() {
        let names = |range: std::ops::Range<u32>| range.map(|n| (0, format!("{n:02}").into_bytes())).collect::<Names>();
        let gain = Gain::of(&names(0..2), names(0..20));
        assert_eq!((gain.keys, gain.back, gain.gone, gain.sample.len()), (20, 18, 0, SAMPLE));
        assert!(gain.words().starts_with("18 keys come back: \"02\", \"03\"") && gain.words().ends_with(" and 8 more"));
        let gain = Gain::of(&names(0..3), names(1..2));
        assert_eq!(
            gain.words(),
            "no key comes back that is not there now; values may differ; 2 keys of today are gone then"
        );
    }
}
