//! What COMMAND tells of a command beyond its row: what it does to each of its keys, and how one who spreads requests over
//! many servers may treat it. In the words of `COMMAND INFO` of Redis 8.0.

/// Flags of the keys, those of the first, second, ... key apart by `/`; what stands last holds for all that follow. Then
/// the commands.
const ACCESS: &[(&str, &str)] = &[
    (
        "RO access",
        "bitcount bitfield_ro bitpos digest dump eval_ro evalsha_ro expiretime fcall_ro geodist geohash geopos georadius_ro \
         georadiusbymember_ro geosearch get getbit getrange hexpiretime hget hgetall hkeys hmget hpexpiretime hpttl \
         hrandfield hscan httl hvals lcs lindex lpos lrange mget pexpiretime pttl sdiff sinter sintercard smembers \
         smismember sort_ro srandmember sscan substr sunion ttl xinfo|consumers xinfo|groups xinfo|stream xpending xrange \
         xread xreadgroup xrevrange zcount zdiff zinter zintercard zlexcount zmscore zrandmember zrange zrangebylex \
         zrangebyscore zrank zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion",
    ),
    (
        "RW access update",
        "bitfield decr decrby eval evalsha fcall getex getset hgetex hincrby hincrbyfloat incr incrby incrbyfloat increx \
         move setbit zincrby",
    ),
    (
        "RW update",
        "expire expireat geoadd hexpire hexpireat hmset hpersist hpexpire hpexpireat hset hsetex lset persist pexpire \
         pexpireat setrange xack xadd xclaim xgroup|setid xsetid zadd",
    ),
    (
        "RO",
        "exists hexists hlen hstrlen llen memory|usage object|encoding object|freq object|idletime object|refcount scard \
         sismember strlen touch type watch xlen zcard",
    ),
    (
        "RW access delete",
        "blmpop blpop brpop bzmpop bzpopmax bzpopmin getdel hgetdel lmpop lpop migrate rpop spop zmpop zpopmax zpopmin",
    ),
    (
        "RW delete",
        "delex hdel lrem ltrim srem xautoclaim xdel xdelex xgroup|delconsumer xgroup|destroy xtrim zrem zremrangebylex zremrangebyrank \
         zremrangebyscore",
    ),
    ("RW insert", "append hsetnx linsert lpush lpushx pfadd rpush rpushx sadd xgroup|create xgroup|createconsumer"),
    (
        "OW update/RO access",
        "bitop geosearchstore sdiffstore sinterstore sunionstore zdiffstore zinterstore zrangestore zunionstore",
    ),
    ("OW update", "mset msetex psetex restore restore-asking set setex"),
    ("RW access delete/RW insert", "blmove brpoplpush lmove rpoplpush smove"),
    ("RW access", "pfcount pfdebug"),
    ("OW insert", "msetnx setnx"),
    ("RO access/OW update", "copy georadius georadiusbymember sort"),
    ("RM delete", "del delifeq unlink"),
    ("RW update delete", "xackdel"),
    ("RW access delete/OW insert", "renamenx"),
    ("RW access delete/OW update", "rename"),
    ("RW access insert/RO access", "pfmerge"),
];

/// What is no key, though its place decides which server is asked.
const NO_KEYS: &[&str] = &["spublish", "ssubscribe", "sunsubscribe"];

