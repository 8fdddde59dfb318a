#!/usr/bin/env python3
# powercuts.py: replicas, or all of them at once, lose power under load: nothing acknowledged may be missing afterwards.
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "support", "powercut"), HERE]
import chaos  # noqa: E402
import cluster  # noqa: E402
import powercut  # noqa: E402
import starts  # noqa: E402
from cluster import FULL, SCRIPT, StartFailed, wait_for  # noqa: E402

SEED = chaos.SEED
KEEP = os.environ.get("HOLDFAST_POWERCUT_KEEP") == "1"  # copies of the directories as the last cut left them
WRAPPER = """#!/bin/sh
# Starts a replica on a disk that can lose power; --dir comes first.
name=${2##*/}
LD_PRELOAD='%s' POWERCUT_ROOT="$2" POWERCUT_JOURNAL='%s'/"$name" exec '%s' "$@"
"""


class PowerCluster(cluster.Cluster):
    """Its replicas run with libpowercut.so: a kill is a power cut unless it says otherwise."""

    def __init__(self, name, rng, **shape):
        super().__init__(name, **shape)
        self.random, self.mode, self.cuts, self.lost = rng, None, 0, 0
        self.journals, bin_dir = os.path.join(self.dir, "powercut"), os.path.join(self.dir, "build", "bin")
        os.makedirs(bin_dir)
        os.makedirs(self.journals)
        for program in ("holdfast", "holdfast-coordinator"):
            os.symlink(cluster.tool(program), os.path.join(bin_dir, program))
        library = os.path.join(cluster.BUILD, "lib", "libpowercut.so")
        preload = " ".join(filter(None, [powercut.sanitizer(cluster.tool("holdfast-shard")), library]))
        with open(os.path.join(bin_dir, "holdfast-shard"), "w", encoding="utf-8") as f:
            f.write(WRAPPER % (preload, self.journals, cluster.tool("holdfast-shard")))
        os.chmod(f.name, 0o755)
        self.env["HOLDFAST_BUILD_DIR"] = os.path.dirname(bin_dir)

    def bootstrap_and_cut(self, crash_point):
        """Makes the cluster until a replica passes the crash point; then the power fails."""
        first = {}

        def passed():
            """A replica ended. A slow machine may not come so far in three seconds: then it goes on from there."""
            with contextlib.suppress(StartFailed):
                self.up(env={"HOLDFAST_CRASH_POINT": crash_point, "HOLDFAST_START_SECONDS": "3"}, leave=True)
            self.processes = {row["name"]: row for row in json.loads(self.script("ps", "--json").stdout)}
            pids = {n: self.pid(n) for n in self.names()}
            return any(pid is None or pid != first.setdefault(n, pid) for n, pid in pids.items())
        wait_for(f"{crash_point} to be passed", 120, passed)
        self.just_kill(*self.alive())
        self.cut(*self.names())

    def just_kill(self, *names):
        for name in names:
            self.signal_if_running(name, signal.SIGKILL)
        self.await_end(*names)

    def kill(self, *names):
        super().kill(*names)
        self.cut(*names)

    def cut(self, *names):
        """What the dead replicas had not synced is lost, by chance."""
        with open(os.path.join(self.dir, "powercuts.log"), "a", encoding="utf-8") as f:
            for name in names:
                journal = os.path.join(self.journals, name.replace("/", "-"))
                lines = powercut.power_cut(self.data(name), journal, self.random.randrange(1 << 31), self.mode)
                f.writelines(line + "\n" for line in lines)
                self.cuts += bool(lines)
                self.lost += max(0, len(lines) - 1)
                if KEEP:
                    copy = os.path.join(self.dir, "after-cut", name.replace("/", "-"))
                    shutil.rmtree(copy, ignore_errors=True)
                    shutil.copytree(self.data(name), copy)

    def start_and_cut(self, names, crash_point=None):
        """The power fails again while they start, or when the first of them passes the crash point."""
        env = dict(self.env, **({"HOLDFAST_CRASH_POINT": crash_point} if crash_point else {}))
        starting = [subprocess.Popen([SCRIPT, "start", n, "--dir", self.dir], env=env, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for n in names]
        wait_for("processes", 60, lambda: all(self.pid(n) or s.poll() is not None for n, s in zip(names, starting)), 0.002)
        if crash_point:
            if "flush" in crash_point:  # the end flushes
                self.signal_if_running(names[0], signal.SIGTERM)
            wait_for(f"the end at {crash_point}", 120, lambda: not all(self.pid(n) for n in names), 0.002)
        else:
            time.sleep(self.random.choice([0, 0.02, 0.05, 0.1, 0.3]))  # a moment of its start, not a wait
        self.just_kill(*names)
        self.cut(*names)
        for s in starting:
            s.wait(timeout=300)
        for n in names:  # one that ended by itself refused something
            assert "cannot be opened" not in self.log(n) and "cannot be read" not in self.log(n), self.log(n)[-500:]


class PowerCuts(cluster.ClusterTest):
    hammers, judge, faults_of_replicas = chaos.Chaos.hammers, chaos.Chaos.judge, chaos.Chaos.faults_of_replicas
    HOWS = ["room", "leader", "room again", "shard", "killed, then room", "follower", "room", "two"]

    def setUp(self):
        self.random = random.Random(SEED)
        print(f"{self.id()}: replay with HOLDFAST_CHAOS_SEED={SEED}", file=sys.stderr)

    def cluster(self, **shape):
        c = PowerCluster(self.id().rpartition(".")[2], self.random, **shape)
        self.addCleanup(self._close, c)
        return c

    def victims(self, c, how):
        shard = self.random.choice([1, 2])
        if how.endswith("room") or how.startswith("room"):
            return c.names()
        if how == "shard":
            return c.names(shard)
        if how == "leader":
            return [c.leader(shard)]
        return self.random.sample(c.names(shard), {"follower": 1, "two": 2}[how])

    def one_event(self, c, made, how):
        chosen = self.victims(c, how)
        if how == "killed, then room":  # the page cache shows them what is not on the disk
            for name in chosen[::2]:
                c.just_kill(name)
            c.start_in_background(*chosen[::2])
        c.kill(*chosen)
        if how == "room again":
            c.start_and_cut(chosen)
        c.start_in_background(*chosen)
        for h in made:
            h.await_acks(30)

    def cuts(self, name, sets, events):
        c = self.cluster(sets=sets).up()
        made = self.hammers(c)
        first = self.random.randrange(len(self.HOWS))
        for i in range(events):
            self.one_event(c, made, self.HOWS[(first + i) % len(self.HOWS)])
        self.assertEqual(sorted(c.alive()), sorted(c.names()), "a replica ended by itself")
        faults = self.judge(c, made, every_replica=FULL)
        print(f"{name}: {events} power failures, {c.cuts} replicas, {c.lost} files or names lost something", file=sys.stderr)
        self.assertEqual(faults, [])
        self.assertGreater(c.lost, events)

    def test_power_cuts_nosync(self):
        self.cuts(*chaos.RUNS[0], 60 if FULL else 6)

    def test_power_cuts_sync(self):
        self.cuts(*chaos.RUNS[1], 60 if FULL else 5)

    def test_power_cuts_small_segments(self):
        self.cuts(*chaos.RUNS[2], 60 if FULL else 6)

    def test_power_cuts_sync_small_segments(self):
        self.cuts(*chaos.RUNS[3], 60 if FULL else 5)

    def test_power_cuts_snapshots_often(self):
        self.cuts(*chaos.RUNS[4 + SEED % 2], 60 if FULL else 5)

    def test_power_cuts_at_crash_points(self):
        """Each named place of log and state machine: the first replica to pass it takes the power from all."""
        points = ["log.new_segment", "log.prepared", "log.after_write", "fsm.before_flush", "fsm.after_flush",
                  "log.before_write", "log.after_sync", "log.recycled", "publish.before_token", "publish.after_token",
                  "publish.before_trim"]
        self.random.shuffle(points)
        c = self.cluster(shards=1, sets=chaos.RUNS[4 + SEED % 2][1]).up()
        made = self.hammers(c, value_bytes=1024)
        for point in points * 3 if FULL else points[:3]:
            c.kill(*c.names())
            c.start_and_cut(c.names(), f"{point}:{1 if 'flush' in point else self.random.randrange(1, 4)}")
            c.start_in_background(*c.names())
            for h in made:
                h.await_acks(30)
        self.assertEqual(self.judge(c, made, every_replica=FULL), [])
        self.assertGreater(c.lost, c.cuts)

    def test_power_cuts_at_bootstrap(self):
        """A bootstrap that the power failure cut short is done again; what had said that it is done, is."""
        points = ["bootstrap.before_identity:1", "bootstrap.after_identity:1", "log.new_segment:1", "fsm.after_write:1"] + \
            [f"disk.replace.{side}_rename:{n}" for side in ("before", "after") for n in (1, 2, 3)]
        for point in points if FULL else self.random.sample(points, 1):
            c = self.cluster(shards=1)
            c.bootstrap_and_cut(point)
            c.up()
            cluster.Hammer(c, "p").await_acks(20)
            self.assertEqual(starts.faults(c), [])
            c.close(keep=False)

    def found(self, bug, **shape):
        """What is wrong after power cuts of a cluster with a planted bug; "" when nothing was noticed."""
        c = self.cluster(shards=1, env={"HOLDFAST_PLANTED_BUG": bug}, **shape).up()
        c.env["HOLDFAST_START_SECONDS"] = "40"
        c.mode = "worst"
        made = [cluster.Hammer(c, tag, hot=2, unique=2, pause_us=500, deadline_ms=1000) for tag in "pq"]
        try:
            for _ in range(4):
                for h in made:
                    h.await_acks(300, seconds=20)
                c.kill(*c.names())
                c.start_in_background(*c.names())
            return "\n".join(self.judge(c, made, every_replica=False))
        except StartFailed as e:
            return f"stands still: {e}" if e.code == 3 else str(e)
        except (AssertionError, subprocess.TimeoutExpired) as e:  # a group that lost too much may also never agree again
            return f"stands still: {e}"

    def test_canary_skipped_sync(self):
        """A log that is never synced must be found."""
        said = self.found("log.skip_sync")
        self.assertRegex(said, "lost: |not linearizable|cannot be opened|stands still")

    def test_canary_skipped_sync_of_directory(self):
        """Names that are never synced must be found."""
        said = self.found("log.skip_dirsync", sets=["log-segment-bytes=65536"])
        self.assertRegex(said, "lost: |not linearizable|cannot be opened|stands still")

    def test_canary_healed_start(self):
        """One replica whose log forgets is healed by the others, so that all is there again: its start must be found."""
        c = self.cluster(shards=1, sets=chaos.OFTEN).up()
        c.mode = "worst"
        name = c.followers(1)[0]
        c.kill(name)
        c.start(name, env={"HOLDFAST_PLANTED_BUG": "log.skip_sync"})
        made = self.hammers(c)
        begin = c.answer_of(name).snapshot
        wait_for("a snapshot that stands on the log", 120, lambda: c.answer_of(name).snapshot > begin)
        self.assertEqual(starts.faults(c), [])
        c.kill(name)
        c.start(name)
        faults = self.judge(c, made, every_replica=False)
        self.assertTrue(faults)
        for fault in faults:
            self.assertIn(f"bad start: {name}: ", fault)
            self.assertIn("state=corrupt_log", fault)


if __name__ == "__main__":
    unittest.main(verbosity=2)
