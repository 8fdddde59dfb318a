#!/usr/bin/env python3
# snapshot_reads.py: reads at a timestamp: the same for ever, whoever leads; above every write acknowledged before; refused
# in words where they cannot be served. Real processes, two shards (keys below "m" and from it on).
import json
import os
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import wire  # noqa: E402
from cluster import FULL, PATIENCE, ClusterTest, wait_for  # noqa: E402
from wire import request  # noqa: E402

RETENTION = ("retention-seconds=100000",)


class Client:
    """Sockets of its own; asks until it is answered for good. Straight to the leaders, or all through a coordinator."""

    again = (wire.NOT_LEADER, wire.NOT_READY, wire.UNAVAILABLE, wire.BUSY, wire.NO_ROUTE, wire.OUTCOME_UNKNOWN)

    def __init__(self, c, routed=False):
        self.c, self.routed, self.sockets, self.at = c, routed, {}, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for w in self.sockets.values():
            w.socket.close()

    def ask(self, shard, **fields):
        """The reply; puts are repeated too, which changes nothing when one value is put by one client."""
        coordinators = [n for n in self.c.processes if n.startswith("coordinator/")]
        places = coordinators if self.routed or "timestamp" in fields else self.c.names(shard)
        what = "coordinator" if places is coordinators else shard

        def probe():
            name = places[self.at.get(what, 0) % len(places)]
            if name not in self.sockets:
                self.sockets[name] = self.c.wire(name)
            r = request(0 if places is coordinators else shard, **{k: v for k, v in fields.items() if k not in ("at", "ttl", "above")})
            r.deadline_ms = 2000
            if "at" in fields:
                getattr(r, r.WhichOneof("op")).at = fields["at"]
            if "ttl" in fields:
                r.put.ttl_ms = fields["ttl"]
            if "above" in fields:
                r.timestamp.above = fields["above"]
            reply = self.sockets[name].try_ask(r, 0.5 * PATIENCE if what != "coordinator" else 2.5 * PATIENCE)
            if reply is None or reply.code in self.again:
                if reply is None or reply.code == wire.NOT_LEADER:
                    self.at[what] = self.at.get(what, 0) + 1
                return None
            return reply
        return wait_for(f"an answer to {fields}", 60, probe, 0.01)

    def put(self, key, value, **more):
        reply = self.ask(shard_of(key), put=(key, value), **more)
        assert reply.code == wire.OK, reply
        return reply.written

    def timestamp(self, above=0):
        reply = self.ask(0, timestamp=True, above=above)
        assert reply.code == wire.OK, reply
        return reply.timestamp

    def get(self, key, at=0):
        return self.ask(shard_of(key), get=key, at=at)

    def scan(self, at, limit, reverse=False):
        """Every item of both shards, page after page; None: nothing is read at that timestamp any more."""
        rows = []
        for shard, start, end in ((1, b"", b"m"), (2, b"m", b""))[::-1 if reverse else 1]:
            while True:
                page = self.ask(shard, scan=dict(start=start, end=end, limit=limit, reverse=reverse), at=at)
                if page.code == wire.RESTART_ABOVE:
                    return None
                assert page.code == wire.OK, page
                assert len(page.items) <= limit
                rows += [(i.key, i.value, i.version.t, i.version.seq) for i in page.items]
                if not page.more:
                    break
                start, end = (start, page.next) if reverse else (page.next, end)
        return rows


def shard_of(key):
    return 1 if key < b"m" else 2


def milliseconds(t):
    return t >> 16


class SnapshotReads(ClusterTest):
    def two_shards(self, **more):
        return self.cluster(shards=2, splits="m", **more)

    def refused(self, c, code, name, *arguments):
        """The command's one line for it, which it also says as JSON."""
        said = c.cli(*arguments, code=code)
        self.assertEqual((said.stdout, said.stderr.count("\n")), ("", 1), said)
        told = json.loads(c.cli("--json", *arguments, code=code).stderr)["error"]
        self.assertEqual((told["code"], told["class"]), (name, "GIVE_UP"))
        return said.stderr


