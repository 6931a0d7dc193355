//! What hashes answer and what they log.

use super::super::console::{Console, assert_rows_are_those_of_redis};

#[test]
fn rows_are_those_of_redis() {
    assert_rows_are_those_of_redis(super::COMMANDS);
}

#[test]
fn fields_are_set_read_and_removed() {
    Console::new().script(
        "hset k a 1 b 2 => :2
         hset k a 3 c 4 => :1
         hget k a => 3
         hget k zz => _
         hmget k a zz => *2 3 _
         hlen k => :3
         hstrlen k a => :1
         hexists k q => :0
         hsetnx k a 9 => :0
         hsetnx k d 9 => :1
         hincrby k a 7 => :10
         hincrbyfloat k n 1.5 => 1.5
         hdel k a b c d zz => :4
         hgetall k => %1 n 1.5
         hdel k n => :1
         exists k => :0
         log => hset k a 1 b 2 | hset k a 3 c 4 | hsetnx k d 9 | hincrby k a 7 | HSET k n 1.5 | hdel k a b c d zz | hdel k n
         hset k a => -ERR wrong number of arguments for 'hset' command
         set s 1 => +OK
         hset s a 1 => -WRONGTYPE Operation against a key holding the wrong kind of value
         hset k w x => :1
         hincrby k w 1 => -ERR hash value is not an integer
         hincrbyfloat k w 1 => -ERR hash value is not a float",
    );
}

#[test]
fn expiries_are_logged_as_absolute_times_and_passed_ones_as_removals() {
    Console::new().script(
        "hset k a 1 b 2 c 3 => :3
         log => hset k a 1 b 2 c 3
         hexpire k 10 fields 3 a b zz => *3 :1 :1 :-2
         log => HPEXPIREAT k 1000000010000 FIELDS 2 a b
         hexpire k 5 gt fields 2 a c => *2 :0 :0
         log =>
         httl k fields 3 a c zz => *3 :10 :-1 :-2
         hpersist k fields 2 a c => *2 :1 :-1
         log => hpersist k fields 2 a c
         hgetex k px 500 fields 1 a => *1 1
         log => HPEXPIREAT k 1000000000500 FIELDS 1 a
         hgetex k persist fields 2 a c => *2 1 3
         log => HPERSIST k FIELDS 1 a
         hpexpireat k 5 fields 1 a => *1 :2
         log => HDEL k a
         hsetex k fnx ex 1 fields 2 d 4 e 5 => :1
         log => HSETEX k PXAT 1000000001000 FIELDS 2 d 4 e 5
         hincrbyfloat k d 0.5 => 4.5
         log => MULTI | HSET k d 4.5 | HPEXPIREAT k 1000000001000 FIELDS 1 d | EXEC
         hpttl k fields 1 d => *1 :1000
         hgetdel k fields 5 b c d e zz => *5 2 3 4.5 5 _
         log => HDEL k b c d e
         exists k => :0",
    );
}

#[test]
fn expired_fields_are_gone_and_their_removal_is_logged() {
    let mut console = Console::new();
    console.script(
        "hset k a 1 b 2 => :2
         hpexpire k 100 fields 1 a => *1 :1
         hset other x 1 => :1
         hpexpire other 100 fields 1 x => *1 :1",
    );
    console.log();
    console.engine.clock.advance(100);
    console.script(
        "hgetall k => %1 b 2
         log => HDEL k a
         hset other y 1 => :1
         hlen other => :1
         log => MULTI | HDEL other x | hset other y 1 | EXEC",
    );
}

#[test]
fn nothing_expires_while_a_log_is_replayed() {
    let mut console = Console::new();
    console.replay("HSET k a 1 b 2");
    console.replay("HPEXPIREAT k 5 FIELDS 1 a");
    console.replay("HSETEX k PXAT 6 FIELDS 1 c 3");
    console.replay("HINCRBY k a 1");
    console.script("log => ");
    console.script(
        "hgetall k => %1 b 2
         log => HDEL k a c",
    );
}

#[test]
fn random_fields_are_distinct_unless_the_count_is_negative() {
    let mut console = Console::new();
    let pairs: String = (0..100).map(|n| format!(" f{n} v{n}")).collect();
    console.run(&format!("hset k{pairs}"));
    for count in [1, 20, 50, 100, 200] {
        let reply = console.run(&format!("hrandfield k {count}"));
        let mut fields: Vec<&str> = reply.split(' ').skip(1).collect();
        assert_eq!(fields.len(), count.min(100));
        fields.sort_unstable();
        fields.dedup();
        assert_eq!(fields.len(), count.min(100));
    }
    assert_eq!(console.run("hrandfield k -200 withvalues").matches("*2 ").count(), 200);
    console.script("hrandfield none => _\nhrandfield none 3 => *0\nhrandfield k 1 x => -ERR syntax error");
}
