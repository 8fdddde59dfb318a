#!/usr/bin/env python3
# commands.py: the `holdfast` command as scripts use it: exit codes, JSON shapes, escapes, binary data, big values, load.
import json
import os
import random
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from cluster import ENGINE, Cluster, parse_dump, tool, wait_for  # noqa: E402

MIB8 = 8 * 1024 * 1024


def escape(data):
    named = {9: b"\\t", 10: b"\\n", 92: b"\\\\"}
    return b"".join(named.get(b) or (b"\\x%02x" % b if b < 0x20 or b == 0x7f else bytes([b])) for b in data)


class Commands(unittest.TestCase):
    """One cluster for all; each test uses keys of its own."""

    @classmethod
    def setUpClass(cls):
        cls.c = Cluster("commands", shards=2)
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

    def cli(self, *arguments, **how):
        return self.c.cli(*arguments, **how)

    def test_put_get_del(self):
        self.cli("put", "pgd", "hello")
        self.assertEqual(self.cli("get", "pgd").stdout, "hello\n")
        self.cli("del", "pgd")
        missing = self.cli("get", "pgd", code=1)
        self.assertEqual(missing.stdout, "")
        self.assertEqual(len(missing.stderr.splitlines()), 1)
        self.cli("put", "pgd", "")
        self.assertEqual(self.cli("get", "pgd").stdout, "\n")
        self.cli("--routed", "put", "zz-pgd", "through the coordinator")
        self.assertEqual(self.cli("get", "zz-pgd", "--routed").stdout, "through the coordinator\n")

    def test_cas(self):
        self.cli("cas", "cas", "--absent", "1")
        self.cli("cas", "cas", "--absent", "2", code=1)
        self.cli("cas", "cas", "0", "2", code=1)
        self.cli("cas", "cas", "1", "2")
        self.assertEqual(self.cli("get", "cas").stdout, "2\n")
        self.cli("cas", "cas", "2", "--absent")
        self.cli("get", "cas", code=1)

    def test_ttl(self):
        self.cli("put", "ttl", "v", "--ttl", "600000")
        self.cli("get", "ttl")
        self.cli("put", "ttl", "v", "--ttl", "300")
        wait_for("the end of its time", 20, lambda: self.cli("get", "ttl", code=None).returncode == 1)

    def test_usage(self):
        for arguments in ([], ["nonsense"], ["put", "k"], ["get"], ["get", "a", "b"], ["put", "k", "v", "--bad"],
                          ["scan", "--limit", "x"], ["--timeout", "0", "get", "k"], ["load"], ["leader"],
                          ["--timeout"], ["get", "k", "--limit", "1"]):
            done = self.cli(*arguments, code=2)
            self.assertTrue(done.stderr, arguments)
        self.assertEqual(self.cli("get", "--json", code=2).stderr.count("\n"), 1)

    def test_errors_as_json(self):
        done = self.cli("--json", "get", "no such key", code=1)
        error = json.loads(done.stderr or done.stdout)["error"]
        self.assertEqual(sorted(error), ["class", "code", "message"])
        self.assertEqual((error["code"], error["class"]), ("NOT_FOUND", "GIVE_UP"))

    def test_unavailable_is_surely_not_done(self):
        done = self.cli("-c", f"tcp://127.0.0.1:{self.c.ports.base + 499}", "--timeout", "400", "put", "k", "v", code=3)
        self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_limits_are_refused(self):
        self.cli("put", "k" * 16384, "v")
        done = self.cli("put", "k" * 16385, "v", code=6)
        self.assertIn("16385 bytes, the limit is 16384", done.stderr)

    def test_big_values(self):
        big = random.Random(1).randbytes(MIB8)
        record = b"big\t" + escape(big) + b"\n"
        # A slow disk may cost its leader the lead.
        loaded = self.cli("--timeout", "40000", "load", "-", stdin=record, text=False).stdout
        self.assertEqual(loaded, b"loaded 1 failed 0 unknown 0\n")
        self.assertEqual(self.cli("get", "big", text=False).stdout, big + b"\n")
        over = self.cli("load", "-", stdin=b"bigger\t" + b"x" * (MIB8 + 1) + b"\n", text=False, code=None)
        self.assertEqual((over.returncode, over.stdout), (6, b"loaded 0 failed 1 unknown 0\n"))
        self.cli("get", "bigger", code=1)
        self.cli("del", "big")

    def test_binary_keys_and_values_survive_load_and_dump(self):
        chance = random.Random(2)
        keys = {b"bin\x00", b"bin\x00\x00", b"bin\xff", b"bin\t\n\\", b"bin\x7f", "bin-ü-€".encode(), b"bin"}
        keys |= {b"bin" + chance.randbytes(chance.randrange(1, 40)) for _ in range(300)}
        records = {k: chance.randbytes(chance.randrange(0, 200)) for k in keys}
        records[b"bin"] = b""
        lines = [escape(k) + b"\t" + escape(v) + b"\n" for k, v in records.items()]
        self.assertEqual(self.cli("load", "-", stdin=b"".join(lines), text=False).stdout,
                         b"loaded %d failed 0 unknown 0\n" % len(records))
        dumped = self.cli("dump", "--prefix", "bin", text=False).stdout
        self.assertEqual(parse_dump(dumped), records)
        self.assertEqual(dumped.splitlines(keepends=True),
                         [escape(k) + b"\t" + escape(records[k]) + b"\n" for k in sorted(records)], "sorted by bytes")
        for how in ([], ["--routed"]):
            self.assertEqual(self.cli(*how, "scan", "--prefix", "bin", "--reverse", text=False).stdout.splitlines(),
                             [escape(k) + b"\t" + escape(records[k]) for k in sorted(records, reverse=True)])
        self.assertEqual(self.cli("--hex", "get", "62696e00").stdout.strip(), records[b"bin\x00"].hex())
        self.cli("delprefix", "bin")
        self.assertEqual(self.cli("dump", "--prefix", "bin").stdout, "")

    def test_scan(self):
        for key in ("scan/a", "scan/b", "scan/c", "zscan/d"):
            self.cli("put", key, "v" + key)
        self.assertEqual(self.cli("scan", "--prefix", "scan/").stdout,
                         "scan/a\tvscan/a\nscan/b\tvscan/b\nscan/c\tvscan/c\n")
        self.assertEqual(self.cli("scan", "scan/b", "scan/c", "--keys-only").stdout, "scan/b\n")
        self.assertEqual(self.cli("scan", "scan/", "zscan/e", "--keys-only", "--limit", "2", "--reverse").stdout,
                         "zscan/d\nscan/c\n")
        self.assertEqual(self.cli("scan", "scan/b", "scan/b").stdout, "")
        for backwards in ([], ["--reverse"]):  # an empty range whose ends lie in two shards
            self.assertEqual(self.cli("scan", "zscan/e", "a", *backwards, seconds=30).stdout, "")
        json.loads(self.cli("--json", "scan", "--prefix", "scan/").stdout.splitlines()[0])

    def test_load_says_what_failed(self):
        bad = self.cli("load", "-", stdin="load/a\t1\nno separator\nload/b\t2\n", code=None)
        self.assertNotEqual(bad.returncode, 0)
        self.assertRegex(bad.stdout.splitlines()[-1], r"^loaded \d+ failed \d+ unknown 0$")
        self.assertIn("2", bad.stderr)
        self.cli("load", "/no/such/file", code=None)

    def test_load_resumes(self):
        place = os.path.join(self.c.dir, "resume")
        path = os.path.join(self.c.dir, "resume-input")
        with open(path, "w", encoding="ascii") as f:
            f.writelines(f"resume/{i:05d}\t{i}\n" for i in range(5000))
        self.assertEqual(self.cli("load", path, "--resume", place).stdout, "loaded 5000 failed 0 unknown 0\n")
        with open(place, encoding="ascii") as f:
            self.assertEqual(f.read().split()[0], "5000")
        again = self.cli("load", path, "--resume", place).stdout
        self.assertRegex(again, r"^loaded (0|5000) failed 0 unknown 0\n$")
        self.assertEqual(len(self.cli("scan", "--prefix", "resume/", "--keys-only").stdout.splitlines()), 5000)

    def healthy(self):
        """The status, as JSON, when all is well: who has no processor for a moment is told as silent."""
        return wait_for("a healthy cluster", 60, lambda: (
            done := self.cli("--json", "status", code=None)).returncode == 0 and json.loads(done.stdout), 0.1)

    def test_status_json(self):
        status = self.healthy()
        self.assertIs(status["healthy"], True)
        self.assertRegex(status["cluster"], "^[0-9a-f]{16}$")
        self.assertEqual(status["jobs"], [])
        for key in ("id", "endpoint", "active", "reachable"):
            self.assertIn(key, status["coordinators"][0])
        self.assertEqual([s["shard"] for s in status["shards"]], [1, 2])
        for s in status["shards"]:
            self.assertRegex(s["leader"], rf"^{s['shard']}/[123]$")
            self.assertEqual((s["engine"], s["log_epoch"], s["survives"]), (ENGINE, 1, 1))
            self.assertEqual([r["name"] for r in s["replicas"]], [f"{s['shard']}/{i}" for i in (1, 2, 3)])
            for r in s["replicas"]:
                self.assertEqual(r["state"], "ready")
                self.assertIn(r["role"], ("leader", "follower"))
                for key in ("replica", "applied", "durable_applied", "lag"):
                    self.assertIsInstance(r[key], int)
        for words in (["members"], ["routes"], ["--json", "members"], ["--json", "routes"]):
            self.assertTrue(self.cli(*words).stdout)
        wait_for("a status that is well", 60,
                 lambda: (done := self.cli("status", code=None)).returncode == 0 and done.stdout, 0.1)

    def test_degraded_status(self):
        c = self.c
        leader = c.leader(1)
        others = [n for n in c.names(1) if n != leader]
        for n in others:
            c.send_signal(n, signal.SIGSTOP)
        try:
            refused = self.cli("--timeout", "400", "put", "a-degraded", "v", code=3)  # no session can be opened
            self.assertEqual(len(refused.stderr.splitlines()), 1)
            status = json.loads(self.cli("--json", "status", code=7).stdout)
            self.assertIs(status["healthy"], False)
            states = {r["name"]: r["state"] for s in status["shards"] for r in s["replicas"]}
            self.assertTrue(all(states[n] == "unreachable" for n in others), states)
        finally:
            for n in others:
                c.send_signal(n, signal.SIGCONT)
        self.healthy()
        self.cli("get", "a-degraded", code=1)

    def test_outcome_unknown_has_its_exit_code(self):
        """A put that was sent and never answered: neither done nor not done. One that came when the leader had given
        up, as it heard from nobody, was surely not done; then once more."""
        for i in range(5):
            code, said, error = self.load_beside_sleepers(f"{i}")
            if (code, said) != (3, b"loaded 1 failed 1 unknown 0\n"):
                break
        self.assertEqual((code, said), (5, b"loaded 1 failed 0 unknown 1\n"), error)

    def load_beside_sleepers(self, number):
        """(exit code, output, error) of a load of two records; while the second is read, nothing can be committed."""
        c = self.c
        place = os.path.join(c.dir, "unknown-place-" + number)
        others = []
        with subprocess.Popen([tool("holdfast"), "--timeout", "4000", "load", "-", "--resume", place], env=c.env,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as load:
            try:
                load.stdin.write(f"zz-known-{number}\t1\n".encode())
                load.stdin.flush()
                known = "zz-known-" + number
                wait_for("the first record", 20, lambda: self.cli("get", known, code=None).returncode == 0)
                leader = c.leader(2)
                others = [n for n in c.names(2) if n != leader]
                for n in others:
                    c.send_signal(n, signal.SIGSTOP)
                load.stdin.write(f"zz-unknown-{number}\t1\n".encode())
                load.stdin.close()
                done = load.stdout.read(), load.stderr.read()
                done = load.wait(60), *done
            finally:
                for n in others:
                    c.send_signal(n, signal.SIGCONT)
        self.healthy()
        return done

    def test_inspect_of_a_stopped_replica(self):
        c = self.c
        name = c.followers(2)[0]
        self.assertIn("in use", self.cli("inspect", c.data(name)).stdout)
        c.kill(name)
        text = self.cli("inspect", c.data(name)).stdout
        self.assertIn(ENGINE, text)
        self.assertIsInstance(json.loads(self.cli("--json", "inspect", c.data(name)).stdout), dict)
        c.start(name)
        self.cli("inspect", "/tmp", code=1)

    def test_leader_transfer(self):
        c = self.c
        to = c.followers(2)[0]

        def probe():  # exit code 3: nobody leads yet, or nobody answered in time
            done = self.cli("leader", "transfer", "2", to.split("/")[1], code=None)
            self.assertIn(done.returncode, (0, 3), done.stderr)
            return done.returncode == 0 and c.leader(2) == to
        wait_for("the new leader", 60, probe, 0.1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
