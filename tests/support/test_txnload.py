#!/usr/bin/env python3
# test_txnload.py: txnload on a store that is right (txnfake.c), which nothing may be said against; and on one that is not.
import concurrent.futures
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import tool  # noqa: E402


def run_load(bug, seconds):
    """(what its workloads complained of, is txncheck content, what that said, its counts)."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "history")
        done = subprocess.run([tool("txnload_fake"), "--out", path, "--seconds", str(seconds), "--pause-us", "200"],
                              env=dict(os.environ, TXNFAKE_BUG=bug), capture_output=True, text=True, timeout=300, check=True)
        checked = subprocess.run([tool("txncheck"), path], capture_output=True, text=True, timeout=300)
        words = done.stdout.splitlines()[-1].split()
        return done.stderr, checked.returncode == 0, checked.stdout + checked.stderr, dict(zip(words[::2], map(int, words[1::2])))


COUNTED = ("acked", "unknown", "conflicts", "lists", "slots", "bank", "skew", "prefix")

# What each store must be seen to do by a load that is long enough.
SEEN = {
    "": lambda said, good, _, counts: said or not good or all(counts[what] > 0 for what in COUNTED),
    "reads": lambda said, good, *_: "skew:" in said and not good,
    "half": lambda said, good, *_: "bank:" in said and "prefix:" in said and not good,
    "late": lambda _, good, *__: not good,
    "stale": lambda _, good, *__: not good,
}


def run_loads(bug):
    """A second is much, unless the machine has none to give."""
    for seconds in (1, 5, 25):
        outcome = run_load(bug, seconds)
        if SEEN[bug](*outcome):
            break
    return outcome


class TxnLoad(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            cls.runs = dict(zip(SEEN, pool.map(run_loads, SEEN)))

    def test_right(self):
        said, good, checked, counts = self.runs[""]
        self.assertEqual(said, "")
        self.assertTrue(good, checked)
        for what in COUNTED:
            self.assertGreater(counts[what], 0, what)

    def test_what_was_read_is_not_validated(self):
        said, good, checked, _ = self.runs["reads"]
        self.assertIn("skew:", said)
        self.assertFalse(good, checked)

    def test_half(self):
        said, good, checked, _ = self.runs["half"]
        for what in ("bank:", "prefix:"):
            self.assertIn(what, said)
        self.assertFalse(good, checked)

    def test_lost(self):
        self.assertFalse(self.runs["late"][1])

    def test_stale(self):
        self.assertFalse(self.runs["stale"][1])


if __name__ == "__main__":
    unittest.main(verbosity=2)
