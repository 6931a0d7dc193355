//! BGSAVE beside 50 clients that write: how long the server stands still at its start, what it takes in memory, how long
//! it takes, what the clients feel; how that grows with the number of keys; and what a snapshot that stands for long costs.

use crate::contest::{Contest, Options, median, print_head, print_row};
use crate::rig::{Client, Program, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const OPTIONS: &[(&str, &str)] = &[
    ("keys", "1000000"), // 10000000 for the figures that count
    ("clients", "50"),
    ("rounds", "3"),
    ("growth", "100000,1000000"), // numbers of keys, saved without writers
    ("increments", "1000000"),    // of one key while a slow snapshot stands
    ("databases", "16"),
    ("overlap-seconds", "10"), // 300 for the figure that counts
    ("pace", "0"),             // requests per second of each client beside backups; 0 is as many as it can
    ("parts", "writers,growth,hot-key,databases,overlap,backups"),
];

type Part = fn(&Options);

const PARTS: &[(&str, Part)] = &[
    ("writers", under_writers),
    ("growth", growing),
    ("hot-key", one_hot_key),
    ("databases", many_databases),
    ("overlap", one_after_the_other),
    ("backups", beside_backups),
];

const VALUE: &str = "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv"; // 32 bytes

pub fn run(options: &Options) {
    for name in options.list("parts") {
        let part = PARTS.iter().find(|part| part.0 == name).unwrap_or_else(|| panic!("no part {name}"));
        (part.1)(options);
    }
}

/// Writes keys of 16 bytes, by database.
fn fill(server: &Server, databases: usize, keys: usize) {
    let mut client = server.client();
    for db in 0..databases {
        client.line(&format!("select {db}"));
        let mut next = 0;
        while next < keys / databases {
            let end = (next + 2_000).min(keys / databases);
            (next..end).for_each(|n| client.queue(&["SET", &format!("key:{n:012}"), VALUE]));
            client.flush().unwrap();
            (next..end).for_each(|_| assert!(!client.reply().unwrap().is_error()));
            next = end;
        }
    }
}

/// A field of INFO.
fn info(client: &mut Client, field: &str) -> f64 {
    let text = client.line("info all").text();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("INFO has no {field}"))
}

/// A line of the kernel's account of a process, in MB.
fn memory_mb(pid: u64, line: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = text.lines().find_map(|row| row.strip_prefix(line)?.strip_prefix(':')).unwrap();
    value.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// What one save gave.
#[derive(Default)]
struct Saved {
    pause_ms: f64,
    extra_mb: f64,
    seconds: f64,
    p999_ms: f64,
    max_ms: f64,
}

/// One BGSAVE, watched to its end, while `clients` write.
fn save(server: &Server, clients: usize, keys: usize) -> Saved {
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..clients).map(|n| write_until(server.client(), n as u64, keys, stop.clone())).collect();
    std::thread::sleep(Duration::from_millis(if clients > 0 { 1_000 } else { 200 }));
    let mut client = server.client();
    let pid = info(&mut client, "process_id") as u64; // a small integer
    let resident = memory_mb(pid, "VmRSS");
    let mut peak = resident;
    let started = Instant::now();
    client.line("bgsave");
    loop {
        std::thread::sleep(Duration::from_millis(10));
        peak = peak.max(memory_mb(pid, "VmRSS"));
        if info(&mut client, "rdb_bgsave_in_progress") == 0.0 {
            break;
        }
    }
    let ended = Instant::now();
    stop.store(true, Ordering::Relaxed);
    let mut waits: Vec<f64> = writers
        .into_iter()
        .flat_map(|writer| writer.join().unwrap())
        .filter(|(at, _)| (started..ended).contains(at))
        .map(|(_, wait)| wait.as_secs_f64() * 1e3)
        .collect();
    waits.sort_by(f64::total_cmp);
    let copied = info(&mut client, "rdb_last_cow_size") / f64::from(1 << 20);
    Saved {
        pause_ms: info(&mut client, "latest_fork_usec") / 1e3,
        // A child's copies are in no account of its parent; what a thread keeps is in that of its process.
        extra_mb: copied.max(peak - resident),
        seconds: (ended - started).as_secs_f64(),
        p999_ms: waits.get(waits.len() * 999 / 1000).copied().unwrap_or(0.0),
        max_ms: waits.last().copied().unwrap_or(0.0),
    }
}

