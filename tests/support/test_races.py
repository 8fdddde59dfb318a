#!/usr/bin/env python3
# test_races.py: under ThreadSanitizer a planted race fails a test, in a program and in a cluster's process; order does not.
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import BAD_LINE, ROOT, Cluster, tool  # noqa: E402

OPTIONS = "suppressions=" + os.path.join(ROOT, "tests", "tsan.supp") + " halt_on_error=1"


class Races(unittest.TestCase):
    def run_racy(self, how):
        env = dict(os.environ, TSAN_OPTIONS=os.environ.get("TSAN_OPTIONS", OPTIONS))
        return subprocess.run([tool("racy"), how], env=env, capture_output=True, text=True, timeout=300)

    def test_a_race_is_reported_and_fails(self):
        done = self.run_racy("plain")
        self.assertEqual(done.returncode, 66, done.stderr)
        self.assertIn("ThreadSanitizer: data race", done.stderr)
        self.assertRegex(done.stderr, "racy.c")

    def test_order_is_no_race(self):
        for how in ("locked", "mailbox"):
            done = self.run_racy(how)
            self.assertEqual((done.returncode, done.stderr), (0, ""), how)

    def test_a_report_in_a_clusters_log_is_a_fault(self):
        c = Cluster("races", shards=1, replicas=1)  # never started: its log is what matters
        try:
            os.makedirs(os.path.join(c.dir, "log"))
            with open(os.path.join(c.dir, "log", "1-1.log"), "w", encoding="utf-8") as f:
                f.write(self.run_racy("locked").stderr)
            self.assertEqual(c.bad_lines(), [])
            with open(os.path.join(c.dir, "log", "1-1.log"), "a", encoding="utf-8") as f:
                f.write(self.run_racy("plain").stderr)
            self.assertTrue(any(BAD_LINE.search(line) for line in c.bad_lines()))
        finally:
            c.close(keep=False)


if __name__ == "__main__":
    unittest.main(verbosity=2)
