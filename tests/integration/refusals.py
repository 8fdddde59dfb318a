#!/usr/bin/env python3
# refusals.py: a replica that must not start does not: exit code 6, one line that says what, where and what to do.
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from cluster import ENGINE, LOG, PATIENCE, ClusterTest, tool, wait_for  # noqa: E402
from damage import crc32c, edit_lines  # noqa: E402


END_S = 60 * PATIENCE  # most that a process takes to refuse
WAIT_TRIES = 3  # a port is waited for so few seconds that whoever is to free it may be kept from it meanwhile


class Refusals(ClusterTest):
    @classmethod
    def setUpClass(cls):
        assert crc32c(b"123456789") == 0xe3069283

    def one(self):
        """A stopped replica (1/1 of a group of one) and the command that ran it."""
        c = self.cluster(shards=1, replicas=1).up()
        with open(f"/proc/{c.pid('1/1')}/cmdline", "rb") as f:
            command = [a.decode() for a in f.read().split(b"\0")[:-1]]
        if "--engine" in command:
            at = command.index("--engine")
            del command[at:at + 2]
        return c, command

    def refused(self, command, *words, change=None, code=6):
        command = list(command)
        for option, value in (change or {}).items():
            if option in command:
                command[command.index(option) + 1] = value
            else:
                command += [option, value]
        done = subprocess.run(command, capture_output=True, text=True, timeout=END_S, stdin=subprocess.DEVNULL)
        said = [line for line in (done.stdout + done.stderr).splitlines() if " INFO " not in line]
        self.assertEqual(done.returncode, code, said)
        self.assertEqual(len(said), 1, f"one line: {said}")
        for word in words:
            self.assertIn(word, said[0])

    def edit_identity(self, c, key, value):
        path = os.path.join(c.data("1/1"), "identity")
        edit_lines(path, lambda lines: [f"{key} {value}" if x.split()[0] == key else x for x in lines])

    def test_directory_in_use(self):
        c, command = self.one()
        self.refused(command, c.data("1/1"), "LOCK")
        self.assertIsNotNone(c.pid("1/1"), "the one that runs is not disturbed")
        c.cli("put", "k", "v")

    def test_another_cluster_group_or_replica(self):
        c, command = self.one()
        c.kill("1/1")
        self.refused(command, "cluster", change={"--cluster": "00000000000000ff"})
        self.refused(command, "shard 1", "shard 2", change={"--shard": "2"})
        self.refused(command, "replica 1", "replica 3", change={"--replica": "3"})

    def test_configuration_that_disagrees(self):
        c, command = self.one()
        c.kill("1/1")
        self.refused(command, "raft endpoint", change={"--raft-endpoint": f"tcp://127.0.0.1:{c.ports.base + 490}"})
        self.refused(command, "client endpoint", change={"--client-endpoint": f"tcp://127.0.0.1:{c.ports.base + 491}"})

    def test_engine(self):
        c, command = self.one()
        c.kill("1/1")
        self.edit_identity(c, "engine", "strange")
        self.refused(command, "strange")
        self.refused(command, "strange", change={"--engine": ENGINE})

    def test_formats(self):
        c, command = self.one()
        c.kill("1/1")
        self.edit_identity(c, "format", "99")
        self.refused(command, "identity", "format")

    def test_damaged_identity(self):
        c, command = self.one()
        c.kill("1/1")
        path = os.path.join(c.data("1/1"), "identity")
        with open(path, "r+b") as f:
            f.seek(20)
            f.write(b"#")
        self.refused(command, "identity")

    def test_artifacts_that_disagree(self):
        """identity, log and state machine belong together: another directory's part, or a missing one, is refused."""
        c, command = self.one()
        other, _ = self.one()
        for x in (c, other):
            x.kill("1/1")
        here, there = c.data("1/1"), other.data("1/1")
        keep = here + ".keep"
        shutil.copytree(here, keep)

        def restore():
            shutil.rmtree(here)
            shutil.copytree(keep, here)
        for part in ("fsm", "peers"):
            target = os.path.join(here, part)
            (shutil.rmtree if os.path.isdir(target) else os.remove)(target)
            source = os.path.join(there, part)
            (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, target)
            self.refused(command, part)
            restore()
        shutil.rmtree(os.path.join(here, LOG))
        self.refused(command, ENGINE)
        restore()
        os.remove(os.path.join(here, "identity"))
        self.refused(command, "identity")
        restore()
        c.start("1/1")

    def test_foreign_directory(self):
        c, command = self.one()
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "letters.txt"), "w", encoding="ascii") as f:
                f.write("mine")
            self.refused(command, folder, "letters.txt", change={"--dir": folder})
            self.assertEqual(sorted(set(os.listdir(folder)) - {"LOCK"}), ["letters.txt"])

    def test_unwritable_directory(self):
        c, command = self.one()
        c.kill("1/1")
        with tempfile.NamedTemporaryFile() as f:
            self.refused(command, f.name, change={"--dir": f.name + "/data"})
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            program = os.path.join(folder, "holdfast-shard")
            shutil.copy(tool("holdfast-shard"), program)
            data = os.path.join(folder, "data")
            os.mkdir(data, 0o555)
            plain = [program] + command[1:]
            if os.geteuid() == 0:
                plain = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] + plain
            self.refused(plain, data, change={"--dir": data})

    def test_port_in_use(self):
        c, command = self.one()
        with tempfile.TemporaryDirectory() as folder:
            self.refused(command, "--client-endpoint", change={"--dir": os.path.join(folder, "fresh")})

    def test_ports_that_connections_have(self):
        """A port within the kernel's range for outgoing connections may be one's: waited for, at each of the four sockets."""
        c, command = self.one()
        c.kill("1/1")
        for option in ("--client-listen", "--http-endpoint", "--raft-listen", "--snapshot-listen"):
            with self.subTest(option):
                self.assertTrue(any(self.waits(c, command, option) for _ in range(WAIT_TRIES)), "it did not wait")
        with socket.create_server(("127.0.0.1", 0)) as other, socket.socket() as taker:
            mine = f"tcp://127.0.0.1:{self.taken(c, taker, other)}"
            self.refused(command, mine, "is in use", "ip_local_port_range", change={"--snapshot-endpoint": mine})

    def waits(self, c, command, option):
        """Does it serve at a port that another had for a second of its start?"""
        with socket.create_server(("127.0.0.1", 0)) as other, socket.socket() as taker:
            taker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends without TIME-WAIT
            port = self.taken(c, taker, other)
            here = ("" if option == "--http-endpoint" else "tcp://") + f"127.0.0.1:{port}"
            started = subprocess.Popen([*command, option, here], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       stdin=subprocess.DEVNULL)
            try:
                time.sleep(1)  # in which it refused, when it did not wait
                taker.close()
                wait_for(f"{option} to be served", 60, lambda: started.poll() is not None or self.served(port))
                return started.poll() is None
            finally:
                started.kill()
                started.wait()

    @staticmethod
    def taken(c, taker, other):
        """A port of our own, from which `taker` is connected outwards."""
        for port in range(c.ports.base + 400, c.ports.base + 490):
            try:
                taker.bind(("127.0.0.1", port))
                break
            except OSError:
                continue
        taker.connect(other.getsockname())
        return taker.getsockname()[1]

    @staticmethod
    def served(port):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False

    def test_clear_text_beyond_loopback(self):
        c, command = self.one()
        c.kill("1/1")
        self.refused(command, "--insecure", change={"--client-endpoint": "tcp://0.0.0.0:21999"})
        self.refused(command, "--insecure", change={"--client-listen": "tcp://0.0.0.0:21999"})
        self.refused(command, "--insecure", change={"--raft-listen": "tcp://*:21999"})
        self.refused([tool("holdfast-coordinator"), "--listen", "tcp://*:21999", "--seeds", "tcp://127.0.0.1:1"],
                     "--insecure")
        self.refused(command, "--http-endpoint 0.0.0.0:21999", "--insecure", change={"--http-endpoint": "0.0.0.0:21999"})
        self.refused([tool("holdfast-coordinator"), "--listen", "tcp://127.0.0.1:21999", "--http-endpoint", "[::]:21998",
                      "--seeds", "tcp://127.0.0.1:1"], "--http-endpoint [::]:21998", "--insecure")

    def test_options_say_what_they_take(self):
        """A word that an option does not take is refused, with the option, the word and what is taken: never guessed."""
        c, command = self.one()
        c.kill("1/1")

        def value(option):
            return command[command.index(option) + 1]
        raft, client = value("--raft-endpoint"), value("--client-endpoint")
        for option, given, words in (
                ("--log-level", "loud", ["debug, info, warn or error"]),
                ("--cluster", "zz", ["16 hexadecimal digits"]),
                ("--cluster", "0000000000000000", ["16 hexadecimal digits"]),
                ("--cluster", "00000000000000ff0", ["16 hexadecimal digits"]),
                ("--snapshot-endpoint", raft, ["--raft-endpoint", "need one each"]),
                ("--snapshot-endpoint", client, ["--client-endpoint", "need one each"]),
                ("--snapshot-listen", client, ["need one each"]),
                ("--snapshot-endpoint", "nonsense", ["no endpoint", "tcp://HOST:PORT"]),
                ("--raft-endpoint", "http://x", ["no endpoint", "tcp://HOST:PORT"]),
                ("--client-listen", "tcp://127.0.0.1:70000", ["no endpoint", "tcp://HOST:PORT"]),
                ("--client-endpoint", "tcp://127.0.0.1:*", ["no endpoint", "tcp://HOST:PORT"]),
                ("--http-endpoint", "http://127.0.0.1:21999", ["no address", "HOST:PORT"])):
            named = f"{option} {given}" if option != "--snapshot-listen" else "--snapshot-endpoint"
            self.refused(command, named, *words, change={option: given}, code=2)
        for command in (("backup", "create", os.path.join(c.dir, "b")), ("verify",), ("snapshot",)):
            said = c.cli(*command, "--shard", "0", code=2).stderr
            self.assertIn("--shard \"0\" is not a number from 1", said)
        self.assertFalse(os.path.exists(os.path.join(c.dir, "b")))
        self.assertIn("from 1 to 600000", c.cli("--timeout", "0", "get", "k", code=2).stderr)

    def test_usage(self):
        for arguments in (["--nonsense"], ["--dir", "x"], ["--dir", "x", "--shard", "one"]):
            done = subprocess.run([tool("holdfast-shard"), *arguments], capture_output=True, text=True, timeout=END_S)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertTrue(done.stderr.strip())
        _, command = self.one()
        done = subprocess.run([*command, "--snapshot-rate", "100KiB"], capture_output=True, text=True, timeout=END_S)
        self.assertEqual((done.returncode, "128KiB" in done.stderr), (2, True), done.stderr)

    def test_damaged_log_and_state(self):
        """Bytes from disk are checked before they change any state (I11)."""
        c, command = self.one()
        for i in range(50):
            c.cli("put", f"k{i}", "v" * 100) if i == 0 else None
        c.kill("1/1")
        folder = os.path.join(c.data("1/1"), LOG)
        hard = [n for n in os.listdir(folder) if "hard" in n or "state" in n]
        self.assertTrue(hard, os.listdir(folder))
        for name in hard:
            with open(os.path.join(folder, name), "r+b") as f:
                size = os.path.getsize(f.name)
                f.write(struct.pack("B", 0xa5) * size)
        self.refused(command, "log")


if __name__ == "__main__":
    unittest.main(verbosity=2)
