#!/usr/bin/env python3
# library.py: libholdfast as a stranger's program meets it: examples, an installed copy, event loops; processes as guests.
import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from cluster import BAD_LINE, BUILD, FULL, PATIENCE, ROOT, Cluster, ClusterTest, Hammer, parse_dump, tool, wait_for  # noqa: E402
import histories  # noqa: E402
import wire  # noqa: E402

EXAMPLES = os.path.join(ROOT, "client", "examples")
O_CLOEXEC = 0o2000000
OUT_OF_MEMORY = re.compile(r"(?i)out of memory|cannot allocate|bad_alloc|must\(.* != NULL\) failed")


def run(command, code=0, env=None, stdin=None, seconds=120, cwd=None):
    done = subprocess.run(command, env=env, capture_output=True, text=True, input=stdin if stdin is not None else "",
                          timeout=seconds * PATIENCE, cwd=cwd)
    assert done.returncode == code, f"{command}: exit {done.returncode}, wanted {code}:\n{done.stdout}{done.stderr}"
    assert not BAD_LINE.search(done.stderr), done.stderr
    return done.stdout


class Examples(ClusterTest):
    """client/examples as the tree builds them, against a live cluster."""

    def test_put_get(self):
        c = self.cluster().up()
        said = run([tool("example_put_get"), c.env["HOLDFAST_COORDINATORS"], "zoo"])
        self.assertEqual(said.splitlines(), ["zoo/colour is green", "zoo/colour = blue", "zoo/size = large",
                                             "zoo/colour is gone"])
        self.assertEqual(c.cli("get", "zoo/size").stdout.strip(), "large")
        run([tool("example_put_get")], code=2)
        nobody = f"tcp://127.0.0.1:{c.ports.base + 400}"
        done = subprocess.run([tool("example_put_get"), nobody], capture_output=True, text=True, timeout=60 * PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertIn("it did not happen", done.stderr)

    def test_futures_and_callbacks(self):
        c = self.cluster().up()
        count = 20000 if FULL else 2000
        said = run([tool("example_futures"), c.env["HOLDFAST_COORDINATORS"], str(count)])
        self.assertEqual(said.strip(), f"written {count}, not 0, unknown 0; read {count}, not 0, wrong 0")
        lines = "".join(f"{'az'[i % 2]}/loop/{i} value {i}\n" for i in range(count))
        said = run([tool("example_event_loop"), c.env["HOLDFAST_COORDINATORS"]], stdin=lines)
        self.assertEqual(sorted(said.splitlines()), sorted(f"ok {'az'[i % 2]}/loop/{i}" for i in range(count)))
        rows = parse_dump(c.cli("dump", text=False).stdout)
        self.assertEqual(len(rows), 2 * count)
        self.assertEqual(rows[b"z/loop/1"], b"value 1")

    def test_bank(self):
        """Money is neither made nor lost, and what cannot be moved is not; beside others that do the same, over two shards."""
        c = self.cluster(replicas=1, splits="m").up()
        bank = [tool("example_bank"), c.env["HOLDFAST_COORDINATORS"]]
        accounts, amount, times = 20, 100, 300 if FULL else 40
        run([*bank, "open", str(accounts), str(amount)])
        self.assertEqual(run([*bank, "total"]), f"{accounts * amount}\n")
        run([*bank, "move", "0", "1", str(amount)])
        rows = parse_dump(c.cli("dump", text=False).stdout)
        self.assertEqual((rows[b"account/0"], rows[b"savings/1"], rows[b"account/2"]), (b"0", b"200", b"100"))
        self.assertIn("there is too little", self.fails([*bank, "move", "0", "3", "1"], 1))
        self.fails(bank[:1], 2)
        for wrong in (["nonsense"], ["move", "0", "1", "-500"], ["move", "0", "99", "1"], ["open", "0", "5"], ["run", "0", "5"]):
            self.fails([*bank, *wrong], 1)
        looks = 0
        for _ in range(5):  # they may be over before anybody looks
            looks = looks or self.looks_beside(bank, accounts, amount, times)
        self.assertGreater(looks, 0)
        rows = parse_dump(c.cli("dump", text=False).stdout)
        balances = [int(v) for k, v in rows.items() if k.startswith((b"account/", b"savings/"))]
        self.assertEqual((len(balances), sum(balances)), (accounts, accounts * amount))
        self.assertTrue(all(b >= 0 for b in balances), balances)
        run([*bank, "open", "2", "5"])  # all others are closed
        self.assertEqual(run([*bank, "total"]), "10\n")

    def looks_beside(self, bank, accounts, amount, times):
        """How often the total was seen while three moved money."""
        running = [subprocess.Popen([*bank, "run", str(accounts), str(times)], stderr=subprocess.PIPE, text=True) for _ in range(3)]
        self.addCleanup(lambda: [p.kill() for p in running])
        looks = 0
        while any(p.poll() is None for p in running):
            self.assertEqual(run([*bank, "total"]), f"{accounts * amount}\n")
            looks += 1
        for p in running:
            self.assertEqual(p.wait(), 0, p.stderr.read())
            p.stderr.close()
        return looks

    def fails(self, command, code):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * PATIENCE)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        return done.stderr

    def test_a_counter_stays_exact_while_leaders_are_killed(self):
        c = self.cluster(shards=1).up()
        times, writers, kills = (2000, 4, 12) if FULL else (250, 3, 4)
        command = [tool("example_counter"), c.env["HOLDFAST_COORDINATORS"], "visits"]
        running = [subprocess.Popen([*command, f"w{i}", str(times)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                   for i in range(writers)]
        self.addCleanup(lambda: [p.kill() for p in running])

        def total():
            return int(c.cli("get", "visits", code=None).stdout.split(" ")[0] or 0)
        for n in range(kills):  # spread over the work
            goal = times * writers * n // (kills + 1)
            wait_for(f"{goal} steps", 120, lambda goal=goal: total() >= goal)
            leader = c.leader(1)
            c.kill(leader)
            c.start(leader)
        for p in running:
            out, err = p.communicate(timeout=300 * PATIENCE)
            self.assertEqual(p.returncode, 0, err)
            self.assertIsNone(BAD_LINE.search(err), err)
            self.assertTrue(out)
        fields = c.cli("get", "visits").stdout.split()
        self.assertEqual(int(fields[0]), times * writers, "a step was counted twice or not at all")
        self.assertEqual(sorted(fields[1:]), [f"w{i}={times}" for i in range(writers)])


class Installed(ClusterTest):
    """What cmake --install puts down is complete, and a program builds against it with nothing but pkg-config."""

    def setUp(self):
        self.prefix = tempfile.mkdtemp(prefix="holdfast-installed-")
        self.addCleanup(shutil.rmtree, self.prefix)
        run(["cmake", "--install", BUILD, "--prefix", self.prefix])

    def find(self, name):
        for folder, _, files in os.walk(self.prefix):
            if name in files:
                return os.path.join(folder, name)
        raise AssertionError(f"{name} is not installed")

    def test_everything_is_there(self):
        for name in ("holdfast", "holdfast-shard", "holdfast-coordinator", "holdfast-bench"):
            path = os.path.join(self.prefix, "bin", name)
            self.assertIn("holdfast", run([path, "--version"], env={}).lower())
            self.assertNotRegex(run(["readelf", "-d", path]), r"R(UN)?PATH", "it looks for libraries where it was built")
        library = os.path.realpath(self.find("libholdfast.so"))
        self.assertRegex(os.path.basename(library), r"^libholdfast\.so\.\d+\.\d+\.\d+$")
        dynamic = run(["readelf", "-d", library])
        self.assertNotRegex(dynamic, r"R(UN)?PATH")
        soname = re.search(r"SONAME.*\[(.*)\]", dynamic).group(1)
        self.assertTrue(os.path.exists(os.path.join(os.path.dirname(library), soname)))
        for name in ("LICENSE", "LIBRARY.md", "ARCHITECTURE.md", "put_get.c"):
            self.find(name)
        headers = [f for _, _, files in os.walk(os.path.join(self.prefix, "include")) for f in files]
        self.assertEqual(headers, ["holdfast.h"], "the only header")
        with open(self.find("holdfast.h"), encoding="utf-8") as f:
            included = re.findall(r"#include\s+(\S+)", f.read())
        self.assertEqual(set(included), {"<stddef.h>", "<stdint.h>"})

    def flags(self):
        env = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(self.find("holdfast.pc")))
        self.assertRegex(run(["pkg-config", "--modversion", "holdfast"], env=env), r"^\d+\.\d+\.\d+$")
        return run(["pkg-config", "--cflags", "--libs", "holdfast"], env=env).split()

    def test_programs_compile_and_run_against_it(self):
        flags = self.flags()
        self.assertTrue(any(f.startswith("-I" + self.prefix) for f in flags), flags)
        env = dict(os.environ, LD_LIBRARY_PATH=os.path.dirname(self.find("libholdfast.so")))
        strict = ["-Wall", "-Wextra", "-Werror", "-Wconversion"]
        built = []
        for compiler, source in ((["gcc", "-std=gnu11"], "put_get"), (["clang", "-std=gnu11"], "counter"),
                                 (["gcc"], "futures"), (["gcc"], "event_loop"), (["clang", "-std=gnu11"], "bank"),
                                 (["g++", "-x", "c++", "-std=c++11", "-Wpedantic"], "put_get")):
            built.append(os.path.join(self.prefix, f"program{len(built)}"))
            run([*compiler, *strict, "-o", built[-1], self.find(source + ".c"), *flags])
        header = self.find("holdfast.h")
        for compiler in (["gcc", "-std=c99", "-x", "c"], ["g++", "-std=c++11", "-x", "c++", "-Wold-style-cast"],
                         ["clang", "-std=c11", "-x", "c", "-Weverything", "-Wno-padded", "-Wno-unused-macros"], ["clang", "-std=c++20", "-x", "c++"]):
            run([*compiler, "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", header])
        c = self.cluster(shards=1, replicas=1).up()
        endpoints = c.env["HOLDFAST_COORDINATORS"]
        for program in (built[0], built[5]):
            self.assertIn("example/colour is gone", run([program, endpoints], env=env))
            self.assertIn(self.prefix, run(["ldd", program], env=env), "the installed library is the one that runs")
        self.assertEqual(run([built[1], endpoints, "n", "me", "3"], env=env).strip(), "3 me=3")
        self.assertIn("read 10, not 0, wrong 0", run([built[2], endpoints, "10"], env=env))
        self.assertEqual(run([built[3], endpoints], env=env, stdin="k v\n").strip(), "ok k")
        run([built[4], endpoints, "open", "3", "7"], env=env)
        self.assertEqual(run([built[4], endpoints, "total"], env=env), "21\n")


class Processes(ClusterTest):
    """What the servers' processes keep to themselves, and how they end when memory does."""

    def test_descriptors_do_not_leak_and_threads_take_no_signals(self):
        c = self.cluster(shards=1, coordinators=2).up()
        hammer = Hammer(c, "d", hot=1, unique=1, window=8, pause_us=1000)
        hammer.await_acks(100)  # connections, log segments, RocksDB's files: all there
        leaks, kinds = [], set()
        for name in c.processes:
            pid = c.pid(name)
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):  # it was closed since
                    target = os.readlink(f"/proc/{pid}/fd/{fd}")
                    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as f:
                        flags = int(re.search(r"flags:\s*(\d+)", f.read()).group(1), 8)
                    if int(fd) > 2 and not flags & O_CLOEXEC:
                        leaks.append(f"{name}: {fd} {target}")
                    kinds.add(re.sub(r"[\d:\[\]]+", "", os.path.basename(target)))
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended since
                    with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
                        blocked = int(re.search(r"SigBlk:\s*(\w+)", f.read()).group(1), 16)
                    self.assertTrue(blocked >> (signal.SIGTERM - 1) & 1, f"{name}: a thread would die of SIGTERM")
            self.assertEqual(c.pid(name), pid)
        hammer.stop()
        self.assertEqual(leaks, [])
        for wanted in ("socket", "anon_inodeeventpoll", "anon_inodeeventfd", "LOCK", "MANIFEST-"):
            self.assertIn(wanted, kinds, "the test does not see what it is about")

    def test_out_of_memory_ends_a_server_with_a_word_and_loses_nothing(self):
        c = self.cluster(shards=1).up()
        c.bad_lines = lambda: [line for line in Cluster.bad_lines(c) if not OUT_OF_MEMORY.search(line)]
        made = [Hammer(c, "m", hot=2, unique=2, window=32, value_bytes=60000, pause_us=500)]
        made[0].await_acks(50)
        for _ in range(4 if FULL else 2):
            victim = c.leader(1)
            with open(f"/proc/{c.pid(victim)}/status", encoding="ascii") as f:
                used = int(re.search(r"VmData:\s*(\d+)", f.read()).group(1)) * 1024
            before = len(c.log(victim))
            resource.prlimit(c.pid(victim), resource.RLIMIT_DATA, (used, used))  # no writable page more
            self.press(c, victim)
            last = c.log(victim)[before:].strip().splitlines()[-4:]  # other threads may say something, too
            self.assertRegex("\n".join(last), OUT_OF_MEMORY, "it ended without a word")
            made[0].await_acks(50)
            c.start(victim)
            print(f"{victim}: {' | '.join(last)}", file=sys.stderr)
        made[0].stop()
        c.digests_agree(1)
        dump = parse_dump(c.cli("dump", text=False).stdout)
        dump.pop(b"pressed", None)
        self.assertEqual(histories.judge(c, made, dump), [])

    @staticmethod
    def press(c, victim):
        """Waits for its end; what it once had and gave back may last long, so in the end it gets more than that."""
        begin = time.monotonic()
        with c.wire(victim) as w:
            def probe():
                if c.pid(victim) is not None and time.monotonic() - begin > 5:
                    for _ in range(8):
                        w.send(wire.request(1, put=(b"pressed", b"v" * (7 << 20)), deadline_ms=1000))
                return c.pid(victim) is None
            wait_for(f"the end of {victim}", 60, probe, 1)


class Reports(ClusterTest):
    """A sanitizer's report fails a test, whichever process wrote it."""

    def test_a_report_in_a_log_fails_the_test(self):
        c = self.cluster(shards=1, replicas=1).up()
        self.assertEqual(c.bad_lines(), [])
        for line in ("WARNING: ThreadSanitizer: data race (pid=1)", "==1==ERROR: AddressSanitizer: heap-use-after-free",
                     "x.c:1:2: runtime error: shift", "x.c:3: must(a) failed"):
            path = os.path.join(c.dir, "log", "planted.log")
            with open(path, "w", encoding="utf-8") as f:
                f.write("fine\n" + line + "\n")
            self.assertEqual(len(c.bad_lines()), 1, line)
            os.remove(path)


if __name__ == "__main__":
    unittest.main(verbosity=2)
