#!/usr/bin/env python3
# migrate.py: holdfast-migrate: stopped groups get another engine and go back, with all they held; what is in the way is refused, and a
# run that was killed anywhere is finished by the next.
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import faults  # noqa: E402
import jobs  # noqa: E402
from admin import stop, tree  # noqa: E402
from cluster import BAD_LINE, ENGINE, PATIENCE, SLOW_ELECTIONS, ClusterTest, Hammer, lincheck, tool, wait_for  # noqa: E402

OTHER = "libraft" if ENGINE == "native" else "native"


def spoil(c):
    """Loads a shard of whose replicas one has the planted bug fsm.ignore_overlay, until that has done its work: it takes requests that are
    applied together."""
    def at_rest():
        seen = [c.status_of(n) for n in c.names(1)]
        return None not in seen and len({s.applied for s in seen}) == 1 and {bytes(s.digest) for s in seen}
    for turn in range(10):
        h = Hammer(c, f"hot-{turn}", hot=12, unique=1, keys=2, pause_us=0)
        h.await_acks(3000)
        h.stop()
        if len(wait_for("all at one index", 60, at_rest, 0.1)) > 1:
            return
    raise AssertionError("all hold the same in spite of it")


def ended_at_their_seal(c):
    """Waits for two, and returns them; the third hears of it now or never, and is killed, as is who drives the job."""
    ended = wait_for("two that ended at their seal", 120, lambda: len(over := [n for n in c.names() if c.pid(n) is None]) >= 2 and over)
    for name in ("coordinator/1", *c.names()):
        c.signal_if_running(name, signal.SIGKILL)
    c.await_end("coordinator/1", *c.names())
    return ended


