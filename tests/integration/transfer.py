#!/usr/bin/env python3
# transfer.py: a replica without a state machine fetches one from its leader, slowly (--snapshot-rate), while the group is
# written to: whichever of the two is killed in the middle, it ends up equal, and nothing is left behind.
import concurrent.futures
import glob
import os
import re
import shutil
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import damage  # noqa: E402
import wire  # noqa: E402
from cluster import FULL, ClusterTest, wait_for  # noqa: E402
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
