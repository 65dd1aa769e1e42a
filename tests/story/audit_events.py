"""Audit, second half: records and events (I3, I8), leaks (I9), nothing stuck (I10), workspaces apart (I11)."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from pydantic import ValidationError

from schemas.events import EVENTS, InboundMessage
from schemas.limits import KEY_BYTES_MAX
from schemas.topics import DEAD_LETTER, INBOUND_MESSAGE, TOPICS
from tests.story.evidence import Evidence, TextRow
from tests.story.harness import Record

Violations = list[str]
SENTENCE_CHARS_MIN = 25
LETTER_BYTES_KEPT_MAX = 8 * 1024 * 1024
OURS = tuple(name for name in TOPICS if name not in (INBOUND_MESSAGE.name, DEAD_LETTER.name))
LETTER_HEADERS = ("dlq_reason", "dlq_error", "dlq_topic", "dlq_partition", "dlq_offset", "dlq_attempts", "dlq_at")
EVENT_HEADERS = ("ce_id", "ce_type", "ce_source", "ce_specversion", "ce_time", "content-type", "traceparent")
_SENTENCE = re.compile(r"[.!?\n]\s*")


# ---- I3


def source_of(letter: Record) -> tuple[str, int, int]:
    """Topic, partition and offset of the record that a dead letter is about."""
    headers = {name: value.decode() for name, value in letter.headers.items()}
    return headers["dlq_topic"], int(headers["dlq_partition"]), int(headers["dlq_offset"])


def every_record_is_stored_or_a_letter(evidence: Evidence) -> Violations:
    """I3: each committed record of `inbound-message` is one message row or one dead letter, never neither, never both."""
    letters = {source_of(letter) for letter in evidence.topics[DEAD_LETTER.name]}
    stored = {(row["workspace_id"], row["message_id"]) for row in evidence.tables["message"]}
    found = []
    for record in evidence.topics[INBOUND_MESSAGE.name]:
        where = (record.topic, record.partition, record.offset)
        identity = _identity(record.value)
        if where in letters and identity in stored:
            found.append(f"{where} is a dead letter and a message")
        elif where not in letters and identity not in stored:
            found.append(f"{where} is neither a message nor a dead letter")
    return found


def _identity(value: bytes | None) -> tuple[str, str] | None:
    """Workspace and message id of a record that keeps the contract."""
    try:
        message = InboundMessage.model_validate_json(value or b"")
    except (ValidationError, ValueError):
        return None
    return message.workspace_id, message.message_id


def stored_messages_are_what_arrived(evidence: Evidence) -> Violations:
    """I3: nothing is stored that did not arrive (beside our own replies), and bodies are stored as they came."""
    arrived: dict[tuple[str, str] | None, set[str]] = defaultdict(set)
    for record in evidence.topics[INBOUND_MESSAGE.name]:
        identity = _identity(record.value)
        if identity is not None:
            arrived[identity].add(InboundMessage.model_validate_json(record.value or b"").body)
    return [
        f"message {row['message_id']} is stored, but not as it came"
        for row in evidence.tables["message"]
        if row["source"] != "draft-pipeline" and row["body"] not in arrived[(row["workspace_id"], row["message_id"])]
    ]


def letters_keep_the_original(evidence: Evidence) -> Violations:
    """I3: a dead letter has the record's own bytes and key, one per record, and every header of the contract."""
    originals = {(r.topic, r.partition, r.offset): r for name in TOPICS for r in evidence.topics[name]}
    found: list[str] = []
    seen: set[tuple[object, ...]] = set()
    for letter in evidence.topics[DEAD_LETTER.name]:
        missing = [name for name in LETTER_HEADERS if name not in letter.headers]
        if missing:
            found.append(f"a dead letter has no {missing[0]}")
            continue
        original = originals.get(source_of(letter))
        if original is None or not _keeps(letter, original):
            found.append(f"dead letter of {source_of(letter)} is not the original")
        content = (source_of(letter), letter.value, tuple(sorted(letter.headers.items())))
        if source_of(letter) in {other[0] for other in seen} and content not in seen:
            found.append(f"two different dead letters of {source_of(letter)}")
        seen.add(content)
    return found


