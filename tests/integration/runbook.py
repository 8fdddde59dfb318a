#!/usr/bin/env python3
# runbook.py: the commands of docs/runbooks, typed one after the other into a cluster that is written to; what comes is what is written there.
import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import jobs  # noqa: E402
from cluster import ENGINE, PATIENCE, ROOT, ClusterTest, Hammer, lincheck, tool, wait_for  # noqa: E402

OTHER = "libraft" if ENGINE == "native" else "native"


def commands(page):
    """[(command, the lines that are to come)] of the page's blocks."""
    with open(os.path.join(ROOT, "docs", "runbooks", page), encoding="utf-8") as f:
        blocks = re.findall(r"^```\n(.*?)^```$", f.read(), re.S | re.M)
    found = []
    for line in "".join(blocks).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def like(expected):
    """What is written as a pattern: ... is anything in a line, or any number of lines."""
    lines = [r"(?:[^\n]*\n)*?" if e == "..." else re.escape(e.rstrip()).replace(r"\.\.\.", r"[^\n]*") + r"\n" for e in expected]
    return re.compile("".join(lines))


class Runbook(ClusterTest):
    def run_one(self, c, words):
        """What it says; None when it is refused as a slow machine's member did not answer in time, which changes nothing."""
        done = subprocess.run([tool("holdfast"), *jobs.PATIENT, *words], env=c.env, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=120 * PATIENCE)
        late = done.returncode in (3, 4, 6) and "is done; the way back" not in done.stderr or words[0] == "status" and done.returncode
        return None if late else done

    def test_engine_migration(self):
        swap = {"native": "libraft", "libraft": "native"} if ENGINE == "libraft" else {}
        words = re.compile(r"\b(native|libraft)\b")
        c = self.cluster(shards=2, coordinators=2).up()
        h = Hammer(c, "load", deadline_ms=30000)
        h.await_acks(100)
        page = commands("engine-migration.md")
        self.assertGreater(len(page), 10)
        soaks = next(i for i, (command, _) in enumerate(page) if "--soak 30" in command)
        at = again = 0
        while at < len(page):
            (command, expected), at = page[at], at + 1
            typed = words.sub(lambda m: swap.get(m.group(), m.group()), command).split()
            self.assertEqual(typed[0], "holdfast")
            done = wait_for("members that are late to be there", 60, lambda: self.run_one(c, typed[1:]), 0.2)  # noqa: B023
            if done.returncode == 6 and "is done; the way back" in done.stderr and again < 3:
                # A coordinator that was late lost its lease; the next one waits for no rest of a soak.
                again, at = again + 1, soaks
                wait_for("the way back", 60, lambda: self.run_one(c, ["migrate", "start", "--to", OTHER, "--yes"]), 0.2)
                continue
            said = "\n".join(line.rstrip() for line in done.stdout.splitlines())
            self.assertEqual(done.returncode, 0, f"{command}: {done.stderr}{said}")
            text = words.sub(lambda m: swap.get(m.group(), m.group()), "\n".join(expected)).splitlines()
            self.assertTrue(like(text).fullmatch(said + "\n"), f"{command}\nis to say:\n" + "\n".join(text) + f"\nsaid:\n{said}")
        h.await_acks(100)
        h.stop()
        self.assertEqual((h.counts["failed"], h.counts["unknown"]), (0, 0))
        good, text = lincheck(h.path)
        self.assertTrue(good, text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
