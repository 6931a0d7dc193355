//! Commands on collections and counters by redis-benchmark, with the depth of pipeline.

use crate::contest::{Contest, Options, print_head};
use crate::throughput::{CPU, compare};

pub const OPTIONS: &[(&str, &str)] = &[
    ("rounds", "5"),
    ("requests", "100000"),
    ("clients", "50"),
    ("keys", "100000"),
    ("pipelines", "1,16"),
    ("only", ""), // names of rows
];

/// Name, command, and how many times fewer requests a run has than the others.
const ROWS: &[(&str, &str, usize)] = &[
    ("INCR", "INCR counter:__rand_int__", 1),
    ("LPUSH", "LPUSH mylist element", 1),
    ("LPOP", "LPOP mylist", 1),
    ("SADD", "SADD myset element:__rand_int__", 1),
    ("HSET", "HSET myhash element:__rand_int__ value", 1),
    ("ZADD", "ZADD myzset __rand_int__ element:__rand_int__", 1),
    ("ZRANGE 100", "ZRANGE zset100 0 99", 8),
    ("LRANGE 100", "LRANGE list100 0 99", 8),
    ("XADD", "XADD mystream * field value", 1),
    ("MSET 10", "", 4),
];

pub fn run(options: &Options) {
    let (rounds, clients, keys) = (options.count("rounds"), options.text("clients"), options.text("keys"));
    println!(
        "redis-benchmark, {clients} clients, medians of {rounds} rounds, requests per second (ours as a multiple);"
    );
    println!("{CPU}\n");
    let contest = Contest::start(&[]);
    let names = contest.names();
    let cpu: Vec<String> = names.iter().map(|name| format!("CPU {name}")).collect();
    print_head("", &names.iter().copied().chain(cpu.iter().map(String::as_str)).collect::<Vec<_>>());
    for server in &contest.servers {
        let mut client = server.client();
        for member in 0..100 {
            client.line(&format!("ZADD zset100 {member} member:{member}"));
            client.line(&format!("RPUSH list100 element:{member}"));
        }
    }
    let only = options.list("only");
    for (name, command, divisor) in ROWS.iter().filter(|row| only.is_empty() || only.contains(&row.0)) {
        let mset = (0..10).map(|index| format!(" key{index}:__rand_int__ value")).collect::<String>();
        let command = if command.is_empty() { format!("MSET{mset}") } else { (*command).to_owned() };
        for pipeline in options.list("pipelines") {
            let depth: usize = pipeline.parse().unwrap();
            let requests = options.count("requests") * depth.min(16) / divisor;
            let mut arguments = vec!["-c", clients, "-P", pipeline, "-r", keys];
            arguments.extend(command.split_whitespace());
            compare(&contest, &format!("{name} P={pipeline}"), rounds, |server| {
                contest.benchmark(server, requests, &arguments)
            });
        }
    }
}
