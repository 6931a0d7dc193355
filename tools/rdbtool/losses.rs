//! What a version could not hold, as the verbs that write files tell it.

use ironkeep::cli::escape::Quoted;
use ironkeep::cli::json::{self, Object};
use ironkeep::rdb::{Losses, Weight};
use std::io::{self, Write};

/// A line for each kind, with the first keys.
pub fn write_text(losses: &Losses, out: &mut dyn Write) -> io::Result<()> {
    for (feature, loss) in losses.iter() {
        let row = feature.row();
        let what = if row.weight == Weight::Hint { "left out (a hint)" } else { "lost" };
        write!(out, "{what}: {} {}", loss.count, row.name)?;
        let keys: Vec<String> = loss.keys.iter().map(|key| Quoted(key).to_string()).collect();
        let more = if loss.count > keys.len() as u64 { ", ..." } else { "" }; // widening
        writeln!(out, "{}", if keys.is_empty() { String::new() } else { format!(": {}{more}", keys.join(", ")) })?;
    }
    Ok(())
}

/// The member `lost` of a report: an array with an object for each kind.
pub fn write_json(losses: &Losses, report: &mut Object<'_>) {
    report.array("lost", losses.iter(), |out, (feature, loss)| {
        let mut row = Object::open(out);
        row.str("kind", feature.row().name).bool("hint", feature.row().weight == Weight::Hint);
        row.u64("count", loss.count);
        row.array("keys", &loss.keys, |out, key| json::write_bytes(out, key));
        row.close();
    });
}
