//! What a fault means: a torn tail, which a start may cut, or damage, which stops it.
//!
//! A process that dies, or a machine that loses power, leaves the last file with bytes that are missing, half a record,
//! an open transaction, or NULs where the length reached the disk and the data did not. None of these is followed by
//! records. So a fault is a torn tail if its file is the last that has any bytes, and nothing behind it can be read as
//! records; otherwise something was lost in the middle, and to cut there would throw away what is intact.
//!
//! In a file of ours the marks know better: what is broken behind the last position known to be synced is a torn tail,
//! whatever follows it, and what is broken before that is damage, [`evidence`](super::evidence). The rest is for files
//! and stretches of other servers.
//!
//! To find records behind a fault, every `*<digits>CRLF$<digits>CRLF` is tried. A chance match inside a value is ruled
//! out by asking for a run: three records, or records up to the very end of the file.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::evidence::{self, Finding};
use super::{Fault, Log, LogError, LogFile, Reached, Scanner};
use crate::disk::{Disk, Mode};

/// How a log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// With a whole unit.
    Clean,
    /// The file at `file` is good up to `last_good_offset`; the rest was never finished.
    Torn { file: usize, last_good_offset: u64, cut_bytes: u64, reason: String },
    /// Something is broken at `offset`. `intact_from` is the place where records can be read again, where there is one.
    Damaged { file: usize, offset: u64, last_good_offset: u64, intact_from: Option<u64>, reason: String },
    /// The RDB in front of the file is of a version, or holds a type, that this build does not read.
    Unsupported { file: usize, offset: u64, reason: String },
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        *self == Self::Clean
    }
}

/// Decides about `fault`, which ended the reading of the file at `index`.
pub fn judge(disk: &dyn Disk, log: &Log, index: usize, fault: &Fault, reached: &Reached) -> Result<Verdict, LogError> {
    let file = &log.files[index];
    let last_good_offset = match fault {
        Fault::SpanChanged { from, .. } => *from,
        _ => reached.whole_until,
    };
    let reason = fault.to_string();
    // Offsets inside of the envelope are none of the file's, so nothing can be cut there; and no server writes this.
    if file.is_wrapped {
        let reason = format!("behind the RDB in its compressed envelope there is more: {reason}");
        return Ok(Verdict::Unsupported { file: index, offset: fault.offset(), reason });
    }
    let damaged = |intact_from, mut reason: String| {
        if fault.is_of_seals() {
            reason += " (aof-verify no loads it as it is)";
        }
        Verdict::Damaged { file: index, offset: fault.offset(), last_good_offset, intact_from, reason }
    };
    match fault {
        Fault::Io { source, .. } => {
            let source = io::Error::new(source.kind(), reason);
            return Err(LogError::Io { path: file.path.clone(), source });
        }
        // A file that does not even begin as a log was never one; to cut it would be to empty it.
        Fault::NoRecord { offset: 0, got } if *got != 0 => {
            return Ok(damaged(None, format!("{reason}: this is no append-only log")));
        }
        // These records are whole, so nothing is torn here.
        Fault::NestedMulti { .. } | Fault::LooseExec { .. } => return Ok(damaged(Some(fault.offset()), reason)),
        _ => {}
    }
    let at = |source| LogError::Io { path: file.path.clone(), source };
    let is_last = log.is_last_with_bytes(index);
    // Behind it may stand files that were begun in vain, as the server could not know that their names had got through.
    let heads = evidence::heads(disk, &log.files[index + 1..], reached.seals.id()).map_err(at)?;
    let finding = match heads {
        Some(synced) => evidence::find(disk, &file.path, fault, reached, synced).map_err(at)?,
        None => None,
    };
    if !is_last && finding.is_none() {
        let reason = format!("{reason}, and this is not the last file of the log");
        return Ok(damaged(None, reason));
    }
    match finding {
        Some(Finding::Torn { cut }) => return Ok(torn(file, index, cut, reason)),
        Some(Finding::Damaged { intact }) => {
            return Ok(damaged(intact, format!("{reason}. It was whole on the disk once: this is no torn tail")));
        }
        None => {}
    }
    let intact_from = match fault {
        // Every record of the open transaction was read.
        Fault::OpenMulti { .. } => None,
        _ => intact_records_behind(disk, &file.path, fault).map_err(at)?,
    };
    Ok(match intact_from {
        Some(offset) => damaged(
            Some(offset),
            format!("{reason}, but intact records follow at offset {offset}: this is no torn tail"),
        ),
        None => torn(file, index, last_good_offset, reason),
    })
}

