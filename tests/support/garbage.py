# garbage.py: any bytes for live sockets: requests changed at random, frames sent raw, and what a process counts of them.
import re
import urllib.request

import wire
import zmq
from cluster import PATIENCE

pb = wire.pb


def metric(address, name):
    """The sum of a metric's samples, over all labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10 * PATIENCE) as f:
        text = f.read().decode()
    return sum(float(v) for v in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.M))


def drops(address, reason):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10 * PATIENCE) as f:
        found = re.search(rf'^holdfast_raft_messages_dropped_total{{reason="{reason}"}} (\d+)$', f.read().decode(), re.M)
    return int(found.group(1))


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def mutated(rng, body):
    """`body` with some bytes changed, cut, doubled or put in, or nothing of it."""
    out = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        how = rng.randrange(6)
        if how == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif how == 1 and at < len(out):
            out[at] = rng.choice((0, 1, 0x7f, 0x80, 0xff))
        elif how == 2:
            del out[at:at + rng.randrange(1, 9)]
        elif how == 3:
            out[at:at] = rng.randbytes(rng.randrange(1, 12))
        elif how == 4:
            out[at:at] = out[rng.randrange(len(out) + 1):][:rng.randrange(1, 40)]
        else:
            out[at:at] = b"\xff" * 9 + b"\x01"  # a varint of 64 bits
    return bytes(out) if rng.randrange(50) else rng.randbytes(rng.randrange(300))


def port_of(endpoint):
    return int(endpoint.rpartition(":")[2])


class Sender:
    """A DEALER that sends raw frames and counts what comes back."""

    def __init__(self, endpoint, identity=None, kind=zmq.DEALER):
        self.socket = zmq.Context.instance().socket(kind)
        self.socket.setsockopt(zmq.LINGER, 3000)  # what was sent goes out
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.SNDTIMEO, int(20000 * PATIENCE))
        if identity:
            self.socket.setsockopt(zmq.ROUTING_ID, identity)
        self.socket.connect(endpoint)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *frames):
        self.socket.send_multipart(frames)

    def drain(self):
        while self.socket.poll(0):
            self.socket.recv_multipart()

    def replies(self, wait_ms=0):
        got = []
        while self.socket.poll(wait_ms):
            got.append(pb.Reply.FromString(self.socket.recv()))
        return got

    def reply(self, seconds=30):
        """The next one."""
        assert self.socket.poll(seconds * 1000 * PATIENCE), f"no reply in {seconds * PATIENCE:.0f} s"
        return pb.Reply.FromString(self.socket.recv())
