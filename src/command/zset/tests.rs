//! What sorted sets answer and what they log.

use super::super::console::{Console, assert_rows_are_those_of_redis};

#[test]
fn rows_are_those_of_redis() {
    assert_rows_are_those_of_redis(super::COMMANDS);
}

#[test]
fn members_are_added_under_conditions() {
    Console::new().script(
        "zadd z 1 a 2 b => :2
         zadd z 1 a 3 b => :0
         zadd z ch 1 a 4 b 5 c => :2
         zadd z nx 9 a 9 d => :1
         zadd z xx 2 a 9 e => :0
         zadd z gt ch 1 a 6 b => :1
         zadd z lt ch 1 a 7 b => :1
         zadd z incr 1.5 a => ,2.5
         zadd z nx incr 1 a => _
         zincrby z 1 a => ,3.5
         zrange z 0 -1 withscores => *4 *2 a ,3.5 *2 c ,5 *2 b ,6 *2 d ,9
         zrank z b => :2
         zrevrank z b withscore => *2 :1 ,6
         zrank z q withscore => _
         zscore z q => _
         zmscore z a q => *2 ,3.5 _
         zrem z a b q => :2
         zcard z => :2
         log => zadd z 1 a 2 b | zadd z 1 a 3 b | zadd z ch 1 a 4 b 5 c | zadd z nx 9 a 9 d | zadd z xx 2 a 9 e | zadd z gt ch 1 a 6 b | zadd z lt ch 1 a 7 b | zadd z incr 1.5 a | zincrby z 1 a | zrem z a b q
         zadd z nx xx 1 a => -ERR XX and NX options at the same time are not compatible
         zadd none xx 1 a => :0
         exists none => :0
         zadd z inf i => :1
         zincrby z -inf i => -ERR resulting score is not a number (NaN)",
    );
}

#[test]
fn ranges_go_by_rank_score_and_member_in_both_directions() {
    Console::new().script(
        "zadd z 1 a 2 b 3 c 4 d => :4
         zrange z 1 -2 => *2 b c
         zrevrange z 0 1 withscores => *2 *2 d ,4 *2 c ,3
         zrange z (1 3 byscore => *2 b c
         zrange z +inf (1 byscore rev limit 1 5 => *2 c b
         zrangebyscore z -inf +inf limit 1 2 => *2 b c
         zrangebyscore z 1 4 limit -1 2 => *0
         zrevrangebyscore z (4 (1 => *2 c b
         zcount z (1 3 => :2
         zcount z 5 1 => :0
         zadd l 0 a 0 b 0 c => :3
         zrangebylex l [b + => *2 b c
         zrevrangebylex l + (a => *2 c b
         zlexcount l - (c => :2
         zremrangebylex l [a [a => :1
         zremrangebyrank l 0 0 => :1
         zremrangebyscore l 0 0 => :1
         exists l => :0
         zrangestore d z 0 1 rev => :2
         zrange d 0 -1 => *2 c d
         zrangestore d z 9 9 => :0
         exists d => :0
         zrange z 0 1 limit 0 1 => -ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX
         zrange z a b byscore => -ERR min or max is not a float
         zrangebylex z a b => -ERR min or max not valid string range item",
    );
}

#[test]
fn pops_take_from_the_ends() {
    Console::new().script(
        "zadd z 1 a 2 b 3 c 4 d => :4
         zpopmin z => *2 a ,1
         zpopmax z 2 => *2 *2 d ,4 *2 c ,3
         log => zadd z 1 a 2 b 3 c 4 d | zpopmin z | zpopmax z 2
         zmpop 2 none z min count 5 => *2 z *1 *2 b ,2
         log => ZPOPMIN z 1
         exists z => :0
         zpopmin z => *0
         zmpop 1 z min => _
         zrandmember z => _
         zrandmember z 2 => *0",
    );
}

#[test]
fn algebra_weighs_and_aggregates() {
    Console::new().script(
        "zadd a 1 x 2 y => :2
         zadd b 10 y 20 z => :2
         sadd s y => :1
         zunion 2 a b withscores => *3 *2 x ,1 *2 y ,12 *2 z ,20
         zunion 2 a b weights 2 1 aggregate max withscores => *3 *2 x ,2 *2 y ,10 *2 z ,20
         zinter 3 a b s withscores => *1 *2 y ,13
         zdiff 2 a s withscores => *1 *2 x ,1
         zinterstore d 2 a b aggregate min => :1
         zscore d y => ,2
         zunionstore d 2 a none => :2
         zdiffstore d 1 none => :0
         exists d => :0
         zintercard 2 a b limit 5 => :1
         zunion 0 a => -ERR at least 1 input key is needed for 'zunion' command
         zunion 3 a b => -ERR syntax error
         zdiff 1 a weights 1 => -ERR syntax error",
    );
}
