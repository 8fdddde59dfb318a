#!/usr/bin/env python3
# thirdparty.py: a client written from docs/protocol/client.md (pyclient.py) under kills; and is the page complete?
import os
import random
import re
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import wire  # noqa: E402
from cluster import FULL, ROOT, ClusterTest, parse_dump, wait_for  # noqa: E402
import histories  # noqa: E402
import pyclient  # noqa: E402

SEED = int(os.environ.get("HOLDFAST_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)


class Lossy(pyclient.Client):
    """Some replies are lost on their way, so that many requests are sent again though they were executed."""

    loss, chance = 0.0, random.Random(0)

    def receive(self, ids, until):
        reply = super().receive(ids, until)
        while reply is not None and self.chance.random() < self.loss:
            reply = super().receive(ids, until)
        return reply


class Worker(threading.Thread):
    """One client that works on hot keys, on keys of its own, and on counters, and writes down what it was told."""

    kinds = ("put", "get", "cas", "del", "scan", "unique", "counter", "counter")

    def __init__(self, c, number, loss):
        super().__init__(daemon=True)
        self.c, self.tag, self.chance = c, f"py{number}", random.Random(SEED + number)
        self.client = Lossy(wire.pb, c.env["HOLDFAST_COORDINATORS"].split(","))
        self.client.loss, self.client.chance = loss, self.chance
        self.path = os.path.join(c.dir, f"history-{self.tag}.tsv")
        self.stopped, self.failure, self.count = False, None, 0
        self.told = dict.fromkeys(("ok", "notfound", "mismatch", "fail", "unknown", "fenced"), 0)
        self.added = {}  # counter → [done, unknown]
        self.rows = []

    def run(self):
        try:
            while not self.stopped:
                self.count += 1
                self.step()
        except BaseException as e:  # pylint: disable=broad-except
            self.failure = e
        with open(self.path, "w", encoding="utf-8") as f:
            f.writelines("\t".join(map(str, row)) + "\n" for row in self.rows)
        self.client.close()

    def step(self):
        side = self.chance.choice("az")  # a key of each shard
        hot = f"{side}-hot-{self.count // 150}-{self.chance.randrange(3)}"
        what = self.chance.choice(self.kinds)
        value = f"{self.tag}.{self.count}"
        if what == "scan":
            self.scan(side, hot)
        elif what == "unique":
            self.write("put", f"{side}-u-{self.tag}-{self.count}", value)
        elif what == "counter":
            self.add(f"{side}-counter")
        elif what == "cas":
            seen = self.read("get", hot, lambda: self.client.get(hot.encode()))
            if seen is not False:
                self.write("cas", hot, value, seen)
        elif what == "get":
            self.read("get", hot, lambda: self.client.get(hot.encode()))
        else:
            self.write(what, hot, value if what == "put" else "-")

    def note(self, op, key, value, expected, begin, outcome, read, code):
        self.told[outcome] += 1
        self.rows.append((self.tag, op, key, value, expected, begin, time.monotonic_ns(), outcome, read, code))

    def read(self, op, key, ask):
        """What was read: None when absent, False when no answer came."""
        begin = time.monotonic_ns()
        try:
            got = ask()
        except pyclient.NotDone as e:
            self.note(op, key, "-", "-", begin, "fail", "-", e)
            return False
        text = None if got is None else histories.value_id(got)
        self.note(op, key, "-", "-", begin, "ok" if text else "notfound", text or "-", "OK")
        return text

    def scan(self, side, hot):
        """A page that holds the whole range is one moment: as good as a get of each key of it."""
        start, end = f"{side}-hot-".encode(), f"{side}-hot.".encode()
        reverse, begin = self.chance.random() < 0.5, time.monotonic_ns()
        try:
            pages = list(self.client.scan(start, end, reverse=reverse))
        except pyclient.NotDone as e:
            self.note("get", hot, "-", "-", begin, "fail", "-", e)
            return
        keys = [i.key for page in pages for i in page]
        assert keys == sorted(set(keys), reverse=reverse) and all(start <= k < end for k in keys), "a scan out of order"
        if len(pages) == 1:
            found = {i.key.decode(): histories.value_id(i.value) for i in pages[0]}
            self.note("get", hot, "-", "-", begin, "ok" if hot in found else "notfound", found.get(hot, "-"), "OK")

    def do(self, key, ask, loss=None):
        """(outcome, code) of a write; every second unknown one is decided by a fence."""
        try:
            return ("ok" if ask() else "mismatch"), "OK"
        except pyclient.NotDone as e:
            return "fail", e
        except pyclient.Unknown as e:
            self.client.loss = self.client.loss if loss is None else loss
            if self.chance.random() < 0.5:
                return "unknown", "OUTCOME_UNKNOWN"
            try:
                code = self.client.fence(*e.args, seconds=20)
            except pyclient.NotDone as why:
                return "unknown", why
            self.told["fenced"] += 1
            return {0: "ok", pyclient.COMPARE_FAILED: "mismatch", pyclient.FENCED: "fail"}[code], f"fence {code} of {key}"

    def write(self, op, key, value, expected=None):
        begin, k, v = time.monotonic_ns(), key.encode(), value.encode() + b":"
        loss, seconds = self.client.loss, 10.0
        if self.chance.random() < 0.01:  # now and then every reply is lost: surely an unknown outcome
            self.client.loss, seconds = 1.0, 0.35
        before = expected.encode() + b":" if expected else None
        outcome, code = self.do(key, {"put": lambda: self.client.put(k, v, seconds=seconds),
                                      "del": lambda: self.client.delete(k, seconds=seconds),
                                      "cas": lambda: self.client.cas(k, before, v, seconds=seconds)}[op], loss)
        self.client.loss = loss
        self.note(op, key, value, expected or "-", begin, outcome, "-", code)

    def add(self, key):
        """Adds one by compare-and-set; what was executed once must be told as done once."""
        try:
            old = self.client.get(key.encode())
        except pyclient.NotDone:
            return
        outcome, _ = self.do(key, lambda: self.client.cas(key.encode(), old, b"%d" % (int(old or 0) + 1)))
        counts = self.added.setdefault(key, [0, 0])
        counts[0] += outcome == "ok"
        counts[1] += outcome == "unknown"


class ThirdParty(ClusterTest):
    def setUp(self):
        print(f"HOLDFAST_CHAOS_SEED={SEED} makes the same choices", file=sys.stderr)

    def work(self, c, count, loss, kinds=Worker.kinds):
        workers = [Worker(c, i, loss) for i in range(count)]
        for w in workers:
            w.kinds = kinds
            w.start()
        self.await_progress(workers, 20)
        return workers

    def await_progress(self, workers, more):
        goals = [w.count + more for w in workers]
        wait_for("progress of every client", 60,
                 lambda: all(w.count >= g or w.failure for w, g in zip(workers, goals)))
        self.assertEqual([w.failure for w in workers if w.failure], [])

    def faults(self, c, workers):
        for w in workers:
            w.stopped = True
        for w in workers:
            w.join(60)
            self.assertFalse(w.is_alive() or w.failure, w.failure)
        dump = self.same_by_scans(c)
        counters = {k: int(v) for k, v in dump.items() if k.endswith(b"-counter")}
        faults = histories.judge(c, workers, {k: v for k, v in dump.items() if k not in counters})
        for key, value in counters.items():
            done, unknown = (sum(w.added.get(key.decode(), [0, 0])[i] for w in workers) for i in (0, 1))
            if not done <= value <= done + unknown:
                faults.append(f"{key!r} was raised {value} times; {done} told as done, {unknown} as unknown")
        told = {name: sum(w.told[name] for w in workers) for name in workers[0].told}
        print(f"{self.id().rpartition('.')[2]}: {told}, counters {sorted(counters.values())}, seed {SEED}", file=sys.stderr)
        return faults

    def same_by_scans(self, c):
        """The dump; scans show the same, unless a write of unknown outcome came in between: then it is looked again."""
        by_client = pyclient.Client(wire.pb, c.env["HOLDFAST_COORDINATORS"].split(","))
        self.addCleanup(by_client.close)
        after = parse_dump(c.cli("dump", text=False).stdout)
        for _ in range(5):
            before = after
            scanned = {i.key: i.value for page in by_client.scan(limit=100, seconds=30) for i in page}
            backwards = [i.key for page in by_client.scan(limit=7, reverse=True, seconds=30) for i in page]
            after = parse_dump(c.cli("dump", text=False).stdout)
            if after == before:
                break
        self.assertEqual(after, before, "something is still written")
        self.assertEqual(scanned, after, "its scan and the dump show the same")
        self.assertEqual(backwards, sorted(after, reverse=True))
        return after

    def test_under_kills(self):
        """Leaders of both shards and both coordinators are killed; what the client was told is what happened."""
        c = self.cluster(shards=2, coordinators=2).up()
        workers = self.work(c, 4, loss=0.01)
        chance = random.Random(SEED)
        for i in range(80 if FULL else 5):
            shard, coordinator = 1 + i % 2, f"coordinator/{1 + i // 2 % 2}"
            chosen = [c.leader(shard)] + ([coordinator] if i % 2 == 0 else [])
            if i % 5 == 4:  # a leader that sleeps through its deposition
                c.send_signal(chosen[0], signal.SIGSTOP)
                self.await_progress(workers, 10)
                c.send_signal(chosen[0], signal.SIGCONT)
                continue
            c.kill(*chosen)
            self.await_progress(workers, 5 + chance.randrange(20))
            c.start_in_background(*chosen)
            self.await_progress(workers, 10)
        wait_for("a fence that was needed: this run shows too little", 120,
                 lambda: any(w.told["fenced"] or w.failure for w in workers))
        self.assertEqual(self.faults(c, workers), [])

    def test_canary_executed_twice(self):
        """A state machine that forgets what it executed must be found: this test can fail."""
        c = self.cluster(shards=2, env={"HOLDFAST_PLANTED_BUG": "fsm.apply_twice"}).up()
        workers = self.work(c, 2, loss=0.2, kinds=("counter",))
        self.await_progress(workers, 30)
        self.assertNotEqual(self.faults(c, workers), [])


class Page(unittest.TestCase):
    """docs/protocol/client.md says all of it: fields, codes with number and class, limits; and its example is one."""

    def setUp(self):
        self.page = self.text("docs/protocol/client.md")

    @staticmethod
    def text(path):
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            return f.read()

    def test_every_field(self):
        said, words = set(re.findall(r"`([a-z_]+)`", self.page)), set(re.findall(r"\w+", self.page))
        for message in wire.pb.DESCRIPTOR.message_types_by_name.values():
            for field in message.fields:
                self.assertIn(field.name, said, f"{message.name}.{field.name} is not on the page")
            self.assertIn(message.name, words)

    def test_every_error(self):
        table = re.findall(r'X\(HF_E_(\w+), (-\d+), HF_CLASS_(\w+), "', self.text("common/base/error.h"))
        self.assertGreater(len(table), 25)
        for name, number, cls in table:
            self.assertTrue(f"| {name} | {number} | {cls} |" in self.page, f"{name} {number} {cls} is not on the page")
        classes = re.findall(r"HF_CLASS_(\w+) = (\d)", self.text("common/base/error.h"))
        self.assertEqual(len(classes), 6)
        for name, number in classes:
            self.assertTrue(f"| {name} | {number} |" in self.page, f"{name} {number} is not on the page")

    def test_limits(self):
        rows = re.findall(r"X\(LIMIT_\w+, (\w+), ([0-9u* ]+)\)", self.text("common/base/limits.h"))
        self.assertGreater(len(rows), 10)
        for name, number in rows:
            if name in ("entry_bytes", "raft_message_bytes"):  # between replicas
                continue
            value = 1
            for factor in number.replace("u", "").split("*"):
                value *= int(factor)
            found = re.search(rf"(?m)^\| [a-z_, ]*\b{name}\b.*\b{value}\b", self.page)
            self.assertTrue(found, f"{name} {value} is not on the page")

    def test_example(self):
        lines = re.findall(r"(C → S|S → C)  ([0-9a-f]+)\n +(.*)", self.page)
        self.assertEqual(len(lines), 9)
        for way, digits, said in lines:
            m = (wire.pb.Request if way == "C → S" else wire.pb.Reply).FromString(bytes.fromhex(digits))
            self.assertEqual(m.SerializeToString().hex(), digits)
            self.assertEqual((m.version, f"id {m.id}," in said), (1, True), said)
            for word in re.findall(r"\b(put|get|routes|session_open)\b", said):
                self.assertEqual(m.WhichOneof("op"), word, said)
            for name, number in re.findall(r"\b(session|seq|done_below|shard|code|class|leader|route_version) (-?\d+)", said):
                self.assertEqual(getattr(m, "class_" if name == "class" else name), int(number), said)

    def test_client_stands_alone(self):
        source = self.text("tests/integration/pyclient.py")
        self.assertEqual(sorted(re.findall(r"(?m)^(?:import|from) (\w+)", source)), ["random", "time", "zmq"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
