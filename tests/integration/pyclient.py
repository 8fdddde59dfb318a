# pyclient.py: a client of Holdfast written from docs/protocol/client.md and proto/client.proto alone; § is a section there.
#
# Direct, one request at a time; one Client a thread. `pb` is the module that protoc makes of proto/client.proto.
import random
import time

import zmq

NONE, RETRY_SAME, RETRY_ELSEWHERE, REFRESH_ROUTE, OUTCOME_UNKNOWN, GIVE_UP = range(6)  # §7
OK, NOT_FOUND, COMPARE_FAILED, SESSION_UNKNOWN, FENCED = 0, -1, -2, -12, -14           # §8


class NotDone(Exception):  # surely (§5); the reply, if there was one
    pass


class Unknown(Exception):  # §5; (shard, session, seq) for a fence
    pass


class Client:
    def __init__(self, pb, coordinators):
        self.pb, self.coordinators, self.context = pb, coordinators, zmq.Context()
        self.sockets, self.poller, self.routes = {}, zmq.Poller(), None
        self.leaders, self.sessions = {}, {}  # by shard: endpoint; [session, last seq]
        self.next_id = random.getrandbits(40) << 20

    def close(self):
        self.context.destroy(linger=0)

    def send(self, endpoint, fill, seconds, **fields):
        """The attempt's id, or None: surely not sent (§1)."""
        if endpoint not in self.sockets:
            s = self.sockets[endpoint] = self.context.socket(zmq.DEALER)
            s.linger, s.immediate, s.maxmsgsize = 0, 1, 17 << 20
            s.connect(endpoint)
            self.poller.register(s, zmq.POLLIN)
        self.next_id += 1
        q = self.pb.Request(version=1, id=self.next_id, deadline_ms=max(1, int(seconds * 1000)), **fields)
        if self.routes:
            q.cluster, q.route_version = self.routes.cluster, self.routes.version
        fill(q)
        try:
            self.sockets[endpoint].send(q.SerializeToString(), zmq.DONTWAIT)
            return q.id
        except zmq.Again:
            return None

    def receive(self, ids, until):
        """The next reply to one of `ids`, or None. Others are late answers that nobody waits for."""
        while (left := until - time.monotonic()) > 0:
            for s, _ in self.poller.poll(left * 1000):
                reply = self.pb.Reply.FromString(s.recv())
                if reply.version == 1 and reply.id in ids:
                    return reply
        return None

    def ask_all(self, endpoints, fill, good, until):
        """Asks all of them about every 25 ms until good(reply, endpoint) of one is something (§4)."""
        while time.monotonic() < until:
            ids = {self.send(e, fill, 0.2): e for e in endpoints}
            step = min(until, time.monotonic() + 0.025)
            while reply := self.receive(ids, step):
                found = good(reply, ids[reply.id]) if reply.code == OK else None
                if found:
                    return found
        return None

    def adopt(self, routes):
        if not self.routes or (routes.version > self.routes.version and routes.cluster == self.routes.cluster):
            self.routes = routes
        return self.routes

    def route(self, key, until):
        if not self.routes and not self.ask_all(self.coordinators, lambda q: q.routes.SetInParent(),
                                                lambda r, _: self.adopt(r.routes), until):
            raise NotDone("no coordinator told the routes")
        return [r for r in self.routes.routes if r.range.start <= key][-1]

    def leader(self, shard, until):
        if shard not in self.leaders:
            members = next(s.members for s in self.routes.shards if s.shard == shard)
            self.leaders[shard] = self.ask_all(
                [m.client_endpoint for m in members], lambda q: q.status.SetInParent(),
                lambda r, e: e if r.status.shard == shard and r.status.role == "leader" else None, until)
        return self.leaders[shard] or self.leaders.pop(shard)

    def call(self, key, fill, write=False, seconds=10.0, shard=None, again=True):
        """One request through all its attempts (§5, §6, §7). `again` False: a write without a session."""
        until, wait, pause, hops = time.monotonic() + seconds, 0.3, 0.01, 0
        open_ids, session, refusal = set(), None, "deadline"
        while (now := time.monotonic()) < until:
            route = self.route(key, until)
            at = shard or route.shard
            if write and again and session is None:
                session = self.take_seq(at, until)
            endpoint = self.leader(at, until)
            fields = dict(zip(("session", "seq", "done_below"), session + session[1:])) if session else {}
            attempt = endpoint and self.send(endpoint, fill, until - now, shard=at, **fields)
            if not attempt:
                self.leaders.pop(at, None)
                time.sleep(0.005)
                continue
            open_ids.add(attempt)
            reply = self.receive(open_ids, min(until, time.monotonic() + wait))
            if reply is None:
                wait = min(2 * wait, 2.0)
                self.leaders.pop(at, None)  # silence: perhaps another leads
                if write and not again:
                    break
                continue
            if reply.class_ != OUTCOME_UNKNOWN:
                open_ids.discard(reply.id)
            refusal = f"{reply.code} {reply.message}"
            if reply.code in (OK, COMPARE_FAILED, FENCED) or (reply.code == NOT_FOUND and not write):
                return reply
            maybe = write and open_ids  # rule 3
            if reply.class_ in (REFRESH_ROUTE, GIVE_UP) and maybe or reply.class_ == OUTCOME_UNKNOWN and not again:
                break
            if reply.code == SESSION_UNKNOWN and session:
                self.sessions.pop(at, None)
                session = None  # another one for the next attempt
            elif reply.class_ == GIVE_UP:
                raise NotDone(refusal)
            elif reply.class_ == REFRESH_ROUTE:
                self.routes = self.adopt(reply.routes) if reply.HasField("routes") else None
                session = None
            if reply.class_ == RETRY_ELSEWHERE:
                self.leaders.pop(at, None)
                hops += 1
                if reply.leader_endpoint and hops <= 4:
                    self.leaders[at] = reply.leader_endpoint
                    continue
            time.sleep(random.uniform(pause / 2, pause))
            pause, hops = min(2 * pause, 0.1), 0
        if write and open_ids:
            raise Unknown(at, *(session or (0, 0)))
        raise NotDone(refusal)

    def take_seq(self, shard, until):
        if shard not in self.sessions:
            opened = self.call(b"", lambda q: q.session_open.SetInParent(), False, until - time.monotonic(), shard)
            self.sessions[shard] = [opened.session, 0]
        self.sessions[shard][1] += 1  # one at a time: whatever came before is answered or given up, so done_below = seq
        return tuple(self.sessions[shard])

    def put(self, key, value, ttl_ms=0, **how):
        return self.call(key, lambda q: q.put.MergeFrom(self.pb.Put(key=key, value=value, ttl_ms=ttl_ms)), True, **how)

    def delete(self, key, **how):
        return self.call(key, lambda q: q.__getattribute__("del").MergeFrom(self.pb.Key(key=key)), True, **how)

    def cas(self, key, expected, value, **how):
        """True: it held `expected` (None: absent) and holds `value` (None: is deleted) now. False: it did not hold it."""
        cas = self.pb.Cas(key=key, has_expected=expected is not None, expected=expected or b"",
                          becomes_absent=value is None, value=value or b"")
        return self.call(key, lambda q: q.cas.MergeFrom(cas), True, **how).code == OK

    def get(self, key, **how):
        """The value, or None."""
        reply = self.call(key, lambda q: q.get.MergeFrom(self.pb.Get(key=key)), **how)
        return reply.value if reply.code == OK else None

    def scan(self, start=b"", end=b"", limit=0, reverse=False, seconds=10.0):
        """Pages of [start, end), each a list of items at one moment, over all shards (§9)."""
        while not end or start < end:
            until = time.monotonic() + seconds
            self.route(start, until)
            routes = [r for r in self.routes.routes if (r.range.start < end or not end if reverse else r.range.start <= start)]
            r = routes[-1].range
            low, high = max(start, r.start), min(end or r.end, r.end or end)  # empty: no end
            page = self.pb.Scan(start=low, end=high, limit=limit, reverse=reverse)
            reply = self.call(low, lambda q: q.scan.MergeFrom(page), seconds=seconds)
            yield list(reply.items)
            edge = reply.next if reply.more else low if reverse else high
            if not reply.more and edge == (start if reverse else end):
                return
            start, end = (start, edge) if reverse else (edge, end)

    def fence(self, shard, session, seq, seconds=10.0):
        """What became of an unknown write (§6): its code, FENCED: never done."""
        fence = self.pb.SessionFence(session=session, seq=seq)
        return self.call(b"", lambda q: q.session_fence.MergeFrom(fence), seconds=seconds, shard=shard).outcome
