// Sessions of ioredis with a server: `ioredis.js PORT`, over RESP2 and RESP3 where the client has it, each on an empty
// database. Ends with 1 at the first assertion that does not hold.

const assert = require("node:assert/strict");
const Redis = require("ioredis");
const { version } = require("ioredis/package.json");

const port = Number(process.argv[2]);
const only = process.argv.slice(3);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function waitUntil(holds, ms = 10000) {
  for (const end = Date.now() + ms; ; await sleep(5)) {
    if (await holds()) return;
    assert.ok(Date.now() < end, `it did not come about: ${holds}`);
  }
}

const sessions = {
  async strings(redis) {
    assert.equal(await redis.set("k", "v"), "OK");
    assert.equal(await redis.get("k"), "v");
    assert.equal(await redis.get("nosuch"), null);
    assert.equal(await redis.set("k", "w", "EX", 100, "NX"), null);
    assert.equal(await redis.set("k", "w", "PX", 100000, "XX", "GET"), "v");
    assert.ok((await redis.pttl("k")) > 90000);
    assert.deepEqual(await redis.mset(new Map([["a", 1], ["b", 2]])), "OK");
    assert.deepEqual(await redis.mget("a", "nosuch", "b"), ["1", null, "2"]);
    assert.equal(await redis.incrby("a", 41), 42);
    assert.equal(await redis.incrbyfloat("a", 0.5), "42.5");
    assert.equal(await redis.append("b", "xyz"), 4);
    assert.equal(await redis.getrange("b", 1, -1), "xyz");
    const bytes = Buffer.from(Array.from({ length: 65536 }, (_, index) => index % 256));
    await redis.set(bytes.subarray(0, 256), bytes);
    assert.ok(bytes.equals(await redis.getBuffer(bytes.subarray(0, 256))));
    await assert.rejects(redis.incr("b"), /value is not an integer or out of range/);
    await assert.rejects(redis.lpush("b", 1), /WRONGTYPE/);
    assert.equal(await redis.setbit("bits", 7, 1), 0);
    assert.deepEqual(await redis.bitfield("bits", "GET", "u8", 0, "INCRBY", "u8", 0, 2), [1, 3]);
    assert.equal(await redis.pfadd("hll", "a", "b", "c"), 1);
    assert.equal(await redis.pfcount("hll"), 3);
  },

  async collections(redis) {
    assert.equal(await redis.rpush("l", "a", "b", "c"), 3);
    assert.deepEqual(await redis.lrange("l", 0, -1), ["a", "b", "c"]);
    assert.deepEqual(await redis.lmpop(1, "l", "LEFT", "COUNT", 2), ["l", ["a", "b"]]);
    assert.equal(await redis.lmove("l", "m", "LEFT", "RIGHT"), "c");
    assert.equal(await redis.hset("h", { a: 1, b: 2 }), 2);
    assert.deepEqual({ ...(await redis.hgetall("h")) }, { a: "1", b: "2" });
    assert.deepEqual(await redis.hmget("h", "a", "z"), ["1", null]);
    assert.deepEqual(await redis.hexpire("h", 100, "FIELDS", 2, "a", "z"), [1, -2]);
    assert.equal(await redis.sadd("s", 1, 2, 3), 3);
    assert.deepEqual((await redis.smembers("s")).sort(), ["1", "2", "3"]);
    assert.deepEqual(await redis.smismember("s", 1, 9), [1, 0]);
    assert.equal(await redis.sintercard(2, "s", "s"), 3);
    assert.equal(await redis.zadd("z", 1, "one", 2, "two", 3.5, "more"), 3);
    assert.deepEqual(await redis.zrange("z", 0, -1), ["one", "two", "more"]);
    assert.equal(Number(await redis.zscore("z", "more")), 3.5);
    assert.deepEqual((await redis.zrange("z", "(1", "+inf", "BYSCORE", "WITHSCORES")).flat().map(String), [
      "two", "2", "more", "3.5",
    ]);
    assert.deepEqual((await redis.zpopmin("z", 1)).flat().map(String), ["one", "1"]);
    assert.equal(await redis.geoadd("g", 13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania"), 2);
    assert.equal(await redis.geodist("g", "Palermo", "Catania", "km"), "166.2742");
    assert.deepEqual(await redis.geosearch("g", "FROMLONLAT", 15, 37, "BYRADIUS", 100, "km"), ["Catania"]);
    assert.deepEqual(await redis.sort("s", "DESC", "LIMIT", 0, 2), ["3", "2"]);
  },

  async streams(redis) {
    assert.equal(await redis.xadd("x", "1-1", "f", "v", "g", "w"), "1-1");
    assert.equal(await redis.xadd("x", "1-*", "f", "2"), "1-2");
    assert.deepEqual(await redis.xrange("x", "-", "+"), [["1-1", ["f", "v", "g", "w"]], ["1-2", ["f", "2"]]]);
    assert.equal(await redis.xgroup("CREATE", "x", "workers", "0"), "OK");
    const took = await redis.xreadgroup("GROUP", "workers", "w1", "COUNT", 1, "STREAMS", "x", ">");
    assert.match(JSON.stringify(took), /1-1/);
    assert.equal(await redis.xack("x", "workers", "1-1"), 1);
    await redis.xreadgroup("GROUP", "workers", "w1", "STREAMS", "x", ">");
    assert.deepEqual((await redis.xpending("x", "workers", "-", "+", 10)).map((row) => row.slice(0, 2)), [["1-2", "w1"]]);
    assert.deepEqual((await redis.xautoclaim("x", "workers", "w2", 0, "0"))[1], [["1-2", ["f", "2"]]]);
    assert.match(JSON.stringify(await redis.xinfo("STREAM", "x", "FULL")), /workers/);
    const reader = redis.duplicate();
    const waiting = reader.xread("BLOCK", 10000, "STREAMS", "x", "$");
    await waitUntil(async () => /blocked_clients:1/.test(await redis.info("clients")));
    await redis.xadd("x", "9-9", "late", "yes");
    assert.match(JSON.stringify(await waiting), /9-9/);
    reader.disconnect();
  },

  async pipelines(redis) {
    const pipeline = redis.pipeline();
    for (let index = 0; index < 5000; index++) pipeline.set(`p${index}`, index);
    for (let index = 0; index < 5000; index++) pipeline.get(`p${index}`);
    const replies = await pipeline.exec();
    assert.ok(replies.slice(0, 5000).every(([error, reply]) => error === null && reply === "OK"));
    assert.ok(replies.slice(5000).every(([error, reply], index) => error === null && reply === String(index)));
    const [[, one], [error], [, last]] = await redis.pipeline().incr("n").lpush("n", 1).get("n").exec();
    assert.equal(one, 1);
    assert.match(error.message, /WRONGTYPE/);
    assert.equal(last, "1");
    const auto = redis.duplicate({ enableAutoPipelining: true });
    const counts = await Promise.all(Array.from({ length: 200 }, () => auto.incr("auto")));
    assert.equal(Math.max(...counts), 200);
    auto.disconnect();
  },

  async transactions(redis) {
    assert.deepEqual(await redis.multi().set("t", 1).incr("t").get("t").exec(), [[null, "OK"], [null, 2], [null, "2"]]);
    await redis.watch("t");
    const other = redis.duplicate();
    await other.set("t", 50);
    assert.equal(await redis.multi().set("t", 3).exec(), null);
    assert.equal(await redis.get("t"), "50");
    await redis.watch("t");
    await redis.unwatch();
    await other.set("t", 51);
    assert.deepEqual(await redis.multi().incr("t").exec(), [[null, 52]]);
    await assert.rejects(redis.multi().set("t").exec(), /EXECABORT/);
    assert.equal(await redis.multi({ pipeline: false }), "OK");
    assert.equal(await redis.incr("t"), "QUEUED");
    assert.equal(await redis.discard(), "OK");
    assert.equal(await redis.get("t"), "52");
    other.disconnect();
  },

  async pubsub(redis) {
    const subscriber = redis.duplicate();
    const seen = [];
    subscriber.on("message", (channel, message) => seen.push(`${channel}=${message}`));
    subscriber.on("pmessage", (pattern, channel, message) => seen.push(`${pattern}:${channel}=${message}`));
    subscriber.on("smessage", (channel, message) => seen.push(`shard ${channel}=${message}`));
    assert.equal(await subscriber.subscribe("news", "talk"), 2);
    assert.equal(await subscriber.psubscribe("n*"), 3);
    await subscriber.ssubscribe("part");
    assert.equal(await redis.publish("news", "hello"), 2);
    assert.equal(await redis.publish("talk", "hm"), 1);
    assert.equal(await redis.spublish("part", "p"), 1);
    await waitUntil(() => seen.length === 4);
    assert.deepEqual(seen.sort(), ["n*:news=hello", "news=hello", "shard part=p", "talk=hm"]);
    assert.deepEqual((await redis.pubsub("CHANNELS")).sort(), ["news", "talk"]);
    assert.equal(await subscriber.unsubscribe("talk"), 2);
    assert.equal(await redis.publish("talk", "nobody"), 0);
    subscriber.disconnect();
    await redis.config("SET", "notify-keyspace-events", "Ex");
    const listener = redis.duplicate();
    const expired = [];
    listener.on("message", (_, key) => expired.push(key));
    await listener.subscribe("__keyevent@0__:expired");
    await redis.set("short", "v", "PX", 30);
    await waitUntil(() => expired.includes("short"));
    await redis.config("SET", "notify-keyspace-events", "");
    listener.disconnect();
  },

  async blocking(redis) {
    const waiter = redis.duplicate();
    const popped = waiter.blpop("q1", "q2", 10);
    await waitUntil(async () => /blocked_clients:1/.test(await redis.info("clients")));
    await redis.rpush("q2", "job");
    assert.deepEqual(await popped, ["q2", "job"]);
    assert.equal(await waiter.blpop("q1", 0.02), null);
    const id = await waiter.client("ID");
    const interrupted = assert.rejects(waiter.bzpopmax("z", 10), /UNBLOCKED/);
    await waitUntil(async () => (await redis.client("UNBLOCK", id, "ERROR")) === 1);
    await interrupted;
    waiter.disconnect();
  },

  async scanning(redis) {
    const pipeline = redis.pipeline();
    for (let index = 0; index < 1000; index++) pipeline.set(`scan:${index}`, index).hset("hash", `f${index}`, index);
    pipeline.sadd("set", ...Array.from({ length: 1000 }, (_, index) => `m${index}`));
    pipeline.zadd("zset", ...Array.from({ length: 1000 }, (_, index) => [index, `m${index}`]).flat());
    await pipeline.exec();
    const collect = async (stream) => {
      const found = new Set();
      for await (const part of stream) part.forEach((item) => found.add(item));
      return found;
    };
    assert.equal((await collect(redis.scanStream({ match: "scan:*", count: 70 }))).size, 1000);
    assert.equal((await collect(redis.sscanStream("set"))).size, 1000);
    assert.ok((await collect(redis.hscanStream("hash"))).size >= 1000);
    assert.ok((await collect(redis.zscanStream("zset", { match: "m99*" }))).has("m999"));
  },

  async connections(redis, options) {
    const named = new Redis({ ...options, connectionName: "by-name", db: 3 });
    await named.set("in-three", 1);
    assert.equal(await named.client("GETNAME"), "by-name");
    assert.match(await named.client("INFO"), /name=by-name .* db=3 /);
    assert.equal(await redis.exists("in-three"), 0);
    assert.match(await redis.client("LIST"), /name=by-name/);
    named.on("error", () => {});
    let connects = 0;
    named.on("ready", () => connects++);
    const id = await named.client("ID");
    assert.equal(await redis.client("KILL", "ID", id), 1);
    await waitUntil(() => connects > 0);
    assert.equal(await named.get("in-three"), "1", "connected again, to its database");
    assert.equal(await named.client("GETNAME"), "by-name");
    await named.quit();
    const lazy = new Redis({ ...options, lazyConnect: true, keyPrefix: "prefix:" });
    assert.equal(lazy.status, "wait");
    await lazy.connect();
    await lazy.set("k", "v");
    assert.equal(await redis.get("prefix:k"), "v");
    lazy.disconnect();
    const wrong = new Redis({ ...options, username: "nobody", password: "x", retryStrategy: null });
    wrong.on("error", () => {});
    await assert.rejects(wrong.ping());
    wrong.disconnect();
    const cluster = new Redis.Cluster([{ host: "127.0.0.1", port }], { clusterRetryStrategy: null });
    const failed = await new Promise((resolve) => cluster.on("error", resolve));
    assert.match(String(failed.lastNodeError ?? failed), /cluster support disabled/);
    cluster.disconnect();
  },

  async server(redis) {
    assert.match(await redis.info(), /redis_mode:standalone/);
    assert.equal((await redis.command("INFO", "get"))[0][0], "get");
    assert.deepEqual(await redis.command("GETKEYS", "MSET", "a", 1, "b", 2), ["a", "b"]);
    assert.equal(await redis.dbsize(), 0);
    assert.equal(await redis.call("ECHO", "raw"), "raw");
    await assert.rejects(redis.call("NOSUCH"), /unknown command 'NOSUCH'/);
    assert.equal((await redis.role())[0], "master");
    const monitor = await redis.duplicate().monitor();
    const seen = [];
    monitor.on("monitor", (_time, args) => seen.push(args.join(" ")));
    await redis.set("monitored", 1);
    await waitUntil(() => seen.includes("set monitored 1"));
    monitor.disconnect();
  },
};

async function main() {
  let failures = 0;
  for (const protocol of [2, 3]) {
    for (const [name, session] of Object.entries(sessions)) {
      if (only.length && !only.includes(name)) continue;
      const options = { host: "127.0.0.1", port, protocol };
      const redis = new Redis(options);
      try {
        await redis.flushall();
        await session(redis, options);
      } catch (error) {
        failures++;
        console.log(`${name} over RESP${protocol}: ${error.stack}`);
      }
      redis.disconnect();
    }
  }
  console.log(`ioredis ${version}: ${Object.keys(sessions).length} sessions over both protocols, ${failures} failed`);
  process.exit(failures ? 1 : 0);
}

main();
