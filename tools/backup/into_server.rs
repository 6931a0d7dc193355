//! `restore --into`: keys of a backup, or of a moment behind one, into a running server.

use std::collections::VecDeque;
use std::time::Duration;

use ironkeep::backup::restore::{Loose, Wishes, take_apart};
use ironkeep::cli::client::Client;
use ironkeep::cli::escape::Quoted;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::plural::plural;
use ironkeep::cli::url::{Address, ServerUrl};
use ironkeep::engine::Engine;
use ironkeep::resp::answer::Answer;

/// The longest that the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests under way, and their bytes, beyond which answers are waited for.
const MOST_REQUESTS: usize = 1000;
const MOST_BYTES: usize = 4 << 20;
/// How many keys are named that are in the way.
const NAMED: usize = 5;

/// Asks whether the keys are there, which only `force` allows, and then has the server take them, unless that is only
/// rehearsed.
pub fn restore(
    url: &str,
    engine: &mut Engine,
    (wishes, as_of_ms): (&Wishes, i64),
    is_rehearsal: bool,
) -> anyhow::Result<()> {
    let Some(url) = ServerUrl::of(url) else {
        let message = "--into: say the server as in redis://127.0.0.1:6379";
        return Err(Failure::error(Exit::Usage, message));
    };
    let address = url.address()?;
    let mut pipe = Pipe { client: Client::connect(&address, PATIENCE)?, address, db: None, waiting: VecDeque::new() };
    if !wishes.force {
        let mut there = Vec::new();
        let mut note = |key: &[u8], answer: Answer| match answer {
            Answer::Int(count) => {
                there.extend((count > 0).then(|| key.to_vec()));
                Ok(())
            }
            other => Err(format!("this is no answer to EXISTS: {other:?}")),
        };
        let told =
            take_apart(engine, (wishes, as_of_ms), &mut |loose| pipe.ask(&loose, &[b"EXISTS", &loose.key], &mut note));
        pipe.finish(told, &mut note)?;
        if !there.is_empty() {
            let names: Vec<String> = there.iter().take(NAMED).map(|key| Quoted(key).to_string()).collect();
            let count = plural(there.len() as u64, "key"); // usize has at most 64 bits
            let more = if there.len() > NAMED { ", ..." } else { "" };
            let message = format!("there already: {count} ({}{more}); --force replaces them", names.join(", "));
            return Err(Failure::error(Exit::Refused, message).context(pipe.address.to_string()));
        }
    }
    if is_rehearsal {
        return Ok(());
    }
    let check = &mut |key: &[u8], answer: Answer| match answer.error() {
        None => Ok(()),
        Some(text) => Err(format!("{}: {}", Quoted(key), String::from_utf8_lossy(text))),
    };
    let told = take_apart(engine, (wishes, as_of_ms), &mut |loose| {
        let at = loose.expire_at_ms.unwrap_or(0).to_string();
        let mut request: Vec<&[u8]> = vec![b"RESTORE", &loose.key, at.as_bytes(), &loose.payload];
        request.extend(loose.expire_at_ms.map(|_| &b"ABSTTL"[..]));
        request.extend(wishes.force.then_some(&b"REPLACE"[..]));
        pipe.ask(&loose, &request, check)
    });
    pipe.finish(told, check)
}

/// Requests on their way, each about a key.
struct Pipe {
    client: Client,
    address: Address,
    db: Option<usize>,
    /// The keys whose answers have yet to come; none for a SELECT.
    waiting: VecDeque<Option<Vec<u8>>>,
}

type Check<'a> = &'a mut dyn FnMut(&[u8], Answer) -> Result<(), String>;

impl Pipe {
    fn ask(&mut self, loose: &Loose, request: &[&[u8]], check: Check<'_>) -> Result<(), String> {
        if self.db != Some(loose.db) {
            self.client.queue(&["SELECT", &loose.db.to_string()]);
            self.waiting.push_back(None);
            self.db = Some(loose.db);
        }
        self.client.queue(request);
        self.waiting.push_back(Some(loose.key.clone()));
        if self.waiting.len() < MOST_REQUESTS && self.client.queued_bytes() < MOST_BYTES {
            return Ok(());
        }
        self.drain(check)
    }

    fn drain(&mut self, check: Check<'_>) -> Result<(), String> {
        self.client.flush().map_err(|error| error.to_string())?;
        while let Some(key) = self.waiting.pop_front() {
            let answer = self.client.receive().map_err(|error| error.to_string())?;
            match (key, answer.error()) {
                (Some(key), _) => check(&key, answer)?,
                (None, Some(text)) => return Err(format!("SELECT: {}", String::from_utf8_lossy(text))),
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn finish(&mut self, told: Result<(), String>, check: Check<'_>) -> anyhow::Result<()> {
        let done = told.and_then(|()| self.drain(check));
        done.map_err(|error| anyhow::anyhow!(error).context(self.address.to_string()))
    }
}
