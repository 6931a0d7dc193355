"""Sessions of redis-py with a server: `redis_py.py PORT`. Every function below that begins with `session_` runs over
RESP2 and over RESP3, on an empty database. Ends with 1 at the first assertion that does not hold."""

import asyncio
import math
import sys
import threading
import time
import traceback

import redis
import redis.asyncio as aio
from redis.backoff import ExponentialBackoff
from redis.cache import CacheConfig
from redis.retry import Retry

PORT = int(sys.argv[1])


def connect(protocol, **options):
    options = {"decode_responses": True, "socket_timeout": 20, **options}
    return redis.Redis(host="127.0.0.1", port=PORT, protocol=protocol, **options)


def refused(call, kind=redis.ResponseError, word=""):
    """The error that `call` ends with, which must be of this kind and hold this word."""
    try:
        call()
    except kind as error:
        assert word in str(error), error
        return error
    raise AssertionError(f"no {kind.__name__}")


def in_background(*calls):
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def wait_until(holds, seconds=10):
    end = time.time() + seconds
    while not holds():
        assert time.time() < end, "it did not come about"
        time.sleep(0.005)


def session_strings(r, protocol):
    assert r.set("a", "1") is True and r.get("a") == "1" and r.get("nosuch") is None
    assert r.set("a", "2", nx=True) is None and r.set("a", "2", xx=True, get=True) == "1"
    assert r.set("t", "v", ex=100) and 0 < r.ttl("t") <= 100
    assert r.set("t", "w", keepttl=True) and r.pttl("t") > 0
    assert r.getex("t", persist=True) == "w" and r.ttl("t") == -1 and r.ttl("nosuch") == -2
    assert r.getdel("t") == "w" and not r.exists("t")
    assert r.incr("n") == 1 and r.incrby("n", 41) == 42 and r.decr("n", 2) == 40
    assert math.isclose(r.incrbyfloat("f", 0.1), 0.1) and r.incrbyfloat("f", 0.2) == 0.3
    assert r.append("s", "Hello") == 5 and r.setrange("s", 5, " World") == 11
    assert r.getrange("s", 0, 4) == "Hello" and r.strlen("s") == 11 and r.substr("s", -5) == "World"
    assert r.mset({"x": 1, "y": 2}) and r.mget("x", "nosuch", "y") == ["1", None, "2"]
    assert r.msetnx({"y": 3, "z": 4}) is False and r.get("z") is None
    r.mset({"l1": "ohmytext", "l2": "mynewtext"})
    assert r.lcs("l1", "l2") == "mytext" and r.lcs("l1", "l2", len=True) == 6
    assert r.set("e", "v", px=10_000) and r.expiretime("e") > time.time()
    raw = connect(protocol, decode_responses=False)
    every_byte = bytes(range(256)) * 300
    assert raw.set(every_byte[:300], every_byte) and raw.get(every_byte[:300]) == every_byte
    refused(lambda: r.incr("s"), word="not an integer")
    refused(lambda: r.lpush("s", 1), word="WRONGTYPE")


def session_bitmaps_and_hyperloglogs(r, protocol):
    assert r.setbit("b", 7, 1) == 0 and r.getbit("b", 7) == 1 and r.bitcount("b") == 1 and r.bitpos("b", 1) == 7
    r.setbit("c", 6, 1)
    assert r.bitop("OR", "d", "b", "c") == 1 and r.bitcount("d") == 2 and r.get("d") == "\x03"
    field = r.bitfield("f", default_overflow="SAT").set("u8", "#1", 200).incrby("u8", "#1", 100).get("u8", 8)
    assert field.execute() == [0, 255, 255]
    assert r.bitfield_ro("f", "u8", 8) == [255]
    assert r.pfadd("h", *range(1000)) == 1 and abs(r.pfcount("h") - 1000) < 30
    r.pfadd("i", *range(500, 1500))
    assert r.pfmerge("j", "h", "i") and abs(r.pfcount("j") - 1500) < 45 and r.pfcount("h", "i") == r.pfcount("j")


