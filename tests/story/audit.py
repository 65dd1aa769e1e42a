"""The guarantees I1..I11 as far as a finished story shows them: one small function each, giving its violations.

They read what the outside saw (ledgers of model, webhook receiver and mailbox) beside what the pipeline recorded, so
that a mistake in one is not repeated in the other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from agents.outcomes import sha256_of
from schemas.codes import Stage
from schemas.limits import REVISION_ITERATIONS_MAX, STAGE_ATTEMPTS_MAX
from tests.story.audit_events import EVENT_CHECKS
from tests.story.evidence import Accepted, Evidence, TextRow, gather
from tests.story.harness import Pipeline

# A transaction's now() is its begin: two that wait for one row lock may show their times the wrong way round.
CLOCK_SLACK = timedelta(seconds=2)
HOLDING = ("pending", "scheduled", "unknown")
DEFINITE_REFUSALS = ("429", "503")
Violations = list[str]
Check = Callable[[Evidence], Violations]


def _more_than_one(groups: Iterable[object]) -> list[tuple[object, int]]:
    return [(group, count) for group, count in Counter(groups).items() if count > 1]


def _deliveries(evidence: Evidence) -> dict[str, TextRow]:
    return {str(row["id"]): row for row in evidence.tables["delivery"]}


def _unconfirmed(evidence: Evidence) -> list[Accepted]:
    deliveries = _deliveries(evidence)
    confirmed = {key for key, row in deliveries.items() if row["confirmed_by"] is not None}
    return [accepted for accepted in evidence.accepted if accepted.delivery not in confirmed]


# ---- I1


def one_accepted_message_per_draft(evidence: Evidence) -> Violations:
    """I1: the provider took at most one message for a draft that nobody confirmed a second time."""
    taken = _more_than_one(accepted.draft for accepted in _unconfirmed(evidence))
    return [f"draft {draft}: {count} messages accepted" for draft, count in taken]


def one_automatic_reply_per_trigger(evidence: Evidence) -> Violations:
    """I1: at most one automatic reply to one message on one channel."""
    deliveries = _deliveries(evidence)
    rows = [deliveries[each.delivery] for each in evidence.accepted if each.delivery in deliveries]
    triggers = [(row["workspace_id"], row["trigger_message_id"], row["channel"]) for row in rows if row["automatic"]]
    return [f"trigger {trigger}: {count} automatic replies" for trigger, count in _more_than_one(triggers)]


def nothing_was_accepted_that_was_not_claimed(evidence: Evidence) -> Violations:
    """I1: what a provider has, a delivery row claimed first, for that draft."""
    deliveries = _deliveries(evidence)
    found = []
    for each in evidence.accepted:
        row = deliveries.get(each.delivery)
        if row is None or str(row["draft_id"]) != each.draft:
            found.append(f"a provider has {each.delivery}, which no delivery of draft {each.draft} is")
        elif row["claimed_at"] is None or row["status"] in ("cancelled", "refused"):
            found.append(f"delivery {each.delivery} is {row['status']}, but the provider has it")
    return found


def what_is_called_sent_was_accepted(evidence: Evidence) -> Violations:
    """I1: a delivery is `sent` only when the provider has it."""
    accepted = {each.delivery for each in evidence.accepted}
    sent = [key for key, row in _deliveries(evidence).items() if row["status"] == "sent"]
    discarded = {
        str(row["id"]) for row in evidence.tables["delivery"] if str(row["provider_message_id"]).startswith("discard")
    }
    return [f"delivery {key} is sent, but no provider has it" for key in sent if key not in accepted | discarded]


# ---- I2


def _revision_requests(evidence: Evidence) -> list[tuple[str, str, int]]:
    """(draft, stage, iteration) of every revision request that reached the model and was not definitely refused."""
    found = []
    for line in evidence.model:
        run = evidence.runs.get(line["run_id"])
        if run is None or line["outcome"] in DEFINITE_REFUSALS:
            continue
        if line["stage"] in (Stage.SELECTOR, Stage.REVISER) or (
            line["stage"] == Stage.EVALUATION and line["iteration"]
        ):
            found.append((str(run["draft_id"]), line["stage"], line["iteration"]))
    return found


def revision_requests_stay_within_the_limits(evidence: Evidence) -> Violations:
    """I2, in the model's own ledger: one selector call, and one reviser call and re-evaluation an iteration, 1..3."""
    requests = _revision_requests(evidence)
    found = [f"draft {draft}: {stage} of iteration {iteration} asked {count} times"
             for (draft, stage, iteration), count in Counter(requests).items() if count > 1]  # fmt: skip
    selectors = Counter(draft for draft, stage, _ in requests if stage == Stage.SELECTOR)
    found += [f"draft {draft}: {count} selector calls" for draft, count in selectors.items() if count > 1]
    beyond = [each for each in requests if not 1 <= each[2] <= REVISION_ITERATIONS_MAX]
    return found + [f"draft {draft}: {stage} of iteration {iteration}" for draft, stage, iteration in beyond]