class Repeated(SnapshotReads):
    def setUp(self):
        self.c = self.two_shards(sets=RETENTION).up()

    def look(self, t):
        """Everything that can be read at t, in every way there is."""
        c, seen, at = self.c, {}, ("--at", str(t), "--timeout", "60000")
        for name, options in (("up", ()), ("down", ("--reverse",)), ("pages", ("--limit", "7")), ("keys", ("--keys-only",)),
                              ("middle", ("k0100", "z0030")), ("prefix", ("--prefix", "z00")), ("routed", ("--routed",))):
            seen[name] = c.cli("--json", "scan", *at, *options).stdout
        seen["dump"] = c.cli("dump", *at).stdout
        for key in ("k0001", "k0002", "k0003", "z0001", "gone", "later"):
            done = c.cli("--json", "get", key, *at, code=None)
            seen[key] = (done.returncode, done.stdout)
        for routed in (False, True):
            with Client(c, routed) as client:
                up = client.scan(t, 7) if not routed else None
                down = client.scan(t, 5, reverse=True) if not routed else None
                seen[f"wire {routed}"] = (up, down, client.get(b"k0001", t).value, client.get(b"z0001", t).value)
        self.assertEqual(seen["routed"], seen["up"])
        self.assertEqual(seen["down"].splitlines(), seen["up"].splitlines()[::-1])
        self.assertEqual(seen["wire False"][0], seen["wire False"][1][::-1])
        self.assertEqual([r[0].decode() for r in seen["wire False"][0]], [json.loads(r)["key"] for r in seen["up"].splitlines()])
        return seen

    def change(self, client, round_):
        """Writes on every key that was there, and others."""
        for i in range(0, 200, 3):
            client.put(b"k%04d" % i, b"round %d" % round_)
            client.put(b"z%04d" % i, b"round %d" % round_)
        self.c.cli("del", "k0001")
        self.c.cli("del", "z0001")
        self.c.cli("put", "later", str(round_))
        self.c.cli("delprefix", "k01")

    def test_the_same_bytes_whoever_leads(self):
        c = self.c
        lines = "".join(f"{side}{i:04d}\tfirst {i}\n" for side in "kz" for i in range(200))
        c.cli("load", "-", stdin=lines)
        c.cli("put", "gone", "x")
        c.cli("del", "gone")
        t = int(c.cli("timestamp").stdout)
        self.assertGreater(int(json.loads(c.cli("--json", "timestamp").stdout)["timestamp"]), t)
        before = self.look(t)
        self.assertEqual(len(before["up"].splitlines()), 400)
        self.assertEqual(before["dump"], lines)
        self.assertEqual((before["gone"][0], before["later"][0]), (1, 1))
        with Client(c) as client:
            self.change(client, 1)
            self.assertEqual(self.look(t), before, "after writes")
            # Looked at before each change too: leaders that nobody waits to write to wait for the coordinator, however late.
            for shard in (1, 2):
                c.transfer(shard, c.followers(shard)[0])
            self.assertEqual(self.look(t), before, "after a transfer")
            self.change(client, 2)
            self.assertEqual(self.look(t), before, "after a transfer and writes")
            killed = [c.leader(shard) for shard in (1, 2)]
            c.kill(*killed)
            self.assertEqual(self.look(t), before, "after the leaders were killed")
            self.change(client, 3)
            self.assertEqual(self.look(t), before, "after the leaders were killed and writes")
            c.start_in_background(*killed)
            c.kill("coordinator/1")
            c.start("coordinator/1")
            self.assertEqual(self.look(t), before, "after another coordinator")
        c.kill(*c.processes)
        c.up()
        self.assertEqual(self.look(t), before, "after all were killed at once")
        c.down()
        c.up()
        self.assertEqual(self.look(t), before, "after all were stopped")
        now = self.look(int(c.cli("timestamp").stdout))
        self.assertEqual(now["dump"], c.cli("dump", "--at", "0").stdout)
        self.assertNotEqual(now["dump"], before["dump"])

    def test_what_is_under_way_does_not_show_later(self):
        """Writes go on all the time; what was read at T is read again when they are in, under other leaders too."""
        c, stop, written, kept = self.c, threading.Event(), [0, 0], []

        def write(n, key):
            with Client(c) as client:
                while not stop.is_set():
                    client.put(key % (written[n] % 50), b"%d" % written[n])
                    written[n] += 1
        threads = [threading.Thread(target=write, args=(n, key)) for n, key in enumerate((b"k%d", b"z%d"))]
        for thread in threads:
            thread.start()
        try:
            with Client(c) as client:
                for i in range(400 if FULL else 40):
                    if i % 20 == 10:
                        c.transfer(1 + i // 20 % 2, c.followers(1 + i // 20 % 2)[0])
                    goal = [n + 1 for n in written]
                    wait_for("writes of both", 60, lambda: written[0] >= goal[0] and written[1] >= goal[1], 0.001)
                    t = client.timestamp()
                    rows = client.scan(t, 9)
                    again = client.scan(t, 30)
                    self.assertIn(again, (rows, None), "a moment later")
                    if again is not None:
                        kept.append((t, rows))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        with Client(c) as client:
            same = 0
            for t, rows in kept:
                again = client.scan(t, 30)  # where a new leader had to wait long for the coordinator, as on a slow machine: None
                self.assertIn(again, (rows, None))
                self.assertTrue(all(version < t for _, _, version, _ in rows))
                same += again is not None
            self.assertGreater(same, 0)


class Expiry(SnapshotReads):
    def test_is_judged_as_of_the_read(self):
        c = self.two_shards(sets=RETENTION).up()
        ttl = 1500
        with Client(c) as client:
            for key in (b"k", b"z"):
                client.put(key + b"-stays", b"v")
                for _ in range(50):  # a slow machine may take longer than the time to live
                    ends = client.put(key, b"v", ttl=ttl).t + (ttl << 16)
                    t = client.timestamp()
                    if t < ends:
                        break
                self.assertLess(t, ends)
                self.assertEqual(client.get(key, t).value, b"v")
                wait_for("its end", 20, lambda: client.get(key).code == wire.NOT_FOUND)
                late = client.timestamp()
                self.assertGreaterEqual(late, ends)
                name = key.decode()
                for _ in range(2):
                    for at, there in ((0, False), (late, False), (ends, False), (ends - 1, True), (t, True)):
                        self.assertEqual(client.get(key, at).code, wire.OK if there else wire.NOT_FOUND, at)
                        rows = [r[0] for r in client.scan(at, 3) if r[0].startswith(key)]
                        self.assertEqual(rows, ([key] if there else []) + [key + b"-stays"], at)
                        self.assertEqual(c.cli("--routed", "get", name, "--at", str(at), code=None).returncode, 0 if there else 1)
                        dumped = c.cli("dump", "--prefix", name, "--at", str(at)).stdout
                        self.assertEqual(dumped, f"{name}\tv\n" * there + f"{name}-stays\tv\n")
                    self.assertEqual(client.ask(shard_of(key), cas=(key, b"v", b"w")).code, wire.COMPARE_FAILED)
                    leader = c.leader(shard_of(key))  # the same under the next leader
                    c.kill(leader)
                    self.assertEqual(client.get(key, t).value, b"v")  # it has its time: no mark was needed
                    self.assertEqual(client.get(key).code, wire.NOT_FOUND, "time went back")
                    c.start(leader)
                done = client.ask(shard_of(key), cas=(key, None, b"anew")).code
                if done == wire.COMPARE_FAILED:  # it was asked twice, the first answer being late
                    self.assertEqual(client.get(key).value, b"anew")
                else:
                    self.assertEqual(done, wire.OK)
                self.assertEqual(client.get(key, t).value, b"v")
                self.assertEqual(client.get(key, late).code, wire.NOT_FOUND)


class Refused(SnapshotReads):
    def clocks(self, c):
        found = [c.answer_of(n) for n in c.processes]
        return {f"{s.role} {s.shard}/{s.replica}": (milliseconds(s.clock), milliseconds(s.ceiling)) for s in found}

    def test_a_timestamp_of_nobody_moves_nothing(self):
        c = self.two_shards(replicas=1).up()
        far, begun = 1 << 63, time.monotonic()
        with Client(c) as client, Client(c, routed=True) as routed:
            client.put(b"k", b"v")
            t = client.timestamp()
            for at in (far, far + 1, (1 << 64) - 2, t + (30 * 86400 * 1000 << 16)):  # a shard that was away for days is not sure of less
                for who in (client, routed):
                    for key in (b"k", b"z"):
                        self.assertEqual(who.get(key, at).code, wire.FUTURE_TIMESTAMP)
                        self.assertEqual(who.ask(shard_of(key), scan=dict(start=key, end=key + b"\xff"), at=at).code,
                                         wire.FUTURE_TIMESTAMP)
                self.assertEqual(client.ask(0, timestamp=True, above=at).code, wire.FUTURE_TIMESTAMP)
                self.refused(c, 6, "FUTURE_TIMESTAMP", "get", "k", "--at", str(at))
                self.refused(c, 6, "FUTURE_TIMESTAMP", "scan", "--at", str(at))
                self.refused(c, 6, "FUTURE_TIMESTAMP", "timestamp", "--above", str(at))
            soon = t + (30000 << 16)  # may be true in a moment: waited for, and not observed
            self.assertEqual(c.cli("--timeout", "300", "get", "k", "--at", str(soon), code=None).returncode, 3)
            after = client.timestamp()
            latest = client.put(b"k", b"w").t
        clocks = self.clocks(c)
        elapsed = (time.monotonic() - begun) * 1000
        for name, (clock, ceiling) in clocks.items():
            self.assertLess(max(clock, ceiling), milliseconds(t) + elapsed + 10000, name)
        for clock in (after, latest):
            self.assertLess(milliseconds(clock), milliseconds(t) + elapsed + 10000)

    def test_one_too_old_is_told_so(self):
        c = self.two_shards(replicas=1, sets=("retention-seconds=1",), coordinator_sets=("retain-lease-seconds=1",)).up()
        c.cli("put", "k", "v")
        old = c.cli("timestamp").stdout.strip()
        for key in ("k", "z"):
            wait_for("its age", 30, lambda: c.cli("get", key, "--at", old, code=None).returncode == 6)  # noqa: B023
        for arguments in (("get", "k"), ("--routed", "get", "k"), ("scan",), ("scan", "--reverse"), ("dump",)):
            said = self.refused(c, 6, "TOO_OLD", *arguments, "--at", old)
            self.assertIn("holdfast timestamp", said)
        self.assertEqual(c.cli("get", "k").stdout, "v\n")
        wait_for("a read that is quick enough", 60,
                 lambda: c.cli("get", "k", "--at", c.cli("timestamp").stdout.strip(), code=None).stdout == "v\n")


class Seen(SnapshotReads):
    def both(self, c, writer, reader, count, name):
        for i in range(count):
            key, value = (b"a-%s", b"z-%s")[i % 2] % name, b"%d" % i
            written = writer.put(key, value)
            t = reader.timestamp()
            found = reader.get(key, t)
            if found.code == wire.RESTART_ABOVE:  # a new leader that waited too long for the coordinator
                t = reader.timestamp(found.timestamp)
                found = reader.get(key, t)
            self.assertEqual((found.code, found.value), (wire.OK, value), f"{name}: {i}, written at {written.t}, read at {t}")

    def test_by_a_snapshot_of_another_client(self):
        c = self.two_shards(sets=RETENTION).up()
        for routed in (False, True):
            with Client(c, routed) as writer, Client(c, not routed) as other, Client(c, routed) as reader:
                self.both(c, writer, reader, 5000 if FULL else 150, b"same %d" % routed)
                self.both(c, writer, other, 500 if FULL else 50, b"other %d" % routed)

    def test_at_a_leader_just_elected(self):
        c = self.two_shards(sets=RETENTION).up()
        with Client(c) as writer, Client(c) as reader, Client(c, routed=True) as routed:
            for i in range(30 if FULL else 4):
                leader = c.leader(1 + i % 2)
                c.kill(leader)
                self.both(c, writer, (reader, routed)[i // 2 % 2], 10, b"kill %d" % i)
                c.start(leader)


class WithoutCoordinator(SnapshotReads):
    def mark_of(self, c, client, t, away):
        """A leader goes on from its ceiling while the coordinator is `away`; the mark it leaves."""
        if away == "killed":
            c.kill("coordinator/1")
        else:
            c.send_signal("coordinator/1", signal.SIGSTOP)
        self.kill_leader(c)
        client.put(b"k", away.encode())
        told = client.get(b"k", t)
        self.assertEqual(told.code, wire.RESTART_ABOVE)
        self.assertGreater(told.timestamp, t)
        self.assertEqual(client.get(b"k").value, away.encode(), "the latest is served")
        self.assertEqual(client.get(b"z", t).value, b"before", "the other shard's leader has not changed")
        if away == "killed":
            c.start("coordinator/1")
        else:
            c.send_signal("coordinator/1", signal.SIGCONT)
        return told.timestamp

    def kill_leader(self, c):
        self.killed = c.leader(1)
        c.kill(self.killed)

    def everything_at(self, c, client, t, mark, value):
        self.assertEqual(client.get(b"k", t).timestamp, mark)
        said = self.refused(c, 4, "RESTART_ABOVE", "--timeout", "60000", "get", "k", "--at", str(t))
        self.assertIn(f"holdfast timestamp --above {mark}", said)
        self.refused(c, 4, "RESTART_ABOVE", "--timeout", "60000", "scan", "--at", str(mark))
        fresh = int(c.cli("--timeout", "60000", "timestamp", "--above", str(mark)).stdout)
        self.assertGreater(fresh, mark)
        self.assertEqual(c.cli("get", "k", "--at", str(fresh)).stdout, value + "\n")
        self.assertEqual(client.get(b"k", fresh).value, value.encode())
        self.assertEqual(client.get(b"k", mark + 1).value, value.encode())

    def begin(self):
        c = self.two_shards(sets=RETENTION).up()
        client = Client(c)
        self.addCleanup(client.__exit__)
        client.put(b"k", b"before")
        client.put(b"z", b"before")
        return c, client, client.timestamp()

    def test_restarts_above_the_mark(self):
        c, client, t = self.begin()
        self.assertEqual(client.get(b"k", t).value, b"before")
        for away in ("stopped", "killed"):
            mark = self.mark_of(c, client, t, away)
            # Its own timestamp may lie below the mark: then it takes another before anything is printed.
            self.assertEqual(c.cli("--timeout", "60000", "dump").stdout, f"k\t{away}\nz\tbefore\n")
            self.everything_at(c, client, t, mark, away)
            c.start(self.killed)
        c.transfer(1, self.killed)  # every later leader says so too
        self.assertEqual(client.get(b"k", t).code, wire.RESTART_ABOVE)
        c.kill(*c.processes)
        c.up()
        self.everything_at(c, client, t, mark, "killed")
        self.assertEqual(client.get(b"z", t).value, b"before")


class Coordinators(SnapshotReads):
    def active(self, c):
        def probe():
            found = [n for n in c.processes if n.startswith("coordinator/") for s in [c.status_of(n, 0.5)] if s and s.role == "active"]
            return found[0] if len(found) == 1 else None
        return wait_for("one active coordinator", 60, probe)

    def test_another_is_asked_when_one_is_gone_or_hangs(self):
        c = self.two_shards(replicas=1, coordinators=2).up()
        c.cli("put", "k", "v")
        last = int(c.cli("timestamp").stdout)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            name = self.active(c)
            c.send_signal(name, number)
            fresh = int(c.cli("--timeout", "60000", "timestamp").stdout)
            self.assertGreater(fresh, last)
            for routed in ((), ("--routed",)):
                self.assertEqual(c.cli("--timeout", "60000", *routed, "get", "k", "--at", str(fresh)).stdout, "v\n")
                c.cli("--timeout", "60000", *routed, "put", "k", "v")
            last = fresh
            if number == signal.SIGSTOP:
                c.send_signal(name, signal.SIGCONT)
            else:
                c.await_end(name)
                c.start(name)
            self.assertGreater(int(c.cli("--timeout", "60000", "timestamp").stdout), last)

    def test_without_any_a_dump_says_what_it_can_do(self):
        c = self.two_shards(replicas=1).up()
        c.cli("load", "-", stdin="a\t1\nz\t2\n")
        c.kill("coordinator/1")
        replicas = ("-c", ",".join(c.processes[n]["client"] for n in c.names()))
        for command in ("dump", "timestamp"):
            said = c.cli(*replicas, "--timeout", "500", command, code=3)
            self.assertEqual((said.stdout, said.stderr.count("\n")), ("", 1))
            self.assertEqual(command == "dump", "--at 0" in said.stderr)
        self.assertEqual(c.cli(*replicas, "dump", "--at", "0").stdout, "a\t1\nz\t2\n")
        for arguments in (("get", "a", "--at", "x"), ("scan", "--at", str(1 << 64)), ("timestamp", "--at", "5"),
                          ("get", "a", "--above", "5"), ("timestamp", "5")):
            self.assertEqual(c.cli(*arguments, code=2).stderr.count("\n"), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
