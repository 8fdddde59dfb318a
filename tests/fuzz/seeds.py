#!/usr/bin/env python3
# seeds.py: first inputs for the fuzz targets, one of each kind of message and file: `seeds.py DIR` writes DIR/<target>/seed-*.
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import wire  # noqa: E402
from wire import catalog, pb  # noqa: E402

entry, raft, snapshot = wire.module("entry"), wire.module("raft"), wire.module("snapshot")
GOLDEN = os.path.join(wire.ROOT, "tests", "golden", "log", "1")
ENDPOINT = "tcp://127.0.0.1:7411"


def members(count=3):
    return catalog.Members(index=1, members=[
        catalog.Member(replica=i + 1, incarnation=i + 10, raft_endpoint=ENDPOINT, client_endpoint=ENDPOINT)
        for i in range(count)])


def routes():
    bounds = [b"", b"g", b"p", b""]
    return catalog.Routes(version=2, cluster=7, routes=[
        catalog.Route(range=catalog.Range(start=bounds[i], end=bounds[i + 1], catalog=i == 0), shard=i + 1)
        for i in range(3)], shards=[catalog.Shard(shard=i + 1, members=members().members, leader=1) for i in range(3)])


def requests():
    def one(**fields):
        r = wire.request(fields.pop("shard", 0), **fields)
        r.version, r.id = 1, 5
        return r
    yield one(put=(b"apple", b"value"))
    yield one(put=(b"zebra", b"v" * 100), session=3, seq=2, done_below=1, shard=3)
    yield one(delete=b"kiwi")
    yield one(cas=(b"k", b"old", b"new"))
    yield one(cas=(b"k", None, None))
    yield one(delete_prefix=b"ap")
    yield one(get=b"pear", deadline_ms=100)
    yield one(scan=dict(start=b"a", end=b"z", limit=10))
    yield one(scan=dict(start=b"", end=b"h", reverse=True, keys_only=True))
    yield one(session_open=True, shard=1)
    yield one(session_fence=(3, 4), shard=2)
    for name in ("status", "routes", "cluster_status", "timestamp"):
        yield one(**{name: True})
    yield one(transfer=2, shard=1)
    r = one(shard=1)
    r.lease.ceiling, r.lease.timestamp = 2 << 40, 1 << 40
    yield r
    r = one(shard=1)
    r.beat.issued, r.beat.route_version = 1 << 40, 2
    r.beat.routes.CopyFrom(routes())
    yield r
    r = one(shard=1)
    r.bootstrap.CopyFrom(catalog.Bootstrap(cluster=7, shard=1, replica=1, incarnation=10, members=members(),
                                           range=catalog.Range(catalog=True), heartbeat_ms=100, election_ms=500))
    yield r


def replies():
    def one(**fields):
        return pb.Reply(version=1, id=1, **fields)
    version = pb.Version(t=1 << 40, seq=3)
    yield one(routes=routes(), route_version=2)
    yield one(status=pb.Status(cluster=7, shard=1, replica=1, role="leader", state="ready", term=3, leader=1))
    yield one(session=9)
    yield one(written=version)
    yield one(value=b"value", found=version)
    yield one(items=[pb.Item(key=b"a", value=b"1", version=version), pb.Item(key=b"b")], more=True, next=b"b\0")
    for code, cls in ((-1, 5), (-2, 5), (-5, 2), (-7, 3), (-11, 4), (-12, 5), (-26, 1), (-6, 1), (-14, 5)):
        yield one(code=code, class_=cls, message="why", leader=2, leader_endpoint=ENDPOINT)
    yield one(code=-7, class_=3, routes=routes(), route_version=2)


def envelopes():
    def one(**fields):
        return raft.Envelope(version=1, cluster=7, group=1, log_epoch=1, engine="native", to=1, raft=raft.Raft(**fields),
                             **{"from": 2, "from_incarnation": 11, "to_incarnation": 10})
    put = entry.CommandBatch(timestamp=9, sequence=1, commands=[entry.Command(op=1, key=b"k", value=b"v")])
    command = raft.Entry(term=2, kind=1, data=b"\x01" + put.SerializeToString())
    config = raft.Entry(term=2, kind=2, data=members(4).SerializeToString())
    yield one(kind=1, term=2, index=1, log_term=1)
    yield one(kind=3, term=2, index=1, log_term=1, transfer=True)
    yield one(kind=5, term=2, index=1, log_term=1, commit=1, round=1)
    yield one(kind=5, term=2, index=1, log_term=1, commit=2, entries=[command])
    yield one(kind=5, term=2, index=1, log_term=1, commit=3, entries=[raft.Entry(term=2), config, command])
    yield one(kind=5, term=3, index=2, log_term=2, commit=4, entries=[raft.Entry(term=3), command])
    for kind in (2, 4, 6, 7, 8, 9):
        yield one(kind=kind, term=2, index=1, log_term=1, round=1)
    yield one(kind=6, term=2, index=1, log_term=1, reject=True)


