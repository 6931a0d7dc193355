//! Seals and identities: the annotation lines by which a file of ours proves that it is what was written.
//!
//! Every reader since Redis 7.0 skips lines that begin with `#`, so the files stay what they are for real servers.
//!
//! ```text
//! identity = "#IRONKEEP id=" id " at=" position " synced=" position " version=" text " ms=" time sum LF
//! seal     = "#SEAL len=" bytes " at=" position " synced=" position " ms=" time " crc=" crc
//!            [ " mid=" position ":" crc ] [ " for=" text " from=" text " user=" text ] sum LF
//! sum      = " sum=" 8 hexadecimal digits     the low half of the CRC-64/XZ of the line in front of it
//! crc      = 16 hexadecimal digits            CRC-64/XZ
//! id       = 40 hexadecimal digits            names a history of records: positions of one id can be compared
//! text     = printable ASCII without space; any other byte, and "%", as "%" and two hexadecimal digits
//! ```
//!
//! - A **position** counts the bytes of records, not those of annotations. It goes on over files and restarts.
//! - A **span** is what stands between a mark (a seal or an identity) or the start of the file, or the end of the RDB in
//!   front, and the next seal: whole units with the annotations between them. `len` are the bytes of its records, `at` is
//!   the position of its end, and `crc` covers all its bytes. So every byte before the last seal is covered: records and
//!   other annotations by `crc`, marks by their own `sum`, and doubled, missing or swapped spans show in `at` and `len`.
//! - `synced` is the last position that was known to be on the disk when the line was made. Behind it a power cut may
//!   leave anything; before it, it can't, so that damage there is no torn tail.
//! - `mid` tells a position inside of the span at which a sync began, and the CRC of the span up to there: where the whole
//!   does not fit, that part may.
//! - `for`, `from` and `user` tell which client sent the FLUSHALL (or its like) that follows the seal.
//! - An **identity** begins every file, and follows a restart, behind a seal: between two marks nothing is uncovered.
//!   What it says is durable before the manifest names the file.
//! - A seal stands at the first boundary of a unit behind [`SPAN_LEN`] bytes or [`SPAN_MS`], in front of the records of
//!   the same write; at the very end of a file only where a rotation or a shutdown syncs it. A longer run of records
//!   without a seal was therefore written by somebody else.
//!
//! A mark is shorter than the 1,023 bytes that servers read in one piece. Later versions may add words in front of the
//! sum; a reader skips those that it does not know.
//!
//! ```
//! use ironkeep::aof::seal::{Mark, checksum};
//! let record = b"*1\r\n$4\r\nPING\r\n";
//! let line = b"#SEAL len=14 at=514 synced=500 ms=1700000000000 crc=d3286e735ea92bcd sum=80d426d8\n";
//! let Some(Ok(Mark::Seal(seal))) = Mark::parse(line) else { panic!("not a seal") };
//! assert_eq!((seal.len, seal.at, seal.synced), (14, 514, 500));
//! assert_eq!(seal.crc, checksum(record));
//! ```

use std::fmt;
use std::io::Write;

use crc64fast::Digest;

use crate::codec::number;

/// A span ends at the first boundary of a unit behind so many bytes of records. Readers rest on it, so it may shrink and
/// never grow.
pub const SPAN_LEN: u64 = 16 << 10;
/// Or behind so much time.
pub const SPAN_MS: u64 = 1000;
/// A text of a mark is cut to so many bytes, escaped.
const MAX_TEXT: usize = 250;
const SEAL: &[u8] = b"#SEAL ";
const IDENTITY: &[u8] = b"#IRONKEEP ";

/// The CRC-64/XZ of bytes.
pub fn checksum(bytes: &[u8]) -> u64 {
    let mut digest = Digest::new();
    digest.write(bytes);
    digest.sum64()
}

/// Names a history of records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HistoryId([u8; 40]);

impl HistoryId {
    /// A name that nobody has.
    pub fn random(random: &mut fastrand::Rng) -> Self {
        Self(std::array::from_fn(|_| b"0123456789abcdef"[random.usize(..16)]))
    }

    fn parse(digits: &[u8]) -> Option<Self> {
        let id = digits.try_into().ok().map(Self)?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(id)
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default() // always digits
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for HistoryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Who wrote what follows, and where in the history it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    pub id: HistoryId,
    pub at: u64,
    pub synced: u64,
    /// Of the server, as it stands in the line.
    pub version: &'a [u8],
    /// Unix ms.
    pub time_ms: i64,
}

/// What proves the records since the last mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal<'a> {
    pub len: u64,
    pub at: u64,
    pub synced: u64,
    /// Unix ms.
    pub time_ms: i64,
    pub crc: u64,
    pub middle: Option<Middle>,
    pub sender: Option<Sender<'a>>,
}

/// A position inside of a span, and the checksum of the span up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Middle {
    pub at: u64,
    pub crc: u64,
}

/// Who sent the command that follows: escaped texts where they come from a line, plain ones where they go into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender<'a> {
    pub command: &'a [u8],
    pub address: &'a [u8],
    pub user: &'a [u8],
}

