#!/usr/bin/env python3
# txns.py: transactions over three shards while leaders and coordinators are killed, stopped and started anew: what was done is
# strictly serializable, and no snapshot shows half of one.
import json
import os
import random
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import clocks  # noqa: E402
import netns  # noqa: E402
import starts  # noqa: E402
import txnloads  # noqa: E402
from cluster import FULL, PATIENCE, ClusterTest, wait_for  # noqa: E402

SEED = int(os.environ.get("HOLDFAST_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
SECONDS = float(os.environ.get("HOLDFAST_CHAOS_SECONDS", "0")) or (60 if FULL else 10)
SHARDS = 3
# Snapshots so often, and logs so short, that who was away is sent a state.
OFTEN = ["snapshot-entries=40", "snapshot-trailing-entries=60", "snapshot-log-bytes=262144", "replay-budget=262144",
         "log-segment-bytes=65536", "fsm-buffer-bytes=65536"]
# What is older than two seconds is collected meanwhile: by most seeds.
COLLECTS = SEED % 4 != 0
COLLECTED = ["retention-seconds=2"] if COLLECTS else []


class Txns(ClusterTest):
    def setUp(self):
        self.random = random.Random(SEED)
        print(f"{self.id()}: replay with HOLDFAST_CHAOS_SEED={SEED}", file=sys.stderr)

    def begin(self, sets=(), env=None, **options):
        c = clocks.ClockCluster(self.id().rpartition(".")[2], shards=SHARDS, replicas=3, coordinators=2, splits=txnloads.SPLITS,
                                sets=[*sets, *COLLECTED], env=env, coordinator_sets=["retain-lease-seconds=1"])
        self.addCleanup(self._close, c)
        c.up()
        load = txnloads.TxnLoad(c, "t", seed=SEED, **options)
        load.await_acks(100, seconds=60)
        return c, load

    def judge(self, c, load):
        """Stops the load; all faults: histories, invariants, digests, what replicas found at their starts, locks left."""
        works = ("lists", "slots", "bank", "skew", "prefix")
        wait_for(lambda: f"each workload to do something: {load.counts}", 120, lambda: all(load.progress().get(w, 0) > 20 for w in works))
        counts = load.stop()
        for shard in range(1, SHARDS + 1):
            c.digests_agree(shard)
        faults, said = txnloads.judge(load)
        removed = sum(c.metric(c.leader(s), "holdfast_collect_versions_total") for s in range(1, SHARDS + 1))
        said = f"{said}; {removed:.0f} versions collected"
        if COLLECTS:  # at the latest now that it is quiet
            wait_for("collection", 120, lambda: c.metric(c.leader(1), "holdfast_collect_versions_total") > 0, 0.5)
        else:
            self.assertEqual(removed, 0)
        print(f"{self.id().rpartition('.')[2]}: {counts}; {said}", file=sys.stderr)
        return faults + starts.faults(c)

    def for_a_while(self, c, load, once, rest=0.3):
        """Again and again for the time of a nemesis, the load going on in between; how often."""
        until, count = time.monotonic() + SECONDS, 0
        while time.monotonic() < until:
            once(c, load)
            load.await_acks(30)
            time.sleep(self.random.random() * rest)
            count += 1
        print(f"{once.__name__}: {count} times, {load.progress()}", file=sys.stderr)
        self.assertGreater(count, 0)

    def leaders_killed(self, c, load):
        names = [c.leader(s) for s in self.random.sample(range(1, SHARDS + 1), self.random.choice([1, 1, 2]))]
        c.kill(*names)
        time.sleep(self.random.random() * 0.8)
        c.start_in_background(*names)

    def coordinator_killed(self, c, load):
        active = c.active()
        c.kill(active)
        time.sleep(self.random.random() * 0.8)
        c.start(active)

    def stopped(self, c, load):
        """A leader or the active coordinator sleeps through its own deposition, and wakes with requests in its hands."""
        name = c.active() if self.random.random() < 0.5 else c.leader(self.random.randrange(1, SHARDS + 1))
        c.pause(name)
        try:
            time.sleep(0.5 + self.random.random() * 2.5)
        finally:
            c.go_on(name)

    def all_restarted(self, c, load):
        names = list(c.processes)
        c.kill(*names)
        c.start_in_background(*names)

    def wall_jumps(self, c, load):
        for name in c.coordinators():
            c.set_wall(name, self.random.choice([-3600, -5, 0, 0.5, 3, 30]))
        if self.random.random() < 0.5:
            self.coordinator_killed(c, load)

    def states_sent(self, c, load):
        """A replica is away for so long that the log it needs is gone."""
        name = self.random.choice(c.followers(self.random.randrange(1, SHARDS + 1)))
        c.kill(name)
        load.await_acks(200)
        c.start(name)

    def engines_changed(self, c, load):
        """All shards go over to the other engine while something else is the matter; it ends DONE, whoever dies."""
        now = c.answer_of(c.leader(1)).engine
        target = "libraft" if now == "native" else "native"

        def begun():
            return c.cli("migrate", "start", "--to", target, "--yes", "--detach", code=None).returncode == 0
        wait_for(f"a start of the change to {target}", 120, begun, 0.5)  # not while somebody is still behind
        time.sleep(self.random.random() * 0.6)
        trouble = self.random.choice([self.leaders_killed, self.coordinator_killed, self.stopped, self.all_restarted, None])
        if trouble:
            trouble(c, load)

        def done():
            told = c.cli("--json", "migrate", "status", code=None)
            phase = json.loads(told.stdout)["phase"] if told.returncode == 0 else ""
            if phase == "stopped":
                c.cli("migrate", "resume", "--detach", code=None)
            return phase == "done"
        wait_for(f"the change to {target}, beside {trouble.__name__ if trouble else 'nothing'}", 300, done, 0.2)

    def nemesis(self, *onces, **options):
        c, load = self.begin(**options)
        for once in onces:
            self.for_a_while(c, load, once)
        wait_for("all ready", 120, lambda: all((s := c.status_of(n)) and s.state == "ready" for n in c.names()))
        self.assertEqual(self.judge(c, load), [])

    def test_nemeses(self):
        self.nemesis(self.leaders_killed, self.coordinator_killed, self.stopped, self.all_restarted)

    def test_engines_changed(self):
        self.nemesis(self.engines_changed)

    def test_wall_jumps(self):
        self.nemesis(self.wall_jumps)

    def test_states_sent(self):
        self.nemesis(self.states_sent, sets=OFTEN)

    # ---- planted bugs must be found, or the tests above prove nothing

    def canary(self, bug):
        """Loads that are stopped and judged as those above: a history that is being written lacks what others read already."""
        options = {"pause_us": 0, "epoch": 120, "clients": 12}
        c, load = self.begin(env={"HOLDFAST_PLANTED_BUG": bug}, **options)
        until = time.monotonic() + max(180.0, SECONDS) * PATIENCE  # a bound only: it ends when it is found
        for number in range(1, 1000):
            load.await_acks(2000)
            load.stop()
            faults, said = txnloads.judge(load)
            if faults:
                break
            self.assertLess(time.monotonic(), until, f"{bug} was not found: {said}")
            load = txnloads.TxnLoad(c, f"t{number}", seed=SEED + number, **options)
        self.assertRegex("".join(faults), "violation: |not strictly serializable: ")

    def test_canary_lock_skipped(self):
        self.canary("txn.lock_skipped")

    def test_canary_validate_first(self):
        self.canary("txn.validate_first")

    def test_canary_reads_unvalidated(self):
        self.canary("txn.reads_unvalidated")


class Partitions(netns.NetTest):
    """Hosts that do not hear each other: leaders, the active coordinator, a client's way to either."""

    def setUp(self):
        self.random = random.Random(SEED)
        print(f"{self.id()}: replay with HOLDFAST_CHAOS_SEED={SEED}", file=sys.stderr)

    def cut(self, c):
        """One or two of the hosts alone, or all in two halves, the clients in one of them."""
        names = list(c.processes)
        leaders = [n for n in c.names() if (s := c.status_of(n, 0.5)) is not None and s.role == "leader"]
        how = self.random.choice(["leader", "coordinator", "both", "halves", "one way"])
        alone = []
        if how in ("leader", "both", "one way") and leaders:
            alone.append(self.random.choice(leaders))
        if how in ("coordinator", "both"):
            alone.append(self.random.choice(["coordinator/1", "coordinator/2"]))
        if how == "halves":
            alone = self.random.sample(names, len(names) // 2)
        rest = [n for n in [*names, "client/1"] if n not in alone]
        if how == "one way" and alone:
            c.net.one_way(alone, rest)
        else:
            c.net.sides(alone, rest)
        return how

    def test_partitions(self):
        c = self.net_cluster(shards=SHARDS, replicas=3, coordinators=2, clients=1, splits=txnloads.SPLITS)
        c.up()
        load = txnloads.TxnLoad(c, "t", inside=c.net.command("client/1"), seed=SEED)
        load.await_acks(100, seconds=60)
        until, hows = time.monotonic() + SECONDS, []
        while time.monotonic() < until or len(hows) < 2:
            try:
                hows.append(self.cut(c))
                time.sleep(0.5 + self.random.random() * 2.5)
            finally:
                c.net.heal()
            load.await_acks(30)
        counts = load.stop()
        for shard in range(1, SHARDS + 1):
            c.digests_agree(shard)
        faults, said = txnloads.judge(load)
        print(f"partitions: {hows}, {counts}; {said}", file=sys.stderr)
        self.assertEqual(faults + starts.faults(c, c.page), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
