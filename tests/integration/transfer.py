#!/usr/bin/env python3
# transfer.py: a replica without a state machine fetches one from its leader, slowly (--snapshot-rate), while the group is
# written to: whichever of the two is killed in the middle, it ends up equal, and nothing is left behind. At full rate nobody waits.
import collections
import concurrent.futures
import glob
import os
import re
import shutil
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import damage  # noqa: E402
import wire  # noqa: E402
from cluster import FULL, PATIENCE, ClusterTest, wait_for  # noqa: E402
from wire import request  # noqa: E402

MIB = 1 << 20
STATE = (24 if FULL else 4) * MIB
RATE = MIB  # bytes a second: the middle of a stream lasts for seconds
VALUE = 32768


class Transfer(ClusterTest):
    def begin(self):
        """A group with some state, one follower of which lost its own and is down."""
        self.c = c = self.cluster(shards=1, sets=[f"snapshot-rate={RATE}"]).up()
        with c.wire(c.leader(1)) as w:
            for i in range(STATE // VALUE):
                w.ask(request(1, put=(b"k%06d" % i, os.urandom(VALUE)), deadline_ms=20000), 30)
        self.victim = c.followers(1)[0]
        c.digests_agree(1)
        c.kill(self.victim)
        shutil.rmtree(os.path.join(c.data(self.victim), "fsm"))

    def put(self, count):
        for i in range(count):
            with self.c.wire(self.c.leader(1)) as w:
                reply = w.ask(request(1, put=(b"more%d" % i, b"x" * 1000), deadline_ms=20000), 30)
                self.assertEqual(reply.code, wire.OK)

    def metric(self, name, metric, labels=""):
        text = damage.http_get(self.c.processes[name]["http"], "/metrics")
        found = re.search(r"^%s%s (\S+)$" % (re.escape(metric), re.escape(labels)), text, re.M)
        return float(found.group(1)) if found else 0

    def received(self):
        try:
            return self.metric(self.victim, "holdfast_snapshot_received_bytes_total")
        except OSError:
            return 0

    def await_middle(self):
        wait_for("the middle of the stream", 60, lambda: self.received() > STATE / 4, 0.05)
        self.assertLess(self.received(), STATE)

    def left_behind(self):
        return [path for name in self.c.names() for what in ("outgoing-*", "incoming")
                for path in glob.glob(os.path.join(self.c.data(name), "snapshots", what))]

    def whole(self):
        wait_for(lambda: f"all ready: {[self.c.status_of(n) for n in self.c.names()]}", 60,
                 lambda: all((s := self.c.status_of(n)) and s.state == "ready" and not s.trouble for n in self.c.names()))
        self.c.digests_agree(1)
        wait_for(lambda: f"nothing left: {self.left_behind()}", 60, lambda: not self.left_behind())

    def test_whoever_is_killed_in_the_middle(self):
        self.begin()
        c, sender = self.c, self.c.leader(1)
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            threads.submit(c.script, "start", self.victim, check=False)
            self.await_middle()
            self.put(5)  # nobody waits for the stream
            self.assertLess(self.received(), STATE)
            self.assertEqual(self.metric(sender, "holdfast_snapshot_sending"), 1)
            c.kill(self.victim)  # the one that receives
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            started = threads.submit(c.start, self.victim)
            self.await_middle()
            c.kill(c.leader(1))  # the one that sends, and leads
            wait_for("another leader", 60, lambda: c.leader(1) != sender)
            self.put(5)
            started.result(300)
        self.assertEqual(self.metric(self.victim, "holdfast_snapshot_streams_received_total", '{outcome="done"}'), 1)
        c.start(sender)
        self.whole()

    def writes(self, shard, stop):
        """Puts one after the other until `stop`, counted in self.acked; the longest time between two acknowledgements."""
        longest, last = 0.0, time.monotonic()
        with wire.Wire(self.c.processes[self.leaders[shard]]["client"]) as w:
            while not stop.is_set():
                key = (b"a%06d" if shard == 1 else b"z%06d") % self.acked[shard]
                reply = w.ask(request(shard, put=(key, b"x" * 100), deadline_ms=60000), 90)
                self.assertEqual(reply.code, wire.OK, f"shard {shard}: {reply.message}")
                now = time.monotonic()
                self.acked[shard], longest, last = self.acked[shard] + 1, max(longest, now - last), now
        return longest

    def rounds(self):
        """What changes when a heartbeat is late: of each replica but the one that is started anew."""
        return {n: (s.term, s.leader, s.role, self.metric(n, "holdfast_raft_role_changes_total"))
                for n in self.c.names() if n != self.victim for s in [self.c.status_of(n, 30)]}

    def fetches(self, threads):
        """The victim lost its machine and gets another; how much each shard acknowledged while the stream was on its way."""
        c, seen = self.c, []
        c.kill(self.victim)
        shutil.rmtree(os.path.join(c.data(self.victim), "fsm"))
        started = threads.submit(c.start, self.victim)
        while not started.done():
            acked = dict(self.acked)
            if self.metric(self.leaders[1], "holdfast_snapshot_sending") == 1:
                seen.append(acked)
        started.result()
        return {shard: seen[-1][shard] - seen[0][shard] if seen else 0 for shard in self.acked}

    def test_at_full_rate_no_heartbeat_is_late_and_no_other_shard_waits(self):
        """Streams without a limit, one after the other, while both shards are written to."""
        self.c = c = self.cluster(shards=2, splits="m", env={"HOLDFAST_ELECTION_MS": "2000"}).up()
        self.leaders, self.acked = {shard: c.leader(shard) for shard in (1, 2)}, {1: 0, 2: 0}
        value, count, streams = os.urandom(MIB), 256 if FULL else 64, 3
        with c.wire(self.leaders[1]) as w:
            for i in range(count):
                self.assertEqual(w.ask(request(1, put=(b"k%06d" % i, value), deadline_ms=60000), 90).code, wire.OK)
        self.victim = c.followers(1)[0]
        c.digests_agree(1)
        stop, during = threading.Event(), collections.Counter()
        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            writes = [threads.submit(self.writes, shard, stop) for shard in (1, 2)]
            try:
                wait_for("both shards to be written to", 30, lambda: min(self.acked.values()) > 10)
                before = self.rounds()
                for _ in range(streams):
                    during.update(self.fetches(threads))
                after = self.rounds()
            finally:
                stop.set()
            longest = [f.result(300) for f in writes]
        sender = self.leaders[1]
        sent = self.metric(sender, "holdfast_snapshot_sent_bytes_total")
        took = self.metric(sender, "holdfast_snapshot_send_seconds_sum")
        print(f"{sent / MIB:.0f} MiB in {took:.2f} s; longest gap {longest[0] * 1000:.0f} ms of {self.acked[1]} puts, "
              f"{during[1]} of them meanwhile; on the other shard {longest[1] * 1000:.0f} ms of {self.acked[2]}, {during[2]}",
              file=sys.stderr)
        wait_for("all streams through", 30, lambda: self.metric(sender, "holdfast_snapshot_streams_sent_total",
                                                                '{outcome="done"}') >= streams)
        self.assertGreaterEqual(sent, streams * count * MIB)
        self.assertEqual(after, before, "a heartbeat was late")
        self.assertGreater(min(during[1], during[2]), 2 * streams, "puts waited for the streams")
        self.assertLess(max(longest), 5 * PATIENCE)  # ten times half a second, which would be much
        self.whole()


if __name__ == "__main__":
    unittest.main(verbosity=2)
