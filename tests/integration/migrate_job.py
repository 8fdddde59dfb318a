#!/usr/bin/env python3
# migrate_job.py: `holdfast migrate`: all shards go over to the other engine and back under a checked load, while coordinators and
# leaders die; paused, aborted, with a member that is away; what is refused.
import glob
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import clocks  # noqa: E402
import crossing  # noqa: E402
import jobs  # noqa: E402
from cluster import ENGINE, PATIENCE, ROOT, ClusterTest, Hammer, lincheck, tool, wait_for  # noqa: E402

OTHER = "libraft" if ENGINE == "native" else "native"
# In the order in which a job passes them; of step_sent the first is the prepare, the second the seal.
POINTS = ["migrate_job.started", "migrate_job.begun", "migrate_job.before_prepare", "migrate_job.step_sent", "migrate_job.prepared",
          "migrate_job.before_publish", "migrate_job.before_seal", "migrate_job.step_sent:2", "migrate_job.sealed",
          "migrate_job.verified", "migrate_job.ended"]
ABORT_POINTS = ["migrate_job.before_abort", "migrate_job.aborted"]


class Jobs(ClusterTest):
    def up(self, **shape):
        c = clocks.ClockCluster(self.id().rpartition(".")[2], **shape)
        self.addCleanup(self._close, c)
        self.c = c.up()
        return c

    def job(self):
        return jobs.look(self.c)

    def await_phase(self, phase, seconds=120):
        return wait_for(lambda: f"a job that is {phase}: {self.job()}", seconds,
                        lambda: (job := self.job())["phase"] == phase and job, 0.1)

    def told(self, *arguments, **options):
        return jobs.told(self.c, *arguments, **options)

    def begin(self, target, *more, **options):
        return jobs.begin(self.c, target, *more, **options)

    def begin_and_die(self, target, name):
        """Starts a job of which the coordinator that drives it dies."""
        jobs.until_end_of(self.c, name, "start", "--to", target, "--yes", "--detach")

    def phases(self):
        return {row["shard"]: row["phase"] for row in self.job()["shards"]}

    def engines(self):
        return {self.c.answer_of(n).engine for n in self.c.alive()}

    def verified(self, *loads):
        for h in loads:
            h.stop()
            good, text = lincheck(h.path)
            self.assertTrue(good, text)
        self.assertEqual(self.c.cli("verify", seconds=120).returncode, 0)

    def arm(self, point):
        """Makes a coordinator active that will die at `point`; its name, and the other's, which is down: as long as it is, a coordinator
        that is late loses its lease to nobody."""
        active = self.c.active()
        other = next(n for n in self.c.coordinators() if n != active)
        self.c.kill(other)
        self.c.start(other, env={"HOLDFAST_CRASH_POINT": point})
        self.c.kill(active)
        self.c.active(among=[other])
        return other, active


