"""Dead letters: why they are there, masked inside, and sent once more only after a dry run and with a reason."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from app.cli import relettering
from app.config import Config
from schemas.codes import Role
from schemas.topics import INBOUND_MESSAGE
from tests.web.conftest import Site, csrf_of
from tests.web.seeding import OTHER, OWN, add_letter

SECRET = "a text that is nobody's business"
_PLACES = re.compile(r'name="places" value="([^"]+)"')


async def _letter(site: Site, reason: str = "unknown_workspace", workspace: str = OWN) -> str:
    return await add_letter(site.web.config, workspace, uuid.uuid4().hex, reason=reason, body=SECRET)


async def _told(site: Site, path: str, role: Role = Role.OPS, workspace: str | None = None) -> dict[str, Any]:
    async with site.program(role, workspace) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def _records(config: Config) -> list[tuple[bytes, bytes]]:
    """Key and value of everything on `inbound-message`, in an order of their own."""
    consumer = AIOKafkaConsumer(bootstrap_servers=config.kafka_bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(INBOUND_MESSAGE.name, each) for each in range(INBOUND_MESSAGE.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[tuple[bytes, bytes]] = []
        # Markers of transactions take offsets, so positions are compared, not counts.
        while [each for each in partitions if await consumer.position(each) < ends[each]]:
            for batch in (await consumer.getmany(timeout_ms=100)).values():
                found += [(record.key, record.value) for record in batch]
        return sorted(found, key=lambda each: (each[0] or b"", each[1] or b""))
    finally:
        await consumer.stop()


async def test_letters_are_counted_by_reason_with_what_to_do(site: Site) -> None:
    """And named one by one, the newest first, with the place of the original."""
    place = await _letter(site)
    told = await _told(site, "/api/dead-letters")
    groups = {each["reason"]: each for each in told["by_reason"]}
    assert groups["unknown_workspace"]["letters"] >= 1
    assert "workspace apply" in groups["unknown_workspace"]["remedy"]
    newest = next(each for each in told["letters"] if each["place"] == place)
    assert (newest["source"], newest["error"], newest["workspace_id"]) == ("3:14", "channel: missing", OWN)
    only = await _told(site, "/api/dead-letters?reason=invalid_field")
    assert {each["reason"] for each in only["letters"]} == {"invalid_field"}


async def test_no_page_shows_what_is_written_in_a_letter(site: Site) -> None:
    """List, letter and dry run show its shape: ids, and how long a text is; so does their JSON."""
    place = await _letter(site)
    async with site.program(Role.SUPER_ADMIN) as client:
        for path in (
            "/dead-letters",
            f"/dead-letters/{place}",
            f"/dead-letters/retry?place={place}",
            "/dead-letters/retry?reason=unknown_workspace",
        ):
            for address in (path, f"/api{path}"):
                answer = await client.get(address)
                assert answer.status_code == 200
                assert SECRET not in answer.text
        inside = (await client.get(f"/api/dead-letters/{place}")).json()
    assert inside["content"]["body"] == f"<text, {len(SECRET)} characters>"
    assert inside["content"]["workspace_id"] == OWN


async def test_a_retry_is_a_dry_run_first_and_then_what_it_showed(site: Site) -> None:
    """Without JavaScript: the page lists what would go, its form sends exactly that, once, and the audit has who and why."""
    place, later = await _letter(site, "refused_by_database"), ""
    before = await _records(site.web.config)
    async with site.browser(Role.OPS) as browser:
        dry = await browser.get("/dead-letters/retry?reason=refused_by_database")
        assert await _records(site.web.config) == before
        later = await _letter(site, "refused_by_database")
        form = {"csrf": csrf_of(dry), "places": _PLACES.findall(dry.text)[0], "why": "the schema was mended"}
        sent = await browser.post("/dead-letters/retry", data=form)
        assert (sent.status_code, sent.headers["location"]) == (303, "/dead-letters?sent=1&of=1")
        assert "1 of 1 letters were sent once more" in (await browser.get(sent.headers["location"])).text
        again = await browser.post("/dead-letters/retry", data=form)
        assert again.headers["location"] == "/dead-letters?sent=0&of=1"
    arrived = [record for record in await _records(site.web.config) if record not in before]
    assert [(SECRET.encode() in value, key.startswith(b"lead-")) for key, value in arrived] == [(True, True)]
    audit = await site.db.fetch("SELECT * FROM admin_audit WHERE subject = $1", place)
    assert [(row["actor"], row["via"], row["action"], row["reason"]) for row in audit] == [
        ("token:ops-all", "web", "dead-letter-retry", "the schema was mended")
    ]
    left = await _told(site, "/api/dead-letters/retry?reason=refused_by_database")
    assert [each["place"] for each in left["letters"]] == [later]
    assert left["skipped"] == {"retried before": 1}


async def test_a_retry_needs_a_reason_and_a_place(site: Site) -> None:
    """Nothing is sent otherwise."""
    place, before = await _letter(site), await _records(site.web.config)
    async with site.program(Role.OPS) as client:
        for form in ({"places": place}, {"places": place, "why": " "}, {"why": "because"}):
            assert (await client.post("/api/dead-letters/retry", data=form)).status_code == 422
        assert (await client.post("/api/dead-letters/retry", data={"places": "no", "why": "x"})).status_code == 422
        assert (await client.post("/api/dead-letters/retry", data={"places": "a:b", "why": "x"})).status_code == 404
    assert await _records(site.web.config) == before


async def test_nothing_is_sent_that_is_not_on_record_first(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit is there when the broker is asked; what it did not take is said so, and is not taken for sent."""
    place, seen = await _letter(site, "bad_number"), list[str]()

    async def away(config: Config, letters: object) -> list[object]:
        seen.extend(
            row["subject"] for row in await site.db.fetch("SELECT * FROM admin_audit WHERE subject = $1", place)
        )
        raise KafkaConnectionError("away")

    with monkeypatch.context() as broker:
        broker.setattr(relettering, "_produce", away)
        async with site.program(Role.OPS) as client:
            answer = await client.post("/api/dead-letters/retry", data={"places": place, "why": "mended"})
    assert (answer.status_code, seen) == (503, [place])
    told = await _told(site, f"/api/dead-letters/{place}")
    assert told["retries"] == []
    async with site.program(Role.OPS) as client:
        answer = await client.post("/api/dead-letters/retry", data={"places": place, "why": "mended"})
    assert answer.json()["sent"] == [place]
    [retry] = (await _told(site, f"/api/dead-letters/{place}"))["retries"]
    assert retry["reason"] == "mended"
    actions = await site.db.fetch("SELECT action FROM admin_audit WHERE subject = $1 ORDER BY id", place)
    assert [row["action"] for row in actions] == ["dead-letter-retry", "dead-letter-retry-unsent", "dead-letter-retry"]


async def test_ops_of_one_workspace_retry_only_their_own(site: Site) -> None:
    """Another workspace's letter is not there for them."""
    own, other = await _letter(site), await _letter(site, workspace=OTHER)
    async with site.program(Role.OPS, OWN) as client:
        sent = await client.post("/api/dead-letters/retry", data={"places": f"{own},{other}", "why": "mended"})
    assert sent.json() == {"asked": 2, "sent": [own]}
    told = await _told(site, "/api/dead-letters", workspace=OWN)
    assert {each["workspace_id"] for each in told["letters"]} == {OWN}
