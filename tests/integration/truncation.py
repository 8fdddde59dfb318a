#!/usr/bin/env python3
# truncation.py: the snapshot pointer moves, the log is cut and recycled behind it, never ahead of what is durable (I4).
import collections
import glob
import os
import re
import signal
import sys
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import faults  # noqa: E402
import histories  # noqa: E402
import wire  # noqa: E402
from cluster import FULL, LOG, PATIENCE, SLOW_ELECTIONS, ClusterTest, Hammer, parse_dump, wait_for  # noqa: E402
from wire import request  # noqa: E402

SEGMENT = 64 << 10
LOG_BYTES = 512 << 10
SMALL = ["snapshot-entries=40", "snapshot-trailing-entries=2000", f"snapshot-log-bytes={LOG_BYTES}",
         f"log-segment-bytes={SEGMENT}", "fsm-buffer-bytes=65536"]
POINTS = ["publish.before_flush", "publish.after_flush", "publish.before_token", "publish.after_token",
          "publish.before_trim"]


def token(c, name):
    """The snapshot pointer's file as {word: text}; {} when there is none."""
    try:
        with open(os.path.join(c.data(name), "snapshots", "token"), encoding="ascii") as f:
            return dict(line.rstrip("\n").partition(" ")[::2] for line in f)
    except FileNotFoundError:
        return {}


def index_of(c, name):
    return int(token(c, name).get("index", 0))


def log_bytes(c, name):
    total = 0
    for path in glob.glob(os.path.join(c.data(name), LOG, "*-*.log")):
        try:
            total += os.path.getsize(path)
        except FileNotFoundError:  # just renamed
            pass
    return total


def metrics(c, name):
    with urllib.request.urlopen(f"http://{c.processes[name]['http']}/metrics", timeout=30 * PATIENCE) as f:
        lines = f.read().decode().splitlines()
    return {row.rpartition(" ")[0]: float(row.rpartition(" ")[2]) for row in lines if not row.startswith("#")}


class Base(ClusterTest):
    def load(self, c, **options):
        made = [Hammer(c, tag, **{**dict(hot=3, unique=2, window=16, pause_us=1500), **options, **extra})
                for tag, extra in (("p", {}), ("q", {"routed": True}))]
        for h in made:
            h.await_acks(30)
        return made

    def judge(self, c, made):
        """Histories against the content; all are killed and show it again."""
        counts = [h.stop() for h in made]
        c.digests_agree(1)
        dump = parse_dump(c.cli("dump", text=False).stdout)
        print(f"{self.id().rpartition('.')[2]}: {counts}, {len(dump)} keys at the end", file=sys.stderr)
        self.assertEqual(histories.judge(c, made, dump), [])
        c.kill(*c.names(1))
        c.start_in_background(*c.names(1))
        self.assertEqual(parse_dump(c.cli("dump", text=False).stdout), dump, "after all were killed at once")

    def put(self, c, count, prefix="key"):
        with c.at_leader(1) as w:
            for i in range(count):
                ask = request(1, put=(f"{prefix}{i:03}".encode(), b"value"), deadline_ms=20000)
                self.assertEqual(w.ask(ask, 60).code, wire.OK)

    def await_pointer(self, c, name, above, seconds=60):
        wait_for(lambda: f"{name}: a pointer above {above}: {token(c, name)}", seconds,
                 lambda: index_of(c, name) > above)
        return index_of(c, name)


