#!/usr/bin/env python3
# victims.py: while all shards change their engine under a checked load, one, several or all processes are killed at one step of it: the
# job ends done, or aborted with nothing changed.
import json
import os
import random
import re
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import clocks  # noqa: E402
import engines  # noqa: E402
import histories  # noqa: E402
import jobs  # noqa: E402
import starts  # noqa: E402
import stops  # noqa: E402
from cluster import ENGINE, FULL, ROOT, Hammer, parse_dump, tool, wait_for  # noqa: E402
from migrate_job import ABORT_POINTS, POINTS, Jobs  # noqa: E402

SEED = int(os.environ.get("HOLDFAST_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
CROSSING = ["cross.closed", "swap.before_identity", "swap.after_identity", "swap.before_archive", "swap.before_done",
            "cross.before_open", "cross.opened"]
VICTIMS = ["leader", "follower", "leader and follower", "all", "coordinator", "coordinator and leader", "coordinator and all"]
ONCE = ("migrate_job.started", "migrate_job.ended")  # in a job; the others are passed for each shard
TWICE = "migrate_job.step_sent"


class Victims(Jobs):
    """One cluster for a step, all of whose processes stop there; one job for each of the victims."""

    def setUp(self):
        self.random = random.Random(f"{SEED} {self.id()}")
        print(f"{self.id()}: replay with HOLDFAST_CHAOS_SEED={SEED}", file=sys.stderr)

    def name(self):
        return "-".join(self.id().split(".")[-2:])

    def cluster_for(self, at, env):
        return clocks.ClockCluster(self.name(), shards=2, coordinators=2, env=env)

    def begin(self, at, point, more=()):
        env = {"HOLDFAST_CRASH_POINT": point, "HOLDFAST_CRASH_STOPS": "1", **dict(more)}
        c = self.c = self.cluster_for(at, env)
        self.addCleanup(self._close, c)
        c.up()
        self.stops = stops.Stops(c)
        self.addCleanup(self.stops.end)
        self.load = Hammer(c, "load", hot=3, unique=2, window=32, pause_us=1500)
        self.load.await_acks(100)
        return c

    def one(self, c, once, point, victim):
        began = time.monotonic()
        for _ in range(5):
            before = engines.stand(c)
            print(f"{point}: {victim}, from {before[1][0]}", end="", file=sys.stderr, flush=True)
            try:
                once(c, point, victim, before)
                break
            except stops.PassedBy as said:
                print(f": {said}; again", file=sys.stderr)
                self.stops.let_go()
                self.done(c, before)
        else:
            self.fail(f"{point}: who is to die there is always sent the others' state instead")
        print(f": {time.monotonic() - began:.1f} s", file=sys.stderr)
        self.load.await_acks(20)

    def each(self, points, once, victims, sample=2):
        """Every step with every one of the victims; in a normal run one step with some of them, by the seed."""
        if not FULL:
            points, victims = [self.random.choice(points)], self.random.sample(victims, sample)
        for at, point in enumerate(points):
            c = self.begin(at, point.partition(":")[0])
            if at * len(victims) % 2:  # so that a run of the other engine has each the other way round
                jobs.begin(c, engines.OTHER[ENGINE])
            for victim in victims:
                self.one(c, once, point, victim)
            self.judge(c)

    def judge(self, c):
        """The whole history, the content, the starts; then the cluster is ended."""
        self.load.stop()
        for shard in (1, 2):
            c.digests_agree(shard, 120)
        faults = histories.judge(c, [self.load], parse_dump(c.cli("dump", text=False).stdout))
        self.assertEqual(faults + starts.faults(c), [])
        self.assertEqual(c.cli("verify", seconds=120).returncode, 0)
        self.doCleanups()

    def asked(self, *what):
        """`holdfast migrate`, which may get no answer while who was asked stands still."""
        asked = subprocess.Popen([tool("holdfast"), "migrate", *what], env=self.c.env, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(asked.wait, timeout=60)
        return asked

    def start(self, c, target):
        """Starts the job; returns what is to be done meanwhile: it is refused while a replica is still behind."""
        return self.insist("start", "--to", target, "--yes", "--detach")

    def insist(self, *what):
        running = [self.asked(*what)]

        def again():
            if running[0].poll() not in (None, 0) and not self.stops.held:
                running[0] = self.asked(*what)
        return again

    def chosen(self, c, victim, shard):
        """Which replicas they are."""
        leader = c.leader(shard)
        follower = self.random.choice([n for n in c.alive(shard) if n != leader])
        return c.alive(shard) if "all" in victim else [leader] * ("leader" in victim) + [follower] * ("follower" in victim)

    def kill(self, c, names):
        """At once; the others go on, perhaps for a while, before all are there again."""
        c.kill(*names)
        self.stops.let_go()
        time.sleep(self.random.choice([0, 0, 0.2, 1]))
        c.start_in_background(*[n for n in c.processes if c.pid(n) is None])

    def done(self, c, before):
        wanted = engines.changed(before)
        target = wanted[1][0]

        def ended():
            job = self.job()
            if job.get("phase") == "stopped" and "for a minute now" in job["reason"]:  # it took all that long to be back
                self.asked("resume", "--detach").wait(timeout=60)
            return job if (job.get("target"), job.get("phase")) == (target, "done") else None
        job = wait_for(lambda: f"a job to {target} that is done: {self.job()}", 120, ended, 0.1)
        self.assertEqual({s["phase"] for s in job["shards"]}, {"done"})
        self.assertEqual(engines.faults(c, wanted), [])

    def job(self):
        """As a coordinator tells it; {}: none answers now."""
        said = self.c.cli("--json", "migrate", "status", code=None).stdout
        return json.loads(said) if said else {}


class Coordinators(Victims):
    def once(self, c, point, victim, before):
        if point in ABORT_POINTS:
            self.aborted(c, victim, before)
            return
        step, _, nth = point.partition(":")
        shard = self.random.choice([2, 1])  # the order in which they are changed
        skip = 0 if shard == 2 or step in ONCE else 2 if step == TWICE else 1
        self.stops.hold(c.coordinators(), skip + int(nth or 1) - 1)
        held = self.stops.await_held(also=self.start(c, engines.OTHER[before[1][0]]))
        self.kill(c, self.chosen(c, victim, shard) + held * ("coordinator" in victim))
        self.done(c, before)

    def prepared(self, c, before):
        """A job whose first shard is, or is about to be, prepared and cannot be sealed: a member and who drove the job are dead; the
        coordinator that drives it now."""
        first, second = c.coordinators()
        away = self.random.choice(c.followers(2))
        c.kill(first, second)
        point = self.random.choice(["migrate_job.before_prepare", "migrate_job.before_seal"])
        c.start(first, env={"HOLDFAST_CRASH_POINT": point})
        c.active(among=[first])
        self.stops.hold([first])
        self.stops.await_held(also=self.start(c, engines.OTHER[before[1][0]]))
        c.kill(away, first)
        self.stops.let_go()
        c.start(second)
        c.active(among=[second])
        wait_for("its reason", 60, lambda: (job := self.job()) and away in job["shards"][0]["reason"], 0.1)
        return second

    @staticmethod
    def knows(status, id_):
        """It is aborted there, and nothing is prepared (its record may still be that of the seal before)."""
        return status is not None and f"{status.migration.aborted:016x}" == id_ and \
            status.migration.aborted_epoch == status.log_epoch and status.migration.state != engines.PREPARED

    def aborted(self, c, victim, before):
        """Nothing has changed; then it is done after all."""
        self.stops.hold([self.prepared(c, before)])
        held = self.stops.await_held(also=self.insist("abort", "--detach"))
        self.kill(c, self.chosen(c, victim, 2) + held * ("coordinator" in victim))
        job = wait_for(lambda: f"a job that is aborted: {self.job()}", 120,
                       lambda: (job := self.job()).get("phase") == "aborted" and job, 0.1)
        self.assertEqual([s["phase"] for s in job["shards"]], ["aborted", "planned"])
        wait_for("all to know it", 60, lambda: all(self.knows(c.status_of(n), job["id"]) for n in c.names(2)))
        self.assertEqual(engines.faults(c, before), [])
        wait_for("a start", 60, lambda: c.cli("migrate", "start", "--to", engines.OTHER[before[1][0]], "--yes", seconds=120,
                                              code=None).returncode == 0, 0.5)
        self.done(c, before)

    def test_at_each_step(self):
        self.each(POINTS + ABORT_POINTS, self.once, VICTIMS)


class Replicas(Victims):
    def test_these_are_all(self):
        found = set()
        for name in ("cross.c", "swap.c"):
            with open(os.path.join(ROOT, "shard", "replica", name), encoding="utf-8") as f:
                found |= set(re.findall(r'crash_point\("([^"]*)"\)', f.read()))
        self.assertEqual(found, set(CROSSING))  # those of the coordinators: migrate_job.py

    @staticmethod
    def late(c, names, count):
        """Whether fewer than `count` of them can still go over by themselves: who hears of the seal too late is sent the others' state."""
        def installed():
            return {n: c.log(n).count("installed index=") for n in names}
        before, looked = installed(), [time.monotonic()]

        def probe():
            if time.monotonic() - looked[0] < 1:
                return False
            looked[0], now = time.monotonic(), installed()
            return sum(now[n] == before[n] for n in names) < count
        return probe

    def once(self, c, point, victim, before):
        shard = self.random.choice([2, 1])
        chosen = self.chosen(c, victim, shard)
        alone = chosen and "all" not in victim
        names, count = (chosen, len(chosen)) if alone else (c.names(shard), self.random.choice([1, 2]))
        self.stops.hold(names)
        self.stops.await_held(count, also=self.start(c, engines.OTHER[before[1][0]]), passed_by=self.late(c, names, count))
        self.kill(c, chosen + [c.active()] * ("coordinator" in victim))
        self.done(c, before)

    def test_at_each_step(self):
        self.each(CROSSING, self.once, VICTIMS)


if __name__ == "__main__":
    unittest.main(verbosity=2)
