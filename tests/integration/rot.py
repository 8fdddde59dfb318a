#!/usr/bin/env python3
# rot.py: flipped, zeroed and cut bytes in every kind of file of a stopped replica's directory. In a group of one: refused with
# one line that names the file and says what to do, or the torn tail of the log; never a signal, never wrong data, never "not
# found". In a larger one: see cold_start.py.
import glob
import os
import random
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import faults  # noqa: E402
from damage import HEADER, cut, flip, frames, middle, zero  # noqa: E402
import wire  # noqa: E402
from cluster import FULL, LOG, PATIENCE, SLOW_ELECTIONS, ClusterTest, wait_for  # noqa: E402
from wire import request  # noqa: E402

REFUSED, FATAL = 6, 70
CORRUPT, IO = -19, -18
SEED = int(os.environ.get("HOLDFAST_ROT_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
COUNT = 300
ANSWER_S = 60 * PATIENCE  # most that an answer takes; nothing waits for it
LAST_FRAMES = 20  # the least in the last segment: what is damaged in its middle has some behind it
ROT_PUTS = 700  # of 20,000 bytes: more than any engine keeps of its log in memory after a start


class Rot(ClusterTest):
    """A group of one, so that nothing comes from elsewhere; it was killed, so that the log holds more than RocksDB."""

    def setUp(self):
        self.random = random.Random(SEED)
        print(f"{self.id()}: replay with HOLDFAST_ROT_SEED={SEED}", file=sys.stderr)
        c = self.c = self.cluster(shards=1, replicas=1, sets=["log-segment-bytes=65536", "fsm-buffer-bytes=131072"]).up()
        self.dir, self.endpoint = c.data("1/1"), c.processes["1/1"]["client"]
        self.command = faults.command_of(c.pid("1/1"))
        c.cli("get", "k", code=1)  # routes are there; the coordinator's entries would move the end of the log
        c.kill("coordinator/1")
        self.puts = {}
        with wire.Wire(self.endpoint) as w:
            self.put(w, COUNT)
            while not self.log_ends_well():  # how many leases are in it is a matter of time
                self.put(w, 1)
        c.kill("1/1")
        while not self.log_ends_well():  # the last is none of ours: for want of a coordinator it marked its time
            process, _ = self.start()
            with wire.Wire(self.endpoint) as w:
                self.put(w, 1)
            self.end(process)
        self.keep = self.dir + ".keep"
        shutil.move(self.dir, self.keep)
        self.fresh_copy()
        process, _ = self.start()  # removes what nothing refers to
        self.end(process)
        self.live = set(os.listdir(os.path.join(self.dir, "fsm")))

    def put(self, w, count):
        """One by one: each is a frame of its own."""
        for _ in range(count):
            self.last = b"k%04d" % len(self.puts)
            value = self.last[1:] + self.random.randbytes(900)
            self.assertEqual(w.ask(request(1, put=(self.last, value), deadline_ms=20000), ANSWER_S).code, wire.OK)
            self.puts[self.last] = value

    def log_ends_well(self):
        """The last segment has frames enough and room behind them, and its last frame is that of the last put."""
        path = max(glob.glob(os.path.join(self.dir, LOG, "seg-*.log")))
        some = frames(path)
        if len(some) < LAST_FRAMES or os.path.getsize(path) - sum(some[-1]) < HEADER:
            return False
        with open(path, "rb") as f:
            f.seek(some[-1][0])
            return self.last in f.read(some[-1][1])

    # ---- one case: damage a copy, start, look

    def files(self, pattern):
        """Of tables those that are referred to: a killed process leaves others."""
        found = sorted(p for p in glob.glob(os.path.join(self.dir, pattern))
                       if not p.endswith(".sst") or os.path.basename(p) in self.live)
        self.assertTrue(found, f"no {pattern}: {os.listdir(self.dir)}")
        return found

    def fresh_copy(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        shutil.copytree(self.keep, self.dir)

    def start(self):
        """Runs the replica until it is ready or has ended; returns (process, what it said)."""
        path = os.path.join(self.c.dir, "said")
        with open(path, "w", encoding="utf-8") as f:
            process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        self.addCleanup(self.end, process)

        def said():
            with open(path, encoding="utf-8", errors="replace") as f:
                return f.read()
        wait_for(lambda: f"an end or a start: {said()}", 60,
                 lambda: process.poll() is not None or "ready applied=" in said(), 0.005)
        return process, said

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait()

    def content(self):
        """What a scan of everything gives: a dict, or the code of the error."""
        got, start = {}, b""
        with wire.Wire(self.endpoint) as w:
            while True:
                reply = w.ask(request(1, scan=dict(start=start, limit=1000)), ANSWER_S)
                if reply.code != wire.OK:
                    return reply.code
                got.update((item.key, item.value) for item in reply.items)
                if not reply.more:
                    return got
                start = reply.next

    def gets(self):
        """Reads every key alone: the keys that came right, and those that ended in an error that says so."""
        right, said = set(), set()
        with wire.Wire(self.endpoint) as w:
            for key, value in self.puts.items():
                reply = w.ask(request(1, get=key), ANSWER_S)
                if reply.code == wire.OK:
                    self.assertEqual(reply.value, value, key)
                    right.add(key)
                else:
                    self.assertIn(reply.code, (CORRUPT, IO), key)
                    self.assertIn("state machine of replica 1/1", reply.message)
                    said.add(key)
        return right, said

    @staticmethod
    def complaints(said):
        """None runs here, which is told after a while."""
        return [line for line in faults.complaints(said) if "no coordinator answers" not in line]

    def refused(self, what, *words):
        process, said = self.start()
        self.end(process)
        lines = self.complaints(said())
        self.assertEqual(process.returncode, REFUSED, f"{what}: {said()}")
        self.assertEqual(len(lines), 1, f"{what}: {lines}")
        for word in (self.dir, *words):
            self.assertIn(word, lines[0], what)

    def serves(self, what, missing=()):
        process, said = self.start()
        try:
            self.assertIsNone(process.poll(), f"{what}: {said()}")
            self.assertEqual(self.complaints(said()), [], what)
            self.assertEqual(self.content(), {k: v for k, v in self.puts.items() if k not in missing}, what)
        finally:
            self.end(process)

    def refused_after(self, pattern, which, damages, *words):
        for i, damage in enumerate(damages):
            self.fresh_copy()
            path = self.files(pattern)[which]
            damage(path)
            self.refused(f"{os.path.basename(path)} {i}", *(words or (os.path.basename(path),)))

    def serves_after(self, pattern, which, damages):
        for i, damage in enumerate(damages):
            self.fresh_copy()
            path = self.files(pattern)[which]
            damage(path)
            self.serves(f"{os.path.basename(path)} {i}")

    # ---- the files

    def test_who_it_is(self):
        self.fresh_copy()
        self.serves("nothing damaged")
        everywhere = [flip(0), middle, flip(-1), cut(0.5), cut(0)]
        self.refused_after("identity", 0, [flip(20), flip(-2), *everywhere[3:]])
        self.refused_after("peers", 0, everywhere)
        self.refused_after(LOG + "/hardstate", 0, [lambda path: (flip(30)(path), flip(4096 + 30)(path)), cut(0.002)])
        self.refused_after(LOG + "/hardstate", 0, [os.remove])
        self.serves_after(LOG + "/hardstate", 0, [flip(30), flip(4096 + 30), zero(0, 4096), zero(4096, 4096), cut(0.5)])

    def test_the_log(self):
        """A bad frame is a torn tail only when no later one follows; else it is damage, and nothing is changed."""
        self.fresh_copy()
        ends = [frames(path)[-1] for path in self.files(LOG + "/seg-*.log")]
        self.assertGreater(len(ends), 3)
        name = LOG + "/seg-*.log"
        for which in (0, 1, -1) if FULL else (1, -1):
            some = frames(self.files(name)[which])
            at, size = some[len(some) // 2]
            self.refused_after(name, which, [
                flip(8), flip(40), flip(HEADER), flip(HEADER + 4), flip(HEADER + 40), flip(at), flip(at + size - 1),
                zero(at, size), zero(at, 8), cut(0.04)])
        self.refused_after(name, 0, [flip(ends[0][0] + 40), cut(0.5)])
        self.refused_after(name, 0, [os.remove], "are missing")
        self.refused_after(name, 1, [flip(ends[1][0] + 40), zero(ends[1][0], ends[1][1])])
        self.refused_after(name, 1, [os.remove], "seg-")
        self.refused_after(name, -1, [cut(0.5), cut(0.99)])
        at, size = ends[-1]
        for damage in (flip(at + 5), flip(at + 40), flip(at + size - 1), zero(at, size), zero(at + 512, 64)):
            self.fresh_copy()
            damage(self.files(name)[-1])
            self.serves("the last frame", missing=[self.last])
        self.serves_after(name, -1, [flip(at + size + 100), flip(-1)])
        self.serves_after(LOG + "/spare-*.log", -1, [flip(0), middle, cut(0.3), cut(0)])

    def test_a_frame_in_another_place(self):
        """A write that went to the wrong place, or that never came: an old frame does not pass for a new one."""
        self.fresh_copy()
        path = self.files(LOG + "/seg-*.log")[-1]
        some = frames(path)
        by_size = {size: at for at, size in some[1:len(some) // 2]}
        at, size = next(frame for frame in some[len(some) // 2:-1] if frame[1] in by_size)
        with open(path, "r+b") as f:
            f.seek(by_size[size])
            other = f.read(size)
            f.seek(at)
            f.write(other)
        self.refused("a frame twice", os.path.basename(path))

    def test_the_state_machine(self):
        """RocksDB's files. What opening does not look at is found when it is read."""
        self.refused_after("fsm/CURRENT", 0, [flip(0), flip(-2), cut(0.5), cut(0), os.remove], "fsm")
        self.refused_after("fsm/MANIFEST-*", 0, [flip(5), middle, flip(-1), cut(0), os.remove], "fsm")
        self.serves_after("fsm/OPTIONS-*", -1, [middle, flip(-1), cut(0.5)])
        self.serves_after("fsm/LOG", 0, [middle, cut(0)])
        self.fresh_copy()
        tables = len(self.files("fsm/*.sst"))
        for which in {0, tables // 2, tables - 1} if FULL else {tables - 1}:
            self.refused_after("fsm/*.sst", which, [flip(-5), flip(-52), cut(0.5), cut(0)], ".sst")
            self.refused_after("fsm/*.sst", which, [os.remove], "No such file", "fsm/0")

    def test_a_damaged_table_is_found_when_read(self):
        """A flipped byte in a block of data: an error that says so for the keys in it, right answers for all others; and
        when it is compacted, the process ends with one line."""
        self.fresh_copy()
        largest = max(self.files("fsm/*.sst"), key=os.path.getsize)
        flip(os.path.getsize(largest) // 3)(largest)
        process, said = self.start()
        self.assertIsNone(process.poll(), said())
        right, failed = self.gets()
        self.assertTrue(failed, "the flipped block was read")
        self.assertGreater(len(right), len(self.puts) // 2)
        self.assertEqual(self.content(), CORRUPT)
        lines = self.complaints(said())
        self.assertEqual(len(lines), 1, lines)
        for word in ("damaged data", os.path.basename(largest), "replace this replica"):
            self.assertIn(word, lines[0])
        with wire.Wire(self.endpoint) as w:  # until a compaction meets it
            acked = 0
            for i in range(3000):
                reply = w.try_ask(request(1, put=(b"x%05d" % i, self.random.randbytes(3000)), deadline_ms=2000), 3)
                if process.poll() is not None:
                    break
                acked += reply is not None and reply.code == wire.OK
        self.assertGreater(acked, 0)
        wait_for(lambda: f"its end: {said()}", 60, lambda: process.poll() is not None)
        lines = self.complaints(said())
        self.assertEqual((process.returncode, len(lines)), (FATAL, 2), lines)
        for word in ("state machine is damaged", ".sst", "replace this replica"):
            self.assertIn(word, lines[1])

    def test_anywhere(self):
        """Random files, random places: refused by name, or served whole; of tables also errors that say so."""
        outcomes = {"refused": 0, "served": 0, "torn": 0, "said": 0}
        for i in range(200 if FULL else 15):
            self.fresh_copy()
            path = self.random.choice([os.path.join(folder, n) for folder, _, names in os.walk(self.dir) for n in names])
            size = os.path.getsize(path)
            if size == 0:
                continue
            at = self.random.randrange(size)
            last = LOG + "/seg-" in path and path == self.files(LOG + "/seg-*.log")[-1]
            torn = last and frames(path)[-1][0] <= at < sum(frames(path)[-1])
            damage = self.random.choice([flip(at), zero(at, min(8, size - at)), cut(at / size)])
            damage(path)
            outcomes[self.one(f"case {i}: {path} at {at} of {size}", path, torn)] += 1
        print(outcomes, file=sys.stderr)

    def one(self, what, path, torn):
        process, said = self.start()
        try:
            if process.poll() is not None:
                lines = self.complaints(said())
                met = path.endswith(".sst") and process.returncode == FATAL  # when what the log holds more was applied
                self.assertEqual((process.returncode, len(lines)), (FATAL if met else REFUSED, 1), f"{what}: {said()}")
                self.assertIn(self.dir, lines[0])
                return "refused"
            if path.endswith(".sst"):
                return "said" if self.gets()[1] else "served"
            got = self.content()
            self.assertIsInstance(got, dict, what)
            if torn and self.last not in got:
                got[self.last] = self.puts[self.last]
                self.assertEqual(got, self.puts, what)
                return "torn"
            self.assertEqual(got, self.puts, what)
            return "served"
        finally:
            self.end(process)


class RotOfARunningLeader(ClusterTest):
    def test_damage_met_while_sending_old_entries(self):
        """A frame rots under a leader that runs, and a follower needs it: the leader ends with one line instead of sending
        it, another one leads and has it whole."""
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()  # who is damaged leads until it meets it
        late = c.followers(1)[0]
        c.kill(late)
        with c.at_leader(1) as w:
            for i in range(ROT_PUTS):
                self.assertEqual(w.ask(request(1, put=(b"k%04d" % i, b"%04d" % i * 5000), deadline_ms=20000), 60).code, wire.OK)
        both = c.alive(1)
        c.kill(*both)  # what they have in memory of their logs is gone
        c.start_in_background(*both)
        leader = c.leader(1)
        flip(HEADER + 200000)(os.path.join(c.data(leader), LOG, "seg-0000000000000001.log"))
        since = len(c.log(leader))
        c.start(late)
        c.await_end(leader)
        lines = [x for x in faults.complaints(c.log(leader)[since:]) if " WARN " not in x]
        self.assertEqual(len(lines), 1, lines)
        for word in ("seg-", "at offset", "bad frame", c.data(leader), "replace this replica"):
            self.assertIn(word, lines[0])
        self.assertNotEqual(c.leader(1), leader)
        with c.at_leader(1) as w:
            for i in range(ROT_PUTS):
                self.assertEqual(w.ask(request(1, get=b"k%04d" % i), 60).value, b"%04d" % i * 5000)
        c.start(leader)  # its log is put aside and comes from the others
        self.assertEqual(os.listdir(os.path.join(c.data(leader), "quarantine")), ["log-1"])
        c.digests_agree(1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
