#!/usr/bin/env python3
# backups.py: backups made under load, checked, damaged, not whole, restored into a fresh cluster; interrupted in their middle.
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import damage  # noqa: E402
import faults  # noqa: E402
import wire  # noqa: E402
from cluster import FULL, PATIENCE, ClusterTest, Hammer, load, tool, wait_for  # noqa: E402

COUNT = 20000 if FULL else 3000
LARGE_COUNT, LARGE_BYTES = 4000, 10000  # a stream of many parts
CLOCK_AHEAD_MS = 30000


class Terminal:
    """One that a command's standard error goes to; what it shows is read all the time."""

    def __init__(self):
        self.master, self.end = os.openpty()
        self.shown = b""
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        with contextlib.suppress(OSError):  # its last writer went
            while True:
                self.shown += os.read(self.master, 4096)

    def await_text(self, word):
        wait_for(lambda: f"{word} in {self.shown}", 60, lambda: word.encode() in self.shown)

    def text(self):
        """All of it, when its writer has ended."""
        os.close(self.end)
        self.reader.join()
        os.close(self.master)
        return self.shown.decode()


class Backup(ClusterTest):
    def test_ended_by_a_signal(self):
        """Ctrl-C ends the program beside the command, too: no number of a signal."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(tool("holdfast"), folder)
            with open(os.path.join(folder, "holdfast-shard"), "w", encoding="ascii") as f:
                f.write("#!/bin/sh\nkill -INT $$\n")
            os.chmod(f.name, 0o755)
            done = subprocess.run([os.path.join(folder, "holdfast"), "backup", "verify", f.name], capture_output=True,
                                  text=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (3, "holdfast: stopped by a signal\n"))

    def create(self, c, path, *arguments, **how):
        return c.cli("--json", "backup", "create", path, *arguments, **how)

    def test_made_checked_damaged_restored(self):
        c = self.cluster(shards=2, replicas=3).up()
        load(c, COUNT)
        load(c, 200, prefix="zz")
        load(c, 50, prefix="gone")
        c.cli("delprefix", "gone")
        c.cli("put", "empty", "")
        c.cli("put", "forever", "v", "--ttl", "86400000")
        c.cli("put", "soon", "v", "--ttl", "1")
        hammer = Hammer(c, "load")
        hammer.await_acks(100)
        path = os.path.join(c.dir, "backup")
        made = json.loads(self.create(c, path).stdout)["files"]
        hammer.stop()
        self.assertEqual(sorted(os.listdir(path)), ["backup", "shard-1.backup", "shard-2.backup"])
        self.assertEqual([f["shard"] for f in made], [1, 2])
        told = json.loads(c.cli("--json", "backup", "verify", path).stdout)
        self.assertEqual(told["files"], made)
        self.assertEqual((told["intact"], told["scope"]), (True, "cluster"))
        self.assertEqual(len(self.create(c, path, code=4).stderr.splitlines()), 1, "never over what is there")
        self.assertEqual([n for n in os.listdir(c.dir) if n.endswith(".tmp")], [])
        self.damaged(c, os.path.join(path, "shard-2.backup"))
        self.incomplete(c, path)
        self.assertIn("restored into a fresh cluster", c.cli("backup", "restore", path, code=6).stderr)
        self.restored(c, path, made)

    def damaged(self, c, path):
        size = os.path.getsize(path)
        wrong = os.path.join(c.dir, "wrong.backup")
        with open(path, "rb") as f:
            whole = f.read()
        cases = {f"byte {at}": whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:]
                 for at in {0, 5, 8, 12, 20, 40, 100, 200, 400, 600, size // 2, size * 3 // 4, size - 40, size - 20, size - 9, size - 1}}
        cases |= {f"cut at {at}": whole[:at] for at in (0, 1, 7, 30, 300, size // 2, size - 1)}
        cases["longer"] = whole + b"x"
        cases["something else"] = b"#!/bin/sh\n" * 100
        for name, content in cases.items():
            with open(wrong, "wb") as f:
                f.write(content)
            done = c.cli("--json", "backup", "verify", wrong, code=6)
            code = json.loads(done.stderr)["error"]["code"]
            self.assertTrue(code.startswith("SNAPSHOT_") or code in ("CORRUPT", "INVALID", "FORMAT"), (name, code))
            self.assertEqual(done.stdout, "", name)
        self.assertEqual(len(c.cli("backup", "verify", wrong, code=6).stderr.splitlines()), 1)
        done = c.cli("backup", "restore", wrong, code=6)
        self.assertEqual((len(done.stderr.splitlines()), done.stdout), (1, ""))
        self.assertEqual(len(c.cli("backup", "verify", wrong + "-absent", code=6).stderr.splitlines()), 1)
        os.unlink(wrong)

    def incomplete(self, c, path):
        """Files that are intact each, but not what the backup was made of. Nothing of it is restored."""
        other, later = os.path.join(c.dir, "other"), os.path.join(c.dir, "later")
        self.create(c, later)

        def refused(word, code, change):
            shutil.copytree(path, other)
            change(other)
            for command in ("verify", "restore"):
                done = c.cli("--json", "backup", command, other, code=6)
                error = json.loads(done.stderr)["error"]
                self.assertEqual((done.stdout, error["code"]), ("", code), command)
                self.assertIn(word, error["message"])
            shutil.rmtree(other)

        def manifest(change):
            def of(folder):
                with open(os.path.join(folder, "backup"), "r+b") as f:
                    text = change(f.read())
                    f.seek(0)
                    f.truncate()
                    f.write(text)
            return of

        def pipe(folder):
            os.unlink(os.path.join(folder, "backup"))
            os.mkfifo(os.path.join(folder, "backup"))

        def both(folder):
            os.unlink(os.path.join(folder, "shard-1.backup"))
            os.unlink(os.path.join(folder, "shard-2.backup"))

        refused("missing: shard-1.backup", "ABSENT", lambda d: os.unlink(os.path.join(d, "shard-1.backup")))
        refused("missing: shard-1.backup, shard-2.backup", "ABSENT", both)
        refused("shard-7.backup is no part", "CORRUPT",
                lambda d: shutil.copy(os.path.join(d, "shard-2.backup"), os.path.join(d, "shard-7.backup")))
        refused("shard-2.backup is whole, but of another backup", "CORRUPT",
                lambda d: shutil.copy(os.path.join(later, "shard-2.backup"), os.path.join(d, "shard-2.backup")))
        with open(os.path.join(path, "backup"), "rb") as f:
            whole = f.read()
        version = whole.index(b"\n") - 1
        for at in range(0, len(whole), 1 if FULL else 7):
            refused("/backup: ", "FORMAT" if at == version else "CORRUPT",  # 2 ^ 1 is a later one
                    manifest(lambda text, at=at: text[:at] + bytes([text[at] ^ 1]) + text[at + 1:]))
        refused("damaged", "CORRUPT", manifest(lambda text: text[:-1]))
        refused("damaged", "CORRUPT", manifest(lambda text: text + b"\n"))
        refused("damaged", "CORRUPT", manifest(lambda text: b""))
        refused("later version", "FORMAT", manifest(lambda text: text.replace(b"holdfast-backup 2\n", b"holdfast-backup 3\n")))
        refused("damaged", "CORRUPT", pipe)
        shutil.copytree(path, other)  # as it was made before there was such a file
        os.unlink(os.path.join(other, "backup"))
        self.assertEqual(json.loads(c.cli("--json", "backup", "verify", other).stdout)["scope"], "unknown")
        self.assertIn("intact; whether all shards are there cannot be told", c.cli("backup", "verify", other).stdout)
        self.assertRegex(c.cli("backup", "verify", path).stdout.splitlines()[-1], r"^intact, all as of timestamp \d+$")
        one = os.path.join(path, "shard-2.backup")
        self.assertEqual(json.loads(c.cli("--json", "backup", "verify", one).stdout)["scope"], "shard")
        self.assertIn("intact; this is shard 2 alone", c.cli("backup", "verify", one).stdout)

    def test_what_is_no_file(self):
        """Nothing waits for somebody at the other end of a pipe."""
        c = self.cluster(shards=1, replicas=1)
        os.makedirs(os.path.join(c.dir, "b", "shard-2.backup"))
        os.mkfifo(os.path.join(c.dir, "pipe"))
        os.mkfifo(os.path.join(c.dir, "b", "shard-1.backup"))
        for path in ("pipe", "b", "/dev/zero", "/dev/tty", "b/shard-2.backup"):
            done = c.cli("--json", "backup", "verify", os.path.join(c.dir, path), code=6, seconds=20)
            self.assertEqual(len(done.stderr.splitlines()), 1, path)

    def restored(self, c, path, made):
        """Into a fresh cluster of another shape: the same content, another id, a later clock."""
        lines = c.cli("dump", "--prefix", "k").stdout + c.cli("dump", "--prefix", "zz").stdout + c.cli("dump", "--prefix", "empty").stdout
        other = self.cluster(shards=1, replicas=1).up()
        done = json.loads(other.cli("--json", "backup", "restore", path, seconds=120).stdout)
        self.assertEqual((done["whole"], done["scope"]), (True, "cluster"))
        self.assertEqual(done["restored"] + done["expired"], sum(f["records"] for f in made))
        self.assertEqual(other.cli("dump", "--prefix", "k").stdout + other.cli("dump", "--prefix", "zz").stdout
                         + other.cli("dump", "--prefix", "empty").stdout, lines)
        self.assertEqual(other.cli("get", "forever").stdout, "v\n")
        other.cli("get", "soon", code=1)
        other.cli("get", "gone000001", code=1)
        above = max(f["ceiling"] for f in made)
        for item in other.cli("--json", "dump").stdout.splitlines()[:5]:
            self.assertGreater(int(json.loads(item)["version"].split(".")[0]), above)
        self.assertNotEqual(f"{other.answer_of('1/1').cluster:016x}", made[0]["cluster"])
        again = other.cli("backup", "restore", path, code=4)
        self.assertIn("holds keys already", again.stderr)
        c.cli("backup", "restore", path, code=6)  # nor into where it came from

    def test_a_clock_that_was_ahead(self):
        """A backup of a cluster whose time lies in the future: no timestamp of it is issued again."""
        c = self.cluster(shards=1, replicas=1).up()
        c.cli("put", "k", "v")
        with c.wire("1/1") as w:  # a lease far ahead, as a coordinator whose clock was wrong would have asked for
            status = w.ask(wire.request(status=True)).status
            ahead = status.ceiling + (CLOCK_AHEAD_MS << 16)
            lease = wire.request(1)
            lease.lease.ceiling, lease.lease.timestamp = ahead, status.clock
            self.assertEqual(w.ask(lease).code, 0)
        path = os.path.join(c.dir, "one.backup")
        made = json.loads(self.create(c, path, "--shard", "1").stdout)["files"][0]
        self.assertGreaterEqual(made["ceiling"], ahead)
        other = self.cluster(shards=2, replicas=1).up()
        done = other.cli("backup", "restore", path, seconds=120)
        self.assertEqual(done.stdout, "restored 1 expired 0; this is shard 1 alone\n")
        self.assertEqual(other.cli("get", "k").stdout, "v\n")
        version = json.loads(other.cli("--json", "dump").stdout.splitlines()[0])["version"]
        self.assertGreater(int(version.split(".")[0]), made["ceiling"])
        with wire.Wire(other.env["HOLDFAST_COORDINATORS"]) as w:
            reply = wait_for("a timestamp", 30, lambda: (lambda r: r if r is not None and r.code == 0 else None)(
                w.try_ask(wire.request(timestamp=True), 2.0)))
        self.assertGreater(reply.timestamp, made["ceiling"])

    def test_a_clock_that_was_days_ahead(self):
        """No shard believes a timestamp that is a day ahead: a cluster that was told to issue it would be lost for good."""
        c = self.cluster(shards=1, replicas=1).up()
        c.cli("put", "k", "v")
        path = {}
        for hours in (16, 32):
            with c.wire("1/1") as w:
                status = w.ask(wire.request(status=True)).status
                lease = wire.request(1)
                lease.lease.ceiling, lease.lease.timestamp = status.ceiling + (16 * 3600000 << 16), status.clock
                self.assertEqual(w.ask(lease).code, 0)
            path[hours] = os.path.join(c.dir, f"{hours}.backup")
            made = json.loads(self.create(c, path[hours], "--shard", "1").stdout)["files"][0]
            self.assertGreater((made["ceiling"] >> 16) / 1000, time.time() + hours * 3600 - 600)
        other = self.cluster(shards=1, replicas=1).up()
        refused = other.cli("backup", "restore", path[32], code=6)
        self.assertIn("more than a day ahead of this machine's", refused.stderr)
        self.assertEqual(refused.stdout, "")
        with wire.Wire(other.env["HOLDFAST_COORDINATORS"]) as w:
            reply = wait_for("a timestamp", 30, lambda: (lambda r: r if r is not None and r.code == 0 else None)(
                w.try_ask(wire.request(timestamp=True), 2.0)))
        self.assertLess((reply.timestamp >> 16) / 1000, time.time() + 3600, "the oracle was told")
        other.cli("backup", "restore", path[16], seconds=120)
        self.assertEqual(other.cli("get", "k").stdout, "v\n")


class Interrupted(ClusterTest):
    """Backups that meet something in their middle: the process is held there while it comes."""

    def up(self, **shape):
        c = self.cluster(shards=1, **shape).up()
        load(c, LARGE_COUNT, size=LARGE_BYTES)
        return c

    def held(self, c, path, *options, error=subprocess.PIPE):
        """`backup create`, stopped when it has some of the stream and not all."""
        def size():
            with contextlib.suppress(OSError, IndexError):
                return os.path.getsize(glob.glob(f"{path}.{process.pid}.tmp/shard-1.backup.*.tmp")[0])
            return 0

        for _ in range(20):
            process = subprocess.Popen([tool("holdfast"), *options, "backup", "create", path], env=c.env, text=True,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=error)
            wait_for("a part", 60, lambda: size() >= 1 << 20 or process.poll() is not None, 0.001)
            if process.poll() is None:
                process.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                if (1 << 20) <= size() < LARGE_COUNT * LARGE_BYTES // 2:
                    return process
                process.send_signal(signal.SIGCONT)
            said = process.communicate(timeout=120)
            self.assertIn(process.returncode, (0, 3), said)  # 3: nobody led for long
            shutil.rmtree(path, ignore_errors=process.returncode == 3)
        raise AssertionError("it was always too late")

    def end(self, process, code, number=None):
        """Goes on, with a signal; what it said."""
        if number is not None:
            process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        out, error = process.communicate(timeout=90 * PATIENCE)
        self.assertEqual(process.returncode, code, (out, error))
        return out, error

    def left(self, c):
        return [n for n in os.listdir(c.dir) if n.startswith("made")]

    def test_the_leader_goes(self):
        """In the middle of a stream: another one leads, and gives all of it."""
        c = self.up(replicas=3)
        path, terminal = os.path.join(c.dir, "made"), Terminal()

        def begun():
            pages = {n: damage.http_get(c.processes[n]["http"], "/metrics") for n in c.alive()}
            counts = {n: re.search(r"(?m)^holdfast_backups_begun_total (\d+)$", page) for n, page in pages.items()}
            return {n: int(found.group(1)) for n, found in counts.items()}
        for _ in range(5):
            before = begun()
            process = self.held(c, path, error=terminal.end)
            old, after = c.leader(1), begun()
            if [n for n in after if after[n] > before[n]] == [old]:
                break
            self.end(process, -signal.SIGINT, signal.SIGINT)  # another one led while it began
        else:
            self.fail("no leader stays")
        c.kill(old)
        self.end(process, 0)
        self.assertRegex(terminal.text(), r"\r\x1b\[K\d+\.\d MiB  \d+\.\d MiB/s")  # how far it is
        self.assertTrue([n for n, count in begun().items() if count > after[n]], "who else gave it?")
        self.assertRegex(c.cli("backup", "verify", path).stdout.splitlines()[-1], r"^intact, all as of timestamp \d+$")
        self.assertEqual(self.left(c), ["made"])

    def test_nobody_leads(self):
        """It says that it waits, and then what is the matter, and ends."""
        c = self.up(replicas=3)
        path = os.path.join(c.dir, "made")
        for _ in range(5):
            begin = time.monotonic()
            processes = [self.held(c, path), self.held(c, path + "2", "--json")]
            if time.monotonic() - begin < 8:
                break
            for process in processes:  # the first one had no part for so long that it would hardly wait any more
                self.end(process, -signal.SIGINT, signal.SIGINT)
        else:
            self.fail("they were never held at once soon enough")
        c.kill(*c.names())
        for process in processes:
            process.send_signal(signal.SIGCONT)
        out, error = self.end(processes[0], 3)
        waits, failed = error.splitlines()[-2:]
        self.assertIn("shard 1", waits)
        self.assertIn("waiting", waits)
        for word in ("shard 1", "no leader", "3 of its 3 replicas do not answer", "holdfast status"):
            self.assertIn(word, failed)
        out2, error = self.end(processes[1], 3)
        self.assertEqual((out, out2), ("", ""))
        self.assertEqual(json.loads(error)["error"]["code"], "UNAVAILABLE")
        self.assertEqual(self.left(c), [])

    def views(self, c, count):
        """What the leader says to so many that begin."""
        begin = wire.request(1)
        begin.backup.SetInParent()
        with c.wire(c.leader(1)) as w:
            return [w.ask(begin, 20.0) for _ in range(count)]

    def test_who_ends_early_is_in_nobodys_way(self):
        c = self.up(replicas=1)
        path = os.path.join(c.dir, "made")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            self.end(self.held(c, path), -number, number)
            self.assertEqual(self.left(c), [], "nothing is left behind")
        for i in range(5):
            replies = self.views(c, 3)
            self.assertEqual([r.code for r in replies], [0, 0, wire.BUSY])
            self.assertIn("2 backups are under way here", replies[2].message)
            done = c.cli("backup", "create", f"{path}-{i}")  # those two are never asked for again
            if done.stderr:
                break  # else they were idle for so long already that it had not to wait
        self.assertIn("2 backups are under way here", done.stderr)
        for _ in range(2):
            self.end(self.held(c, path + "2"), -signal.SIGKILL, signal.SIGKILL)
        c.cli("backup", "create", path + "3")
        c.cli("backup", "verify", path + "3")

    def test_no_room(self):
        c = self.up(replicas=1)
        folder = os.path.join(c.dir, "small")
        os.makedirs(folder)
        disk = faults.Tmpfs(4)
        disk.mount(folder)
        self.addCleanup(disk.unmount)
        path = os.path.join(folder, "b")
        for _ in range(3):
            done = c.cli("--json", "backup", "create", path, code=3)
            error = json.loads(done.stderr)["error"]
            self.assertEqual((done.stdout, error["code"]), ("", "NO_SPACE"))
            self.assertIn("No space left", error["message"])
            self.assertEqual(os.listdir(folder), [], "no half file stays")
        self.assertEqual([r.code for r in self.views(c, 2)], [0, 0], "no view either")
        done = c.cli("--json", "backup", "create", "/no/such/folder/b", code=6)
        self.assertEqual(json.loads(done.stderr)["error"]["code"], "REFUSED")

    def stopped_restore(self, path):
        """(exit code, output) of a restore into a fresh cluster whose replica fell asleep; then came a signal."""
        other, terminal = self.cluster(shards=1, replicas=1).up(), Terminal()
        before = other.answer_of("1/1").applied
        process = subprocess.Popen([tool("holdfast"), "backup", "restore", path], env=other.env, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal.end)
        self.addCleanup(process.kill)
        wait_for("the first records", 60, lambda: other.answer_of("1/1").applied > before + 20, 0.001)
        other.send_signal("1/1", signal.SIGSTOP)
        wait_for(lambda: f"records in {terminal.shown}", 60,
                 lambda: b"records" in terminal.shown or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        out = process.communicate(timeout=90 * PATIENCE)[0]
        other.send_signal("1/1", signal.SIGCONT)
        return process.returncode, out

    def test_a_restore_is_interrupted(self):
        c = self.up(replicas=1)
        path = os.path.join(c.dir, "made")
        c.cli("backup", "create", path)
        for _ in range(5):
            code, out = self.stopped_restore(path)
            if code != 0 and f"restored {LARGE_COUNT} " not in out:
                break  # else all records were there already
        self.assertEqual(code, -signal.SIGINT, out)
        self.assertRegex(out, r"^restored \d+ expired 0: NOT WHOLE; make the cluster anew and begin again\n$")
        self.assertLess(int(out.split()[1]), LARGE_COUNT)


if __name__ == "__main__":
    unittest.main(verbosity=2)
