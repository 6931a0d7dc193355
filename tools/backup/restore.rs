//! `restore`: a data folder out of a backup, and of what the archive has behind it.

use std::fmt::Write as _;
use std::path::PathBuf;

use ironkeep::backup::restore::{Expiry, Found, Wishes, look_at, rehearse, restore, restore_replayed};
use ironkeep::backup::rewind::{self, Plan, Shown, Target, Until};
use ironkeep::backup::verify::verify;
use ironkeep::backup::{BackupError, Catalogue, Level, Manifest};
use ironkeep::cli::escape::{Escaped, Quoted};
use ironkeep::cli::exit::Exit;
use ironkeep::cli::in_place::quote;
use ironkeep::cli::plural::plural;
use ironkeep::cli::utc::Utc;
use serde_json::json;

use super::{Place, failure, into_server, print};

/// Make a data folder out of a backup, or as it was at any second behind one that the archive holds, after all that is needed
/// has been read and found whole
#[derive(clap::Args)]
pub struct Arguments {
    /// Its name, or `latest`. Without it --to, --before and --skip-command find the one that fits best
    #[arg(value_name = "BACKUP", required_unless_present_any = ["to", "before", "skip_commands"])]
    id: Option<String>,
    #[command(flatten)]
    place: Place,
    /// The data folder: a new one, or an empty one
    #[arg(long, value_name = "DIR", required_unless_present = "into")]
    dir: Option<PathBuf>,
    /// A running server that is to have the keys, as redis://[user[:password]@]host[:port]; the password may be in
    /// REDISCLI_AUTH
    #[arg(long, value_name = "URL", conflicts_with = "dir")]
    into: Option<String>,
    /// Take the place of a folder that is there, which is kept beside; or of keys that the server has
    #[arg(long)]
    force: bool,
    /// All that happened up to the end of this second: "2026-11-20 14:05:00+09:00", Unix seconds, or `latest` for all that is
    /// archived. Needs aof-archive
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "before")]
    to: Option<Until>,
    /// All that happened in front of the last command of this name, and of the transaction that it is in. Needs aof-archive
    #[arg(long, value_name = "NAME")]
    before: Option<String>,
    /// Leave commands of this name out, and keep what came after them; may be given more than once. Needs aof-archive
    #[arg(long = "skip-command", value_name = "NAME", value_parser = skippable)]
    skip_commands: Vec<String>,
    /// Only keys that match this pattern; may be given more than once
    #[arg(long = "key", value_name = "GLOB")]
    keys: Vec<String>,
    /// What becomes of the times at which keys expire: what has been due meanwhile is not there any more (keep), or all times
    /// are later by the age of the data (shift), or nothing expires (persist)
    #[arg(long, value_enum, default_value_t = Mode::Keep)]
    expire_mode: Mode,
    /// Check everything and say what would come back, write nothing
    #[arg(long)]
    dry_run: bool,
    /// The report as one JSON object (schema ironkeep.backup-restore/1)
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Mode {
    Keep,
    Shift,
    Persist,
}

fn moment(word: &str) -> Result<Until, String> {
    if word == "latest" {
        return Ok(Until::End);
    }
    let time: Utc = word.parse().map_err(|error| format!("{error}"))?;
    if time > Utc::now() {
        return Err("this moment has not come yet".to_owned());
    }
    Ok(Until::Second(time.0.div_euclid(1000)))
}

fn skippable(word: &str) -> Result<String, String> {
    let is_frame = ["multi", "exec", "select"].iter().any(|name| word.eq_ignore_ascii_case(name));
    if is_frame { Err("it says what other records mean".to_owned()) } else { Ok(word.to_owned()) }
}

/// What is restored, or would be.
struct Outcome {
    backup: Manifest,
    /// Unix ms.
    as_of_ms: i64,
    found: Found,
    plan: Option<Plan>,
    aside: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let catalogue = arguments.place.catalogue()?;
    let expiry = match arguments.expire_mode {
        Mode::Keep => Expiry::Keep,
        Mode::Shift => Expiry::Shift,
        Mode::Persist => Expiry::Persist,
    };
    let keys = arguments.keys.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
    let dir = arguments.dir.clone().unwrap_or_default();
    let wishes = Wishes { dir, force: arguments.force, keys, expiry, now_ms: Utc::now().0 };
    let outcome = match arguments.target() {
        None if arguments.into.is_none() => as_it_is(&catalogue, arguments, &wishes)?,
        target => replayed(&catalogue, arguments, (target.as_ref(), &wishes))?,
    };
    print(&if arguments.json { outcome.json(arguments) } else { outcome.text(arguments) })?;
    Ok(Exit::Fine)
}

