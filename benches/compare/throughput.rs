//! SET and GET by redis-benchmark, random keys, by size of value and depth of pipeline; and what each request costs the
//! server in CPU time, which the load generator on the next core disturbs less than the rate.

use crate::contest::{Contest, Options, Run, median, print_head, print_row};

pub const OPTIONS: &[(&str, &str)] = &[
    ("rounds", "5"),
    ("requests", "100000"), // per run without pipelining; pipelined runs have more, so that they last as long
    ("clients", "50"),
    ("keys", "1000000"),
    ("sizes", "3,64,1024"),
    ("pipelines", "1,16,64"),
    ("verbs", "get,set"),
    ("appendonly", "no"),
];

pub fn run(options: &Options) {
    let (rounds, clients, keys) = (options.count("rounds"), options.text("clients"), options.count("keys"));
    println!("redis-benchmark, {clients} clients, {keys} random keys, medians of {rounds} rounds, requests per second");
    println!("(ours as a multiple); {CPU}\n");
    for (index, size) in options.list("sizes").into_iter().enumerate() {
        let contest = Contest::start(&[("appendonly", options.text("appendonly"))]);
        let names = contest.names();
        if index == 0 {
            let cpu: Vec<String> = names.iter().map(|name| format!("CPU {name}")).collect();
            print_head("", &names.iter().copied().chain(cpu.iter().map(String::as_str)).collect::<Vec<_>>());
        }
        let keys = keys.to_string();
        for server in &contest.servers {
            let fill = ["-t", "set", "-c", "50", "-P", "64", "-r", &keys, "-d", size];
            contest.benchmark(server, keys.parse::<usize>().unwrap() * 3 / 2, &fill);
        }
        for verb in options.list("verbs") {
            for pipeline in options.list("pipelines") {
                let depth: usize = pipeline.parse().unwrap();
                let requests = options.count("requests") * depth.min(16);
                let arguments = ["-t", verb, "-c", clients, "-P", pipeline, "-r", &keys, "-d", size];
                let name = format!("{} {size} B P={pipeline}", verb.to_uppercase());
                compare(&contest, &name, rounds, |server| contest.benchmark(server, requests, &arguments));
            }
        }
    }
}

/// What the columns of [`compare`] behind the rates are.
pub const CPU: &str = "then microseconds of the server's CPU per request, and how much of a core redis-benchmark took (all of one is all it can)";

/// Measures and prints one row: rates, then CPU.
pub fn compare(contest: &Contest, name: &str, rounds: usize, mut measure: impl FnMut(&crate::rig::Server) -> Run) {
    let mut cpu = vec![(Vec::new(), Vec::new()); contest.servers.len()];
    let rates = contest.medians(rounds, |server| {
        let run = measure(server);
        let index = contest.servers.iter().position(|other| other.port() == server.port()).unwrap();
        cpu[index].0.push(run.cpu_us_each);
        cpu[index].1.push(run.client_share);
        run.rate
    });
    let cpu: Vec<String> = cpu
        .iter_mut()
        .map(|(server, client)| format!("{:.2} ({:.0} %)", median(server), median(client) * 100.0))
        .collect();
    print_row(name, &rates, &cpu);
}
