"""The worker as `draft-pipeline worker` runs it; with `--profile` or `--counts FILE`, watched."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvloop

from app.config import NEEDS, load_config
from app.logging import configure_logging
from app.worker import run_worker
from tests.bench.sampling import CallCounter, Sampler


def main() -> int:
    """Run the worker to its end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--counts", type=Path)
    arguments = parser.parse_args()
    config = load_config(None, NEEDS["worker"])
    configure_logging(config.log_level)
    observer = observer_of(arguments.profile, arguments.counts)
    if observer is not None:
        observer.start()
    return uvloop.run(run_worker(config))


def observer_of(profile: Path | None, counts: Path | None) -> Sampler | CallCounter | None:
    if profile is not None:
        return Sampler(profile)
    return CallCounter(counts) if counts is not None else None


if __name__ == "__main__":
    sys.exit(main())
