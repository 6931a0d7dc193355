//! Reading beside a writer under `appendfsync always`, on a disk whose writes and syncs take some milliseconds: a library
//! that is preloaded into all servers makes it so. Needs `cc`.

use crate::contest::{Contest, Options, build_preload, print_head, print_row};
use crate::rig::Program;
use std::process::{Command, Stdio};

pub const OPTIONS: &[(&str, &str)] =
    &[("rounds", "5"), ("disk-us", "2000"), ("writers", "10"), ("readers", "4"), ("requests", "4000")];

pub fn run(options: &Options) {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = build_preload(folder.path(), "slow_disk") else { return };
    let environment = [("LD_PRELOAD", library.to_str().unwrap()), ("SLOW_DISK_US", options.text("disk-us"))];
    let peers = [Program::redis_8(), Program::valkey_9()].into_iter().flatten();
    let programs = std::iter::once(Program::ours()).chain(peers).collect();
    let contest = Contest::of_in(programs, &[("appendonly", "yes"), ("appendfsync", "always")], &environment);
    println!("{} writers under always, {} readers of other keys;", options.text("writers"), options.text("readers"));
    println!(
        "write and fsync take {} us each; medians of {} rounds\n",
        options.text("disk-us"),
        options.text("rounds")
    );
    print_head("", &contest.names());
    let mut figures = [Vec::new(), Vec::new(), Vec::new()];
    for server in &contest.servers {
        server.client().line("SET other value");
    }
    for _ in 0..options.count("rounds") {
        for (index, server) in contest.servers.iter().enumerate() {
            let mut writers = Command::new(contest.tool("benchmark"))
                .args(["-p", &server.port().to_string(), "-c", options.text("writers"), "-n", "100000000"])
                .args(["-r", "100000", "-t", "set"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
            let sets = |server: &crate::rig::Server| -> f64 {
                let info = server.client().line("INFO commandstats").text();
                let row = info.lines().find(|line| line.starts_with("cmdstat_set:")).unwrap();
                row.split(['=', ',']).nth(1).unwrap().parse().unwrap()
            };
            let (before, started) = (sets(server), std::time::Instant::now());
            let arguments = ["-c", options.text("readers"), "GET", "other"];
            let run = contest.benchmark(server, options.count("requests"), &arguments);
            let written = (sets(server) - before) / started.elapsed().as_secs_f64();
            let _ = writers.kill();
            let _ = writers.wait();
            for (figures, figure) in figures.iter_mut().zip([run.p99_ms, run.rate, written]) {
                figures.resize(contest.servers.len(), Vec::new());
                figures[index].push(figure);
            }
        }
    }
    for (name, figures) in ["GET p99, ms", "GET per second", "SET per second"].iter().zip(&mut figures) {
        let medians: Vec<f64> = figures.iter_mut().map(|figures| crate::contest::median(figures)).collect();
        print_row(name, &medians, &[]);
    }
}