class Migrate(ClusterTest):
    def migrate(self, *arguments, code=0, env=None, one_line=True):
        done = subprocess.run([tool("holdfast-migrate"), *arguments], env=dict(os.environ, **(env or {})), capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=300 * PATIENCE)
        self.assertEqual(done.returncode, code, done.stderr[-600:])
        if code > 0:
            self.assertFalse(BAD_LINE.search(done.stderr), done.stderr)
            if one_line:
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        return done

    def refused(self, text, *arguments, code=6):
        said = self.migrate(*arguments, code=code).stderr
        self.assertIn(text, said)

    def dirs(self, c, shard=1):
        return [c.data(n) for n in c.names(shard)]

    def quiet(self, c, shard=1):
        """Stops the group when all its members have all there is."""
        def even():
            seen = [c.status_of(n) for n in c.names(shard)]
            return all(s is not None and s.state == "ready" for s in seen) and len({s.applied for s in seen}) == 1
        wait_for("all members at one index", 60, even, 0.1)

    def engines(self, c):
        found = set()
        for name in c.names():
            with open(os.path.join(c.data(name), "identity"), encoding="ascii") as f:
                lines = dict(line.split() for line in f)
            found.add(f"{lines['engine']}-{lines['log_epoch']}")
        return sorted(found)

    def content(self, c):
        return c.cli("dump", seconds=120).stdout

    def held(self, **shape):
        """A group of three with something in it, stopped: (cluster, what it holds)."""
        c = self.cluster(shards=1, **shape).up()
        for i in range(30):
            c.cli("put", f"key-{i}", "v" * i)
        c.cli("del", "key-3")
        content = sorted(self.content(c).splitlines()[1:])
        self.quiet(c)
        c.down()
        return c, content

    def even_ends(self, c):
        """Stops a group so that all its logs and states end at one place, which is told: the coordinator first, the leader last, as a leader that is
        stopped hands over to one that is left, which begins its term with an entry. Again where a slow machine elects another meanwhile."""
        for _ in range(10):
            stop(c, "coordinator/1")
            self.quiet(c)
            leader = c.leader(1)
            for name in [n for n in c.names(1) if n != leader] + [leader]:
                stop(c, name)
            told = [json.loads(self.migrate("--json", "--check", "--to", OTHER, d).stdout)[0] for d in self.dirs(c)]
            ends = {"{index}:{term}".format(**t) for t in told}
            if len(ends) == 1 and len({t["applied"] for t in told}) == 1:
                self.assertEqual({t["result"] for t in told}, {"others are missing"})
                return ends.pop()
            c.up()
        raise AssertionError(f"the logs end at {ends}")

    def same(self, c, content):
        self.assertEqual(sorted(self.content(c).splitlines()[1:]), content)

    def test_there_and_back(self):
        c = self.cluster(shards=2, learners=1).up()
        h = Hammer(c, "before")
        h.await_acks(500)
        h.stop()
        paths = [h.path]
        for turn, (engine, epoch) in enumerate([(OTHER, 2), (ENGINE, 3)]):
            content = sorted(self.content(c).splitlines()[1:])
            for shard in (1, 2):
                self.quiet(c, shard)
            c.down()
            for shard in (1, 2):
                before = [tree(d) for d in self.dirs(c, shard)]
                told = json.loads(self.migrate("--json", "--check", "--to", engine, *self.dirs(c, shard)).stdout)
                self.assertEqual([tree(d) for d in self.dirs(c, shard)], before, "--check changed something")
                self.assertEqual({t["result"] for t in told}, {"can be changed"})
                done = json.loads(self.migrate("--json", "--to", engine, *self.dirs(c, shard)).stdout)
                self.assertEqual({(d["result"], d["engine"], d["log_epoch"]) for d in done}, {("changed", engine, epoch)})
                self.assertEqual(len({d["digest"] for d in done}), 1)
                again = json.loads(self.migrate("--json", "--to", engine, *self.dirs(c, shard)).stdout)
                self.assertEqual({d["result"] for d in again}, {"changed before"})
            self.assertEqual(self.engines(c), [f"{engine}-{epoch}"])
            c.up()
            self.same(c, content)
            for shard in (1, 2):
                for name in c.names(shard):
                    start = [line for line in c.log(name).splitlines() if "cold start state=" in line][-1]
                    self.assertIn("outcome=skipped", start)
            h = Hammer(c, f"after-{turn}")
            h.await_acks(500)
            c.kill(c.leader(1))
            h.await_acks(200)
            h.stop()
            paths.append(h.path)
            c.up()
        for path in paths:
            good, text = lincheck(path)
            self.assertTrue(good, text)
        self.assertEqual(c.cli("verify", seconds=120).returncode, 0)
        self.assertEqual(sorted(os.listdir(os.path.join(c.data("1/1"), "archive"))), sorted([f"{ENGINE}-1", f"{OTHER}-2"]))

    def test_after_a_kill_of_all(self):
        """Their states lag behind their logs, which end where they end: what a majority holds is there."""
        c = self.cluster(shards=1).up()
        h = Hammer(c, "load")
        h.await_acks(300)
        c.kill(*c.names())
        h.stop()
        self.migrate("--to", OTHER, *self.dirs(c))
        c.up()
        good, text = lincheck(h.path)
        self.assertTrue(good, text)
        self.assertEqual(c.cli("verify", seconds=120).returncode, 0)

    def test_one_machine_at_a_time(self):
        """As when the members are on hosts of their own."""
        c, content = self.held()
        dirs = self.dirs(c)
        c.up()
        at = self.even_ends(c)
        self.refused("not where a majority ends, at 70000:7", "--check", "--to", OTHER, "--log", "70000:7", dirs[0])
        self.refused("does not hold 70000:7", "--to", OTHER, "--log", "70000:7", dirs[0])
        self.refused("--log takes INDEX:TERM", "--to", OTHER, "--log", "7", dirs[0], code=2)
        for d in dirs:
            self.migrate("--to", OTHER, "--log", at, d)
        self.migrate("--to", OTHER, *dirs)
        self.assertEqual(self.engines(c), [f"{OTHER}-2"])
        c.up()
        self.same(c, content)

    def test_one_that_was_forgotten(self):
        """It is told by those that went on, and takes their state, whose seal no entry of its own log says."""
        c, content = self.held()
        dirs = self.dirs(c)
        c.up()
        at = self.even_ends(c)
        for d in dirs[:2]:
            self.migrate("--to", OTHER, "--log", at, d)
        self.assertEqual(self.engines(c), sorted([f"{ENGINE}-1", f"{OTHER}-2"]))
        c.start_in_background("coordinator/1", "1/1", "1/2")
        self.same(c, content)
        c.cli("put", "behind its back", "1")
        content = sorted(self.content(c).splitlines()[1:])
        c.start("1/3")
        wait_for("1/3 to have it all", 60, lambda: len({c.answer_of(n).applied for n in c.names()}) == 1)
        wait_for("1/3 to say so", 60, lambda: f"engine changed to {OTHER} log_epoch=2" in c.log("1/3"))
        self.assertEqual(self.engines(c), [f"{OTHER}-2"])
        self.same(c, content)
        self.assertEqual(c.cli("verify", seconds=120).returncode, 0)

    def test_killed_anywhere(self):
        c, content = self.held()
        dirs = self.dirs(c)
        for target, point in [(OTHER, "migrate.before_seal"), (ENGINE, "migrate.after_seal"), (OTHER, "swap.before_identity"),
                              (ENGINE, "swap.after_identity"), (OTHER, "swap.before_archive"), (ENGINE, "swap.before_done")]:
            self.migrate("--to", target, *dirs, code=-signal.SIGKILL, env={"HOLDFAST_CRASH_POINT": point})
            before = [tree(d) for d in dirs]
            self.migrate("--check", "--to", target, *dirs)
            self.assertEqual([tree(d) for d in dirs], before, "--check changed something")
            self.migrate("--to", target, *dirs)
            self.assertEqual({e.split("-")[0] for e in self.engines(c)}, {target}, point)
            for d in dirs:
                self.assertFalse(os.path.exists(os.path.join(d, "MIGRATION")))
        self.assertEqual(self.engines(c), [f"{ENGINE}-7"])
        c.up()
        self.same(c, content)

    def test_what_is_refused(self):
        c, _ = self.held()
        dirs = self.dirs(c)
        before = [tree(d) for d in dirs]
        self.refused("--to is needed", *dirs, code=2)
        self.refused("give the directories of the stopped members", "--to", OTHER, code=2)
        self.refused("this program does not have it; it has native", "--to", "paxos", *dirs, code=2)
        self.refused("is no replica's directory", "--to", OTHER, "/tmp", *dirs)
        self.refused("the directory of replica 1/3 is missing", "--to", OTHER, *dirs[:2])
        copied = os.path.join(c.dir, "copied")
        shutil.copytree(dirs[0], copied)
        self.refused("are both of replica 1/1", "--to", OTHER, *dirs, copied)
        fresh = os.path.join(c.dir, "fresh")
        shutil.copytree(dirs[0], fresh)
        os.remove(os.path.join(fresh, "identity"))
        self.refused("it has no identity", "--to", OTHER, fresh, *dirs[1:])
        cut = os.path.join(c.dir, "cut")
        shutil.copytree(dirs[2], cut)
        shutil.rmtree(os.path.join(cut, f"{ENGINE}-1"))
        self.refused(f"has no files of engine {ENGINE}", "--to", OTHER, *dirs[:2], cut)
        self.assertEqual([self.names_of(t) for t in map(tree, dirs)], [self.names_of(t) for t in before])
        self.assertEqual(self.engines(c), [f"{ENGINE}-1"])
        c.up()
        self.refused("is in use by another process", "--check", "--to", OTHER, *dirs)
        self.refused("is in use by another process", "--to", OTHER, *dirs)

    def test_one_that_stopped_earlier(self):
        """Its log ends before those of the others: it goes on by one of theirs, if one is here; nothing they acknowledged is lost."""
        c, _ = self.held()
        dirs = self.dirs(c)
        c.up()
        stop(c, "1/3")
        c.cli("put", "more", "1")
        content = sorted(self.content(c).splitlines()[1:])
        c.down()
        ends = [json.loads(self.migrate("--json", "--check", "--to", OTHER, d).stdout)[0] for d in dirs]
        self.assertLess(ends[2]["index"], min(ends[0]["index"], ends[1]["index"]))
        at = "{1}:{0}".format(*sorted((t["term"], t["index"]) for t in ends)[1])
        self.refused("nor is there one here that it could follow", "--to", OTHER, "--log", at, dirs[2])
        self.refused("not where a majority ends", "--check", "--to", OTHER, "--log", at, dirs[2])
        self.migrate("--check", "--to", OTHER, *dirs)
        self.migrate("--to", OTHER, *dirs, code=-signal.SIGKILL, env={"HOLDFAST_CRASH_POINT": "migrate.before_seal"})
        c.up()  # given up: what it was given is its log, as ever
        self.same(c, content)
        self.assertNotIn("DAMAGE", c.cli("inspect", c.data("1/3"), code=None).stdout)
        stop(c, "1/3")
        c.cli("put", "more still", "1")
        content = sorted(self.content(c).splitlines()[1:])
        c.down()
        self.migrate("--to", OTHER, *dirs)
        c.up()
        self.same(c, content)
        self.assertEqual(c.cli("verify", seconds=120).returncode, 0)

    def test_a_full_disk(self):
        """Full before the new log is made, and before the old one is put away: with room it goes on where it was."""
        c, content = self.held()
        dirs = self.dirs(c)
        with contextlib.ExitStack() as stack:
            stack.enter_context(faults.moved_to(c, dirs[0], faults.Ext4(os.path.join(c.dir, "image"), 48)))
            for target, point, place in [(OTHER, None, f"{ENGINE}-1"), (ENGINE, "swap.before_archive", f"{ENGINE}-3")]:
                if point:
                    shutil.rmtree(os.path.join(dirs[0], "archive"))
                    self.migrate("--to", target, *dirs, code=-signal.SIGKILL, env={"HOLDFAST_CRASH_POINT": point})
                filler = faults.Filler(dirs[0]).fill_up()
                said = self.migrate("--to", target, *dirs, code=6).stderr
                for word in (dirs[0], "no space", "make room"):
                    self.assertIn(word, said)
                self.assertTrue(os.path.exists(os.path.join(dirs[0], place)), "what it has and needs is where it was")
                self.assertFalse(os.path.exists(os.path.join(dirs[0], "archive")))
                filler.free()
                self.migrate("--to", target, *dirs)
                self.assertEqual({e.split("-")[0] for e in self.engines(c)}, {target})
            c.up()
            self.same(c, content)
            self.assertEqual(c.cli("verify", seconds=120).returncode, 0)

    @staticmethod
    def names_of(found):
        return sorted(n for n in found if "/fsm/" not in n and "/spare-" not in n)

    def test_a_state_that_differs(self):
        """One replica applies what nobody told it (a planted bug): the same index, another digest."""
        c = self.cluster(shards=1).up()
        victim = c.followers(1)[0]
        c.kill(victim)
        c.start(victim, env={"HOLDFAST_PLANTED_BUG": "fsm.ignore_overlay"})
        spoil(c)
        self.even_ends(c)  # looking only, states are compared where they are at one index
        dirs = self.dirs(c)
        self.refused("differ: their states at index", "--check", "--to", OTHER, *dirs)
        self.refused("differ: their states at index", "--to", OTHER, *dirs)
        self.assertEqual(self.engines(c), [f"{ENGINE}-1"])

    # ---- where a running migration ended

    def identity(self, d):
        with open(os.path.join(d, "identity"), encoding="ascii") as f:
            return dict(line.split() for line in f)

    def ends(self, c):
        return [json.loads(self.migrate("--json", "--check", "--to", OTHER, d).stdout)[0] for d in self.dirs(c)]

    def filled(self, c):
        for i in range(20):
            c.cli("put", f"key-{i}", "v" * i)
        return sorted(self.content(c).splitlines()[1:])

    def cut_short(self):
        """A group whose job sealed it and whose replicas ended where they were to go over: (cluster, what it holds, where it is sealed). Again
        where a slow machine left one of them behind."""
        for _ in range(5):
            c = self.cluster(shards=1).up(env={"HOLDFAST_CRASH_POINT": "cross.closed"})
            content = self.filled(c)
            jobs.begin(c, OTHER, "--detach")
            ended_at_their_seal(c)
            at = {int(x) for n in c.names() for x in re.findall(r"the log is sealed index=(\d+)", c.log(n))}
            if len(at) == 1 and min(e["index"] for e in self.ends(c)) >= min(at):
                return c, content, at.pop()
        raise AssertionError("one is always left behind")

    def untouched(self, dirs, *calls):
        """Each is refused with its text, or done with code 0 where that is None, and changes nothing."""
        before = [tree(d) for d in dirs]
        for text, *words in calls:
            if text is None:
                self.migrate("--check", *words)
            else:
                self.refused(text, *words)
        self.assertEqual([tree(d) for d in dirs], before, "it changed something")

    def test_sealed_by_a_job(self):
        """The change that runs is ended as its replicas would, from wherever they or this program were killed; no other one is begun."""
        c, content, at = self.cut_short()
        dirs = self.dirs(c)
        for point in ["swap.before_identity", "swap.after_identity", "swap.before_archive", "swap.before_done", None]:
            self.untouched(dirs, (f"to {OTHER}, which is sealed at {at}", "--check", "--to", ENGINE, *dirs),
                           (f"to {OTHER}, which is sealed at {at}", "--to", ENGINE, *dirs),
                           (f"to {OTHER}, which is sealed at {at}", "--to", ENGINE, dirs[2]), (None, "--to", OTHER, *dirs))
            self.assertEqual({e["index"] for e in self.ends(c)}, {at})
            if point:
                self.migrate("--to", OTHER, *dirs, code=-signal.SIGKILL, env={"HOLDFAST_CRASH_POINT": point})
        end = "{index}:{term}".format(**self.ends(c)[0])
        self.untouched(dirs, (f"is sealed at {end}", "--to", OTHER, "--log", "70000:7", dirs[2]),
                       (f"is sealed at {end}", "--check", "--to", OTHER, "--log", "70000:7", dirs[2]))
        for d in dirs:
            self.migrate("--to", OTHER, "--log", end, d)
        told = json.loads(self.migrate("--json", "--to", OTHER, *dirs).stdout)
        self.assertEqual({(t["result"], t["log_epoch"], t["applied"]) for t in told}, {("changed before", 2, at)})
        self.assertEqual(self.engines(c), [f"{OTHER}-2"])
        c.up()
        self.same(c, content)
        wait_for("the end of the job", 60, lambda: jobs.look(c)["phase"] == "done", 0.1)
        self.assertEqual({self.identity(d)["left_migration"] for d in dirs}, {jobs.look(c)["id"]})
        self.assertEqual(c.cli("verify", seconds=120).returncode, 0)

    def test_half_of_it_went_over(self):
        """One went over, one is sealed there, one was away: the first two agree, the third is told to start."""
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()  # it leads to the end: nobody could take over
        content = self.filled(c)
        leader = c.leader(1)
        armed, away = c.followers(1, leader)
        c.kill(armed)
        c.start(armed, env={"HOLDFAST_CRASH_POINT": "cross.closed"})
        c.kill(away)
        c.transfer(1, leader)
        jobs.begin(c, OTHER, "--without", away, "--detach")
        c.await_end(armed)
        wait_for("the other to go over", 60, lambda: self.identity(c.data(leader))["engine"] == OTHER)
        c.kill(leader, "coordinator/1")
        dirs, late = self.dirs(c), c.data(away)
        pair = [d for d in dirs if d != late]
        at = "{index}:{term}".format(**json.loads(self.migrate("--json", "--check", "--to", OTHER, c.data(leader)).stdout)[0])
        self.untouched(dirs, ("does not hold that", "--check", "--to", OTHER, *dirs), ("does not hold that", "--to", OTHER, *dirs),
                       ("does not hold that", "--to", OTHER, c.data(leader), late), ("sealed at", "--to", ENGINE, c.data(armed), late),
                       (None, "--to", OTHER, "--log", at, *pair))
        self.refused("does not hold " + at, "--to", OTHER, "--log", at, late)
        self.migrate("--to", OTHER, "--log", at, *pair)
        self.assertEqual(self.engines(c), sorted([f"{ENGINE}-1", f"{OTHER}-2"]))
        c.up()
        self.same(c, content)
        wait_for("all to be over", 60, lambda: self.engines(c) == [f"{OTHER}-2"], 0.1)
        self.assertEqual(c.cli("verify", seconds=120).returncode, 0)

    def test_prepared_by_a_job(self):
        """It is overridden: what was prepared is of another epoch now, and never sealed; the job stops, and is given up."""
        c = self.cluster(shards=1).up()
        content = self.filled(c)
        c.kill("coordinator/1")
        c.start("coordinator/1", env={"HOLDFAST_CRASH_POINT": "migrate_job.before_seal"})
        jobs.until_end_of(c, "coordinator/1", "start", "--to", OTHER, "--yes", "--detach")
        self.quiet(c)
        c.down()
        dirs = self.dirs(c)
        self.untouched(dirs, (None, "--to", OTHER, *dirs))
        self.migrate("--to", OTHER, *dirs)
        c.up()
        wait_for("the job to stop", 60, lambda: jobs.look(c)["phase"] == "stopped", 0.1)
        self.assertIn("another migration", jobs.look(c)["reason"])
        jobs.act(c, "abort")
        self.assertEqual(jobs.look(c)["phase"], "aborted")
        self.assertEqual(self.engines(c), [f"{OTHER}-2"])
        self.assertEqual(jobs.begin(c, ENGINE).stdout.splitlines()[-1], "done")
        self.same(c, content)
        self.assertEqual(c.cli("verify", seconds=120).returncode, 0)

    def test_a_group_that_went_on(self):
        """One of three was given the engine, and the others were started in spite of it: what they then acknowledged stays, whoever dies."""
        c, _ = self.held()
        dirs = self.dirs(c)
        c.up()
        at = self.even_ends(c)
        self.migrate("--to", OTHER, "--log", at, dirs[0])
        c.start_in_background("coordinator/1", "1/2", "1/3")
        for i in range(5):
            c.cli("put", f"behind its back {i}", "1")
        content = sorted(self.content(c).splitlines()[1:])
        c.kill("1/2", "1/3", "coordinator/1")
        self.untouched(dirs, ("a majority went on behind", "--check", "--to", OTHER, *dirs), ("a majority went on behind", "--to", OTHER, *dirs))
        c.script("start", "1/1", check=False, env={"HOLDFAST_START_SECONDS": "1"})
        c.script("start", "1/2", check=False, env={"HOLDFAST_START_SECONDS": "1"})
        wait_for("1/2 to say that it cannot follow", 60, lambda: "the log of this one goes on behind that" in c.log("1/2"))
        c.start_in_background("coordinator/1", "1/3")
        self.same(c, content)
        self.assertEqual({self.identity(d)["engine"] for d in dirs[1:]}, {ENGINE})


if __name__ == "__main__":
    unittest.main(verbosity=2)