def _keeps(letter: Record, original: Record) -> bool:
    """The original untouched; a key or value that fits on no topic is named by its hash instead."""
    key, value = original.key or b"", original.value or b""
    same_key = key == (letter.key or b"") or (len(key) > KEY_BYTES_MAX and letter.key == _hexdigest(key))
    too_large = len(value) > LETTER_BYTES_KEPT_MAX
    return same_key and (original.value == letter.value or (too_large and _hexdigest(value) in (letter.value or b"")))


def _hexdigest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


# ---- I8


def outbox_equals_topics(evidence: Evidence) -> Violations:
    """I8: every event of the outbox is on its topic, every record of ours is in the outbox, and repeats are identical."""
    written = {(row["topic"], str(row["event_id"])): row for row in evidence.tables["outbox"]}
    found, seen = [], set()
    for record in (each for name in OURS for each in evidence.topics[name]):
        identity = (record.topic, record.headers.get("ce_id", b"").decode())
        seen.add(identity)
        row = written.get(identity)
        if row is None:
            found.append(f"{identity} is on its topic, but not in the outbox")
        elif (row["key"], row["value"]) != (record.key, record.value) or row["headers"] != _text(record.headers):
            found.append(f"{identity} is not on its topic as it is in the outbox")
    missing = [key for key in written.keys() - seen if key[0] in OURS]
    found += [f"{key} is in the outbox, but not on its topic" for key in missing]
    unmarked = [row for row in evidence.tables["outbox"] if row["published_at"] is None]
    return found + [f"{row['topic']} {row['event_id']} was never published" for row in unmarked]


def _text(headers: dict[str, bytes]) -> dict[str, str]:
    return {name: value.decode() for name, value in headers.items()}


def letters_equal_the_outbox(evidence: Evidence) -> Violations:
    """I8: as many different dead letters on the topic as in the outbox."""
    written = [row for row in evidence.tables["outbox"] if row["topic"] == DEAD_LETTER.name]
    on_topic = {source_of(letter) for letter in evidence.topics[DEAD_LETTER.name]}
    return [] if len(written) == len(on_topic) else [f"{len(written)} letters written, {len(on_topic)} on the topic"]


def events_keep_their_contract(evidence: Evidence) -> Violations:
    """Every record of ours validates, has no field of its own invention, its headers, and the lead's id as its key."""
    found = []
    for record in (each for name in OURS for each in evidence.topics[name]):
        kind = EVENTS[record.topic]
        try:
            event = kind.model_validate_json(record.value or b"")
        except ValidationError as error:
            found.append(f"{record.topic} {record.offset}: {error.errors()[0]['loc']}")
            continue
        fields = json.loads(record.value or b"{}").keys()
        absent = [name for name in EVENT_HEADERS if name not in record.headers]
        if fields != kind.model_fields.keys() or absent or record.key != event.key:
            found.append(f"{record.topic} {record.offset}: fields, headers or key are not those of the contract")
    return found


def one_result_per_evaluated_draft(evidence: Evidence) -> Violations:
    """Each evaluated draft has exactly one `draft-evaluated` and one `revision-result`; no other draft has one."""
    evaluated = {key for key, row in evidence.drafts.items() if row["auto_send_evaluated_at"] is not None}
    found = []
    for topic in ("draft-evaluated", "revision-result"):
        told = Counter(event["draft_id"] for event in evidence.events(topic))
        found += [f"draft {draft}: {count} {topic}" for draft, count in told.items() if count > 1]
        found += [f"draft {draft}: {topic} does not fit" for draft in evaluated ^ told.keys()]
    return found


