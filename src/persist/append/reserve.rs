//! Blocks that the file system keeps for the log ahead of its end.
//!
//! Every acknowledged write has gone through write(2) before, which tells of a full disk itself where blocks are given out then.
//! Where they are given out later, as on file systems that delay that, or with quotas or thin volumes below, the first to hear
//! of it would be the fsync, behind the acknowledgement. Bytes that fall into kept blocks can't meet that; and a disk that has
//! none to keep is told of while there is still room for what is being written.
//!
//! The file's length is its end at all times: blocks are kept behind it (fallocate(2) with `KEEP_SIZE`), and given back when
//! another file takes its place. A process that is killed leaves them to the next one that opens the file. A file system that
//! can't do that is fine without.

use std::io;
use std::time::{Duration, Instant};

/// Bytes that are kept ahead, and how few of them let more be asked for.
const AHEAD: u64 = 1 << 20;
const FEW: u64 = AHEAD / 2;
/// How soon after a refusal it is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What is kept for one file.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    /// Offset in the file up to which blocks are kept.
    end: u64,
    is_unsupported: bool,
    refused: Option<(Instant, String)>,
}

impl Reserve {
    /// Up to where blocks should be kept from now on, before bytes are written that end at `end`; none where enough are.
    pub(super) fn wanted(&self, end: u64, now: Instant) -> Option<u64> {
        let may_try = self.refused.as_ref().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= TRY_AGAIN_AFTER);
        let is_wanted = !self.is_unsupported && may_try && self.end < end + FEW;
        is_wanted.then_some(end + AHEAD)
    }

    /// Blocks are kept up to there, or could not be.
    pub(super) fn note(&mut self, outcome: io::Result<u64>, now: Instant) {
        match outcome {
            Ok(end) => (self.end, self.refused) = (end, None),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.is_unsupported = true,
            Err(error) => self.refused = Some((now, error.to_string())),
        }
    }

    /// The file has been cut, which gives back what is behind it.
    pub(super) fn forget(&mut self) {
        self.end = 0;
    }

    /// Why no blocks could be had the last time, in the system's words.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refused.as_ref().map(|(_, reason)| reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_kept_before_little_is_left_and_a_refusal_is_tried_again_after_a_second() {
        let (mut reserve, now) = (Reserve::default(), Instant::now());
        assert_eq!(reserve.wanted(100, now), Some(100 + AHEAD));
        reserve.note(Ok(100 + AHEAD), now);
        assert_eq!(reserve.wanted(100 + AHEAD - FEW, now), None);
        let few = 101 + AHEAD - FEW;
        assert_eq!(reserve.wanted(few, now), Some(few + AHEAD));
        reserve.note(Err(io::ErrorKind::StorageFull.into()), now);
        assert!(reserve.refusal().is_some());
        let again = now + TRY_AGAIN_AFTER;
        assert_eq!(reserve.wanted(few, again - Duration::from_nanos(1)), None);
        assert_eq!(reserve.wanted(few, again), Some(few + AHEAD));
        reserve.note(Ok(few + AHEAD), again);
        assert_eq!((reserve.refusal(), reserve.wanted(few, again)), (None, None));
        reserve.forget();
        reserve.note(Err(io::ErrorKind::Unsupported.into()), again);
        assert_eq!((reserve.refusal(), reserve.wanted(few, again + TRY_AGAIN_AFTER)), (None, None));
    }
}
