"""`draft-pipeline up`: the local stack in the foreground, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.stack.kafka_jars import JarsBroken
from app.stack.local import PARTS, LocalStack
from app.stack.process import StackError, write_file

WATCH_S: Final = 0.5


async def run_up(dir: Path, env_file: Path, without: set[str]) -> int:
    """Run the stack; `env_file` is taken away at the start and written when all parts are ready.

    :return: 0 after a signal, 1 when a part did not start or died, 2 when `without` names no part.
    """
    unknown = without - set(PARTS)
    if unknown:
        _say(f"--without {sorted(unknown)[0]}: no such part; parts are {', '.join(PARTS)}")
        return 2
    ended = _on_signals()
    env_file.unlink(missing_ok=True)
    started = time.monotonic()
    stack = LocalStack(dir, set(PARTS) - without, _say)
    _say(f"starting {', '.join(stack.running)} in {stack.dir}")
    starting, told = asyncio.create_task(stack.start()), asyncio.create_task(ended.wait())
    await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
    try:
        await starting
    except asyncio.CancelledError:
        return 0
    except (StackError, JarsBroken, OSError) as error:
        _say(str(error))
        return 1
    finally:
        told.cancel()
    try:
        write_env(env_file, stack.env)
        _say(f"all ready in {time.monotonic() - started:.1f} s; addresses in {env_file}")
        _say(f"web pages: migrate, web, token create --name you --role super_admin --link --env-file {env_file}")
        return await _watch(stack, ended)
    finally:
        _say("stopping")
        await stack.stop()
        _say("stopped")


async def _watch(stack: LocalStack, ended: asyncio.Event) -> int:
    while not ended.is_set():
        dead = [name for name, part in stack.running.items() if not part.alive]
        if dead:
            _say(f"{dead[0]} has died; see {stack.dir / 'log' / dead[0]}.log")
            return 1
        try:
            async with asyncio.timeout(WATCH_S):
                await ended.wait()
        except TimeoutError:
            continue
    return 0


def _on_signals() -> asyncio.Event:
    ended = asyncio.Event()
    end: Callable[[], None] = ended.set
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    return ended


def write_env(file: Path, env: dict[str, str]) -> None:
    """One `NAME=value` a line, readable by its owner only, all at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, "".join(f"{name}={value}\n" for name, value in env.items()), 0o600)


def _say(text: str) -> None:
    print(f"up: {text}", file=sys.stderr, flush=True)
