//! Damage to the files of a whole, sealed log between two starts: bytes that have changed, ends that are missing, NULs
//! behind them, files that are missing, doubled or swapped. A start finds all that was there, or refuses and names the
//! file, or cuts an end that nothing proves to have been there; it never loads what nobody wrote.
//!
//! `IRONKEEP_DAMAGES` is the number of cases: 3,000 by default, 50,000 in CI; 0 is each byte with each other value that
//! differs by one bit or by all, each cut, and each tail.

use super::*;
use crate::disk::Mode;
use std::path::PathBuf;

const USUAL: usize = 3_000;
/// So much is written that the increment has about 64 KB, in several sealed spans.
const UNITS: u32 = 1_150;

/// A log that was shut down cleanly, and what it holds.
struct Whole {
    config: Config,
    disk: MemoryDisk,
    files: Vec<(PathBuf, Vec<u8>)>,
    list: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Damage {
    Flip {
        file: usize,
        at: usize,
        mask: u8,
    },
    Cut {
        file: usize,
        len: usize,
    },
    Nulls {
        file: usize,
        count: usize,
    },
    Missing {
        file: usize,
    },
    /// The content twice, one behind the other.
    Doubled {
        file: usize,
    },
    Swapped {
        file: usize,
        with: usize,
    },
}

/// How a start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    /// All is there.
    Exact,
    /// The start stops.
    Refused,
    /// A beginning is there, the rest was cut.
    Shorter,
}

impl Whole {
    fn new() -> Self {
        let config = config(true, AppendFsync::Always);
        let (disk, mut history) = (empty_disk(), History::default());
        let on = disk.clone();
        run(async {
            let shared = start_server(config.clone(), Arc::new(on)).await.unwrap();
            let mut client = Client::connect(&shared);
            assert!(history.write(&mut client, UNITS / 4, || 0).await);
            client.ask("BGREWRITEAOF").await;
            client.wait_for_jobs().await;
            for _ in 0..UNITS / 25 {
                assert!(history.write(&mut client, 25, || 0).await);
            }
            history.note_list(&mut client).await;
            assert!(client.shut_down(&shared).await);
        });
        let disk = disk.after(disk.steps(), PowerCut::Kept, &mut fastrand::Rng::with_seed(0));
        let folder = Path::new(DIR).join(&config.appenddirname);
        let names = disk.list(&folder).unwrap().into_iter().map(|name| folder.join(name));
        let paths = names.filter(|path| disk.metadata(path).unwrap().is_file());
        let files: Vec<_> = paths.map(|path| (path.clone(), disk.read_small(&path, 1 << 20).unwrap())).collect();
        assert_eq!(files.len(), 3, "a base, an increment and the manifest");
        Self { config, disk, files, list: history.list }
    }

    /// A copy of the disk on which the damage is done.
    fn damaged(&self, damage: &Damage) -> MemoryDisk {
        let disk = self.disk.after(0, PowerCut::Kept, &mut fastrand::Rng::with_seed(0));
        let put = |file: usize, bytes: &[u8]| {
            disk.open(&self.files[file].0, Mode::Truncate).unwrap().write_all(bytes).unwrap();
        };
        let bytes = |file: usize| self.files[file].1.clone();
        match *damage {
            Damage::Flip { file, at, mask } => {
                let mut changed = bytes(file);
                changed[at] ^= mask;
                put(file, &changed);
            }
            Damage::Cut { file, len } => put(file, &bytes(file)[..len]),
            Damage::Nulls { file, count } => put(file, &[bytes(file), vec![0; count]].concat()),
            Damage::Missing { file } => disk.remove(&self.files[file].0).unwrap(),
            Damage::Doubled { file } => put(file, &bytes(file).repeat(2)),
            Damage::Swapped { file, with } => {
                put(file, &bytes(with));
                put(with, &bytes(file));
            }
        }
        disk
    }

