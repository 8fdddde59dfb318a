# zmtp.py: ZeroMQ's wire protocol by hand, for tests that break it on purpose, and a tap on loopback that records frames.
#
# ZMTP 3.0: a greeting of 64 bytes, a READY command, then frames: flags (1 more, 2 long, 4 command), size, body.
import socket
import struct
import threading

GREETING = b"\xff" + b"\0" * 8 + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + b"\0" * 31


def frame(body, more=False, command=False, size=None):
    """`size`: what the frame claims to have."""
    size = len(body) if size is None else size
    flags = (1 if more else 0) | (4 if command else 0)
    head = struct.pack(">BQ", flags | 2, size) if size > 255 else struct.pack(">BB", flags, size)
    return head + body


def ready(socket_type=b"DEALER", **more):
    properties = {b"Socket-Type": socket_type, **{k.encode(): v for k, v in more.items()}}
    body = b"\x05READY" + b"".join(bytes([len(k)]) + k + struct.pack(">I", len(v)) + v for k, v in properties.items())
    return frame(body, command=True)


def connect(port, timeout=30.0):  # a process that is kept waiting lets the kernel's queue of connections fill up
    return socket.create_connection(("127.0.0.1", port), timeout=timeout)


def say(port, *parts, wait=False):
    """Connects, sends the parts, hangs up; with `wait` only when the other side did, or after a moment of silence."""
    with connect(port) as s:
        try:
            for part in parts:
                s.sendall(part)
            s.settimeout(0.05)
            while wait and s.recv(65536):
                pass
        except OSError:  # hung up on, or nothing more to hear: both are fine
            pass


def talk(port, *frames, socket_type=b"DEALER"):
    """A whole handshake, then frames as they are given."""
    say(port, GREETING, ready(socket_type), *frames, wait=True)


def _frames(payload):
    """The bodies of `payload` if it is whole frames and nothing else; else None."""
    bodies = []
    while payload:
        if payload[0] > 7 or len(payload) < 2:
            return None
        long = payload[0] & 2
        head = 9 if long else 2
        if len(payload) < head:
            return None
        size = struct.unpack(">Q", payload[1:9])[0] if long else payload[1]
        if size > len(payload) - head:
            return None
        if not payload[0] & 4:
            bodies.append(payload[head:head + size])
        payload = payload[head + size:]
    return bodies


class Tap:
    """Records the frames that go to a port of loopback and fit into a segment each: a packet socket, so root."""

    def __init__(self, port, most=5000):
        self.port, self.most, self.bodies, self.ended = port, most, [], False
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        self.socket.bind(("lo", 0))
        self.socket.settimeout(0.1)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.ended and len(self.bodies) < self.most:
            try:
                packet = self.socket.recv(70000)
            except TimeoutError:
                continue
            if packet[12:14] != b"\x08\x00" or packet[23] != 6:
                continue
            tcp = 14 + (packet[14] & 15) * 4
            if struct.unpack(">H", packet[tcp + 2:tcp + 4])[0] != self.port:
                continue
            total = struct.unpack(">H", packet[16:18])[0]
            self.bodies += _frames(packet[tcp + (packet[tcp + 12] >> 4) * 4:14 + total]) or []

    def stop(self):
        self.ended = True
        self.thread.join()
        self.socket.close()
        return self.bodies
