#!/usr/bin/env python3
# chaos.py: real processes under load are killed, paused and crashed at named points; afterwards nothing may be missing.
import os
import random
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from cluster import FULL, AtLeader, ClusterTest, Hammer, StartFailed, parse_dump, wait_for  # noqa: E402
import histories  # noqa: E402
import starts  # noqa: E402
import wire  # noqa: E402
from wire import request  # noqa: E402

# Settings rotate by run: both ways of syncing the state machine, segments and write buffers so small that they turn over,
# snapshots so often that the log is cut all the time.
OFTEN = ["snapshot-entries=40", "snapshot-trailing-entries=500", "snapshot-log-bytes=524288", "replay-budget=262144",
         "log-segment-bytes=65536", "fsm-buffer-bytes=65536"]
RUNS = [
    ("nosync", []),
    ("sync", ["fsm-sync-mode=sync"]),
    ("small", ["log-segment-bytes=65536", "fsm-buffer-bytes=65536"]),
    ("sync-small", ["fsm-sync-mode=sync", "log-segment-bytes=65536", "fsm-buffer-bytes=65536"]),
    ("often", OFTEN),
    ("sync-often", ["fsm-sync-mode=sync", *OFTEN]),
]
SEED = int(os.environ.get("HOLDFAST_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)


class Chaos(ClusterTest):
    def setUp(self):
        self.random = random.Random(SEED)
        print(f"{self.id()}: replay with HOLDFAST_CHAOS_SEED={SEED}", file=sys.stderr)

    def hammers(self, c, **options):
        shape = dict(hot=3, unique=2, window=32, pause_us=1500, seed=SEED, **options)
        made = [Hammer(c, tag, **shape, **extra) for tag, extra in [
            ("p", {}), ("q", {"routed": True}), ("r", {"deadline_ms": 250})]]  # r: leaves before the answer, so unknowns
        for h in made:
            h.await_acks(50)
        return made

    def judge(self, c, made, every_replica=True):
        """Stops the load; returns the faults: histories against content, digests, replicas among each other, starts."""
        for h in made:
            h.await_more_than(100)
        counts = [h.stop() for h in made]
        for shard in range(1, c.shape["shards"] + 1):
            c.digests_agree(shard)
        dump = parse_dump(c.cli("dump", text=False).stdout)
        faults = histories.judge(c, made, dump)
        print(f"{self.id().rpartition('.')[2]}: {counts}, {len(dump)} keys at the end", file=sys.stderr)
        if every_replica and not faults:
            faults += self.faults_of_replicas(c, dump)
        return faults + starts.faults(c)

    def faults_of_replicas(self, c, dump):
        """Each replica in turn leads and must show the same content; then all are killed at once and come back."""
        faults = []
        for shard in range(1, c.shape["shards"] + 1):
            for name in c.names(shard):
                c.transfer(shard, name)
                if parse_dump(c.cli("dump", text=False).stdout) != dump:
                    faults.append(f"{name} shows another content when it leads")
        c.kill(*c.names())
        c.start_in_background(*c.names())
        if parse_dump(c.cli("dump", text=False).stdout) != dump:
            faults.append("the content changed when all replicas were killed at once")
        return faults

    def victims(self, c, how):
        shard = self.random.choice([1, 2])
        leader = c.leader(shard)
        others = [n for n in c.alive(shard) if n != leader]
        if how == "leader":
            return [leader]
        if how == "follower":
            return [self.random.choice(others)]
        if how == "two followers":
            return others
        if how == "leader and follower":
            return [leader, self.random.choice(others)]
        return [leader, c.leader(3 - shard)]

    def kills(self, name, sets, kills_wanted):
        c = self.cluster(sets=sets).up()
        made = self.hammers(c)
        kills, slowest = 0, 0.0
        hows = ["leader", "follower", "leaders of both shards", "two followers", "leader", "leader and follower"]
        while kills < kills_wanted:
            how = hows[(kills + self.random.randrange(2)) % len(hows)]
            chosen = self.victims(c, how)
            c.kill(*chosen)
            kills += len(chosen)
            if how in ("leader", "follower", "leaders of both shards"):
                for h in made:
                    h.await_acks(20)  # a majority goes on without them
            begin = time.monotonic()
            c.start_in_background(*chosen)
            slowest = max(slowest, time.monotonic() - begin)
            for h in made:
                h.await_acks(50)
        print(f"{name}: {kills} SIGKILLs, slowest restart ready after {slowest:.2f} s", file=sys.stderr)
        self.assertEqual(sorted(c.alive()), sorted(c.names()), "a replica ended by itself")
        self.assertEqual(self.judge(c, made), [])

    def test_kills_nosync(self):
        self.kills(*RUNS[0], 40 if FULL else 14)

    def test_kills_sync(self):
        self.kills(*RUNS[1], 40 if FULL else 8)

    def test_kills_small_segments(self):
        self.kills(*RUNS[2], 40 if FULL else 14)

    def test_kills_sync_small_segments(self):
        self.kills(*RUNS[3], 40 if FULL else 8)

    def test_kills_snapshots_often(self):
        self.kills(*RUNS[4 + SEED % 2], 80 if FULL else 10)

    def pauses(self, c, made, rounds):
        """A leader stops for longer than an election and wakes up with requests in its queue."""
        for _ in range(rounds):
            leader = c.leader(self.random.choice([1, 2]))
            shard = c.processes[leader]["shard"]
            c.send_signal(leader, signal.SIGSTOP)
            try:
                wait_for("a new leader", 60, lambda: self.leads_elsewhere(c, shard, leader))
                for h in made:
                    h.await_acks(30)
            finally:
                c.send_signal(leader, signal.SIGCONT)
            for h in made:
                h.await_acks(50)

    @staticmethod
    def leads_elsewhere(c, shard, old):
        """The name of another leader that is ready; None: there is none."""
        found = {n: c.status_of(n, 0.5) for n in c.names(shard) if n != old}
        return next((n for n, s in found.items() if s is not None and s.role == "leader" and s.state == "ready"), None)

    def written_elsewhere(self, c, shard, old, key, value):
        new = self.leads_elsewhere(c, shard, old)
        if new is None:
            return False
        with c.wire(new) as w:
            reply = w.try_ask(request(shard, put=(key, value)))
        return reply is not None and reply.code == wire.OK

    def test_paused_leaders(self):
        c = self.cluster().up()
        made = self.hammers(c)
        self.pauses(c, made, 20 if FULL else 4)
        self.assertEqual(self.judge(c, made, every_replica=False), [])

    def test_crash_points(self):
        """Each named place of the write path, one after the other; every restart finds a directory it can go on with."""
        points = ["log.before_write", "log.after_write", "log.after_sync", "log.new_segment", "fsm.before_write",
                  "fsm.after_write", "fsm.before_flush", "fsm.after_flush"]
        for _, sets in (RUNS[2:4] if FULL else RUNS[2 + SEED % 2:][:1]):  # a new segment comes soon in the small ones
            c = self.cluster(sets=sets).up()
            made = self.hammers(c, value_bytes=1024)
            for point in points * (3 if FULL else 1):
                self.crash_at(c, made, point)
            self.assertEqual(self.judge(c, made), [])

    def crash_at(self, c, made, point):
        """Restarts a replica with the crash point armed, waits for its end there, starts it again."""
        name = self.random.choice(c.names(self.random.choice([1, 2])))
        how = f"{point}:{self.random.randrange(1, 3)}"
        c.kill(name)
        log_size = len(c.log(name))
        if "flush" in point:
            how = point + ":1"
        try:
            c.start(name, env={"HOLDFAST_CRASH_POINT": how})
            if "flush" in point:  # at the latest the end flushes
                c.signal_if_running(name, signal.SIGTERM)  # unless something flushed before
        except (StartFailed, AssertionError):  # it ended before it was ready
            pass
        c.await_end(name, seconds=120)
        self.assertNotIn("stopped applied", c.log(name)[log_size:], f"{how} was not passed")
        c.start(name)
        for h in made:
            h.await_acks(20)

    def stale_reads(self, c, rounds):
        """Asks a leader that slept through its own deposition, before it can know; how often it answered from the past."""
        stale = i = 0
        while i < rounds:
            old = c.leader(1)
            key = b"stale-%d" % i
            with c.wire(old) as w:
                reply = w.try_ask(request(1, put=(key, b"past")))
                if reply is None or reply.code in AtLeader.AGAIN:
                    continue  # another one came to lead
                self.assertEqual(reply.code, wire.OK)
                i += 1
                c.send_signal(old, signal.SIGSTOP)
                try:
                    wait_for("a new leader's write", 60,
                             lambda old=old, key=key: self.written_elsewhere(c, 1, old, key, b"present"))
                    ids = [w.send(request(1, get=key)) for _ in range(20)]
                finally:
                    c.send_signal(old, signal.SIGCONT)
                got = w.receive(ids, 20)
                stale += any(r.code == wire.OK and r.value == b"past" for r in got.values())
        return stale

    def test_reads_of_a_leader_that_slept(self):
        self.assertEqual(self.stale_reads(self.cluster(shards=1).up(), 20 if FULL else 5), 0)

    def test_canary_wrong_apply(self):
        """One replica whose state machine reads past its own batch must be found by the digests."""
        c = self.cluster(shards=1).up()
        name = c.followers(1)[0]
        c.kill(name)
        c.start(name, env={"HOLDFAST_PLANTED_BUG": "fsm.ignore_overlay"})
        made = [Hammer(c, tag, hot=12, unique=1, keys=2, pause_us=0) for tag in "pq"]
        made[0].await_acks(3000)
        with self.assertRaisesRegex(AssertionError, "digests differ"):
            self.judge(c, made)

    def test_canary_lost_entries(self):
        """Leaders that acknowledge some writes and log nothing must be found by the histories."""
        c = self.cluster(shards=1, env={"HOLDFAST_PLANTED_BUG": "native.lose_entry"}, engine="native").up()
        made = [Hammer(c, tag, hot=2, unique=1, pause_us=1000, deadline_ms=1000) for tag in "pq"]
        made[0].await_acks(300)
        self.assertNotEqual(self.judge(c, made, every_replica=False), [])

    def test_canary_repeated_requests(self):
        """A state machine that forgets which requests it has executed must be found by the histories."""
        c = self.cluster(shards=1, env={"HOLDFAST_PLANTED_BUG": "fsm.apply_twice"}).up()
        for attempt in range(8):
            made = [Hammer(c, f"{tag}{attempt}", hot=8, unique=0, keys=2, pause_us=0) for tag in "pq"]
            for _ in range(3):
                made[0].await_acks(300)
                leader = c.leader(1)
                c.kill(leader)
                c.leader(1)
                c.start(leader)
            faults = self.judge(c, made, every_replica=False)
            if faults:
                self.assertIn("not linearizable", faults[0])
                return
        self.fail("the planted bug was not found")


if __name__ == "__main__":
    unittest.main(verbosity=2)
