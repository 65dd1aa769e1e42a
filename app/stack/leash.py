"""Ties a process to its parent, drops root if asked to, then becomes the given command.

`python -IS leash.py PARENT_PID DEATH_SIGNAL UID GID COMMAND...` (UID -1: stay who you are). Standard library only.
The kernel sends the signal when the thread that started the process ends, so start children from the main thread.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2); the setting survives execve, but not a change of user


def tie_to_parent(parent: int, death_signal: int = signal.SIGKILL) -> None:
    """Have the kernel send `death_signal` to this process when its parent dies; exits if the parent is gone already."""
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        raise SystemExit("the parent process has gone")


def drop_to(uid: int, gid: int) -> None:
    """Become another user for good."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: list[str]) -> None:
    """Tie, drop, become; never returns."""
    parent, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    if uid >= 0:
        drop_to(uid, gid)
    tie_to_parent(parent, death_signal)
    os.execv(arguments[4], arguments[4:])  # noqa: S606  (a fixed argument list, no shell)


if __name__ == "__main__":
    main(sys.argv[1:])
