#!/usr/bin/env python3
# loads.py: `holdfast load --resume` however it is interrupted, and `holdfast-bench`: each of its promises, measured.
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from cluster import ASAN, FULL, PATIENCE, Cluster, parse_dump, tool, wait_for  # noqa: E402

SEED = int(os.environ.get("HOLDFAST_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
SUMMARY = re.compile(r"^loaded (\d+) failed (\d+) unknown (\d+)$")


class OneCluster(unittest.TestCase):
    """One cluster for all tests of a class."""

    shards = 2

    @classmethod
    def setUpClass(cls):
        cls.c = Cluster(cls.__name__.lower(), shards=cls.shards)
        try:
            cls.c.up()
        except BaseException:
            cls.c.close(keep=True)
            raise

    @classmethod
    def tearDownClass(cls):
        bad = cls.c.bad_lines()
        cls.c.close(keep=bool(bad))
        assert not bad, bad


class Load(OneCluster):
    def setUp(self):
        self.random = random.Random(SEED)
        print(f"{self.id()}: replay with HOLDFAST_CHAOS_SEED={SEED}", file=sys.stderr)
        self.tag = self.id().rpartition(".")[2]
        self.place = os.path.join(self.c.dir, self.tag + ".place")
        self.c.cli("delprefix", self.tag)
        self.c.cli("delprefix", "a" + self.tag)

    def input(self, count):
        """A file of `count` records for both shards; some keys come again later with another value. (path, what must be)"""
        path, want = os.path.join(self.c.dir, self.tag + ".tsv"), {}
        with open(path, "w", encoding="ascii") as f:
            for i in range(count):
                number = i if self.random.random() < 0.9 else self.random.randrange(count)
                key, value = f"{self.random.choice(['', 'a'])}{self.tag}/{number:06d}", f"{i}-" + "v" * self.random.randrange(80)
                f.write(f"{key}\t{value}\n")
                want[key.encode()] = value.encode()
        return path, want

    def start(self, path, *options):
        return subprocess.Popen([tool("holdfast"), "load", path, "--resume", self.place, *options], env=self.c.env,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def records(self):
        """How far the place is; a place that is there is always whole."""
        try:
            with open(self.place, encoding="ascii") as f:
                fields = f.read()
        except FileNotFoundError:
            return 0
        self.assertRegex(fields, r"^\d+ \d+ \d+ \d+ \d+\n$")
        return int(fields.split()[0])

    def end(self, process, code):
        """(loaded, failed, unknown) of the last line it printed."""
        out, err = process.communicate(timeout=120 * PATIENCE)
        self.assertEqual(process.returncode, code, err)
        found = SUMMARY.match(out.splitlines()[-1])
        self.assertTrue(found, out)
        return tuple(int(n) for n in found.groups()), err

    def stored(self):
        return {k: v for p in (self.tag, "a" + self.tag) for k, v in
                parse_dump(self.c.cli("dump", "--prefix", p + "/", text=False).stdout).items()}

    def test_killed_at_random_points(self):
        """kill -9, and a leader dies now and then: nothing is missing at the end, and the counts are of what was left."""
        count, kills = (200000, 40) if FULL else (20000, 6)
        path, want = self.input(count)
        for i in range(kills):
            if self.records() == count:  # a slow machine: it ended while a leader was being replaced; all of it again
                os.remove(self.place)
            load, begin = self.start(path, "--outstanding", "64", "--rate", "4000"), self.records()
            goal = begin + self.random.randrange(1, max(2, (count - begin) // (kills - i + 1)))
            wait_for("progress", 60, lambda g=goal, p=load: self.records() >= g or p.poll() is not None, 0.001)
            if i % 3 == 1:
                leader = self.c.leader(1 + i % 2)
                self.c.kill(leader)
                self.c.start(leader)
            load.kill()
            load.communicate()
            self.assertGreaterEqual(self.records(), begin, "the place never goes back")
        begin = self.records()
        totals, err = self.end(self.start(path), 0)
        self.assertEqual(totals, (count - begin, 0, 0), err)
        self.assertEqual(self.records(), count)
        self.assertEqual(self.stored(), want)

    def test_interrupted(self):
        """Ctrl-C: what is out is answered and counted, the process ends by the signal, the same command goes on."""
        count = 5000
        path, want = self.input(count)
        load = self.start(path, "--rate", "250")  # for long, however late it is interrupted
        wait_for("progress", 60, lambda: self.records() > 200, 0.005)
        load.send_signal(signal.SIGINT)
        totals, err = self.end(load, -signal.SIGINT)
        self.assertEqual((totals[1:], len(err.splitlines())), ((0, 0), 1), err)
        self.assertEqual(self.records(), totals[0])
        self.assertLess(totals[0], count)
        rest, _ = self.end(self.start(path), 0)
        self.assertEqual(rest, (count - totals[0], 0, 0))
        self.assertEqual(self.stored(), want)

    def test_interrupted_while_it_waits_for_input(self):
        with subprocess.Popen([tool("holdfast"), "load", "-"], env=self.c.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as load:
            load.stdin.write(f"{self.tag}\t1\n")
            load.stdin.flush()
            wait_for("the record", 20, lambda: self.c.cli("get", self.tag, code=None).returncode == 0)
            load.send_signal(signal.SIGTERM)
            load.wait(60 * PATIENCE)
            self.assertEqual((load.returncode, load.stdout.read()), (-signal.SIGTERM, "loaded 1 failed 0 unknown 0\n"))

    def test_as_json(self):
        """The counts, failures and the interruption as JSON; what is too large is told with its size and the limit."""
        lines = f"{self.tag}\t1\n" + "k" * 16385 + "\t1\n" + f"{self.tag}\t" + "v" * (8 * 1024 * 1024 + 1) + "\n"
        done = self.c.cli("--json", "load", "-", stdin=lines, code=6)
        self.assertEqual(json.loads(done.stdout), {"loaded": 1, "failed": 2, "unknown": 0})
        errors = [json.loads(line)["error"] for line in done.stderr.splitlines()]
        self.assertEqual([e["code"] for e in errors], ["LIMIT", "LIMIT"])
        self.assertIn("line 2: the key has 16385 bytes, the limit is 16384; the value 1,", errors[0]["message"])
        self.assertIn("the value 8388609, the limit is 8388608", errors[1]["message"])
        with subprocess.Popen([tool("holdfast"), "--json", "load", "-"], env=self.c.env, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as load:
            load.stdin.write(f"{self.tag}\t2\n")
            load.stdin.flush()
            wait_for("the record", 20, lambda: self.c.cli("get", self.tag, code=None).stdout == "2\n")
            load.send_signal(signal.SIGINT)
            load.wait(60 * PATIENCE)
            self.assertEqual(json.loads(load.stdout.read()), {"loaded": 1, "failed": 0, "unknown": 0})
            error, = load.stderr.read().splitlines()
            self.assertIn("stopped by a signal at line 1", json.loads(error)["error"]["message"])
            self.assertEqual(load.returncode, -signal.SIGINT)

    def test_a_shard_is_lost(self):
        """All of a shard dies under the load: the exit code says so, and the same command ends the work later."""
        count = 3000 if FULL else 1500
        path, want = self.input(count)
        for _ in range(5):  # a line that has failed already keeps its place: again from there
            load = self.start(path, "--timeout", "1500", "--rate", "250", "--outstanding", "256")
            wait_for("progress", 60, lambda: self.records() > 100 or load.poll() is not None, 0.005)  # noqa: B023
            if load.poll() is None:
                break
            load.communicate()
        self.c.kill(*self.c.names(2))
        out, err = load.communicate(timeout=120 * PATIENCE)
        loaded, failed, unknown = (int(n) for n in SUMMARY.match(out.splitlines()[-1]).groups())
        self.assertEqual(load.returncode, 5 if unknown else 3, err)
        self.assertGreater(failed + unknown, 0)
        self.assertLess(loaded, count)
        self.assertLessEqual(self.records(), loaded)
        self.assertLessEqual(len(err.splitlines()), 12, "failures are counted, not all told")
        self.c.start_in_background(*self.c.names(2))
        begin = self.records()
        totals, _ = self.end(self.start(path), 0)
        self.assertEqual(totals, (count - begin, 0, 0))
        self.assertEqual(self.stored(), want)

    def test_a_place_of_something_else(self):
        path, _ = self.input(50)
        self.end(self.start(path), 0)
        with open(path, "r+", encoding="ascii") as f:  # same size, other records
            text = f.read().replace("v", "w")
            f.seek(0)
            f.write(text)
        changed = self.c.cli("load", path, "--resume", self.place, code=6)
        self.assertEqual((changed.stdout, len(changed.stderr.splitlines())), ("", 1))
        self.assertIn("another input", changed.stderr)
        with open(path, "w", encoding="ascii") as f:
            f.write("short\t1\n")
        self.assertIn("shorter", self.c.cli("load", path, "--resume", self.place, code=6).stderr)
        with open(self.place, "w", encoding="ascii") as f:
            f.write("nonsense\n")
        self.assertIn("no place", self.c.cli("load", path, "--resume", self.place, code=6).stderr)
        refused = self.c.cli("load", path, "--resume", "/no/such/folder/place", code=6)
        self.assertEqual((refused.stdout, len(refused.stderr.splitlines())), ("", 1), refused.stderr)
        with open(path, "w", encoding="ascii") as f, open(self.place, "w", encoding="ascii") as p:
            f.write(f"{self.tag}/1\t1\n{self.tag}/2\t2\n")
            p.write(f"1 {len(self.tag) + 5} 1\n")  # as the first version wrote it
        self.assertEqual(self.end(self.start(path), 0)[0], (1, 0, 0))


class Bench(OneCluster):
    shards = 1  # so that everything is one prefix

    def bench(self, *options, code=0):
        done = subprocess.run([tool("holdfast-bench"), "--json", *options], env=self.c.env, capture_output=True, text=True,
                              timeout=120 * PATIENCE, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(sorted(report), ["errors", "latency_us", "ops", "ops_per_second", "seconds"])
        self.assertEqual(sorted(report["latency_us"]), ["max", "p50", "p99", "p999"])
        parts = [report["latency_us"][k] for k in ("p50", "p99", "p999", "max")]
        self.assertEqual(parts, sorted(parts))
        return report

    def requests(self, kind):
        """Requests of a kind that all replicas took so far."""
        total = 0
        for name in self.c.names():
            host, port = self.c.processes[name]["http"].split(":")
            said = subprocess.run(["bash", "-c", f"exec 3<>/dev/tcp/{host}/{port}; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; "
                                   "cat <&3"], capture_output=True, text=True, timeout=60, check=True).stdout
            total += sum(int(float(n)) for n in re.findall(rf'holdfast_requests_total{{[^}}]*kind="{kind}"[^}}]*}} (\S+)', said))
        return total

    def keys(self):
        return len(self.c.cli("scan", "--keys-only").stdout.splitlines())

    def test_load_only_puts_every_record_once(self):
        self.c.cli("delprefix", "")
        report = self.bench("--records", "3000", "--load-only", "--clients", "3")
        self.assertEqual((report["ops"], report["errors"], self.keys()), (3000, {}, 3000))

    def test_open_loop_keeps_its_rate(self):
        for rate, clients in ((400, 1), (1500, 4)) if FULL else ((800, 2),):
            for _ in range(8):  # the best of a few: the machine may be busy
                report = self.bench("--workload", "put", "--rate", str(rate), "--seconds", "2", "--clients", str(clients))
                self.assertAlmostEqual(report["ops"], 2 * rate, delta=clients)
                self.assertEqual(report["errors"], {})
                if abs(report["ops_per_second"] - rate) <= 0.1 * rate:
                    break
            self.assertAlmostEqual(report["ops_per_second"], rate, delta=0.1 * rate)

    def paused(self, *options):
        """A run of 3 s in whose middle every replica stands still for 0.8 s."""
        with subprocess.Popen([tool("holdfast-bench"), "--json", "--workload", "put", "--seconds", "3", *options],
                              env=self.c.env, stdout=subprocess.PIPE, text=True) as bench:
            time.sleep(1.0)
            for name in self.c.names():
                self.c.send_signal(name, signal.SIGSTOP)
            time.sleep(0.8)
            for name in self.c.names():
                self.c.send_signal(name, signal.SIGCONT)
            return json.loads(bench.communicate(timeout=60 * PATIENCE)[0])

    def test_latency_counts_from_the_intended_start(self):
        """No coordinated omission: a pause shows in all operations that should have begun in it, not in one."""
        for _ in range(6):  # it may have begun so late that the pause was over
            slow = self.paused("--rate", "250")
            if slow["latency_us"]["p99"] > 0.7e6:
                break
        self.assertAlmostEqual(slow["ops"] + sum(slow["errors"].values()), 750, delta=2)
        self.assertGreater(slow["latency_us"]["p99"], 0.7e6)
        if not FULL:
            return
        closed = self.paused("--outstanding", "1")
        self.assertGreater(closed["latency_us"]["max"], 0.7e6)
        self.assertLess(closed["latency_us"]["p99"], 0.4e6, "a closed loop has one operation in the pause")

    def test_mixed_is_half_and_half(self):
        self.bench("--records", "500", "--load-only")
        before = {k: self.requests(k) for k in ("read", "write")}
        report = self.bench("--records", "500", "--no-load", "--workload", "mixed", "--rate", "2000", "--seconds", "1")
        took = {k: self.requests(k) - before[k] for k in before}
        self.assertEqual((report["errors"], report["ops"]), ({}, 2000))
        self.assertAlmostEqual(took["read"] / sum(took.values()), 0.5, delta=0.1, msg=str(took))

    def test_scans_and_gets_read(self):
        self.bench("--records", "1000", "--load-only")
        for workload in ("scan", "get") if FULL else ("scan",):
            before = self.requests("read")
            report = self.bench("--records", "1000", "--no-load", "--workload", workload, "--rate", "400", "--seconds", "1")
            self.assertEqual((report["ops"], report["errors"]), (400, {}))
            wait_for("400 reads to be counted", 20, lambda: self.requests("read") - before >= 400)  # noqa: B023

    def test_zipfian_prefers_few_keys(self):
        found = {}
        for keys in ("uniform", "zipfian"):
            self.c.cli("delprefix", "")
            report = self.bench("--records", "50000", "--keys", keys, "--workload", "put", "--rate", "2000", "--seconds", "1")
            self.assertEqual(report["ops"], 2000)
            found[keys] = self.keys()
        self.assertGreater(found["uniform"], 1850)
        self.assertLess(found["zipfian"], 1400, found)

    def test_no_cluster(self):
        done = subprocess.run([tool("holdfast-bench"), "-c", f"tcp://127.0.0.1:{self.c.ports.base + 498}", "--records", "10",
                               "--load-only", "--json"], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (3, "", 1), done.stderr)


if ASAN:
    del Bench  # it measures

if __name__ == "__main__":
    unittest.main(verbosity=2)
