"""The worker as `draft-pipeline worker` runs it; with `--profile FILE`, also sampled until it ends."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvloop

from app.config import NEEDS, load_config
from app.logging import configure_logging
from app.worker import run_worker
from tests.bench.sampling import Sampler


def main() -> int:
    """Run the worker to its end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", type=Path)
    profile: Path | None = parser.parse_args().profile
    config = load_config(None, NEEDS["worker"])
    configure_logging(config.log_level)
    sampler = Sampler(profile) if profile else None
    if sampler is not None:
        sampler.start()
    code = uvloop.run(run_worker(config))
    if sampler is not None:
        sampler.write()
    return code


if __name__ == "__main__":
    sys.exit(main())
