//! Replies of one client that have not left yet, each with the log position that it rests on.

use std::collections::VecDeque;
use std::ops::Range;

use crate::command::CommandError;

/// The replies, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// Bytes at the front that have been sent.
    sent: usize,
    /// Ends of replies in `bytes`, in order, with the positions that they rest on; none for what may leave at once.
    waits: VecDeque<Wait>,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    start: usize,
    end: usize,
    position: u64,
    /// Nothing was asked for it.
    is_message: bool,
}

impl Outbox {
    /// Where replies are appended.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) fn end(&self) -> usize {
        self.bytes.len()
    }

    /// What was appended since `start` must not leave before the log has reached `position`.
    pub(super) fn hold_since(&mut self, start: usize, position: u64) {
        let end = self.bytes.len();
        match self.waits.back_mut() {
            // Replies at the same position go together, unless each may yet need an error of its own.
            Some(last) if last.end == end => last.position = last.position.max(position),
            _ => self.waits.push_back(Wait { start, end, position, is_message: false }),
        }
    }

    /// Appends a message, which must not leave before the log has reached `position`, if one is given.
    pub(super) fn push_message(&mut self, message: &[u8], position: Option<u64>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(message);
        let end = self.bytes.len();
        self.waits.extend(position.map(|position| Wait { start, end, position, is_message: true }));
    }

    /// The bytes that may leave now that the log has reached `settled`.
    pub(super) fn sendable(&mut self, settled: u64) -> &[u8] {
        let range = self.sendable_range(settled);
        &self.bytes[range]
    }

    fn sendable_range(&mut self, settled: u64) -> Range<usize> {
        while self.waits.front().is_some_and(|wait| wait.position <= settled) {
            self.waits.pop_front();
        }
        self.sent..self.waits.front().map_or(self.bytes.len(), |wait| wait.start)
    }

    /// As [`Outbox::sendable`], but the whole buffer and where those bytes stand in it, if there are any; it is to be put
    /// back before anything else happens here.
    pub(super) fn take_sendable(&mut self, settled: u64) -> Option<(Vec<u8>, Range<usize>)> {
        let range = self.sendable_range(settled);
        (!range.is_empty()).then(|| (std::mem::take(&mut self.bytes), range))
    }

    /// Puts back what [`Outbox::take_sendable`] gave, of which `count` bytes have been sent.
    pub(super) fn put_back(&mut self, bytes: Vec<u8>, count: usize) {
        self.bytes = bytes;
        self.advance(count);
    }

    /// Whether a reply waits for the log, as of the last [`Outbox::sendable`].
    pub(super) fn is_held(&self) -> bool {
        !self.waits.is_empty()
    }

    /// `count` bytes of what [`Outbox::sendable`] gave have been sent.
    pub(super) fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.waits.clear();
            self.sent = 0;
            if self.bytes.capacity() > 1 << 20 {
                self.bytes = Vec::new();
            }
        } else if self.sent > 1 << 16 && self.sent * 2 > self.bytes.len() {
            self.bytes.drain(..self.sent);
            for wait in &mut self.waits {
                wait.start -= self.sent;
                wait.end -= self.sent;
            }
            self.sent = 0;
        }
    }

    /// The log could not be written: every reply that rests on what is not in it becomes an error. Its effect stays in
    /// memory and its bytes queued, so the outcome is unknown to the client, as the error says. A message is not sent.
    pub(super) fn fail_unsettled(&mut self, settled: u64, reason: &str) {
        let Some(first) = self.waits.iter().position(|wait| wait.position > settled) else { return };
        let failed = self.waits.split_off(first);
        let Some(start) = failed.front().map(|wait| wait.start) else { return };
        let tail = self.bytes.split_off(start);
        let error = format!("-{}\r\n", CommandError::LogFailed(reason.to_owned()));
        let mut copied = start;
        for wait in failed {
            // What stands between two that wait rests on nothing.
            self.bytes.extend_from_slice(&tail[copied - start..wait.start - start]);
            if !wait.is_message {
                self.bytes.extend_from_slice(error.as_bytes());
            }
            copied = wait.end;
        }
        self.bytes.extend_from_slice(&tail[copied - start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(outbox: &mut Outbox, reply: &[u8], position: Option<u64>) {
        let start = outbox.end();
        outbox.bytes_mut().extend_from_slice(reply);
        if let Some(position) = position {
            outbox.hold_since(start, position);
        }
    }

    #[test]
    fn a_reply_leaves_when_its_position_is_reached_and_never_before_those_in_front_of_it() {
        let mut outbox = Outbox::default();
        append(&mut outbox, b"a", None);
        append(&mut outbox, b"b", Some(10));
        append(&mut outbox, b"c", None);
        append(&mut outbox, b"d", Some(20));
        assert_eq!(outbox.sendable(0), b"a");
        outbox.advance(1);
        assert_eq!(outbox.sendable(9), b"");
        assert_eq!(outbox.sendable(10), b"bc");
        outbox.advance(1);
        assert_eq!(outbox.sendable(20), b"cd");
        outbox.advance(2);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn after_a_failed_write_each_waiting_reply_is_an_error_and_the_others_stay() {
        let mut outbox = Outbox::default();
        append(&mut outbox, b"+a\r\n", Some(5));
        append(&mut outbox, b"+b\r\n", Some(10));
        append(&mut outbox, b"+c\r\n", None);
        outbox.push_message(b">1\r\n+m\r\n", Some(15));
        append(&mut outbox, b"+d\r\n", Some(20));
        outbox.fail_unsettled(5, "disk");
        let error = "-MISCONF Errors writing to the AOF file: disk\r\n";
        assert_eq!(outbox.sendable(5), format!("+a\r\n{error}+c\r\n{error}").as_bytes());
    }
}