def session_lists(r, protocol):
    assert r.rpush("l", *"abcde") == 5 and r.lpush("l", "z") == 6 and r.llen("l") == 6
    assert r.lrange("l", 0, -1) == list("zabcde") and r.lindex("l", -1) == "e" and r.lindex("l", 9) is None
    assert r.lpos("l", "c") == 3 and r.linsert("l", "BEFORE", "c", "x") == 7 and r.lset("l", 0, "y")
    assert r.lrem("l", 1, "x") == 1 and r.ltrim("l", 1, 4) and r.lrange("l", 0, -1) == list("abcd")
    assert r.lpop("l") == "a" and r.rpop("l", 2) == ["d", "c"] and r.lpop("nosuch") is None and r.lpop("nosuch", 2) is None
    assert r.lmove("l", "m", "LEFT", "RIGHT") == "b" and not r.exists("l")
    r.rpush("m", "c", "d")
    assert r.lmpop(2, "l", "m", direction="RIGHT", count=2) == ["m", ["d", "c"]] and r.rpoplpush("m", "n") == "b"
    assert r.lpushx("nosuch", "v") == 0
    r.rpush("numbers", 3, 1, 2)
    assert r.sort("numbers") == ["1", "2", "3"] and r.sort("numbers", desc=True, start=0, num=2) == ["3", "2"]
    r.mset({"w3": "a", "w1": "c", "w2": "b"})
    assert r.sort("numbers", by="w*", get=["#", "w*"], alpha=True, groups=True) == [("3", "a"), ("2", "b"), ("1", "c")]
    assert r.sort("numbers", store="sorted") == 3 and r.lrange("sorted", 0, -1) == ["1", "2", "3"]
    assert r.sort_ro("numbers") == ["1", "2", "3"]


def session_hashes(r, protocol):
    assert r.hset("h", mapping={"a": 1, "b": 2}) == 2 and r.hset("h", "c", 3) == 1 and r.hsetnx("h", "c", 4) == 0
    assert r.hgetall("h") == {"a": "1", "b": "2", "c": "3"} and r.hmget("h", "a", "nosuch") == ["1", None]
    assert r.hincrby("h", "a", 9) == 10 and r.hincrbyfloat("h", "f", 1.5) == 1.5 and r.hstrlen("h", "f") == 3
    assert sorted(r.hkeys("h")) == ["a", "b", "c", "f"] and len(r.hvals("h")) == 4 and r.hlen("h") == 4
    assert r.hexists("h", "a") is True and r.hdel("h", "f", "nosuch") == 1
    assert set(r.hrandfield("h", 2)) <= {"a", "b", "c"} and len(r.hrandfield("h", -7)) == 7
    pairs = r.hrandfield("h", 3, withvalues=True)
    flat = [part for pair in pairs for part in pair] if isinstance(pairs[0], list) else pairs
    assert dict(zip(flat[::2], flat[1::2])) == r.hgetall("h")
    assert r.hexpire("h", 100, "a", "nosuch") == [1, -2] and 0 < r.httl("h", "a")[0] <= 100
    assert r.hpexpire("h", 100_000, "b", nx=True) == [1] and r.hpersist("h", "a", "c") == [1, -1]
    assert r.hexpiretime("h", "b")[0] > time.time() and r.hexpireat("h", 1, "b") == [2] and not r.hexists("h", "b")
    assert r.hgetex("h", "a", ex=100) == ["10"] and r.hsetex("h", mapping={"k": "v"}, ex=100) == 1
    assert r.hgetdel("h", "k") == ["v"]
    big = {f"field{i}": i for i in range(1000)}
    r.hset("big", mapping=big)
    assert len(dict(r.hscan_iter("big", count=50))) == 1000
    assert len(list(r.hscan_iter("big", match="field99*", no_values=True))) == 11


def session_sets(r, protocol):
    assert r.sadd("s", *"abc") == 3 and r.smembers("s") == set("abc") and r.scard("s") == 3
    r.sadd("t", *"bcd")
    assert r.sinter("s", "t") == set("bc") and r.sunion("s", "t") == set("abcd") and r.sdiff("s", "t") == {"a"}
    assert r.sinterstore("u", "s", "t") == 2 and r.sintercard(2, ["s", "t"], limit=1) == 1
    assert r.sunionstore("u", "s", "t") == 4 and r.sdiffstore("v", "s", "t") == 1
    assert r.sismember("s", "a") and r.smismember("s", ["a", "z"]) == [1, 0] and r.smove("s", "t", "a") is True
    assert r.srem("t", "a", "z") == 1 and r.spop("v") == "a" and r.srandmember("s") in "bc"
    assert len(r.srandmember("s", -5)) == 5 and set(r.spop("s", 5)) == set("bc")
    r.sadd("big", *range(3000))
    assert {int(member) for member in r.sscan_iter("big", count=100)} == set(range(3000))


