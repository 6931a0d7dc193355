//! `prune`: what goes by the rules.

use ironkeep::backup::archive::Segment;
use ironkeep::backup::prune::{self, Planned, Rules};
use ironkeep::backup::{Archive, Listed};
use ironkeep::calendar::{Retention, zone};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::plural::plural;
use ironkeep::cli::utc::Utc;
use ironkeep::engine::params::kind::parse_duration;
use serde_json::json;

use super::{Place, failure, print};

/// Remove the backups that the rules don't keep; the newest good one, and the newest that was read back, always stay
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The rules, as backup-retention has them: "keep-last 3 keep-hourly 24 keep-daily 7 keep-weekly 5 keep-monthly 12"
    #[arg(long, value_name = "RULES")]
    retention: String,
    /// Whose hours and days they mean
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: String,
    /// For how long any second can be brought back, as backup-pitr-window has it; 0 is since the oldest backup that is kept
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration)]
    pitr_window: u64,
    /// Show what would go and why the others stay, remove nothing
    #[arg(long)]
    dry_run: bool,
    /// The report as one JSON object (schema ironkeep.backup-prune/1)
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let usage = |message: String| Failure::error(Exit::Usage, message);
    let rules = Rules {
        retention: Retention::parse(&arguments.retention).map_err(usage)?,
        zone: zone(&arguments.timezone).map_err(usage)?,
        window_ms: i64::try_from(arguments.pitr_window.saturating_mul(1000)).unwrap_or(i64::MAX),
        now_ms: Utc::now().0,
    };
    let catalogue = arguments.place.catalogue()?;
    let _hold = if arguments.dry_run { None } else { catalogue.hold().map_err(failure)? };
    let planned = prune::plan(&catalogue, &rules).map_err(failure)?;
    let left: Vec<&Listed> = planned.iter().filter(|planned| !planned.goes()).map(|planned| &planned.listed).collect();
    let segments = prune::plan_archive(&catalogue, &left, &rules).map_err(failure)?;
    let told = match arguments.json {
        true => in_json(&planned, &segments, arguments.dry_run),
        false => in_words(&planned, &segments, arguments.dry_run),
    };
    if !arguments.dry_run {
        catalogue.sweep().map_err(failure)?;
        prune::prune(&catalogue, planned).map_err(failure)?;
        for (archive, segment) in &segments {
            archive.remove(segment).map_err(failure)?;
        }
    }
    print(&told)?;
    Ok(Exit::Fine)
}

fn in_words(planned: &[Planned], segments: &[(Archive, Segment)], is_dry: bool) -> String {
    let (mut text, mut gone) = (String::new(), 0);
    let verb = if is_dry { "would go" } else { "is removed" };
    for Planned { listed, reasons } in planned {
        let words: Vec<&str> = reasons.iter().map(|keep| keep.word()).collect();
        let what = match &listed.manifest {
            Err(_) => "stays, and all of the archive: its manifest can't be read".to_owned(),
            Ok(_) if words.is_empty() => verb.to_owned(),
            Ok(_) => format!("stays: {}", words.join(", ")),
        };
        gone += u64::from(words.is_empty() && listed.manifest.is_ok());
        text += &format!("{}  {what}\n", listed.id);
    }
    for (archive, segment) in segments {
        text += &format!("{}/{}  {verb}\n", archive.timeline(), segment.name());
    }
    let (backups, segments) = (plural(gone, "backup"), plural(segments.len() as u64, "segment")); // usize has at most 64 bits
    text + &format!("{backups} and {segments} of the archive {}\n", if is_dry { "would go" } else { "removed" })
}

fn in_json(planned: &[Planned], segments: &[(Archive, Segment)], is_dry: bool) -> String {
    let backup = |planned: &Planned| {
        let reasons: Vec<&str> = planned.reasons.iter().map(|keep| keep.word()).collect();
        let error = planned.listed.manifest.as_ref().err();
        json!({ "id": planned.listed.id, "goes": planned.goes(), "reasons": reasons, "error": error })
    };
    let segment =
        |(archive, segment): &(Archive, Segment)| json!({ "timeline": archive.timeline(), "name": segment.name() });
    let report = json!({
        "schema": "ironkeep.backup-prune/1",
        "dry_run": is_dry,
        "backups": planned.iter().map(backup).collect::<Vec<_>>(),
        "segments": segments.iter().map(segment).collect::<Vec<_>>(),
    });
    format!("{report}\n")
}

fn duration(word: &str) -> Result<u64, String> {
    parse_duration(word.as_bytes()).ok_or_else(|| "seconds, or a number with s, m, h or d".to_owned())
}
