# jobs.py: `holdfast migrate` asked of a cluster on a slow machine: a member that does not answer in 700 ms, or a coordinator that lost its
# lease meanwhile, is in the way of what is asked, which changes nothing and is asked again.
import json
import subprocess

from cluster import BAD_LINE, PATIENCE, wait_for

LATE = (3, 4, 6)  # not done, a conflict, refused: nothing has changed
PATIENT = ("--timeout", str(int(30000 * PATIENCE)))
OVER = ("done", "aborted", "stopped", "finalized")


def look(c):
    """The job as a coordinator tells it; waits for one that does."""
    return json.loads(wait_for("a coordinator to say how the job stands", 60,
                               lambda: c.cli("--json", "migrate", "status", code=None).stdout, 0.1))


def again(code, text, run, also=()):
    """What a command says, once it ends so, with `text` on stderr; `also`: other exit codes than LATE of which it is run again."""
    found = []

    def probe():
        found[:] = [run()]
        return (found[0].returncode == code and text in found[0].stderr) or found[0].returncode not in (*LATE, *also)
    wait_for(lambda: f"exit code {code}, \"{text}\": {found}", 60, probe, 0.2)
    assert found[0].returncode == code and text in found[0].stderr, found
    return found[0]


def told(c, *arguments, seconds=120, code=0, text="", also=()):
    """Of `holdfast`."""
    return again(code, text, lambda: c.cli(*arguments, code=None, seconds=seconds), also)


def until(code, text, words, env):
    """Of a script."""
    def run():
        done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600 * PATIENCE)
        assert not BAD_LINE.search(done.stderr), done.stderr
        return done
    return again(code, text, run)


def act(c, *arguments, seconds=120):
    """pause, resume or abort, which may be asked twice: also where nobody knows whether it was done."""
    return told(c, *PATIENT, "migrate", *arguments, seconds=seconds, also=(5,))


def begin(c, target, *more, seconds=180):
    """Starts a job, and follows it unless told not to. One whose answer was lost is found by its id."""
    before = look(c)["id"]
    found = []

    def probe():
        found[:] = [c.cli(*PATIENT, "migrate", "start", "--to", target, "--yes", *more, code=None, seconds=seconds)]
        return found[0].returncode not in (*LATE, 5) or look(c)["id"] != before
    wait_for(lambda: f"a job to {target}: {found}", 60, probe, 0.2)
    if found[0].returncode in (*LATE, 5):
        if "--detach" not in more:
            wait_for(lambda: f"its end: {look(c)}", seconds, lambda: look(c)["phase"] in OVER, 0.1)
        job = look(c)
        assert job["target"] == target and job["phase"] != "stopped", job
        return subprocess.CompletedProcess([], 0, job["phase"] + "\n", "")
    assert found[0].returncode == 0, found
    return found[0]


def until_end_of(c, name, *arguments):
    """Asks until coordinator `name` ends at the crash point that what is asked leads it to."""
    found = []

    def probe():
        if c.pid(name) is not None:
            found[:] = [c.cli("migrate", *arguments, code=None)]
        return c.pid(name) is None
    wait_for(lambda: f"the end of {name} by {arguments}: {found}", 120, probe, 0.1)
