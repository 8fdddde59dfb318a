#!/usr/bin/env python3
# migrations.py: the power of one replica, of several, of all and of the coordinators fails while all shards change their engine: at each
# step of it, and at any moment. The job ends done, nothing acknowledged is missing.
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "integration"), HERE]
import chaos  # noqa: E402
import clocks  # noqa: E402
import engines  # noqa: E402
import powercuts  # noqa: E402
import victims  # noqa: E402
from cluster import wait_for  # noqa: E402
from migrate_job import POINTS  # noqa: E402

HOWS = ["room", "leader", "shard", "follower and coordinator", "leader and follower"]


class Room(powercuts.PowerCluster):
    """Its coordinators, which have no disks, lose power too."""

    coordinators, own_status, active = [getattr(clocks.ClockCluster, n) for n in ("coordinators", "own_status", "active")]

    def kill(self, *names):
        self.just_kill(*names)
        self.cut(*[n for n in names if n in self.names()])


class Migrations(victims.Victims):
    def cluster_for(self, at, env):
        kept = env["HOLDFAST_CRASH_POINT"] == "migrate_job.before_publish"  # what is durable already is not published
        name, sets = chaos.RUNS[0 if kept else (victims.SEED + at) % len(chaos.RUNS)]
        print(f"settings {name}", file=sys.stderr)
        return Room(self.name(), self.random, shards=2, coordinators=2, sets=sets, env=env)

    def chosen(self, c, victim, shard):
        leader = c.leader(shard)
        others = [n for n in c.names(shard) if n != leader]
        return {"room": c.names() + c.coordinators(), "shard": c.names(shard), "leader": [leader],
                "leader and follower": [leader, self.random.choice(others)],
                "follower and coordinator": [self.random.choice(others), c.active()]}[victim]

    def judge(self, c):
        super().judge(c)
        print(f"{c.cuts} replicas lost power, {c.lost} files or names lost something", file=sys.stderr)
        if c.cuts >= 12:  # of fewer, each may by chance have kept what it had
            self.assertGreater(c.lost, c.cuts)

    def at_step(self, c, point, victim, before):
        """The first process that is there, or the second, takes the power from all who are to lose it."""
        step, _, nth = point.partition(":")
        shard = self.random.choice([2, 1])
        chosen = self.chosen(c, victim, shard)
        replicas = step in victims.CROSSING
        self.stops.hold(c.names(shard) if replicas else c.coordinators(), int(nth or 1) - 1)
        self.stops.await_held(self.random.choice([1, 2]) if replicas else 1, also=self.start(c, engines.OTHER[before[1][0]]))
        self.kill(c, chosen)
        self.done(c, before)

    def at_any_moment(self, c, victim, before):
        target, last = engines.OTHER[before[1][0]], wait_for("a job", 60, self.job)["id"]
        chosen = self.chosen(c, victim, self.random.choice([2, 1]))
        again = self.start(c, target)
        wait_for("a job", 60, lambda: again() or self.job().get("id", last) != last, 0.01)
        time.sleep(self.random.random() * 1.5)  # a moment of it, not a wait
        self.kill(c, chosen)
        self.done(c, before)

    def once(self, c, point, victim, before):
        if victim.endswith(", any moment"):
            self.at_any_moment(c, victim.partition(",")[0], before)
        else:
            self.at_step(c, point, victim, before)

    def test_power_cuts(self):
        """All at every step, and as many at any moment; in a normal run a few."""
        self.each(victims.CROSSING + POINTS, self.once, HOWS + [how + ", any moment" for how in HOWS])

    def test_canary_unflushed(self):
        """A replica that went over without having flushed is healed by the others; its start must be found."""
        c = self.begin(-victims.SEED, "swap.before_done", {"HOLDFAST_PLANTED_BUG": "swap.unflushed"})  # with the settings nosync
        c.mode, before = "worst", engines.stand(c)
        leader = c.leader(2)
        self.stops.hold([leader])
        self.stops.await_held(also=self.start(c, engines.OTHER[before[1][0]]))
        self.kill(c, [leader])
        self.done(c, before)
        with self.assertRaisesRegex(AssertionError, f"bad start: {leader}: "):
            self.judge(c)


if __name__ == "__main__":
    unittest.main(verbosity=2)