type Waits = Vec<(Instant, Duration)>;

/// Sets random keys, one after the other; when each was asked and how long it took.
fn write_until(client: Client, seed: u64, keys: usize, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Waits> {
    ask_until(client, seed, Load { keys, has_reads: false, every: Duration::ZERO }, stop)
}

/// What a client asks for: random ones of so many keys.
#[derive(Clone, Copy)]
struct Load {
    keys: usize,
    /// Every other request is a GET.
    has_reads: bool,
    /// From one request to the next; none waits for the answer only.
    every: Duration,
}

/// Asks until it is stopped. With a pace a request waits from the moment at which it was due.
fn ask_until(mut client: Client, seed: u64, load: Load, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Waits> {
    std::thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut waits: Waits = Vec::new();
        let mut due = Instant::now() + load.every.mul_f64(random.f64());
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let asked = if load.every.is_zero() { Instant::now() } else { due };
            let key = format!("key:{:012}", random.usize(..load.keys));
            if load.has_reads && waits.len() % 2 == 1 {
                client.call(&["GET", &key]);
            } else {
                client.call(&["SET", &key, VALUE]);
            }
            waits.push((asked, asked.elapsed()));
            due += load.every;
        }
        waits
    })
}

fn under_writers(options: &Options) {
    let (keys, clients, rounds) = (options.count("keys"), options.count("clients"), options.count("rounds"));
    println!("BGSAVE of {keys} keys (16 B, values of 32 B) under {clients} clients that set random ones, medians of");
    println!("{rounds} rounds (ours as a multiple)\n");
    let contest = Contest::start(&[]);
    contest.servers.iter().for_each(|server| fill(server, 1, keys));
    let mut all: Vec<Vec<Saved>> = contest.servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (server, saved) in contest.servers.iter().zip(&mut all) {
            saved.push(save(server, clients, keys));
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    print_head("", &contest.names());
    type Figure = fn(&Saved) -> f64;
    let figures: [(&str, Figure); 5] = [
        ("pause at start, ms", |saved| saved.pause_ms),
        ("extra memory, MB", |saved| saved.extra_mb),
        ("duration, s", |saved| saved.seconds),
        ("p99.9 while it runs, ms", |saved| saved.p999_ms),
        ("max while it runs, ms", |saved| saved.max_ms),
    ];
    for (name, figure) in figures {
        let medians: Vec<f64> =
            all.iter().map(|saved| median(&mut saved.iter().map(figure).collect::<Vec<_>>())).collect();
        print_row(name, &medians, &[]);
    }
    println!();
}

fn growing(options: &Options) {
    println!(
        "a save without writers as it grows, medians of {} rounds (ours as a multiple)\n",
        options.count("rounds")
    );
    let mut is_first = true;
    for keys in options.list("growth") {
        let count: usize = keys.parse().unwrap();
        let contest = Contest::start(&[]);
        contest.servers.iter().for_each(|server| fill(server, 1, count));
        if std::mem::take(&mut is_first) {
            print_head("", &contest.names());
        }
        let mut pauses = vec![Vec::new(); contest.servers.len()];
        let times = contest.medians(options.count("rounds"), |server| {
            let mut client = server.client();
            let saved = std::time::Instant::now();
            client.line("save");
            let each = saved.elapsed().as_secs_f64() * 1e9 / count as f64;
            let index = contest.servers.iter().position(|other| other.port() == server.port()).unwrap();
            pauses[index].push(save(server, 0, count).pause_ms);
            each
        });
        print_row(&format!("SAVE of {keys} keys, ns per key"), &times, &[]);
        let pauses: Vec<f64> = pauses.iter_mut().map(|figures| median(figures)).collect();
        print_row(&format!("start of a BGSAVE of {keys} keys, ms"), &pauses, &[]);
    }
    println!();
}

/// Ours, with nothing beside it.
fn ours(directives: &[(&str, &str)]) -> Contest {
    Contest::of(vec![Program::ours()], directives)
}

fn one_hot_key(options: &Options) {
    let count = options.count("increments");
    let contest = ours(&[("snapshot-max-rate", "100kb")]);
    let server = &contest.servers[0];
    fill(server, 1, 200_000);
    let mut client = server.client();
    client.line("set hot 1");
    client.line("bgsave");
    let pid = info(&mut client, "process_id") as u64; // a small integer
    let (before, mut deferred) = (memory_mb(pid, "VmRSS"), 0f64);
    for _ in 0..count / 1_000 {
        (0..1_000).for_each(|_| client.queue(&["INCR", "hot"]));
        client.flush().unwrap();
        (0..1_000).for_each(|_| drop(client.reply().unwrap()));
        deferred = deferred.max(info(&mut client, "current_cow_size"));
    }
    assert_eq!(info(&mut client, "rdb_bgsave_in_progress"), 1.0, "the snapshot stood all the time");
    let grown = memory_mb(pid, "VmRSS") - before;
    println!(
        "{count} INCR of one key while a slow snapshot stands: {grown:.2} MB more resident, at most {deferred} B of"
    );
    println!("old versions");
    let asked = Instant::now();
    client.line("bgsave cancel");
    while info(&mut client, "rdb_bgsave_in_progress") != 0.0 {}
    println!("BGSAVE CANCEL of it: {:.1} ms until it is gone\n", asked.elapsed().as_secs_f64() * 1e3);
}

fn many_databases(options: &Options) {
    let databases = options.count("databases");
    let contest = ours(&[]);
    let server = &contest.servers[0];
    fill(server, databases, options.count("keys"));
    let mut pauses: Vec<f64> = (0..9).map(|_| save(server, 0, 1).pause_ms).collect();
    let most = pauses.iter().copied().fold(0.0, f64::max);
    println!(
        "{databases} databases with {} keys together: start of a snapshot {:.3} ms, at most {most:.3} ms in 9\n",
        options.count("keys"),
        median(&mut pauses)
    );
}

fn one_after_the_other(options: &Options) {
    let seconds = options.count("overlap-seconds");
    let keys = options.count("keys");
    let contest = ours(&[("appendonly", "yes"), ("auto-aof-rewrite-percentage", "0")]);
    let server = &contest.servers[0];
    fill(server, 1, keys);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..options.count("clients")).map(|n| write_until(server.client(), n as u64, keys, stop.clone())).collect();
    let mut client = server.client();
    let (started, mut saves, mut most) = (Instant::now(), 0, 0f64);
    while started.elapsed() < Duration::from_secs(seconds as u64) {
        // Whichever may begin does; the other waits for its end.
        saves += usize::from(!client.ask(&["BGSAVE", "SCHEDULE"]).unwrap().is_error());
        saves += usize::from(!client.ask(&["BGREWRITEAOF"]).unwrap().is_error());
        most = most.max(info(&mut client, "current_cow_size"));
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| drop(writer.join().unwrap()));
    let ended = Instant::now();
    let is_busy =
        |client: &mut Client| info(client, "rdb_bgsave_in_progress") + info(client, "aof_rewrite_in_progress") > 0.0;
    while is_busy(&mut client) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let idle = Instant::now();
    let mut left = info(&mut client, "current_cow_size");
    while left > 0.0 && idle.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
        left = info(&mut client, "current_cow_size");
    }
    println!(
        "{saves} saves and rewrites in {seconds} s under writers: at most {:.1} MB of old versions; {left} B of them {:.2} s \
         after the last ended",
        most / f64::from(1 << 20),
        idle.elapsed().as_secs_f64(),
    );
    println!("(the last of them took {:.2} s without writers)\n", (idle - ended).as_secs_f64());
    if let Some(longest) = longest_turn(&mut client) {
        println!("longest turn of the event loop in all of this: {longest:.2} ms of real time\n");
    }
}

