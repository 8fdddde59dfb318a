#!/usr/bin/env python3
# admin.py: what an operator asks: inspect of whole, running and damaged directories, which it never changes; verify under
# load and of a replica that differs.
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import wire  # noqa: E402
from cluster import ENGINE, FULL, ClusterTest, Hammer, load, tool, wait_for  # noqa: E402


def tree(folder):
    """Every file's name, times of change and content; and every directory."""
    found = {}
    for at, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.join(at, name)] = os.lstat(os.path.join(at, name)).st_mtime_ns
        for name in files:
            path = os.path.join(at, name)
            with open(path, "rb") as f:
                found[path] = (os.lstat(path).st_mtime_ns, hashlib.sha256(f.read()).hexdigest())
    return found


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 0x10]))


def stop(c, name):
    c.send_signal(name, signal.SIGTERM)
    c.await_end(name)


def healthy(c):
    """The status when all is well: who has no processor for a moment is told as silent."""
    def probe():
        done = c.cli("--json", "status", code=None)
        return done.returncode == 0 and json.loads(done.stdout)
    return wait_for("a healthy cluster", 60, probe, 0.1)


class Inspect(ClusterTest):
    def inspect(self, folder, code=0):
        """As JSON; the text says the same damage. Nothing changed by either."""
        before = tree(folder)
        done = self.c.cli("--json", "inspect", folder, code=code)
        text = self.c.cli("inspect", folder, code=code).stdout
        self.assertEqual(tree(folder), before, "inspect changed something")
        told = json.loads(done.stdout)
        self.assertEqual(text.count("\nDAMAGE "), len(told["damage"]))
        return told

    def copy(self, name):
        to = os.path.join(self.c.dir, "copy-" + name)
        shutil.copytree(self.folder, to)
        return to

    def test_directories(self):
        c = self.c = self.cluster(shards=1, replicas=1).up()
        self.folder = c.data("1/1")
        load(c, 500)
        running = json.loads(c.cli("--json", "inspect", self.folder).stdout)
        self.assertTrue(running["in_use"])
        self.assertIsNone(running["applied"])
        self.assertIn("in use      yes", c.cli("inspect", self.folder).stdout)
        c.kill("coordinator/1")
        status = c.answer_of("1/1")
        stop(c, "1/1")
        told = self.inspect(self.folder)
        self.assertFalse(told["in_use"])
        self.assertEqual(told["damage"], [])
        self.assertEqual(told["durable_applied"], told["applied"])
        self.assertGreaterEqual(told["applied"], status.applied)
        self.assertEqual((told["log"]["last"], told["log"]["term"]), (told["applied"], status.term))
        self.assertGreaterEqual(told["fsm"]["records"], 500)
        self.assertEqual((told["install"], told["quarantine"], told["marked"]), (None, [], False))
        self.assertEqual([m["replica"] for m in told["members"]], [1])
        self.damages()
        fresh = os.path.join(c.dir, "nothing")
        os.makedirs(fresh)
        self.assertEqual(len(c.cli("inspect", fresh, code=1).stderr.splitlines()), 1)
        self.assertIn("error", json.loads(c.cli("--json", "inspect", fresh, code=1).stderr))

    def test_what_is_no_replicas_directory(self):
        """1: there is none; 6: there may be one, which must not be read."""
        c = self.c = self.cluster(shards=1, replicas=1).up()
        with tempfile.TemporaryDirectory() as folder:
            for program in ("holdfast", "holdfast-shard"):
                shutil.copy(tool(program), folder)
            os.chmod(folder, 0o755)
            file, data = os.path.join(folder, "file"), os.path.join(folder, "data")
            shutil.copy(os.path.join(c.data("1/1"), "identity"), file)
            os.mkdir(data)
            shutil.copy(file, os.path.join(data, "identity"))
            os.chmod(data, 0)
            plain = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
            for path, code, name, words in ((file, 1, "ABSENT", [file, "no directory"]), ("", 1, "ABSENT", ["no directory"]),
                                            (file + "/x", 1, "ABSENT", [file]),
                                            (data, 6, "REFUSED", [data, "ermission denied"])):
                for json_option in ([], ["--json"]):
                    done = subprocess.run([*plain, os.path.join(folder, "holdfast"), *json_option, "inspect", path],
                                          capture_output=True, text=True, timeout=60)
                    self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (code, "", 1), done.stderr)
                    for word in words:
                        self.assertIn(word, done.stderr)
                self.assertEqual(json.loads(done.stderr)["error"]["code"], name)
            os.chmod(data, 0o755)

    def damages(self):
        def damaged(name, word, damage):
            copy = self.copy(name)
            damage(copy)
            told = self.inspect(copy, code=7)
            self.assertTrue(any(word in text for text in told["damage"]), (name, told["damage"]))

        def of_fsm(copy):
            fsm = os.path.join(copy, "fsm")
            sst = max((os.path.join(fsm, n) for n in os.listdir(fsm) if n.endswith(".sst")), key=os.path.getsize)
            flip(sst, os.path.getsize(sst) // 4)

        def of_log(copy):
            log = next(os.path.join(copy, n) for n in os.listdir(copy) if n.startswith(ENGINE + "-"))
            segment = sorted(n for n in os.listdir(log) if n.startswith("seg-"))[0]
            flip(os.path.join(log, segment), 4096 + 100)

        def of_hardstate(copy):
            log = next(os.path.join(copy, n) for n in os.listdir(copy) if n.startswith(ENGINE + "-"))
            flip(os.path.join(log, "hardstate"), 30)
            flip(os.path.join(log, "hardstate"), 4096 + 30)

        damaged("fsm", "state machine", of_fsm)
        damaged("nofsm", "state machine", lambda copy: shutil.rmtree(os.path.join(copy, "fsm")))
        damaged("log", ENGINE + "-", of_log)
        damaged("hard", "hardstate", of_hardstate)
        damaged("peers", "peers", lambda copy: flip(os.path.join(copy, "peers"), 30))
        copy = self.copy("identity")
        flip(os.path.join(copy, "identity"), 20)
        before = tree(copy)
        self.assertEqual(len(self.c.cli("inspect", copy, code=6).stderr.splitlines()), 1)
        self.assertEqual(tree(copy), before)
        copy = self.copy("parts")
        os.makedirs(os.path.join(copy, "quarantine", "fsm-1"))
        with open(os.path.join(copy, "quarantine-fsm"), "w", encoding="ascii") as f:
            f.write("differs from the majority at index 7\n")
        told = self.inspect(copy)
        self.assertEqual((told["quarantine"], told["marked"]), (["fsm-1"], True))


class Verify(ClusterTest):
    def test_equal_under_load(self):
        c = self.cluster(shards=2, replicas=3).up()
        load(c, 500)
        c.cli("delprefix", "k0001")
        hammer = Hammer(c, "load")
        hammer.await_acks(200)
        for _ in range(5 if FULL else 2):
            told = json.loads(c.cli("--json", "verify").stdout)
            self.assertTrue(told["equal"])
            self.assertEqual([s["shard"] for s in told["shards"]], [1, 2])
            for shard in told["shards"]:
                self.assertEqual([r["state"] for r in shard["replicas"]], ["equal"] * 3)
                self.assertEqual(len({(r["digest"], r["records"]) for r in shard["replicas"]}), 1)
            hammer.await_acks(50)
        hammer.stop()
        text = c.cli("verify", "--shard", "2").stdout
        self.assertIn("shard 2 at index", text)
        self.assertNotIn("shard 1", text)
        self.assertEqual(len(c.cli("verify", "--shard", "9", code=6).stderr.splitlines()), 1)
        follower = c.followers(1)[0]
        c.kill(follower)
        told = json.loads(c.cli("--json", "verify", "--shard", "1", code=7, seconds=90).stdout)
        shard = told["shards"][0]
        self.assertEqual({r["name"]: r["state"] for r in shard["replicas"]}[follower], "unreachable")
        self.assertEqual((told["result"], shard["result"], told["equal"]), ("incomplete", "incomplete", False))
        text = c.cli("verify", "--shard", "1", code=7, seconds=90).stdout
        self.assertIn(": NOT ALL COMPARED\n", text)
        self.assertNotIn("NOT EQUAL", text)
        self.assertNotIn(" 0 records", text)

    def test_nobody_is_marked_without_a_majority(self):
        """Whatever a client says: alone, or one of two, a replica's state is the only one, or one of two."""
        c = self.cluster(shards=1, replicas=1).up()
        c.cli("verify")
        with c.wire("1/1") as w:
            status = w.ask(wire.request(1, status=True)).status
            verdict = wire.request(1)
            verdict.verdict.index, verdict.verdict.digest = status.check_index, bytes(len(status.digest))
            self.assertEqual(w.ask(verdict).code, wire.REFUSED)
        self.assertFalse(os.path.exists(os.path.join(c.data("1/1"), "quarantine-fsm")))

    def test_a_difference_is_named_and_healed(self):
        c = self.cluster(shards=1, replicas=3).up()
        load(c, 500)
        victim = c.followers(1)[0]
        stop(c, victim)
        subprocess.run([tool("flipstate"), c.data(victim)], check=True, timeout=60)
        c.start(victim)
        self.assertTrue(healthy(c)["healthy"], "no checksum sees it")
        told = json.loads(c.cli("--json", "verify", code=7).stdout)
        states = {r["name"]: (r["state"], r["marked"]) for r in told["shards"][0]["replicas"]}
        self.assertEqual(states.pop(victim), ("differs", True))
        self.assertEqual(set(states.values()), {("equal", False)})
        self.assertEqual((told["result"], told["equal"]), ("different", False))
        self.assertRegex(c.cli("verify", code=7).stdout, rf": NOT EQUAL\n(.*\n)*  {victim} ")
        problems = []

        def told_of():
            problems[:] = json.loads(c.cli("--json", "status", code=7).stdout)["problems"]
            return any(victim in p and "differs" in p for p in problems)
        wait_for(lambda: f"a problem that names it: {problems}", 60, told_of, 0.1)
        self.assertTrue(os.path.exists(os.path.join(c.data(victim), "quarantine-fsm")))
        stop(c, victim)
        self.assertTrue(json.loads(c.cli("--json", "inspect", c.data(victim)).stdout)["marked"])
        c.start(victim)
        wait_for("the state from another replica", 60, lambda: c.cli("verify", code=None).returncode == 0, 0.2)
        self.assertFalse(os.path.exists(os.path.join(c.data(victim), "quarantine-fsm")))
        self.assertTrue(healthy(c)["healthy"])

    def test_a_leader_that_differs_hands_over(self):
        """What it would read to clients may be wrong: it does not lead until its next start, which heals it."""
        c = self.cluster(shards=1, replicas=3).up()
        load(c, 500)
        victim = c.followers(1)[0]
        stop(c, victim)
        subprocess.run([tool("flipstate"), c.data(victim)], check=True, timeout=60)
        c.start(victim)
        c.transfer(1, victim)
        told = json.loads(c.cli("--json", "verify", code=7).stdout)
        states = {r["name"]: (r["state"], r["marked"]) for r in told["shards"][0]["replicas"]}
        self.assertEqual(states[victim], ("differs", True))

        def handed_over():
            leader = c.leader(1)
            if "handing leadership over: the state machine is damaged, or differs, here" in c.log(victim):
                return leader != victim
            if leader != victim:  # it was deposed before it was told
                with c.wire(leader) as w:
                    w.try_ask(wire.request(1, transfer=int(victim.split("/")[1])), 2.0)
            return False
        wait_for("another leader, by its own will", 60, handed_over, 0.1)
        self.assertTrue(os.path.exists(os.path.join(c.data(victim), "quarantine-fsm")), "it was healed before")
        self.assertNotIn("installed index=", c.log(victim))
        load(c, 100)

    def test_damage_is_found_and_healed(self):
        c = self.cluster(shards=1, replicas=3).up()
        load(c, 3000)
        victim = c.followers(1)[0]
        stop(c, victim)
        fsm = os.path.join(c.data(victim), "fsm")
        sst = max((os.path.join(fsm, n) for n in os.listdir(fsm) if n.endswith(".sst")), key=os.path.getsize)
        flip(sst, os.path.getsize(sst) // 3)
        c.start(victim)
        told = json.loads(c.cli("--json", "verify", code=7).stdout)
        self.assertEqual({r["name"]: r["state"] for r in told["shards"][0]["replicas"]}[victim], "failed")
        wait_for("the state from another replica", 60, lambda: c.cli("verify", code=None).returncode == 0, 0.2)
        self.assertIn("consistency check", c.log(victim))
        self.assertTrue(healthy(c)["healthy"])

    def test_a_check_is_replayed_and_survives_restarts(self):
        c = self.cluster(shards=1, replicas=3).up()
        load(c, 50)
        c.cli("verify")
        c.kill(*c.names(1))  # the check is in the logs that are replayed now
        c.start_in_background(*c.names(1))
        c.cli("verify")
        c.digests_agree(1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
