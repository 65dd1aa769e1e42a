"""Runs the broker once and keeps what its JVM learned, so that later starts take half the time. Part of `make setup`.

Without it everything works, only slower: a failure here is reported and is no error.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from app.stack.kafka import KafkaServer, trained_file
from app.stack.kafka_jars import LIST_FILE
from app.stack.process import StackError

ASSEMBLY_S_MAX: Final = 120.0


def is_fresh() -> bool:
    """Whether an earlier training still fits the jars."""
    file = trained_file()
    return file.exists() and file.stat().st_mtime > LIST_FILE.stat().st_mtime


async def train() -> None:
    """Start and stop a broker in a folder of its own; the JVM writes the file when it ends."""
    target = trained_file()
    target.unlink(missing_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="training-", dir=target.parent))
    made = folder / "broker.aot"
    try:
        plain = KafkaServer(folder, jvm=())
        await plain.start()  # formats the storage, which the recorded run leaves out
        await plain.stop()
        recorded = KafkaServer(folder, jvm=(f"-XX:AOTCacheOutput={made}", "-Xlog:aot*=off", "-Xlog:cds*=off"))
        await recorded.start()
        await recorded.stop(ASSEMBLY_S_MAX)
        if not made.exists():
            raise StackError("the JVM wrote no file")
        made.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Train unless that was done."""
    if not is_fresh():
        try:
            asyncio.run(train())
        except (StackError, OSError) as error:
            print(f"  the broker will start without training: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