/// In ms, where the server tells it.
fn longest_turn(client: &mut Client) -> Option<f64> {
    let text = client.line("info stats").text();
    let longest = text.lines().find_map(|line| line.strip_prefix("eventloop_duration_max:"))?;
    longest.trim().parse::<f64>().ok().map(|us| us / 1e3)
}

/// How long each measurement of [`beside_backups`] takes.
const WINDOW: Duration = Duration::from_secs(5);

/// Clients that set random keys: alone, while one backup after the other is made and read back, and, with the log on, while
/// that is archived.
fn beside_backups(options: &Options) {
    let repo = tempfile::tempdir().unwrap();
    let directives = [("backup-repo", repo.path().to_str().unwrap()), ("backup-retention", "keep-last 1")];
    compare_phases(options, &directives, &[("alone", "no", false), ("backups", "no", true)]);
    let logged = [&directives[..], &[("appendonly", "yes"), ("aof-archive-timeout", "1")]].concat();
    let phases = [("log on", "no", false), ("archive", "yes", false), ("archive and backups", "yes", true)];
    compare_phases(options, &logged, &phases);
}

/// Measures phases in turns: what they are called, `aof-archive`, and whether backups are made.
fn compare_phases(options: &Options, directives: &[(&str, &str)], phases: &[(&str, &str, bool)]) {
    let (keys, clients, rounds) = (options.count("keys"), options.count("clients"), options.count("rounds"));
    let pace = options.count("pace");
    let every = if pace == 0 { Duration::ZERO } else { Duration::from_secs(1) / pace as u32 }; // a few thousand
    let load = Load { keys, has_reads: true, every };
    let contest = ours(directives);
    let server = &contest.servers[0];
    fill(server, 1, keys);
    let mut figures: Vec<[Vec<f64>; 3]> = phases.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        for ((_, archive, has_backups), figures) in phases.iter().zip(&mut figures) {
            assert!(!server.client().call(&["CONFIG", "SET", "aof-archive", archive]).is_error());
            // The archive finds out where it goes on, and has a backup to begin with.
            std::thread::sleep(WINDOW / 2);
            let (stop, stop_backups) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(!has_backups)));
            let made = make_until(server.client(), stop_backups.clone());
            std::thread::sleep(Duration::from_millis(200));
            let writers: Vec<_> =
                (0..clients).map(|n| ask_until(server.client(), n as u64, load, stop.clone())).collect();
            std::thread::sleep(WINDOW);
            stop.store(true, Ordering::Relaxed);
            stop_backups.store(true, Ordering::Relaxed);
            let waits = writers.into_iter().flat_map(|writer| writer.join().unwrap());
            let mut waits: Vec<f64> = waits.map(|(_, wait)| wait.as_secs_f64() * 1e3).collect();
            waits.sort_by(f64::total_cmp);
            figures[0].push(waits.len() as f64 / WINDOW.as_secs_f64()); // exact below 2^53
            figures[1].push(waits[waits.len() * 99 / 100]);
            figures[2].push(made.join().unwrap() as f64); // a few
        }
    }
    let medians: Vec<[f64; 3]> =
        figures.iter_mut().map(|figures| figures.each_mut().map(|rounds| median(rounds))).collect();
    println!(
        "{clients} clients that get and set random ones of {keys} keys for {} s, medians of {rounds} rounds",
        WINDOW.as_secs()
    );
    for ((name, ..), [rate, p99, made]) in phases.iter().zip(&medians) {
        let (rate_ratio, p99_ratio) = (rate / medians[0][0], p99 / medians[0][1]);
        println!(
            "  {name}: {rate:.0} requests per second ({rate_ratio:.2}), p99 {p99:.2} ms ({p99_ratio:.2}), {made:.0} backups"
        );
    }
    println!();
}

/// Makes one backup after the other; how many.
fn make_until(mut client: Client, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut made = 0;
        while !stop.load(Ordering::Relaxed) {
            client.line("BACKUP CREATE");
            made += 1;
        }
        made
    })
}
