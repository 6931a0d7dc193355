//! SET under `appendonly yes`, by policy and number of clients, without pipelining and with it.

use crate::contest::{Contest, Options, print_head};
use crate::throughput::{CPU, compare};

pub const OPTIONS: &[(&str, &str)] = &[
    ("rounds", "5"),
    ("requests", "50000"), // per run of 50 and more clients; one client has a fifth of it
    ("clients", "1,50,200"),
    ("pipelines", "1,16"),
    ("policies", "everysec,always"),
    ("verbs", "set,get"),
];

pub fn run(options: &Options) {
    let rounds = options.count("rounds");
    println!(
        "redis-benchmark, 100000 random keys, 64 B values, appendonly yes, medians of {rounds} rounds, requests per"
    );
    println!("second (ours as a multiple); {CPU}\n");
    for (index, policy) in options.list("policies").into_iter().enumerate() {
        let contest = Contest::start(&[("appendonly", "yes"), ("appendfsync", policy)]);
        let names = contest.names();
        if index == 0 {
            let cpu: Vec<String> = names.iter().map(|name| format!("CPU {name}")).collect();
            print_head("", &names.iter().copied().chain(cpu.iter().map(String::as_str)).collect::<Vec<_>>());
        }
        for verb in options.list("verbs") {
            for clients in options.list("clients") {
                for pipeline in options.list("pipelines") {
                    let depth: usize = pipeline.parse().unwrap();
                    let requests = options.count("requests") * depth / if clients == "1" { 5 } else { 1 };
                    let arguments = ["-t", verb, "-c", clients, "-P", pipeline, "-r", "100000", "-d", "64"];
                    let name = format!("{} {policy} c={clients} P={pipeline}", verb.to_uppercase());
                    compare(&contest, &name, rounds, |server| contest.benchmark(server, requests, &arguments));
                }
            }
        }
    }
}