def session_sorted_sets(r, protocol):
    assert r.zadd("z", {"a": 1, "b": 2, "c": 3}) == 3 and r.zadd("z", {"a": 5}, gt=True, ch=True) == 1
    assert r.zadd("z", {"a": 2}, incr=True) == 7.0 and r.zadd("z", {"n": 1}, xx=True) == 0
    assert r.zscore("z", "a") == 7.0 and r.zscore("z", "nosuch") is None and r.zmscore("z", ["b", "nosuch"]) == [2.0, None]
    assert r.zrange("z", 0, -1) == ["b", "c", "a"] and r.zrevrange("z", 0, 0) == ["a"]
    with_scores = [tuple(pair) for pair in r.zrange("z", 0, -1, withscores=True)]
    assert with_scores == [("b", 2.0), ("c", 3.0), ("a", 7.0)]
    assert r.zrange("z", "(2", "+inf", byscore=True, offset=0, num=1) == ["c"] and r.zcount("z", 2, 3) == 2
    assert r.zrank("z", "a") == 2 and r.zrevrank("z", "a") == 0 and list(r.zrank("z", "a", withscore=True)) == [2, 7.0]
    assert r.zincrby("z", 0.5, "b") == 2.5 and r.zcard("z") == 3 and r.zrangebyscore("z", "-inf", 3) == ["b", "c"]
    r.zadd("lex", dict.fromkeys("abcdef", 0))
    assert r.zrangebylex("lex", "[b", "(e") == list("bcd") and r.zlexcount("lex", "-", "+") == 6
    assert r.zrange("lex", "[e", "[b", bylex=True, desc=True) == list("edcb") and r.zremrangebylex("lex", "-", "(c") == 2
    assert r.zrangestore("copy", "z", 0, 1) == 2 and r.zremrangebyrank("copy", 0, 0) == 1
    assert r.zremrangebyscore("copy", 0, 100) == 1
    assert r.zunionstore("u", {"z": 2, "lex": 1}, aggregate="MAX") == 6 and r.zscore("u", "a") == 14.0
    r.zadd("y", {"a": 1, "c": 1})
    assert r.zinter(["z", "y"]) == ["c", "a"] and r.zintercard(2, ["z", "y"]) == 2 and r.zdiff(["z", "y"]) == ["b"]
    assert dict(map(tuple, r.zunion(["z", "y"], withscores=True))) == {"b": 2.5, "c": 4.0, "a": 8.0}
    assert r.zinterstore("i", ["z", "y"]) == 2 and r.zdiffstore("d", ["z", "y"]) == 1
    assert r.zpopmin("z") in ([("b", 2.5)], ["b", 2.5]) and r.zpopmax("z", 1) in ([("a", 7.0)], [["a", 7.0]])
    who, elements = r.zmpop(2, ["nosuch", "z"], min=True)
    assert who == "z" and [list(pair) for pair in elements] in ([["c", 3.0]], [["c", "3"]])
    r.zadd("inf", {"low": "-inf", "high": "inf"})
    assert r.zscore("inf", "high") == math.inf and r.zrandmember("inf") in ("low", "high")
    r.zadd("big", {f"m{i}": i / 8 for i in range(2000)})
    assert {member: float(score) for member, score in r.zscan_iter("big")} == {f"m{i}": i / 8 for i in range(2000)}


