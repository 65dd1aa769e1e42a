"""What may explain a bend in a curve: a switch that was turned, a version that was started."""

import asyncio
from datetime import datetime
from typing import Final

from app.control.switches import FEATURES
from app.web.charts import Mark
from db import sql
from db.pool import Pool

_FLIPS_MAX: Final = 50


async def marks_since(pool: Pool, since: datetime) -> list[Mark]:
    """The newest of what happened since then, the oldest first."""
    flips, versions = await asyncio.gather(
        sql.control.flips_since.rows(pool, since=since, limit=_FLIPS_MAX),
        sql.overview.versions_since.rows(pool, since=since),
    )
    marks = [Mark(row["at"], f"{FEATURES[row['switch']]} {'off' if row['off'] else 'on'}") for row in flips]
    marks += [Mark(row["at"], f"version {row['version']} started") for row in versions]
    return sorted(marks, key=lambda mark: mark.at)