def entries():
    commands = [entry.Command(op=1, key=b"apple", value=b"1", ttl_ms=10), entry.Command(op=2, key=b"kiwi"),
                entry.Command(op=3, key=b"apple", has_expected=True, expected=b"1", value=b"2"),
                entry.Command(op=4, key=b"a"), entry.Command(op=1, space=1, key=b"routes", value=b"x"),
                entry.Command(op=1, key=b"s", value=b"1", session=2, seq=1)]
    yield b"\0" + entry.CommandBatch(timestamp=5, sequence=1, commands=commands).SerializeToString()
    yield b"\1" + entry.LeaseEntry(ceiling=1 << 40, timestamp=1 << 39).SerializeToString()
    yield b"\2" + entry.SessionEntry(timestamp=5).SerializeToString()
    yield b"\2" + entry.SessionEntry(timestamp=5, fence_session=2, fence_seq=1).SerializeToString()
    made = entry.Txn(id=entry.TxnId(home=7, session=1, seq=1), start=1 << 40,
                     writes=[entry.TxnWrite(op=1, key=b"apple", value=b"2"), entry.TxnWrite(op=4, key=b"k")])
    for ops in (6,), (5, 9), (7, 8):
        yield b"\0" + entry.CommandBatch(timestamp=5, sequence=1, commands=[
            entry.Command(op=op, txn=made) for op in ops]).SerializeToString()
    yield b"\4" + entry.CollectEntry(below=1 << 40, steps=3).SerializeToString()
    for step in 1, 2, 3:
        yield b"\xff" + entry.MigrateEntry(step=step, id=5, epoch=1, source="native", target="libraft",
                                          configuration=1).SerializeToString()


def transfers():
    def ask(**fields):
        return snapshot.Request(version=1, cluster=7, group=1, log_epoch=1, to=1, from_incarnation=11, attempt=5, number=2,
                                **{"from": 2}, **fields)

    def answer(**fields):
        return snapshot.Reply(version=1, cluster=7, group=1, attempt=5, stream=6, **{"from": 2}, **fields)
    yield ask(fetch=snapshot.Fetch(until=1 << 22))
    yield ask(stream=6, fetch=snapshot.Fetch(offset=1 << 18, until=1 << 22, min_index=9))
    yield ask(stream=6, credit=snapshot.Credit(offset=1 << 20, until=1 << 23))
    yield ask(stream=6, end=snapshot.End(code=-25))
    yield answer(chunk=snapshot.Chunk(offset=1 << 18, data=b"some bytes", total=1 << 23, last=True))
    yield answer(waiting=snapshot.Waiting())
    yield answer(refusal=snapshot.Refusal(code=-6, message="busy"))
    yield answer(ended=snapshot.Ended())


def golden(name):
    with open(os.path.join(GOLDEN, name), "rb") as f:
        return f.read()


def framed(head, bodies):
    return b"".join(head + struct.pack("<H", len(b)) + b for b in bodies)


CLUSTER_FILE = b"""cluster
    heartbeat_ms = "100"
    election_ms = "500"
shard
    id = "1"
    start = ""
    end = "m\\x00"
    catalog = "1"
    replica
        id = "1"
        role = "voter"
        raft = "tcp://127.0.0.1:7411"
        client = "tcp://127.0.0.1:7412"
shard
    id = "2"
    start = "m\\x00"
    end = ""
    replica
        id = "1"
        role = "voter"
        raft = "ipc:///tmp/a"
        client = "tcp://127.0.0.1:7414"
"""


