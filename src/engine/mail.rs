//! What is to go to clients beside the replies to what they have just asked: replies that come later, and messages.
//!
//! Commands put it here; the server hands it out before the next command runs, so that every client sees things in the
//! order in which they happened.

use std::rc::Rc;

/// Something for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub client: u64,
    pub bytes: Rc<[u8]>,
    /// The log position that it rests on, if on any.
    pub position: Option<u64>,
    /// The reply that the client waits for, or a message, which nothing is asked for.
    pub is_reply: bool,
}

/// Letters, oldest first.
#[derive(Debug, Default)]
pub struct Mail {
    letters: Vec<Letter>,
}

impl Mail {
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// The reply to a client that waits for it.
    pub fn reply(&mut self, client: u64, reply: &[u8], position: Option<u64>) {
        self.letters.push(Letter { client, bytes: reply.into(), position, is_reply: true });
    }

    /// A message, which nothing was asked for.
    pub fn message(&mut self, client: u64, bytes: Rc<[u8]>) {
        self.letters.push(Letter { client, bytes, position: None, is_reply: false });
    }

    /// All letters from the `first` on that rest on nothing yet rest on this position of the log.
    pub fn rest_on(&mut self, first: usize, position: u64) {
        let letters = self.letters.iter_mut().skip(first);
        letters.for_each(|letter| letter.position = letter.position.or(Some(position)));
    }

    /// Takes all letters.
    pub fn take(&mut self) -> Vec<Letter> {
        std::mem::take(&mut self.letters)
    }
}