fn torn(file: &LogFile, index: usize, last_good_offset: u64, reason: String) -> Verdict {
    let cut_bytes = file.len.saturating_sub(last_good_offset);
    Verdict::Torn { file: index, last_good_offset, cut_bytes, reason }
}

const WINDOW: usize = 1 << 20;
/// The longest `*<digits>CRLF$<digits>CRLF` that is tried.
pub const MAX_HEAD: usize = 40;
const RUN: usize = 3;

/// The offset of the first run of records behind the one that `fault` is about.
fn intact_records_behind(disk: &dyn Disk, path: &Path, fault: &Fault) -> io::Result<Option<u64>> {
    let mut file = disk.open(path, Mode::Read)?;
    let end = file.len()?;
    let mut trial = disk.open(path, Mode::Read)?;
    // Trials of nested matches could make a hostile file cost its square. Who runs out has found many heads of
    // records, and then it is safer to stop than to cut.
    let mut budget = (end - fault.record().min(end)).saturating_mul(16) + (64 << 20);
    let mut offset = fault.record() + 1;
    let mut window = Vec::new();
    while offset < end {
        file.seek(SeekFrom::Start(offset))?;
        window.clear();
        (&mut file).take(WINDOW as u64).read_to_end(&mut window)?;
        if window.is_empty() {
            return Ok(None);
        }
        for star in memchr::memchr_iter(b'*', &window) {
            let candidate = offset + star as u64;
            let head = &window[star..window.len().min(star + MAX_HEAD)];
            if !is_head(head) {
                continue;
            }
            trial.seek(SeekFrom::Start(candidate))?;
            let is_run = is_run(&mut trial, candidate, end, fault.is_early_end());
            budget = budget.saturating_sub(trial.stream_position()? - candidate);
            if is_run || budget == 0 {
                return Ok(Some(candidate));
            }
        }
        // The next window takes in heads that this one has cut.
        let last = window.len() < WINDOW;
        offset += (if last { window.len() } else { window.len() - MAX_HEAD }) as u64;
    }
    Ok(None)
}

