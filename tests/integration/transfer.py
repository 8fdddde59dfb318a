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
RATE = STATE // 16  # bytes a second: the middle of a stream lasts for longer than any process is kept waiting
VALUE = 32768
QUIET_TRIES = 3  # of the streams that must cost nobody its lead, on a machine that may keep a process waiting for so long itself
STREAMS, STREAMS_MOST = 3, 10


class Transfer(ClusterTest):
    def begin(self):
        """A group with some state, one follower of which lost its own and is down."""
        self.c = c = self.cluster(shards=1, sets=[f"snapshot-rate={RATE}"]).up()
        with c.at_leader(1) as w:
            for i in range(STATE // VALUE):
                done = w.ask(request(1, put=(b"k%06d" % i, os.urandom(VALUE)), deadline_ms=20000), 60)
                self.assertEqual(done.code, wire.OK)
        self.victim = c.followers(1)[0]
        c.digests_agree(1)
        c.kill(self.victim)
        shutil.rmtree(os.path.join(c.data(self.victim), "fsm"))

    def put(self, count):
        with self.c.at_leader(1) as w:
            for i in range(count):
                reply = w.ask(request(1, put=(b"more%d" % i, b"x" * 1000), deadline_ms=20000), 60)
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

    def sender(self):
        """Who sends: the leader, or who was it when the stream began."""
        return wait_for("somebody to send", 30, lambda: next(
            (n for n in self.c.alive() if n != self.victim and self.metric(n, "holdfast_snapshot_sending") == 1), None))

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
        c = self.c
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            threads.submit(c.script, "start", self.victim, check=False)
            self.await_middle()
            self.put(5)  # nobody waits for the stream
            self.assertLess(self.received(), STATE)
            self.sender()
            c.kill(self.victim)  # the one that receives
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            started = threads.submit(c.start, self.victim)
            self.await_middle()
            sender = self.sender()
            c.kill(sender)  # the one that sends, and leads
            self.put(5)
            started.result(300)
        self.assertEqual(self.metric(self.victim, "holdfast_snapshot_streams_received_total", '{outcome="done"}'), 1)
        c.start(sender)
        self.whole()

    def writes(self, shard, stop):
        """Puts one after the other until `stop`, counted in self.acked, or until one is refused; the longest
        time between two acknowledgements."""
        longest, last = 0.0, time.monotonic()
        with wire.Wire(self.c.processes[self.leaders[shard]]["client"]) as w:
            while not stop.is_set():
                key = (b"a%06d" if shard == 1 else b"z%06d") % self.acked[shard]
                reply = w.ask(request(shard, put=(key, b"x" * 100), deadline_ms=60000), 90)
                if reply.code != wire.OK:
                    self.refused.append(f"shard {shard}: {reply.code} {reply.message}")
                    break
                now = time.monotonic()
                self.acked[shard], longest, last = self.acked[shard] + 1, max(longest, now - last), now
        return longest

    def rounds(self):
        """What changes when a heartbeat is late: of each replica but the one that is started anew."""
        return {n: (s.term, s.leader, s.role, self.metric(n, "holdfast_raft_role_changes_total"))
                for n in self.c.names() if n != self.victim for s in [self.c.answer_of(n)]}

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

    def streams(self):
        """To a follower that lost its machine, one after the other, while both shards are written to. (rounds before, rounds after,
        streams, puts meanwhile, longest gaps between two puts)"""
        c = self.c
        self.leaders, self.acked, self.refused = {shard: c.leader(shard) for shard in (1, 2)}, {1: 0, 2: 0}, []
        self.victim = c.followers(1, self.leaders[1])[0]
        c.digests_agree(1)
        stop, during, streams = threading.Event(), collections.Counter(), 0
        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            writes = [threads.submit(self.writes, shard, stop) for shard in (1, 2)]
            try:
                wait_for("both shards to be written to", 60, lambda: min(self.acked.values()) > 10 or self.refused)
                before = self.rounds()
                # So fast a stream may be over between two looks, when there is little to be had of the processor.
                while streams < STREAMS or (min(during[1], during[2]) <= 2 * streams and streams < STREAMS_MOST):
                    during.update(self.fetches(threads))
                    streams += 1
                after = self.rounds()
            finally:
                stop.set()
            longest = [f.result(300) for f in writes]
        return before, after, streams, during, longest

    def test_at_full_rate_no_heartbeat_is_late_and_no_other_shard_waits(self):
        """Streams without a limit, one after the other, while both shards are written to."""
        self.c = c = self.cluster(shards=2, splits="m", env={"HOLDFAST_ELECTION_MS": "2000"}).up()
        value, count = os.urandom(MIB), 256 if FULL else 64
        with c.at_leader(1) as w:
            for i in range(count):
                self.assertEqual(w.ask(request(1, put=(b"k%06d" % i, value), deadline_ms=60000), 90).code, wire.OK)
        for _ in range(QUIET_TRIES):
            before, after, streams, during, longest = self.streams()
            print(f"{streams} streams; longest gap {longest[0] * 1000:.0f} ms of {self.acked[1]} puts, {during[1]} of them meanwhile; "
                  f"on the other shard {longest[1] * 1000:.0f} ms of {self.acked[2]}, {during[2]}", file=sys.stderr)
            if after == before:
                break
        self.assertEqual(after, before, "a heartbeat was late")
        self.assertEqual(self.refused, [])
        sender = self.leaders[1]
        wait_for("all streams through", 60, lambda: self.metric(sender, "holdfast_snapshot_streams_sent_total",
                                                                '{outcome="done"}') >= streams)
        sent = self.metric(sender, "holdfast_snapshot_sent_bytes_total")
        print(f"{sent / MIB:.0f} MiB in {self.metric(sender, 'holdfast_snapshot_send_seconds_sum'):.2f} s", file=sys.stderr)
        self.assertGreaterEqual(sent, streams * count * MIB)
        self.assertGreater(min(during[1], during[2]), 2 * streams, "puts waited for the streams")
        self.assertLess(max(longest), 5 * PATIENCE)  # ten times half a second, which would be much
        self.whole()


if __name__ == "__main__":
    unittest.main(verbosity=2)
