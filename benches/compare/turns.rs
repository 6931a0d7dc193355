//! Mixed load while the keyspace grows, with saves, a rewrite and expiry: the longest turn of the event loop, in CPU time
//! of the server's main thread (a library that is preloaded into all servers measures it; needs `cc`), and how long the
//! clients wait.

use crate::contest::{Options, build_preload, median, print_head, print_row};
use crate::rig::{Client, Program, Server};
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const OPTIONS: &[(&str, &str)] = &[
    ("rounds", "5"),
    ("seconds", "60"), // 600 for the figure that counts
    ("keys", "10000000"),
    ("clients", "50"),
    ("saves", "4"),
    ("ours-only", "no"),
];

/// Requests that the filler sends before it reads their replies.
const BATCH: usize = 200;
/// Of the keys that fill the server every tenth goes after some seconds.
const EXPIRING: usize = 10;

pub fn run(options: &Options) {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = build_preload(folder.path(), "turns") else { return };
    let peers = [Program::redis_8(), Program::valkey_9()].into_iter().flatten();
    let mut programs: Vec<Program> = std::iter::once(Program::ours()).chain(peers).collect();
    if options.text("ours-only") == "yes" {
        programs.truncate(1);
    }
    println!(
        "{} clients with commands on all types for {} s while {} keys are set (one in {EXPIRING} expires), {} saves and",
        options.text("clients"),
        options.text("seconds"),
        options.text("keys"),
        options.text("saves"),
    );
    println!("a rewrite; medians of {} rounds (ours as a multiple)\n", options.text("rounds"));
    print_head("", &programs.iter().map(|program| program.name).collect::<Vec<_>>());
    let mut all: Vec<Vec<Seen>> = programs.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.count("rounds") {
        for (program, seen) in programs.iter().zip(&mut all) {
            seen.push(watch(program, &library, options));
        }
    }
    type Figure = fn(&Seen) -> f64;
    let figures: [(&str, Figure); 7] = [
        ("longest turn, CPU ms", |seen| seen.longest_ms),
        ("turns above 1 ms", |seen| seen.above_1_ms),
        ("turns above 5 ms", |seen| seen.above_5_ms),
        ("longest wait of a client, ms", |seen| seen.max_ms),
        ("p99.9 of the clients, ms", |seen| seen.p999_ms),
        ("requests of the clients, per second", |seen| seen.rate),
        ("million keys set", |seen| seen.million_keys),
    ];
    for (name, figure) in figures {
        let medians: Vec<f64> =
            all.iter().map(|seen| median(&mut seen.iter().map(figure).collect::<Vec<_>>())).collect();
        let most = all[0].iter().map(figure).fold(0.0, f64::max);
        print_row(name, &medians, &[format!("ours at most {most:.2}")]);
    }
    let (longest_ms, above_5_ms) = do_nothing(Duration::from_secs(options.count("seconds") as u64));
    println!(
        "\nWhat a host that takes the processor away adds to a thread's CPU time: a loop that only looks at that clock,"
    );
    println!(
        "alone and as long as one run: at most {longest_ms:.2} ms from one look to the next, {above_5_ms} above 5 ms."
    );
}

/// The longest step of such a loop, in milliseconds, and how many took more than 5.
fn do_nothing(length: Duration) -> (f64, usize) {
    let clock = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
    };
    let (began, mut last) = (Instant::now(), clock());
    let (mut longest_ms, mut above_5_ms) = (0.0, 0);
    while began.elapsed() < length {
        let now = clock();
        longest_ms = f64::max(longest_ms, now - last);
        above_5_ms += usize::from(now - last > 5.0);
        last = now;
    }
    (longest_ms, above_5_ms)
}

/// What one run showed.
struct Seen {
    longest_ms: f64,
    above_1_ms: f64,
    above_5_ms: f64,
    max_ms: f64,
    p999_ms: f64,
    rate: f64,
    million_keys: f64,
}