def revision_requests_belong_to_a_claim(evidence: Evidence) -> Violations:
    """I2: no selector or reviser request without the draft's one revision claim, taken before it was made."""
    claims = {str(row["draft_id"]): row for row in evidence.tables["draft_claim"] if row["purpose"] == "revision"}
    asked = {draft for draft, _, _ in _revision_requests(evidence)}
    found = [f"draft {draft}: revised without a claim" for draft in asked - claims.keys()]
    attempted = {key for key, row in evidence.drafts.items() if row["auto_send_revision_attempted_at"] is not None}
    return found + [f"draft {draft}: claim and attempted_at disagree" for draft in attempted ^ claims.keys()]


def results_tell_the_calls_that_were_made(evidence: Evidence) -> Violations:
    """I2: a `revision-result` counts at least the requests that the model saw for its draft."""
    seen = Counter((draft, stage) for draft, stage, _ in _revision_requests(evidence))
    fields = {
        "selector_calls": Stage.SELECTOR,
        "reviser_calls": Stage.REVISER,
        "evaluation_calls": Stage.EVALUATION,
    }
    return [
        f"draft {event['draft_id']}: {name} is {event[name]}, the model saw {seen[(event['draft_id'], stage)]}"
        for event in evidence.events("revision-result")
        for name, stage in fields.items()
        if event[name] < seen[(event["draft_id"], stage)]
    ]


# ---- I4, I5


def terminal_runs_have_a_reason(evidence: Evidence) -> Violations:
    """I4: every run ended, with a reason code and a time."""
    return [
        f"run {key} is {row['status']} with reason {row['reason']!r}"
        for key, row in evidence.runs.items()
        if row["status"] == "RUNNING" or not row["reason"] or " " in row["reason"] or row["finished_at"] is None
    ]


def sent_text_is_the_decided_text(evidence: Evidence) -> Violations:
    """I5: provider, delivery, draft, outbound message and final artifact hold the same text, byte for byte."""
    deliveries = _deliveries(evidence)
    final = {
        str(row["run_id"]): row["text"]
        for row in evidence.tables["draft_pipeline_artifact"]
        if row["stage"] == "final_draft"
    }
    messages = {row["message_id"]: row["body"] for row in evidence.tables["message"]}
    found = []
    for each in evidence.accepted:
        row, draft = deliveries.get(each.delivery), evidence.drafts.get(each.draft)
        if row is None or draft is None:
            continue
        texts = {"delivery": row["content"], "draft": draft["content"]}
        if row["automatic"]:
            texts["final_draft"] = final.get(str(draft["run_id"]))
        if row["status"] == "sent":
            texts["message"] = messages.get(f"draft-pipeline:{row['id']}")
        found += [
            f"draft {each.draft}: {where} differs from what was sent" for where in texts if texts[where] != each.text
        ]
        if row["content_sha256"] != sha256_of(each.text) or draft["content_sha256"] != sha256_of(each.text):
            found.append(f"draft {each.draft}: a recorded hash is not that of the text that was sent")
        if row["recipient"] != each.recipient:
            found.append(f"draft {each.draft}: sent to somebody else than recorded")
    return found


