#!/usr/bin/env python3
# isolation.py: one part in trouble leaves the others alone: a stopped shard, a SIGTERM under load, a huge prefix deleted,
# a full disk.
import contextlib
import os
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import faults  # noqa: E402
import histories  # noqa: E402
import wire  # noqa: E402
from cluster import ASAN, ENGINE, FULL, PATIENCE, SLOW_ELECTIONS, ClusterTest, Hammer, parse_dump, wait_for  # noqa: E402
from wire import request  # noqa: E402

PREFIX_KEYS = 1000000 if FULL else 20000 if ASAN else 200000
NO_STALL_S = 0.6 * PATIENCE  # a deletion key by key would take longer
TURNS = 4  # for that: a busy machine stalls now and then, what is wrong stalls each time


def slowest(path, since_ns):
    """The longest time an operation that was invoked after `since_ns` took, in seconds."""
    return max((int(r[6]) - int(r[5]) for r in histories.rows(path) if int(r[5]) >= since_ns), default=0) / 1e9


@contextlib.contextmanager
def small_disk(c, path):
    """A file system of 160 MB at `path`, for as long as the cluster runs."""
    root = [] if os.geteuid() == 0 else ["sudo"]
    os.makedirs(path)
    subprocess.run([*root, "mount", "-t", "tmpfs", "-o", "size=160m,mode=1777", "tmpfs", path], check=True)
    try:
        yield
    finally:
        c.down()
        subprocess.run([*root, "umount", path], check=True)