fn watch(program: &Program, library: &Path, options: &Options) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let figures = folder.path().join("turns");
    std::fs::write(&figures, [0; 4096]).unwrap();
    let environment = [("LD_PRELOAD", library.to_str().unwrap()), ("TURNS_FILE", figures.to_str().unwrap())];
    let directives = [("appendonly", "yes"), ("appendfsync", "everysec"), ("auto-aof-rewrite-percentage", "0")];
    let server = Server::start_in(program, folder.path(), &directives, &environment);
    std::fs::write(&figures, [0; 4096]).unwrap(); // what the start took is no turn
    let length = Duration::from_secs(options.count("seconds") as u64);
    let (stop, filled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let filler = fill(server.client(), options.count("keys"), length.mul_f64(0.8), stop.clone(), filled.clone());
    let clients: Vec<_> = (0..options.count("clients"))
        .map(|seed| work(server.client(), seed as u64, stop.clone(), filled.clone()))
        .collect();
    let mut client = server.client();
    let saves = options.count("saves");
    for part in 1..=saves + 1 {
        std::thread::sleep(length.div_f64(saves as f64 + 1.0));
        if part == saves {
            client.line("BGREWRITEAOF");
        } else if part < saves {
            client.line("BGSAVE");
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut waits: Vec<Duration> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    filler.join().unwrap();
    waits.sort();
    let turns = std::fs::read(&figures).unwrap();
    let figure = |index: usize| u64::from_ne_bytes(turns[index * 8..][..8].try_into().unwrap()) as f64;
    assert!(figure(1) > 0.0, "{}: the library has seen no turn", program.name);
    Seen {
        longest_ms: figure(0) / 1e6,
        above_1_ms: figure(2),
        above_5_ms: figure(3),
        max_ms: waits[waits.len() - 1].as_secs_f64() * 1e3,
        p999_ms: waits[waits.len() * 999 / 1000].as_secs_f64() * 1e3,
        rate: waits.len() as f64 / length.as_secs_f64(),
        million_keys: filled.load(Ordering::Relaxed) as f64 / 1e6,
    }
}

/// Sets new keys at an even pace, so that all are there after `length`, or as fast as the server takes them.
fn fill(
    mut client: Client,
    keys: usize,
    length: Duration,
    stop: Arc<AtomicBool>,
    filled: Arc<AtomicUsize>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let started = Instant::now();
        let mut next = 0;
        while next < keys && !stop.load(Ordering::Relaxed) {
            let end = (next + BATCH).min(keys);
            for n in next..end {
                let (key, value) = (format!("key:{n:012}"), format!("v{n:031}"));
                if n % EXPIRING == 0 {
                    client.queue(&["SET", &key, &value, "EX", &(1 + n / EXPIRING % 20).to_string()]);
                } else {
                    client.queue(&["SET", &key, &value]);
                }
            }
            client.flush().unwrap();
            (next..end).for_each(|_| drop(client.reply().unwrap()));
            next = end;
            filled.store(next, Ordering::Relaxed);
            let due = length.mul_f64(next as f64 / keys as f64);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
    })
}

/// Sends one request after the other; how long each took.
fn work(mut client: Client, seed: u64, stop: Arc<AtomicBool>, filled: Arc<AtomicUsize>) -> JoinHandle<Vec<Duration>> {
    std::thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut waits = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let request = request(&mut random, filled.load(Ordering::Relaxed));
            let words: Vec<&str> = request.split(' ').collect();
            let asked = Instant::now();
            client.ask(&words).unwrap();
            waits.push(asked.elapsed());
        }
        waits
    })
}

/// A command on a key that exists, or on one of a thousand collections of a kind, or on a large one.
fn request(random: &mut fastrand::Rng, filled: usize) -> String {
    let key = format!("key:{:012}", random.usize(..filled.max(1)));
    let (small, member) = (random.usize(..1000), random.usize(..1_000_000));
    match random.usize(..16) {
        0..4 => format!("GET {key}"),
        4 | 5 => format!("SET {key} other-value-of-{member}"),
        6 => format!("SET short:{member} value PX {}", random.usize(100..5000)),
        7 => format!("INCR counter:{small}"),
        8 => format!("HSET hash:{small} field:{} {member} field:{} {member}", member % 40, member % 37),
        9 => format!("HSET large:hash field:{member} {member}"),
        10 => format!("ZADD large:zset {member} member:{}", random.usize(..1_000_000)),
        11 => format!("ZRANGE large:zset {} {}", member % 10_000, member % 10_000 + 20),
        12 => format!("SADD large:set member:{member}"),
        13 => format!("RPUSH list:{small} item:{member}"),
        14 => format!("LPOP list:{small}"),
        _ => format!("UNLINK {key}"),
    }
}