# ---- I6


def no_automatic_send_after_a_switch(evidence: Evidence) -> Violations:
    """I6: while the row of AUTO_SEND_DISABLED says off, no automatic send was claimed."""
    off = [row["changed_at"] for row in evidence.tables["kill_switch"]
           if row["name"] == "AUTO_SEND_DISABLED" and row["disabled"]]  # fmt: skip
    return [
        f"delivery {row['id']} was claimed after the switch"
        for row in evidence.tables["delivery"]
        if row["automatic"] and row["claimed_at"] is not None and any(row["claimed_at"] > since for since in off)
    ]


def no_send_that_was_stale(evidence: Evidence) -> Violations:
    """I6: no send was claimed after a newer inbound message, somebody's answer or a suppression was committed."""
    by_lead: dict[tuple[str, str], list[TextRow]] = defaultdict(list)
    for row in evidence.tables["message"]:
        by_lead[(row["workspace_id"], row["lead_id"])].append(row)
    suppressed = {(row["workspace_id"], row["lead_id"]): row["created_at"] for row in evidence.tables["suppression"]}
    found = []
    for row in evidence.tables["delivery"]:
        if row["claimed_at"] is None or row["status"] == "cancelled":
            continue
        lead, draft = (row["workspace_id"], row["lead_id"]), evidence.drafts[str(row["draft_id"])]
        before = row["claimed_at"] - CLOCK_SLACK
        found += [f"delivery {row['id']} was claimed after {each['message_id']}" for each in by_lead[lead]
                  if each["ingested_at"] < before and _makes_stale(each, draft)]  # fmt: skip
        if lead in suppressed and suppressed[lead] < before:
            found.append(f"delivery {row['id']} was claimed after its lead was suppressed")
    return found


def _makes_stale(message: TextRow, draft: TextRow) -> bool:
    if message["ingest_seq"] <= draft["trigger_ingest_seq"]:
        return False
    if message["direction"] == "outbound":
        return bool(message["draft_id"] is None)
    conversation = (message["channel"], message["thread_id"]) == (draft["channel"], draft["thread_id"])
    return bool(message["human"]) and conversation


# ---- I7


def every_request_was_recorded_first(evidence: Evidence) -> Violations:
    """I7: each request in the model's ledger is one `model_call` row that was committed before, and no row is two."""
    calls = {str(row["id"]): row for row in evidence.tables["model_call"]}
    found = [
        f"call {call} was made {count} times"
        for call, count in _more_than_one(each["call_id"] for each in evidence.model)
    ]
    for line in evidence.model:
        row = calls.get(line["call_id"])
        if row is None:
            found.append(f"request {line['call_id']} ({line['stage']}) was never recorded")
        elif (row["stage"], row["iteration"], str(row["run_id"])) != (line["stage"], line["iteration"], line["run_id"]):
            found.append(f"request {line['call_id']} is not the call that was recorded")
        elif row["started_at"] > datetime.fromisoformat(line["time"]):
            found.append(f"request {line['call_id']} was made before it was recorded")
        elif line["outcome"] == "bad_request":
            found.append(f"request {line['call_id']} ({line['stage']}) was malformed")
    return found


def attempts_stay_within_the_limit(evidence: Evidence) -> Violations:
    """I7: a draft stage used at most its attempts, failures in an outage and refusals not counted."""
    spent = Counter(
        (str(row["run_id"]), row["stage"], row["iteration"])
        for row in evidence.tables["model_call"]
        if row["status"] in ("unusable", "failed", "started") and not row["during_outage"]
        and row["failure"] not in ("lease_lost", "superseded")
    )  # fmt: skip
    return [f"{key}: {count} attempts spent" for key, count in spent.items() if count > STAGE_ATTEMPTS_MAX]


