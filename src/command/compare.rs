//! Conditions on a string's value, which SET and DELEX take; DELIFEQ, which is one; and DIGEST, by which two of them
//! know the value.

use xxhash_rust::xxh3::xxh3_64;

use crate::value::Element;

use super::args::is;
use super::spec::{CAT_STRING, Command, FAST, ONE_KEY, READONLY, WRITE, command};
use super::{CommandError, Context, Outcome};

pub const COMMANDS: &[Command] = &[
    command("delex", -2, WRITE | FAST, ONE_KEY, CAT_STRING, "8.4.0", delex),
    command("delifeq", 3, WRITE | FAST, ONE_KEY, CAT_STRING, "9.0.0", delifeq),
    command("digest", 2, READONLY | FAST, ONE_KEY, CAT_STRING, "8.4.0", digest),
];

/// Hexadecimal digits of a digest: XXH3 of 64 bits, without a seed.
const DIGEST_LEN: usize = 16;

/// What a value must be for a command to be carried out.
#[derive(Clone, Copy)]
pub(super) enum Condition<'a> {
    Is(&'a [u8]),
    IsNot(&'a [u8]),
    DigestIs(&'a [u8]),
    DigestIsNot(&'a [u8]),
}

impl<'a> Condition<'a> {
    /// The condition of that name; none if the word is not one.
    pub(super) fn of(word: &[u8], wanted: &'a [u8]) -> Option<Self> {
        match word {
            word if is(word, "IFEQ") => Some(Condition::Is(wanted)),
            word if is(word, "IFNE") => Some(Condition::IsNot(wanted)),
            word if is(word, "IFDEQ") => Some(Condition::DigestIs(wanted)),
            word if is(word, "IFDNE") => Some(Condition::DigestIsNot(wanted)),
            _ => None,
        }
    }

    /// Whether the value is as wanted. None is unlike any.
    pub(super) fn holds(self, value: Option<Element<'_>>) -> Result<bool, CommandError> {
        if let Condition::DigestIs(wanted) | Condition::DigestIsNot(wanted) = self
            && wanted.len() != DIGEST_LEN
        {
            return Err(CommandError::text("ERR must be exactly 16 hexadecimal characters"));
        }
        let is_like = value.is_some_and(|value| match self {
            Condition::Is(wanted) | Condition::IsNot(wanted) => value.with(|bytes| bytes == wanted),
            Condition::DigestIs(wanted) | Condition::DigestIsNot(wanted) => {
                value.with(digest_of).as_bytes().eq_ignore_ascii_case(wanted)
            }
        });
        Ok(is_like == matches!(self, Condition::Is(_) | Condition::DigestIs(_)))
    }
}

fn digest_of(value: &[u8]) -> String {
    format!("{:0DIGEST_LEN$x}", xxh3_64(value))
}

fn digest(context: &mut Context<'_>) -> Outcome {
    let digest = context.read_string(context.args[1])?.map(|value| value.with(digest_of));
    Ok(match digest {
        Some(digest) => context.reply.bulk(digest.as_bytes()),
        None => context.reply.null(),
    })
}

fn delifeq(context: &mut Context<'_>) -> Outcome {
    let (key, wanted) = (context.args[1], context.args[2]);
    let goes = Condition::Is(wanted).holds(context.read_string(key)?)?;
    remove_if(context, key, goes)
}

/// `key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]`; without a condition any key goes.
fn delex(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    let condition = match context.args[2..] {
        [] => None,
        [word, wanted] => Some(
            Condition::of(word, wanted)
                .ok_or(CommandError::text("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"))?,
        ),
        _ => return Err(CommandError::WrongArity("delex".to_owned())),
    };
    let goes = match (context.value(key), condition) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(view), Some(condition)) => {
            let no_string = CommandError::text("ERR Key should be of string type if conditions are specified");
            condition.holds(Some(view.string().ok_or(no_string)?))?
        }
    };
    remove_if(context, key, goes)
}

fn remove_if(context: &mut Context<'_>, key: &[u8], goes: bool) -> Outcome {
    if goes {
        context.remove(key);
        context.changed(1);
        context.log_as(&[b"DEL", key]);
    }
    Ok(context.reply.int(i64::from(goes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_redis() {
        // From the pages of DIGEST, and issue 14496 of redis/redis.
        assert_eq!(digest_of(b"Hello world"), "b6acb9d84a38ff74");
        let zeros = b"v8lf0c11xh8ymlqztfd3eeq16kfn4sspw7fqmnuuq3k3t75em5wdizgcdw7uc26nnf961u2jkfzkjytls2kwlj7626sd";
        assert_eq!(digest_of(zeros), "00006c38adf31777");
    }
}
