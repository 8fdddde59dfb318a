# starts.py: what replicas found at their starts: after kills and power cuts it must be their own state and log, whole. A start
# that needs healing is healed, and then everything looks right; so the lines and the counter are asked, not the outcome.
import re

import damage

WHOLE = {("skipped", "ahead"), ("skipped", "equal")}
FRESH = ("fresh", "fresh")
METRIC = re.compile(r'^holdfast_fsm_cold_start_restore_total\{outcome="(\w+)",reason="(\w+)"\} (\d+)$', re.M)


def lines_of(log):
    """(line, (outcome, reason)) of each start in a replica's log."""
    found = [(line, re.search(r" outcome=(\w+) reason=(\w+)", line)) for line in log.splitlines() if "cold start state=" in line]
    return [(line, fields.groups() if fields else None) for line, fields in found]


def faults_of_log(name, log):
    """Starts that did not find all that was left; a new directory is found once, or again while it is being bootstrapped."""
    starts = lines_of(log)
    faults = [] if starts else [f"no start: {name} printed no line of its cold start"]
    had = False
    for line, what in starts:
        if what not in WHOLE and (what != FRESH or had):
            faults.append(f"bad start: {name}: {line.strip()}")
        had = had or what in WHOLE
    return faults


def faults_of_metrics(name, text, log):
    """The counter of a running replica, which began with its process: the last start, which the log's last line tells too."""
    counted = {(outcome, reason): int(count) for outcome, reason, count in METRIC.findall(text) if count != "0"}
    last = lines_of(log)[-1:]
    if not last or counted != {last[0][1]: 1}:
        return [f"bad start: {name} counts {counted}, its log's last start says {last}"]
    return []


def faults(c, page=None):
    """Of all replicas of a cluster, of each start since it was made. `page(name)`: the metrics, if loopback does not lead there."""
    found = []
    for name in c.names():
        log = c.log(name)
        found += faults_of_log(name, log)
        if c.pid(name) is not None:
            text = page(name) if page else damage.http_get(c.processes[name]["http"], "/metrics")
            found += faults_of_metrics(name, text, log)
    return found
