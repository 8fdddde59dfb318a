#!/usr/bin/env python3
# test_starts.py: starts.py finds every state of a start that is not a replica's own, whole, and a counter that says otherwise.
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import starts  # noqa: E402

LINE = "2026-01-01T00:00:00.000Z INFO cold start state=%s outcome=%s reason=%s applied=7 snapshot=5 gap=2 first=1 last=9\n"
FRESH, AHEAD, EQUAL = (LINE % s for s in [("fresh", "fresh", "fresh"), ("ahead", "skipped", "ahead"),
                                          ("equal", "skipped", "equal")])
BAD = [("behind_covered", "skipped", "behind"), ("behind_gap", "executed", "gap"), ("missing", "fallback", "missing"),
       ("unreadable", "fallback", "unreadable"), ("foreign_epoch", "fallback", "foreign_epoch"),
       ("foreign_term", "fallback", "foreign_term"), ("corrupt_fsm", "fallback", "corrupt_fsm"),
       ("corrupt_log", "fallback", "corrupt_log"), ("ahead", "executed", "forced"), ("missing", "refused", "nobody_to_heal")]


class Starts(unittest.TestCase):
    def test_lines(self):
        for good in (FRESH, FRESH + FRESH + AHEAD, FRESH + "else\n" + EQUAL + AHEAD):
            self.assertEqual(starts.faults_of_log("1/1", good), [])
        for bad in BAD:
            said = starts.faults_of_log("1/1", FRESH + AHEAD + LINE % bad + EQUAL)
            self.assertEqual(said, ["bad start: 1/1: " + (LINE % bad).strip()])
        self.assertEqual(len(starts.faults_of_log("1/1", FRESH + AHEAD + FRESH)), 1, "a directory that was lost")
        self.assertEqual(len(starts.faults_of_log("1/1", "nothing\n")), 1)
        self.assertEqual(len(starts.faults_of_log("1/1", "cold start state=strange\n")), 1)

    def test_metrics(self):
        row = 'holdfast_fsm_cold_start_restore_total{outcome="%s",reason="%s"} %d\n'
        zero = row % ("fallback", "missing", 0)
        self.assertEqual(starts.faults_of_metrics("1/1", zero + row % ("skipped", "ahead", 1), FRESH + AHEAD), [])
        for text in ("", zero, row % ("skipped", "behind", 1), row % ("skipped", "ahead", 2),
                     row % ("skipped", "ahead", 1) + row % ("skipped", "behind", 1)):
            self.assertEqual(len(starts.faults_of_metrics("1/1", text, FRESH + AHEAD)), 1, text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
