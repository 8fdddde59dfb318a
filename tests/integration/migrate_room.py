#!/usr/bin/env python3
# migrate_room.py: too little disk for another engine: seen before, and full for real while the new log is made and while the old one is
# put away; with room again the shard ends whole in the new engine.
import contextlib
import os
import re
import shutil
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import faults  # noqa: E402
import jobs  # noqa: E402
from cluster import ENGINE, FULL, ClusterTest, Hammer, StartFailed, lincheck, wait_for  # noqa: E402

OTHER = "libraft" if ENGINE == "native" else "native"
SMALL = ["log-segment-bytes=1MiB"]
LEFT, SPARE = 600000, 300000  # bytes that a replica is left with, and what it may give back by itself


class RoomTest(ClusterTest):
    def job(self, c):
        return jobs.look(c)

    def on_disks(self, c, stack, disk, names):
        c.kill(*names)
        for name in names:
            stack.enter_context(faults.moved_to(c, c.data(name), disk(name)))
        c.start_in_background(*names)

    def engines(self, c):
        return {c.answer_of(n).engine for n in c.alive()}

    def verified(self, c, h):
        h.stop()
        good, text = lincheck(h.path)
        self.assertTrue(good, text)
        c.digests_agree(1)  # nothing writes any more
        self.assertEqual(c.cli("verify", seconds=120).returncode, 0)


class Preflight(RoomTest):
    def leave(self, folder, room):
        there = os.statvfs(folder)
        with open(os.path.join(folder, "filler"), "wb") as f:
            os.posix_fallocate(f.fileno(), 0, there.f_bavail * there.f_frsize - room)

    def refused(self, c, said, victim):
        """One line that says which replica, how much there is and how much it takes."""
        self.assertEqual(len(said.splitlines()), 1, said)
        found = re.search(rf"replica {victim} has (\d+) bytes of disk left, the change takes (\d+) there: make room$", said.strip())
        self.assertTrue(found, said)
        there, takes = map(int, found.groups())
        self.assertLess(there, takes)
        self.assertLessEqual(there, LEFT + SPARE)

    def test_too_little_room(self):
        """Before it begins; and when it has begun: then it is not sealed before there is room."""
        c = self.cluster(shards=2, sets=SMALL).up()
        victim = c.followers(2)[0]
        with contextlib.ExitStack() as stack:
            self.on_disks(c, stack, lambda _: faults.Tmpfs(96), [victim])
            self.leave(c.data(victim), LEFT)
            told = wait_for(f"a status that tells of {victim}", 60, lambda: next(
                (r for s in c.status()["shards"] for r in s["replicas"] if r["name"] == victim and r["change_bytes"]), None))
            self.assertLessEqual(told["disk_free"], LEFT + SPARE)
            self.assertGreaterEqual(told["change_bytes"], 1 << 20)
            for words in (["plan"], ["start", "--yes"]):
                self.refused(c, jobs.told(c, "migrate", *words, "--to", OTHER, code=6, text="make room").stderr, victim)
            self.assertEqual(jobs.told(c, "migrate", "status").stdout, "no migration\n")
            os.remove(os.path.join(c.data(victim), "filler"))
            c.kill("coordinator/1")
            c.start("coordinator/1", env={"HOLDFAST_CRASH_POINT": "migrate_job.before_seal"})
            wait_for("a coordinator that plans", 60, lambda: c.cli("migrate", "plan", "--to", OTHER, code=None).returncode == 0, 0.1)
            jobs.until_end_of(c, "coordinator/1", "start", "--to", OTHER, "--yes", "--detach")
            self.leave(c.data(victim), LEFT)
            c.start("coordinator/1")
            first = wait_for(lambda: f"its reason: {self.job(c)}", 60, lambda: next(
                (s for s in self.job(c)["shards"][:1] if "make room" in s["reason"]), None), 0.1)
            self.refused(c, first["reason"], victim)
            self.assertEqual((first["phase"], self.engines(c)), ("prepared", {ENGINE}))
            os.remove(os.path.join(c.data(victim), "filler"))
            jobs.act(c, "resume")
            self.assertEqual((self.job(c)["phase"], self.engines(c)), ("done", {OTHER}))