# ---- bookings


def no_time_is_booked_twice(evidence: Evidence) -> Violations:
    """Of a workspace's held and confirmed bookings no two overlap."""
    taken: dict[str, list[TextRow]] = defaultdict(list)
    for row in sorted(evidence.tables["booking"], key=lambda row: row["starts_at"]):
        if row["status"] != "released":
            taken[row["workspace_id"]].append(row)
    return [
        f"bookings {one['id']} and {other['id']} overlap"
        for rows in taken.values()
        for one, other in pairwise(rows)
        if one["ends_at"] > other["starts_at"]
    ]


def a_booking_follows_its_draft(evidence: Evidence) -> Violations:
    """Confirmed if and only if the reply was sent; held only while it may still be."""
    found = []
    for row in evidence.tables["booking"]:
        draft = evidence.drafts.get(str(row["draft_id"]))
        if draft is None:
            continue
        sent, held = draft["status"] == "sent", row["status"] == "held"
        if (row["status"] == "confirmed") != sent or (held and draft["status"] not in HOLDING):
            found.append(f"booking {row['id']} is {row['status']}, its draft {draft['status']}")
    return found


CHECKS: tuple[Check, ...] = (
    one_accepted_message_per_draft,
    one_automatic_reply_per_trigger,
    nothing_was_accepted_that_was_not_claimed,
    what_is_called_sent_was_accepted,
    revision_requests_stay_within_the_limits,
    revision_requests_belong_to_a_claim,
    results_tell_the_calls_that_were_made,
    terminal_runs_have_a_reason,
    sent_text_is_the_decided_text,
    no_automatic_send_after_a_switch,
    no_send_that_was_stale,
    every_request_was_recorded_first,
    attempts_stay_within_the_limit,
    no_time_is_booked_twice,
    a_booking_follows_its_draft,
    *EVENT_CHECKS,
)


def violations(evidence: Evidence) -> Violations:
    """Every violation of every check, with the check's name."""
    return [f"{check.__name__}: {what}" for check in CHECKS for what in check(evidence)]


def tally(evidence: Evidence) -> Counter[str]:
    """How much was finished, for floors: a run in which nothing succeeds proves nothing."""
    counted: Counter[str] = Counter()
    counted["messages"] = len(evidence.tables["message"])
    counted["letters"] = len(evidence.topics["dead-letter"])
    counted["accepted"] = len(evidence.accepted)
    for row in evidence.tables["draft_pipeline_run"]:
        counted[row["status"]] += 1
    for row in evidence.tables["ai_draft"]:
        counted[f"action:{row['auto_send_action']}"] += 1
        counted[f"status:{row['status']}"] += 1
        counted[f"revision:{row['revision_outcome']}"] += 1
    for row in evidence.tables["delivery"]:
        counted[f"delivery:{row['status']}"] += 1
    for row in evidence.tables["booking"]:
        counted[f"booking:{row['status']}"] += 1
    return counted


async def audit(pipeline: Pipeline, *, floor: dict[str, int]) -> Evidence:
    """Raise AssertionError for violations, and when less than `floor` (names of `tally`) was finished."""
    evidence = await gather(pipeline)
    found = violations(evidence)
    assert not found, "\n".join([f"{len(found)} violations", *found[:40]])
    counted = tally(evidence)
    missing = {name: counted[name] for name, least in floor.items() if counted[name] < least}
    assert not missing, f"too little was finished: {missing} of {dict(counted)}"
    return evidence


def only(evidence: Evidence, table: str, **columns: Any) -> list[TextRow]:
    """The rows of a table with these values."""
    return [row for row in evidence.tables[table] if all(row[name] == value for name, value in columns.items())]
