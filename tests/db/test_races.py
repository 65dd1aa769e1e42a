"""Whoever wins, the promises hold: 1,000 races each in `make prove`, a part of them in `make test`, with the statements of
the pipeline on a real Postgres."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from typing import Any

import pytest

from agents import review
from agents.delivering import deliver
from agents.ingest import ingest_batch
from agents.persist import persist
from app.cli.switch import flip
from db import sql
from db.pool import Connection, transaction
from db.queries import Query
from tests.conftest import Database
from tests.db.sending import Sending, actions, arrives, gather, race, sending

RACES = (200, pytest.param(1_000, marks=pytest.mark.long))
BATCH = 10
SENDS_COME_S = (0.0, 0.02, 0.1)  # those of a batch come together, or one after another while its messages are stored
FEW = 200  # enough that a race without its guard is lost at least once
EACH_WAY_MIN = 5  # a race that always ends the same way is none


@pytest.fixture(params=RACES)
def races(request: pytest.FixtureRequest) -> int:
    """How many."""
    count: int = request.param
    return count


@pytest.fixture
def dice() -> random.Random:
    """Its seed is printed, so that a lost race can be run again."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)


def expect_both_ways(outcomes: Counter[Any]) -> None:
    """Each side won some: the race was one."""
    assert len(outcomes) >= 2, outcomes
    assert min(outcomes.values()) >= EACH_WAY_MIN, outcomes


async def expect_sent_once(many: Sending) -> None:
    """Every draft: one message at the provider, `sent` in every table, one row that says so."""
    assert set(many.ledger.taken.values()) == {1}
    assert many.ledger.taken.keys() == set(many.ids)
    assert await many.column("SELECT DISTINCT status FROM ai_draft") == ["sent"]
    assert await many.column("SELECT count(*) FROM message WHERE direction = 'outbound'") == [len(many.ids)]
    assert await many.column("SELECT count(*) FROM delivery WHERE status = 'sent'") == [len(many.ids)]
    assert await many.column("SELECT count(*) FROM draft_claim WHERE settled_at IS NULL") == [0]


async def test_of_two_approvals_at_once_one_sends(database: Database, races: int, dice: random.Random) -> None:
    """Two people approve the same draft in the same moment: one is heard, the other told so, one message goes out."""
    async with sending(database, races, scheduled=False) as many:
        ann, bob = await actions(many, "ann"), await actions(many, "bob")
        await gather(
            [
                lambda one=one, other=other: race(review.handle(one, many.rim), review.handle(other, many.rim), dice)  # type: ignore[misc]
                for one, other in zip(ann, bob, strict=True)
            ]
        )
        results = Counter(await many.column("SELECT result FROM review_action"))
        winners = Counter(await many.column("SELECT actor FROM review_action WHERE result = 'approved'"))
        assert results == {"approved": races, "refused_already_approved": races}
        expect_both_ways(winners)
        await many.deliver_rest()
        await expect_sent_once(many)
        approved_by = await many.column("SELECT approved_by FROM message WHERE direction = 'outbound'")
        assert Counter(approved_by) == winners


async def test_an_approval_and_a_due_send_make_one_message(database: Database, races: int, dice: random.Random) -> None:
    """A person approves a scheduled draft while a worker sends it: one message, by one of the two."""
    async with sending(database, races) as many:
        commands, due = await actions(many, "ann"), await many.take()
        await gather(
            [
                lambda row=row, command=command: race(  # type: ignore[misc]
                    deliver(many.rim, row), review.handle(command, many.rim), dice
                )
                for row, command in zip(due, commands, strict=True)
            ]
        )
        await many.deliver_rest()
        await expect_sent_once(many)
        expect_both_ways(Counter(await many.column("SELECT automatic FROM delivery WHERE status = 'sent'")))
        sent_by_people = await many.column("SELECT draft_id FROM delivery WHERE NOT automatic AND status = 'sent'")
        approved = await many.column("SELECT draft_id FROM review_action WHERE result = 'approved'")
        assert set(sent_by_people) == set(approved)


# ---- the switch


