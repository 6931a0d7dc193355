//! What a snapshot reads while everything changes under it: the moment of its start, and nothing else.
//!
//! `IRONKEEP_SNAPSHOT_COMMANDS` is how many random commands run (6,000 usually); the tests print what they reached.

mod served;
mod world;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use ironkeep::keyspace::{Snapshot, View};
use ironkeep::persist::save::Image;
use ironkeep::rdb::{Version, WriteOptions};

use crate::rig::length;
use world::{Contents, LARGE, World, add, elements};

/// A snapshot that is read on a thread of its own, which takes a step only when it is told to: it stands before, in or
/// behind any collection while commands run.
struct Standing {
    /// How many elements it may read.
    go_on: Sender<usize>,
    has_stepped: Receiver<()>,
    thread: JoinHandle<Contents>,
    expected: Contents,
}

impl Standing {
    fn start(world: &mut World) -> Self {
        let expected = world.contents();
        let snapshot = world.engine.keyspace.snapshot().unwrap();
        let (go_on, may_go_on) = channel();
        let (tell, has_stepped) = channel();
        let thread = std::thread::spawn(move || {
            let mut allowed = 0;
            read(snapshot, &mut || {
                while allowed == 0 {
                    // Whoever has let go of the other ends wants the rest at once.
                    let _ = tell.send(());
                    allowed = may_go_on.recv().unwrap_or(usize::MAX);
                }
                allowed -= 1;
            })
        });
        let _ = has_stepped.recv(); // it stands in front of the first element, or at the end
        Self { go_on, has_stepped, thread, expected }
    }

    /// Has it read so many elements more, and waits for that.
    fn step(&self, count: usize) {
        // At its end it takes and answers no more.
        if self.go_on.send(count).is_ok() {
            let _ = self.has_stepped.recv();
        }
    }

    /// Reads the rest. How many keys there were.
    fn finish(self, reached: usize) -> usize {
        drop((self.go_on, self.has_stepped));
        let seen = self.thread.join().unwrap();
        for (key, value) in &self.expected {
            assert_eq!(seen.get(key), Some(value), "{key:?} after {reached} commands");
        }
        assert_eq!(seen.len(), self.expected.len(), "keys that were not there, after {reached} commands");
        seen.len()
    }
}

fn read(snapshot: Snapshot, step: &mut dyn FnMut()) -> Contents {
    let mut contents = Contents::new();
    let visited: Result<(), std::convert::Infallible> = snapshot.visit(
        |_, _| Ok(true),
        |db, entry| {
            add(&mut contents, db, &entry, step);
            Ok(())
        },
    );
    let Ok(()) = visited;
    contents
}

#[test]
fn snapshots_that_overlap_read_what_was_there_when_each_began() {
    let wanted = length("IRONKEEP_SNAPSHOT_COMMANDS", 6_000);
    let (mut commands, mut snapshots, mut keys, mut seed) = (0, 0, 0, 0);
    while commands < wanted {
        seed += 1;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(seed);
        let mut standing: Vec<Standing> = Vec::new();
        let prepared = world.commands;
        while world.commands - prepared < wanted.min(30_000) {
            (0..random.usize(1..40)).for_each(|_| world.run_random());
            match random.u8(..10) {
                0..3 if standing.len() < 4 => {
                    standing.push(Standing::start(&mut world));
                    snapshots += 1;
                }
                3 if !standing.is_empty() => {
                    let ended = standing.swap_remove(random.usize(..standing.len()));
                    keys += ended.finish(world.commands - prepared);
                }
                4 => drop(world.engine.keyspace.reclaim()),
                _ => {
                    let steps = random.usize(..2_000);
                    standing.iter().for_each(|reader| reader.step(steps));
                }
            }
        }
        commands += world.commands - prepared;
        keys += standing.into_iter().map(|ended| ended.finish(commands)).sum::<usize>();
        while world.engine.keyspace.deferred().0 > 0 {
            world.engine.keyspace.reclaim();
        }
    }
    println!("{commands} random commands, {snapshots} snapshots, {keys} keys of them as they were");
    assert!(snapshots > 0 && keys > 0);
}

/// A write that hits the element at a place of its collection. `element`: what the reader sees there.
fn write_to(world: &mut World, kind: &str, place: usize, element: &[u8]) {
    let text = String::from_utf8_lossy(element).into_owned();
    let name = text.split('=').next().unwrap().to_owned();
    let line = match kind {
        "list" => format!("lset list:0 {place} changed"),
        "hash" => format!("hset hash:0 {name} changed"),
        "set" => format!("srem set:0 {name}"),
        "zset" => format!("zincrby zset:0 0.25 {name}"),
        // The head of a stream is its first element, so entries are counted from one, as their numbers are.
        "stream" => format!("xdel stream:0 1-{}", place.max(1)),
        _ => format!("setrange string:0 {place} X"),
    };
    world.run(&line);
}

#[test]
fn a_write_to_any_chunk_before_at_and_behind_the_reader_is_not_seen() {
    const REACH: usize = 150; // more than a chunk
    for kind in ["list", "hash", "set", "zset", "stream", "string"] {
        let mut world = World::new(1);
        world.run("select 0");
        let key = format!("{kind}:0").into_bytes();
        let expected = world.contents();
        let (_, wanted) = &expected[&(0, key.clone())];
        let snapshot = world.engine.keyspace.snapshot().unwrap();
        let (mut seen, mut writes) = (Vec::new(), 0);
        let visited: Result<(), std::convert::Infallible> = snapshot.visit(
            |db, _| Ok(db == 0),
            |_, entry| {
                if entry.key != key {
                    return Ok(());
                }
                assert!(kind == "string" || matches!(entry.value, View::Object(_)));
                for (place, element) in elements(entry.value).enumerate() {
                    for target in [Some(place), place.checked_add(REACH), place.checked_sub(REACH)] {
                        if let Some((target, hit)) = target.and_then(|at| wanted.get(at).map(|hit| (at, hit))) {
                            write_to(&mut world, kind, target, hit);
                            writes += 1;
                        }
                    }
                    seen.push(element);
                }
                Ok(())
            },
        );
        let Ok(()) = visited;
        assert_eq!(seen, *wanted, "{kind}");
        let after = world.contents();
        assert_ne!(after.get(&(0, key)), expected.get(&(0, format!("{kind}:0").into_bytes())), "{kind}: writes hit");
        assert!(kind == "string" || writes > 2 * LARGE, "{kind}: {writes} writes");
    }
}

/// Takes the bytes of a file, and runs commands each time some come.
struct Busy<'a> {
    world: &'a mut World,
    bytes: Vec<u8>,
}

impl std::io::Write for Busy<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (0..500).for_each(|_| self.world.run_random());
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_is_written_while_data_changes_is_the_one_written_before() {
    let options = WriteOptions { checksum: true, compress: true };
    let path = std::path::Path::new("memory");
    for seed in 0..3 {
        let mut world = World::new(seed);
        world.run("hpexpire hash:1 1000000 fields 1 f1");
        let (first, second) = (Image::take(&mut world.engine, false), Image::take(&mut world.engine, false));
        let mut before = Vec::new();
        first.write_as(Version::Rdb12, options, &mut before, path).unwrap();
        let commands = world.commands;
        let mut busy = Busy { world: &mut world, bytes: Vec::new() };
        second.write_as(Version::Rdb12, options, &mut busy, path).unwrap();
        assert!(busy.bytes == before, "seed {seed}: {} bytes, {} before", busy.bytes.len(), before.len());
        assert!(world.commands - commands >= 2_500, "the file came in too few pieces: {}", before.len());
    }
}
