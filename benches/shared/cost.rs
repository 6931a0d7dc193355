//! What a process takes: time, CPU time, memory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The kernel counts CPU time in these.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process took, by what the kernel says of it.
#[derive(Clone, Copy)]
pub struct Cost {
    /// From begin to end, by the clock on the wall.
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub peak_kb: u64,
}

/// Runs a command to its end, its output in a file.
pub fn cost(command: &mut Command) -> Cost {
    let out = std::fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench.out")).unwrap();
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::null()).spawn().unwrap();
    let cost = watch(child.id());
    assert!(child.wait().unwrap().success(), "{command:?} failed");
    Cost { seconds: started.elapsed().as_secs_f64(), ..cost }
}

/// Watches a process until it is a zombie, which still tells its CPU time and that of its children.
fn watch(pid: u32) -> Cost {
    let (folder, mut peak_kb) = (PathBuf::from(format!("/proc/{pid}")), 0);
    loop {
        let status = std::fs::read_to_string(folder.join("status")).unwrap();
        if let Some(peak) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            peak_kb = peak.trim().trim_end_matches(" kB").parse().unwrap();
        }
        let stat = std::fs::read_to_string(folder.join("stat")).unwrap();
        // The name in parentheses may hold anything; what follows it are fields from the third on.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        if fields[0] == "Z" {
            let ticks: f64 = (14..=17).map(|index: usize| fields[index - 3].parse::<f64>().unwrap()).sum();
            return Cost { seconds: 0.0, cpu_seconds: ticks / TICKS_PER_SECOND, peak_kb };
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The one in the middle, by CPU time.
pub fn median(costs: &[Cost]) -> Cost {
    let mut sorted = costs.to_vec();
    sorted.sort_by(|left, right| left.cpu_seconds.total_cmp(&right.cpu_seconds));
    sorted[sorted.len() / 2]
}

/// The number behind a word of the command line.
pub fn option(name: &str, default: u64) -> u64 {
    let mut words = std::env::args().skip_while(|word| word != name).skip(1);
    words.next().map_or(default, |word| word.parse().unwrap())
}
