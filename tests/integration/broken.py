#!/usr/bin/env python3
# broken.py: what a person sees when a cluster, an endpoint, a file or the output is broken: said in one line, with the right
# exit code, soon. (commands.py asks the same of a cluster that is well.)
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from cluster import FULL, PATIENCE, Cluster, tool, wait_for  # noqa: E402

NO_ENDPOINTS = ["127.0.0.1:7400", "tcp://127.0.0.1", "tcp://*:7400", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:0", "tcp://:7400",
                "http://127.0.0.1:7400", "", ",", "ipc://", "tcp://127.0.0.1:7400,nonsense"]
# One of each command that talks to the cluster.
COMMANDS = [["put", "a", "1"], ["get", "a"], ["del", "a"], ["cas", "a", "--absent", "1"], ["delprefix", "none/"],
            ["scan"], ["dump"], ["members"], ["routes"], ["leader", "transfer", "1"]]


class Broken(unittest.TestCase):
    """One cluster for all: each test breaks it and mends it."""

    @classmethod
    def setUpClass(cls):
        cls.c = Cluster("broken", shards=2, coordinators=2)
        try:
            cls.c.up()
            cls.c.cli("load", "-", stdin="".join(f"a{i:05d}\t{'v' * 40}\n" for i in range(5000)))
        except BaseException:
            cls.c.close(keep=True)
            raise

    @classmethod
    def tearDownClass(cls):
        bad = cls.c.bad_lines()
        cls.c.close(keep=bool(bad))
        assert not bad, bad

    def mend(self):
        """Starts what is down, wakes what sleeps, waits until all is well."""
        for name in self.c.processes:
            if self.c.pid(name):
                self.c.send_signal(name, signal.SIGCONT)
        self.c.start_in_background(*[n for n in self.c.processes if not self.c.pid(n)])
        wait_for("a healthy cluster", 60, lambda: self.c.cli("status", code=None).returncode == 0, 0.1)

    def one_line(self, *arguments, code, words=(), twice=True, **how):
        """The command fails with the code and one line, which holds the words; the same as JSON."""
        done = self.c.cli(*arguments, code=code, **how)
        self.assertEqual((done.stdout, len(done.stderr.splitlines())), ("", 1), (arguments, done.stderr))
        for word in words:
            self.assertIn(word, done.stderr)
        if not twice:
            return
        error = json.loads(self.c.cli("--json", *arguments, code=code, **how).stderr)["error"]
        self.assertEqual(sorted(error), ["class", "code", "message"])

    def problems(self, *patterns, endpoints=(), code=7, maybe="^$", text=".", holds=lambda status: True):
        """(as JSON, as text), when each pattern is one of the problems, and there are no others but what `maybe` finds;
        and the text holds `text`, and the JSON makes `holds` true (they are two looks, and things move between them). Who has
        no processor for a moment is told as silent: it looks again."""
        how, seen = (["-c", ",".join(endpoints)] if endpoints else []), []

        def probe():
            seen[:] = [self.c.cli(*how, "--json", "status", code=None), self.c.cli(*how, "status", code=None)]
            status = json.loads(seen[0].stdout)
            found = [p for p in status["problems"] if not re.search(maybe, p)]
            good = len(found) == len(patterns) and all(any(re.search(w, p) for p in found) for w in patterns)
            same = [done.returncode for done in seen] == [code] * 2 and re.search(text, seen[1].stdout)
            return (status, seen[1].stdout) if good and same and holds(status) else None
        return wait_for(lambda: f"exit code {code} and {patterns}: {seen}", 60, probe, 0.1)

    def quick(self, *arguments):
        """Something dead or asleep costs no more than a second: the best of a few tries, as the machine may be busy."""
        took = []
        for _ in range(20):
            begin = time.monotonic()
            self.c.cli(*arguments, code=None)
            took.append(time.monotonic() - begin)
            if took[-1] <= 1.0 * PATIENCE:
                return
        self.fail(f"{arguments} took {min(took):.2f} s")

    def test_coordinators_dead(self):
        c = self.c
        self.addCleanup(self.mend)
        active = next(x["id"] for x in self.problems(code=0)[0]["coordinators"] if x["active"])
        c.kill(f"coordinator/{active}")
        # What the other one believes of the dead one counts for nothing: somebody who asked it got no answer.
        status = json.loads(c.cli("--json", "status", code=None).stdout)
        dead = next(x for x in status["coordinators"] if x["id"] in (active, 0))
        self.assertFalse(dead["active"] or dead["reachable"], status["coordinators"])
        self.quick("status")
        self.problems("coordinator at .* does not answer", code=0)  # the other one is active
        c.kill(f"coordinator/{3 - active}")
        _, text = self.problems("does not answer", "does not answer", "no coordinator is active",
                                "nobody told the routes")
        self.assertIn("unknown", text)
        self.quick("status")
        for command in COMMANDS if FULL else COMMANDS[:2] + COMMANDS[-2:]:
            self.one_line("--timeout", "200", *command, code=3, words=[c.env["HOLDFAST_COORDINATORS"]], twice=command[0] > "m")
        # The shards go on, and every replica knows the way.
        replica = c.processes["2/1"]["client"]
        status, text = self.problems("no coordinator was asked", endpoints=[replica])
        self.assertEqual((status["coordinators"], len(status["shards"])), ([], 2))
        self.assertNotIn("COORDINATOR", text)
        self.assertEqual(c.cli("-c", replica, "put", "a", "1").stdout, "ok\n")
        self.assertEqual(c.cli("-c", replica, "get", "a").stdout, "1\n")
        self.assertEqual(len(c.cli("-c", replica, "members").stdout.splitlines()), 7)

    def test_replicas_dead(self):
        c = self.c
        self.addCleanup(self.mend)
        first = c.leader(1)
        second = c.followers(1, first)[0]
        c.kill(first)
        status, text = self.problems(rf"replica {first} does not answer at {c.processes[first]['client']}")
        self.assertNotIn(status["shards"][0]["leader"], (None, first))
        self.assertEqual((status["healthy"], status["shards"][0]["survives"]), (False, 0))
        self.assertIn("0 more", text)
        self.quick("status")
        c.cli("put", "a", "2")
        c.kill(second)
        self.problems("shard 1 has no quorum: 1 of 3", f"replica {first}", f"replica {second}",
                      maybe="^no coordinator is active",  # sooner or later: its lease is in shard 1
                      text=r"(?m)^1 +none .*no quorum",
                      holds=lambda status: status["shards"][0]["leader"] is None)  # who is left led, perhaps, for a moment
        for how in ([], ["--routed"]):
            for command in (["put", "a", "3"], ["get", "a"]) + ((["scan"],) if FULL else ()):
                self.one_line("--timeout", "250", *how, *command, code=3, twice=not how)
        self.one_line("leader", "transfer", "1", code=3, words=["no leader"])
        self.assertEqual(c.cli("put", "zz", "the other shard").stdout, "ok\n")

    def test_a_replica_asleep(self):
        c = self.c
        self.addCleanup(self.mend)
        name = c.followers(2)[0]
        c.send_signal(name, signal.SIGSTOP)
        self.problems(f"replica {name} does not answer")
        self.quick("status")
        self.assertEqual(c.cli("put", "zz", "1").stdout, "ok\n")

    def test_endpoints_that_are_none(self):
        for endpoint in NO_ENDPOINTS:
            for command in (["get", "a"], ["status"]) + ((["members"], ["leader", "transfer", "1"], ["load", "-"]) if FULL else ()):
                self.one_line("-c", endpoint, *command, code=2, words=["endpoint"], twice=command[0] == "status")

    def test_nobody_there(self):
        nobody = f"tcp://127.0.0.1:{self.c.ports.base + 499}"
        for endpoint in (nobody, f"tcp://{self.c.processes['1/1']['http']}", "tcp://no-such-host.invalid:7400"):
            self.one_line("-c", endpoint, "--timeout", "200", "get", "a", code=3, words=[endpoint])
            self.assertEqual(self.c.cli("-c", endpoint, "status", code=7).stderr, "")

    def test_hardly_any_time(self):
        """--timeout 1: an answer or one line, at once."""
        for command in COMMANDS[:-1] + [["status"]]:
            done = self.c.cli("--timeout", "1", *command, code=None, seconds=30)
            self.assertIn(done.returncode, (0, 1, 3, 5, 7), done)
            self.assertLessEqual(len(done.stderr.splitlines()), 1)

    def test_too_long(self):
        for command in (["put", "k" * 16385, "v"], ["get", "k" * 16385], ["scan", "--prefix", "k" * 16386]):
            self.one_line(*command, code=6, words=[str(len(max(command, key=len))), "limit is 1638"])

    def shell(self, command):
        return subprocess.run(["bash", "-c", "set -o pipefail; " + command], env=self.c.env, capture_output=True, text=True,
                              timeout=60, check=False)

    def test_output_that_nobody_reads(self):
        """`holdfast scan | head -1`: the line and not a word; killed by SIGPIPE as other commands are."""
        for command in ("scan", "dump", "--json scan", "scan --reverse"):
            done = self.shell(f"holdfast {command} | head -n 1")
            self.assertEqual((done.returncode, len(done.stdout.splitlines()), done.stderr), (128 + signal.SIGPIPE, 1, ""), command)

    def test_output_without_room(self):
        """A read that could not be told failed; a write that was done was done."""
        for command, code in (("scan", 3), ("get a00001", 3), ("status", 3), ("members", 3), ("routes", 3), ("--help", 3),
                              ("put a 1", 0), ("del a", 0), ("delprefix nothing", 0)):
            for target in ("/dev/full", "&-"):
                done = self.shell(f"holdfast {command} >{target}")
                self.assertEqual(done.returncode, code, (command, target, done.stderr))
                self.assertLessEqual(len(done.stderr.splitlines()), 1)
        done = self.shell("printf 'a\\t1\\n' | holdfast load - >/dev/full")
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (0, 1), done.stderr)
        done = self.shell("holdfast-bench --records 5 --load-only --json >/dev/full")
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (3, 1), done.stderr)

    def test_interrupted(self):
        for command in (["status", "--watch"], ["--json", "status", "--watch"]):
            with subprocess.Popen([tool("holdfast"), *command], env=self.c.env, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as watch:
                self.assertTrue(watch.stdout.readline())
                watch.send_signal(signal.SIGINT)
                self.assertEqual((watch.wait(60), watch.stderr.read()), (-signal.SIGINT, b""))

    def test_cluster_files(self):
        with open(os.path.join(self.c.dir, "cluster.conf"), encoding="ascii") as f:
            good = f.read()
        path = os.path.join(self.c.dir, "bad.conf")
        endpoint = self.c.processes["1/1"]["client"]
        for old, new, word in ((good, "", "no shard"), (good, "nonsense\n", "nonsense"), ("heartbeat_ms", "hartbeat_ms", "hartbeat_ms"),
                               ('end = "l"', 'edn = "l"', "edn"), ('end = "l"', 'end = "k"', "ranges"), ('id = "2"', 'id = "x"', "id"),
                               ('id = "3"', 'id = "2"', "twice"), ('role = "voter"', 'role = "boss"', "boss"),
                               (f'client = "{endpoint}"', 'client = "somewhere"', "somewhere"),
                               (f'client = "{endpoint}"', f'clinet = "{endpoint}"', "clinet"),
                               (f'client = "{endpoint}"', f'client = "tcp://127.0.0.1:{self.c.ports.base + 499}"', "does not answer")):
            self.assertIn(old, good)
            with open(path, "w", encoding="ascii") as f:
                f.write(good.replace(old, new, 1))
            self.one_line("--timeout", "500", "bootstrap", path, code=3 if word == "does not answer" else 2, words=[word])
        self.one_line("bootstrap", "/no/such/file", code=2, words=["/no/such/file"])
        self.one_line("bootstrap", self.c.dir, code=2, words=[self.c.dir])

    def test_processes_that_cannot_listen(self):
        """A coordinator as a replica: one line that names the option's value, exit code 6 (2: the command line itself)."""
        taken, free = self.c.processes["coordinator/1"], self.c.ports.base + 497
        endpoint, http = f"tcp://127.0.0.1:{free}", f"127.0.0.1:{free + 1}"
        seeds = ["--seeds", self.c.processes["1/1"]["client"]]
        shard = ["holdfast-shard", "--dir", os.path.join(self.c.dir, "never"), "--shard", "1", "--replica", "1"]
        for command, code, word in (
                (["holdfast-coordinator", "--listen", taken["client"], "--http-endpoint", http, *seeds], 6, taken["client"]),
                (["holdfast-coordinator", "--listen", "nonsense", "--http-endpoint", http, *seeds], 6, "nonsense"),
                (["holdfast-coordinator", "--listen", endpoint, "--http-endpoint", taken["http"], *seeds], 6, taken["http"]),
                (["holdfast-coordinator", "--listen", endpoint, "--http-endpoint", http, "--seeds", "nonsense"], 6, "nonsense"),
                (["holdfast-coordinator", "--listen", endpoint, "--http-endpoint", http], 2, "--seeds"),
                ([*shard, "--raft-endpoint", endpoint, "--client-endpoint", endpoint], 2, "one address"),
                ([*shard, "--raft-endpoint", endpoint, "--client-endpoint", taken["client"]], 6, taken["client"])):
            done = subprocess.run([tool(command[0]), *command[1:]], capture_output=True, text=True, timeout=30, check=False)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (code, 1), (command, done.stderr))
            self.assertIn(word, done.stderr)

    def test_words(self):
        self.assertEqual(self.c.cli("help").stdout, self.c.cli("--help").stdout)
        self.one_line("helpme", code=2, words=["helpme", "--help"])
        self.one_line("inspect", "/no/such/folder", code=1, words=["/no/such/folder"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