def front():
    asked = [r.SerializeToString() for r in requests()]
    told = [r.SerializeToString() for r in replies()]
    for i, q in enumerate(asked):
        if len(q) > 1000:
            continue
        pad = -len(q) % 4  # a field of its own length that nobody knows fills it up
        padded = q + (b"" if pad == 0 else {1: b"", 2: b"\xf8\x07", 3: b"\xf8\x07\x01"}.get(pad, b""))
        if len(padded) % 4:
            continue
        r = told[i % len(told)]
        if len(r) % 4 or len(r) > 200:
            r = pb.Reply(version=1, code=-5, class_=2).SerializeToString().ljust(4)[:4]
        yield bytes([0, len(padded) // 4]) + padded + bytes([1 + 5 * (len(r) // 4), 0]) + r + bytes([2, 20])


def inputs():
    peers = members().SerializeToString()
    oracle = catalog.Oracle(epoch=3, coordinator=2, endpoint=ENDPOINT, ceiling=(1 << 40) << 16, beat=5).SerializeToString()
    identity = golden("identity")
    yield "fuzz_request", [r.SerializeToString() for r in requests()]
    yield "fuzz_front", list(front())
    happy = [r.SerializeToString() for r in replies()]
    yield "fuzz_reply", [bytes([routed]) + framed(b"\0", [happy[0]] * 2 + [happy[i]] * 3 + happy)
                         for routed in (0, 1) for i in range(1, len(happy))]
    yield "fuzz_routes", [b"\0" + routes().SerializeToString(), b"\1" + oracle, b"\2" + peers]
    sent = [e.SerializeToString() for e in envelopes()]
    yield "fuzz_raft", [framed(b"\x80", sent), framed(b"\x81", sent[::-1])] + [framed(b"\x80", [e]) for e in sent]
    yield "fuzz_transfer", [m.SerializeToString() for m in transfers()]
    made = list(entries())
    yield "fuzz_entry", [framed(b"", made * 2)] + [framed(b"", [e]) for e in made]
    yield "fuzz_rows", [b"\0d\0apple\0\1" + b"\xff" * 16, b"\1\2" + b"\0" * 8 + b"value", b"\2\1\5\1\2\0\0\0\0\0\3\2\2",
                        b"\3\x42\x16p\0ab\0\1" + b"\xfe" * 16, b"\3\x80\7\0\1\5\1\0", b"\3\2" + peers,
                        b"\3\4\1" + struct.pack("<III", 1, 100, 500), b"\3\3" + catalog.Range(end=b"m").SerializeToString()]
    yield "fuzz_log", [struct.pack("<BHB", 1 + i % 5 | fix, at, 8) + struct.pack("<Q", value)
                       for i in range(5) for fix in (0, 16) for at in (4, 16, 24, 40, 4096, 4100, 4104, 4128, 4136, 4160)
                       for value in (0, 1, 1 << 62)]
    yield "fuzz_files", [b"\0" + identity, b"\x81" + identity[:-13], b"\1" + golden("peers"), b"\x82" + peers,
                         b"\2" + golden("hardstate"), b"\x83" + struct.pack("<IIQQQQ", 1, 0, 2, 3, 1, 5) * 2]
    streams = [golden(os.path.join("..", "..", "snapshot", "1", "stream-" + kind)) for kind in ("headerless", "v1", "v2", "v2-room")]
    token = golden(os.path.join("..", "..", "snapshot", "1", "snapshots", "token"))
    install = golden(os.path.join("..", "..", "snapshot", "1", "INSTALL"))
    yield "fuzz_stream", [bytes([fix, cuts]) + s for s in streams for fix, cuts in ((0, 0), (0x81, 7))] + \
        [b"\1" + token, b"\x82" + token[:-13]] + [bytes([2, where]) + install for where in range(3)] + [b"\x80\1" + install[:-13]]
    yield "fuzz_config", [b"\0" + CLUSTER_FILE, b"\1text = \"a\"\nnumber = \"7\"\nsome-bytes = \"4KiB\"\nflag = \"true\"\n"]
    yield "fuzz_text", [b"key\tva\\x00lue\\t\\n\\\\\n", b"12 3456 7\n", "é\ud7ff\U0001f600".encode(), b"\xed\xa0\x80\xff\\x4", b"00ff7F"]
    yield "fuzz_http", [b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % p for p in (b"metrics", b"readyz", b"healthz", b"x?y=%20")] + \
        [b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"HEAD /metrics HTTP/1.0\r\n\r\n",
         b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
    text = identity[:-13]
    yield "fuzz_inspect", [bytes([json]) + struct.pack("<H", len(text)) + text + peers for json in (0, 1)]


def main():
    for target, some in inputs():
        folder = os.path.join(sys.argv[1], target)
        os.makedirs(folder, exist_ok=True)
        for i, body in enumerate(some):
            with open(os.path.join(folder, f"seed-{i:03d}"), "wb") as f:
                f.write(body)


if __name__ == "__main__":
    main()