async def flip_all_the_time(many: Sending, done: asyncio.Event, dice: random.Random) -> tuple[int, list[str]]:
    """Turn the switch off and on until `done`; returns how often, and what was claimed while it was off."""
    flips, violations = 0, []
    async with many.pool.acquire() as connection:
        while not done.is_set():
            before = await _flip(connection, disabled=True)
            await asyncio.sleep(dice.uniform(0, 0.003))
            while_off = await _flip(connection, disabled=False)
            violations += [str(delivery) for delivery in while_off - before]
            flips += 1
            await asyncio.sleep(dice.uniform(0, 0.006))
    return flips, violations


async def _flip(connection: Connection, *, disabled: bool) -> set[uuid.UUID]:
    """Turn it; returns the deliveries that were claimed until the flip commits."""
    async with connection.transaction():
        await flip(connection, "AUTO_SEND_DISABLED", disabled=disabled, reason="race", actor="test")
        rows = await connection.fetch("SELECT id FROM delivery WHERE claimed_at IS NOT NULL")
    return {row["id"] for row in rows}


async def switch_against_sends(many: Sending, dice: random.Random) -> tuple[int, list[str]]:
    """Every due send, while the switch is turned all the time."""
    due, done = await many.take(), asyncio.Event()
    flipping = asyncio.create_task(flip_all_the_time(many, done, dice))
    await gather([lambda row=row: deliver(many.rim, row) for row in due])  # type: ignore[misc]
    done.set()
    return await flipping


async def test_nothing_is_claimed_while_the_switch_is_off(database: Database, races: int, dice: random.Random) -> None:
    """While a switch is turned off and on under 1,000 sends, none is claimed between an off and the next on."""
    async with sending(database, races) as many:
        flips, violations = await switch_against_sends(many, dice)
        assert violations == []
        assert flips >= EACH_WAY_MIN
        statuses = Counter(await many.column("SELECT status FROM delivery"))
        expect_both_ways(statuses)
        assert statuses.keys() == {"sent", "cancelled"}
        assert set(many.ledger.taken.values()) == {1}
        assert len(many.ledger.taken) == statuses["sent"]
        asked = await many.column("SELECT d.status || ' ' || q.status FROM ai_draft d JOIN review_request q ON"
                                  " q.draft_id = d.id WHERE q.reason = 'switched_off'")  # fmt: skip
        assert Counter(asked) == {"pending open": statuses["cancelled"]}


# ---- a newer message


