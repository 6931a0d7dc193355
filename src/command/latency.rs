//! LATENCY: what took too long, and how long commands take.

use std::fmt::Write as _;

use crate::engine::latency::{Event, Histogram, Sample};

use super::args::{self, is};
use super::connection::help;
use super::introspection::visit_rows;
use super::spec::{ADMIN, CAT_ADMIN, CAT_DANGEROUS, Command, LOADING, NO_KEYS, NOSCRIPT, STALE, command, container};
use super::{CommandError, Context, Outcome};

const ALWAYS: u32 = LOADING | STALE;
const ADMINS: u32 = ADMIN | NOSCRIPT | LOADING | STALE;
const CAT_ADMINS: u32 = CAT_ADMIN | CAT_DANGEROUS;

pub const COMMANDS: &[Command] = &[container("latency", 0, "2.8.13", LATENCY)];

const LATENCY: &[Command] = &[
    command("latest", 2, ADMINS, NO_KEYS, CAT_ADMINS, "2.8.13", latest),
    command("history", 3, ADMINS, NO_KEYS, CAT_ADMINS, "2.8.13", history),
    command("histogram", -2, ADMINS, NO_KEYS, CAT_ADMINS, "7.0.0", histogram),
    command("reset", -2, ADMINS, NO_KEYS, CAT_ADMINS, "2.8.13", reset),
    command("doctor", 2, ADMINS, NO_KEYS, CAT_ADMINS, "2.8.13", doctor),
    command("graph", 3, ADMINS, NO_KEYS, CAT_ADMINS, "2.8.13", graph),
    command("help", 2, ALWAYS, NO_KEYS, 0, "2.8.13", latency_help),
];

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Of each event its name, the second of its last sample, the ms of that, and of the worst ever.
fn latest(context: &mut Context<'_>) -> Outcome {
    let events = context.engine.latency.events();
    let reply = context.reply.array(events.len());
    for (name, event) in events {
        let last = event.samples.last().copied().unwrap_or(Sample { unix_seconds: 0, ms: 0 });
        context.reply.array(4);
        context.reply.bulk(name.as_bytes());
        context.reply.int(last.unix_seconds);
        context.reply.int(number(last.ms));
        context.reply.int(number(event.worst_ms));
    }
    Ok(reply)
}

fn history(context: &mut Context<'_>) -> Outcome {
    let samples = context.engine.latency.event(context.args[2]).map_or(&[][..], |(_, event)| &event.samples);
    let reply = context.reply.array(samples.len());
    for sample in samples {
        context.reply.array(2);
        context.reply.int(sample.unix_seconds);
        context.reply.int(number(sample.ms));
    }
    Ok(reply)
}

fn reset(context: &mut Context<'_>) -> Outcome {
    let count = context.engine.latency.reset(&context.args[2..]);
    Ok(context.reply.count(count))
}

/// Of the commands that are named, with their subcommands, as often as they are, or of all: calls, and how many took at
/// most so many us.
fn histogram(context: &mut Context<'_>) -> Outcome {
    let names = &context.args[2..];
    let mut called: Vec<(String, &Histogram)> = Vec::new();
    let calls = &context.engine.stats.calls;
    visit_rows(&mut |name, row| {
        if let Some(histogram) = calls.histogram(row) {
            called.push((name.to_owned(), histogram));
        }
    });
    let is_meant = |wanted: &[u8], name: &str| {
        let container = name.split('|').next().unwrap_or(name);
        is(wanted, name) || is(wanted, container)
    };
    let found: Vec<&(String, &Histogram)> = match names {
        [] => called.iter().collect(),
        names => {
            let of = |wanted| called.iter().filter(move |(name, _)| is_meant(wanted, name));
            names.iter().copied().flat_map(of).collect()
        }
    };
    let reply = context.reply.map(found.len());
    for (name, histogram) in found {
        context.reply.bulk(name.as_bytes());
        context.reply.map(2);
        context.reply.bulk(b"calls");
        context.reply.int(number(histogram.total()));
        context.reply.bulk(b"histogram_usec");
        let powers = histogram.powers_us(|ticks| context.engine.clock.ns(ticks));
        context.reply.map(powers.len());
        for (us, count) in powers {
            context.reply.int(number(us));
            context.reply.int(number(count));
        }
    }
    Ok(reply)
}

