#!/usr/bin/env python3
# scripts.py: deploy/local-cluster.sh as others rely on it, and a bootstrap that is cut short at each of its crash points.
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from cluster import BUILD, SCRIPT, ClusterTest, StartFailed, tool, wait_for  # noqa: E402


class Scripts(ClusterTest):
    def test_life_of_a_cluster(self):
        c = self.cluster(shards=3, replicas=3, learners=1, coordinators=2, sets=["log-level=debug"], splits="g,p").up()
        rows = json.loads(c.script("ps", "--json").stdout)
        self.assertEqual([r["name"] for r in rows],
                         [f"{s}/{r}" for s in (1, 2, 3) for r in (1, 2, 3, 4)] + ["coordinator/1", "coordinator/2"])
        for r in rows:
            self.assertTrue(r["alive"] and r["pid"], r)
            self.assertEqual(sorted(r), ["alive", "client", "dir", "http", "name", "pid", "replica", "role", "shard"])
            for port in (r["client"].rpartition(":")[2], r["http"].rpartition(":")[2]):
                self.assertTrue(c.ports.base <= int(port) < c.ports.base + 500)
        self.assertEqual(c.answer_of("2/4").role, "learner")
        exports = subprocess.run(["bash", "-c", f'eval "$("{SCRIPT}" env --dir "{c.dir}")"; '
                                  'command -v holdfast; echo "$HOLDFAST_COORDINATORS"'], env=c.env, capture_output=True,
                                 text=True, check=True).stdout.split()
        self.assertEqual(exports, [tool("holdfast"), f"tcp://127.0.0.1:{c.ports.base},tcp://127.0.0.1:{c.ports.base + 2}"])
        c.cli("put", "k", "v")
        c.down()
        self.assertEqual(c.alive(), [])
        self.assertTrue(all(not r["alive"] and r["pid"] is None for r in json.loads(c.script("ps", "--json").stdout)))
        c.script("up")  # what was given at first is remembered
        self.assertEqual(c.cli("get", "k").stdout, "v\n")
        self.assertEqual(c.script("up", "--shards", "2", check=False).returncode, 2)
        c.script("down", "--wipe")
        self.assertFalse(os.path.exists(c.dir))
        os.makedirs(os.path.join(c.dir, "log"))

    def test_kill_start_wipe_add(self):
        c = self.cluster(shards=1).up()
        leader = c.leader(1)
        c.script("kill", leader)
        self.assertIsNone(c.pid(leader))
        self.assertEqual(c.script("kill", leader, check=False).returncode, 1)
        begin = time.monotonic()
        c.script("start", leader)
        wait_for(f"{leader} to be ready", 30, lambda: c.answer_of(leader).state == "ready")  # it was; who leads may have stalled since
        print(f"start returned after {time.monotonic() - begin:.2f} s", file=sys.stderr)
        c.script("start", leader)  # it runs already: ready at once
        c.script("kill", leader, "-STOP")
        c.script("kill", leader, "-SIGCONT")
        self.assertEqual(c.script("wipe", leader, check=False).returncode, 1, "never under a running process")
        for bad in (["kill", "9/9"], ["start", "nobody"], ["kill"], ["kill", leader, "-NOSUCH"], ["up", "--shards", "x"],
                    ["frobnicate"], ["add", "1"]):
            done = c.script(*bad, check=False)
            self.assertEqual(done.returncode, 2, bad)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_start_says_why_not(self):
        c = self.cluster(shards=1).up()
        name = c.followers(1)[0]
        c.kill(name)
        identity = os.path.join(c.data(name), "identity")
        with open(identity, "r+b") as f:
            f.seek(15)
            f.write(b"#")
        with self.assertRaises(StartFailed) as failed:
            c.start(name)
        self.assertEqual(failed.exception.code, 6)
        self.assertIn("identity", failed.exception.message)

    def test_ports_of_another_cluster_are_refused(self):
        c = self.cluster(shards=1, replicas=1).up()
        before, pid = len(c.log("1/1").splitlines()), c.pid("1/1")
        other = os.path.join(c.dir, "other")
        done = subprocess.run([SCRIPT, "up", "--dir", other, "--shards", "1", "--replicas", "1", "--port-base",
                               str(c.ports.base)], env=c.env, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 1)
        self.assertIn("in use", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertEqual(c.pid("1/1"), pid)
        self.assertNotRegex("\n".join(c.log("1/1").splitlines()[before:]), "incarnation|a member|bootstrap|cold start|in use")

    def listener(self, ports):
        """(port, what listens there): the first of them that is free."""
        for port in ports:
            with contextlib.suppress(OSError):
                return port, socket.create_server(("127.0.0.1", port))
        raise AssertionError(f"all of {ports} are taken")

    def test_an_up_that_fails_takes_down_what_it_started(self):
        """And a base among the ports of outgoing connections is warned of."""
        c = self.cluster(shards=1, replicas=1).up()
        other = os.path.join(c.dir, "other")
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
            low = int(f.read().split()[0])
        base, listener = self.listener([low - n for n in range(23, 31)])  # its room for more members reaches into them, what is used does not
        with listener:  # the coordinator's; the replicas are up when it is found
            done = subprocess.run([SCRIPT, "up", "--dir", other, "--shards", "1", "--replicas", "3", "--port-base", str(base)],
                                  env=c.env, capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 1)
        warning, reason = done.stderr.splitlines()
        self.assertIn("ip_local_port_range", warning)
        self.assertIn(f"coordinator/1: port {base} is in use", reason)
        rows = json.loads(subprocess.run([SCRIPT, "ps", "--json", "--dir", other], env=c.env, capture_output=True, text=True,
                                         check=True, timeout=100).stdout)
        self.assertEqual([(r["name"], r["alive"]) for r in rows if r["alive"]], [])
        with open(os.path.join(other, "log", "1-1.log"), encoding="utf-8") as f:
            self.assertIn(": a member of cluster=", f.read(), "it was up")
        self.assertNotIn("warning", c.script("up").stderr)
        c.kill("1/1")
        with open(os.path.join(c.data("1/1"), "identity"), "r+b") as f:
            f.seek(15)
            f.write(b"#")
        self.assertEqual(c.script("up", check=False).returncode, 6)
        self.assertIsNotNone(c.pid("coordinator/1"), "what ran before goes on")

    def test_up_starts_what_is_down(self):
        c = self.cluster(shards=2).up()
        c.cli("put", "a", "1")
        c.kill("1/1", "2/3", "coordinator/1")
        c.script("up")
        self.assertEqual(len(c.alive()), 6)
        self.assertEqual(c.cli("get", "a").stdout, "1\n")
        wait_for("a healthy cluster", 60, lambda: c.cli("status", code=None).returncode == 0)

    def test_a_foreign_pid_is_never_touched(self):
        """A pid file left behind whose number belongs to another process now."""
        c = self.cluster(shards=1, replicas=1).up()
        c.kill("1/1")
        with open(os.path.join(c.dir, "run", "1-1.pid"), "w", encoding="ascii") as f:
            f.write(f"{os.getpid()} 1\n")
        self.assertEqual(c.script("kill", "1/1", check=False).returncode, 1)
        c.script("start", "1/1")

    def test_bootstrap_cut_short(self):
        for point in ("bootstrap.before_identity", "bootstrap.after_identity", "disk.replace.before_rename",
                      "disk.replace.after_rename"):
            passes = (2, 3) if point.startswith("disk") else (1,)  # the first replace makes the fresh identity
            for n in passes:
                with self.subTest(point=point, n=n):
                    c = self.cluster(shards=1)
                    with self.assertRaises(StartFailed):
                        c.up(env={"HOLDFAST_CRASH_POINT": f"{point}:{n}", "HOLDFAST_START_SECONDS": "1"}, leave=True)
                    c.down()  # those that wait for their bootstrap have the crash point armed, too
                    c.up()
                    c.cli("put", "k", "v")
                    self.assertEqual(c.cli("get", "k").stdout, "v\n")
                    c.digests_agree(1)

    @staticmethod
    def name_of(c):
        return wait_for("the cluster's name", 60, lambda: json.loads(c.cli("--json", "status", code=None).stdout or "{}").get("cluster"))

    def asked(self, c, *arguments, code):
        """Until it ends so: one that does not answer in time is in the way of what is asked."""
        done = wait_for("all to answer", 60, lambda: (d := c.cli(*arguments, code=None)).returncode not in (3, 5) and d, 0.2)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def test_bootstrap_is_idempotent_and_refuses_what_disagrees(self):
        c = self.cluster(shards=2).up()
        conf = os.path.join(c.dir, "cluster.conf")
        before = self.name_of(c)
        self.asked(c, "bootstrap", conf, code=0)
        self.assertEqual(self.name_of(c), before)
        with open(conf, encoding="ascii") as f:
            text = f.read()
        other = os.path.join(c.dir, "other.conf")
        with open(other, "w", encoding="ascii") as f:
            f.write(text.replace('end = "l"', 'end = "m"').replace('start = "l"', 'start = "m"'))
        refused = self.asked(c, "bootstrap", other, code=6)
        self.assertEqual(len(refused.stderr.splitlines()), 1, refused.stderr)

    def test_who_listens_may_end_before_it_is_asked(self):
        """A script that waits for a process goes on, whatever becomes of its connection, and of one that nobody takes."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def reset():
            with contextlib.suppress(OSError):
                while True:
                    taken, _ = listener.accept()
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    taken.close()
        threading.Thread(target=reset, daemon=True).start()
        with socket.create_server(("127.0.0.1", 0)) as closed:
            nobody = closed.getsockname()[1]
        ask = (f'source "{os.path.dirname(SCRIPT)}/lib.sh"; for ((i = 0; i < 500; i++)); do '
               f"hf_http_ok {listener.getsockname()[1]} /readyz; hf_http_ok {nobody} /readyz; done; trap -p PIPE; echo done")
        done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "done\n", ""))

    def test_readiness_over_http(self):
        c = self.cluster(shards=1).up()
        leader = c.leader(1)

        def http(path):
            host, port = c.processes[leader]["http"].split(":")
            done = subprocess.run(["bash", "-c", f"exec 3<>/dev/tcp/{host}/{port}; printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3; "
                                   "cat <&3"], capture_output=True, text=True, timeout=100, check=True)
            return done.stdout
        self.assertIn(" 200 ", http("/healthz").splitlines()[0])
        wait_for("readiness", 30, lambda: " 200 " in http("/readyz").splitlines()[0])
        self.assertIn("holdfast_", http("/metrics"))
        self.assertIn(" 404 ", http("/elsewhere").splitlines()[0])


if __name__ == "__main__":
    assert os.path.isdir(BUILD)
    unittest.main(verbosity=2)
