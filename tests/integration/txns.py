#!/usr/bin/env python3
# txns.py: transactions on real processes: what a driver that dies leaves behind, at every step and at each of its crash points,
# is decided once and as a whole; snapshots, dumps and plain operations beside locks; single runs that a rule is there for; the
# command; prefixes over shards.
import contextlib
import glob
import os
import random
import re
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import clocks  # noqa: E402
import txnloads  # noqa: E402
import wire  # noqa: E402
from cluster import FULL, PATIENCE, ROOT, AtLeader, ClusterTest, parse_dump, tool, wait_for  # noqa: E402
from wire import pb, request  # noqa: E402

SEED = int(os.environ.get("HOLDFAST_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
entry = wire.module("entry")
KEY_LOCKED, CONFLICT = -40, -41
TTL_MS = 1000
LONG_TTL_MS = 300000  # of what the test itself decides: it must not expire before, however slow the machine
HOME, OTHER, THIRD = 1, 2, 3
PLACES = {HOME: b"a", OTHER: b"m", THIRD: b"z"}


class Part:
    """A transaction by hand: its id, what it writes on each shard, its requests step by step."""

    def __init__(self, test, name, writes, ttl_ms=TTL_MS):
        self.test, self.writes, self.ttl_ms = test, writes, ttl_ms
        self.session, self.seq = test.session(HOME), 1
        self.start = test.timestamp()
        self.name = name

    @property
    def id(self):
        return entry.TxnId(home=HOME, session=self.session, seq=self.seq)

    def write_list(self, shard=None):
        return [entry.TxnWrite(op=entry.PUT, key=k, value=v) for k, v in self.writes.items()
                if shard is None or PLACES[shard] == k[:1]]

    def shards(self):
        return [s for s in PLACES if self.write_list(s)]

    def whole(self, reads=()):
        """For a coordinator: all of it."""
        r = request(HOME, session=self.session, seq=self.seq, deadline_ms=30000)
        r.txn.start = self.start
        r.txn.writes.extend(self.write_list())
        r.txn.reads.extend(entry.TxnRead(key=k) for k in reads)
        return r

    def prepare(self, shard):
        r = request(shard, deadline_ms=4000)
        if shard == HOME:
            r.session, r.seq = self.session, self.seq
            r.prepare.others.extend(s for s in self.shards() if s != HOME)
            r.prepare.ttl_ms = self.ttl_ms
        r.prepare.id.CopyFrom(self.id)
        r.prepare.start = self.start
        r.prepare.writes.extend(self.write_list(shard))
        reply = self.test.ask(shard, r)
        self.test.assertEqual((reply.code, reply.txn.state), (wire.OK, entry.PREPARED), reply)
        return reply.txn.min_commit

    def commit(self, shard, at):
        r = request(shard, deadline_ms=4000)
        r.decide_commit.id.CopyFrom(self.id)
        r.decide_commit.commit = at
        return self.test.ask(shard, r)

    def rollback(self, shard, force=True):
        r = request(shard, deadline_ms=4000)
        r.rollback.id.CopyFrom(self.id)
        r.rollback.force = force
        return self.test.ask(shard, r)

    def fence(self):
        """What has become of it, after which it can become nothing else: a code."""
        reply = self.test.ask(HOME, request(HOME, session_fence=(self.session, self.seq), deadline_ms=4000))
        self.test.assertEqual(reply.code, wire.OK, reply)
        return reply.outcome


class TxnTest(ClusterTest):
    def begin(self, coordinators=1, env=None):
        self.c = clocks.ClockCluster(self.id().rpartition(".")[2], shards=3, replicas=1, coordinators=coordinators,
                                     splits=txnloads.SPLITS, env=env, coordinator_sets=[f"txn-ttl-ms={TTL_MS}"])
        self.addCleanup(self._close, self.c)
        self.c.up()
        return self.c

    def ask(self, shard, r, seconds=60):
        """One request, to the shard's leader until it is answered by one."""
        def probe():
            with self.c.wire(self.c.leader(shard)) as w:
                reply = w.try_ask(r, 5 * PATIENCE)
            return reply if reply is not None and reply.code not in AtLeader.AGAIN else None
        return wait_for(f"an answer to {r}", seconds, probe)

    def session(self, shard):
        reply = self.ask(shard, request(shard, session_open=True))
        self.assertEqual(reply.code, wire.OK, reply.message)
        return reply.session

    def timestamp(self, above=0):
        r = request(0, timestamp=True, deadline_ms=4000)
        r.timestamp.above = above

        def probe():
            with self.c.wire(self.c.active()) as w:
                reply = w.try_ask(r, 5 * PATIENCE)
            return reply if reply is not None and reply.code not in AtLeader.AGAIN else None
        reply = wait_for("a timestamp", 60, probe)  # whoever is active may have lost its lease
        self.assertEqual(reply.code, wire.OK, reply.message)
        return reply.timestamp

    def get(self, shard, key, at=0, deadline_ms=500):
        r = request(shard, deadline_ms=deadline_ms)
        r.get.key, r.get.at = key, at
        return self.ask(shard, r)

    def kept(self, shard):
        """What the shard keeps of transactions."""
        r = request(shard, deadline_ms=2000)
        r.txns.limit = 100
        reply = self.ask(shard, r)
        self.assertEqual(reply.code, wire.OK, reply.message)
        return list(reply.txns)

    def await_nothing_kept(self, seconds=60):
        wait_for(lambda: f"no transactions kept: {[self.kept(s) for s in PLACES]}", seconds,
                 lambda: not any(self.kept(s) for s in PLACES), 0.05)

    def shown(self, keys):
        """The values of the keys when nothing is undecided any more."""
        values = []
        for key in keys:
            shard = next(s for s, first in PLACES.items() if first == key[:1])
            reply = wait_for(f"{key} without a lock", 60,
                             lambda s=shard, k=key: (r := self.get(s, k)).code in (wire.OK, wire.NOT_FOUND) and r)
            values.append(reply.value if reply.code == wire.OK else None)
        return values

    def all_or_none(self, part):
        """True: all that it writes is there; False: nothing of it; anything else is a fault."""
        shown = self.shown(part.writes)
        there = [v == w for v, w in zip(shown, part.writes.values())]
        self.assertEqual(len(set(there)), 1, f"{part.name}: half of a transaction: {dict(zip(part.writes, shown))}")
        return there[0]


def writes_of(name, shards=(HOME, OTHER, THIRD)):
    return {PLACES[s] + b"-" + name.encode() + b"-%d" % i: name.encode() for s in shards for i in range(2)}


class Orphans(TxnTest):
    """A driver is gone after some of its steps: the others find what it left."""

    def check(self, part, committed):
        self.assertEqual(self.all_or_none(part), committed, part.name)
        self.await_nothing_kept()
        code = part.fence()
        self.assertEqual(code, wire.OK if committed else CONFLICT, part.name)
        self.assertEqual(self.all_or_none(part), committed, part.name)

    def test_after_each_step(self):
        self.begin()
        for name in ("home", "home-and-one", "all", "decided", "one-done", "undone"):
            with self.subTest(name):
                part = Part(self, name, writes_of(name), LONG_TTL_MS if name in ("decided", "one-done", "undone") else TTL_MS)
                least = [part.prepare(HOME)]
                if name != "home":
                    least.append(part.prepare(OTHER))
                if name not in ("home", "home-and-one"):
                    least.append(part.prepare(THIRD))
                if name in ("decided", "one-done"):
                    at = self.timestamp(max(least))
                    self.assertEqual(part.commit(HOME, at).code, wire.OK)
                if name == "one-done":
                    self.assertEqual(part.commit(OTHER, at).code, wire.OK)
                if name == "undone":
                    self.assertEqual(part.rollback(HOME).txn.state, entry.ROLLED_BACK)
                self.check(part, name in ("decided", "one-done"))

    def test_a_lock_without_a_home(self):
        """A prepare that was late: home has never heard of it, and never will after it was asked."""
        self.begin()
        part = Part(self, "late", writes_of("late"))
        part.prepare(OTHER)
        self.assertFalse(self.all_or_none(part))
        self.await_nothing_kept()
        r = request(HOME, session=part.session, seq=part.seq, deadline_ms=4000)
        r.prepare.id.CopyFrom(part.id)
        r.prepare.start, r.prepare.ttl_ms = part.start, TTL_MS
        r.prepare.writes.extend(part.write_list(HOME))
        self.assertEqual(self.ask(HOME, r).code, CONFLICT)
        self.assertNotEqual(part.commit(HOME, self.timestamp()).code, wire.OK)
        self.assertFalse(self.all_or_none(part))

    def test_those_who_meet_a_lock(self):
        """Plain reads and writes, snapshots and dumps wait until it is decided; older snapshots do not see it."""
        c = self.begin()
        for key, value in writes_of("old").items():
            c.cli("put", key.decode(), value.decode())
        before = self.timestamp()
        keys = writes_of("old")
        part = Part(self, "new", {k: b"new" for k in keys}, LONG_TTL_MS)
        least = max(part.prepare(s) for s in PLACES)
        for key in keys:
            reply = self.get(next(s for s in PLACES if PLACES[s] == key[:1]), key, at=before, deadline_ms=8000)
            self.assertEqual((reply.code, reply.value), (wire.OK, b"old"))
        at = self.timestamp(least)
        self.assertEqual(part.commit(HOME, at).code, wire.OK)
        dump = parse_dump(c.cli("dump", text=False).stdout)  # OTHER and THIRD are locked still
        self.assertEqual({dump[k] for k in keys}, {b"new"})
        for key in keys:
            self.assertEqual(c.cli("get", key.decode(), "--at", str(before)).stdout.strip(), "old")
            self.assertEqual(c.cli("get", key.decode()).stdout.strip(), "new")
        self.await_nothing_kept()
        part = Part(self, "newer", {k: b"newer" for k in keys})
        begun = time.monotonic()
        for s in PLACES:
            part.prepare(s)
        c.cli("put", "m-old-0", "plain")  # it waits until the transaction has expired
        self.assertGreater(time.monotonic() - begun, TTL_MS / 2000)
        self.assertEqual(self.shown(keys), [b"plain" if k == b"m-old-0" else b"new" for k in keys])


class CrashPoints(TxnTest):
    """The driver dies at a named place; the other coordinator and the client's repetition find one outcome."""

    POINTS = ["txns.begun", "txns.prepared_home", "txns.prepared_rest", "txns.drawn", "txns.validated", "txns.decide_asked",
              "txns.committed_home", "txns.answered", "txns.committed_rest", "txns.forgotten"]
    COMMITTED = ["txns.committed_home", "txns.answered", "txns.committed_rest", "txns.forgotten"]

    def test_these_are_all(self):
        found = set()
        for path in glob.glob(os.path.join(ROOT, "coordinator", "*.c")):
            with open(path, encoding="utf-8") as f:
                found |= set(re.findall(r'crash_point\("(txn[^"]*)"\)', f.read()))
        self.assertEqual(found, set(self.POINTS))

    def arm(self, point):
        """Makes a coordinator active that will die at `point`; its name, and the other's."""
        active = self.c.active()
        other = next(n for n in self.c.coordinators() if n != active)
        self.c.kill(other)
        self.c.start(other, env={"HOLDFAST_CRASH_POINT": point})
        self.c.kill(active)
        self.c.active(among=[other])
        self.c.start(active)
        return other, active

    def dies(self, point, repeats):
        armed, other = self.arm(point)
        name = f"{point}-{int(repeats)}"
        part = Part(self, name, writes_of(name))
        reads = [b"a-x", b"m-x", b"z-x"]
        r = part.whole(reads=reads)
        with self.c.wire(armed) as w:
            asked = w.send(r)
            wait_for(f"the end of {armed} at {point}", 60, lambda: self.c.pid(armed) is None)
            answers = [reply.code for reply in w.receive([asked], 0.1).values()]
        if repeats:
            with self.c.wire(other) as w:
                answers.append(wait_for("an answer", 60, lambda: (reply := w.try_ask(part.whole(reads=reads), 10))
                                        and reply.code in (wire.OK, CONFLICT) and reply).code)
        done = self.all_or_none(part)
        self.assertLessEqual({code == wire.OK for code in answers}, {done}, f"{point}: {answers}")
        if point in self.COMMITTED:
            self.assertTrue(done, point)
        self.await_nothing_kept()
        fenced = part.fence()
        self.assertEqual(fenced == wire.OK, done, f"{point}: home says {fenced}")
        self.assertEqual(self.all_or_none(part), done)
        print(f"{name}: {'committed' if done else 'rolled back'}", file=sys.stderr)
        self.c.start(armed)

    def test_driver(self):
        self.begin(coordinators=2)
        chooser = random.Random(SEED)
        for point in self.POINTS:
            for repeats in (False, True) if FULL else (chooser.random() < 0.5,):
                with self.subTest(point, repeats=repeats):
                    self.dies(point, repeats)


class Schedules(TxnTest):
    """Single runs for single rules (docs/protocol/transactions.md, "What each rule closes"): with the rule they end well, and with
    the bug that leaves it out they do not."""

    TRIES = 20

    def both_ways(self, bug, schedule):
        """The schedule's fault is None, and not None with the planted bug; in turn, with a cluster each."""
        for planted in (None, bug):
            with self.subTest(planted=planted):
                self.begin(env={"HOLDFAST_PLANTED_BUG": planted} if planted else None)
                if planted:
                    self.c.bad_lines = list  # an invariant that finds it is welcome
                fault = schedule()
                self.c.down()
                print(f"{bug}, planted: {planted is not None}; {fault}", file=sys.stderr)
                self.assertEqual(fault is not None, planted is not None, fault)

    def paused(self):
        """While it is open the coordinator stands still, and no leader learns of a later timestamp."""
        @contextlib.contextmanager
        def pause():
            self.c.pause("coordinator/1")
            try:
                yield
            finally:
                self.c.go_on("coordinator/1")
        return pause()

    def wires(self):
        """To the coordinator (0) and the leaders."""
        found = {shard: self.c.wire(self.c.leader(shard)) for shard in PLACES}
        found[0] = self.c.wire(self.c.active())
        for w in found.values():
            self.addCleanup(w.__exit__)
        return found

    def tell(self, wires, shard, **fields):
        reply = wires[shard].ask(request(shard, deadline_ms=20000, **fields), 25 * PATIENCE)
        self.assertEqual(reply.code, wire.OK, reply)
        return reply

    def read_only(self):
        """T; a put of x above it; then a put of y by a leader that knows nothing of T: a reader at T sees y and not x."""
        wires = self.wires()
        old = {HOME: b"old", OTHER: b"old"}
        for shard, value in old.items():
            self.tell(wires, shard, put=(PLACES[shard], value))
        for i in range(self.TRIES):
            at = self.tell(wires, 0, timestamp=True).timestamp
            with self.paused():
                x = self.tell(wires, HOME, get_at=(PLACES[HOME], at)).value
                for shard in old:
                    self.tell(wires, shard, put=(PLACES[shard], b"%d" % i))
                y = self.tell(wires, OTHER, get_at=(PLACES[OTHER], at)).value
            self.assertEqual(x, old[HOME])
            arose = y != old[OTHER]
            old = dict.fromkeys(old, b"%d" % i)
            if arose:
                break
        else:
            self.fail("no leader was behind the timestamp")
        r = request(0, deadline_ms=30000)
        r.txn.start = at
        r.txn.reads.extend(entry.TxnRead(key=PLACES[shard]) for shard in old)
        reply = wires[0].ask(r, 40 * PATIENCE)
        self.assertIn(reply.code, (wire.OK, CONFLICT), reply)
        if reply.code == wire.OK:
            return "x was written before y, and a transaction that saw y only is valid"
        self.assertEqual(reply.conflict.key, PLACES[HOME])
        return None

    def test_who_only_reads_is_validated(self):
        self.both_ways("txn.read_only_unvalidated", self.read_only)

    def min_commit(self):
        """A leader goes on from a ceiling far above what is issued, and locks there: the commit lies above that too."""
        c, far = self.c, 20000 << 16  # of time
        start = self.timestamp()
        r = request(OTHER, deadline_ms=4000)
        r.lease.ceiling, r.lease.timestamp = start + far, start
        self.assertEqual(self.ask(OTHER, r).code, wire.OK)
        name = c.leader(OTHER)
        with self.paused():
            c.kill(name)
            c.start(name)
            written = self.ask(OTHER, request(OTHER, put=(PLACES[OTHER] + b"-other", b""), deadline_ms=8000))
        self.assertEqual(written.code, wire.OK, written)
        self.assertGreaterEqual(written.written.t, start + far, "it does not go on from its ceiling")
        part = Part(self, "all", writes_of("all", (HOME, OTHER)))
        self.assertLess(part.start, written.written.t, "the oracle is there already")
        with c.wire(c.active()) as w:
            reply = w.ask(part.whole(), 40 * PATIENCE)
        self.assertEqual(reply.code, wire.OK, reply)
        shown = self.shown(part.writes)
        if shown != list(part.writes.values()):
            return f"committed at {reply.timestamp}, locked at {written.written.t}: {dict(zip(part.writes, shown))}"
        self.assertGreater(reply.timestamp, written.written.t)
        return None

    def test_a_commit_lies_above_its_locks(self):
        self.both_ways("txn.no_min_commit", self.min_commit)

    def observed(self):
        """A plain put behind a commit whose timestamp its leader has from nowhere else."""
        wires, judged, name = self.wires(), 0, self.c.leader(HOME)
        for i in range(self.TRIES):
            part = Part(self, f"{i}", {PLACES[HOME]: b"txn"}, LONG_TTL_MS)
            least = part.prepare(HOME)
            r = request(HOME, deadline_ms=4000)
            r.decide_commit.id.CopyFrom(part.id)
            r.decide_commit.commit = self.timestamp(least)
            with self.paused():
                if wires[HOME].ask(r, 25 * PATIENCE).code != wire.OK:
                    continue  # the machine was so slow that it was not done in time
                written = wires[HOME].try_ask(request(HOME, put=(PLACES[HOME], b"plain"), deadline_ms=20000), 25 * PATIENCE)
                if written is None:  # the state machine's own invariant
                    self.assertIn("must(version_compare(version", self.c.log(name))
                    return "the leader ended itself"
                value = self.tell(wires, HOME, get=PLACES[HOME]).value
            if value != b"plain":
                return f"a put at {written.written.t}, behind a commit at {r.decide_commit.commit}, is not seen"
            self.assertGreaterEqual(written.written.t, r.decide_commit.commit)
            judged += 1
        self.assertGreater(judged, 0)
        return None

    def test_a_commit_is_observed(self):
        self.both_ways("txn.commit_unobserved", self.observed)


class Command(TxnTest):
    """`holdfast txn`, delprefix over shards, and a short load without any fault."""

    def test_load(self):
        c = self.begin(coordinators=2)
        for turn in range(4):  # a machine that stalls for seconds leaves outcomes unknown now and then, not each time
            load = txnloads.TxnLoad(c, f"t{turn}", seed=SEED + turn, clients=8, pause_us=0, epoch=200)
            load.await_acks(20000 if FULL else 1500, seconds=300)
            counts = load.stop()
            faults, said = txnloads.judge(load)
            print(counts, said, file=sys.stderr)
            self.assertEqual(faults, [])
            if counts["unknown"] == 0:
                break
        self.assertEqual(counts["unknown"], 0)
        self.await_nothing_kept()

    def txn(self, script, *options, code=0):
        return self.c.cli("txn", *options, stdin=script, code=code)

    def test_commits_over_shards(self):
        c = self.begin()
        said = self.txn("put a-1 x\nput m-1 y\nput z-1 z\nget m-1\nget a-2\n").stdout.splitlines()
        self.assertEqual(said[0], "y")
        at = int(re.fullmatch(r"committed (\d+)", said[-1]).group(1))
        for key in ("a-1", "m-1", "z-1"):
            self.assertEqual(c.cli("get", key, "--at", str(at), code=1).returncode, 1)  # versions below it are seen
            self.assertEqual(c.cli("get", key, "--at", str(self.timestamp(at))).returncode, 0)
        said = self.txn("expect a-1 x\ndel a-1\nput m-1 new\nscan --prefix m\n").stdout
        self.assertIn("m-1\tnew", said)
        self.assertEqual(c.cli("get", "a-1", code=1).returncode, 1)
        self.assertEqual(c.cli("get", "m-1").stdout, "new\n")
        self.txn("expect a-1 x\nput z-1 never\n", code=1)
        self.txn("put z-1 never\nrollback\n")
        self.assertEqual(c.cli("get", "z-1").stdout, "z\n")
        self.await_nothing_kept()

    def test_reads_only(self):
        c = self.begin()
        self.txn("put a-1 x\nput m-1 y\nput z-1 z\n")
        self.assertRegex(self.txn("get a-1\nget m-1\nscan z z~\n").stdout, "x\ny\nz-1\tz\ncommitted \\d+\n")
        self.assertRegex(self.txn("get a-1\nscan a b\n").stdout, "x\na-1\tx\ncommitted \\d+\n")
        self.assertEqual(self.txn("# nothing\n").returncode, 0)
        self.await_nothing_kept()
        self.assertEqual(len(parse_dump(c.cli("dump", text=False).stdout)), 3)

    def test_what_was_read_has_changed(self):
        """By hand, so that it is sure: what was read was changed meanwhile, on one shard and on two, written or only read."""
        c = self.begin()
        for name, shards in (("one", (HOME,)), ("two", (HOME, OTHER))):
            for read in (b"a-1", b"m-1") if len(shards) > 1 else (b"a-1",):
                part = Part(self, name, writes_of(name, shards))
                self.get(HOME if read[:1] == b"a" else OTHER, read, at=part.start)  # the put is behind it, then
                c.cli("put", read.decode(), name)
                with c.wire(c.active()) as w:
                    reply = w.ask(part.whole(reads=[read]), 40 * PATIENCE)
                self.assertEqual(reply.code, CONFLICT, reply)
                self.assertEqual(reply.conflict.key, read)
                self.assertGreaterEqual(reply.conflict.above, part.start)
                self.assertFalse(self.all_or_none(part))
                self.await_nothing_kept()

    def test_exit_code_of_a_conflict(self):
        """Many increments at once: each counts once, and those that were beaten say so, with exit code 4 and one line."""
        c = self.begin()
        c.cli("txn", stdin="put a-n 0\nput m-n 0\n")
        script = "get a-n\nget m-n\n" * 20 + "".join(f"put {p}-n {{0}}\n" for p in "am")
        beaten = done = 0
        for i in range(40):
            running = [subprocess.Popen([tool("holdfast"), "txn", "--timeout", "30000"], env=c.env, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
            for n, p in enumerate(running):  # all of them begin before one is waited for
                p.stdin.write(script.format(f"{i}-{n}"))
                p.stdin.close()
                p.stdin = None
            said = [p.communicate(timeout=90) for p in running]
            for p, (_, err) in zip(running, said):
                self.assertIn(p.returncode, (0, 4), err)
                if p.returncode == 4:
                    self.assertEqual(len(err.splitlines()), 1, err)
                    self.assertIn("nothing was written", err)
            codes = [p.returncode for p in running]
            beaten, done = beaten + codes.count(4), done + codes.count(0)
            self.assertIn(0, codes)
            values = self.shown([b"a-n", b"m-n"])
            self.assertEqual(values[0], values[1])
            if beaten and done:
                break
        self.assertGreater(beaten, 0)

    def test_many_keys(self):
        """The largest number of writes, over the shards; and one more, which is refused."""
        c = self.begin()
        count = 9999
        keys = [f"{'amz'[i % 3]}{i:06d}" for i in range(count)]
        self.txn("".join(f"put {k} {k}\n" for k in keys), "--timeout", "30000")
        self.assertEqual(len(parse_dump(c.cli("dump", text=False).stdout)), count)
        err = self.txn("".join(f"put {k} again\n" for k in [*keys, "b", "c"]), "--timeout", "30000", code=6).stderr
        self.assertIn("10000", err)
        self.assertEqual(c.cli("get", keys[0]).stdout.strip(), keys[0])
        self.await_nothing_kept()

    def test_a_shard_without_a_leader(self):
        """It is said as such: nobody was first."""
        c = self.begin()
        c.kill(c.leader(OTHER))
        done = c.cli("txn", "--timeout", "3000", stdin="put a-1 x\nput m-1 x\n", code=None)
        self.assertIn(done.returncode, (3, 4, 5), done.stderr)  # 5: the machine is so slow that no answer came in time
        self.assertRegex(done.stderr, "away|has no leader|unknown")
        self.assertNotIn("was first", done.stderr)
        done = c.cli("delprefix", "--timeout", "4000", "h", code=None)
        self.assertIn(done.returncode, (3, 5), done.stderr)
        self.assertNotIn("was first", done.stderr)
        self.assertRegex(self.txn("put a-1 y\nput z-1 y\n").stdout, "committed")
        c.start(c.names(OTHER)[0])
        self.assertEqual(self.shown([b"a-1", b"m-1", b"z-1"]), [b"y", None, b"y"])
        self.await_nothing_kept()

    def test_prefix_over_shards(self):
        c = self.begin()
        for i in range(10):
            c.cli("put", f"h{i}", "x")
            c.cli("put", f"g{i}", "x")
        before = self.timestamp()
        c.cli("delprefix", "h")
        self.assertEqual(sorted(parse_dump(c.cli("dump", text=False).stdout)), [b"g%d" % i for i in range(10)])
        self.assertEqual(c.cli("get", "h7", "--at", str(before)).stdout.strip(), "x")
        self.await_nothing_kept()


if __name__ == "__main__":
    unittest.main(verbosity=2)