const TIPS: &[(&str, &str)] = &[
    (
        "nondeterministic_output",
        "client|info client|list cluster|bumpepoch cluster|count-failure-reports cluster|getkeysinslot cluster|info \
         cluster|links cluster|myshardid cluster|nodes cluster|replicas cluster|shards cluster|slaves cluster|slots \
         dump hpttl hrandfield hscan httl lastsave migrate object|encoding object|freq object|idletime \
         object|refcount pttl spop srandmember sscan time ttl xadd xautoclaim xclaim xinfo|consumers xpending xtrim \
         zrandmember zscan",
    ),
    (
        "nondeterministic_output_order",
        "command command|docs command|info command|list function|list hgetall hkeys hvals module|list sdiff sinter smembers \
         sunion",
    ),
    (
        "request_policy:all_nodes response_policy:all_succeeded",
        "acl|save acl|setuser client|setinfo client|setname config|resetstat config|rewrite config|set script|flush \
         script|load slowlog|reset",
    ),
    (
        "request_policy:all_shards response_policy:all_succeeded",
        "flushall flushdb function|delete function|flush function|load function|restore memory|purge ping",
    ),
    (
        "nondeterministic_output request_policy:all_shards response_policy:special",
        "function|stats info memory|doctor memory|malloc-stats memory|stats",
    ),
    (
        "nondeterministic_output request_policy:all_nodes response_policy:special",
        "latency|doctor latency|graph latency|histogram latency|history latency|latest",
    ),
    ("request_policy:multi_shard response_policy:agg_sum", "del exists touch unlink"),
    ("request_policy:all_shards response_policy:agg_min", "wait waitaof"),
    ("request_policy:all_shards response_policy:one_succeeded", "function|kill script|kill"),
    ("request_policy:all_shards response_policy:special nondeterministic_output", "randomkey"),
    ("request_policy:multi_shard response_policy:all_succeeded", "mset"),
    ("nondeterministic_output request_policy:special response_policy:special", "scan"),
    ("request_policy:multi_shard", "mget"),
    ("request_policy:all_shards response_policy:agg_logical_and", "script|exists"),
    ("request_policy:all_nodes response_policy:agg_sum", "latency|reset"),
    ("request_policy:all_shards response_policy:agg_sum", "dbsize"),
    ("request_policy:all_shards nondeterministic_output_order", "keys"),
    ("request_policy:all_nodes response_policy:agg_sum nondeterministic_output", "slowlog|len"),
    ("request_policy:all_nodes nondeterministic_output", "slowlog|get"),
];

/// The words in front of the list that has the name.
fn of(table: &'static [(&str, &str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(_, names)| names.split(' ').any(|one| one == name)).map(|(words, _)| *words)
}

/// What the command, by its full name, does to the key that is the `nth` from 0 on.
pub(super) fn key_flags(name: &str, nth: usize) -> Vec<&'static str> {
    let groups: Vec<&str> = of(ACCESS, name).unwrap_or_default().split('/').collect();
    groups[nth.min(groups.len() - 1)].split(' ').filter(|word| !word.is_empty()).collect()
}

/// As [`key_flags`], where the other arguments tell more than the name.
pub(super) fn key_flags_of_request(name: &str, nth: usize, request: &[&[u8]]) -> Vec<&'static str> {
    let has = |word: &str| request[1..].iter().any(|argument| argument.eq_ignore_ascii_case(word.as_bytes()));
    match name {
        "bitfield" if !has("SET") && !has("INCRBY") => vec!["RO", "access"],
        "set" if has("GET") => vec!["RW", "access", "update"],
        _ => key_flags(name, nth),
    }
}

pub(super) fn has_no_keys(name: &str) -> bool {
    NO_KEYS.contains(&name)
}

/// Tips for proxies.
pub(super) fn tips(name: &str) -> Vec<&'static str> {
    of(TIPS, name).unwrap_or_default().split(' ').filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{spec::Keys, table};
    use super::*;

    #[test]
    fn every_command_with_keys_says_what_it_does_to_them_and_every_name_is_a_command() {
        let mut names = Vec::new();
        for row in table::all() {
            let rows = row.subcommands.iter().map(|sub| (format!("{}|{}", row.name, sub.name), sub));
            for (name, row) in rows.chain([(row.name.to_owned(), row)]) {
                let is_told = !key_flags(&name, 0).is_empty();
                assert_eq!(is_told, !matches!(row.keys, Keys::None) && !has_no_keys(&name), "{name}");
                names.push(name);
            }
        }
        let told = ACCESS.iter().chain(TIPS).flat_map(|(_, list)| list.split(' ')).chain(NO_KEYS.iter().copied());
        let unknown: Vec<_> = told.filter(|name| !names.iter().any(|known| known == name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
