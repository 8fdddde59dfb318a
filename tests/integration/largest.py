#!/usr/bin/env python3
# largest.py: what is accepted at its largest is carried, logged, applied and read back by everybody, also after a restart.
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import wire  # noqa: E402
from cluster import PATIENCE, ClusterTest  # noqa: E402
from wire import request  # noqa: E402

KEY, VALUE = 16 << 10, 8 << 20  # common/base/limits.h


class Largest(ClusterTest):
    def test_the_largest_of_everything_survives_a_restart(self):
        """One limit for client, coordinator, proposal, log and its reading: nothing is taken that cannot be read back."""
        # not about time: a busy disk that takes 16 MiB slowly must not cost the leader its lead
        c = self.cluster(shards=1, env={"HOLDFAST_HEARTBEAT_MS": "500", "HOLDFAST_ELECTION_MS": "5000"},
                         sets=["replay-budget=1GiB"]).up()  # nor is it about waiting for flushes
        old, new, key = os.urandom(VALUE), os.urandom(VALUE), b"k" * KEY
        kept = {}
        with c.wire(c.leader(1)) as w:
            def ask(**fields):
                reply = w.ask(request(1, deadline_ms=60000, **fields), 60 * PATIENCE)
                self.assertEqual(reply.code, wire.OK, reply.message)
            ask(put=(key, old))
            ask(put=(b"swap", old))
            ask(cas=(b"swap", old, new))  # both values in one request and one entry
            ask(put=(b"\0" * KEY, b""))   # every byte of the key takes two in the store
            ask(delete_prefix=b"\xff" * KEY)
            ids = [w.send(request(1, put=(b"many%d" % i, new[:VALUE // 4]), deadline_ms=60000)) for i in range(12)]
            got = w.receive(ids, 60 * PATIENCE)  # at once: cut into entries and messages
            self.assertEqual([got[i].code for i in ids], [wire.OK] * len(ids))
            kept = {key: old, b"swap": new, b"\0" * KEY: b"", **{b"many%d" % i: new[:VALUE // 4] for i in range(12)}}
        with wire.Wire(c.processes["coordinator/1"]["client"]) as w:
            reply = w.ask(request(put=(b"routed", new), deadline_ms=60000), 60 * PATIENCE)
            self.assertEqual(reply.code, wire.OK, reply.message)
            kept[b"routed"] = new
        for restarted in (False, True):
            c.digests_agree(1, seconds=60)
            with c.at_leader(1) as w:
                for k, v in kept.items():
                    reply = w.ask(request(1, get=k, deadline_ms=20000), 60)
                    self.assertEqual((reply.code, len(reply.value), reply.value == v), (wire.OK, len(v), True), k[:10])
                reply = w.ask(request(1, scan=dict(start=b"k", end=b"n"), deadline_ms=20000), 60)
                self.assertEqual([len(i.value) for i in reply.items], [VALUE], "a page has at least one item")
                self.assertTrue(reply.more)
            if not restarted:
                c.kill(*c.names())
                c.start_in_background(*c.names())


if __name__ == "__main__":
    unittest.main(verbosity=2)
