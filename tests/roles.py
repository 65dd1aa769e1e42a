"""The database roles that deploy ships, on a real Postgres."""

from __future__ import annotations

import secrets
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

DEPLOY = Path(__file__).parent.parent / "deploy" / "postgres"
ROLES = ("owner", "worker", "web", "analyst")


async def make_roles(url: str) -> dict[str, str]:
    """Run roles.sql as the superuser of this database, twice, and give passwords; the address of each role."""
    password, address = secrets.token_hex(8), urlsplit(url)
    connection = await asyncpg.connect(url)
    try:
        for _ in range(2):
            await connection.execute((DEPLOY / "roles.sql").read_text("utf-8"))
        for role in ROLES:
            await connection.execute(f"ALTER ROLE draft_pipeline_{role} PASSWORD '{password}'")
    finally:
        await connection.close()
    place = f"{address.hostname}:{address.port}{address.path}"
    return {role: f"postgresql://draft_pipeline_{role}:{password}@{place}" for role in ROLES}


async def grant(owner_url: str) -> None:
    """Run grants.sql as the owner, twice."""
    connection = await asyncpg.connect(owner_url)
    try:
        for _ in range(2):
            await connection.execute((DEPLOY / "grants.sql").read_text("utf-8"))
    finally:
        await connection.close()