    /// How a start on the damaged files ends, or what is wrong with it.
    fn start(&self, damage: &Damage) -> Result<Ending, String> {
        let disk = self.damaged(damage);
        match load(&self.config, &disk) {
            Ok(list) if list == self.list => Ok(Ending::Exact),
            Ok(list) if !self.list.starts_with(&list) => {
                Err(format!("{} units were loaded that nobody wrote in this order", list.len()))
            }
            // What was cut off can't prove that it was there; what has changed can.
            Ok(list) => match *damage {
                Damage::Cut { file, .. } if self.is_increment(file) => Ok(Ending::Shorter),
                _ => Err(format!("{} of {} units were loaded without a word", list.len(), self.list.len())),
            },
            Err(reason) if !self.names_a_file(&reason) => Err(format!("the refusal names no file: {reason}")),
            Err(_) => Ok(Ending::Refused),
        }
    }

    fn is_named(&self, file: usize, end: &str) -> bool {
        self.files[file].0.to_string_lossy().ends_with(end)
    }

    fn is_increment(&self, file: usize) -> bool {
        self.is_named(file, ".incr.aof")
    }

    fn names_a_file(&self, reason: &str) -> bool {
        self.files.iter().any(|(path, _)| reason.contains(&*path.file_name().unwrap().to_string_lossy()))
    }

    /// Every damage within a file.
    fn damages_to(&self, file: usize) -> Vec<Damage> {
        let len = self.files[file].1.len();
        let masks = (0..8).map(|bit| 1 << bit).chain([0xff]);
        let flips = masks.flat_map(|mask| (0..len).map(move |at| Damage::Flip { file, at, mask }));
        let cuts = (0..len).map(|len| Damage::Cut { file, len });
        let tails = (1..=4096).map(|count| Damage::Nulls { file, count });
        flips.chain(cuts).chain(tails).collect()
    }

    fn of_whole_files(&self) -> Vec<Damage> {
        let count = self.files.len();
        let of_one = (0..count).flat_map(|file| [Damage::Missing { file }, Damage::Doubled { file }]);
        let of_two = (0..count).flat_map(|file| (0..file).map(move |with| Damage::Swapped { file, with }));
        of_one.chain(of_two).collect()
    }
}

#[test]
fn no_damage_to_a_sealed_log_is_loaded_as_if_it_were_whole() {
    let (began, whole) = (Instant::now(), Whole::new());
    assert_eq!(
        load(&whole.config, &whole.disk.after(0, PowerCut::Kept, &mut fastrand::Rng::with_seed(0))).unwrap(),
        whole.list
    );
    let seed = length("IRONKEEP_SEED", 1) as u64;
    let wanted = length("IRONKEEP_DAMAGES", USUAL);
    let (mut damages, mut all) = (whole.of_whole_files(), 0);
    for file in 0..whole.files.len() {
        let mut of_file = whole.damages_to(file);
        all += of_file.len();
        if wanted > 0 {
            // Small files count as much as large ones.
            fastrand::Rng::with_seed(seed).shuffle(&mut of_file);
            of_file.truncate(wanted / whole.files.len());
        }
        damages.append(&mut of_file);
    }
    let (mut endings, mut wrong) = (std::collections::BTreeMap::<Ending, usize>::new(), Vec::new());
    for damage in &damages {
        match whole.start(damage) {
            Ok(ending) => *endings.entry(ending).or_default() += 1,
            Err(reason) => wrong.push(format!("{damage:?}: {reason}")),
        }
    }
    let (count, seconds) = (damages.len(), began.elapsed().as_secs_f64());
    let sizes: Vec<_> = whole.files.iter().map(|(path, bytes)| (path.file_name().unwrap(), bytes.len())).collect();
    tell(&format!("{count} of {all} damages to {sizes:?} in {seconds:.0} s: {endings:?}, {} wrong", wrong.len()));
    assert!(wrong.is_empty(), "{:#?}", &wrong[..wrong.len().min(20)]);
}
