//! What `aoftool check --fix` does to the files of a log: cuts a torn tail, or leaves out all that can't be read.
//!
//! Files behind a fault are mended too. What was written is checked once more, as a start would.

use std::io::{self, Write};
use std::sync::Arc;

use ironkeep::aof::{self, Log, RdbDepth, Report, Verdict};
use ironkeep::cli::escape::Quoted;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::{self, Object};
use ironkeep::cli::locate::show;
use ironkeep::disk::Disk;

use crate::change::{Change, Fate, Outcome, Wishes};
use crate::remade::{self, Marks, Piece};
use crate::report;
use crate::skip::{self, Dropped, Mended};

/// A file that does not stay as it is.
pub struct MendedFile {
    index: usize,
    start: u64,
    marks: Marks,
    mended: Mended,
}

/// What is to be done to a log.
pub struct Mending<'a> {
    disk: &'a Arc<dyn Disk>,
    log: &'a Log,
    pub files: Vec<MendedFile>,
    does: String,
    did: String,
}

impl<'a> Mending<'a> {
    /// Cuts the torn tail that was found, and nothing else.
    pub fn cut_tail(disk: &'a Arc<dyn Disk>, log: &'a Log, found: &Report) -> Self {
        let mut mending = Self { disk, log, files: Vec::new(), does: String::new(), did: String::new() };
        if let Verdict::Torn { file: index, last_good_offset, cut_bytes, .. } = *found.verdict() {
            let (name, seen) = (report::name(&log.files[index]), &found.files[index]);
            let start = seen.rdb.as_ref().map_or(0, |rdb| rdb.len);
            let pieces = vec![Piece::Span(start..last_good_offset.max(start))];
            let mended = Mended { pieces, dropped: Vec::new(), frames: Vec::new(), suspects: Vec::new() };
            let marks = Marks::of(seen.seals.has_marks());
            mending.files.push(MendedFile { index, start, marks, mended });
            let size = log.files[index].len;
            mending.does =
                format!("shrink the AOF {name} from {size} bytes, with {cut_bytes} bytes, to {last_good_offset} bytes");
            mending.did = format!("Successfully truncated AOF {name}: {cut_bytes} bytes cut, kept with the original");
        }
        mending
    }

    /// Leaves out what can't be read, in every file.
    pub fn skip(disk: &'a Arc<dyn Disk>, log: &'a Log, found: &Report) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for (index, (file, seen)) in log.files.iter().zip(&found.files).enumerate() {
            if seen.verdict.is_clean() {
                continue;
            }
            if file.has_rdb && seen.rdb.is_none() {
                let message = "the RDB in front is broken, nothing was changed: `rdbtool repair` may save its keys";
                return Err(Failure::error(Exit::Findings, message).context(show(&file.path)));
            }
            let start = seen.rdb.as_ref().map_or(0, |rdb| rdb.len);
            let mended = skip::mend(&**disk, file, start)?;
            if mended.pieces.is_empty() && !mended.dropped.is_empty() && file.len > start && start == 0 {
                let message = "not a single record can be read: this is no append-only log, and nothing was changed";
                return Err(Failure::error(Exit::Findings, message).context(show(&file.path)));
            }
            let marks = Marks::of(seen.seals.has_marks() || !mended.suspects.is_empty());
            files.push(MendedFile { index, start, marks, mended });
        }
        let dropped = files.iter().flat_map(|file| &file.mended.dropped);
        let (mut spans, mut bytes) = (0, 0);
        for Dropped { span, .. } in dropped {
            (spans, bytes) = (spans + 1, bytes + span.end - span.start);
        }
        let suspects: usize = files.iter().map(|file| file.mended.suspects.len()).sum();
        let mut what = format!("{} of {bytes} bytes", report::plural(spans, "stretch"));
        if suspects > 0 {
            what += &format!(", and seal anew {}", report::plural(suspects as u64, "stretch")); // usize has at most 64 bits
        }
        let what = what.replace("stretchs", "stretches");
        let (does, did) = (format!("leave out {what}"), format!("Left out {}", what.replace("seal", "sealed")));
        Ok(Self { disk, log, files, does, did })
    }

    /// Does it, says so, and checks what was written.
    pub fn carry_out(&self, wishes: &Wishes) -> anyhow::Result<(Outcome, Exit)> {
        let of = |index: usize| self.files.iter().find(|file| file.index == index);
        let fate = |index: usize| if of(index).is_some() { Fate::Rewritten } else { Fate::Stays };
        let fill = |index: usize, out: &mut dyn Write| match of(index) {
            Some(MendedFile { start, marks, mended, .. }) => {
                remade::write(&**self.disk, &self.log.files[index], *start, (&mended.pieces, *marks), out)
            }
            None => Ok(()),
        };
        let (disk, log) = (self.disk, self.log);
        let fates = (0..log.files.len()).map(fate).collect();
        let change = Change { disk, log, does: &self.does, did: &self.did, fates, manifest: None, fill: &fill };
        let outcome = change.carry_out(wishes)?;
        outcome.tell(&change)?;
        let result = match &outcome {
            Outcome::Written(path) => Log::open(&**disk, path)?,
            Outcome::Edited(_) => Log::open(&**disk, log.path())?,
            Outcome::Planned | Outcome::Declined => {
                let exit = outcome.exit();
                return Ok((outcome, exit));
            }
        };
        if aof::check(&**disk, &result, RdbDepth::Skip, &mut ())?.verdict().is_clean() {
            return Ok((outcome, Exit::Fine));
        }
        writeln!(io::stderr(), "Not all is well yet: see `aoftool check {}`", show(result.path()))?;
        Ok((outcome, Exit::Findings))
    }
}

impl MendedFile {
    /// What is dropped, stretch by stretch, and which keys it is about.
    pub fn write_text(&self, log: &Log, out: &mut Vec<u8>) -> io::Result<()> {
        let name = report::name(&log.files[self.index]);
        for dropped in &self.mended.dropped {
            write_line(out, &format!("{name}: left out"), dropped)?;
        }
        for offset in &self.mended.frames {
            writeln!(out, "{name}: the MULTI or EXEC at offset {offset} is written anew")?;
        }
        for suspect in &self.mended.suspects {
            write_line(out, &format!("{name}: kept as it reads, one of these was changed:"), suspect)?;
        }
        Ok(())
    }

    pub fn write_json(&self, log: &Log, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        object.bytes("file", log.files[self.index].name().as_bytes());
        object.array("dropped", &self.mended.dropped, write_dropped);
        object.array("rewritten", &self.mended.frames, |out, offset| json::write_u64(out, *offset));
        object.array("suspects", &self.mended.suspects, write_dropped);
        object.close();
    }
}

fn write_line(out: &mut Vec<u8>, what: &str, dropped: &Dropped) -> io::Result<()> {
    let Dropped { span, reason, keys } = dropped;
    write!(out, "{what} offset {} to {}, {} bytes: {reason}", span.start, span.end, span.end - span.start)?;
    let keys: Vec<String> = keys.iter().map(|key| Quoted(key).to_string()).collect();
    match keys.len() {
        0 => writeln!(out, "; which keys it is about can't be told"),
        _ => writeln!(out, "; keys: {}", keys.join(", ")),
    }
}

fn write_dropped(out: &mut Vec<u8>, dropped: &Dropped) {
    let mut object = Object::open(out);
    object.u64("offset", dropped.span.start).u64("end", dropped.span.end).str("reason", &dropped.reason);
    object.array("keys", &dropped.keys, |out, key| json::write_bytes(out, key));
    object.close();
}
