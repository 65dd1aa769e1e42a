"""What runs in a forked process: one command, as if the console script had been started."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import app.cli
import app.kafka.topics
import app.stack.local
import db.migrate  # noqa: F401 - imported once, for all forks


def run_command(
    arguments: Sequence[str], env: Mapping[str, str], folder: str, stdin: str, stdout: str, stderr: str
) -> None:
    """Become `draft-pipeline ARGUMENTS` with these variables, in this folder, with these files as streams."""
    for number, (path, flags) in enumerate(((stdin, os.O_RDONLY), (stdout, _NEW), (stderr, _NEW))):
        os.dup2(os.open(path, flags, 0o600), number)
    sys.stdin = os.fdopen(0)  # multiprocessing has closed its own
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = ["draft-pipeline", *arguments]
    app.cli.main()


_NEW = os.O_WRONLY | os.O_CREAT | os.O_APPEND