async def newer_against_sends(many: Sending, dice: random.Random) -> list[Any]:
    """A newer message for each due send, `BATCH` leads at a time; returns the sends that came after their message."""
    due = await many.take()

    async def write(numbers: range) -> None:
        async with transaction(many.pool) as connection:
            await ingest_batch(connection, [arrives(number) for number in numbers], frozenset())

    async def ingest(numbers: range) -> None:
        await persist(many.rim, lambda: write(numbers))

    async def send(number: int) -> None:
        await asyncio.sleep(dice.uniform(0, SENDS_COME_S[number // BATCH % len(SENDS_COME_S)]))
        await deliver(many.rim, due[number])

    async def some(start: int) -> None:
        numbers = range(start, min(start + BATCH, len(due)))
        await race(ingest(numbers), asyncio.gather(*map(send, numbers)), dice)

    await gather([lambda start=start: some(start) for start in range(0, len(due), BATCH)])  # type: ignore[misc]
    return await many.column(
        "SELECT x.id FROM delivery x JOIN message n ON n.lead_id = x.lead_id AND n.message_id LIKE 'newer-%'"
        " WHERE x.status <> 'cancelled' AND (x.claim_seq IS NULL OR x.claim_seq > n.ingest_seq)"
    )


async def test_no_send_follows_a_newer_message(database: Database, races: int, dice: random.Random) -> None:
    """The lead writes again in the moment of the send: it was claimed before that message was stored, or never."""
    async with sending(database, races) as many:
        assert await newer_against_sends(many, dice) == []
        statuses = Counter(await many.column("SELECT status FROM delivery"))
        expect_both_ways(statuses)
        fates = Counter(await many.column("SELECT status FROM ai_draft"))
        assert fates == {"sent": statuses["sent"], "superseded": statuses["cancelled"]}
        assert set(many.ledger.taken.values()) == {1}
        assert len(many.ledger.taken) == statuses["sent"]


async def test_a_message_that_came_after_the_claim_is_not_answered_by_it(
    database: Database, races: int, dice: random.Random
) -> None:
    """However long the provider takes: the reply stands before a message that was stored after its claim."""
    async with sending(database, races // 10) as many:
        await newer_against_sends(many, dice)
        places = await many.column(
            "SELECT o.ingest_seq < n.ingest_seq FROM message o JOIN message n ON n.lead_id = o.lead_id"
            " AND n.message_id LIKE 'newer-%' WHERE o.direction = 'outbound'"
        )
        assert set(places) == {True}


# ---- undo


async def undo_against_sends(many: Sending, dice: random.Random) -> list[Any]:
    """A person stops each due send; returns the drafts that went out although it is on record that they were stopped."""
    commands, due = await actions(many, "ann", "undo"), await many.take()
    await gather(
        [
            lambda row=row, command=command: race(  # type: ignore[misc]
                review.handle(command, many.rim), deliver(many.rim, row), dice
            )
            for row, command in zip(due, commands, strict=True)
        ]
    )
    stopped = await many.column("SELECT draft_id FROM review_action WHERE result = 'undone'")
    return sorted(set(stopped) & many.ledger.taken.keys())


async def test_an_undo_is_in_time_or_says_that_it_is_not(database: Database, races: int, dice: random.Random) -> None:
    """A person stops a send in the moment it is due: stopped and shown to a person again, or sent and told so."""
    async with sending(database, races) as many:
        assert await undo_against_sends(many, dice) == []
        results = Counter(await many.column("SELECT result FROM review_action WHERE action = 'undo'"))
        refused = sum(count for result, count in results.items() if result.startswith("refused_"))
        expect_both_ways(Counter({"undone": results["undone"], "refused": refused}))
        assert results["undone"] + refused == races
        assert results["undone"] + len(many.ledger.taken) == races
        assert set(many.ledger.taken.values()) == {1}
        waiting = await many.column(
            "SELECT d.status || ' ' || d.auto_send_action || ' ' || q.status FROM ai_draft d"
            " JOIN review_request q ON q.draft_id = d.id WHERE q.reason = 'undone'"
        )
        assert Counter(waiting) == {"pending needs_review open": results["undone"]}


# ---- without the guards


def without(monkeypatch: pytest.MonkeyPatch, query: Query, old: str, new: str) -> None:
    """Take a guard out of a statement."""
    assert old in query.text
    monkeypatch.setattr(query, "text", query.text.replace(old, new))


def slow_ingest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give sends some time between a message's row and what it retires."""
    without(monkeypatch, sql.ingest.open_drafts_of_conversations, "FROM unnest(",
            "FROM (SELECT pg_sleep(0.05)) slept, unnest(")  # fmt: skip


async def test_without_the_leads_row_lock_a_newer_message_loses(
    database: Database, dice: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is what keeps the promise: without it some reply is claimed after a newer message was stored."""
    without(monkeypatch, sql.delivery.lock_lead, "FOR NO KEY UPDATE", "")
    slow_ingest(monkeypatch)
    async with sending(database, 6 * BATCH) as many:
        assert await newer_against_sends(many, dice) != []


async def test_without_the_compare_a_stopped_send_goes_out(
    database: Database, dice: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claiming whatever the status is sends what a person was told is stopped."""
    without(monkeypatch, sql.delivery.claim_delivery_if_leased, "AND status = 'scheduled'", "")
    without(monkeypatch, sql.delivery.claim_delivery_if_leased, "SET status = 'claimed'", "SET status = 'claimed', finished_at = NULL")  # fmt: skip
    async with sending(database, FEW) as many:
        assert await undo_against_sends(many, dice) != []


async def test_without_the_shared_lock_something_is_claimed_while_the_switch_is_off(
    database: Database, dice: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that does not wait for a flip may commit after it."""
    without(monkeypatch, sql.draft.share_kill_switch_lock, "pg_advisory_xact_lock_shared", "abs")
    async with sending(database, 2 * FEW) as many:
        _, violations = await switch_against_sends(many, dice)
        assert violations != []