/// An annotation of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark<'a> {
    Identity(Identity<'a>),
    Seal(Seal<'a>),
}

/// Why a line that begins as a mark is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenMark {
    #[error("its sum does not fit")]
    Sum,
    #[error("what it has to say is not there")]
    Words,
}

/// Whether a line begins as a mark, be it broken.
pub fn begins_mark(line: &[u8]) -> bool {
    line.starts_with(SEAL) || line.starts_with(IDENTITY)
}

impl<'a> Mark<'a> {
    /// Reads a line with its line feed; `None` where it does not begin as a mark.
    pub fn parse(line: &'a [u8]) -> Option<Result<Self, BrokenMark>> {
        begins_mark(line).then(|| {
            let words = Words::of(line).ok_or(BrokenMark::Sum)?;
            let mark = if line.starts_with(SEAL) {
                seal(&words).map(Mark::Seal)
            } else {
                identity(&words).map(Mark::Identity)
            };
            mark.ok_or(BrokenMark::Words)
        })
    }

    /// The position at which it stands.
    pub fn at(&self) -> u64 {
        match self {
            Mark::Identity(identity) => identity.at,
            Mark::Seal(seal) => seal.at,
        }
    }

    /// When it was made, Unix ms.
    pub fn time_ms(&self) -> i64 {
        match self {
            Mark::Identity(identity) => identity.time_ms,
            Mark::Seal(seal) => seal.time_ms,
        }
    }

    /// The last position known to be on the disk.
    pub fn synced(&self) -> u64 {
        match self {
            Mark::Identity(identity) => identity.synced,
            Mark::Seal(seal) => seal.synced,
        }
    }

    /// Appends the line. Texts are escaped, and cut where they are long.
    pub fn append_to(&self, log: &mut Vec<u8>) {
        let start = log.len();
        match self {
            Mark::Identity(identity) => {
                log.extend_from_slice(b"#IRONKEEP id=");
                log.extend_from_slice(&identity.id.0);
                push_position(log, b" at=", identity.at);
                push_position(log, b" synced=", identity.synced);
                push_text(log, b" version=", identity.version);
                log.extend_from_slice(b" ms=");
                number::write_i64(log, identity.time_ms);
            }
            Mark::Seal(seal) => seal.append_words(log),
        }
        let sum = checksum(&log[start..]) & u64::from(u32::MAX);
        // Writing to a vector does not fail.
        let _ = writeln!(log, " sum={sum:08x}");
    }
}

impl Seal<'_> {
    fn append_words(&self, log: &mut Vec<u8>) {
        push_position(log, b"#SEAL len=", self.len);
        push_position(log, b" at=", self.at);
        push_position(log, b" synced=", self.synced);
        log.extend_from_slice(b" ms=");
        number::write_i64(log, self.time_ms);
        let _ = write!(log, " crc={:016x}", self.crc);
        if let Some(middle) = self.middle {
            let _ = write!(log, " mid={}:{:016x}", middle.at, middle.crc);
        }
        if let Some(sender) = self.sender {
            push_text(log, b" for=", sender.command);
            push_text(log, b" from=", sender.address);
            push_text(log, b" user=", sender.user);
        }
    }
}

fn push_position(log: &mut Vec<u8>, key: &[u8], position: u64) {
    log.extend_from_slice(key);
    log.extend_from_slice(itoa::Buffer::new().format(position).as_bytes());
}

fn push_text(log: &mut Vec<u8>, key: &[u8], text: &[u8]) {
    log.extend_from_slice(key);
    let end = log.len() + MAX_TEXT;
    for &byte in text {
        if log.len() + 3 > end {
            break;
        }
        if byte.is_ascii_graphic() && byte != b'%' {
            log.push(byte);
        } else {
            let _ = write!(log, "%{byte:02x}");
        }
    }
}

/// The bytes that an escaped text stands for.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let code = (*first == b'%').then(|| hexadecimal(tail.get(..2)?)).flatten();
        rest = if code.is_some() { &tail[2..] } else { tail };
        bytes.push(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(*first));
    }
    bytes
}

/// The `key=value` words of a line whose sum fits.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n")?;
        let (words, sum) = line.split_at_checked(line.len().checked_sub(" sum=".len() + 8)?)?;
        let sum = hexadecimal(sum.strip_prefix(b" sum=")?)?;
        (checksum(words) & u64::from(u32::MAX) == sum).then_some(Self(words))
    }

    fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        let mut words = self.0.split(|&byte| byte == b' ');
        words.find_map(|word| word.strip_prefix(key)?.strip_prefix(b"="))
    }

    fn position(&self, key: &[u8]) -> Option<u64> {
        number::parse_u64(self.get(key)?)
    }

    fn time_ms(&self) -> Option<i64> {
        number::parse_i64(self.get(b"ms")?)
    }
}