fn as_it_is(catalogue: &Catalogue, arguments: &Arguments, wishes: &Wishes) -> anyhow::Result<Outcome> {
    let manifest = catalogue.find(arguments.id.as_deref().unwrap_or("latest")).map_err(failure)?;
    let found = rehearse(catalogue, &manifest, wishes).map_err(failure)?;
    prove(catalogue, &manifest, wishes)?;
    let aside = match arguments.dry_run {
        true => None,
        false => restore(catalogue, &manifest, wishes).map_err(failure)?,
    };
    Ok(Outcome { as_of_ms: manifest.started_ms, backup: manifest, found, plan: None, aside })
}

fn replayed(
    catalogue: &Catalogue,
    arguments: &Arguments,
    (target, wishes): (Option<&Target>, &Wishes),
) -> anyhow::Result<Outcome> {
    let plan = match target {
        Some(target) => rewind::plan(catalogue, target).map_err(failure)?,
        None => Plan::only(catalogue.find(arguments.id.as_deref().unwrap_or("latest")).map_err(failure)?),
    };
    prove(catalogue, &plan.base, wishes)?;
    let skip = target.map_or(&[][..], |target| &target.skip);
    let mut engine = rewind::replay(catalogue, &plan, skip).map_err(failure)?;
    let found = look_at(&mut engine, wishes);
    let aside = match &arguments.into {
        Some(url) => {
            into_server::restore(url, &mut engine, (wishes, plan.as_of_ms), arguments.dry_run)?;
            None
        }
        None if arguments.dry_run => None,
        None => restore_replayed(catalogue, (&plan.base.id, &mut engine, plan.as_of_ms), wishes).map_err(failure)?,
    };
    Ok(Outcome { backup: plan.base.clone(), as_of_ms: plan.as_of_ms, found, plan: Some(plan), aside })
}

/// Makes sure that a backup loads.
fn prove(catalogue: &Catalogue, manifest: &Manifest, wishes: &Wishes) -> anyhow::Result<()> {
    if manifest.status() == Level::Restore.word() {
        return Ok(());
    }
    // Nobody has loaded it yet.
    let fault = verify(catalogue, manifest, Level::Restore, wishes.now_ms).map_err(failure)?.fault;
    fault.map_or(Ok(()), |fault| Err(failure(BackupError::Damaged { id: manifest.id.clone(), fault })))
}

impl Arguments {
    /// What is to be replayed behind the backup; none where it is wanted as it is.
    fn target(&self) -> Option<Target> {
        let until = match (&self.to, &self.before) {
            (Some(until), _) => until.clone(),
            (None, Some(name)) => Until::Before(name.as_bytes().to_vec()),
            (None, None) if self.skip_commands.is_empty() => return None,
            (None, None) => Until::End,
        };
        let skip = self.skip_commands.iter().map(|name| name.as_bytes().to_vec()).collect();
        Some(Target { until, skip, base: self.id.clone() })
    }

    /// The command that starts a server on what was restored.
    fn start(&self) -> Option<String> {
        self.dir.as_ref().map(|dir| format!("ironkeep --dir {} --appendonly yes", quote(dir)))
    }

    /// What gets the data.
    fn receiver(&self) -> String {
        match (&self.dir, &self.into) {
            (Some(dir), _) => quote(dir),
            (None, url) => url.as_deref().map(without_password).unwrap_or_default(),
        }
    }
}

