//! What `io-threads` does: many clients ask at once for a value each, and take the replies only later, so that the server
//! has the cores to itself while it sends. The figure is the time of its turns, by its own account.

use crate::contest::{Contest, Options, median};
use crate::rig::{Client, Program};
use std::time::Duration;

pub const OPTIONS: &[(&str, &str)] =
    &[("rounds", "5"), ("threads", "1,2"), ("clients", "64"), ("sizes", "100,4000,32000"), ("bursts", "200")];

/// How long the replies are left alone, many times as long as it takes to send them.
const PAUSE: Duration = Duration::from_millis(5);

pub fn run(options: &Options) {
    let contest = Contest::of_in(vec![Program::ours()], &[], &[]);
    let server = &contest.servers[0];
    let mut control = server.client();
    let mut clients: Vec<Client> = (0..options.count("clients")).map(|_| server.client()).collect();
    println!("{} clients get a value at once; turns of the server per burst, us,", options.text("clients"));
    println!("medians of {} rounds (as a multiple of the first)\n", options.text("rounds"));
    println!("| bytes | io-threads | us |\n|---:|---:|---:|");
    for size in options.text("sizes").split(',') {
        control.call(&["SET", "key", &"v".repeat(size.parse().unwrap())]);
        let threads: Vec<&str> = options.text("threads").split(',').collect();
        let mut figures = vec![Vec::new(); threads.len()];
        for _ in 0..options.count("rounds") {
            for (threads, figures) in threads.iter().zip(&mut figures) {
                control.call(&["CONFIG", "SET", "io-threads", threads]);
                figures.push(burst(&mut control, &mut clients, options.count("bursts")));
            }
        }
        let medians: Vec<f64> = figures.iter_mut().map(|figures| median(figures)).collect();
        for (threads, median) in threads.iter().zip(&medians) {
            println!("| {size} | {threads} | {median:.0} ({:.2} x) |", median / medians[0]);
        }
    }
}

/// Time of the server's turns per burst, in us.
fn burst(control: &mut Client, clients: &mut [Client], bursts: usize) -> f64 {
    let mut turns = || -> f64 {
        let info = control.line("INFO stats").text();
        let row = info.lines().find_map(|line| line.strip_prefix("eventloop_duration_sum:")).unwrap();
        row.trim().parse().unwrap()
    };
    let before = turns();
    for _ in 0..bursts {
        for client in &mut *clients {
            client.queue(&["GET", "key"]);
            client.flush().unwrap();
        }
        std::thread::sleep(PAUSE);
        clients.iter_mut().for_each(|client| drop(client.reply().unwrap()));
    }
    (turns() - before) / bursts as f64
}
