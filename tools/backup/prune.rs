//! `prune`: what goes by the rules.

use ironkeep::backup::prune::{self, Rules};
use ironkeep::calendar::{Retention, zone};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::plural::plural;
use ironkeep::cli::utc::Utc;
use ironkeep::engine::params::kind::parse_duration;

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
    let mut text = String::new();
    for planned in &planned {
        let words: Vec<&str> = planned.reasons.iter().map(|keep| keep.word()).collect();
        let what = match (planned.goes(), planned.listed.manifest.is_ok()) {
            (true, _) if arguments.dry_run => "would go".to_owned(),
            (true, _) => "goes".to_owned(),
            (false, true) => format!("stays: {}", words.join(", ")),
            (false, false) => "stays: its manifest can't be read".to_owned(),
        };
        text += &format!("{}  {what}\n", planned.listed.id);
    }
    print(&text)?;
    if !arguments.dry_run {
        catalogue.sweep().map_err(failure)?;
        let (gone, left) = prune::prune(&catalogue, planned).map_err(failure)?;
        let segments = prune::prune_archive(&catalogue, &left, &rules).map_err(failure)?;
        print(&format!("{} removed\n", plural(gone.len() as u64, "backup")))?; // usize has at most 64 bits
        if segments > 0 {
            print(&format!("{} of the archive removed\n", plural(segments, "segment")))?;
        }
    }
    Ok(Exit::Fine)
}

fn duration(word: &str) -> Result<u64, String> {
    parse_duration(word.as_bytes()).ok_or_else(|| "seconds, or a number with s, m, h or d".to_owned())
}