fn identity<'a>(words: &Words<'a>) -> Option<Identity<'a>> {
    Some(Identity {
        id: HistoryId::parse(words.get(b"id")?)?,
        at: words.position(b"at")?,
        synced: words.position(b"synced")?,
        version: words.get(b"version")?,
        time_ms: words.time_ms()?,
    })
}

fn seal<'a>(words: &Words<'a>) -> Option<Seal<'a>> {
    let (len, at) = (words.position(b"len")?, words.position(b"at")?);
    let middle = match words.get(b"mid") {
        None => None,
        Some(middle) => {
            let colon = memchr::memchr(b':', middle)?;
            Some(Middle { at: number::parse_u64(&middle[..colon])?, crc: crc(&middle[colon + 1..])? })
        }
    };
    let sender = match words.get(b"for") {
        None => None,
        Some(command) => Some(Sender { command, address: words.get(b"from")?, user: words.get(b"user")? }),
    };
    let (synced, time_ms, crc) = (words.position(b"synced")?, words.time_ms()?, crc(words.get(b"crc")?)?);
    (len <= at).then_some(Seal { len, at, synced, time_ms, crc, middle, sender })
}

fn crc(digits: &[u8]) -> Option<u64> {
    if digits.len() == 16 { hexadecimal(digits) } else { None }
}

/// Lower-case digits only, so that no flipped bit goes unnoticed.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    if digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(mark: Mark<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        mark.append_to(&mut line);
        line
    }

    fn samples() -> Vec<Vec<u8>> {
        let id = HistoryId::random(&mut fastrand::Rng::with_seed(1));
        let identity = Identity { id, at: 7, synced: 5, version: b"0.1.0", time_ms: 1_700_000_000_000 };
        let sender = Sender { command: b"FLUSHALL", address: b"/tmp/a socket%\xff", user: b"default" };
        let seal = Seal { len: 10, at: 20, synced: 15, time_ms: -1, crc: 0xfedc, middle: None, sender: None };
        let middle = Some(Middle { at: 12, crc: u64::MAX });
        vec![
            line(Mark::Identity(identity)),
            line(Mark::Seal(seal)),
            line(Mark::Seal(Seal { middle, sender: Some(sender), ..seal })),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for line in samples() {
            let mark = Mark::parse(&line).unwrap().unwrap();
            let mut again = Vec::new();
            match mark {
                Mark::Seal(Seal { sender: Some(sender), middle, .. }) => {
                    assert_eq!(sender.address, b"/tmp/a%20socket%25%ff");
                    assert_eq!(unescape(sender.address), b"/tmp/a socket%\xff");
                    assert_eq!(middle, Some(Middle { at: 12, crc: u64::MAX }));
                    continue;
                }
                mark => mark.append_to(&mut again),
            }
            assert_eq!(String::from_utf8(again), String::from_utf8(line));
        }
    }

    #[test]
    fn a_flipped_or_cut_line_is_broken_or_no_mark_at_all() {
        for line in samples() {
            for at in 0..line.len() {
                for bit in 0..8 {
                    let mut flipped = line.clone();
                    flipped[at] ^= 1 << bit;
                    let mark = Mark::parse(&flipped);
                    assert!(!matches!(mark, Some(Ok(_))), "{}", String::from_utf8_lossy(&flipped));
                }
                assert!(!matches!(Mark::parse(&line[..at]), Some(Ok(_))));
            }
        }
    }

    #[test]
    fn a_line_stays_below_what_servers_read_in_one_piece() {
        let id = HistoryId::random(&mut fastrand::Rng::with_seed(1));
        let long = [0xff; 2000];
        let sender = Sender { command: &long, address: &long, user: &long };
        let middle = Some(Middle { at: u64::MAX, crc: u64::MAX });
        let (len, at, synced, time_ms, crc) = (u64::MAX, u64::MAX, u64::MAX, i64::MIN, u64::MAX);
        let seal = line(Mark::Seal(Seal { len, at, synced, time_ms, crc, middle, sender: Some(sender) }));
        let identity = line(Mark::Identity(Identity { id, at, synced, version: &long, time_ms }));
        for line in [&seal, &identity] {
            assert!(line.len() < 1_023 && matches!(Mark::parse(line), Some(Ok(_))), "{}", line.len());
        }
    }

    #[test]
    fn words_of_later_versions_are_skipped_and_missing_ones_are_not() {
        let finish = |words: &str| format!("{words} sum={:08x}\n", checksum(words.as_bytes()) & 0xffff_ffff);
        let known = "#SEAL len=14 at=514 synced=500 ms=1 crc=c87a7c4b2d7cb9a2";
        assert!(matches!(Mark::parse(finish(&format!("{known} new=1")).as_bytes()), Some(Ok(_))));
        for word in known.split(' ').skip(1) {
            let without = finish(&known.replace(&format!(" {word}"), ""));
            assert_eq!(Mark::parse(without.as_bytes()), Some(Err(BrokenMark::Words)), "{without}");
        }
        assert_eq!(Mark::parse(b"#TS:1700000000\r\n"), None);
    }
}
