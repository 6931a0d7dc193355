//! INCREX: a counter with bounds, whose expiry is set in the same step.

use std::cmp::Ordering;

use crate::codec::long_double::{Infinite, LongDouble, Parsed};
use crate::keyspace::{Db, Expiry};
use crate::resp::Protocol;

use super::args::{self, is};
use super::spec::{CAT_STRING, Command, DENYOOM, FAST, ONE_KEY, WRITE, command};
use super::string::ExpireUnit;
use super::{CommandError, Context, Outcome};

pub const COMMANDS: &[Command] = &[command("increx", -2, WRITE | DENYOOM | FAST, ONE_KEY, CAT_STRING, "8.8.0", increx)];

#[derive(Default)]
struct Options<'a> {
    by_int: Option<&'a [u8]>,
    by_float: Option<&'a [u8]>,
    low: Option<&'a [u8]>,
    high: Option<&'a [u8]>,
    /// A result beyond a bound becomes that bound; else nothing happens.
    saturates: bool,
    expiry: Option<(ExpireUnit, &'a [u8])>,
    persists: bool,
    /// The expiry is for a key that has none.
    only_if_lasting: bool,
}

impl<'a> Options<'a> {
    /// Reads `[BYINT n | BYFLOAT n] [LBOUND n] [UBOUND n] [SATURATE] [EX s | PX ms | EXAT s | PXAT ms | PERSIST] [ENX]`,
    /// in any order.
    fn parse(mut rest: &[&'a [u8]]) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let once = |slot: &mut bool| if std::mem::replace(slot, true) { Err(CommandError::Syntax) } else { Ok(()) };
        while let [option, tail @ ..] = rest {
            rest = tail;
            if is(option, "SATURATE") {
                once(&mut options.saturates)?;
            } else if is(option, "PERSIST") {
                once(&mut options.persists)?;
            } else if is(option, "ENX") {
                once(&mut options.only_if_lasting)?;
            } else if let [value, tail @ ..] = rest {
                options.take(option, value)?;
                rest = tail;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let excludes = options.persists && (options.expiry.is_some() || options.only_if_lasting);
        if excludes || (options.by_int.is_some() && options.by_float.is_some()) {
            return Err(CommandError::Syntax);
        }
        if options.only_if_lasting && options.expiry.is_none() {
            return Err(CommandError::text("ERR ENX flag requires an expiration"));
        }
        Ok(options)
    }

    fn take(&mut self, option: &[u8], value: &'a [u8]) -> Result<(), CommandError> {
        let is_taken = if let Some(unit) = ExpireUnit::of(option) {
            self.expiry.replace((unit, value)).is_some()
        } else {
            let slot = match option {
                word if is(word, "BYINT") => &mut self.by_int,
                word if is(word, "BYFLOAT") => &mut self.by_float,
                word if is(word, "LBOUND") => &mut self.low,
                word if is(word, "UBOUND") => &mut self.high,
                _ => return Err(CommandError::Syntax),
            };
            slot.replace(value).is_some()
        };
        if is_taken { Err(CommandError::Syntax) } else { Ok(()) }
    }
}

/// What comes of an increment.
#[derive(Debug, PartialEq)]
enum Sum<T> {
    Applied {
        value: T,
        increment: T,
    },
    /// It would lie beyond a bound.
    Refused,
}

const BOUNDS: CommandError = CommandError::text("ERR LBOUND can't be greater than UBOUND");
const INFINITE: CommandError = CommandError::text("ERR applied increment would be Infinity");

fn increx(context: &mut Context<'_>) -> Outcome {
    let options = Options::parse(&context.args[2..])?;
    let expiry = options.expiry.map(|(unit, value)| unit.absolute(value, context.now_ms(), "increx"));
    let expire_at_ms = expiry.transpose()?;
    match options.by_float {
        Some(increment) => by_float(context, &options, increment, expire_at_ms),
        None => by_int(context, &options, expire_at_ms),
    }
}

fn by_int(context: &mut Context<'_>, options: &Options<'_>, expire_at_ms: Option<i64>) -> Outcome {
    let number = |text: Option<&[u8]>, what: &str, usual: i64| match text {
        None => Ok(usual),
        Some(text) => {
            args::int(text).map_err(|_| CommandError::err(format!("{what} is not an integer or out of range")))
        }
    };
    let increment = number(options.by_int, "Increment", 1)?;
    let (low, high) = (number(options.low, "LBOUND", i64::MIN)?, number(options.high, "UBOUND", i64::MAX)?);
    let key = context.args[1];
    let former = match context.read_string(key)? {
        None => 0,
        Some(string) => string.as_i64().ok_or(CommandError::NotInteger)?,
    };
    let (value, increment) = match add_int(former, increment, (low, high), options.saturates)? {
        Sum::Refused => (former, 0),
        Sum::Applied { value, increment } => {
            let text = itoa::Buffer::new().format(value).to_owned();
            let store = |mut db: Db<'_>, expiry| db.set_int(key, value, expiry);
            settle(context, options, expire_at_ms, (b"INCRBY", text.as_bytes()), store);
            (value, increment)
        }
    };
    context.reply.array(2);
    context.reply.int(value);
    Ok(context.reply.int(increment))
}

fn add_int(former: i64, increment: i64, (low, high): (i64, i64), saturates: bool) -> Result<Sum<i64>, CommandError> {
    if low > high {
        return Err(BOUNDS);
    }
    let value = match former.checked_add(increment) {
        Some(sum) if (low..=high).contains(&sum) => return Ok(Sum::Applied { value: sum, increment }),
        _ if !saturates => return Ok(Sum::Refused),
        Some(sum) => sum.clamp(low, high),
        None if increment < 0 => low,
        None => high,
    };
    let increment = value.checked_sub(former).ok_or(CommandError::text("ERR applied increment would overflow"))?;
    Ok(Sum::Applied { value, increment })
}

/// A number, or what lies beyond all of them.
#[derive(Debug, Clone, Copy)]
enum Extended {
    NegativeInfinity,
    Finite(LongDouble),
    Infinity,
}

impl Extended {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(match LongDouble::parse(text)? {
            Parsed::Finite(number) => Extended::Finite(number),
            Parsed::Infinite if text.starts_with(b"-") => Extended::NegativeInfinity,
            Parsed::Infinite => Extended::Infinity,
        })
    }

    fn compare(self, other: Self) -> Ordering {
        let rank = |number: Self| match number {
            Extended::NegativeInfinity => -1,
            Extended::Finite(_) => 0,
            Extended::Infinity => 1,
        };
        match (self, other) {
            (Extended::Finite(one), Extended::Finite(other)) => one.compare(other),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

fn by_float(context: &mut Context<'_>, options: &Options<'_>, increment: &[u8], expire_at_ms: Option<i64>) -> Outcome {
    let number = |text: &[u8], what: &str| {
        Extended::parse(text).ok_or_else(|| CommandError::err(format!("{what} is not a valid float")))
    };
    let Extended::Finite(increment) = number(increment, "Increment")? else {
        return Err(CommandError::text("ERR BYFLOAT increment cannot be Infinity"));
    };
    let bound = |text: Option<&[u8]>, what, usual| match text {
        None => Ok(Extended::Finite(usual)),
        Some(text) => number(text, what),
    };
    let bounds =
        (bound(options.low, "LBOUND", LongDouble::MAX.negated())?, bound(options.high, "UBOUND", LongDouble::MAX)?);
    let key = context.args[1];
    let former = match context.read_string(key)? {
        None => Some(Parsed::Finite(LongDouble::ZERO)),
        Some(string) => string.with(LongDouble::parse),
    };
    let Parsed::Finite(former) = former.ok_or(CommandError::NotFloat)? else {
        return Err(CommandError::text("ERR value cannot be Infinity"));
    };
    let (value, increment) = match add_float(former, increment, bounds, options.saturates)? {
        Sum::Refused => (former, LongDouble::ZERO),
        Sum::Applied { value, increment } => {
            let text = text_of(value);
            // Bytes also where they spell an integer, as INCRBYFLOAT does.
            let store = |mut db: Db<'_>, expiry| db.set_bytes(key, &text, expiry);
            settle(context, options, expire_at_ms, (b"INCRBYFLOAT", &text), store);
            (value, increment)
        }
    };
    context.reply.array(2);
    reply_float(context, value);
    Ok(reply_float(context, increment))
}

fn add_float(
    former: LongDouble,
    increment: LongDouble,
    (low, high): (Extended, Extended),
    saturates: bool,
) -> Result<Sum<LongDouble>, CommandError> {
    if low.compare(high).is_gt() {
        return Err(BOUNDS);
    }
    let sum = match former.plus(increment) {
        Ok(sum) => Extended::Finite(sum),
        Err(Infinite) if increment.compare(LongDouble::ZERO).is_lt() => Extended::NegativeInfinity,
        Err(Infinite) => Extended::Infinity,
    };
    let is_inside = sum.compare(low).is_ge() && sum.compare(high).is_le();
    let bound = match sum {
        Extended::Finite(value) if is_inside => return Ok(Sum::Applied { value, increment }),
        _ if !saturates => return Ok(Sum::Refused),
        sum if sum.compare(low).is_lt() => low,
        _ => high,
    };
    let Extended::Finite(value) = bound else { return Err(INFINITE) };
    let increment = value.plus(former.negated()).map_err(|Infinite| INFINITE)?;
    Ok(Sum::Applied { value, increment })
}

fn text_of(number: LongDouble) -> Vec<u8> {
    let mut text = Vec::with_capacity(24);
    number.write(&mut text);
    text
}

/// A double of RESP3 with all the digits of a long one; a string in RESP2.
fn reply_float(context: &mut Context<'_>, number: LongDouble) -> crate::resp::Reply {
    let text = text_of(number);
    match context.reply.protocol() {
        Protocol::Resp2 => context.reply.bulk(&text),
        Protocol::Resp3 => context.reply.raw(&[b",", text.as_slice(), b"\r\n"].concat()),
    }
}

/// Stores the sum, whose text the log gets, and its expiry; tells that it was `verb`. A time that has passed removes the key.
fn settle(
    context: &mut Context<'_>,
    options: &Options<'_>,
    expire_at_ms: Option<i64>,
    (verb, text): (&[u8], &[u8]),
    store: impl FnOnce(Db<'_>, Expiry),
) {
    let key = context.args[1];
    let had_expiry = context.db_mut().expire_at_ms(key).flatten().is_some();
    let expire_at_ms = expire_at_ms.filter(|_| !(options.only_if_lasting && had_expiry));
    if expire_at_ms.is_some_and(|at| at <= context.now_ms()) && !context.is_replay {
        if context.remove(key) {
            context.changed(1);
            let verb = context.removal_verb();
            context.log_as(&[verb, key]);
        }
        return;
    }
    let expiry = match expire_at_ms {
        Some(at) => Expiry::At(at),
        None if options.persists => Expiry::Clear,
        None => Expiry::Keep,
    };
    store(context.db_mut(), expiry);
    context.changed(1);
    context.also_tell(&[verb, key]);
    match expire_at_ms {
        Some(at) => context.log_as(&[b"SET", key, text, b"PXAT", itoa::Buffer::new().format(at).as_bytes()]),
        None if options.persists => context.log_as(&[b"SET", key, text]),
        None => context.log_as(&[b"SET", key, text, b"KEEPTTL"]),
    }
    if options.persists && had_expiry {
        context.also_tell(&[b"PERSIST", key]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_beyond_a_bound_is_refused_or_becomes_the_bound() {
        let all = (i64::MIN, i64::MAX);
        let applied = |value, increment| Ok(Sum::Applied { value, increment });
        let add = |former, increment, bounds, saturates| {
            add_int(former, increment, bounds, saturates).map_err(|error| error.to_string())
        };
        assert_eq!(add(10, 5, (0, 15), false), applied(15, 5));
        assert_eq!(add(10, 5, (0, 12), false), Ok(Sum::Refused));
        assert_eq!(add(10, 5, (0, 12), true), applied(12, 2));
        assert_eq!(add(10, 5, (i64::MIN, 5), true), applied(5, -5));
        assert_eq!(add(50, -25, (0, 30), false), applied(25, -25));
        assert_eq!(add(i64::MAX - 7, i64::MAX - 7, all, false), Ok(Sum::Refused));
        assert_eq!(add(i64::MAX - 7, i64::MAX - 7, all, true), applied(i64::MAX, 7));
        assert_eq!(add(i64::MIN + 8, i64::MIN + 8, all, true), applied(i64::MIN, -8));
        assert!(add(i64::MAX - 7, 1, (i64::MIN, i64::MIN), true).unwrap_err().contains("would overflow"));
        assert!(add(1, 1, (2, 1), true).unwrap_err().contains("LBOUND"));
    }

    #[test]
    fn a_float_sum_does_too_and_is_never_infinite() {
        let number = |text: &str| match Extended::parse(text.as_bytes()) {
            Some(Extended::Finite(number)) => number,
            other => panic!("{text}: {other:?}"),
        };
        let add = |former: &str, increment: &str, (low, high): (&str, &str), saturates| {
            let bounds = (Extended::parse(low.as_bytes()).unwrap(), Extended::parse(high.as_bytes()).unwrap());
            match add_float(number(former), number(increment), bounds, saturates) {
                Ok(Sum::Applied { value, increment }) => {
                    [value, increment].map(|number| String::from_utf8(text_of(number)).unwrap()).join(" ")
                }
                Ok(Sum::Refused) => "refused".to_owned(),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(add("10", "2.5", ("5.0", "15.0"), false), "12.5 2.5");
        assert_eq!(add("10", "5.5", ("-inf", "12.5"), false), "refused");
        assert_eq!(add("10", "5.5", ("-inf", "12.5"), true), "12.5 2.5");
        assert_eq!(add("-50.5", "-5.5", ("-30", "inf"), true), "-30 20.5");
        assert_eq!(add("10", "1", ("-inf", "inf"), false), "11 1");
        assert_eq!(add("10", "1", ("inf", "inf"), false), "refused");
        assert!(add("10", "1", ("inf", "inf"), true).contains("Infinity"));
        assert!(add("1", "1", ("inf", "-inf"), true).contains("LBOUND"));
        let largest = String::from_utf8(text_of(LongDouble::MAX)).unwrap();
        assert_eq!(add(&largest, &largest, ("-100", "100"), true).split(' ').next(), Some("100"));
        assert_eq!(add(&largest, &largest, ("0", &largest), true), format!("{largest} 0"));
        assert_eq!(add(&largest, &largest, ("-inf", "inf"), false), "refused");
        assert!(add(&format!("-{largest}"), "1", (&largest, "inf"), true).contains("Infinity"));
    }
}
