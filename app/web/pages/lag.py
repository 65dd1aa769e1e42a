"""Lag: what waits, for how long, and when is it drained?"""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from app.groups import GROUPS
from app.web.access import Here, Who, require
from app.web.charts import Series, line_chart
from app.web.lag_watch import READ_S, TopicLag
from app.web.marks import marks_since
from app.web.page import Page
from app.web.pages.overview import sees_the_machine
from app.web.rendering import add_page
from app.web.words import seconds
from db import sql
from schemas.codes import Role

PAGE: Final = Page("/lag", "Lag", frozenset({Role.SUPER_ADMIN, Role.OPS}))
router: Final = APIRouter(dependencies=[require(*PAGE.roles)])


async def load(
    who: Who, web: Here, topic: Annotated[str, Query(max_length=200)] = "", waiting: bool = False
) -> dict[str, Any]:
    """Requests that wait in the outbox; with all workspaces in sight, also what waits on Kafka, as last read."""
    requests = await sql.run_list.waiting_by_workspace.rows(web.pool, workspace_id=who.narrow(None))
    told = {"requests": [dict(row) for row in requests], "every_s": READ_S}
    if sees_the_machine(who):
        return told | await _on_kafka(web, topic, waiting_only=waiting)
    return told | {"answer": _answer_of_requests(sum(row["waiting"] for row in requests))}


async def _on_kafka(web: Here, topic: str, *, waiting_only: bool) -> dict[str, Any]:
    """Records not yet done by group, topic and partition, and the events of all workspaces in the outbox."""
    watch = web.lag
    events, left = await asyncio.gather(sql.run_list.events_waiting.rows(web.pool), sql.ops.left_to_do.one(web.pool))
    latest, topics = watch.latest, watch.topics()
    partitions = [
        each for each in watch.partitions() if topic in ("", each.topic) and (each.lag > 0 or not waiting_only)
    ]
    history = [(at, lags) for at, lags in watch.history() if lags]
    shown = [name for name in GROUPS if topic in ("", name)]
    marks = await marks_since(web.pool, history[0][0]) if history else []
    series = [Series(name, [(at, lags.get(name)) for at, lags in history]) for name in shown]
    return {
        "topic": topic,
        "waiting_only": waiting_only,
        "names": list(GROUPS),
        "at": latest.at if latest is not None else None,
        "problem": watch.problem,
        "answer": _answer(topics, watch.problem),
        "topics": topics,
        "partitions": partitions,
        "history": [{"at": at, "lag": {name: lags.get(name) for name in shown}} for at, lags in history],
        "chart": line_chart(series, title="Records waiting, by topic", marks=marks)
        if len(history) > 1
        else line_chart([], title=""),
        "marks": marks,
        "events": [dict(row) for row in events],
        "waiting": dict(left),
    }


def _answer_of_requests(waiting: int) -> dict[str, str]:
    if not waiting:
        return {"kind": "good", "words": "No request waits."}
    words = "1 request waits for its turn." if waiting == 1 else f"{waiting:,} requests wait for their turn."
    return {"kind": "quiet", "words": words}


def _answer(topics: list[TopicLag], problem: str | None) -> dict[str, str]:
    if not topics:
        words = (
            "Not known: the broker did not answer the last reading." if problem else "Not known yet: no reading so far."
        )
        return {"kind": "bad" if problem else "quiet", "words": words}
    waiting = [each for each in topics if each.lag]
    if not waiting:
        return {"kind": "good", "words": "Nothing waits on Kafka."}
    oldest = seconds(max(each.age_s for each in waiting))
    said = f"{sum(each.lag for each in waiting):,} records wait, the oldest for {oldest}"
    unmanned = [each.topic for each in waiting if not each.members]
    if unmanned:
        return {"kind": "bad", "words": f"{said}; nobody consumes {', '.join(unmanned)}."}
    stuck = [each.topic for each in waiting if not each.drains]
    if stuck:
        return {"kind": "warn", "words": f"{said}; not shrinking: {', '.join(stuck)}."}
    drained = seconds(max(each.drained_in_s or 0.0 for each in waiting))
    return {"kind": "good", "words": f"{said}; drained in {drained}."}


add_page(router, "/lag", "lag.html", load)
