# wire.py: Holdfast's protocol from Python, for tests: requests byte by byte as a test wants them, over ZeroMQ.
#
# The _pb2 modules are made by protoc from proto/*.proto when they are first needed, in a folder of this process.
import atexit
import importlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

import zmq

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

# common/base/error.h
OK, NOT_FOUND, COMPARE_FAILED, INVALID, LIMIT, NOT_LEADER, BUSY, WRONG_SHARD = 0, -1, -2, -3, -4, -5, -6, -7
NO_ROUTE, UNAVAILABLE, SESSION_UNKNOWN, SESSION_WINDOW, FENCED, PROTOCOL, WRONG_CLUSTER = -8, -9, -12, -13, -14, -15, -16
NOT_READY, NO_SPACE, OUTCOME_UNKNOWN, REFUSED = -26, -29, -11, -17
ABSENT, FUTURE_TIMESTAMP, TOO_OLD, RESTART_ABOVE = -21, -28, -38, -39


def _generate():
    folder = tempfile.mkdtemp(prefix="holdfast-pb2-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    protos = ["proto/" + n for n in os.listdir(os.path.join(ROOT, "proto")) if n.endswith(".proto")]
    subprocess.run(["protoc", "-I", ROOT, "--python_out", folder, *protos], check=True)
    sys.path.insert(0, folder)
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")


def module(name):
    """The messages of proto/<name>.proto."""
    return importlib.import_module(f"proto.{name}_pb2")


_generate()
pb, catalog = module("client"), module("catalog")


class Wire:
    """A DEALER to one client endpoint. Replies are matched by id; what nobody waits for is kept."""

    def __init__(self, endpoint, context=None):
        self.context = context or zmq.Context.instance()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDHWM, 100000)
        self.socket.setsockopt(zmq.RCVHWM, 100000)
        self.socket.connect(endpoint)
        self.endpoint = endpoint
        self.replies = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, request):
        """Sends a pb.Request; gives it an id and the version where it has none. Returns the id."""
        if not request.id:
            request.id = random.getrandbits(63) | 1
        if not request.version:
            request.version = 1
        self.socket.send(request.SerializeToString())
        return request.id

    def receive(self, ids, seconds):
        """Waits until every id of `ids` was answered; returns {id: Reply} of those that were."""
        until = time.monotonic() + seconds
        while not set(ids) <= self.replies.keys():
            left = until - time.monotonic()
            if left <= 0 or not self.socket.poll(left * 1000):
                break
            reply = pb.Reply()
            reply.ParseFromString(self.socket.recv())
            self.replies[reply.id] = reply
        return {i: self.replies.pop(i) for i in ids if i in self.replies}

    def try_ask(self, request, seconds=5.0):
        """One request, its reply; None when there was none in time."""
        got = self.receive([self.send(request)], seconds)
        return next(iter(got.values()), None)

    def ask(self, request, seconds=30.0):
        """One request that must be answered; a process may be kept waiting for the processor meanwhile."""
        reply = self.try_ask(request, seconds)
        if reply is None:
            raise TimeoutError(f"{self.endpoint} did not answer in {seconds} s: {str(request)[:200]}")
        return reply


def request(shard=0, **fields):
    """request(shard, put=(key, value), session=1, seq=2 …): a pb.Request."""
    r = pb.Request(shard=shard)
    for name, value in fields.items():
        if name == "put":
            r.put.key, r.put.value = value
        elif name in ("del", "delete"):
            r.__getattribute__("del").key = value
        elif name == "get":
            r.get.key = value
        elif name == "get_at":
            r.get.key, r.get.at = value
        elif name == "delete_prefix":
            r.delete_prefix.key = value
        elif name == "cas":
            key, expected, new = value
            r.cas.key = key
            r.cas.has_expected = expected is not None
            r.cas.expected = expected or b""
            r.cas.becomes_absent = new is None
            r.cas.value = new or b""
        elif name == "scan":
            r.scan.CopyFrom(pb.Scan(**value))
        elif name in ("status", "routes", "session_open", "timestamp", "cut", "cluster_status", "check"):
            getattr(r, name).SetInParent()
        elif name == "session_fence":
            r.session_fence.session, r.session_fence.seq = value
        elif name == "transfer":
            r.transfer.to = value
            r.transfer.SetInParent()
        else:
            setattr(r, name, value)
    return r
