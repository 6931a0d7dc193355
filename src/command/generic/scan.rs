//! Walking through the keys of a database.

use crate::codec::{glob, number};

use super::super::args::{self, is};
use super::super::{CommandError, Context, Outcome};

/// COUNT, MATCH and TYPE of the SCAN family.
pub(in super::super) struct ScanOptions<'a> {
    pub(in super::super) count: usize,
    pub(in super::super) pattern: Option<&'a [u8]>,
    pub(in super::super) type_name: Option<&'a [u8]>,
    pub(in super::super) no_values: bool,
}

impl<'a> ScanOptions<'a> {
    /// `of_keys`: TYPE is allowed (SCAN only).
    pub(in super::super) fn parse(options: &[&'a [u8]], of_keys: bool) -> Result<Self, CommandError> {
        let mut parsed = Self { count: 10, pattern: None, type_name: None, no_values: false };
        let mut rest = options;
        while let [option, tail @ ..] = rest {
            rest = match tail {
                [value, tail @ ..] if is(option, "COUNT") => {
                    parsed.count =
                        usize::try_from(args::int(value)?).ok().filter(|&n| n > 0).ok_or(CommandError::Syntax)?;
                    tail
                }
                [value, tail @ ..] if is(option, "MATCH") => {
                    parsed.pattern = Some(*value).filter(|pattern| *pattern != b"*");
                    tail
                }
                [value, tail @ ..] if is(option, "TYPE") && of_keys => {
                    parsed.type_name = Some(value);
                    tail
                }
                tail if is(option, "NOVALUES") && !of_keys => {
                    parsed.no_values = true;
                    tail
                }
                _ if is(option, "NOVALUES") => {
                    return Err(CommandError::err("NOVALUES option can only be used in HSCAN"));
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(parsed)
    }

    pub(in super::super) fn admits(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

/// A number as C's `strtoull` reads it, but that a plain negative one is none: up to a NUL, behind white space, with a
/// sign that counts down from 2^64.
pub(in super::super) fn parse_cursor(argument: &[u8]) -> Result<u64, CommandError> {
    let text = argument.split(|byte| *byte == 0).next().unwrap_or_default();
    if let Some(plain) = number::parse_i64(text) {
        return u64::try_from(plain).map_err(|_| CommandError::InvalidCursor);
    }
    let is_space = |byte: &&u8| byte.is_ascii_whitespace() || **byte == 0x0B;
    let (is_negative, digits) = match &text[text.iter().take_while(is_space).count()..] {
        [sign @ (b'+' | b'-'), digits @ ..] => (*sign == b'-', digits),
        digits => (false, digits),
    };
    let value = if digits.is_empty() { None } else { Some(0) };
    let value = digits.iter().fold(value, |value: Option<u64>, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        value?.checked_mul(10)?.checked_add(u64::from(digit))
    });
    value.map(|value| if is_negative { value.wrapping_neg() } else { value }).ok_or(CommandError::InvalidCursor)
}

pub(super) fn scan(context: &mut Context<'_>) -> Outcome {
    let position = parse_cursor(context.args[1])?;
    let options = ScanOptions::parse(&context.args[2..], true)?;
    let now = context.now_ms();
    let (mut found, mut expired) = (Vec::new(), Vec::new());
    let next = context.db_mut().visit_from(position, options.count, &mut |entry| {
        if entry.expire_at_ms.is_some_and(|at| at <= now) {
            expired.push(entry.key.to_vec());
        } else if options.admits(entry.key)
            && options.type_name.is_none_or(|name| name.eq_ignore_ascii_case(entry.value.type_name().as_bytes()))
        {
            found.push(entry.key.to_vec());
        }
    });
    for key in expired {
        context.engine.expire_if_due(context.session.db, &key);
    }
    let reply = context.reply.array(2);
    let mut cursor = itoa::Buffer::new();
    context.reply.bulk(cursor.format(next.unwrap_or(0)).as_bytes());
    context.reply.array(found.len());
    for key in found {
        context.reply.bulk(&key);
    }
    Ok(reply)
}

pub(super) fn keys(context: &mut Context<'_>) -> Outcome {
    let pattern = context.args[1];
    let now = context.now_ms();
    let start = context.reply.len();
    let mut count = 0;
    let db = context.engine.keyspace.db(context.session.db);
    let reply = &mut context.reply;
    db.visit(&mut |entry| {
        if entry.expire_at_ms.is_none_or(|at| at > now) && (pattern == b"*" || glob::matches(pattern, entry.key)) {
            reply.bulk(entry.key);
            count += 1;
        }
    });
    Ok(context.reply.array_since(start, count))
}

pub(super) fn randomkey(context: &mut Context<'_>) -> Outcome {
    let now = context.now_ms();
    // Where nearly all keys are expired, a hundred tries find a living one or give up, as in Redis.
    for _ in 0..100 {
        let Some(entry) = context
            .engine
            .keyspace
            .db(context.session.db)
            .random(&mut context.engine.random)
            .map(|entry| (entry.key.to_vec(), entry.expire_at_ms))
        else {
            return Ok(context.reply.null());
        };
        if entry.1.is_none_or(|at| at > now) {
            return Ok(context.reply.bulk(&entry.0));
        }
        context.engine.expire_if_due(context.session.db, &entry.0);
    }
    Ok(context.reply.null())
}

#[cfg(test)]
mod tests {
    use super::super::super::console::Console;

    /// The cursor and the names of a reply.
    fn page(reply: &str) -> (String, Vec<String>) {
        let mut words = reply.split(' ').filter(|word| !word.starts_with('*')).map(str::to_owned);
        (words.next().unwrap(), words.collect())
    }

    #[test]
    fn a_scan_returns_what_stays_while_the_table_grows_shrinks_and_is_overwritten() {
        let mut console = Console::new();
        let mut random = fastrand::Rng::with_seed(4);
        for number in 0..3_000 {
            console.run(&format!("set stays:{number} v"));
        }
        for round in 0..3 {
            let mut seen = std::collections::HashSet::new();
            let mut cursor = "0".to_owned();
            let mut pages = 0;
            loop {
                let (next, names) = page(&console.run(&format!("scan {cursor} count {}", random.usize(1..60))));
                seen.extend(names);
                cursor = next;
                pages += 1;
                if cursor == "0" {
                    break;
                }
                for _ in 0..random.usize(..100) {
                    let number = random.usize(..20_000);
                    match round {
                        0 => console.run(&format!("set comes:{number} v")),
                        1 => console.run(&format!("del comes:{number}")),
                        _ => console.run(&format!("set stays:{} other px 100000", number % 3_000)),
                    };
                }
            }
            let stayed = (0..3_000).filter(|number| seen.contains(&format!("stays:{number}"))).count();
            assert_eq!(stayed, 3_000, "round {round}, {pages} pages");
        }
        let _ = console.run("flushall");
        assert_eq!(console.run("scan 12345"), "*2 0 *0");
    }

    /// Symptom: COPY, DUMP and TYPE showed hashes whose fields had all expired.
    #[test]
    fn what_is_past_its_time_is_seen_by_no_command() {
        let mut console = Console::new();
        console.run("set stays v");
        console.run("hset some a 1 b 2");
        console.run("hpexpire some 10 fields 1 a");
        let all = [
            "get",
            "exists",
            "type",
            "ttl",
            "strlen",
            "dump",
            "object encoding",
            "memory usage",
            "persist",
            "touch",
            "hgetall",
            "hlen",
            "hexists a",
            "copy other",
            "rename other",
            "expire 100",
        ];
        for command in all {
            console.run("set gone v px 10");
            console.run("hset hash a 1");
            console.run("hpexpire hash 10 fields 1 a");
            console.engine.clock.advance(10);
            for key in ["gone", "hash"] {
                let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
                let line = match verb {
                    "object" | "memory" => format!("{command} {key}"),
                    _ => format!("{verb} {key} {rest}").trim_end().to_owned(),
                };
                let (got, never) = (console.run(&line), console.run(&line.replace(key, "never")));
                assert_eq!(got, never, "{line}");
                assert_eq!(console.run(&format!("exists {key}")), ":0", "{line}");
            }
        }
        assert_eq!(console.run("hgetall some"), "%1 b 2");
        console.run("set gone v px 10");
        console.engine.clock.advance(10);
        assert_eq!(console.run("keys g*"), "*0");
        for _ in 0..20 {
            assert_ne!(console.run("randomkey"), "gone");
        }
        console.run("set gone v px 10");
        console.engine.clock.advance(10);
        let (_, names) = page(&console.run("scan 0 count 1000"));
        assert_eq!(names.len(), 2, "{names:?}");
    }
}