class FullDisk(RoomTest):
    """The disk is filled while a member stands still in the middle of going over: strace stops it there."""

    def trap(self, c, name, point):
        """Stops it when it has begun to make the new log, or when it has replaced identity and is to put the old log away."""
        path = os.path.join(c.data(name), {"staging": "MIGRATION", "archiving": "identity.tmp"}[point])
        call = {"staging": "mkdir", "archiving": "rename"}[point]
        trap = faults.Trap(os.path.join(c.dir, "trap-" + name.replace("/", "-")), f"{call}:signal=SIGSTOP:when=1", pid=c.pid(name),
                           trace=call, only=[path])
        self.addCleanup(trap.detach)
        return trap

    def stands_still(self, trap, pid):
        """All its threads do."""
        return sum("--- stopped by SIGSTOP ---" in line for line in trap.lines()) >= len(os.listdir(f"/proc/{pid}/task"))

    def identity(self, c, name):
        with open(os.path.join(c.data(name), "identity"), encoding="ascii") as f:
            return dict(line.split() for line in f)["engine"]

    def one_line(self, c, name, said):
        self.assertEqual(len(said), 1, said)
        for word in (c.data(name), "no space", "make room"):
            self.assertIn(word, said[0])

    def fill(self, c, names, point, target):
        """They meet the full disk: each ends, and does not start; the line says why. What took the room."""
        traps = {n: self.trap(c, n, point) for n in names}
        jobs.begin(c, target, "--detach")
        wait_for(f"{names} to be {point}", 120, lambda: all(self.stands_still(traps[n], c.pid(n)) for n in names))
        fillers = [faults.Filler(c.data(n)).fill_up() for n in names]
        since = {n: len(c.log(n)) for n in names}
        for name in names:
            self.assertEqual(self.identity(c, name), target if point == "archiving" else OTHER if target == ENGINE else ENGINE)
            c.send_signal(name, signal.SIGCONT)
        c.await_end(*names)
        for name in names:
            self.assertEqual(traps[name].exit_code(), 6)
            self.one_line(c, name, [x for x in faults.complaints(c.log(name)[since[name]:]) if " WARN " not in x])
            with self.assertRaises(StartFailed) as failed:
                c.start(name)
            self.assertEqual(failed.exception.code, 6, failed.exception.message)
            self.one_line(c, name, failed.exception.message.splitlines())
            self.assertFalse(os.path.exists(os.path.join(c.data(name), "archive")), "it was put away, full or not")
        return fillers

    def one_of_them(self, c, h, name, point, target):
        """The others go on, and clients notice nothing; the job says whom it waits for."""
        fillers = self.fill(c, [name], point, target)
        wait_for("its reason", 60, lambda: self.job(c)["shards"][0]["reason"] == f"replica {name} has not come over", 0.1)
        self.assertIn(self.job(c)["shards"][0]["phase"], ("verified", "swapped"))
        h.await_acks(100)
        counts = h.progress()
        self.assertEqual((counts["failed"], counts["unknown"]), (0, 0), "clients saw it")
        self.over(c, h, fillers, [name], target)

    def over(self, c, h, fillers, names, target):
        for f in fillers:
            f.free()
        c.start_in_background(*names)
        def done():
            c.cli("migrate", "resume", code=None, seconds=120)  # where it stopped because they took so long
            return self.job(c)["phase"] == "done"
        wait_for(lambda: f"a job that is done: {self.job(c)}", 120, done, 0.5)
        self.assertEqual(self.engines(c), {target})
        for name in names:
            self.assertFalse(os.path.exists(os.path.join(c.data(name), "MIGRATION")))
            self.assertEqual(len(os.listdir(os.path.join(c.data(name), "archive"))), 1)
        for name in c.names():
            with contextlib.suppress(FileNotFoundError):  # of one that was late there may be none
                shutil.rmtree(os.path.join(c.data(name), "archive"))  # as the runbook allows; to make it anew takes room
        h.await_acks(100)

    def test_full_on_the_way(self):
        c = self.cluster(shards=1, sets=SMALL).up()
        with contextlib.ExitStack() as stack:
            self.on_disks(c, stack, lambda n: faults.Ext4(os.path.join(c.dir, "image-" + n.replace("/", "-")), 48), c.names())
            h = Hammer(c, "one", pause_us=2000, deadline_ms=30000)
            h.await_acks(100)
            target = OTHER
            for role, point in [("follower", "staging"), ("leader", "archiving"), ("leader", "staging"),
                                ("follower", "archiving")][:4 if FULL else 2]:
                name = c.leader(1) if role == "leader" else c.followers(1)[0]
                self.one_of_them(c, h, name, point, target)
                target = ENGINE if target == OTHER else OTHER
            self.verified(c, h)
            h = Hammer(c, "all", pause_us=2000)
            for point in ("staging", "archiving") if FULL else ("archiving",):
                h.await_acks(100)
                fillers = self.fill(c, c.names(), point, target)
                self.over(c, h, fillers, c.names(), target)
                target = ENGINE if target == OTHER else OTHER
            self.verified(c, h)


if __name__ == "__main__":
    unittest.main(verbosity=2)