/// Whether bytes, [`MAX_HEAD`] of them where there are so many, begin with `*<digits>CRLF$<digits>CRLF`.
pub fn is_head(bytes: &[u8]) -> bool {
    let number = |bytes: &[u8], mark: u8| -> Option<usize> {
        let digits = bytes.get(1..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (bytes[0] == mark && digits > 0 && bytes[1 + digits..].starts_with(b"\r\n")).then_some(digits + 3)
    };
    number(bytes, b'*').is_some_and(|len| number(&bytes[len..], b'$').is_some())
}

/// Whether records begin at `offset`. `half` tells of a record that is cut off at the end of the file: its value may
/// hold text that looks like records, so there one whose end is cut proves nothing.
fn is_run(reader: &mut impl Read, offset: u64, end: u64, half: bool) -> bool {
    let mut scanner = Scanner::resume(reader, Vec::new(), offset, Some(end));
    let mut count = 0;
    while count < RUN {
        match scanner.next() {
            Ok(Some(_)) => count += 1,
            Ok(None) => return count > 0,
            Err(Fault::Cut { .. }) => return count > 0 && !half,
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aof::Reader;
    use crate::disk::RealDisk;
    use crate::resp::encode_request;

    fn records(count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in 0..count {
            encode_request(&mut bytes, &[b"SET".to_vec(), b"key".to_vec(), number.to_string().into_bytes()]);
        }
        bytes
    }

    /// Writes the files of a log with a manifest and judges the first fault.
    fn verdict(files: &[&[u8]]) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = String::new();
        let write = |name: &str, content: &[u8]| {
            let mut file = RealDisk.open(&folder.path().join(name), Mode::CreateNew).unwrap();
            io::Write::write_all(&mut file, content).unwrap();
        };
        for (index, content) in files.iter().enumerate() {
            let seq = index + 1;
            manifest += &format!("file a.{seq}.incr.aof seq {seq} type i\n");
            write(&format!("a.{seq}.incr.aof"), content);
        }
        write("a.manifest", manifest.as_bytes());
        let log = Log::open(&RealDisk, folder.path()).unwrap();
        for (index, file) in log.files.iter().enumerate() {
            let open = RealDisk.open(&file.path, Mode::Read).unwrap();
            let mut reader = Reader::resume(open, Vec::new(), 0, Some(file.len));
            let fault = loop {
                match reader.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break None,
                    Err(fault) => break Some(fault),
                }
            };
            if let Some(fault) = fault {
                return judge(&RealDisk, &log, index, &fault, &reader.reached()).unwrap();
            }
        }
        Verdict::Clean
    }

    fn torn_at(verdict: Verdict) -> Option<u64> {
        match verdict {
            Verdict::Torn { last_good_offset, .. } => Some(last_good_offset),
            _ => None,
        }
    }

    #[test]
    fn a_file_cut_at_any_byte_is_clean_or_torn() {
        let bytes = records(6);
        let unit = records(1).len();
        for cut in 0..=bytes.len() {
            let verdict = verdict(&[&bytes[..cut], b""]);
            if cut % unit == 0 {
                assert_eq!(verdict, Verdict::Clean);
            } else {
                assert_eq!(torn_at(verdict), Some((cut / unit * unit) as u64), "cut {cut}");
            }
        }
    }

    #[test]
    fn nuls_at_the_end_are_a_torn_tail() {
        let whole = records(3);
        for (cut, nuls) in [(whole.len(), 1), (whole.len(), 4096), (whole.len() - 5, 4096), (whole.len() - 12, 70_000)]
        {
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(cut + nuls, 0);
            let good = if cut == whole.len() { whole.len() } else { records(2).len() };
            assert_eq!(torn_at(verdict(&[&bytes])), Some(good as u64), "cut {cut}, {nuls} NULs");
        }
    }

    #[test]
    fn an_open_transaction_at_the_end_is_a_torn_tail_back_to_its_multi() {
        let mut bytes = records(2);
        encode_request(&mut bytes, &[b"MULTI"]);
        bytes.extend_from_slice(&records(5));
        assert_eq!(torn_at(verdict(&[&bytes])), Some(records(2).len() as u64));
    }

    #[test]
    fn a_flipped_byte_before_intact_records_is_damage_and_never_a_torn_tail() {
        let bytes = records(8);
        // A length that swallows the head of the last record leaves nothing intact behind it.
        let last = records(6).len();
        for at in 0..last {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let verdict = verdict(&[&flipped]);
                assert!(
                    matches!(verdict, Verdict::Damaged { .. } | Verdict::Clean),
                    "byte {at} bit {bit}: {verdict:?}"
                );
            }
        }
    }

    #[test]
    fn a_file_that_never_was_a_log_is_not_emptied() {
        for content in [&b"hello world"[..], b"REDI", b"\x89PNG"] {
            assert!(matches!(verdict(&[content]), Verdict::Damaged { last_good_offset: 0, .. }));
        }
    }

    #[test]
    fn a_broken_last_record_is_a_torn_tail() {
        let mut bytes = records(4);
        let start = records(3).len();
        bytes[start] = b'+';
        assert_eq!(torn_at(verdict(&[&bytes])), Some(start as u64));
    }

    #[test]
    fn a_half_value_that_holds_records_is_still_a_torn_tail() {
        let mut bytes = records(2);
        let good = bytes.len() as u64;
        encode_request(&mut bytes, &[&b"SET"[..], b"key", &records(2)]);
        assert_eq!(torn_at(verdict(&[&bytes[..bytes.len() - 10]])), Some(good));
    }

    #[test]
    fn a_cut_file_with_bytes_in_a_later_one_is_damage() {
        let bytes = records(2);
        let verdict = verdict(&[&bytes[..bytes.len() - 1], b"", &bytes]);
        let Verdict::Damaged { file: 0, reason, .. } = verdict else { panic!("{verdict:?}") };
        assert!(reason.contains("not the last file"), "{reason}");
    }
}