class Runs(Jobs):
    def test_there_and_back_under_load(self):
        c = self.up(shards=3, coordinators=2)
        h = Hammer(c, "load", deadline_ms=30000)
        h.await_acks(300)
        plan = json.loads(self.told("--json", "migrate", "plan", "--to", OTHER).stdout)
        self.assertEqual([(s["shard"], s["source"]) for s in plan["shards"]], [(2, ENGINE), (3, ENGINE), (1, ENGINE)])
        self.assertEqual((plan["id"], plan["phase"], self.job()["id"]), ("0" * 16, "none", "0" * 16))
        for engine, more in ((OTHER, []), (ENGINE, ["--max-parallel", "2", "--soak", "1"])):
            said = self.begin(engine, *more, seconds=180).stdout
            self.assertEqual(said.splitlines()[-1], "done")
            self.assertEqual(self.engines(), {engine})
            self.assertEqual(set(self.phases().values()), {"done"})
            h.await_acks(300)
        standby = next(n for n in c.coordinators() if n != c.active())
        done = self.told("-c", c.processes[standby]["client"], "--json", "migrate", "finalize", "--to", ENGINE)
        self.assertEqual(json.loads(done.stdout)["phase"], "finalized")
        self.verified(h)
        self.assertEqual((h.counts["failed"], h.counts["unknown"]), (0, 0), "clients saw it")
        wait_for("three that are counted", 30, lambda: c.metric(c.active(), 'holdfast_coordinator_migration_shards{phase="done"}') == 3)
        for name in c.names():
            wait_for(f"{name} to count what it keeps", 30, lambda: c.metric(name, "holdfast_archive_bytes") > 0)
            wait_for(f"{name} to be at no change", 30, lambda: c.metric(name, 'holdfast_migration_state{state="none"}') == 1)
        for shard in (1, 2, 3):  # who was late may have taken the others' state
            wait_for(f"two of shard {shard} to have paused", 30, lambda: 2 <= sum(
                c.metric(n, "holdfast_engine_change_pause_seconds_count") > 0 for n in c.names(shard)))

    def test_a_soak_a_pause(self):
        c = self.up(shards=2)
        self.begin(OTHER, "--soak", "30", "--detach")
        wait_for("the first shard", 60, lambda: self.phases() == {2: "done", 1: "planned"}, 0.1)
        for _ in range(2):
            jobs.act(c, "pause")
        self.told("migrate", "start", "--to", ENGINE, "--yes", code=6, text="is paused")
        c.kill("coordinator/1")
        c.start("coordinator/1")
        time.sleep(5)
        self.assertEqual((self.job()["phase"], self.phases()), ("paused", {2: "done", 1: "planned"}))
        brief, = wait_for("a status that tells of it", 30, lambda: json.loads(c.cli("--json", "status", code=None).stdout or '{"jobs": []}')["jobs"])
        self.assertRegex(brief.pop("id"), "^[0-9a-f]{16}$")
        self.assertEqual(brief, {"kind": "migration", "target": OTHER, "phase": "paused", "shards": 2, "done": 1, "reason": ""})
        line = f"migration to {OTHER}: paused, 1 of 2 shards done; look: holdfast migrate status\n"
        wait_for("its line", 30, lambda: line in c.cli("status", code=None).stdout)
        self.assertEqual(jobs.act(c, "resume", "--to", OTHER).stdout.splitlines()[-1], "done")
        self.assertEqual(self.engines(), {OTHER})
        wait_for("a status without it", 30, lambda: c.status()["jobs"] == [])

    def test_a_member_dies_in_it(self):
        """The job waits for it, until an operator leaves it out; SIGINT ends the command that follows, not the job."""
        c = self.up(shards=2)
        victim = c.followers(1)[0]
        self.begin(OTHER, "--soak", "15", "--detach")
        c.kill(victim)  # long before it is its shard's turn
        wait_for("the first shard", 60, lambda: self.phases()[2] == "done", 0.1)
        wait_for("its reason", 30, lambda: victim in self.job()["shards"][1]["reason"], 0.1)
        follower = subprocess.Popen([tool("holdfast"), "migrate", "resume"], env=c.env, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertIn("shard 2", follower.stdout.readline())
        follower.send_signal(signal.SIGINT)
        said = follower.communicate(timeout=60 * PATIENCE)[1]
        self.assertEqual((follower.returncode, said.count("\n"), "goes on" in said), (-signal.SIGINT, 1, True), said)
        self.assertEqual(self.job()["phase"], "running")
        said = jobs.act(c, "resume", "--without", victim).stdout
        self.assertEqual((said.splitlines()[-1], self.job()["without"]), ("done", [victim]))
        self.assertEqual(self.engines(), {OTHER})

    def test_on_a_terminal(self):
        c = self.up(shards=1, replicas=1)
        def typed_in(answer):
            here, there = pty.openpty()
            os.write(here, answer.encode())
            done = subprocess.run([tool("holdfast"), "migrate", "start", "--to", OTHER], env=c.env, stdin=there,
                                  capture_output=True, text=True, timeout=60 * PATIENCE)
            os.close(here)
            os.close(there)
            late = "not reachable" in done.stdout + done.stderr or "no leader" in done.stdout + done.stderr
            return not (done.returncode in (3, 4) or (done.returncode == 6 and late)) and done
        for typed, code, engine in (("n\n", 6, ENGINE), ("y\n", 0, OTHER)):
            done = wait_for("all to be there", 60, lambda: typed_in(typed))  # noqa: B023
            self.assertEqual((done.returncode, self.engines()), (code, {engine}), done.stderr)
            self.assertIn(f"shard 1      from {ENGINE}\nchange the engine", done.stdout)

    def test_what_is_refused(self):
        c = self.up(shards=2)
        self.assertEqual(self.told("migrate", "status").stdout, "no migration\n")

        def refused(text, *arguments, code=6):
            said = self.told("migrate", *arguments, code=code, text=text).stderr
            self.assertEqual(said.count("\n"), 1, said)
        for what in ("pause", "resume", "abort", "finalize"):
            refused("there is no migration", what)
        refused("does not have engine paxos", "start", "--to", "paxos", "--yes")
        refused("does not have engine paxos", "plan", "--to", "paxos")
        refused("--to native or --to libraft", "plan", "--to", "", code=2)
        refused("add --yes", "start", "--to", OTHER, code=2)
        refused("--to", "start", "--yes", code=2)
        refused("is no SHARD/REPLICA", "start", "--to", OTHER, "--yes", "--without", "2", code=2)
        refused("there is no replica 2/9", "start", "--to", OTHER, "--yes", "--without", "2/9")
        refused("does not take --soak", "pause", "--soak", "1", code=2)
        self.assertEqual(self.begin(ENGINE).stdout.splitlines()[-1], "done")
        self.assertEqual({s["epoch"] for s in self.job()["shards"]}, {0})
        refused("is done", "abort")
        refused("is one to", "finalize", "--to", OTHER)
        self.assertEqual(self.engines(), {ENGINE})

    def test_without_a_dead_member(self):
        c = self.up(shards=2)
        victim = c.followers(2)[0]
        c.kill(victim)
        for what in (["plan"], ["start", "--yes"]):
            done = self.told("migrate", *what, "--to", OTHER, code=6, text=f"--without {victim}")
            self.assertEqual(f"--without {victim}" in done.stdout, what == ["plan"])
        frozen = c.followers(1)[0]
        c.pause(frozen)

        def planned():
            done = c.cli("--timeout", "300", "migrate", "plan", "--to", OTHER, code=None)
            self.assertIn(done.returncode, (3, 4), done.stderr)  # the coordinator says so, or does not in time; never an unknown outcome
            return "nothing is changed" in done.stderr or self.assertIn("no coordinator could be reached", done.stderr)
        wait_for("a coordinator that is reached in 300 ms", 60, planned)
        c.send_signal(frozen, signal.SIGCONT)
        self.begin(OTHER, "--without", victim, seconds=120)
        self.told("migrate", "finalize", code=6, text=victim)
        c.start(victim)
        wait_for("an end", 120, lambda: c.cli("migrate", "finalize", code=None).returncode == 0, 0.5)
        self.assertEqual((self.engines(), self.job()["phase"]), ({OTHER}, "finalized"))
        self.assertTrue(c.digests_agree(2))


class Killed(Jobs):
    def test_these_are_all(self):
        found = set()
        for path in glob.glob(os.path.join(ROOT, "coordinator", "*.c")):
            with open(path, encoding="utf-8") as f:
                found |= set(re.findall(r'crash_point\("(migrate[^"]*)"\)', f.read()))
        self.assertEqual(found, {p.partition(":")[0] for p in POINTS + ABORT_POINTS})

    def test_coordinators_at_each_point(self):
        c = self.up(shards=2, coordinators=2)
        h = Hammer(c, "load")
        h.await_acks(100)
        target = OTHER
        for point in POINTS:
            armed, other = self.arm(point)
            self.begin_and_die(target, armed)
            c.start(other)
            c.active(among=[other])
            job = self.await_phase("done")
            self.assertEqual((job["target"], self.engines()), (target, {target}), point)
            c.start(armed)
            target = ENGINE if target == OTHER else OTHER
            h.await_acks(20)
        self.verified(h)

    def test_leaders(self):
        c = self.up(shards=3, coordinators=2)
        h = Hammer(c, "load")
        h.await_acks(100)
        for target in (OTHER, ENGINE):
            self.begin(target, "--soak", "1", "--detach")
            for shard in (2, 3, 1):
                wait_for(f"shard {shard}", 60, lambda s=shard: self.phases()[s] != "planned", 0.01)
                victim = c.leader(shard)
                c.kill(victim)
                c.start(victim)
            self.await_phase("done")
            self.assertEqual(self.engines(), {target})
            h.await_acks(50)
        self.verified(h)


class Aborts(Jobs):
    status_of_leader, step, seal = crossing.Crossing.status_of_leader, crossing.Crossing.step, crossing.Crossing.seal
    crossed, change = crossing.Crossing.crossed, crossing.Crossing.change

    def prepared(self, point=None):
        """A job whose first shard is prepared and is not sealed, because a member is away."""
        c = self.up(shards=2)
        c.kill("coordinator/1")
        c.start("coordinator/1", env={"HOLDFAST_CRASH_POINT": "migrate_job.before_seal"})
        c.active()
        h = Hammer(c, "load")
        h.await_acks(100)
        self.begin_and_die(OTHER, "coordinator/1")
        victim = c.followers(2)[0]
        c.kill(victim)
        c.start("coordinator/1", env={"HOLDFAST_CRASH_POINT": point} if point else None)
        c.active()
        self.assertEqual(self.await_phase("running")["shards"][0]["phase"], "prepared")
        wait_for("its reason", 30, lambda: victim in self.job()["shards"][0]["reason"], 0.1)
        wait_for("its gauge", 30, lambda: c.metric(c.leader(2), 'holdfast_migration_state{state="prepared"}') == 1)
        return c, h, victim

    def aborted(self, c, h, victim):
        job = self.await_phase("aborted")
        self.assertEqual([s["phase"] for s in job["shards"]], ["aborted", "planned"])
        record = c.answer_of(c.leader(2)).migration
        self.assertEqual((record.state, record.aborted, f"{record.aborted:016x}"), (0, record.id, job["id"]))
        self.assertEqual((self.engines(), {c.answer_of(n).log_epoch for n in c.alive()}), ({ENGINE}, {1}))
        c.start(victim)
        self.begin(OTHER, seconds=120)
        self.assertEqual(self.engines(), {OTHER})
        h.await_acks(50)
        self.verified(h)

    def test_a_shard_that_went_on_by_another(self):
        """Nothing can be done for it: the job stops, its abort ends it, and the next one begins."""
        c = self.up(shards=2)
        c.kill("coordinator/1")
        c.start("coordinator/1", env={"HOLDFAST_CRASH_POINT": "migrate_job.verified"})
        c.active()
        self.begin_and_die(OTHER, "coordinator/1")
        self.crossed(c, c.names(2), 2)
        self.change(c, 2, 5, ENGINE)
        c.start("coordinator/1")
        self.assertIn("shard 2: it went on to log epoch 3", self.await_phase("stopped")["reason"])
        for _ in range(2):  # whoever did not hear it asks again
            self.assertEqual(jobs.act(c, "abort").stdout.splitlines()[-1], "aborted")
            self.assertIn("1 of 2 shards went over", self.job()["reason"])
        self.assertEqual(self.begin(OTHER, seconds=120).stdout.splitlines()[-1], "done")
        self.assertEqual(self.engines(), {OTHER})

    def test_before_the_seal(self):
        c, h, victim = self.prepared()
        self.assertEqual(jobs.act(c, "abort").stdout.splitlines()[-1], "aborted")
        self.aborted(c, h, victim)

    def test_killed_in_it(self):
        c, h, victim = self.prepared("migrate_job.before_abort")
        jobs.until_end_of(c, "coordinator/1", "abort", "--detach")
        c.script("start", "coordinator/1", check=False, env={"HOLDFAST_CRASH_POINT": "migrate_job.aborted"})  # it may die before it is ready
        c.await_end("coordinator/1")
        c.start("coordinator/1")
        self.aborted(c, h, victim)


if __name__ == "__main__":
    unittest.main(verbosity=2)