def outcomes_are_numbered_without_gap(evidence: Evidence) -> Violations:
    """The outcomes of a draft are numbered 1, 2, 3, ... up to the row's own number."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for event in evidence.events("draft-outcome"):
        numbers[event["draft_id"]].append(event["sequence"])
    return [
        f"draft {key}: outcomes {sorted(numbers[key])}, the row says {row['outcome_sequence']}"
        for key, row in evidence.drafts.items()
        if sorted(numbers[key]) != list(range(1, row["outcome_sequence"] + 1))
    ]


# ---- I9


def no_text_leaks(evidence: Evidence) -> Violations:
    """I9: no planted marker and no sentence of a draft in logs, result topics, headers of letters, telemetry."""
    needles = {*evidence.markers, *(sentence.encode() for sentence in _sentences(evidence))}
    found = []
    for where, content in _public(evidence):
        hit = next((needle for needle in needles if needle in content), None)
        if hit is not None:
            found.append(f"{where} holds {hit[:40]!r}")
    return found


def _sentences(evidence: Evidence) -> set[str]:
    texts = [row[name] or "" for row in evidence.drafts.values() for name in ("content", "original_content")]
    parts = {part.strip() for text in texts for part in _SENTENCE.split(text)}
    return {part for part in parts if len(part) >= SENTENCE_CHARS_MIN}


def _public(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    """Everything that may be read by those who may not read messages."""
    yield from evidence.logs.items()
    for name in OURS:
        yield name, b"\n".join(_bytes_of(record) for record in evidence.topics[name])
    headers = [b" ".join(letter.headers.values()) for letter in evidence.topics[DEAD_LETTER.name]]
    yield "headers of dead letters", b"\n".join(headers)
    for table in ("ai_interaction", "process_heartbeat", "draft_claim", "model_call"):
        yield table, repr([tuple(row.values()) for row in evidence.tables[table]]).encode()


def _bytes_of(record: Record) -> bytes:
    return b" ".join([record.key or b"", record.value or b"", *record.headers.values()])


# ---- I10


def nothing_is_stuck(evidence: Evidence) -> Violations:
    """I10: at the end no claim is open, no run RUNNING, no send under way, no message waiting."""
    tables = evidence.tables
    found = [
        f"{row['purpose']} claim of {row['draft_id']} is open" for row in tables["draft_claim"] if not row["settled_at"]
    ]
    found += [f"run {row['id']} is RUNNING" for row in tables["draft_pipeline_run"] if row["status"] == "RUNNING"]
    found += [f"delivery {row['id']} is claimed" for row in tables["delivery"] if row["status"] == "claimed"]
    due = [row for row in tables["delivery"] if row["status"] == "scheduled" and row["scheduled_for"] <= evidence.now]
    found += [f"delivery {row['id']} is overdue" for row in due]
    waiting = [row for row in tables["message"] if row["disposition"] == "waiting"]
    return found + [f"message {row['message_id']} waits" for row in waiting]


def every_conversation_was_answered_or_decided(evidence: Evidence) -> Violations:
    """Nothing is lost: the newest message of each conversation has a run with a decision, or a reason for none."""
    suppressed = {(row["workspace_id"], row["lead_id"]) for row in evidence.tables["suppression"]}
    runs = {(r["workspace_id"], r["trigger_message_id"], r["channel"]): r for r in evidence.runs.values()}
    answers, given_up = _last_answers(evidence), _given_up(evidence)
    found = []
    for newest in _newest(evidence):
        lead = (newest["workspace_id"], newest["lead_id"])
        if newest["disposition"] in ("opt_out", "lead_suppressed", "mode_off") or lead in suppressed:
            continue
        if answers.get(lead, 0) > newest["ingest_seq"]:
            continue
        if newest["disposition"] == "draft_failed" and (newest["workspace_id"], newest["message_id"]) in given_up:
            continue
        run = runs.get((newest["workspace_id"], newest["message_id"], newest["channel"]))
        if run is None or run["status"] not in ("COMPLETED", "FAILED"):
            status = run["status"] if run else "no run"
            found.append(f"message {newest['message_id']} ({newest['disposition']}) has {status}")
    return found


def _newest(evidence: Evidence) -> list[TextRow]:
    newest: dict[tuple[str, ...], TextRow] = {}
    for row in sorted(evidence.tables["message"], key=lambda each: each["ingest_seq"]):
        if row["direction"] == "inbound" and row["human"]:
            newest[(row["workspace_id"], row["lead_id"], row["channel"], row["thread_id"])] = row
    return list(newest.values())


def _last_answers(evidence: Evidence) -> dict[tuple[str, str], int]:
    """By lead: the sequence of the last answer that was not ours."""
    answers = [row for row in evidence.tables["message"] if row["direction"] == "outbound" and row["draft_id"] is None]
    in_order = sorted(answers, key=lambda row: row["ingest_seq"])
    return {(row["workspace_id"], row["lead_id"]): row["ingest_seq"] for row in in_order}


def _given_up(evidence: Evidence) -> set[tuple[str, str]]:
    """Triggers whose draft request is a dead letter: no run could be made of them, and the letter tells."""
    letters = [letter for letter in evidence.topics[DEAD_LETTER.name] if source_of(letter)[0] == "draft-requested"]
    requests = [json.loads(letter.value or b"{}") for letter in letters]
    return {(request["workspace_id"], request["trigger_message_id"]) for request in requests}


def decided_drafts_are_whole(evidence: Evidence) -> Violations:
    """A sent draft has its one outbound message and no question; one that a person must decide has an open question."""
    asked = {str(row["draft_id"]) for row in evidence.tables["review_request"] if row["status"] == "open"}
    sent = Counter(str(row["draft_id"]) for row in evidence.tables["message"] if row["draft_id"] is not None)
    found = []
    for key, row in evidence.drafts.items():
        status, action = row["status"], row["auto_send_action"]
        if status == "sent" and (sent[key] < 1 or key in asked):
            found.append(f"draft {key} is sent with {sent[key]} messages, question open: {key in asked}")
        if status != "sent" and sent[key]:
            found.append(f"draft {key} is {status}, but a message says that it was sent")
        if status in ("pending", "unknown") and action == "needs_review" and key not in asked:
            found.append(f"draft {key} needs a person, but nobody is asked")
        if action is None:
            found.append(f"draft {key} was never decided")
    return found


def final_drafts_are_recorded(evidence: Evidence) -> Violations:
    """Every COMPLETED run has one `final_draft` artifact, at the chosen iteration; no other run has one."""
    finals: dict[str, list[int]] = defaultdict(list)
    for row in evidence.tables["draft_pipeline_artifact"]:
        if row["stage"] == "final_draft":
            finals[str(row["run_id"])].append(row["iteration"])
    found = []
    for key, run in evidence.runs.items():
        chosen = [evidence.drafts[str(run["draft_id"])]["chosen_iteration"]] if run["status"] == "COMPLETED" else []
        if finals[key] != chosen:
            found.append(f"run {key} ({run['status']}): final drafts {finals[key]}, chosen {chosen}")
    return found


# ---- I11


def workspaces_stay_apart(evidence: Evidence) -> Violations:
    """I11: a draft, its run, its trigger and its delivery are of one workspace, and its receiver is that one's."""
    deliveries = {str(row["id"]): row for row in evidence.tables["delivery"]}
    triggers = {(row["workspace_id"], row["message_id"], row["lead_id"]) for row in evidence.tables["message"]}
    found = []
    for key, row in evidence.drafts.items():
        if (row["workspace_id"], row["trigger_message_id"], row["lead_id"]) not in triggers:
            found.append(f"draft {key} answers a message of another workspace or lead")
    for each in evidence.accepted:
        delivery, draft = deliveries.get(each.delivery), evidence.drafts.get(each.draft)
        owners = {row["workspace_id"] for row in (delivery, draft) if row is not None}
        if len(owners | ({each.workspace} - {None})) > 1:
            found.append(f"draft {each.draft} went out for another workspace")
    return found


EVENT_CHECKS: tuple[Callable[[Evidence], Violations], ...] = (
    every_record_is_stored_or_a_letter,
    stored_messages_are_what_arrived,
    letters_keep_the_original,
    outbox_equals_topics,
    letters_equal_the_outbox,
    events_keep_their_contract,
    one_result_per_evaluated_draft,
    outcomes_are_numbered_without_gap,
    no_text_leaks,
    nothing_is_stuck,
    every_conversation_was_answered_or_decided,
    decided_drafts_are_whole,
    final_drafts_are_recorded,
    workspaces_stay_apart,
)