class Isolation(ClusterTest):
    def test_a_stopped_shard_leaves_the_other_answering(self):
        c = self.cluster(shards=2).up()
        for routed in ([], ["--routed"]):
            c.cli(*routed, "put", "apple", "1")
            c.cli(*routed, "put", "zebra", "1")
        for n in c.names(2):
            c.send_signal(n, signal.SIGSTOP)
        try:
            with wire.Wire(c.processes["coordinator/1"]["client"]) as w:
                stuck = [w.send(request(put=(b"zebra", b"%d" % i), deadline_ms=12000)) for i in range(200)]
                for i in range(20):  # while those hang in the coordinator
                    self.assertEqual(w.ask(request(put=(b"apple", b"2"), deadline_ms=30000), 40 * PATIENCE).code, wire.OK)
                    self.assertEqual(w.ask(request(get=b"apple", deadline_ms=30000), 40 * PATIENCE).value, b"2")
                    self.assertFalse(i < 3 and set(stuck) <= w.replies.keys(), "it was answered behind those that hang")
                got = w.receive(stuck, 60 * PATIENCE)
                self.assertEqual(len(got), 200, "each is answered when its time is up")
                self.assertTrue(all(r.class_ in (2, 4) for r in got.values()), {r.code for r in got.values()})
            h = Hammer(c, "mixed", hot=4, unique=2, deadline_ms=500)
            h.await_acks(50)  # clients that use both shards get answers from the one that lives
            h.stop()
            self.assertEqual(c.cli("--json", "status", code=7).returncode, 7)
            for n in c.names(1):
                wait_for(f"{n} ready", 30, lambda n=n: c.answer_of(n).state == "ready")
        finally:
            for n in c.names(2):
                c.send_signal(n, signal.SIGCONT)
        wait_for("shard 2 again", 60, lambda: c.cli("get", "zebra", code=None).returncode == 0)

    def test_sigterm_under_load_loses_nothing(self):
        """Leaders are told to end under load, three times: hand-over, exit 0, everything acknowledged is there."""
        c = self.cluster(shards=2).up()
        commands = {}
        for n in c.names():
            with open(f"/proc/{c.pid(n)}/cmdline", "rb") as f:
                commands[n] = [a.decode() for a in f.read().split(b"\0")[:-1]]
        made = [Hammer(c, tag, hot=3, unique=2, pause_us=500) for tag in "pq"]
        for h in made:
            h.await_acks(50)
        for _ in range(3):
            leader = c.leader(1)
            c.kill(leader)  # from now on a child of this test, so that its exit code can be read
            c.leader(1)
            with open(os.path.join(c.dir, "log", "child.log"), "a", encoding="utf-8") as log:
                child = subprocess.Popen([a for a in commands[leader] if a not in ("--engine", ENGINE)], stdout=log,
                                         stderr=log, stdin=subprocess.DEVNULL)
            try:
                def leads():
                    s = c_status(c, leader)
                    return s is not None and s.state == "ready"
                wait_for(f"{leader} again", 60, leads)
                self.hand_over(c, leader)
                for h in made:
                    h.await_acks(30)
                child.send_signal(signal.SIGTERM)
                begin = time.monotonic()
                self.assertEqual(child.wait(timeout=30 * PATIENCE), 0)
                self.assertLess(time.monotonic() - begin, 10 * PATIENCE)
            finally:
                if child.poll() is None:
                    child.kill()
                    child.wait()
            for h in made:
                h.await_acks(30)
            c.start(leader)
        counts = [h.stop() for h in made]
        self.assertTrue(all(n["acked"] > 200 for n in counts))
        dump = parse_dump(c.cli("dump", text=False).stdout)
        self.assertEqual(histories.judge(c, made, dump), [])

    def test_a_full_disk_is_said_and_passes(self):
        """Log and state machine on a small file system: writes are refused by name, reads go on, all comes back by itself."""
        c = self.cluster(shards=1, env=SLOW_ELECTIONS)
        with small_disk(c, c.dir):
            self.fill_and_free(c.up())

    def fill_and_free(self, c):
        leader = c.leader(1)
        term, filler = c.answer_of(leader).term, faults.Filler(c.dir)
        acked = []
        with c.wire(leader) as w:
            def put(i):
                answer = w.ask(request(1, put=(b"k%06d" % i, b"v" * 60000), deadline_ms=int(4000 * PATIENCE)), 60 * PATIENCE)
                if answer.code == wire.OK:
                    acked.append(b"k%06d" % i)
                return answer.code
            self.assertEqual(put(0), wire.OK)
            filler.fill()
            codes = []
            while wire.NO_SPACE not in codes and len(codes) < 3000:
                codes.append(put(len(codes) + 1))
            # what was in the log's hands when the room ran out ends as unknown; from then on it is surely not done
            self.assertLessEqual(set(codes), {wire.OK, wire.OUTCOME_UNKNOWN, wire.NO_SPACE})
            self.assertIn(wire.NO_SPACE, codes)
            self.assertEqual(w.ask(request(1, get=acked[-1]), 30 * PATIENCE).code, wire.OK)
            self.assertIn("no space", c.cli("--timeout", "3000", "put", "x", "y", code=3).stderr)
            filler.free()
            wait_for("writes again", 60, lambda: put(len(codes) + 1) == wire.OK)
            for key in acked:
                self.assertEqual(w.ask(request(1, get=key), 30 * PATIENCE).code, wire.OK, key)
        self.assertEqual(c.answer_of(leader).term, term, "no election came of it")
        c.digests_agree(1)

    def test_a_leader_with_a_full_disk_hands_over(self):
        c = self.cluster(shards=1)
        with small_disk(c, os.path.join(c.dir, "1-2")):
            c.up()
            c.transfer(1, "1/2")
            filler = faults.Filler(os.path.join(c.dir, "1-2", "fsm"))
            filler.fill()
            records = "".join(f"k{i:06d}\t{'v' * 60000}\n" for i in range(100))
            self.assertEqual(c.cli("load", "-", stdin=records, seconds=90).stdout, "loaded 100 failed 0 unknown 0\n")
            wait_for("another leader", 60, lambda: c.leader(1) != "1/2")
            filler.free()
            c.digests_agree(1)

    def hand_over(self, c, to):
        def probe():
            s = c_status(c, to)
            if s is not None and s.role == "leader":
                return True
            for n in c.alive(1):
                with c.wire(n) as w:
                    w.try_ask(request(1, transfer=int(to.split("/")[1])), 1.0)
            return False
        wait_for(f"leadership of {to}", 60, probe, 0.1)

    def test_a_huge_prefix_is_deleted_in_one_step(self):
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()
        path = os.path.join(c.dir, "records")
        with open(path, "w", encoding="ascii") as f:
            for i in range(PREFIX_KEYS):
                f.write(f"bulk/{i:08d}\tvalue {i}\n")
        for key in ("bulk", "bulk.", "bulk0", "c"):
            c.cli("put", key, "stays")
        for turn in range(TURNS):
            said = c.cli("load", path, seconds=600).stdout.strip().splitlines()[-1]
            self.assertEqual(said, f"loaded {PREFIX_KEYS} failed 0 unknown 0")
            h = Hammer(c, f"p{turn}", hot=2, unique=1, window=4)
            h.await_acks(200)
            term, since = c.answer_of(c.leader(1)).term, time.monotonic_ns()
            c.cli("delprefix", "bulk/")
            done = (time.monotonic_ns() - since) / 1e9
            h.await_acks(200)
            h.stop()
            after = c.answer_of(c.leader(1)).term
            if done < 1.0 * PATIENCE and slowest(h.path, since) < NO_STALL_S and after == term:
                break
        self.assertLess(done, 1.0 * PATIENCE, "one marker, not a million deletes")
        self.assertLess(slowest(h.path, since), NO_STALL_S, "the loop went on")
        self.assertEqual(after, term, "no election came of it")
        begin = time.monotonic()
        self.assertEqual(c.cli("scan", "--prefix", "bulk/", "--limit", "10", seconds=120).stdout, "")
        print(f"{PREFIX_KEYS} keys: delprefix {done:.3f} s, the scan over them {time.monotonic() - begin:.3f} s",
              file=sys.stderr)
        c.cli("get", "bulk/00000007", code=1)
        self.assertEqual(c.cli("scan", "--prefix", "bul", "--keys-only").stdout.split(), ["bulk", "bulk.", "bulk0"])
        c.cli("put", "bulk/00000007", "new")
        self.assertEqual(c.cli("scan", "--prefix", "bulk/", seconds=120).stdout, "bulk/00000007\tnew\n")
        c.kill(*c.names())
        c.start_in_background(*c.names())
        self.assertEqual(c.cli("scan", "--prefix", "bulk/", seconds=120).stdout, "bulk/00000007\tnew\n")
        c.digests_agree(1)

    def test_scan_over_a_deleted_prefix_does_not_stall_others(self):
        """Skipping many deleted keys is work for one request, not for everybody's."""
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()
        path = os.path.join(c.dir, "records")
        with open(path, "w", encoding="ascii") as f:
            for i in range(PREFIX_KEYS):
                f.write(f"bulk/{i:08d}\tvalue {i}\n")
        c.cli("load", path, seconds=600)
        c.cli("delprefix", "bulk/")
        for turn in range(TURNS):
            h = Hammer(c, f"p{turn}", hot=2, unique=1, window=4)
            h.await_acks(100)
            term, since = c.answer_of(c.leader(1)).term, time.monotonic_ns()
            c.cli("scan", "--keys-only", seconds=120)
            h.await_acks(100)
            h.stop()
            after = c.answer_of(c.leader(1)).term
            if slowest(h.path, since) < NO_STALL_S and after == term:
                break
        self.assertLess(slowest(h.path, since), NO_STALL_S)
        self.assertEqual(after, term)


def c_status(c, name):
    """The status of a replica that the test itself started, which the pid files do not know."""
    with c.wire(name) as w:
        reply = w.try_ask(request(status=True), 1.0 * PATIENCE)
    return reply.status if reply is not None and reply.code == 0 else None


if __name__ == "__main__":
    unittest.main(verbosity=2)
