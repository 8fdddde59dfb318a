# faults.py: disks in trouble, for tests of real processes: system calls that fail or come late (strace), small and read-only
# file systems. Needs root, as CI has; strace does not go together with LeakSanitizer, so it is for the plain build only.
import contextlib
import errno
import glob
import os
import re
import shutil
import signal
import subprocess
import time

from cluster import LOG, wait_for

ROOT = [] if os.geteuid() == 0 else ["sudo"]


class Trap:
    """strace on a running process, or on a command it starts. `fault` is what --inject takes, such as
    fdatasync:error=EIO:when=3; `when` counts per thread. What was seen is in lines()."""

    def __init__(self, out, fault=None, pid=None, command=None, trace=None, thread=False, only=(), env=None):
        self.out, self.starts = out, pid is None
        for path in (out, out + ".said"):
            if os.path.exists(path):
                os.remove(path)
        arguments = [*ROOT, "strace", "-y", "-s", "200", "-ttt", "-T", "-o", out]
        arguments += [] if thread else ["-f"]
        arguments += [] if pid else ["-I", "1"]  # so that it can be ended while its command runs, which then ends too
        arguments += ["-e", "trace=" + trace] if trace else []
        arguments += ["-e", "inject=" + fault] if fault else []
        for path in only:
            arguments += ["-P", path]
        arguments += ["-p", str(pid)] if pid else ["--", *command]
        self.said = open(out + ".said", "w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=self.said, stderr=self.said, env=env)
        if pid:
            wait_for(lambda: f"strace attached: {self.output()}", 60, lambda: "attached" in self.output() or self.gone())
            assert "attached" in self.output(), self.output()  # it may have met its fault, and ended, since

    def gone(self):
        return self.process.poll() is not None

    def output(self):
        """What strace said when it was attached to a process; what a command it runs printed."""
        with open(self.out + ".said", encoding="utf-8", errors="replace") as f:
            return f.read()

    def lines(self):
        """A call a line, also one that another thread's call came between: it stands where it ended."""
        with open(self.out, encoding="utf-8", errors="replace") as f:
            written, _, begun_line = f.read().rpartition("\n")
        written = written.splitlines() + ([begun_line] if begun_line and self.gone() else [])  # else it is being written
        begun, whole = {}, []
        for line in written:
            thread = line.split(" ", 1)[0]
            rest = re.search(r"<\.\.\. \w+ resumed>(.*)$", line)
            if line.endswith("<unfinished ...>"):
                begun[thread] = line[:-len(" <unfinished ...>")]
            elif rest and thread in begun:
                whole.append(begun.pop(thread) + rest.group(1))
            else:
                whole.append(line)
        return whole + list(begun.values())  # such as a call that ended the process

    def hits(self):
        return [line for line in self.lines() if "(INJECTED)" in line or "(DELAYED)" in line]

    def await_hit(self, seconds=120):
        wait_for("the fault to be met", seconds, self.hits)
        return self.hits()[0]

    def exit_code(self):
        """Of the process looked at, once it has ended; -N for signal N."""
        wait_for("the end of strace", 90, self.gone)
        found = re.findall(r"\+\+\+ exited with (\d+) \+\+\+", "\n".join(self.lines()))
        if found:
            return int(found[-1])
        found = re.findall(r"\+\+\+ killed by (\w+)", "\n".join(self.lines()))
        assert found, self.lines()[-3:]
        return -1

    def detach(self):
        """Ends strace; a process it was attached to goes on, one that it started is killed."""
        if not self.gone():
            started = children_of(self.process.pid) if self.starts else []
            self.process.terminate()
            for pid in started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.said.close()


def children_of(pid):
    """What it started and what those started: a line of strace names a thread, which may have ended long ago."""
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as f:
            for child in map(int, f.read().split()):
                found += [child, *children_of(child)]
    return found


def seconds_of(line):
    """When a line of strace -f -ttt was written."""
    return float(re.search(r"(?:^|\s)(\d{9,}\.\d+) ", line).group(1))


def segment_in_use(directory):
    """The newest segment of the replica in `directory`."""
    return max(glob.glob(os.path.join(directory, LOG, "seg-*.log")))


def next_tables(folder):
    """What RocksDB will call the files it makes next: so many that a busy replica has not made them all when strace is there."""
    last = max(int(n[:6]) for n in os.listdir(folder) if n[:6].isdigit())
    return [os.path.join(folder, f"{n:06d}.sst") for n in range(last + 1, last + 601)]


def command_of(pid):
    """How a shard's process was started, to start it again: without --engine, which only a fresh directory takes."""
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        command = [a.decode() for a in f.read().split(b"\0")[:-1]]
    if "--engine" in command:
        at = command.index("--engine")
        del command[at:at + 2]
    return command


def complaints(said):
    """The lines of a process's output that are more than information."""
    return [line for line in said.splitlines() if line.strip() and " INFO " not in line]


@contextlib.contextmanager
def moved_to(c, path, disk):
    """Mounts `disk` over `path`, the directory of a stopped replica or a part of it, with what was in it. At the end the
    content comes back, for which every replica of `c` is killed."""
    aside = path + ".aside"
    shutil.copytree(path, aside)
    disk.mount(path)
    try:
        shutil.copytree(aside, path, dirs_exist_ok=True)
        shutil.rmtree(aside)
        os.sync()  # as the replica that wrote it had done
        yield path
    finally:
        for name in c.names():
            c.signal_if_running(name, signal.SIGKILL)  # a full or failing disk ends it as well
        c.await_end(*c.names())
        shutil.copytree(path, aside, dirs_exist_ok=True)
        disk.unmount()
        shutil.rmtree(path)
        shutil.move(aside, path)


class Tmpfs:
    def __init__(self, megabytes):
        self.megabytes = megabytes

    def mount(self, path):
        subprocess.run([*ROOT, "mount", "-t", "tmpfs", "-o", f"size={self.megabytes}m,mode=1777", "tmpfs", path], check=True)
        self.path = path

    def unmount(self):
        subprocess.run([*ROOT, "umount", self.path], check=True)


def small_disk(c, path, megabytes):
    return moved_to(c, path, Tmpfs(megabytes))


class Filler:
    """A file that takes all room there is in a directory."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "filler")

    def fill(self):
        """Takes what is left, to the last byte; again, if some room was given back meanwhile."""
        with open(self.path, "ab") as f:
            for piece in (1 << 20, 4096, 1):
                try:
                    while os.write(f.fileno(), b"0" * piece) == piece:
                        pass
                except OSError:
                    pass
        return self

    def fill_up(self):
        """As fill, and what was removed before is taken, too: ext4 gives it back when its journal is written."""
        self.fill()
        with open(self.path, "rb") as f:
            os.fsync(f.fileno())
        return self.fill()

    def free(self):
        os.remove(self.path)


class Ext4:
    """A file system of its own on a loop device, which can be made to fail as the kernel does when it meets an error:
    from one moment to the next it is read-only, also for files that are open."""

    def __init__(self, image, megabytes=96):
        self.image = image
        with open(image, "wb") as f:
            f.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)

    def mount(self, path):
        subprocess.run([*ROOT, "mount", "-o", "loop,errors=remount-ro", self.image, path], check=True)
        self.path = path

    def unmount(self):
        subprocess.run([*ROOT, "umount", self.path], check=True)

    def fail(self):
        device = subprocess.run(["findmnt", "-n", "-o", "SOURCE", self.path], check=True, capture_output=True,
                                text=True).stdout.strip()
        switch = f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error"
        subprocess.run([*ROOT, "sh", "-c", f"echo broken >{switch}"], check=True)
        wait_for("the file system to be read-only", 10, self.read_only)

    def read_only(self):
        try:
            with open(os.path.join(self.path, "probe"), "wb"):
                return False
        except OSError as error:
            return error.errno == errno.EROFS

    def repair(self):
        """To be called while it is not mounted."""
        done = subprocess.run([*ROOT, "e2fsck", "-p", "-f", self.image], capture_output=True, text=True)
        assert done.returncode <= 1, done.stdout


def pause(seconds):
    """For what can only be waited for: a thing that must not happen."""
    time.sleep(seconds)