def session_streams(r, protocol):
    first = r.xadd("s", {"a": 1}, id="1-1")
    assert first == "1-1" and r.xadd("s", {"b": 2}, id="1-*") == "1-2" and r.xadd("nosuch", {"a": 1}, nomkstream=True) is None
    for number in range(3, 8):
        r.xadd("s", {"n": number}, id=f"{number}-0")
    assert r.xlen("s") == 7 and r.xrange("s", "1-1", "1-1") == [("1-1", {"a": "1"})]
    assert [entry for entry, _ in r.xrevrange("s", count=2)] == ["7-0", "6-0"]
    read = r.xread({"s": "6-0"}, count=5)
    assert (dict(read) if isinstance(read, list) else read)["s"] in ([("7-0", {"n": "7"})], [[("7-0", {"n": "7"})]])
    assert r.xgroup_create("s", "g", id="0") is True and r.xgroup_createconsumer("s", "g", "idle") == 1
    refused(lambda: r.xgroup_create("s", "g"), word="BUSYGROUP")
    took = r.xreadgroup("g", "alice", {"s": ">"}, count=3)
    entries = (dict(took) if isinstance(took, list) else took)["s"]
    entries = entries[0] if isinstance(entries[0], list) else entries
    assert [entry for entry, _ in entries] == ["1-1", "1-2", "3-0"]
    assert r.xack("s", "g", "1-1") == 1 and r.xpending("s", "g")["pending"] == 2
    pending = r.xpending_range("s", "g", "-", "+", 10, consumername="alice")
    assert [row["message_id"] for row in pending] == ["1-2", "3-0"] and pending[0]["times_delivered"] == 1
    assert [entry for entry, _ in r.xclaim("s", "g", "bob", 0, ["1-2"])] == ["1-2"]
    assert r.xautoclaim("s", "g", "carol", 0, justid=True) == ["1-2", "3-0"]
    cursor, claimed, deleted = r.xautoclaim("s", "g", "dave", 0, start_id="2", count=1)
    assert [entry for entry, _ in claimed] == ["3-0"] and deleted == []
    groups = r.xinfo_groups("s")
    assert groups[0]["name"] == "g" and groups[0]["pending"] == 2 and groups[0]["lag"] == 4
    assert {row["name"] for row in r.xinfo_consumers("s", "g")} == {"idle", "alice", "bob", "carol", "dave"}
    info = r.xinfo_stream("s")
    assert info["length"] == 7 and info["first-entry"] == ("1-1", {"a": "1"}) and info["last-generated-id"] == "7-0"
    assert r.xinfo_stream("s", full=True)["groups"][0]["pel-count"] == 2
    assert r.xdel("s", "7-0") == 1 and r.xtrim("s", maxlen=3, approximate=False) == 3
    assert r.xgroup_delconsumer("s", "g", "dave") == 1 and r.xgroup_setid("s", "g", "0") and r.xgroup_destroy("s", "g") == 1
    refused(lambda: r.xadd("s", {"a": 1}, id="1-1"), word="equal or smaller")


