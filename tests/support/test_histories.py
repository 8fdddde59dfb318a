#!/usr/bin/env python3
# test_histories.py: histories.py finds what was planted: a lost write, a write from nowhere, a wrong value.
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster  # noqa: E402
import histories  # noqa: E402


class Unique(unittest.TestCase):
    def judge(self, outcome, dump):
        with tempfile.NamedTemporaryFile("w", suffix=".tsv") as f:
            f.write(f"h.1\tput\ta-u-h-1-0\th.1.0\t-\t1\t2\t{outcome}\t-\tX\n")
            f.flush()
            return histories.judge_unique([f.name], dump)

    def test_good(self):
        self.assertEqual(self.judge("ok", {b"a-u-h-1-0": b"h.1.0:ppp"}), [])
        self.assertEqual(self.judge("unknown", {b"a-u-h-1-0": b"h.1.0:"}), [])
        self.assertEqual(self.judge("unknown", {}), [])
        self.assertEqual(self.judge("fail", {}), [])

    def test_faults(self):
        self.assertIn("lost", self.judge("ok", {})[0])
        self.assertIn("from nowhere", self.judge("fail", {b"a-u-h-1-0": b"h.1.0:p"})[0])
        self.assertIn("wrong value", self.judge("ok", {b"a-u-h-1-0": b"h.1.1:p"})[0])
        self.assertIn("wrong value", self.judge("unknown", {b"a-u-h-1-0": b"h.1.0:px"})[0])
        self.assertIn("never put", self.judge("ok", {b"a-u-h-1-0": b"h.1.0:", b"a-u-h-1-1": b"h.1.1:"})[0])

    def test_dump_is_read_back(self):
        self.assertEqual(cluster.parse_dump(b"a\\tb\tx\\n\\\\\\x00\\x7f\n\t\n"), {b"a\tb": b"x\n\\\x00\x7f", b"": b""})


if __name__ == "__main__":
    unittest.main()
