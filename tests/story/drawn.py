"""The quality page against a recount from the topics: its figures, and every bar, dot and bucket that it draws.

The page is asked for as an analyst's browser asks: HTML with drawings, whose hover texts say what they draw.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from math import isclose
from typing import Any

import httpx2

from app.cli.token import make_token
from app.config import Config
from app.web.server import create_app
from db.pool import connect
from schemas.codes import Role
from tests.story.evidence import Evidence
from tests.story.harness import Pipeline
from tests.story.told import PERSON, Differences, Told, day, differing, percentile, share

ORIGIN = "http://console.test"
_DRAWING = re.compile(r'<svg class="chart[^"]*"[^>]*aria-label="([^"]*)">(.*?)</svg>', re.S)
_SAID = re.compile(r"<(?:circle|rect)[^>]*><title>([^<]*)</title>")
_NUMBER = re.compile(r"-?[\d,]*\.?\d+(?:e-?\d+)?")
DRAWN_TO = 1e-5  # figures are drawn with six digits

Drawn = dict[tuple[str, str], list[float]]


@asynccontextmanager
async def analyst(running: Pipeline) -> AsyncIterator[httpx2.AsyncClient]:
    """An analyst of all workspaces at the pages, served by this process."""
    env = {**running.stack.env, "WEB_SECRET": "not-a-secret-but-long-enough", "PUBLIC_URL": ORIGIN}
    values: dict[str, Any] = {name.lower(): value for name, value in env.items()}
    app = create_app(Config(_env_file=None, **values))
    connection = await connect(running.stack.postgres.url)
    token = await make_token(connection, "analyst", Role.ANALYST, None, expires=None, one_time=False, by="test")
    await connection.close()
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.1", 4711))
    headers = {"authorization": f"Bearer {token}"}
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as client,
    ):
        yield client


async def page_against_topics(running: Pipeline, evidence: Evidence) -> Differences:
    """Every difference between the quality page, all workspaces and the last 30 days, and its recount."""
    told = Told(evidence)
    async with analyst(running) as client:
        page, data = await client.get("/quality"), await client.get("/api/quality")
    assert (page.status_code, data.status_code) == (200, 200)
    figures = data.json()["figures"]
    wanted = figures_of(told)
    return [
        *differing("figure", {name: figures[name] for name in wanted}, wanted),
        *undrawn(drawn_on(page.text), drawn_of(told)),
    ]


def drawn_on(page: str) -> Drawn:
    """The numbers that each mark says on hover, by drawing and the words around them."""
    found: Drawn = {}
    for title, content in _DRAWING.findall(page):
        for said in _SAID.findall(content):
            name, _, values = said.rpartition(": ")
            words, day = values, ""
            if values.endswith("Z"):
                words, _, day = values.rpartition(", ")
            found[title, f"{name} {day[:10]}".strip()] = [
                float(each.replace(",", "")) for each in _NUMBER.findall(words)
            ]
    return found


def undrawn(found: Drawn, wanted: Drawn) -> Differences:
    """Marks that only one side has, or whose numbers differ by more than the digits of a drawing."""
    return [
        f"drawing {key}: the page says {found.get(key)}, the recount {wanted.get(key)}"
        for key in sorted(found.keys() | wanted.keys())
        if len(found.get(key, ())) != len(wanted.get(key, ()))
        or not all(isclose(one, other, rel_tol=DRAWN_TO) for one, other in zip(found[key], wanted[key], strict=True))
    ]


def figures_of(told: Told) -> dict[str, Any]:
    """The tiles."""
    results = told.results
    attempted = [result for result in results.values() if result["attempted"]]
    gains = [
        each["revision_confidence"] - each["original_confidence"] for each in attempted if each["revision_confidence"]
    ]
    decided = [draft for draft in told.outcomes if _may_send(told, draft)]
    return {
        "drafts": len(told.drafts),
        "evaluated": len(told.evaluated),
        "decided": len(decided),
        "needs_review": sum(told.was(draft, action="needs_review") for draft in decided),
        "sent": sum(told.was(draft, status="sent") for draft in told.outcomes),
        "sent_by_itself": sum(told.was(draft, status="sent", decided_by="policy") for draft in told.outcomes),
        "attempted": len(attempted),
        "applied": sum(result["applied"] for result in attempted),
        "revised_then_sent": sum(each["applied"] and told.was(draft, status="sent") for draft, each in results.items()),
        "gain": share(sum(gains), len(gains)),
    }


def _may_send(told: Told, draft: str) -> bool:
    """Whether it was decided where the policy may send by itself."""
    last = told.last(draft)
    return last["mode"] == "AI_AUTO_SEND" and (last["action"] != "none" or told.was(draft, action="needs_review"))


# ---- what each drawing must show


def drawn_of(told: Told) -> Drawn:
    return {**_histograms(told), **_reliability(told), **_rates(told), **_judged_by_day(told)}


def _histograms(told: Told) -> Drawn:
    wanted: Drawn = {}
    of_first = [event["confidence"] for event in told.evaluated.values()]
    of_last = [event["confidence"] for event in told.results.values()]
    for title, of_all in (("Confidence of first texts", of_first), ("Confidence that drove the decision", of_last)):
        known = [confidence for confidence in of_all if confidence is not None]
        for step in range(20):
            count = sum(min(int(confidence * 20), 19) == step for confidence in known)
            wanted[title, f"{step / 20:.6g} to {(step + 1) / 20:.6g}"] = [
                count,
                float(f"{count / len(known):.1%}"[:-1]),
            ]
    return wanted


def _reliability(told: Told) -> Drawn:
    buckets: dict[int, list[Any]] = defaultdict(list)
    for decided in filter(None, map(told.decided, told.outcomes)):
        if decided["status"] in PERSON and decided["confidence"] is not None:
            buckets[min(int(decided["confidence"] * 10), 9)].append(decided)
    return {
        ("Approved as they were, by confidence", f"confidence {sum(e['confidence'] for e in each) / len(each):.2f}"): [
            sum(event["status"] == "approved" for event in each),
            len(each),
        ]
        for each in buckets.values()
    }


def _rates(told: Told) -> Drawn:
    title = "Share of drafts a person was asked about, and of revisions that were applied, by day"
    wanted: Drawn = {}
    asked, applied = defaultdict(list), defaultdict(list)
    for draft in told.drafts:
        if told.outcomes.get(draft) and _may_send(told, draft):
            asked[told.begun(draft)].append(told.was(draft, action="needs_review"))
        if draft in told.results and told.results[draft]["attempted"]:
            applied[told.begun(draft)].append(told.results[draft]["applied"])
    for name, by_day in (("a person was asked", asked), ("revision applied", applied)):
        wanted |= {(title, f"{name} {day}"): [100 * sum(each) / len(each)] for day, each in by_day.items()}
    return wanted


def _judged_by_day(told: Told) -> Drawn:
    """Confidence, latency and cost, of the drafts that were begun on a day."""
    wanted: Drawn = {}
    for at in {told.begun(draft) for draft in told.evaluated}:
        pairs = [(event, told.results[draft]) for draft, event in told.evaluated.items() if told.begun(draft) == at]
        first, last = [one for one, _ in pairs], [two for _, two in pairs]
        revised = [result for result in last if result["attempted"]]
        lines: dict[tuple[str, str], float | None] = {
            ("Mean confidence by day", "before revision"): _mean(first, "confidence"),
            ("Mean confidence by day", "after"): _mean(last, "confidence"),
            ("Cost by day", "drafts"): sum(event["cost_usd"] for event in first) + _given_up(told, at),
            ("Cost by day", "revisions"): sum(event["cost_usd"] for event in revised),
        }
        for name, events in (("draft", first), ("revision", revised)):
            for part in (50, 95):
                ms = percentile([event["latency_ms"] for event in events], part / 100)
                key = ("Seconds that drafts and revisions took, by day", f"{name} p{part}")
                lines[key] = ms / 1000 if ms is not None else None
        wanted |= {(title, f"{name} {at}"): [value] for (title, name), value in lines.items() if value is not None}
    return wanted


def _given_up(told: Told, at: date) -> float:
    """What the drafts of a day cost that were given up before they were judged: their calls, no topic tells of it."""
    calls = [call for call in told.tables["model_call"] if str(call["draft_id"]) not in told.evaluated]
    return float(sum(call["cost_usd"] or 0 for call in calls if day(call["started_at"]) == at))


def _mean(events: list[Any], name: str) -> float | None:
    known = [event[name] for event in events if event[name] is not None]
    return share(sum(known), len(known))
