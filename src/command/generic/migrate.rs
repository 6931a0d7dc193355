//! MIGRATE: keys go to another server, and are removed here when that has them.
//!
//! As in Redis nothing else is executed meanwhile, so that no key changes between the time it is sent and the time it is
//! removed.

use std::time::Duration;

use crate::engine::peer::{Ask, Fault};
use crate::resp::{Answer, encode_request};

use super::super::args::{self, is};
use super::super::{CommandError, Context, Outcome};
use super::payload::encode;

/// What stands for a timeout of no milliseconds or fewer.
const DEFAULT_TIMEOUT_MS: u64 = 1000;
/// Where the key stands, or `""` with the option KEYS.
const KEY_AT: usize = 3;

struct Options<'a> {
    copies: bool,
    replaces: bool,
    /// AUTH with its arguments.
    auth: Option<Vec<&'a [u8]>>,
    keys: &'a [&'a [u8]],
    /// By the option KEYS.
    is_of_many: bool,
}

impl<'a> Options<'a> {
    fn parse(arguments: &'a [&'a [u8]]) -> Result<Self, CommandError> {
        let mut options =
            Self { copies: false, replaces: false, auth: None, keys: &arguments[KEY_AT..=KEY_AT], is_of_many: false };
        let mut rest = &arguments[6..];
        while let [option, tail @ ..] = rest {
            rest = match tail {
                tail if is(option, "COPY") => {
                    options.copies = true;
                    tail
                }
                tail if is(option, "REPLACE") => {
                    options.replaces = true;
                    tail
                }
                [password, tail @ ..] if is(option, "AUTH") => {
                    options.auth = Some(vec![b"AUTH", password]);
                    tail
                }
                [user, password, tail @ ..] if is(option, "AUTH2") => {
                    options.auth = Some(vec![b"AUTH", user, password]);
                    tail
                }
                keys if is(option, "KEYS") => {
                    if !arguments[KEY_AT].is_empty() {
                        return Err(CommandError::err(
                            "When using MIGRATE KEYS option, the key argument must be set to the empty string",
                        ));
                    }
                    (options.keys, options.is_of_many) = (keys, true);
                    &[]
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(options)
    }
}

/// The positions of the keys among the arguments; none where these contradict each other.
pub(super) fn key_positions(arguments: &[&[u8]]) -> Vec<usize> {
    match Options::parse(arguments) {
        Ok(options) if options.is_of_many && !options.keys.is_empty() => {
            (arguments.len() - options.keys.len()..arguments.len()).collect()
        }
        Err(CommandError::Text(_)) => Vec::new(),
        _ => vec![KEY_AT],
    }
}

pub(super) fn migrate(context: &mut Context<'_>) -> Outcome {
    let arguments = context.args;
    let options = Options::parse(arguments)?;
    let timeout_ms = args::int(arguments[5])?;
    let db = args::int(arguments[4])?;
    let mut requests = Vec::new();
    if let Some(auth) = &options.auth {
        encode_request(&mut requests, auth);
    }
    encode_request(&mut requests, &[b"SELECT".as_slice(), itoa::Buffer::new().format(db).as_bytes()]);
    let mut sent = Vec::new();
    for &key in options.keys {
        if encode_restore(context, key, options.replaces, &mut requests)? {
            sent.push(key);
        }
    }
    if sent.is_empty() {
        return Ok(context.reply.simple("NOKEY"));
    }
    let greetings = 1 + usize::from(options.auth.is_some());
    let (answers, fault) = (context.engine.asking)(&Ask {
        host: &String::from_utf8_lossy(arguments[1]),
        // What is no port is one that nobody listens on.
        port: std::str::from_utf8(arguments[2]).ok().and_then(|port| port.parse().ok()).unwrap_or(0),
        timeout: Duration::from_millis(
            u64::try_from(timeout_ms).ok().filter(|ms| *ms > 0).unwrap_or(DEFAULT_TIMEOUT_MS),
        ),
        requests: &requests,
        answers_wanted: greetings + sent.len(),
    });
    let (greeted, restored) = answers.split_at(greetings.min(answers.len()));
    if !options.copies && greeted.iter().all(|answer| answer.error().is_none()) {
        let arrived = sent.iter().zip(restored).filter(|(_, answer)| answer.error().is_none()).map(|(key, _)| *key);
        remove(context, &arrived.collect::<Vec<_>>());
    }
    if let Some(refusal) = answers.iter().find_map(Answer::error) {
        let refusal = String::from_utf8_lossy(refusal);
        return Err(CommandError::err(format!("Target instance replied with error: {refusal}")));
    }
    match fault {
        None => Ok(context.reply.ok()),
        Some(Fault::Connecting) => Err(CommandError::Peer("connecting to the client")),
        Some(Fault::Writing) => Err(CommandError::Peer("writing to target instance")),
        Some(Fault::Reading) => Err(CommandError::Peer("reading from target instance")),
    }
}

/// Adds the request that makes the key on the other side; false if there is no such key.
fn encode_restore(
    context: &mut Context<'_>,
    key: &[u8],
    replaces: bool,
    requests: &mut Vec<u8>,
) -> Result<bool, CommandError> {
    let now_ms = context.now_ms();
    let Some(expire_at_ms) = context.db_mut().expire_at_ms(key) else { return Ok(false) };
    let Some(payload) = encode(context, key)? else { return Ok(false) };
    let ttl_ms = expire_at_ms.map_or(0, |at| at.saturating_sub(now_ms).max(1));
    let mut number = itoa::Buffer::new();
    let mut words: Vec<&[u8]> = vec![b"RESTORE", key, number.format(ttl_ms).as_bytes(), &payload];
    if replaces {
        words.push(b"REPLACE");
    }
    encode_request(requests, &words);
    Ok(true)
}

fn remove(context: &mut Context<'_>, keys: &[&[u8]]) {
    let removed: Vec<&[u8]> = keys.iter().copied().filter(|key| context.remove(key)).collect();
    if removed.is_empty() {
        return;
    }
    context.changed(removed.len());
    context.log_as(&[&[b"DEL".as_slice()], removed.as_slice()].concat());
}
