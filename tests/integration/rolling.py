#!/usr/bin/env python3
# rolling.py: deploy/rolling-update.sh and deploy/engine-migrate.sh: under a checked load, stopped short, resumed, refused, and over ssh.
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import cluster  # noqa: E402
from cluster import BAD_LINE, BUILD, ENGINE, PATIENCE, ROOT, SCRIPT, ClusterTest, Hammer, lincheck, load, tool, wait_for  # noqa: E402
import jobs  # noqa: E402
from admin import stop  # noqa: E402
from migrate import ended_at_their_seal, spoil  # noqa: E402
from netns import NetCluster, NetTest  # noqa: E402

OTHER = "libraft" if ENGINE == "native" else "native"
UPDATE = os.path.join(ROOT, "deploy", "rolling-update.sh")
MIGRATE = os.path.join(ROOT, "deploy", "engine-migrate.sh")
SEED = int(os.environ.get("HOLDFAST_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
SECONDS = str(int(60 * PATIENCE))


def of_turn(its):
    """A test that is there, to be loaded and counted, only when it is its turn: HOLDFAST_TEST_SEED says whose."""
    return lambda test: test if its else None


class ScriptTest(ClusterTest):
    def run_script(self, c, script, *arguments, code=0, env=None, where=None, before=()):
        done = subprocess.run([*before, script, *(where or ["--dir", c.dir]), *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=600, env=dict(c.env, **{"HEALTH_TIMEOUT_SECONDS": SECONDS, **(env or {})}))
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertFalse(BAD_LINE.search(done.stderr), done.stderr)
        if code:
            self.assertTrue(done.stderr.splitlines()[-1].startswith(os.path.basename(script) + ": ")
                            or "rolling-update.sh: " in done.stderr.splitlines()[-1], done.stderr)
        return done

    def update(self, c, *arguments, **options):
        return self.run_script(c, UPDATE, "--yes", *arguments, **options)

    def pids(self, c):
        return {n: c.pid(n) for n in c.processes}

    def arguments(self, c, name):
        with open(f"/proc/{c.pid(name)}/cmdline", encoding="utf-8") as f:
            return f.read().split("\0")

    def configure(self, c, *settings):
        """What is to be started next; nothing that runs is touched."""
        words = []
        for setting in settings:
            words += ["--set", setting]
        c.script("up", *words, "--coordinator-set", "queue-max=2000")

    def nothing_to_do(self, c, **options):
        """It says so and restarts nothing; who is late for a moment is waited for before."""
        before = self.pids(c)
        run = options.get("run") or (lambda: self.update(c))
        wait_for("nothing to do", 60, lambda: "nothing to do" in run().stdout, 0.5)
        self.assertEqual(self.pids(c), before)

    def clean(self, hammer):
        """All requests of a load were done, and it is linearizable."""
        counts = hammer.stop()
        self.assertEqual((counts["failed"], counts["unknown"]), (0, 0), counts)
        good, text = lincheck(hammer.path)
        self.assertTrue(good, text)

    def begin_and_kill(self, c, script, *arguments, lines, pause):
        """Kills it and all it runs some seconds after so many lines of progress; the servers have sessions of their own. What it said."""
        said = []
        with subprocess.Popen([script, "--dir", c.dir, "--yes", *arguments], env=dict(c.env, TMPDIR=c.dir),
                              stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
            for line in process.stdout:
                said += [line] if " s  " in line else []
                if len(said) == lines:
                    time.sleep(pause)
                    break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.stdout.close()
        with open(os.path.join(c.dir, ".lock"), "a", encoding="ascii") as lock:  # until the last of them has ended
            wait_for("the end of what it ran", 60, lambda: self.taken(lock))
        return said

    @staticmethod
    def taken(lock):
        with contextlib.suppress(BlockingIOError):
            cluster.fcntl.flock(lock, cluster.fcntl.LOCK_EX | cluster.fcntl.LOCK_NB)
            return True


class Rolling(ScriptTest):
    def test_under_load(self):
        """Everything is restarted, nobody notices; then there is nothing to do, and later only what has another binary."""
        c = self.cluster(shards=2, coordinators=2).up()
        h = Hammer(c, "load", deadline_ms=30000)
        h.await_acks(200)
        before = self.pids(c)
        self.configure(c, "replay-budget=8MiB")
        plan = lambda: self.run_script(c, UPDATE, "--dry-run").stdout
        wait_for(lambda: f"a plan to update eight: {plan()}", 60, lambda: plan().count("update  another configuration") == 8, 0.5)
        asked = self.run_script(c, UPDATE, code=2)
        self.assertIn("--yes", asked.stderr)
        self.assertEqual(self.pids(c), before)
        said = self.update(c).stdout
        for name, pid in self.pids(c).items():
            self.assertTrue(pid and pid != before[name], name)
            self.assertIn("replay-budget" if name in c.names() else "queue-max", " ".join(self.arguments(c, name)))
        restarts = [line.split()[2].rstrip(":") for line in said.splitlines() if ": restarts on" in line]
        self.assertEqual(sorted(restarts), sorted(c.processes))
        self.assertTrue(all(name.startswith("coordinator") for name in restarts[-2:]), restarts)
        h.await_acks(100)
        self.clean(h)
        self.nothing_to_do(c)
        before = self.pids(c)
        c.env["HOLDFAST_BUILD_DIR"] = self.newer_coordinator(c)
        self.update(c)
        changed = [n for n, pid in self.pids(c).items() if pid != before[n]]
        self.assertEqual(changed, ["coordinator/1", "coordinator/2"])

    def newer_coordinator(self, c):
        build = os.path.join(c.dir, "build")
        os.makedirs(os.path.join(build, "bin"))
        for name in ("holdfast", "holdfast-shard", "holdfast-migrate"):
            os.symlink(tool(name), os.path.join(build, "bin", name))
        newer = shutil.copy(tool("holdfast-coordinator"), os.path.join(build, "bin"))
        with open(newer, "ab") as f:
            f.write(b"newer")
        return build

    def test_one_that_does_not_start(self):
        """The first failure ends it: what, where, what to do; the others serve. What was put right goes on from there."""
        c = self.cluster(shards=1, coordinators=2).up()
        h = Hammer(c, "load", deadline_ms=30000)
        h.await_acks(200)
        before = self.pids(c)
        self.configure(c, "nonsense=1")
        said = self.update(c, code=3).stderr
        self.assertIn("unknown option --nonsense", said)
        self.assertIn("Nothing else was stopped", said)
        down = [n for n, pid in self.pids(c).items() if pid is None]
        self.assertEqual(len(down), 1)
        self.assertIn(down[0] + " on local is not ready", said)
        changed = [n for n, pid in self.pids(c).items() if n not in down and pid != before[n]]
        self.assertTrue(all(n.startswith("coordinator") for n in changed), changed)
        h.await_acks(200)
        self.update(c, code=3)
        self.assertEqual([n for n, pid in self.pids(c).items() if pid is None], down, "nothing more is stopped")
        with open(os.path.join(c.dir, "settings"), encoding="ascii") as f:
            settings = f.read()
        with open(os.path.join(c.dir, "settings"), "w", encoding="ascii") as f:
            f.write(settings.replace("nonsense=1", "replay-budget=8MiB"))
        said = self.update(c, code=3, env={"HOLDFAST_CRASH_POINT": "log.before_write"}).stderr
        self.assertIn(down[0] + " on local is not ready", said)
        wait_for("its end", 60, lambda: c.pid(down[0]) is None)
        h.await_acks(200)
        said = self.update(c).stdout
        self.assertIn(f"{down[0]}: starts on local", said)
        self.nothing_to_do(c)
        self.clean(h)

    def test_one_that_hangs(self):
        """HEALTH_TIMEOUT_SECONDS is how long is waited; who does not answer is not restarted, nor anybody else."""
        c = self.cluster(shards=1).up()
        victim = c.followers(1)[0]
        c.send_signal(victim, signal.SIGSTOP)
        before = self.pids(c)
        begin = time.monotonic()
        said = self.update(c, code=3, env={"HEALTH_TIMEOUT_SECONDS": "3"}).stderr
        self.assertTrue(3 <= time.monotonic() - begin < int(SECONDS))
        self.assertIn("is not ready after 3 s", said)
        self.assertEqual(self.pids(c), before)
        self.configure_quietly(c, "replay-budget=8MiB")
        self.update(c, env={"STOP_TIMEOUT_SECONDS": "2"})  # it has another configuration now: it is ended and started
        self.assertNotEqual(c.pid(victim), before[victim])
        wait_for(f"{victim} to be ready", 30, lambda: c.answer_of(victim).state == "ready")

    def configure_quietly(self, c, setting):
        """As configure, for a cluster of which not all is ready."""
        with open(os.path.join(c.dir, "settings"), encoding="ascii") as f:
            lines = f.read().splitlines()
        with open(os.path.join(c.dir, "settings"), "w", encoding="ascii") as f:
            f.writelines(line + "\n" if " sets=" not in line else f'declare -g sets=([0]="{setting}")\n' for line in lines)

    def test_what_is_not_safe(self):
        c = self.cluster(shards=1, replicas=1).up()
        before = self.pids(c)
        self.configure(c, "replay-budget=8MiB")
        wait_for("to be told that it is not safe", 60, lambda: "without 1/1, 0 of 1 voters of shard 1 would be ready" in
                 self.update(c, code=4, env={"HEALTH_TIMEOUT_SECONDS": "1"}).stderr)  # not: nobody tells the status
        self.assertEqual(self.pids(c), before)
        with open(os.path.join(c.dir, ".lock"), "r+", encoding="ascii") as lock:
            cluster.fcntl.flock(lock, cluster.fcntl.LOCK_EX)
            self.assertIn("another run is under way", self.update(c, code=4).stderr)
        self.update(c, "--allow-outage")
        self.assertNotEqual(self.pids(c)["1/1"], before["1/1"])
        for bad, env in ((["--frobnicate"], {}), ([], {"HEALTH_TIMEOUT_SECONDS": "soon"})):
            self.assertEqual(len(self.update(c, *bad, code=2, env=env).stderr.splitlines()), 1)
        path = os.path.join(c.dir, "environment")
        for text in ("", "node 1/1 local\n", "HOLDFAST_COORDINATORS=tcp://127.0.0.1:1\nnode 1/1 local\nnode 1/1 local\n",
                     "node 1/x local\n", "HOLDFAST_COORDINATORS=x\nnode 1/1 local --engine native\n", "BIN_DIR=/nowhere\nnode 1/1 local\n"):
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
            env = {} if text.startswith("HOLD") else {"HOLDFAST_COORDINATORS": "" if text == "node 1/1 local\n" else "tcp://127.0.0.1:1"}
            self.update(c, code=2, env=env, where=["--env", path])
        self.update(c, code=2, where=["--env", "/nowhere"])

    def sleeping_build(self, c):
        """Programs as those of the build, but that a `leader transfer` is typed when all but the leader have just gone to sleep."""
        build = os.path.join(c.dir, "build")
        os.makedirs(os.path.join(build, "bin"))
        for name in ("holdfast-coordinator", "holdfast-shard", "holdfast-migrate"):
            os.symlink(tool(name), os.path.join(build, "bin", name))
        path = os.path.join(build, "bin", "holdfast")
        with open(path, "w", encoding="ascii") as f:
            f.write(f"""#!/bin/sh
case "$*" in *"leader transfer"*)
    leader=$({tool("holdfast")} --json status | jq -r '.shards[0].leader' | tr / -)
    for file in {c.dir}/run/1-*.pid; do
        read -r pid start <"$file"
        [ "${{file##*/}}" = "$leader.pid" ] || kill -STOP "$pid"
    done ;;
esac
exec {tool("holdfast")} "$@"
""")
        os.chmod(path, 0o755)
        return build

    def test_nobody_takes_over(self):
        """The others hang when the leader is to hand over: it is not stopped, and the next run goes on."""
        c = self.cluster(shards=1, env=cluster.SLOW_ELECTIONS).up()
        self.configure(c, "replay-budget=8MiB")
        said = self.update(c, code=5, env={"HOLDFAST_BUILD_DIR": self.sleeping_build(c), "LEADER_TIMEOUT_SECONDS": "2"}).stderr
        left = re.search(r"nobody but (\S+) leads shard 1 after 2 s", said)
        self.assertTrue(left, said)
        left = left.group(1)
        self.assertNotIn("replay-budget", " ".join(self.arguments(c, left)))
        self.assertIn("It was not stopped", said)
        for name in c.names():
            c.send_signal(name, signal.SIGCONT)
        c.leader(1)
        self.assertIn(f"{left}: restarts on local", self.update(c).stdout)
        self.nothing_to_do(c)

    def test_killed_and_resumed(self):
        """At any moment; the next run goes on, and the load has noticed nothing."""
        print(f"HOLDFAST_TEST_SEED={SEED}", file=sys.stderr)
        chance = random.Random(SEED)
        c = self.cluster(shards=2, coordinators=2).up()
        h = Hammer(c, "load", deadline_ms=30000)
        h.await_acks(200)
        before = self.pids(c)
        self.configure(c, "replay-budget=8MiB")
        turn = 0
        while turn < 4 or (turn < 12 and all(pid in (None, before[n]) for n, pid in self.pids(c).items())):
            turn += 1
            self.begin_and_kill(c, UPDATE, lines=chance.randint(1, 4), pause=chance.uniform(0, 0.5))
            self.assertLessEqual(sum(pid is None for pid in self.pids(c).values()), 1)
        said = self.update(c).stdout
        self.assertIn(" skip ", said, "nothing of it was done before")
        self.assertFalse([n for n, pid in self.pids(c).items() if pid == before[n]])
        self.clean(h)


def engines_of(c):
    """The engine of each shard, as one status tells that knows them all."""
    def told():
        found = [s["engine"] for s in json.loads(c.cli("--json", "status", code=None).stdout or '{"shards": []}')["shards"]]
        return found if len(found) == c.shape["shards"] and all(found) else None
    return wait_for("all to be told", 60, told)


class Offline(ScriptTest):
    def migrate(self, c, *arguments, to=OTHER, **options):
        return self.run_script(c, MIGRATE, "--offline", "--to", to, *arguments, **options)

    def engines(self, c):
        return set(engines_of(c))

    def content(self, c):
        return c.cli("dump", seconds=120).stdout

    def test_there_and_back(self):
        c = self.cluster(shards=2, learners=1, coordinators=2).up()
        load(c, 500, prefix="a")
        load(c, 500, prefix="z")
        h = Hammer(c, "before", deadline_ms=30000)
        h.await_acks(300)
        self.clean(h)
        content = self.content(c)
        before = self.pids(c)
        self.assertIn(f"{ENGINE} becomes {OTHER}", self.migrate(c, "--dry-run").stdout)
        self.assertIn("--yes", self.migrate(c, code=2).stderr)
        self.assertIn("does not have it", self.migrate(c, "--yes", to="paxos", code=2).stderr)
        self.assertEqual(self.pids(c), before)
        for turn, engine in enumerate((OTHER, ENGINE)):
            self.migrate(c, "--yes", to=engine)
            self.assertEqual(self.engines(c), {engine})
            self.assertEqual(self.content(c), content)
            h = Hammer(c, f"after-{turn}", deadline_ms=30000)
            h.await_acks(300)
            self.clean(h)
            content = self.content(c)
        before = self.pids(c)
        self.assertIn(f"all replicas have engine {ENGINE}", self.migrate(c, "--yes", to=ENGINE).stdout)
        self.assertEqual(self.pids(c), before)

    @of_turn(cluster.FULL or SEED % 2 == 0)
    def test_killed_and_resumed(self):
        print(f"HOLDFAST_TEST_SEED={SEED}", file=sys.stderr)
        chance = random.Random(SEED)
        c = self.cluster(shards=2).up()
        load(c, 500, prefix="a")
        load(c, 500, prefix="z")
        content = self.content(c)
        points = ["migrate.before_seal", "migrate.after_seal", "swap.before_identity", "swap.before_archive", "swap.before_done"]
        for engine in (OTHER, ENGINE):
            for point in ("swap.after_identity", chance.choice(points)):
                if self.left(c, engine) > 0:
                    said = self.migrate(c, "--yes", to=engine, code=6, env={"HOLDFAST_CRASH_POINT": point}).stderr
                    self.assertIn("run this again with the same words", said)
                self.begin_and_kill(c, MIGRATE, "--offline", "--to", engine, lines=chance.randint(1, 10), pause=chance.uniform(0, 1))
            self.migrate(c, "--yes", to=engine)
            self.assertEqual(self.engines(c), {engine})
            self.assertEqual(self.content(c), content)

    def left(self, c, engine):
        """How many directories have another engine."""
        count = 0
        for name in c.names():
            with open(os.path.join(c.data(name), "identity"), encoding="ascii") as f:
                count += dict(line.split() for line in f)["engine"] != engine
        return count

    def test_what_is_not_safe(self):
        """Clients that write; a member that is not named, of a cluster that runs or is stopped. What ran serves as before."""
        c = self.cluster(shards=1).up()
        h = Hammer(c, "load", deadline_ms=30000)
        h.await_acks(200)
        said = self.migrate(c, "--yes", code=4, env={"HEALTH_TIMEOUT_SECONDS": str(int(20 * PATIENCE))}).stderr
        self.assertIn("clients write", said)
        h.await_acks(200)
        self.clean(h)
        nodes = c.script("nodes").stdout.splitlines()
        path = os.path.join(c.dir, "environment")
        with open(path, "w", encoding="ascii") as f:
            f.write("\n".join(line for line in nodes if not line.startswith("node 1/3 ")) + "\n")
        before = self.pids(c)
        self.assertIn("1/3 is a member and not in", self.migrate(c, "--yes", code=4, where=["--env", path]).stderr)
        self.assertEqual(self.pids(c), before)
        self.assertEqual(self.engines(c), {ENGINE})
        c.down()
        self.assertIn("1/3 is a member and not in", self.migrate(c, "--yes", code=4, where=["--env", path]).stderr)
        self.assertEqual(self.left(c, OTHER), 3)

    def test_states_that_differ(self):
        """One replica applies what nobody told it (a planted bug): nothing is changed, and all runs again."""
        c = self.cluster(shards=1).up()
        victim = c.followers(1)[0]
        c.kill(victim)
        c.start(victim, env={"HOLDFAST_PLANTED_BUG": "fsm.ignore_overlay"})
        spoil(c)
        self.assertIn("different states at one index", self.migrate(c, "--yes", code=7).stderr)
        self.assertEqual(self.left(c, OTHER), 3)
        self.assertEqual(self.engines(c), {ENGINE})

    @of_turn(cluster.FULL or SEED % 2 == 1)
    def test_a_job_under_way(self):
        """A job sealed the shard, one member went over, the others ended before: another engine is refused, and all runs again and
        finishes it; the engine of the job is given."""
        turns = (ENGINE, OTHER) if cluster.FULL else (ENGINE,)
        for asked in turns:
            c = self.cluster(shards=1).up(env={"HOLDFAST_CRASH_POINT": "cross.closed"})
            c.cli("put", "k", "v")
            jobs.begin(c, OTHER, "--detach")
            over = ended_at_their_seal(c)[0]
            finish = [tool("holdfast-migrate"), "--json", "--to", OTHER]
            told = subprocess.run([*finish, "--check", c.data(over)], capture_output=True, text=True, check=True, timeout=60 * PATIENCE)
            at = "{index}:{term}".format(**json.loads(told.stdout)[0])
            subprocess.run([*finish, "--log", at, c.data(over)], capture_output=True, check=True, timeout=60 * PATIENCE)
            done = self.migrate(c, "--yes", to=asked, code=0 if asked == OTHER else 6)
            self.assertEqual(("which is sealed at" in done.stderr, "All runs again" in done.stderr), (asked == ENGINE,) * 2)
            wait_for("the engine of the job", 60, lambda c=c: self.engines(c) == {OTHER}, 0.1)
            self.assertEqual(c.cli("get", "k").stdout, "v\n")

    @of_turn(cluster.FULL or SEED % 2 == 1)
    def test_uneven_ends(self):
        """One stopped earlier, and its log ends before the others': all is started, and stopped again."""
        c = self.cluster(shards=1).up()
        victim = c.followers(1)[0]
        stop(c, victim)
        load(c, 100)
        content = self.content(c)
        said = self.migrate(c, "--yes").stdout
        self.assertIn("shard 1: the logs end at ", said)
        self.assertIn("starts again, to stop again", said)
        self.assertEqual((self.left(c, OTHER), self.engines(c)), (0, {OTHER}))
        self.assertEqual(self.content(c), content)


class Online(ScriptTest):
    """engine-migrate.sh without --offline: the coordinator's job."""

    def begin(self, c, to):
        process = subprocess.Popen([MIGRATE, "--dir", c.dir, "--to", to, "--yes"], env=c.env, stdin=subprocess.DEVNULL, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()

    def begin_and_read(self, c, to, *patterns):
        """The script, when it has said a line like each of them; again where a member that is late was in its way."""
        def probe():
            process = self.begin(c, to)
            if all(any(re.match(pattern, line) for line in process.stdout) for pattern in patterns):
                return process
            self.assertIn(process.wait(), jobs.LATE, process.stderr.read())
        return wait_for(f"a script that says {patterns}", 60, probe, 0.2)

    def migrate(self, c, *arguments, to=OTHER, code=0, text=""):
        return jobs.until(code, text, [MIGRATE, "--dir", c.dir, "--to", to, *arguments], env=c.env)

    def engines(self, c):
        return engines_of(c)

    def job(self, c):
        return jobs.look(c)

    def test_there_and_back(self):
        """Planned, refused, killed while it goes on, gone on with, aborted under it; clients notice nothing."""
        c = self.cluster(shards=2, coordinators=2).up()
        h = Hammer(c, "load", deadline_ms=30000)
        h.await_acks(200)
        self.assertEqual(self.migrate(c, "--dry-run").stdout.count(f"from {ENGINE}"), 2)
        self.assertEqual([s["source"] for s in json.loads(self.migrate(c, "--dry-run", "--json").stdout)["shards"]], [ENGINE, ENGINE])
        self.migrate(c, code=2, text="say --yes")
        self.migrate(c, "--yes", to="paxos", code=6, text="does not have engine paxos")
        victim = c.followers(1)[0]
        c.kill(victim)
        self.migrate(c, "--yes", code=6, text=f"--without {victim}")
        self.assertEqual((self.engines(c), self.job(c)["phase"]), ([ENGINE, ENGINE], "none"))
        c.start(victim)
        self.killed_and_resumed(c, victim)
        h.await_acks(100)
        jobs.begin(c, ENGINE, "--soak", "3600", "--detach")
        self.migrate(c, "--yes", code=6, text="a migration to " + ENGINE)
        wait_for("the first shard", 60, lambda: [s["phase"] for s in self.job(c)["shards"]] == ["done", "planned"], 0.1)
        follower = self.begin_and_read(c, ENGINE, *[r"shard 2 +done"] * 2)  # its status, and what is followed
        jobs.act(c, "abort", "--detach")
        said = follower.communicate(timeout=120 * PATIENCE)[1]
        self.assertEqual((follower.returncode, "was aborted" in said, self.engines(c)), (7, True, [OTHER, ENGINE]), said)
        self.assertEqual(self.migrate(c, "--yes", to=ENGINE).stdout.splitlines()[-1], "done")
        self.assertEqual(self.engines(c), [ENGINE, ENGINE])
        self.clean(h)
        self.assertEqual(c.cli("verify", seconds=120).returncode, 0)

    def begin_and_lose(self, c, victim):
        """The script dies in the first shard, and a member of the last one, so that the job is not done before it is back; whether it is so."""
        script = self.begin_and_read(c, OTHER, r"shard 2 +(prepared|sealed|swapped|verified|done)")
        c.kill(victim)
        self.end(script)
        wait_for("the job to miss it", 60, lambda: (job := self.job(c))["phase"] == "done" or victim in job["shards"][1]["reason"], 0.1)
        return self.job(c)["phase"] != "done"

    def killed_and_resumed(self, c, victim):
        for _ in range(5):
            if self.begin_and_lose(c, victim):
                break
            c.start(victim)  # it was killed too late
            self.migrate(c, "--yes", to=ENGINE)
        self.assertEqual(self.job(c)["phase"], "running")
        self.assertIn(f"migration to {OTHER}: running", self.migrate(c, "--dry-run").stdout)
        self.migrate(c, code=2, text="goes on; say --yes")
        jobs.act(c, "pause")
        script = self.begin_and_read(c, OTHER, r"migration to .*: paused")
        wait_for("it to go on", 60, lambda: self.job(c)["phase"] == "running", 0.1)
        c.start(victim)
        said = script.communicate(timeout=120 * PATIENCE)
        self.assertEqual((script.returncode, said[0].splitlines()[-1:], self.engines(c)), (0, ["done"], [OTHER, OTHER]), said)


class SshCluster(NetCluster):
    """A NetCluster whose processes are started by the scripts, through an sshd on each host; the hosts share one file system."""

    def pid(self, name):
        return cluster.Cluster.pid(self, name) or NetCluster.pid(self, name)

    def serve_ssh(self):
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        self.folder = os.path.join(self.dir, "ssh")
        os.makedirs(self.folder, mode=0o700)
        self.daemons = {}
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(self.folder, key)], check=True, timeout=60)
        shutil.copy(os.path.join(self.folder, "user.pub"), os.path.join(self.folder, "authorized"))
        for name in self.processes:
            conf = os.path.join(self.folder, name.replace("/", "-") + ".conf")
            with open(conf, "w", encoding="ascii") as f:
                f.write(f"Port 2222\nListenAddress {self.net.address[name]}\nHostKey {self.folder}/host\nPidFile none\nUsePAM no\n"
                        f"AuthorizedKeysFile {self.folder}/authorized\nStrictModes no\nPermitRootLogin prohibit-password\n"
                        "PasswordAuthentication no\nMaxStartups 50\n")
            with open(conf + ".log", "wb") as log:
                self.daemons[name] = subprocess.Popen([*self.net.command(name), "/usr/sbin/sshd", "-D", "-e", "-f", conf],
                                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def ssh_listens(self, name):
        with open(os.path.join(self.folder, name.replace("/", "-") + ".conf.log"), encoding="utf-8", errors="replace") as f:
            return "listening on" in f.read()

    def write_environment(self, *options):
        """The processes as the scripts take them; `options` go to the replicas."""
        path = os.path.join(self.dir, "environment")
        with open(path, "w", encoding="ascii") as f:
            f.write(f"HOLDFAST_COORDINATORS={self.env['HOLDFAST_COORDINATORS']}\nBASE_DIR={self.dir}\nBIN_DIR={BUILD}/bin\n"
                    f"SSH_USER=root\nSSH_PORT=2222\nSSH_CONNECT_TIMEOUT_SECONDS=20\n"
                    f"SSH_OPTIONS=(-i {self.folder}/user -o UserKnownHostsFile={self.folder}/known -F none -o LogLevel=ERROR)\n"
                    f"common=({' '.join(options)})\n")
            for name in self.processes:
                words = self.command_of(name)[1:]
                f.write(f"node {name} {self.net.address[name]} {' '.join(words)}" +
                        (' "${common[@]}"' if not name.startswith("coordinator") else "") + "\n")
        return path

    def close(self, keep):
        for daemon in getattr(self, "daemons", {}).values():
            daemon.kill()
            daemon.wait()
        super().close(keep)


class Ssh(ScriptTest, NetTest):
    def script(self, c, script, *arguments, **options):
        return self.run_script(c, script, "--yes", *arguments, where=["--env", self.path], before=c.net.command("tester"), **options)

    def test_over_ssh(self):
        c = SshCluster(self.id().rpartition(".")[2], shards=1, coordinators=2)
        self.addCleanup(self._close, c)
        c.up()
        c.cli("put", "k", "v")
        c.down()
        c.running.clear()
        c.serve_ssh()
        wait_for("all of sshd", 60, lambda: all(map(c.ssh_listens, c.processes)))
        self.path = c.write_environment()
        said = self.script(c, UPDATE).stdout
        self.assertEqual(said.count(": starts on"), 5, said)
        for name in c.processes:
            self.assertEqual(os.path.dirname(os.readlink(f"/proc/{c.pid(name)}/exe")), os.path.join(c.dir, "bin"))
            self.assertEqual(os.readlink(f"/proc/{c.pid(name)}/ns/net"), os.readlink(f"/proc/{c.daemons[name].pid}/ns/net"))
        self.nothing_to_do(c, run=lambda: self.script(c, UPDATE))
        self.path = c.write_environment("--replay-budget", "8MiB", "--config", os.path.join(c.dir, "more.conf"))
        with open(os.path.join(c.dir, "more.conf"), "w", encoding="ascii") as f:
            f.write('log-level = "info"\n')
        before = self.pids(c)
        h = c.hammer("load", deadline_ms=30000)
        h.await_acks(200)
        self.script(c, UPDATE)
        changed = [n for n, pid in self.pids(c).items() if pid != before[n]]
        self.assertEqual(changed, c.names(), "only what has another configuration is restarted")
        with open(os.path.join(c.dir, "more.conf"), "w", encoding="ascii") as f:
            f.write('log-level = "warn"\n')
        self.assertEqual(self.script(c, UPDATE, "--dry-run").stdout.count("another configuration"), 3, "what a file says counts")
        self.script(c, UPDATE)
        self.clean(h)
        before = self.pids(c)
        c.net.sides(["tester"], ["1/2"])
        said = self.script(c, UPDATE, code=6).stderr
        self.assertIn(f"1/2: host {c.net.address['1/2']} cannot be reached", said)
        c.net.heal()
        self.assertEqual(self.pids(c), before)
        self.script(c, MIGRATE, "--offline", "--to", OTHER)
        wait_for("a healthy cluster", 60, lambda: c.cli("status", code=None).returncode == 0, 0.1)
        self.assertEqual(engines_of(c), [OTHER])
        self.assertEqual(c.cli("get", "k").stdout, "v\n")


if __name__ == "__main__":
    assert os.path.isdir(BUILD) and os.path.exists(SCRIPT)
    unittest.main(verbosity=2)
