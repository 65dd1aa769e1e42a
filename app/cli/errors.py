"""What went wrong, in one line. Exception texts of the database hold personal data, so they are never printed."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Final

from app.cli.shell import PROBLEM, WRONG_USE, Problem

# What a server says before anybody asked it for data: safe to show, and the best help there is.
_CONNECTING: Final = ("InvalidCatalogNameError", "InvalidPasswordError", "InvalidAuthorizationSpecificationError")


def tell(error: BaseException) -> int:
    """Print the line and return the exit code. DRAFT_PIPELINE_TRACEBACK=1 prints where it came from as well."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if os.environ.get("DRAFT_PIPELINE_TRACEBACK") == "1":
        traceback.print_exception(error)
    code, line = _read(error)
    print(f"draft-pipeline: {line}", file=sys.stderr)
    return code


def _read(error: BaseException) -> tuple[int, str]:
    import asyncpg
    from aiokafka.errors import KafkaError

    from app.config import ConfigError
    from app.stack.process import StackError
    from db.migrate import MigrationError

    match error:
        case Problem():
            return error.code, str(error)
        case ConfigError():
            return WRONG_USE, str(error)
        case MigrationError() | StackError():
            return PROBLEM, str(error)
        case KafkaError():
            return PROBLEM, _kafka(error)
        case asyncpg.PostgresError():
            return PROBLEM, _postgres(error)
        case asyncpg.InterfaceError() | ConnectionError():
            return PROBLEM, f"the connection was lost ({type(error).__name__}); see `draft-pipeline doctor`"
        case OSError() if error.filename is not None:
            return PROBLEM, f"{error.filename}: {error.strerror}"
    if type(error).__name__ in ("StartError", "JarsBroken"):
        return PROBLEM, str(error)
    return PROBLEM, f"unexpected {type(error).__name__}; DRAFT_PIPELINE_TRACEBACK=1 shows where"


def _kafka(error: BaseException) -> str:
    name = type(error).__name__
    if name in ("KafkaConnectionError", "NodeNotReadyError", "NoBrokersAvailable"):
        return f"KAFKA_BOOTSTRAP_SERVERS: no broker answers ({name}); is Kafka running there?"
    return f"Kafka refused: {name}; run `draft-pipeline doctor`"


def _postgres(error: BaseException) -> str:
    name, state = type(error).__name__, getattr(error, "sqlstate", None)
    if name in _CONNECTING:
        return f"Postgres refused the connection: {error}"
    if name in ("UndefinedTableError", "UndefinedColumnError"):
        return "the database has no such table or column: run `draft-pipeline migrate`"
    constraint = getattr(error, "constraint_name", None)
    return f"Postgres refused: {name} ({state})" + (f", constraint {constraint}" if constraint else "")
