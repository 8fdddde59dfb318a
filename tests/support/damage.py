# damage.py: files of a stopped replica that are made wrong: bytes flipped, zeroed, cut; the frames of a log's segments.
import glob
import os
import struct
import subprocess
import urllib.request

from cluster import PATIENCE, SCRIPT

HEADER = 4096  # of a segment


def flip(at):
    def damage(path):
        size = os.path.getsize(path)
        with open(path, "r+b") as f:
            f.seek(at if at >= 0 else size + at)
            byte = f.read(1)
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte[0] ^ 0x10]))
    return damage


def zero(at, count):
    def damage(path):
        with open(path, "r+b") as f:
            f.seek(at if at >= 0 else os.path.getsize(path) + at)
            f.write(bytes(count))
    return damage


def cut(share):
    return lambda path: os.truncate(path, int(os.path.getsize(path) * share))


def middle(path):
    flip(os.path.getsize(path) // 2)(path)


def newest(folder, pattern):
    return max(glob.glob(os.path.join(folder, pattern)))


def frames(path):
    """(offset, bytes) of each frame of a segment, as far as the headers lead (layout: shard/log/README.md)."""
    with open(path, "rb") as f:
        data = f.read()
    at, found = HEADER, []
    sequence = struct.unpack_from("<Q", data, 24)[0]
    while at + 32 <= len(data):
        length, own = struct.unpack_from("<IQ", data, at + 4)
        if own != sequence or length < 32 or length % 8 or at + length > len(data):
            break
        found.append((at, length))
        at, sequence = at + length, sequence + 1
    return found


def middle_of_log(folder):
    """Flips a byte of a frame that others follow: damage, and no torn tail."""
    path = max(glob.glob(os.path.join(folder, "*-[0-9]*", "seg-*.log")), key=lambda p: (len(frames(p)), p))
    some = frames(path)
    assert len(some) > 2, path
    at, size = some[len(some) // 2]
    flip(at + size - 1)(path)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def edit_lines(path, change):
    """A text file whose last line is the checksum of the lines before it: `change` makes others of those."""
    with open(path, encoding="ascii") as f:
        lines = f.read().splitlines()
    body = "".join(line + "\n" for line in change(lines[:-1]))
    with open(path, "w", encoding="ascii") as f:
        f.write(body + f"crc {crc32c(body.encode()):08x}\n")


def launch(c, name, **env):
    """Starts a replica that need not become ready; returns at once."""
    subprocess.run(["setsid", "-f", SCRIPT, "start", name, "--dir", c.dir], env=dict(c.env, **env), check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def http_get(address, path):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=30 * PATIENCE) as reply:
        return reply.read().decode()
