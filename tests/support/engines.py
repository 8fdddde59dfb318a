# engines.py: which engine each replica of a cluster runs, by its own word and by its directory: no shard may be half here, half there.
import os
import re
import time

OTHER = {"native": "libraft", "libraft": "native"}
LOG = re.compile(r"^(native|libraft)-\d+$")
LEFT_OVER = re.compile(r"^MIGRATION$|\.tmp$")
PREPARED, SEALED = 1, 2


def word_of(c, name):
    """Its status; None: it does not answer, not even late."""
    return c.status_of(name) or c.status_of(name, 30)


def stand(c):
    """{shard: (engine, log epoch)} as the leaders say."""
    found = {shard: c.answer_of(c.leader(shard)) for shard in range(1, c.shape["shards"] + 1)}
    return {shard: (s.engine, s.log_epoch) for shard, s in found.items()}


def changed(before):
    """`before` after one change of all shards."""
    return {shard: (OTHER[engine], epoch + 1) for shard, (engine, epoch) in before.items()}


def logs(engine, epoch):
    """The names of all logs that a replica of this one had: it changed back and forth."""
    return [f"{engine if (epoch - e) % 2 == 0 else OTHER[engine]}-{e}" for e in range(1, epoch + 1)]


def directory_faults(name, directory, engine, epoch):
    *left, live = logs(engine, epoch)
    held, faults = sorted(os.listdir(directory)), []
    archive = os.path.join(directory, "archive")
    archived = sorted(os.listdir(archive)) if os.path.isdir(archive) else []
    if [n for n in held if LOG.match(n)] != [live]:
        faults.append(f"{name}: holds {[n for n in held if LOG.match(n)]}, not {live} alone")
    if archived != sorted(left):
        faults.append(f"{name}: its archive holds {archived}, not {sorted(left)}")
    return faults + [f"{name}: {n} was left" for n in held if LEFT_OVER.search(n)]


def seal_faults(shard, said, epoch):
    """All tell of one seal, behind which they are; {name: status}."""
    seals = {n: (s.migration.state, s.migration.id, s.migration.epoch, s.migration.index, s.migration.term,
                 bytes(s.migration.digest)) for n, s in said.items()}
    faults = [f"shard {shard}: seals differ: {seals}"] if len(set(seals.values())) > 1 else []
    return faults + [f"{n}: in log epoch {epoch}, its last seal is {seal}" for n, seal in seals.items()
                     if epoch > 1 and seal[0] == SEALED and seal[2] != epoch - 1]


def faults(c, wanted, seconds=60):
    """What is not, and does not become, as `wanted`, {shard: (engine, log epoch)}: who is late answers later, a .tmp may be a file that is
    just being written."""
    until = time.monotonic() + seconds
    while (found := faults_now(c, wanted)) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def faults_now(c, wanted):
    """Of every replica of each shard: what it says and what it holds."""
    found = []
    for shard, (engine, epoch) in wanted.items():
        said = {n: word_of(c, n) for n in c.names(shard)}
        found += [f"{n}: does not answer" for n, s in said.items() if s is None]
        said = {n: s for n, s in said.items() if s is not None}
        found += [f"{n}: runs {s.engine} in log epoch {s.log_epoch}, not {engine} in {epoch}" for n, s in said.items()
                  if (s.engine, s.log_epoch) != (engine, epoch)]
        found += seal_faults(shard, said, epoch)
        for n in c.names(shard):
            found += directory_faults(n, c.data(n), engine, epoch)
    return found