class Truncation(Base):
    def test_the_log_stays_bounded_and_is_recycled(self):
        """A log that is written over many times takes the room of a few segments."""
        c = self.cluster(shards=1, sets=SMALL).up()
        made = self.load(c, value_bytes=4000)
        # What is kept for followers, what is written until the next cut is made and while it is, segments begun and spare.
        most = 6 * LOG_BYTES + 8 * SEGMENT
        written, seen, inodes, reused = 0, 0, {n: set() for n in c.names(1)}, 0
        pace, looked = 0, time.monotonic()  # the fastest they wrote between two looks, bytes a second
        first = {n: c.answer_of(n).log_first for n in c.names(1)}
        while written < (64 if FULL else 3) * most:
            for h in made:
                h.await_acks(100)
            before, written = written, sum(h.progress()["acked"] for h in made) * 4000
            looked, since = time.monotonic(), looked
            pace = max(pace, (written - before) / (looked - since))
            for n in c.alive(1):
                seen = max(seen, log_bytes(c, n))
                for path in glob.glob(os.path.join(c.data(n), LOG, "seg-*.log")):
                    name = os.path.basename(path)
                    try:
                        inode = os.stat(path).st_ino
                    except FileNotFoundError:
                        continue  # it is another segment by now
                    reused += any(i == inode and other != name for other, i in inodes[n])
                    inodes[n].add((name, inode))
        for n in c.names(1):  # the line of a publish that is under way
            self.await_pointer(c, n, index_of(c, n))
        # A slow disk: what is written while a publish waits for it comes on top, twice if the next one waits, too.
        slow = max(int(ms) for n in c.names(1) for ms in re.findall(r"snapshot published .* ms=(\d+)", c.log(n)))
        sent = any("snapshot asked for" in c.log(n) for n in c.names(1))  # a slow machine: a follower came to be late
        room = most + 2 * pace * slow / 1000 + (16 * LOG_BYTES if sent else 0)
        self.assertLess(seen, room, f"the log grows; {pace / 1e6:.1f} MB/s, the longest publish took {slow} ms")
        for n in c.names(1):
            s = c.answer_of(n)
            self.assertGreater(s.log_first, first[n] + 100)
            self.assertGreaterEqual(s.durable_applied, s.snapshot)
            self.assertLessEqual(s.log_first, s.snapshot + 1)
        self.assertGreater(reused, 0, "no segment was used again")
        print(f"{written >> 10} KiB of values, log at most {seen >> 10} KiB, {reused} segments used again; "
              f"{pace / 1e6:.1f} MB/s, longest publish {slow} ms, {room / 1024:.0f} KiB allowed", file=sys.stderr)
        self.judge(c, made)

    def test_a_restarted_follower_catches_up_by_log(self):
        """What is kept behind the pointer is for who was away for a moment: no state is sent."""
        c = self.cluster(shards=1, sets=["snapshot-entries=5", "snapshot-trailing-entries=200"]).up()
        for victim in (c.followers(1)[0], c.leader(1)):
            others = [n for n in c.names(1) if n != victim]
            c.kill(victim)
            leader = c.leader(1)
            since, before = len(c.log(leader)), index_of(c, leader)
            self.put(c, 30, f"{victim}-")
            for n in others:
                self.await_pointer(c, n, before + 20)
            c.start(victim)
            self.assertNotIn("needs a snapshot", c.log(leader)[since:])
            self.assertEqual(len(parse_dump(c.cli("dump", "--prefix", victim, text=False).stdout)), 30)
        c.digests_agree(1)

    def test_a_restart_keeps_what_is_kept_for_followers(self):
        """The first publish of a new life cuts no more than any other, though the old one wrote the log."""
        kept = 60
        c = self.cluster(shards=1, sets=["snapshot-entries=5", f"snapshot-trailing-entries={kept}"]).up()
        self.put(c, 2 * kept, "k")
        for n in c.names(1):
            wait_for(f"{n}: a cut log", 30, lambda n=n: c.answer_of(n).log_first > 1)
        c.kill(*c.names(1))
        c.start_in_background(*c.names(1))
        begin = {n: c.answer_of(n).snapshot for n in c.names(1)}
        self.put(c, 10, "m")
        for n in c.names(1):
            self.await_pointer(c, n, begin[n])
            s = c.answer_of(n)
            self.assertLessEqual(s.log_first, s.snapshot + 1 - kept, s)

    def test_an_idle_cluster_publishes_by_leases_alone(self):
        """Nobody writes: the coordinator's leases move applied index, pointer and log; a restart has nothing to do."""
        c = self.cluster(shards=1, sets=["snapshot-entries=2", "snapshot-trailing-entries=1"]).up()
        begin = {n: index_of(c, n) for n in c.names(1)}
        for n in c.names(1):
            self.await_pointer(c, n, begin[n] + 2)
            wait_for(f"{n}: the log to be cut", 30, lambda n=n: c.answer_of(n).log_first > begin[n] + 1)
        since = {n: len(c.log(n)) for n in c.names(1)}
        c.kill(*c.names(1))
        pointers = {n: index_of(c, n) for n in c.names(1)}
        c.start_in_background(*c.names(1))
        for n in c.names(1):
            line = re.search(r"cold start state=(\w+) outcome=(\w+).* applied=(\d+) .*snapshot=(\d+)", c.log(n)[since[n]:])
            self.assertIsNotNone(line, c.log(n)[since[n]:])
            self.assertIn(line.group(1), ("equal", "ahead"))
            self.assertEqual(line.group(2), "skipped")
            self.assertEqual(int(line.group(4)), pointers[n])
            self.assertGreaterEqual(int(line.group(3)), pointers[n])

    def test_an_operator_asks(self):
        """`holdfast snapshot`: each replica's pointer reaches what it had applied; who cannot be reached is named."""
        c = self.cluster(shards=2, sets=["snapshot-entries=0", "snapshot-log-bytes=0", "snapshot-trailing-entries=0"]).up()
        self.put(c, 20)
        before = {n: c.answer_of(n).applied for n in c.names()}
        said = c.cli("--timeout", "50000", "snapshot").stdout
        for n in c.names():
            index = int(re.search(rf"^{n} +(\d+)$", said, re.M).group(1))
            self.assertGreaterEqual(index, before[n])
            self.assertGreaterEqual(index_of(c, n), index)
            s = c.answer_of(n)
            self.assertGreaterEqual(s.durable_applied, index)
            wait_for(f"{n}: nothing to be kept behind it", 30, lambda n=n: c.answer_of(n).log_first > before[n])
            self.assertEqual(metrics(c, n)['holdfast_snapshots_published_total{trigger="operator"}'], 1)
            self.assertEqual(self.lines_as_counted(c, n), {"operator": 1})
        gone = c.followers(2)[0]
        c.kill(gone)
        done = wait_for("an answer", 60, lambda: next((d for d in [c.cli("--json", "snapshot", "--shard", "2", code=3)]
                                                       if d.stdout and "1 of 3" in d.stderr), None))  # the others did
        self.assertIn(f'"name":"{gone}","index":null,"code":"UNAVAILABLE"', done.stdout, done.stderr)
        self.assertIn("1 of 3 replicas published no snapshot", done.stderr)
        self.assertNotIn('"1/', done.stdout)
        c.cli("snapshot", "--shard", "7", code=6)
        c.cli("snapshot", "--shard", "x", code=2)

    def test_each_crash_point(self):
        """Killed before and after each step of a publish: the pointer is never ahead, nothing acknowledged is missing."""
        c = self.cluster(shards=1, sets=SMALL).up()
        made = self.load(c, value_bytes=300)
        for i, point in enumerate(POINTS * (4 if FULL else 1)):
            name = c.leader(1) if i % 2 else c.followers(1)[0]
            c.kill(name)
            try:
                c.start(name, env={"HOLDFAST_CRASH_POINT": f"{point}:{1 + i % 3}"})
            except Exception as e:  # it ended before it was ready
                print(f"{name} at {point}: {e}", file=sys.stderr)
            c.await_end(name)
            since = len(c.log(name))
            pointer = index_of(c, name)
            c.start(name)
            found = re.search(r"cold start .*applied=(\d+)", c.log(name)[since:])
            self.assertIsNotNone(found, c.log(name)[since:])
            self.assertGreaterEqual(int(found.group(1)), pointer, f"{point}: the pointer was ahead")
            for h in made:
                h.await_acks(20)
        self.judge(c, made)


    def lines_as_counted(self, c, name):
        """How often each trigger published, as the lines say and the metric counts."""
        said = collections.Counter(re.findall(r"snapshot published index=\d+ kind=(\w+) ", c.log(name)))
        now = metrics(c, name)
        for kind in ("entries", "bytes", "config", "operator"):
            self.assertEqual(said[kind], now[f'holdfast_snapshots_published_total{{trigger="{kind}"}}'], kind)
        return said

    def test_a_configuration_publishes(self):
        """No command changes members yet, so the test speaks as the leader, which is down: an entry with a configuration is
        applied, and moves the pointer though no other trigger is set."""
        c = self.cluster(shards=1, sets=["snapshot-entries=0", "snapshot-log-bytes=0", "snapshot-trailing-entries=0"],
                         engine="native").up()  # the one that changes members
        self.put(c, 5)
        leader = c.leader(1)
        name = c.followers(1, leader)[0]
        c.kill(*[n for n in c.names(1) if n != name])
        s = wait_for("all that it knows to be committed is applied", 30,
                     lambda: (s := c.answer_of(name)) and s.applied >= s.commit and s)
        member = {f"1/{m.replica}": m for m in s.members.members}
        raft, term, index = wire.module("raft"), s.term + 1, s.applied + 1
        members = wire.catalog.Members()
        members.CopyFrom(s.members)
        members.index = index
        e = raft.Envelope(version=1, cluster=s.cluster, group=1, log_epoch=1, engine="native", commit=index,
                          to=member[name].replica, to_incarnation=member[name].incarnation, **{"from": member[leader].replica},
                          from_incarnation=member[leader].incarnation)
        entry = raft.Entry(term=term, kind=2, data=members.SerializeToString())
        e.raft.CopyFrom(raft.Raft(kind=5, term=term, index=s.applied, log_term=s.applied_term, commit=index, entries=[entry]))
        with wire.Wire(member[name].raft_endpoint) as w:
            w.socket.send(e.SerializeToString())
            wait_for(lambda: f"a publish: {c.log(name)[-2000:]}", 30, lambda: "snapshot published index=" in c.log(name))
        self.assertIn(f"snapshot published index={index} kind=config ", c.log(name))
        self.assertEqual(self.lines_as_counted(c, name), {"config": 1})
        self.assertEqual((index_of(c, name), c.answer_of(name).members.index), (index, index))


