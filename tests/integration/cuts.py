#!/usr/bin/env python3
# cuts.py: strict cuts on real processes: no cut shows a write without one that was acknowledged before it began (I8).
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import wire  # noqa: E402
from cluster import FULL, PATIENCE, ClusterTest, parse_dump, tool, wait_for  # noqa: E402
from wire import request  # noqa: E402

PAIRS = [(b"a-x%d" % i, b"z-y%d" % i) for i in range(6)]  # a key of shard 1, a key of shard 2
X, Y = PAIRS[0]
LOST = (wire.NOT_LEADER, wire.NOT_READY, wire.UNAVAILABLE, wire.OUTCOME_UNKNOWN, wire.BUSY, wire.NO_ROUTE, None)


def backup_records(path):
    """(key, value) of each record of a backup's file."""
    out = subprocess.run([tool("holdfast-shard"), "--backup-read", path], check=True, stdout=subprocess.PIPE).stdout
    at, head = 0, True
    while at < len(out):
        size = int.from_bytes(out[at:at + 4], "little")
        if not head:
            record = wire.pb.BackupRecord()
            record.ParseFromString(out[at + 4:at + 4 + size])
            yield record.key, record.value
        at, head = at + 4 + size, False


class Door:
    """Speaks to whoever leads a shard, one request at a time, until it is answered."""

    def __init__(self, cluster, shard):
        self.cluster, self.shard, self.wire = cluster, shard, None

    def ask(self, seconds=60, **fields):
        until = time.monotonic() + seconds * PATIENCE
        while time.monotonic() < until:
            self.wire = self.wire or self.cluster.wire(self.cluster.leader(self.shard))
            reply = self.wire.try_ask(request(self.shard, deadline_ms=2000, **fields), 3)
            code = reply.code if reply else None
            if code not in LOST:
                return reply
            if code != wire.NOT_READY:
                self.close()
        raise AssertionError(f"shard {self.shard}: no answer to {fields}")

    def close(self):
        if self.wire:
            self.wire.socket.close()
        self.wire = None


class Writer(threading.Thread):
    """Writes i to x, and when that is acknowledged to y; then i + 1."""

    def __init__(self, cluster, pair):
        super().__init__(daemon=True)
        self.pair, self.doors = pair, (Door(cluster, 1), Door(cluster, 2))
        self.done, self.stopping, self.failed = 0, False, None

    def run(self):
        try:
            while not self.stopping:
                value = b"%d" % (self.done + 1)
                for door, key in zip(self.doors, self.pair):
                    code = door.ask(put=(key, value)).code
                    assert code == wire.OK, code
                self.done += 1
        except Exception as e:  # told by stop()
            self.failed = e

    def stop(self):
        self.stopping = True
        self.join()
        for d in self.doors:
            d.close()
        if self.failed:
            raise self.failed


