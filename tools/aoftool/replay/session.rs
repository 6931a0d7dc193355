//! Units on their way to a server: sent in batches, one of which is on its way while the answers of the one before come.

use std::collections::VecDeque;
use std::io;

use ironkeep::aof::Record;
use ironkeep::cli::client::Client;
use ironkeep::cli::escape::Escaped;
use ironkeep::resp::answer::Answer;

use super::state::Place;
use crate::print::write_words;

/// A batch is sent when it has so many bytes, if not so many commands.
const BATCH_BYTES: usize = 256 << 10;
/// Characters of a refused command that are shown.
const SHOWN: usize = 120;

/// A command that was sent and not answered.
struct Sent {
    /// File and offset, for messages.
    at: String,
    words: String,
}

/// The first command that was refused.
pub struct Refusal {
    pub at: String,
    pub words: String,
    pub text: String,
}

/// A batch that was sent.
struct Batch {
    commands: usize,
    end: Place,
}

/// A connection with what is under way on it.
pub struct Session {
    client: Client,
    most_commands: usize,
    queued: VecDeque<Sent>,
    in_flight: VecDeque<Sent>,
    batches: VecDeque<Batch>,
    /// Up to where everything is answered.
    pub done: Place,
    pub answered: u64,
    pub refused: u64,
    pub refusal: Option<Refusal>,
}

impl Session {
    pub fn new(client: Client, most_commands: usize, done: Place) -> Self {
        Self {
            client,
            most_commands,
            queued: VecDeque::new(),
            in_flight: VecDeque::new(),
            batches: VecDeque::new(),
            done,
            answered: 0,
            refused: 0,
            refusal: None,
        }
    }

    /// Adds a command of the log.
    pub fn queue(&mut self, at: String, record: &Record<'_>) {
        self.client.queue_encoded(record.raw);
        self.queued.push_back(Sent { at, words: shown(&record.arguments) });
    }

    /// Adds a SELECT that the log does not have there.
    pub fn select(&mut self, at: String, db: u64) {
        let db = db.to_string();
        self.client.queue(&["SELECT", &db]);
        self.queued.push_back(Sent { at, words: format!("SELECT {db}") });
    }

    /// Whether a batch is full.
    pub fn is_full(&self) -> bool {
        self.queued.len() >= self.most_commands || self.client.queued_bytes() >= BATCH_BYTES
    }

    /// Sends what is queued, which ends at `end`, and takes the answers to what was sent before.
    pub fn send(&mut self, end: Place) -> io::Result<()> {
        self.batches.push_back(Batch { commands: self.queued.len(), end });
        self.in_flight.append(&mut self.queued);
        self.client.flush()?;
        while self.batches.len() > 1 {
            self.receive_batch()?;
        }
        Ok(())
    }

    /// Waits for all answers.
    pub fn drain(&mut self) -> io::Result<()> {
        while !self.batches.is_empty() {
            self.receive_batch()?;
        }
        Ok(())
    }

    fn receive_batch(&mut self) -> io::Result<()> {
        let commands = self.batches.front().map_or(0, |batch| batch.commands);
        for _ in 0..commands {
            let answer = self.client.receive()?;
            if let Some(sent) = self.in_flight.pop_front() {
                self.judge(sent, &answer);
            }
        }
        if let Some(batch) = self.batches.pop_front() {
            self.done = batch.end;
        }
        Ok(())
    }

    fn judge(&mut self, sent: Sent, answer: &Answer) {
        self.answered += 1;
        let text = match answer {
            Answer::Error(text) => Escaped(text).to_string(),
            Answer::Array(answers) if sent.words.eq_ignore_ascii_case("exec") => {
                let Some((number, text)) =
                    answers.iter().enumerate().find_map(|(index, answer)| Some((index + 1, answer.error()?)))
                else {
                    return;
                };
                format!("command {number} of the transaction: {}", Escaped(text))
            }
            Answer::Null if sent.words.eq_ignore_ascii_case("exec") => "the transaction was not executed".to_owned(),
            _ => return,
        };
        self.refused += 1;
        self.refusal.get_or_insert(Refusal { at: sent.at, words: sent.words, text });
    }
}

/// A command, cut to what a message can show.
fn shown(arguments: &[&[u8]]) -> String {
    let mut line = Vec::new();
    for argument in arguments {
        if line.len() > SHOWN {
            line.extend_from_slice(b" ...");
            break;
        }
        let cut = &argument[..argument.len().min(SHOWN)];
        // Writing to memory does not fail.
        let _ = write_words(&mut line, &[cut]);
    }
    String::from_utf8_lossy(&line).trim_start().to_owned()
}
