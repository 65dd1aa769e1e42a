"""The jars of the local Kafka broker: fetched once, checked against a committed list of SHA-256, kept in this checkout.

`python -m app.stack.kafka_jars` fetches what is missing; `--relock` resolves again and writes the list.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jgo.maven import MavenContext

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
# Without a binding all logs vanish. The `!` keeps its parent's version pins away from Kafka's own dependencies.
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!"
LIST_FILE = Path(__file__).with_name("kafka_jars.json")
FETCH_TRIES_MAX = 3
FETCH_THREADS = 4
FETCH_IDLE_S_MAX = 60


class JarsBroken(RuntimeError):
    """The jars could not be brought to the committed list's state."""


def jar_cache() -> Path:
    """The cache folder of this checkout's virtual environment."""
    return Path(sys.prefix) / "share" / "kafka"


def read_list() -> dict[str, str]:
    """The committed list: coordinate (`group:artifact:version`) to SHA-256 in hex."""
    listed: dict[str, str] = json.loads(LIST_FILE.read_text())
    return listed


def jar_path(cache: Path, coordinate: str) -> Path:
    """Where a jar lies in the cache, in the layout of a Maven repository."""
    group, artifact, version = coordinate.split(":")
    return cache.joinpath(*group.split("."), artifact, version, f"{artifact}-{version}.jar")


def broken_jars(cache: Path, listed: dict[str, str]) -> list[str]:
    """The coordinates whose jar is missing, cut off or not the one that was listed."""
    return [c for c, digest in listed.items() if _sha256(jar_path(cache, c)) != digest]


def classpath(cache: Path | None = None, say: Callable[[str], None] | None = None) -> str:
    """Every listed jar, checked, as a class path; what is missing or broken is cleared and fetched again.

    :raises JarsBroken: when a jar is still not the listed one after `FETCH_TRIES_MAX` tries.
    """
    cache, listed = cache or jar_cache(), read_list()
    problem: Exception | None = None
    for _ in range(FETCH_TRIES_MAX):
        broken = broken_jars(cache, listed)
        if not broken:
            return ":".join(str(jar_path(cache, c)) for c in listed)
        if say:
            say(f"fetching {len(broken)} of {len(listed)} Kafka jars")
        try:
            _fetch(cache, broken)
        except (RuntimeError, OSError) as error:
            problem = error
    broken = broken_jars(cache, listed)
    if broken:
        raise JarsBroken(f"{len(broken)} Kafka jars cannot be fetched, first {broken[0]}: {problem or 'wrong SHA-256'}")
    return ":".join(str(jar_path(cache, c)) for c in listed)


def relock(cache: Path) -> dict[str, str]:
    """Resolve Kafka's dependencies from their poms; returns the new list."""
    context = MavenContext(repo_cache=cache, timeout=FETCH_IDLE_S_MAX)
    wanted = [context.create_dependency(coordinate) for coordinate in (KAFKA, LOG_BINDING)]
    direct, transitive = context.resolver.resolve(wanted)
    jars = {f"{d.groupId}:{d.artifactId}:{d.version}": d.artifact.resolve() for d in [*direct, *transitive]}
    return {coordinate: _sha256(path) for coordinate, path in sorted(jars.items())}


def _fetch(cache: Path, coordinates: Iterable[str]) -> None:
    context = MavenContext(repo_cache=cache, timeout=FETCH_IDLE_S_MAX)

    def fetch(coordinate: str) -> None:
        # A cut-off download leaves a half file that the next resolve would take for whole: clear the folder first.
        shutil.rmtree(jar_path(cache, coordinate).parent, ignore_errors=True)
        group, artifact, version = coordinate.split(":")
        context.project(group, artifact).at_version(version).artifact().resolve()

    with ThreadPoolExecutor(FETCH_THREADS) as pool:
        list(pool.map(fetch, coordinates))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as jar:
            return hashlib.file_digest(jar, "sha256").hexdigest()
    except OSError:
        return ""


def main() -> int:
    """Fetch the jars, or write the list anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--relock", action="store_true", help="resolve again and write the list")
    if parser.parse_args().relock:
        LIST_FILE.write_text(json.dumps(relock(jar_cache()), indent=1) + "\n")
    try:
        classpath(say=lambda text: print(f"  {text}", flush=True))
    except JarsBroken as error:
        print(f"kafka jars: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