def session_geo(r, protocol):
    assert r.geoadd("g", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")) == 2
    assert math.isclose(r.geodist("g", "Palermo", "Catania", unit="km"), 166.2742, abs_tol=0.0001)
    assert r.geohash("g", "Palermo") == ["sqc8b49rny0"] and math.isclose(r.geopos("g", "Catania")[0][0], 15.087269, abs_tol=1e-5)
    assert r.geosearch("g", longitude=15, latitude=37, radius=100, unit="km") == ["Catania"]
    rows = r.geosearch("g", member="Palermo", width=400, height=400, unit="km", withdist=True, withcoord=True, sort="ASC")
    assert [row[0] for row in rows] == ["Palermo", "Catania"] and rows[0][1] == 0.0
    assert r.geosearchstore("near", "g", longitude=15, latitude=37, radius=500, unit="km", storedist=True) == 2
    assert 50_000 > r.zscore("near", "Catania") > 50


def session_keys(r, protocol):
    r.mset({f"key:{i}": i for i in range(500)})
    r.sadd("set", "a")
    assert {key for key in r.scan_iter(match="key:*", count=30)} == {f"key:{i}" for i in range(500)}
    assert list(r.scan_iter(_type="set")) == ["set"] and r.dbsize() == 501 and len(r.keys("key:1?")) == 10
    assert r.type("set") == "set" and r.type("nosuch") == "none" and r.randomkey() is not None
    assert r.rename("key:1", "k1") and r.renamenx("k1", "set") is False and r.copy("set", "set2") is True
    dumped = connect(protocol, decode_responses=False).dump("set")
    assert r.restore("back", 0, dumped) and r.smembers("back") == {"a"}
    refused(lambda: r.restore("back", 0, dumped), word="BUSYKEY")
    refused(lambda: r.restore("other", 0, b"no dump"), word="checksum")
    assert r.expire("back", 100) is True and r.expire("back", 50, gt=True) is False and r.persist("back") is True
    assert r.expireat("back", int(time.time()) + 100) and r.pexpiretime("back") > 1000 * time.time()
    assert r.touch("back", "nosuch") == 1 and r.unlink("back") == 1 and r.delete("set", "nosuch") == 1
    assert r.object("encoding", "set2") == "listpack" and r.object("refcount", "set2") == 1
    assert r.object("idletime", "set2") is not None and r.memory_usage("set2") > 0
    assert r.move("set2", 1) is True and connect(protocol, db=1).smembers("set2") == {"a"}
    assert r.swapdb(0, 1) and r.exists("set2") == 1 and r.swapdb(0, 1)
    r.set("short", "v", px=40)
    wait_until(lambda: r.get("short") is None)
    assert r.wait(0, 10) == 0 and r.flushdb() is True and r.dbsize() == 0


def session_pipelines(r, protocol):
    with r.pipeline(transaction=False) as pipe:
        for number in range(10_000):
            pipe.set(f"p{number}", number)
        assert all(pipe.execute())
        for number in range(10_000):
            pipe.get(f"p{number}")
        assert pipe.execute() == [str(number) for number in range(10_000)]
        replies = pipe.incr("p1").lpush("p1", "x").get("p1").execute(raise_on_error=False)
        assert replies[0] == 2 and isinstance(replies[1], redis.ResponseError) and replies[2] == "2"
    with r.pipeline(transaction=True) as pipe:
        assert pipe.set("t", 1).incr("t").hset("h", "f", "v").hgetall("h").execute() == [True, 2, 1, {"f": "v"}]
        pipe.incr("t").execute_command("NOSUCHCOMMAND")
        refused(pipe.execute, redis.ResponseError, "unknown command")
        pipe.reset()
        assert r.get("t") == "2", "nothing of a transaction with a wrong command is done"


def session_transactions(r, protocol):
    other = connect(protocol)
    r.set("watched", 1)
    with r.pipeline() as pipe:
        pipe.watch("watched")
        value = int(pipe.get("watched"))
        other.set("watched", 10)
        pipe.multi()
        pipe.set("watched", value + 1)
        refused(pipe.execute, redis.WatchError)
    assert r.get("watched") == "10"

    def transfer(pipe):
        balance = int(pipe.get("watched"))
        pipe.multi()
        pipe.set("watched", balance + 5)

    r.transaction(transfer, "watched")
    assert r.get("watched") == "15"
    counters = [connect(protocol) for _ in range(4)]

    def count(client):
        for _ in range(25):
            client.transaction(lambda pipe: (lambda n: (pipe.multi(), pipe.set("n", n + 1)))(int(pipe.get("n") or 0)), "n")

    for thread in in_background(*[lambda client=client: count(client) for client in counters]):
        thread.join()
    assert r.get("n") == "100", "optimistic locks lose no increment"


def messages(subscriber, count):
    collected, end = [], time.time() + 10
    while len(collected) < count:
        assert time.time() < end, collected
        message = subscriber.get_message(timeout=1)
        if message is not None:
            collected.append(message)
    return collected


def session_pubsub(r, protocol):
    subscriber = r.pubsub()
    subscriber.subscribe("news")
    subscriber.psubscribe("n*")
    assert [m["type"] for m in messages(subscriber, 2)] == ["subscribe", "psubscribe"]
    assert r.publish("news", "hello") == 2 and r.publish("other", "x") == 0
    received = messages(subscriber, 2)
    assert {(m["type"], m["pattern"], m["data"]) for m in received} == {("message", None, "hello"), ("pmessage", "n*", "hello")}
    assert r.pubsub_channels() == ["news"] and r.pubsub_numpat() == 1
    assert [tuple(pair) for pair in r.pubsub_numsub("news", "x")] == [("news", 1), ("x", 0)]
    if protocol == 2:
        subscriber.ping("still there")
        assert messages(subscriber, 1)[0]["type"] == "pong"
    subscriber.ssubscribe("shard")
    messages(subscriber, 1)
    assert r.execute_command("SPUBLISH", "shard", "s") == 1 and messages(subscriber, 1)[0]["type"] == "smessage"
    subscriber.unsubscribe("news")
    subscriber.punsubscribe()
    assert {m["type"] for m in messages(subscriber, 2)} == {"unsubscribe", "punsubscribe"}
    subscriber.close()
    handled = []
    with r.pubsub(ignore_subscribe_messages=True) as subscriber:
        subscriber.subscribe(**{"calls": lambda message: handled.append(message["data"])})
        thread = subscriber.run_in_thread(sleep_time=0.01)
        wait_until(lambda: r.publish("calls", "called") == 1)
        wait_until(lambda: "called" in handled)
        thread.stop()
        thread.join()


def session_keyspace_notifications(r, protocol):
    r.config_set("notify-keyspace-events", "KEA")
    with r.pubsub(ignore_subscribe_messages=True) as subscriber:
        subscriber.psubscribe("__key*__:*")
        wait_until(lambda: r.pubsub_numpat() == 1)
        r.set("k", "v", px=30)
        wait_until(lambda: r.get("k") is None)
        seen = []
        wait_until(lambda: (seen.extend(filter(None, [subscriber.get_message(timeout=0.1)])) or
                            ("__keyevent@0__:expired", "k") in [(m["channel"], m["data"]) for m in seen]))
        assert ("__keyspace@0__:k", "set") in [(m["channel"], m["data"]) for m in seen]
    r.config_set("notify-keyspace-events", "")


def session_blocking(r, protocol):
    results = {}

    def waits(name, call):
        def run():
            client = connect(protocol)
            results[name] = call(client)
        return run

    started = in_background(
        waits("blpop", lambda c: c.blpop(["q1", "q2"], timeout=10)),
        waits("bzpopmin", lambda c: c.bzpopmin("z", timeout=10)),
        waits("blmove", lambda c: c.blmove("src", "dst", 10)),
        waits("xread", lambda c: c.xread({"st": "$"}, block=10_000)),
        waits("timeout", lambda c: c.brpop("never", timeout=0.05)),
        waits("bzmpop", lambda c: c.bzmpop(10, 2, ["z1", "z2"], min=True)),
        waits("blmpop", lambda c: c.blmpop(10, 1, "lm", direction="LEFT", count=2)),
    )
    wait_until(lambda: int(r.info("clients")["blocked_clients"]) == 6)
    assert r.rpush("q2", "x") == 1 and r.zadd("z", {"m": 1}) == 1 and r.rpush("src", "moved") == 1
    r.xadd("st", {"f": "v"}, id="5-5")
    r.zadd("z2", {"m": 3})
    r.rpush("lm", "1", "2", "3")
    for thread in started:
        thread.join(10)
    assert list(results["blpop"]) == ["q2", "x"] and list(results["bzpopmin"])[:2] == ["z", "m"]
    assert results["blmove"] == "moved" and r.lrange("dst", 0, -1) == ["moved"] and results["timeout"] is None
    assert "5-5" in str(results["xread"]) and results["bzmpop"][0] == "z2" and results["blmpop"] == ["lm", ["1", "2"]]
    seen = {}

    def interrupted():
        client = connect(protocol)
        seen["id"] = client.client_id()
        seen["error"] = refused(lambda: client.blpop("never", timeout=10), word="UNBLOCKED")

    threads = in_background(interrupted)
    wait_until(lambda: "id" in seen and r.client_unblock(seen["id"], error=True))
    threads[0].join(10)
    assert "error" in seen


def session_clients_and_pools(r, protocol):
    named = connect(protocol, client_name="named-by-test")
    assert named.client_getname() == "named-by-test" and named.client_info()["lib-name"].startswith("redis-py")
    assert named.client_setname("other") and named.client_id() > 0
    assert "other" in [row["name"] for row in r.client_list()] and str(protocol) == named.client_info()["resp"]
    assert len(r.client_list(client_id=[named.client_id()])) == 1 and r.client_no_evict("ON") and r.client_no_touch("ON")
    assert r.client_kill_filter(_id=str(named.client_id())) == 1
    assert named.get("a") is None, "redis-py connects again by itself"
    pool = redis.BlockingConnectionPool(host="127.0.0.1", port=PORT, protocol=protocol, max_connections=3, timeout=10)
    workers = [redis.Redis(connection_pool=pool) for _ in range(8)]

    def work(client):
        for _ in range(200):
            client.incr("pooled")

    for thread in in_background(*[lambda worker=worker: work(worker) for worker in workers]):
        thread.join()
    assert r.get("pooled") == "1600"
    assert r.client_pause(50, all=False) and r.get("pooled") == "1600"
    started = time.time()
    assert r.incr("pooled") == 1601 and time.time() - started < 5 and r.client_unpause()
    retrying = connect(protocol, retry=Retry(ExponentialBackoff(base=0.01, cap=0.1), 5), retry_on_error=[redis.ConnectionError])
    retrying.client_setname("retrying")
    r.client_kill_filter(_type="normal", skipme=True)
    assert retrying.incr("retried") == 1
    with connect(protocol, single_connection_client=True) as single:
        assert single.ping() is True
    refused(lambda: connect(protocol, username="nobody", password="wrong").ping(), redis.AuthenticationError)
    refused(lambda: connect(protocol, db=99).ping(), redis.ResponseError, "out of range")


def session_client_side_caching(r, protocol):
    if protocol != 3:
        return
    cached = connect(3, cache_config=CacheConfig())
    r.set("cached", "1")
    assert cached.get("cached") == "1" and cached.get("cached") == "1" and cached.get_cache().size == 1
    r.set("cached", "2")
    wait_until(lambda: cached.get("cached") == "2", 5)


def session_server(r, protocol):
    assert r.ping() is True and r.echo("e") == "e" and abs(r.time()[0] - time.time()) < 60
    info = r.info()
    assert info["redis_mode"] == "standalone" and info["cluster_enabled"] == 0 and info["role"] == "master"
    assert "cmdstat_info" in r.info("commandstats") and r.config_get("maxmemory*")["maxmemory-policy"] == "noeviction"
    refused(lambda: r.execute_command("CLUSTER", "SLOTS"), word="cluster support disabled")
    refused(lambda: r.execute_command("NOSUCH", "x"), word="unknown command 'NOSUCH', with args beginning with: 'x' ")
    refused(lambda: r.execute_command("GET"), word="wrong number of arguments for 'get'")
    assert r.command_count() > 200 and r.command_getkeys("MSET", "a", 1, "b", 2) == ["a", "b"] and "get" in r.command()
    assert r.role()[0] == "master" and r.lastsave() is not None and r.acl_whoami() == "default"
    assert r.acl_users() == ["default"] and "string" in r.acl_cat() and r.acl_getuser("default")["enabled"] is True
    assert len(r.acl_genpass()) == 64 and r.acl_dryrun("default", "get", "k") in (True, "OK", b"OK")
    r.config_set("slowlog-log-slower-than", 0)
    r.slowlog_reset()
    r.set("slow", "x" * 200)
    entries = r.slowlog_get(10)
    assert any("SET slow" in (e["command"].decode() if isinstance(e["command"], bytes) else e["command"]) for e in entries)
    assert r.slowlog_len() >= 1 and all(entry["duration"] >= 0 for entry in entries)
    r.config_set("slowlog-log-slower-than", 10_000)
    assert r.latency_reset() is not None and r.latency_latest() == []
    assert isinstance(r.module_list(), list) and r.memory_stats()["keys.count"] >= 1
    with r.monitor() as monitor:
        r.set("monitored", 1)
        for entry in monitor.listen():
            if "monitored" in entry["command"]:
                assert entry["command"] == "SET monitored 1" and entry["client_type"] == "tcp"
                break


def session_asyncio(r, protocol):
    async def run():
        client = aio.Redis(host="127.0.0.1", port=PORT, protocol=protocol, decode_responses=True)
        await asyncio.gather(*(client.incr("async") for _ in range(100)))
        assert await client.get("async") == "100"
        async with client.pipeline(transaction=True) as pipe:
            assert await pipe.set("p", "1").incr("p").execute() == [True, 2]
        popped = asyncio.create_task(client.blpop(["aq"], timeout=10))
        await asyncio.sleep(0.02)
        await client.rpush("aq", "v")
        assert list(await popped) == ["aq", "v"]
        assert {key async for key in client.scan_iter()} == {"async", "p"}
        async with client.pubsub() as subscriber:
            await subscriber.subscribe("ch")
            await client.publish("ch", "m") or await client.publish("ch", "m")
            for _ in range(100):
                message = await subscriber.get_message(ignore_subscribe_messages=True, timeout=0.1)
                if message:
                    break
            assert message["data"] == "m"
        await client.aclose()

    asyncio.run(run())


def main():
    sessions = [(name, run) for name, run in globals().items() if name.startswith("session_")]
    only = sys.argv[2:]
    failures = 0
    for protocol in (2, 3):
        for name, run in sessions:
            if only and name.removeprefix("session_") not in only:
                continue
            client = connect(protocol)
            client.flushall()
            try:
                run(client, protocol)
            except Exception:
                failures += 1
                print(f"{name} over RESP{protocol}:")
                traceback.print_exc(limit=-3, file=sys.stdout)
            client.close()
    print(f"redis-py {redis.__version__}: {len(sessions)} sessions over both protocols, {failures} failed")
    sys.exit(1 if failures else 0)


main()
