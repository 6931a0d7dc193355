//! How the time of a command grows with what it works on, beside how its documentation says that it grows. The server's
//! own count of microseconds tells the time, so that neither sockets nor replies on their way are in it.
//!
//! ```text
//! cargo bench --bench compare -- complexity --sizes 1000,10000,100000,1000000
//! ```
//!
//! A row is marked where its time has grown by more than its class allows, from any size to a larger one: by a factor of
//! [`SLACK`] beyond what was to be expected, which is what caches are allowed to cost.

use std::fmt::Write as _;

use crate::contest::{Options, print_head};
use crate::rig::{Client, Program, Server};

pub const OPTIONS: &[(&str, &str)] = &[
    ("sizes", "1000,10000,100000,1000000"),
    ("only", ""), // beginnings of rows
];

/// How much slower per unit of work a larger collection may be.
const SLACK: f64 = 6.0;
/// Below this a call takes no time worth comparing, in microseconds.
const LEAST_US: f64 = 1.0;
/// How long a row of one size may take about, in microseconds, and how many calls it has at most.
const BUDGET_US: f64 = 300_000.0;
const MOST_CALLS: usize = 300;

/// How time may grow with n, by the documentation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Constant,
    Logarithmic,
    Linear,
    /// n log n.
    Sorting,
}

use Class::{Constant, Linear, Logarithmic, Sorting};

impl Class {
    fn name(self) -> &'static str {
        match self {
            Constant => "1",
            Logarithmic => "log n",
            Linear => "n",
            Sorting => "n log n",
        }
    }

    fn work(self, n: usize) -> f64 {
        let n = n as f64;
        match self {
            Constant => 1.0,
            Logarithmic => n.log2(),
            Linear => n,
            Sorting => n * n.log2(),
        }
    }
}

/// What is there before: every kind of collection has `n` elements, and so has the database for `keys`.
const SETUPS: &[(&str, &str)] = &[
    ("string", "APPEND string {chunk}"),
    ("list", "RPUSH list element:{i}"),
    ("hash", "HSET hash field:{i} value:{i}"),
    ("set", "SADD set member:{i}"),
    ("ints", "SADD ints {i}"),
    ("zset", "ZADD zset {i} member:{i}"),
    ("lex", "ZADD lex 0 member:{i}"),
    ("geo", "GEOADD geo {longitude} {latitude} member:{i}"),
    ("stream", "XADD stream {j}-1 field value:{i}"),
    ("keys", "SET key:{i} value:{i}"),
];