impl Outcome {
    fn json(&self, arguments: &Arguments) -> String {
        let Found { keys, left_out, due } = self.found;
        let shown = |shown: &Shown| {
            let arguments: Vec<String> = shown.arguments.iter().map(|word| Escaped(word).to_string()).collect();
            json!({ "position": shown.position, "time_ms": shown.time_ms, "db": shown.db, "arguments": arguments })
        };
        let replayed = self.plan.as_ref().map(|plan| {
            json!({
                "segments": plan.segments.iter().map(|segment| segment.name()).collect::<Vec<_>>(),
                "cut": plan.cut, "records": plan.records, "skipped": plan.skipped,
                "kept": plan.kept.iter().map(shown).collect::<Vec<_>>(),
                "dropped": plan.dropped.iter().map(shown).collect::<Vec<_>>(),
                "archived_until_ms": plan.archived_until_ms, "is_short": plan.is_short,
                "is_set_back": plan.is_set_back,
            })
        });
        let report = json!({
            "schema": "ironkeep.backup-restore/1", "backup": self.backup.id, "dir": arguments.dir.as_ref().map(|dir| dir.to_string_lossy().into_owned()),
            "into": arguments.into.as_deref().map(without_password),
            "dry_run": arguments.dry_run, "as_of_ms": self.as_of_ms, "keys": keys, "left_out": left_out, "due": due,
            "replayed": replayed, "start": arguments.start(),
            "aside": self.aside.as_ref().map(|aside| aside.to_string_lossy().into_owned()),
        });
        format!("{report}\n")
    }

    fn text(&self, arguments: &Arguments) -> String {
        let Found { keys, left_out, due } = self.found;
        let (verb, as_of) = (if arguments.dry_run { "would restore" } else { "restored" }, Utc(self.as_of_ms));
        let (keys, receiver) = (plural(keys, "key"), arguments.receiver());
        let mut text = match &self.plan {
            Some(plan) => format!("{}{verb} {keys} as of {as_of} into {receiver}\n", describe(plan, arguments)),
            None => format!("{verb} {keys} of {} ({as_of}) into {receiver}\n", self.backup.id),
        };
        if left_out > 0 {
            text += &format!("{} left out\n", plural(left_out, "other key"));
        }
        if due > 0 {
            text += &format!("{due} of these will not be there: their time has come since (see --expire-mode)\n");
        }
        if let Some(aside) = &self.aside {
            text += &format!("what was there is {}\n", quote(aside));
        }
        if let Some(start) = arguments.start().filter(|_| !arguments.dry_run) {
            text += &format!("To start a server on it: {start}\n");
        }
        text
    }
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, place)) => format!("redis://{place}"),
        None => url.to_owned(),
    }
}

/// With what a restore begins, what it replays, and where it cuts.
fn describe(plan: &Plan, arguments: &Arguments) -> String {
    let mut text = format!("base: {} ({})\n", plan.base.id, Utc(plan.base.started_ms));
    let segments = plan.segments.len() as u64; // usize has at most 64 bits
    let _ = writeln!(
        text,
        "archive: {} of {}, cut at position {}",
        plural(plan.records, "record"),
        plural(segments, "segment"),
        plan.cut
    );
    if plan.skipped > 0 {
        let _ =
            writeln!(text, "left out: {} ({})", plural(plan.skipped, "command"), arguments.skip_commands.join(", "));
    }
    for (title, records) in
        [("last kept", plan.kept.iter().collect::<Vec<_>>()), ("first dropped", plan.dropped.iter().collect())]
    {
        for shown in records {
            let _ = writeln!(text, "{title}: {}", line(shown));
        }
    }
    if plan.is_set_back {
        text += "the clock was set back behind the cut: what follows tells times up to the wanted one again (--to latest brings it)\n";
    }
    if plan.is_short {
        let until = Utc(plan.archived_until_ms);
        let _ =
            writeln!(text, "the archive ends at {until}: what was written after that, if anything was, is not in it");
    }
    text
}

fn line(shown: &Shown) -> String {
    let mut line = format!("{} [{}]", Utc(shown.time_ms), shown.db);
    for argument in &shown.arguments {
        let is_plain = !argument.is_empty() && argument.iter().all(u8::is_ascii_graphic);
        let _ = if is_plain { write!(line, " {}", Escaped(argument)) } else { write!(line, " {}", Quoted(argument)) };
    }
    if shown.is_cut {
        line += " ...";
    }
    line
}
