#!/usr/bin/env python3
# crossing.py: a running shard changes its engine, step by step as its leader is told: under a checked load, with members that die, sleep
# or fall behind.
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import wire  # noqa: E402
from cluster import ENGINE, PATIENCE, ClusterTest, Hammer, lincheck, wait_for  # noqa: E402

OTHER = "libraft" if ENGINE == "native" else "native"
PREPARE, SEAL, ABORT = 1, 2, 3
PREPARED, SEALED = 1, 2


class Crossing(ClusterTest):
    def status_of_leader(self, c, shard):
        return c.answer_of(c.leader(shard))

    def step(self, c, shard, step, id_, target="", epoch=None, code=wire.OK, seconds=60):
        """One step at whoever leads; its reply."""
        until = time.monotonic() + seconds * PATIENCE
        while True:
            leader = c.leader(shard)
            s = c.answer_of(leader)
            r = wire.request(shard)
            r.migrate.step, r.migrate.id = step, id_
            r.migrate.epoch = s.log_epoch if epoch is None else epoch
            r.migrate.source, r.migrate.target, r.migrate.configuration = s.engine, target, s.members.index
            with c.wire(leader) as w:
                reply = w.try_ask(r, 5)
            again = reply is None or reply.code in (wire.NOT_LEADER, wire.NOT_READY, wire.BUSY, wire.UNAVAILABLE,
                                                      wire.OUTCOME_UNKNOWN)
            if not again or time.monotonic() > until:
                break
        self.assertIsNotNone(reply)
        self.assertEqual(reply.code, code, reply.message)
        return reply

    def seal(self, c, shard, id_, epoch, victims=()):
        """Like step, but a seal that took effect may go unanswered, and is asked for again in the epoch behind it; `victims` die of it."""
        def done():
            s = [c.status_of(n) for n in c.alive(shard)]
            return any(x is not None and x.log_epoch > epoch for x in s)
        until = time.monotonic() + 60 * PATIENCE
        while time.monotonic() < until:
            if done() or sum(c.pid(n) is None for n in victims) > 1:
                return
            leader = next((n for n in c.alive(shard) for s in [c.status_of(n)] if s is not None and s.role == "leader"), None)
            s = leader and c.status_of(leader)
            if not s:
                time.sleep(0.05)
                continue
            r = wire.request(shard)
            r.migrate.step, r.migrate.id, r.migrate.epoch, r.migrate.configuration = SEAL, id_, epoch, s.members.index
            with c.wire(leader) as w:
                reply = w.try_ask(r, 5)
            if reply is not None and reply.code == wire.OK:
                self.assertEqual(reply.migration.state, SEALED)
                return
        self.fail("no leader took the seal")

    def crossed(self, c, names, epoch, seconds=60):
        def all_there():
            s = [c.status_of(n) for n in names]
            return all(x is not None and x.log_epoch == epoch and x.state == "ready" for x in s)
        wait_for(f"{names} in log epoch {epoch}", seconds, all_there, 0.05)

    def change(self, c, shard, id_, target, names=None):
        epoch = self.status_of_leader(c, shard).log_epoch
        reply = self.step(c, shard, PREPARE, id_, target)
        self.assertEqual((reply.migration.state, reply.migration.target), (PREPARED, target))
        self.seal(c, shard, id_, epoch)
        self.crossed(c, names or c.names(shard), epoch + 1)
        return epoch + 1

    def engines(self, c, shard):
        return sorted({c.answer_of(n).engine for n in c.names(shard)})

    @staticmethod
    def lingered(log):
        """How often one of the group went over 200 ms and more behind its seal: a leader waits 250 ms for a slow machine's members, and
        who is later than that is sent the state."""
        def at(line):
            return time.mktime(time.strptime(line[:19], "%Y-%m-%dT%H:%M:%S")) + float(line[19:23])
        sealed, count = None, 0
        for line in log.splitlines():
            if " the log is sealed index=" in line:
                sealed = at(line)
            elif " engine changed to " in line and sealed:
                count += at(line) - sealed >= 0.2
                sealed = None
        return count

    def verified(self, c, *loads):
        for h in loads:
            h.stop()
            good, text = lincheck(h.path)
            self.assertTrue(good, text)
        self.assertEqual(c.cli("verify", seconds=120).returncode, 0)

    def test_there_and_back_under_load(self):
        # Who was silent for an election time-out is waited for by no leader.
        c = self.cluster(shards=2, learners=1, env={"HOLDFAST_ELECTION_MS": "5000"}).up()
        h = Hammer(c, "load", deadline_ms=30000)
        h.await_acks(300)
        id_ = 0
        for engine in (OTHER, ENGINE) * 3:
            id_ += 1
            for shard in (1, 2):
                self.change(c, shard, id_, engine)
                self.assertEqual(self.engines(c, shard), [engine])
            h.await_acks(300)
        self.verified(c, h)
        failed = h.counts
        self.assertEqual((failed["failed"], failed["unknown"]), (0, 0), "clients saw it")
        for shard in (1, 2):
            self.assertTrue(c.digests_agree(shard))
        for shard in (1, 2):
            for name in c.names(shard):
                sent = c.log(name).count("installed index=")
                late = sum(self.lingered(c.log(n)) for n in c.names(shard))
                self.assertLessEqual(sent, late, f"{name}: a state was sent though all were there")
                kept = sorted(os.listdir(os.path.join(c.data(name), "archive")))
                self.assertTrue(6 - sent <= len(kept) <= 6, f"{name}: {kept}, {sent} states")
        c.kill(*c.names())
        c.start_in_background(*c.names())
        for name in c.names():
            start = [line for line in c.log(name).splitlines() if "cold start state=" in line][-1]
            self.assertIn("outcome=skipped", start)

    def test_asleep_through_two(self):
        """A member stands still while the others go over twice: their state is fetched, across both."""
        c = self.cluster(shards=1).up()
        sleeper = c.followers(1)[0]
        others = [n for n in c.names(1) if n != sleeper]
        c.send_signal(sleeper, signal.SIGSTOP)
        h = Hammer(c, "load")
        h.await_acks(200)
        self.change(c, 1, 1, OTHER, others)
        h.await_acks(100)
        self.change(c, 1, 2, ENGINE, others)
        h.await_acks(100)
        c.send_signal(sleeper, signal.SIGCONT)
        self.crossed(c, c.names(1), 3)
        self.assertEqual(self.engines(c, 1), [ENGINE])
        self.assertIn("installed index", c.log(sleeper))
        self.verified(c, h)
        self.assertTrue(c.digests_agree(1))
        self.assertEqual(sorted(os.listdir(os.path.join(c.data(sleeper), "archive"))), [f"{ENGINE}-1"])
        c.kill(sleeper)
        c.start(sleeper)
        self.crossed(c, c.names(1), 3)

    def test_dead_through_one(self):
        """A voter and a learner are away; the voter comes back and is killed at a step of following, then comes back for good."""
        c = self.cluster(shards=1, learners=1).up()
        h = Hammer(c, "load")
        target, id_ = OTHER, 0
        for point in ("install.after_record", "install.after_exchange", "install.before_log", "swap.before_identity", "swap.after_identity",
                      "swap.before_done", "install.before_done", "cross.opened"):
            victims = [next(n for n in c.followers(1) if n != "1/4"), "1/4"]
            h.await_acks(50)
            c.kill(*victims)
            id_ += 1
            epoch = self.change(c, 1, id_, target, [n for n in c.names(1) if n not in victims])
            h.await_acks(50)
            c.script("start", victims[0], check=False, env={"HOLDFAST_CRASH_POINT": point, "HOLDFAST_START_SECONDS": "1"})
            c.await_end(victims[0])
            c.start_in_background(*victims)
            self.crossed(c, c.names(1), epoch)
            self.assertEqual(self.engines(c, 1), [target], point)
            target = ENGINE if target == OTHER else OTHER
        self.verified(c, h)
        self.assertTrue(c.digests_agree(1))

    def test_a_learner_that_lost_all(self):
        """It becomes the learner again that it was, by a log of the first epoch: the others are in a later one."""
        c = self.cluster(shards=1, learners=1).up()
        c.cli("put", "a", "1")
        self.change(c, 1, 1, OTHER)
        c.kill("1/4")
        shutil.rmtree(c.data("1/4"))
        c.start("1/4")
        self.crossed(c, c.names(1), 2)
        self.assertEqual(self.engines(c, 1), [OTHER])
        self.change(c, 1, 2, ENGINE)
        c.kill("1/4")
        c.start("1/4")
        self.crossed(c, c.names(1), 3)
        self.assertTrue(c.digests_agree(1))

    def refused(self, command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * PATIENCE, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 6, done.stderr[-400:])
        return done.stderr

    def test_a_leader_asleep(self):
        """It stands still with its lease; when it wakes up the group has gone on twice, and it answers nobody from then."""
        c = self.cluster(shards=1).up()
        h = Hammer(c, "load")
        h.await_acks(200)
        for id_ in (1, 3):
            leader = c.leader(1)
            others = [n for n in c.names(1) if n != leader]
            c.send_signal(leader, signal.SIGSTOP)
            self.change(c, 1, id_, OTHER, others)
            h.await_acks(50)
            self.change(c, 1, id_ + 1, ENGINE, others)
            h.await_acks(50)
            c.send_signal(leader, signal.SIGCONT)
            self.crossed(c, c.names(1), id_ + 2)
        self.verified(c, h)
        self.assertTrue(c.digests_agree(1))

    def test_what_is_brought_back(self):
        """The old command line, old artifacts, a whole directory from before."""
        c = self.cluster(shards=1).up()
        h = Hammer(c, "load")
        h.await_acks(100)
        victim = c.followers(1)[0]
        with open(f"/proc/{c.pid(victim)}/cmdline", "rb") as f:
            command = [a.decode() for a in f.read().split(b"\0")[:-1]]
        while "--engine" in command:
            del command[command.index("--engine"):command.index("--engine") + 2]
        c.kill(victim)
        shutil.copytree(c.data(victim), c.data(victim) + "-before")
        c.start(victim)
        self.change(c, 1, 1, OTHER)
        h.await_acks(100)
        c.kill(victim)
        self.assertIn(f"is run by engine {OTHER}, not {ENGINE}; leave --engine out", self.refused(command + ["--engine", ENGINE]))
        old, place = os.path.join(c.data(victim), "archive", f"{ENGINE}-1"), os.path.join(c.data(victim), f"{ENGINE}-1")
        shutil.copytree(old, place)
        self.assertIn(f"holds {ENGINE}-1, but its identity names engine {OTHER}, log epoch 2; it was copied there: move it away",
                      self.refused(command))
        shutil.rmtree(c.data(victim))
        os.rename(c.data(victim) + "-before", c.data(victim))
        c.start(victim)
        self.crossed(c, c.names(1), 2)
        self.assertIn("installed index", c.log(victim))
        self.verified(c, h)
        self.assertTrue(c.digests_agree(1))

    def test_an_abort(self):
        c = self.cluster(shards=1).up()
        self.step(c, 1, PREPARE, 5, OTHER)
        reply = self.step(c, 1, ABORT, 5)
        self.assertEqual((reply.migration.state, reply.migration.aborted, reply.migration.aborted_epoch), (0, 5, 1))
        self.step(c, 1, PREPARE, 5, OTHER, code=wire.FENCED)
        self.step(c, 1, SEAL, 5, code=wire.COMPARE_FAILED)
        self.step(c, 1, PREPARE, 6, "paxos", code=wire.REFUSED)
        self.step(c, 1, PREPARE, 6, OTHER, epoch=7, code=wire.COMPARE_FAILED)
        c.cli("put", "a", "1")
        self.assertEqual(self.engines(c, 1), [ENGINE])
        self.change(c, 1, 6, OTHER)
        self.step(c, 1, ABORT, 6, epoch=1, code=wire.COMPARE_FAILED)  # too late: the log it speaks of was left
        self.assertEqual(c.cli("get", "a").stdout.strip(), "1")

    @staticmethod
    def installed(c, name):
        return c.log(name).count("installed index=")

    def await_end_or_late(self, c, victims, epoch, installed):
        """All die where they are to; but one that a slow machine kept from hearing of the seal in time was sent the state instead."""
        def over(name):
            s = c.status_of(name)
            return c.pid(name) is None or (s is not None and s.log_epoch > epoch and self.installed(c, name) > installed[name])
        wait_for(lambda: f"the end of {[n for n in victims if c.pid(n)]}", 60, lambda: all(over(n) for n in victims), 0.005)
        for name in victims:
            c.signal_if_running(name, signal.SIGKILL)
        c.await_end(*victims)

    def test_killed_at_each_step(self):
        """One member, then all of them, at each step of going over."""
        c = self.cluster(shards=1).up()
        h = Hammer(c, "load")
        h.await_acks(100)
        id_, target = 0, OTHER
        for point in ("cross.closed", "swap.before_identity", "swap.after_identity", "swap.before_archive", "swap.before_done",
                      "cross.before_open", "cross.opened"):
            for victims in ([c.leader(1)], c.followers(1)[:1], c.names(1)):
                id_ += 1
                c.kill(*victims)
                installed = {n: self.installed(c, n) for n in victims}
                for name in victims:
                    c.script("start", name, check=False, env={"HOLDFAST_CRASH_POINT": point, "HOLDFAST_START_SECONDS": "1"})
                wait_for("all to live", 30, lambda: len(c.alive(1)) == 3)
                epoch = self.status_of_leader(c, 1).log_epoch
                self.step(c, 1, PREPARE, id_, target)
                self.seal(c, 1, id_, epoch, victims)
                if len(victims) > 1:  # the last one may not hear of the seal while nobody else lives
                    wait_for("a majority to die", 60, lambda: len(c.alive(1)) <= 1)
                    for name in victims:
                        c.signal_if_running(name, signal.SIGKILL)
                self.await_end_or_late(c, victims, epoch, installed)
                c.start_in_background(*victims)
                self.crossed(c, c.names(1), epoch + 1)
                self.assertEqual(self.engines(c, 1), [target], point)
                target = ENGINE if target == OTHER else OTHER
                h.await_acks(20)
        self.verified(c, h)
        self.assertTrue(c.digests_agree(1))


if __name__ == "__main__":
    unittest.main(verbosity=2)