class Pauses(threading.Thread):
    """Stops the leader of shard 2 again and again for some milliseconds: what it is told waits in its sockets meanwhile."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.name, self.stopping, self.random = cluster, cluster.leader(2), False, random.Random(5)

    def run(self):
        while not self.stopping:
            self.cluster.signal_if_running(self.name, signal.SIGSTOP)
            time.sleep(self.random.uniform(0.002, 0.03))
            self.cluster.signal_if_running(self.name, signal.SIGCONT)
            time.sleep(self.random.uniform(0.001, 0.01))

    def stop(self):
        self.stopping = True
        self.join()


class Cuts(ClusterTest):
    def begin(self, **options):
        # Nobody loses its place for a pause.
        c = self.cluster(shards=2, env={"HOLDFAST_HEARTBEAT_MS": "100", "HOLDFAST_ELECTION_MS": "2000", **options}).up()
        self.c, self.cuts = c, 0
        self.coordinator = wire.Wire(c.processes["coordinator/1"]["client"])
        self.addCleanup(self.coordinator.socket.close)
        self.reads = Door(c, 1), Door(c, 2)
        self.addCleanup(lambda doors=self.reads: [d.close() for d in doors])
        for pair in PAIRS:
            for door, key in zip(self.reads, pair):
                self.assertEqual(door.ask(put=(key, b"0")).code, wire.OK)
        return c

    @contextlib.contextmanager
    def writing(self, c):
        """All pairs are written meanwhile; gives the writers."""
        writers = [Writer(c, pair) for pair in PAIRS]
        for w in writers:
            w.start()
        try:
            for w in writers:
                wait_for("a writer's first round", 90, lambda w=w: w.done or w.failed)
            yield writers
        finally:
            for w in writers:
                w.stop()
        print(f"{self.cuts} cuts, {sum(w.done for w in writers)} rounds of writes", file=sys.stderr)

    def cut(self, seconds=30):
        reply = self.coordinator.ask(request(0, cut=True, deadline_ms=int(1000 * seconds * PATIENCE)), seconds * PATIENCE + 5)
        self.assertEqual(reply.code, wire.OK, reply.message)
        self.cuts += 1
        return reply.timestamp

    def seen(self, t):
        """Each pair as of t: [(x, y)…]; None if one shard cannot be read there any more, as when another leads it since."""
        sides = []
        for side, door in enumerate(self.reads):
            reply = door.ask(scan=dict(start=PAIRS[0][side], end=PAIRS[-1][side] + b"\0", at=t))
            if reply.code == wire.RESTART_ABOVE:
                return None
            self.assertEqual((reply.code, len(reply.items)), (wire.OK, len(PAIRS)), reply.message)
            sides.append([int(item.value) for item in reply.items])
        return list(zip(*sides))

    def find_violation(self, most):
        """Cuts until one shows a y without its x; None if none of `most` does."""
        for i in range(most):
            t = self.cut()
            got = self.seen(t)
            if got and any(y > x for x, y in got):
                return t, got
            if got and i % 10 == 9:
                self.assertIn(self.seen(t), (got, None), "the same cut, read again")
        return None

    def test_no_cut_shows_y_without_x(self):
        c = self.begin()
        pauses = Pauses(c)
        with self.writing(c) as writers:
            pauses.start()
            try:
                self.assertIsNone(self.find_violation(3000 if FULL else 150))
                read, until = 0, time.monotonic() + 300 * PATIENCE
                while read < (200 if FULL else 20):  # what was acknowledged before it was asked for is in it
                    self.assertLess(time.monotonic(), until, f"{read} cuts could be read")
                    done = [w.done for w in writers]
                    got = self.seen(self.cut())
                    for (x, y), least in zip(got or [], done):
                        self.assertTrue(x >= least and y >= least, (x, y, least))
                    read += got is not None
            finally:
                pauses.stop()

    def pairs_of(self, found):
        """{key: number} as dump or a backup has them: every y's x is there, too."""
        for x, y in PAIRS:
            self.assertGreaterEqual(found[x], found[y], "y without x")

    def test_dumps_and_backups_are_cuts(self):
        c = self.begin()
        pauses = Pauses(c)
        with self.writing(c):
            pauses.start()
            try:
                compared = 0
                for i in range(40 if FULL else 6):
                    dump = parse_dump(c.cli("dump", text=False).stdout)
                    self.pairs_of({k: int(v) for k, v in dump.items()})
                    path = os.path.join(c.dir, f"backup-{i}")
                    said = json.loads(c.cli("--json", "backup", "create", path).stdout)
                    self.assertEqual(json.loads(c.cli("--json", "backup", "verify", path).stdout)["timestamp"], said["timestamp"])
                    found = {k: int(v) for f in said["files"] for k, v in backup_records(f"{path}/shard-{f['shard']}.backup")}
                    self.pairs_of(found)
                    got = self.seen(int(said["timestamp"]))
                    for (x, y), (at_x, at_y) in zip(PAIRS, got or []):
                        self.assertEqual((found[x], found[y]), (at_x, at_y), "not what is read at its timestamp")
                    compared += got is not None
                self.assertGreater(compared, 0)
            finally:
                pauses.stop()

    def test_leaders_change(self):
        """Killed, moved: a cut comes again and again, and is one."""
        c = self.begin()
        with self.writing(c):
            for i in range(30 if FULL else 4):
                shard = 1 + i % 2
                name = c.leader(shard)
                if i % 4 < 2:
                    c.kill(name)
                else:
                    c.cli("leader", "transfer", str(shard), code=None)
                self.assertIsNone(self.find_violation(10))
                if i % 4 < 2:
                    c.start(name)

    def test_writes_wait_only_for_a_moment(self):
        """A hold that nobody releases ends by itself, and so does one whose coordinator is gone."""
        c = self.begin()
        with c.wire(c.leader(1)) as w:
            hold = wire.pb.Request(shard=1)
            hold.hold.id = 7
            check = wire.pb.Request(shard=1)
            check.check.SetInParent()
            # At once: it lasts for half a second only.
            held, sent, read, opened, checked = (w.send(r) for r in (
                hold, request(1, put=(X, b"1"), deadline_ms=20000), request(1, get=X), request(1, session_open=True), check))
            got = w.receive([held, sent, read, opened, checked], 30 * PATIENCE)
            self.assertEqual(got[held].code, wire.OK)
            self.assertEqual(got[read].value, b"0", "reads do not wait")
            self.assertEqual(got[checked].code, wire.OK, "nor does what is given no version")
            self.assertEqual([got[i].code for i in (sent, opened)], [wire.OK, wire.OK])
            late = wire.pb.Request(shard=1)
            late.hold.id, late.hold.at = 7, self.coordinator.ask(request(0, timestamp=True), 30 * PATIENCE).timestamp
            self.assertEqual(w.ask(late, 30 * PATIENCE).code, wire.ABSENT, "it stamped since")
        self.assertTrue(self.cut())

    def test_without_a_shard_there_is_none_and_others_go_on(self):
        c = self.begin()
        c.kill(*c.names(2))
        said = []

        def refused():  # or, for a moment, for what the other shard was late with
            said.append(self.coordinator.ask(request(0, cut=True, deadline_ms=500), 30 * PATIENCE))
            self.assertNotEqual(said[-1].code, wire.OK)
            return said[-1].code == wire.UNAVAILABLE and "shard 2" in said[-1].message
        wait_for(lambda: f"a refusal for shard 2: {said[-1]}", 60, refused)
        self.assertEqual(self.reads[0].ask(put=(X, b"1")).code, wire.OK)

    def test_canary_no_hold(self):
        """A timestamp drawn while others stamp is no cut: the check above finds one that is wrong."""
        c = self.begin(HOLDFAST_PLANTED_BUG="cut.no_hold")
        pauses = Pauses(c)
        with self.writing(c):
            pauses.start()
            try:
                found = self.find_violation(20000)
            finally:
                pauses.stop()
        print(f"found after {self.cuts} cuts: {found}", file=sys.stderr)
        self.assertIsNotNone(found)


if __name__ == "__main__":
    unittest.main(verbosity=2)