/// The collection, the class, the command that is timed, and what undoes it, if that is needed. `{i}` is another number for
/// every call, below n; `{new}` one that was never used; `{mid}` is n / 2.
type Row = (&'static str, Class, &'static str, &'static str);

const ROWS: &[Row] = &[
    ("string", Constant, "STRLEN string", ""),
    ("string", Constant, "GETRANGE string {mid} {mid}", ""),
    ("string", Constant, "SETRANGE string {mid} abc", ""),
    ("string", Constant, "SETBIT string {mid} 1", ""),
    ("string", Constant, "GETBIT string {mid}", ""),
    ("string", Constant, "APPEND string x", ""),
    ("string", Constant, "BITFIELD string INCRBY u8 0 1", ""),
    ("string", Linear, "GET string", ""),
    ("string", Linear, "BITCOUNT string", ""),
    ("string", Linear, "BITPOS string 0 {mid}", ""),
    ("string", Linear, "COPY string other REPLACE", ""),
    ("list", Constant, "LLEN list", ""),
    ("list", Constant, "LPUSH list x", "LPOP list"),
    ("list", Constant, "RPOP list", "RPUSH list x"),
    ("list", Constant, "LMOVE list list LEFT RIGHT", ""),
    ("list", Constant, "LRANGE list 0 9", ""),
    ("list", Constant, "LRANGE list -10 -1", ""),
    ("list", Constant, "LINDEX list -1", ""),
    ("list", Constant, "LTRIM list 0 -2", "RPUSH list x"),
    ("list", Linear, "LINDEX list {mid}", ""),
    ("list", Linear, "LSET list {mid} x", ""),
    ("list", Linear, "LRANGE list {mid} {mid}", ""),
    ("list", Linear, "LINSERT list BEFORE element:{mid} x", "LREM list 1 x"),
    ("list", Linear, "LREM list 1 nosuch", ""),
    ("list", Linear, "LPOS list nosuch", ""),
    ("list", Linear, "LRANGE list 0 -1", ""),
    ("list", Sorting, "SORT list ALPHA", ""),
    ("hash", Constant, "HSET hash field:{i} x", ""),
    ("hash", Constant, "HSET hash new:{new} x", "HDEL hash new:{new}"),
    ("hash", Constant, "HGET hash field:{i}", ""),
    ("hash", Constant, "HMGET hash field:{i} nosuch", ""),
    ("hash", Constant, "HEXISTS hash nosuch", ""),
    ("hash", Constant, "HLEN hash", ""),
    ("hash", Constant, "HSTRLEN hash field:{i}", ""),
    ("hash", Constant, "HINCRBY hash counter 1", ""),
    ("hash", Constant, "HRANDFIELD hash 10", ""),
    ("hash", Constant, "HSCAN hash 0 COUNT 10", ""),
    ("hash", Constant, "HEXPIRE hash 1000 FIELDS 1 field:{i}", ""),
    ("hash", Constant, "HTTL hash FIELDS 1 field:{i}", ""),
    ("hash", Linear, "HGETALL hash", ""),
    ("hash", Linear, "HKEYS hash", ""),
    ("set", Constant, "SADD set new:{new}", "SREM set new:{new}"),
    ("set", Constant, "SREM set member:{i}", "SADD set member:{i}"),
    ("set", Constant, "SISMEMBER set member:{i}", ""),
    ("set", Constant, "SMISMEMBER set member:{i} nosuch", ""),
    ("set", Constant, "SCARD set", ""),
    ("set", Constant, "SRANDMEMBER set 10", ""),
    ("set", Constant, "SPOP set", "SADD set new:{new}"),
    ("set", Constant, "SSCAN set 0 COUNT 10", ""),
    ("set", Constant, "SMOVE set other member:{i}", "SMOVE other set member:{i}"),
    ("set", Constant, "SINTER set small", ""),
    ("set", Constant, "SINTERCARD 2 set small LIMIT 1", ""),
    ("set", Constant, "SDIFF small set", ""),
    ("set", Linear, "SMEMBERS set", ""),
    ("set", Linear, "SUNIONSTORE other set small", ""),
    ("ints", Logarithmic, "SISMEMBER ints {i}", ""),
    ("ints", Sorting, "SORT ints", ""),
    ("zset", Constant, "ZCARD zset", ""),
    ("zset", Constant, "ZSCORE zset member:{i}", ""),
    ("zset", Constant, "ZRANDMEMBER zset 10", ""),
    ("zset", Constant, "ZSCAN zset 0 COUNT 10", ""),
    ("zset", Logarithmic, "ZADD zset {i} member:{mid}", ""),
    ("zset", Logarithmic, "ZADD zset {i} new:{new}", "ZREM zset new:{new}"),
    ("zset", Logarithmic, "ZINCRBY zset 1 member:{i}", ""),
    ("zset", Logarithmic, "ZREM zset member:{i}", "ZADD zset {i} member:{i}"),
    ("zset", Logarithmic, "ZRANK zset member:{i}", ""),
    ("zset", Logarithmic, "ZREVRANK zset member:{i}", ""),
    ("zset", Logarithmic, "ZRANGE zset {mid} {mid}", ""),
    ("zset", Logarithmic, "ZRANGE zset {i} +inf BYSCORE LIMIT 0 10", ""),
    ("zset", Logarithmic, "ZREVRANGEBYSCORE zset {i} -inf LIMIT 0 10", ""),
    ("zset", Logarithmic, "ZCOUNT zset 0 {i}", ""),
    ("zset", Logarithmic, "ZPOPMIN zset", "ZADD zset 0 new:{new}"),
    ("zset", Logarithmic, "ZREMRANGEBYRANK zset {mid} {mid}", "ZADD zset {mid} new:{new}"),
    ("zset", Logarithmic, "ZINTERCARD 2 zset small LIMIT 1", ""),
    ("zset", Logarithmic, "ZINTER 2 zset small", ""),
    ("zset", Linear, "ZRANGE zset 0 -1", ""),
    ("zset", Linear, "ZRANGE zset -inf +inf BYSCORE LIMIT {mid} 1", ""),
    ("zset", Sorting, "ZUNIONSTORE other 2 zset small", ""),
    ("zset", Sorting, "ZRANGESTORE other zset 0 -1", ""),
    ("lex", Logarithmic, "ZRANGE lex [member:{i} + BYLEX LIMIT 0 10", ""),
    ("lex", Logarithmic, "ZLEXCOUNT lex - [member:{i}", ""),
    ("geo", Logarithmic, "GEOADD geo 13.3 38.1 new", ""),
    ("geo", Logarithmic, "GEOADD geo {longitude} {latitude} member:{i}", ""),
    ("geo", Constant, "GEODIST geo member:{i} member:{mid}", ""),
    ("geo", Logarithmic, "GEOSEARCH geo FROMLONLAT 100 89 BYRADIUS 1 m", ""),
    ("stream", Constant, "XADD stream * field value", ""),
    ("stream", Constant, "XLEN stream", ""),
    ("stream", Constant, "XRANGE stream - + COUNT 10", ""),
    ("stream", Constant, "XREVRANGE stream + - COUNT 10", ""),
    ("stream", Constant, "XRANGE stream {mid} + COUNT 10", ""),
    ("stream", Constant, "XREAD COUNT 10 STREAMS stream {mid}", ""),
    ("stream", Constant, "XDEL stream {j}-1", ""),
    ("stream", Constant, "XADD stream MAXLEN ~ {n} * field value", ""),
    ("stream", Constant, "XINFO STREAM stream", ""),
    ("stream", Constant, "XREADGROUP GROUP group c COUNT 1 STREAMS stream >", ""),
    ("stream", Constant, "XPENDING stream all", ""),
    ("stream", Constant, "XPENDING stream all - + 10", ""),
    ("stream", Logarithmic, "XACK stream all {j}-1", ""),
    ("stream", Logarithmic, "XCLAIM stream all c 0 {mid}-1 JUSTID", ""),
    ("stream", Constant, "XAUTOCLAIM stream all c 0 {mid} COUNT 10 JUSTID", ""),
    ("keys", Constant, "GET key:{i}", ""),
    ("keys", Constant, "SET key:{i} x", ""),
    ("keys", Constant, "EXISTS key:{i}", ""),
    ("keys", Constant, "EXPIRE key:{i} 1000", ""),
    ("keys", Constant, "TTL key:{i}", ""),
    ("keys", Constant, "DEL key:{i}", "SET key:{i} x"),
    ("keys", Constant, "RENAME key:{i} other", "RENAME other key:{i}"),
    ("keys", Constant, "RANDOMKEY", ""),
    ("keys", Constant, "SCAN 0 COUNT 10", ""),
    ("keys", Constant, "DBSIZE", ""),
    ("keys", Linear, "KEYS nosuch", ""),
    ("hash", Constant, "TYPE hash", ""),
    ("hash", Constant, "OBJECT ENCODING hash", ""),
    ("hash", Constant, "RENAME hash other", "RENAME other hash"),
    ("hash", Constant, "EXPIRE hash 1000", ""),
    ("hash", Constant, "MEMORY USAGE hash", ""),
    ("hash", Constant, "UNLINK other", "COPY hash other"),
    ("hash", Linear, "DEL other", "COPY hash other"),
    ("hash", Linear, "COPY hash other REPLACE", ""),
    ("hash", Linear, "DUMP hash", ""),
    ("zset", Constant, "UNLINK other", "COPY zset other"),
    ("list", Constant, "UNLINK other", "COPY list other"),
];

/// The words of a command, filled in for the call of this number, which is about element `i` of `n`.
fn words(template: &str, n: usize, i: usize, call: usize) -> Vec<Vec<u8>> {
    let fill = |word: &str| {
        let word = word.replace("{i}", &i.to_string()).replace("{j}", &(i + 1).to_string());
        let word = word.replace("{mid}", &(n / 2).to_string()).replace("{n}", &n.to_string());
        let word = word.replace("{longitude}", &format!("{:.4}", (i * 37 % 360_000) as f64 / 1000.0 - 180.0));
        let word = word.replace("{latitude}", &format!("{:.4}", (i * 91 % 170_000) as f64 / 1000.0 - 85.0));
        word.replace("{new}", &call.to_string()).into_bytes()
    };
    template.split(' ').map(fill).collect()
}

fn fill_collection(client: &mut Client, name: &str, n: usize) {
    let template = SETUPS.iter().find(|(setup, _)| *setup == name).expect("every row has a setup").1;
    client.line("FLUSHALL");
    if name == "string" {
        client.call(&[b"SET".as_slice(), b"string", &vec![b'x'; n]]);
        return;
    }
    let command: Vec<&str> = template.split(' ').take(2).collect();
    // In their order, many at once where the command takes many.
    let is_single = ["stream", "keys"].contains(&name);
    let per_request = if is_single { 1 } else { 500 };
    let mut requests: Vec<Vec<Vec<u8>>> = Vec::new();
    for first in (0..n).step_by(per_request) {
        let mut request: Vec<Vec<u8>> = command.iter().map(|word| word.as_bytes().to_vec()).collect();
        request.truncate(if is_single { 0 } else { 2 });
        for i in first..(first + per_request).min(n) {
            request.extend(words(template, n, i, i).into_iter().skip(if is_single { 0 } else { 2 }));
        }
        requests.push(request);
        if requests.len() == 1000 {
            client.pipeline(&std::mem::take(&mut requests));
        }
    }
    client.pipeline(&requests);
    for line in ["SADD small member:1 nosuch", "ZADD small 1 member:1 2 nosuch"] {
        if (name == "zset") == line.starts_with('Z') {
            client.line(line);
        }
    }
    if name == "stream" {
        client.line("XGROUP CREATE stream group 0");
        client.line("XGROUP CREATE stream all 0");
        client.line(&format!("XREADGROUP GROUP all c COUNT {n} STREAMS stream >"));
    }
}

/// Microseconds of a call, the mean of as many as the budget allows.
fn time(client: &mut Client, row: &Row, n: usize) -> f64 {
    let (_, _, template, undo) = row;
    let call = |client: &mut Client, number: usize| {
        // Steps that meet all elements, whatever n is.
        let i = number * 7919 % n;
        client.queue(&words(template, n, i, number));
        if !undo.is_empty() {
            client.queue(&words(undo, n, i, number));
        }
        client.flush().unwrap();
        client.raw_reply().unwrap_or_else(|error| panic!("{template}: {error}"));
        if !undo.is_empty() {
            client.raw_reply().unwrap_or_else(|error| panic!("{undo}: {error}"));
        }
    };
    let name = name_of(template);
    if undo.starts_with("COPY") {
        client.queue(&words(undo, n, 0, 0));
        client.flush().unwrap();
        client.raw_reply().unwrap();
    }
    // The first call warms up, and says how many more there is time for.
    client.line("CONFIG RESETSTAT");
    call(client, 0);
    let first = mean_us(client, &name).max(0.1);
    let calls = ((BUDGET_US / first) as usize).clamp(3, MOST_CALLS);
    client.line("CONFIG RESETSTAT");
    (1..=calls).for_each(|number| call(client, number));
    mean_us(client, &name)
}

/// As INFO calls it: with its subcommand.
fn name_of(template: &str) -> String {
    let mut words = template.split(' ').map(str::to_ascii_lowercase);
    let first = words.next().unwrap_or_default();
    match first.as_str() {
        "object" | "memory" | "xinfo" => format!("{first}|{}", words.next().unwrap_or_default()),
        _ => first,
    }
}

fn mean_us(client: &mut Client, name: &str) -> f64 {
    let text = client.line("INFO commandstats").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:")));
    let line = line.unwrap_or_else(|| panic!("{name} was not called"));
    let mean = line.split(',').find_map(|field| field.strip_prefix("usec_per_call="));
    mean.and_then(|mean| mean.parse().ok()).expect("a mean")
}

pub fn run(options: &Options) {
    let sizes: Vec<usize> = options.list("sizes").iter().map(|size| size.parse().expect("a size")).collect();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "no")]);
    let mut client = server.client();
    let only = options.list("only");
    println!(
        "microseconds per call by the server's own count; marked where it grows {SLACK} times faster than documented\n"
    );
    let heads: Vec<String> = sizes.iter().map(|size| format!("n = {size}")).collect();
    let heads = std::iter::once("documented").chain(heads.iter().map(String::as_str)).chain(["grows"]);
    print_head("command", &heads.collect::<Vec<_>>());
    let rows: Vec<&Row> =
        ROWS.iter().filter(|row| only.is_empty() || only.iter().any(|o| row.2.starts_with(o))).collect();
    let mut times = vec![Vec::new(); rows.len()];
    for &n in &sizes {
        let mut filled = "";
        for (row, times) in rows.iter().zip(&mut times) {
            if filled != row.0 {
                fill_collection(&mut client, row.0, n);
                filled = row.0;
            }
            times.push(time(&mut client, row, n));
        }
    }
    let mut faster = 0;
    for ((_, class, template, _), times) in rows.iter().zip(&times) {
        let growth = worst_growth(*class, &sizes, times);
        faster += usize::from(growth > SLACK);
        let mut line = format!("| `{template}` | {} ", class.name());
        times.iter().for_each(|us| write!(line, "| {us:.2} ").unwrap());
        let mark = if growth > SLACK { "**" } else { "" };
        println!("{line}| {mark}{growth:.1} x{mark} |");
    }
    println!("\n{} commands, {faster} grow faster than documented", rows.len());
}

/// By how much time has grown beyond what the class has it grow by, at worst between two sizes.
fn worst_growth(class: Class, sizes: &[usize], times: &[f64]) -> f64 {
    let per_work: Vec<f64> =
        sizes.iter().zip(times).map(|(&n, us)| us.max(LEAST_US) / class.work(n).max(1.0)).collect();
    let mut worst: f64 = 0.0;
    for (at, small) in per_work.iter().enumerate() {
        for (large, us) in per_work[at..].iter().zip(&times[at..]) {
            // What takes no time worth comparing has not grown.
            if *us > LEAST_US {
                worst = worst.max(large / small);
            }
        }
    }
    worst
}
