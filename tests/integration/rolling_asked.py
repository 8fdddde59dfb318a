#!/usr/bin/env python3
# rolling_asked.py: deploy/rolling-update.sh and engine-migrate.sh: what they read, and that no shard loses its quorum by what is asked.
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import unittest

from rolling import MIGRATE, OTHER, SECONDS, SEED, UPDATE, ScriptTest, of_turn
import jobs
from cluster import BUILD, ENGINE, FULL, PATIENCE, ROOT, SCRIPT, SLOW_ELECTIONS, Hammer, tool, wait_for

print(f"HOLDFAST_TEST_SEED={SEED}", file=sys.stderr)
TURN = SEED % 3  # a normal run has the tests of one turn, and those of none


class Asked(ScriptTest):
    """What the environment file and the command line ask for is what is done, and no shard loses its quorum by it."""

    def environment(self, c, *options, move=0, edit=lambda line: line, name="environment"):
        """The nodes as a file; the replicas with more options, their HTTP doors so many ports further on."""
        lines = c.script("nodes").stdout.splitlines()
        for i, line in enumerate(lines):
            if line.startswith("node ") and " --replica " in line:
                lines[i] = re.sub(r"(--http-endpoint \S+:)(\d+)", lambda m: m[1] + str(int(m[2]) + move), " ".join([line, *options]))
        with open(os.path.join(c.dir, name), "w", encoding="ascii") as f:
            f.writelines(line + "\n" for line in map(edit, lines) if line)
        return ["--env", os.path.join(c.dir, name)]

    def restarts(self, said):
        return [line.split()[2].rstrip(":") for line in said.splitlines() if ": restarts on" in line]

    def leader_last(self, said, leader):
        """It handed over, and was restarted last. Where a slow machine elected another one meanwhile, that one did."""
        handed = re.findall(r" s  (\d+/\d+): (?!restarts|ready|starts)", said)
        self.assertEqual(handed[-1:], self.restarts(said)[-1:], said)
        self.assertTrue(leader == handed[-1] or leader not in handed, said)

    def changed(self, c, before):
        return {n: pid for n, pid in self.pids(c).items() if pid != before[n]}

    @of_turn(FULL or TURN == 0)
    def test_another_http_endpoint(self):
        """A replica is asked at the door it has, not at the one it shall have."""
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()
        h = Hammer(c, "load", deadline_ms=30000)
        h.await_acks(200)
        leader, where = c.leader(1), self.environment(c, move=200)
        plan = self.run_script(c, UPDATE, "--dry-run", where=where).stdout
        self.assertEqual(plan.count("update  another configuration"), 3, plan)
        said = self.update(c, where=where).stdout
        self.assertEqual(sorted(self.restarts(said)), c.names(), said)
        self.leader_last(said, leader)
        victim = c.followers(1)[-1]
        c.send_signal(victim, signal.SIGSTOP)
        before = self.pids(c)
        said = self.update(c, code=3, where=self.environment(c, "--nonsense 1", move=100), env={"STOP_TIMEOUT_SECONDS": "2"}).stderr
        self.assertIn("unknown option --nonsense", said)
        self.assertEqual(self.changed(c, before), {victim: None}, "who is not ready comes first, the others stay")
        h.await_acks(200)
        if FULL:
            self.update(c, where=self.environment(c, move=100))
        self.clean(h)

    def start_without_doors(self, c):
        """All replicas, with HTTP doors at ports that nobody knows: each serves and nobody can ask whether it is ready."""
        c.down()
        for line in c.script("nodes").stdout.splitlines():
            if line.startswith("node "):
                _, name, _, *words = shlex.split(line)
                if name in c.names():
                    words[words.index("--http-endpoint") + 1] = "127.0.0.1:0"
                program = tool("holdfast-shard" if name in c.names() else "holdfast-coordinator")
                subprocess.run(["bash", os.path.join(ROOT, "deploy", "node.sh"), "start", c.dir, name, "", SECONDS, program, *words],
                               check=True, env=c.env, timeout=600)

    @of_turn(FULL or TURN == 1)
    def test_one_that_only_seems_not_ready(self):
        """What is repaired is stopped no sooner than any other: the others are a quorum, and another one leads."""
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()
        self.start_without_doors(c)
        h = Hammer(c, "load", deadline_ms=30000)
        h.await_acks(200)
        leader = c.leader(1)
        victim = c.followers(1, leader)[-1]
        c.send_signal(victim, signal.SIGSTOP)
        before = self.pids(c)
        where = self.environment(c, edit=lambda line: line if not line.startswith(f"node {victim} ") else "")

        def told():
            said = self.update(c, code=4, where=where, env={"HEALTH_TIMEOUT_SECONDS": "2"})
            self.assertEqual(said.stdout.count("repair  another configuration, not ready"), 2, said.stdout)
            return re.search("without ./., 1 of 3 voters of shard 1 would be ready", said.stderr)  # not: nobody tells the status
        wait_for("to be told that it is not safe", 60, told)
        self.assertEqual(self.changed(c, before), {})
        self.update(c, code=3, where=self.environment(c, "--nonsense 1"), env={"STOP_TIMEOUT_SECONDS": "2"})
        self.assertEqual(self.changed(c, before), {victim: None}, "who does not answer comes first")
        said = self.update(c, where=self.environment(c)).stdout
        self.leader_last(said, leader)
        self.clean(h)

    @of_turn(FULL)  # waits for time-outs
    def test_a_shard_that_nobody_serves(self):
        """Two of three hang: their repair takes nothing away, and brings the shard back."""
        c = self.cluster(shards=1).up()
        third = c.leader(1)
        hung = c.followers(1, third)
        for name in hung:
            c.send_signal(name, signal.SIGSTOP)
        wait_for("nobody is ready", 60, lambda: c.answer_of(third).state != "ready")
        said = self.update(c, where=self.environment(c, "--replay-budget 8MiB"),
                           env={"STOP_TIMEOUT_SECONDS": "2", "HEALTH_TIMEOUT_SECONDS": str(int(20 * PATIENCE))}).stdout
        self.assertEqual(self.restarts(said)[0], hung[0], said)
        c.cli("put", "k", "v")

    @of_turn(FULL or TURN == 2)
    def test_one_that_ends_while_a_binary_is_copied(self):
        """The others are looked at after the copy, which may take long; ssh is played by a script here, which takes one of them away."""
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()
        self.write_program(os.path.join(c.dir, "ssh"), f"""
case ${{*: -1}} in *"'install' '{c.dir}' "*"'-' ") ! mkdir "{c.dir}/copied" || kill -STOP {c.pid(c.followers(1)[-1])} ;; esac
exec sh -c "${{*: -1}}"
""")
        before = self.pids(c)
        where = self.environment(c, "--replay-budget 8MiB", edit=lambda line: re.sub(r"^(node \S+) local ", r"\1 127.0.0.1 ", line))
        said = self.update(c, code=4, where=where, env={"HEALTH_TIMEOUT_SECONDS": "2", "PATH": c.dir + ":" + c.env["PATH"]}).stderr
        self.assertIn("1 of 3 voters of shard 1 would be ready", said)
        self.assertTrue(os.path.isdir(os.path.join(c.dir, "copied")))
        self.assertEqual(self.changed(c, before), {})

    @of_turn(FULL or TURN == 2)
    def test_one_that_ends_while_another_takes_over(self):
        """The others are looked at once more after a hand-over; `holdfast` is the built one, and the third hangs from the transfer on."""
        c = self.cluster(shards=1, env=SLOW_ELECTIONS).up()
        leader, folder = c.leader(1), os.path.join(c.dir, "bin")
        os.makedirs(folder)
        for name in ("holdfast-coordinator", "holdfast-shard"):
            os.symlink(tool(name), os.path.join(folder, name))
        self.write_program(os.path.join(folder, "holdfast"), f"""
{tool("holdfast")} "$@"
code=$?
case "$*" in *"leader transfer 1 "*)
    for file in {c.dir}/run/1-*.pid; do
        read -r pid start <"$file"
        [[ $file == */{leader.replace("/", "-")}.pid || $file == */1-${{*: -1}}.pid ]] || kill -STOP "$pid"
    done ;;
esac
exit $code
""")
        before = self.pids(c)
        where = self.environment(c, edit=lambda line: line + " --replay-budget 8MiB" if line.startswith(f"node {leader} ") else
                                 f"BIN_DIR={folder}" if line.startswith("BIN_DIR=") else line)
        said = self.update(c, code=4, where=where, env={"HEALTH_TIMEOUT_SECONDS": "2"}).stderr
        self.assertIn(f"without {leader}, 1 of 3 voters", said)
        self.assertEqual(self.changed(c, before), {})

    def write_program(self, path, text):
        with open(path, "w", encoding="ascii") as f:
            f.write("#!/bin/bash" + text)
        os.chmod(path, 0o755)

    def test_options_with_an_equals_sign(self):
        """The programs take --x=y, so the scripts do."""
        c = self.cluster(shards=1, replicas=1).up()

        def equals(line):
            return re.sub(r"(--[a-z-]+) (?=[^-])", r"\1=", line)
        where = self.environment(c, edit=equals)
        self.update(c, "--allow-outage", where=where)
        self.assertIn(f"--dir={c.data('1/1')}", self.arguments(c, "1/1"))
        self.assertFalse([word for word in self.arguments(c, "1/1") if word in ("--dir", "--shard", "--replica")])
        self.nothing_to_do(c, run=lambda: self.update(c, where=where))
        plan = self.run_script(c, MIGRATE, "--offline", "--to", OTHER, "--dry-run", where=where).stdout
        self.assertIn(f"{ENGINE} becomes {OTHER}", plan)
        c.send_signal("1/1", signal.SIGSTOP)
        self.assertIn("it runs as wanted and is not ready yet", self.run_script(c, UPDATE, "--dry-run", where=where).stdout)
        for bad, said in (("--engine=native", "--engine is of a replica's first start only"), ("--shard=2", "--shard 2 is not what")):
            self.assertIn(said, self.update(c, code=2, where=self.environment(c, bad, edit=equals)).stderr)

    def test_which_cluster_and_how_long(self):
        c = self.cluster(shards=1, replicas=1).up()
        self.environment(c, name="true")  # as a program in PATH
        self.nothing_to_do(c, run=lambda: self.run_script(c, UPDATE, "--dry-run", where=["--env", "true"], before=["env", "-C", c.dir]))
        for script in ([UPDATE], [MIGRATE, "--to", OTHER]):
            said = self.run_script(c, script[0], *script[1:], "--env", os.path.join(c.dir, "true"), "--dry-run", code=2).stderr
            self.assertIn("--dir and --env name a cluster each", said)
        self.update(c, "--dry-run", env={"ROLLING_UPDATE_ENV_FILE": "/nowhere"})  # for who says neither
        for name, value in (("HEALTH_TIMEOUT_SECONDS", "08"), ("HEALTH_TIMEOUT_SECONDS", "00"), ("STOP_TIMEOUT_SECONDS", "0"),
                            ("LEADER_TIMEOUT_SECONDS", "86401"), ("MAX_LAG", "010")):
            self.assertIn(f'not "{value}"', self.update(c, code=2, env={name: value}).stderr)

    def test_one_json_document(self):
        """The plan, or how the change stands, if that is all, else the job."""
        c = self.cluster(shards=2).up()

        def phases(*words, to=OTHER, code=0):
            said = jobs.until(code, "", [MIGRATE, "--dir", c.dir, "--to", to, "--json", *words], env=c.env).stdout
            return [shard["phase"] for shard in json.loads(said)["shards"]]
        victim = c.followers(1)[0]
        self.assertEqual(phases("--dry-run"), ["planned", "planned"])
        c.kill(victim)
        self.assertEqual(phases("--yes", code=6), ["planned", "planned"])
        c.start(victim)
        self.assertEqual(phases("--yes"), ["done", "done"])
        jobs.begin(c, ENGINE, "--soak", "20", "--detach")
        jobs.act(c, "pause")
        self.assertEqual(phases("--dry-run", to=ENGINE)[1], "planned")
        self.assertEqual(phases("--yes", to=ENGINE), ["done", "done"])
        self.assertIn("--json", self.run_script(c, MIGRATE, "--to", OTHER, "--json", "--offline", "--dry-run", code=2).stderr)


if __name__ == "__main__":
    assert os.path.isdir(BUILD) and os.path.exists(SCRIPT)
    unittest.main(verbosity=2)