/// What there is to say of each event, in sentences.
fn doctor(context: &mut Context<'_>) -> Outcome {
    let engine = &context.engine;
    let threshold = engine.config.latency_monitor_threshold;
    let mut text = String::new();
    if threshold == 0 {
        text.push_str("Latency monitoring is off. `CONFIG SET latency-monitor-threshold <ms>` switches it on.\n");
    } else if engine.latency.events().len() == 0 {
        let _ = writeln!(text, "Nothing has taken {threshold} ms or longer.");
    }
    for (name, event) in engine.latency.events() {
        let count = event.samples.len() as u64; // usize has at most 64 bits
        let mean = event.samples.iter().map(|sample| sample.ms).sum::<u64>() / count.max(1);
        let worst = event.worst_ms;
        let _ = writeln!(text, "{name}: {count} seconds with a spike, {mean} ms on average, {worst} ms at worst.");
    }
    if engine.latency.event(b"command").is_some() {
        let limit = engine.config.slowlog_log_slower_than;
        let _ = writeln!(text, "SLOWLOG GET shows which commands took longer than {limit} us.");
    }
    Ok(context.reply.verbatim("txt", text.as_bytes()))
}

fn graph(context: &mut Context<'_>) -> Outcome {
    let unknown =
        || CommandError::err(format!("No samples available for event '{}'", args::printable(context.args[2])));
    let (name, event) = context.engine.latency.event(context.args[2]).ok_or_else(unknown)?;
    let text = draw(name, event, context.now_ms() / 1000);
    Ok(context.reply.verbatim("txt", text.as_bytes()))
}

/// Rows of a graph.
const ROWS: u64 = 4;

/// A column for each sample, as high as it took long; its age stands below, to be read downwards.
fn draw(name: &str, event: &Event, now_seconds: i64) -> String {
    let ms = || event.samples.iter().map(|sample| sample.ms);
    let (high, low) = (ms().max().unwrap_or(0), ms().min().unwrap_or(0));
    let mut text = format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", event.worst_ms);
    let width = event.samples.len();
    let _ = writeln!(text, "{}", "-".repeat(80));
    let height = |ms: u64| (ms - low) * (ROWS - 1) / (high - low).max(1);
    for row in (0..ROWS).rev() {
        let line: String = ms()
            .map(|ms| match height(ms).cmp(&row) {
                std::cmp::Ordering::Equal => '_',
                std::cmp::Ordering::Greater => '|',
                std::cmp::Ordering::Less => ' ',
            })
            .collect();
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let ages: Vec<String> = event.samples.iter().map(|sample| age(now_seconds - sample.unix_seconds)).collect();
    text.push('\n');
    for row in 0..ages.iter().map(String::len).max().unwrap_or(0) {
        let letters = ages.iter().map(|age| age.chars().nth(row).unwrap_or(' '));
        let line: String = letters.take(width).collect();
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn latency_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(
        context,
        "LATENCY",
        &[
            ("DOCTOR", "Return a human readable latency analysis report."),
            ("GRAPH <event>", "Return an ASCII latency graph for the <event> class."),
            ("HISTORY <event>", "Return time-latency samples for the <event> class."),
            ("LATEST", "Return the latest latency samples for all events."),
            ("RESET [<event> ...]", "Reset latency data of one or more <event> classes."),
            ("HISTOGRAM [<command> ...]", "Return a histogram of the latencies of commands."),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};

    #[test]
    fn the_rows_are_those_of_redis() {
        assert_rows_are_those_of_redis(super::COMMANDS);
    }

    #[test]
    fn events_are_told_drawn_and_forgotten() {
        let mut console = Console::new();
        console.script("latency latest => *0\n latency graph command => -ERR No samples available for event 'command'");
        let now = console.engine.clock.now_ms() / 1000;
        for (ms, ago) in [(10, 70), (40, 30), (25, 0)] {
            console.engine.latency.note("command", ms, 10, now - ago);
        }
        console.script(
            "latency latest => *1 *4 command :1000000000 :25 :40
             latency history COMMAND => *3 *2 :999999930 :10 *2 :999999970 :40 *2 :1000000000 :25",
        );
        let drawn = console.run("latency graph command");
        assert!(drawn.contains("high 40 ms, low 10 ms (all time high 40 ms)"), "{drawn}");
        assert!(drawn.contains("\n _\n |\n |_\n_||\n\n130\nm0s\n s"), "{drawn}");
        assert!(
            console.run("latency doctor").contains("command: 3 seconds with a spike, 25 ms on average, 40 ms at worst")
        );
        console.script("latency reset nosuch => :0\n latency reset => :1\n latency latest => *0");
    }

    #[test]
    fn durations_of_commands_are_counted() {
        let mut console = Console::new();
        console.script(
            "set a 1 => +OK
             set a 2 => +OK
             config get nosuch => %0
             latency histogram set nosuch => %1 set %2 calls :2 histogram_usec %1 :1 :2
             latency histogram SET set => %2 set %2 calls :2 histogram_usec %1 :1 :2 set %2 calls :2 histogram_usec %1 :1 :2
             latency histogram config => %1 config|get %2 calls :1 histogram_usec %1 :1 :1",
        );
    }
}
