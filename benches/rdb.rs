//! `rdbtool dump --json` on files that are made here: CPU seconds, MB per CPU second, and the most memory it held, for a
//! small file and for a large one, whose memory must be the same.
//!
//! ```text
//! cargo bench --bench rdb -- [--mb 300]
//! ```
//!
//! librdb manages 38 MB per CPU second at this.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)] // a tool for us alone

use ironkeep::rdb::{KeyMeta, ObjectRef, Version, WriteOptions, Writer};
use ironkeep::value::{Hash, Limits, List, Object, Set, Zset};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The kernel counts CPU time in these.
const TICKS_PER_SECOND: f64 = 100.0;

/// Text as applications store it: words, numbers, now and then something binary.
fn text(random: &mut fastrand::Rng, len: usize) -> Vec<u8> {
    if random.u8(..20) == 0 {
        return (0..len).map(|_| random.u8(..)).collect();
    }
    let words = ["session", "user", "\"id\":", "1024", " price ", "https://", "green", "ok, ", "{", "}"];
    let mut text = Vec::with_capacity(len + 10);
    while text.len() < len {
        text.extend_from_slice(words[random.usize(..words.len())].as_bytes());
        text.push(random.u8(b'a'..=b'z'));
    }
    text
}

fn value(random: &mut fastrand::Rng, limits: &Limits) -> Object {
    let count = if random.u8(..50) == 0 { random.usize(500..2_000) } else { random.usize(2..40) };
    match random.u8(..4) {
        0 => {
            let mut list = List::new();
            (0..count).for_each(|_| list.push_back(&text(random, 20), limits));
            Object::List(list)
        }
        1 => {
            let mut set = Set::new();
            (0..count).for_each(|_| {
                set.insert(random.u32(..).to_string().as_bytes(), limits);
            });
            Object::Set(set)
        }
        2 => {
            let mut hash = Hash::new();
            (0..count).for_each(|index| {
                hash.set(format!("field:{index}").as_bytes(), &text(random, 25), limits);
            });
            Object::Hash(hash)
        }
        _ => {
            let mut zset = Zset::new();
            for _ in 0..count {
                let member = text(random, 15);
                zset.insert(&member, random.f64() * 1000.0, limits);
            }
            Object::Zset(zset)
        }
    }
}

/// Writes a file of about `mb` million bytes: half strings, half collections.
fn make(mb: u64) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{mb}.rdb"));
    let file = std::fs::File::create(&path).unwrap();
    let options = WriteOptions { checksum: true, compress: true };
    let mut writer = Writer::new(file, Version::Rdb11, options).unwrap();
    let (mut random, limits) = (fastrand::Rng::with_seed(mb), Limits::default());
    writer.select_db(0, 0, 0).unwrap();
    for index in 0_u64.. {
        if writer.written() > mb * 1_000_000 {
            break;
        }
        let key = format!("app:{}:{index}", random.u16(..));
        let expire_at_ms = (index % 5 == 0).then_some(4_000_000_000_000);
        let meta = KeyMeta { key: key.as_bytes(), expire_at_ms, ..KeyMeta::default() };
        if index % 8 == 0 {
            let value = value(&mut random, &limits);
            writer.key(&meta, ObjectRef::Object(&value)).unwrap();
        } else {
            let len = random.usize(5..150);
            let value = text(&mut random, len);
            writer.key(&meta, ObjectRef::String(value.as_slice().into())).unwrap();
        }
    }
    writer.finish().unwrap();
    path
}

/// What a process took, by what the kernel says of it.
struct Cost {
    cpu_seconds: f64,
    wall: Duration,
    peak_kb: u64,
}

/// Watches a process to its end. A zombie still tells its CPU time, so the last look is before it is reaped.
fn watch(child: &mut Child) -> Cost {
    let (start, mut peak_kb) = (Instant::now(), 0);
    let folder = PathBuf::from(format!("/proc/{}", child.id()));
    loop {
        let status = std::fs::read_to_string(folder.join("status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(peak) = peak {
            peak_kb = peak.trim().trim_end_matches(" kB").parse().unwrap();
        }
        let stat = std::fs::read_to_string(folder.join("stat")).unwrap();
        // The name in parentheses may hold anything; what follows it are fields from the third on.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        if fields[0] == "Z" {
            let ticks = |index: usize| fields[index - 3].parse::<f64>().unwrap();
            let cpu_seconds = (ticks(14) + ticks(15)) / TICKS_PER_SECOND;
            assert!(child.wait().unwrap().success());
            return Cost { cpu_seconds, wall: start.elapsed(), peak_kb };
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn main() {
    let mut words = std::env::args().skip_while(|word| word != "--mb").skip(1);
    let large = words.next().map_or(300, |mb| mb.parse().unwrap());
    println!("| file | CPU | MB per CPU second | wall | peak memory |\n|---:|---:|---:|---:|---:|");
    for mb in [large / 10, large] {
        let path = make(mb);
        let bytes = std::fs::metadata(&path).unwrap().len();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rdbtool"));
        command.args(["dump", "--json"]).arg(&path).stdin(Stdio::null()).stdout(Stdio::null());
        let cost = watch(&mut command.spawn().unwrap());
        let megabytes = bytes as f64 / 1e6; // to be printed with one digit
        println!(
            "| {megabytes:.1} MB | {:.2} s | {:.0} | {:.2} s | {:.1} MB |",
            cost.cpu_seconds,
            megabytes / cost.cpu_seconds,
            cost.wall.as_secs_f64(),
            cost.peak_kb as f64 / 1024.0
        );
        std::fs::remove_file(path).unwrap();
    }
}
