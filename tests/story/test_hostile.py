"""Whatever bytes arrive and whatever a model says: a dead letter or a person, never a crash, never a wrong send."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.samples import json_files, naughty_strings
from tests.story.audit import audit, only
from tests.story.audit_events import source_of
from tests.story.bad_records import BAD, WORKSPACE
from tests.story.harness import Pipeline, pipeline
from tests.story.hostile_model import ANSWERS_FILE
from tests.story.rows import Workspace, row

# Stage, and which of the files it is answered with: every, every eighth, ...
STAGES_ASKED = {"draft_generation_step2": 1, "draft_strategy_step1": 12, "auto_send_evaluation": 8}
CALM = {"quiet_window_s": 0.0}


@pytest.fixture(scope="module")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    """One worker beside a model that says what it is told to."""
    folder = tmp_path_factory.mktemp("hostile")
    suite = [content.decode(errors="replace") for content in json_files().values()]
    (folder / ANSWERS_FILE).write_text(json.dumps({"suite": suite, "naughty": naughty_strings()}))
    workspaces = [Workspace(WORKSPACE, settings=CALM)]
    async with pipeline(folder, workers=1, workspaces=workspaces, model="tests.story.hostile_model") as running:
        yield running
        assert running.workers[0].alive


async def test_every_bad_record_is_a_dead_letter_that_says_why(hostile: Pipeline) -> None:
    """Each kind of bad record: its own letter, with code and field, bytes untouched; what follows it is answered."""
    sent = [await hostile.produce_raw("inbound-message", bad.key, bad.value) for bad in BAD]
    last = row(WORKSPACE, "lead", "!!confident hello")
    await hostile.produce([last])
    await hostile.idle()
    evidence = await audit(hostile, floor={"accepted": 1, "letters": len(BAD)})
    letters = {source_of(letter): letter.headers for letter in evidence.topics["dead-letter"]}
    for bad, landed in zip(BAD, sent, strict=True):
        headers = letters[("inbound-message", landed.partition, landed.offset)]
        assert (bad.what, headers["dlq_reason"].decode()) == (bad.what, bad.code)
        assert headers["dlq_error"].decode().startswith(bad.error), bad.what
    assert only(evidence, "message", message_id=last["message_id"])


async def test_records_that_only_compression_made_small_are_letters_too(hostile: Pipeline) -> None:
    """A 20 MB value and a 12 MB key, small on the wire: letters that name size and hash, and the next one is answered."""
    huge = [(b"small", b"[" + b" " * 20_000_000 + b"]"), (b"k" * 12_000_000, b"{}"), (b"k" * 9_300_000, None)]
    async with AIOKafkaProducer(
        bootstrap_servers=hostile.stack.kafka.bootstrap, compression_type="gzip", max_request_size=64 * 1024 * 1024
    ) as producer:
        landed = [await producer.send_and_wait("inbound-message", value, key=key) for key, value in huge]
    last = row(WORKSPACE, "lead-after-huge", "!!confident hello")
    await hostile.produce([last])
    await hostile.idle()
    evidence = await audit(hostile, floor={"accepted": 1, "letters": len(huge)})
    letters = {source_of(letter): letter for letter in evidence.topics["dead-letter"]}
    assert all((each.topic, each.partition, each.offset) in letters for each in landed)
    assert only(evidence, "message", message_id=last["message_id"])


async def test_every_file_of_the_json_test_suite_is_survived_as_a_record(hostile: Pipeline) -> None:
    """318 files, valid or not, as record values: none is a message, each becomes exactly one dead letter."""
    before = len(await hostile.topic("dead-letter"))
    await hostile.produce(json_files().values())
    await hostile.idle()
    evidence = await audit(hostile, floor={"letters": before + len(json_files())})
    letters = [letter for letter in evidence.topics["dead-letter"] if source_of(letter)[0] == "inbound-message"]
    assert len({source_of(letter) for letter in letters}) >= len(json_files())


async def test_every_file_of_the_json_test_suite_is_survived_as_an_answer(hostile: Pipeline) -> None:
    """The model answers with each file in turn, and at other stages with some: a person decides, nothing else happens."""
    await hostile.provision([Workspace(f"ws-{stage}", settings=CALM) for stage in STAGES_ASKED])
    rows = [
        row(f"ws-{stage}", f"lead{number}", f"!!confident answer {stage} suite {number}")
        for stage, step in STAGES_ASKED.items()
        for number in range(0, len(json_files()), step)
    ]
    await hostile.produce(rows)
    await hostile.idle(120)
    evidence = await audit(hostile, floor={"action:needs_review": len(rows)})
    for stage in STAGES_ASKED:
        runs = only(evidence, "draft_pipeline_run", workspace_id=f"ws-{stage}")
        expected = ("COMPLETED", "no_confidence") if stage == "auto_send_evaluation" else ("FAILED", f"{stage}_failed")
        assert {(each["status"], each["reason"]) for each in runs} == {expected}
        assert not only(evidence, "delivery", workspace_id=f"ws-{stage}")


async def test_naughty_strings_arrive_and_leave_byte_for_byte(hostile: Pipeline) -> None:
    """Naughty strings as body, name and subject, and as the model's reply: what is sent is exactly what was judged."""
    texts = naughty_strings()
    await hostile.provision([Workspace("ws-naughty", settings=CALM)])
    rows = [
        row("ws-naughty", f"lead{number}", f"!!confident answer x naughty {number} as text\n{text}",
            subject=text[:2000], lead={"name": text[:2000]}, from_address=text[:2000],
            channel=("chat", "email")[number % 2], headers={"X-Naughty": text[:8000], "Message-ID": text[:900]})
        for number, text in enumerate(texts) if number % 3 == 0
    ]  # fmt: skip
    await hostile.produce(rows)
    await hostile.idle(120)
    evidence = await audit(hostile, floor={"accepted": 20})
    sent = [each["content"] for each in only(evidence, "ai_draft", workspace_id="ws-naughty", status="sent")]
    assert len(sent) >= 20
    assert set(sent) <= set(texts)


MALICIOUS: dict[str, Any] = {"default": {"pmalice": 1}}


async def test_a_model_that_obeys_an_attacker_sends_nothing(hostile: Pipeline) -> None:
    """Full confidence, a link, marks of the fence at every stage: every draft goes to a person, recipient unchanged."""
    await hostile.provision([Workspace("ws-malice", settings=CALM)])
    hostile.stack.model.behave(MALICIOUS)
    rows = [row("ws-malice", f"lead{number}", f"!!near please call me {number}") for number in range(12)]
    await hostile.produce(rows)
    await hostile.idle()
    hostile.stack.model.behave(None)
    evidence = await audit(hostile, floor={})
    drafts = only(evidence, "ai_draft", workspace_id="ws-malice")
    assert {each["auto_send_action"] for each in drafts} == {"needs_review"}
    assert len(drafts) == len(rows)
    assert not only(evidence, "delivery", workspace_id="ws-malice")