class Faults(Base):
    """A disk in trouble (strace): whatever step of a publish fails, the pointer stays and the log is kept."""

    def trap(self, c, name, fault, only):
        trap = faults.Trap(os.path.join(c.dir, "trap"), fault, pid=c.pid(name), trace=fault.partition(":")[0], only=only)
        self.addCleanup(trap.detach)
        return trap

    @staticmethod
    def next_tables(c, name):
        return faults.next_tables(os.path.join(c.data(name), "fsm"))

    def failures(self, c, name, step):
        return metrics(c, name)[f'holdfast_snapshot_publish_failures_total{{step="{step}"}}']

    def test_a_token_that_cannot_be_written_moves_nothing(self):
        c = self.cluster(shards=1, sets=SMALL).up()
        made = self.load(c, value_bytes=1000)
        for i, fault in enumerate(["openat:error=ENOSPC:when=1+", "fdatasync:error=EIO:when=1+"]):
            name = c.leader(1) if i else c.followers(1)[0]
            temp = os.path.join(c.data(name), "snapshots", "token.tmp")
            since, failed = len(c.log(name)), self.failures(c, name, "token")
            trap = self.trap(c, name, fault, [temp])
            trap.await_hit()
            before = token(c, name)
            wait_for("a second attempt", 60, lambda: self.failures(c, name, "token") >= failed + 2)  # noqa: B023
            first = c.answer_of(name).log_first  # the cut that the last publish asked for is made
            for h in made:
                h.await_acks(200)
            self.assertEqual((token(c, name), c.answer_of(name).log_first), (before, first), "nothing moved")
            said = [x for x in faults.complaints(c.log(name)[since:]) if "not published" in x]
            self.assertEqual(len(said), 1, said)
            self.assertIn("token", said[0])
            self.assertIn("Input/output error" if i else "no space left on device", said[0])
            trap.detach()
            self.await_pointer(c, name, int(before["index"]))
            wait_for("the log to be cut", 30, lambda: c.answer_of(name).log_first > first)
            self.assertIn("snapshots are published again", c.log(name)[since:])
        self.judge(c, made)

    def test_a_flush_that_fails_moves_nothing(self):
        """RocksDB writes no more after it, and the process ends; the pointer is what it was and the log holds the rest."""
        c = self.cluster(shards=1, sets=["snapshot-entries=200", "snapshot-trailing-entries=50"]).up()
        made = self.load(c)
        for name in (c.followers(1)[0], c.leader(1)):
            self.await_pointer(c, name, index_of(c, name))
            trap = self.trap(c, name, "fdatasync:error=EIO:when=1", self.next_tables(c, name))
            trap.await_hit()
            pointer = index_of(c, name)
            c.await_end(name)
            self.assertEqual(index_of(c, name), pointer)
            self.assertEqual(trap.exit_code(), 70)
            since = len(c.log(name))
            c.start(name)
            found = re.search(r"cold start .*outcome=skipped .*applied=(\d+)", c.log(name)[since:])
            self.assertIsNotNone(found, c.log(name)[since:])
            self.assertGreaterEqual(int(found.group(1)), pointer)
            for h in made:
                h.await_acks(30)
        self.judge(c, made)

    def await_pending(self, c, name, least):
        """Wait until what a restart would replay has reached `least` bytes, and say what it is: the gauge is set at the
        next look, which comes some milliseconds after the write that a full budget refuses."""
        pending = lambda: metrics(c, name)["holdfast_fsm_replay_pending_bytes"]
        wait_for(f"{least} bytes to be pending", 15, lambda: pending() >= least)
        return pending()

    def test_writes_wait_at_the_replay_budget(self):
        """A flush hangs for long: the leader takes no more than the budget, its loop runs, it goes on by itself."""
        hangs = 20
        budget = 128 << 10
        c = self.cluster(shards=1, sets=[f"replay-budget={budget}"], env=SLOW_ELECTIONS).up()
        made = self.load(c, value_bytes=1000)
        leader = c.leader(1)
        before = metrics(c, leader)
        refused = before["holdfast_replay_budget_refused_total"]
        trap = self.trap(c, leader, f"fdatasync:delay_enter={hangs}000000:when=1", self.next_tables(c, leader))
        wait_for("writes to wait", 30, lambda: metrics(c, leader)["holdfast_replay_budget_refused_total"] > refused)
        # What was in flight when it was reached: 16 requests of each recorder.
        self.assertLess(self.await_pending(c, leader, budget), 2 * budget)
        trap.await_hit()
        for h in made:
            h.await_acks(100)
        self.assertLess(c.answer_of(leader).replay_bytes, 2 * budget)
        steps = "holdfast_snapshot_loop_seconds_sum"  # one that waited for the flush alone would take longer than this
        self.assertLess(metrics(c, leader)[steps] - before[steps], hangs * 3 / 4, "a step held up the loop")
        trap.detach()
        self.judge(c, made)

    def test_a_restart_replays_no_more_than_the_budget(self):
        """A flush hangs, writes are refused at the budget, all are killed: what the next start replays is within it."""
        budget, size = 256 << 10, 4000
        c = self.cluster(shards=1, sets=[f"replay-budget={budget}"], env=SLOW_ELECTIONS).up()
        leader = c.leader(1)
        trap = self.trap(c, leader, "fdatasync:delay_enter=60000000:when=1", self.next_tables(c, leader))
        puts = {}
        with c.wire(leader) as w:
            while True:
                key = b"k%05d" % len(puts)
                code = w.ask(wire.request(1, put=(key, key + b"." * size), deadline_ms=20000), 60).code
                if code == wire.BUSY:
                    break
                self.assertEqual(code, wire.OK)
                puts[key] = key + b"." * size
                self.assertLess(len(puts), 4 * budget // size, "nothing is refused")
        self.await_pending(c, leader, budget)
        since = len(c.log(leader))
        for n in c.names(1):
            c.send_signal(n, signal.SIGKILL)
        trap.detach()  # what it delays does not end before
        c.await_end(*c.names(1))
        c.start_in_background(*c.names(1))
        found = re.search(r"cold start .*outcome=skipped .* applied=(\d+) .*last=(\d+)", c.log(leader)[since:])
        self.assertIsNotNone(found, c.log(leader)[since:])
        applied, last = map(int, found.groups())
        replayed = (last - applied) * size  # each put is an entry; a lease a second is among them
        print(f"replayed {last - applied} entries, {replayed} bytes at most of a budget of {budget}", file=sys.stderr)
        self.assertGreater(replayed, budget // 2, "there was nothing to replay")
        self.assertLess(replayed, 2 * budget)
        with c.at_leader(1) as w:
            for key, value in puts.items():
                self.assertEqual(w.ask(wire.request(1, get=key), 20).value, value, key)


if __name__ == "__main__":
    unittest.main(verbosity=2)
