"""Each check of what an approval is bound to stands alone: nothing else on the way to a delivery would stop the click."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from agents import approval, review
from agents.outcomes import sha256_of
from schemas.review import claims_sha256_of
from tests.db.sending import WORKSPACE, Sending, actions

OTHER = "Thank you, it is on its way."
PRICE = "Thank you. It costs €500."
_WRITTEN = f"""INSERT INTO message (id, workspace_id, lead_id, channel, message_id, direction, mode, body, disposition,
    received_at) SELECT gen_random_uuid(), '{WORKSPACE}', 'l-0', 'chat', 'since', kind, 'AI_AUTO_SEND', 'x', disposition,
    now() FROM (VALUES """
# What happens between a person's look and their click, by the code that the click is refused with.
BETWEEN = {
    "text_changed": f"UPDATE ai_draft SET content = '{OTHER}', content_sha256 = '{sha256_of(OTHER)}'",
    "recipient_changed": "UPDATE ai_draft SET recipient = 'l-else'",
    "newer_inbound": _WRITTEN + "('inbound', 'run')) given (kind, disposition)",
    "answered": _WRITTEN + "('outbound', 'outbound')) given (kind, disposition)",
    "lead_suppressed": f"INSERT INTO suppression (workspace_id, lead_id, reason) VALUES ('{WORKSPACE}', 'l-0', 'stop')",
    "policy_changed": "INSERT INTO confidence_policy_revision (scope, workspace_id, auto_send_threshold, created_by, reason)"
    f" VALUES ('workspace', '{WORKSPACE}', 0.97, 't', 't')",
    "expired": "SELECT 1",
}


async def clicked(asked: Sending, code: str) -> str:
    """What comes of an approval of what was shown, after `BETWEEN`."""
    shown = {"expires_at": 1.0} if code == "expired" else {}
    command = (await actions(asked, "ann", shown=shown))[0]
    await asked.pool.execute(BETWEEN[code])
    await review.handle(command, asked.rim)
    result: str = await asked.pool.fetchval("SELECT result FROM review_action")
    assert (await asked.column("SELECT count(*) FROM delivery") == [0]) is result.startswith("refused_")
    return result


def changed_without(code: str) -> Callable[..., Any]:
    """`approval.changed` with the line of this code taken out."""
    lines = inspect.getsource(approval.changed).splitlines()
    kept = [line for line in lines if f'"{code}"' not in line]
    assert len(kept) == len(lines) - 1
    names = dict(vars(approval))
    exec("\n".join(kept), names)
    taken: Callable[..., Any] = names["changed"]
    return taken


@pytest.mark.parametrize("code", BETWEEN)
async def test_an_approval_of_something_else_sends_nothing(asked: Sending, code: str) -> None:
    """Text, recipient, newest message, answer, opt-out, policy, expiry: each is refused by its name."""
    assert await clicked(asked, code) == f"refused_{code}"


@pytest.mark.parametrize("code", BETWEEN)
async def test_without_its_check_the_same_click_makes_a_delivery(
    asked: Sending, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each check is what refuses: with its line taken out the click is carried out."""
    monkeypatch.setattr(review, "changed", changed_without(code))
    assert await clicked(asked, code) == "approved"


@pytest.mark.parametrize(
    ("shown", "result"),
    [
        (claims_sha256_of([("amount_not_in_context", 20, 24)]), "approved"),
        (claims_sha256_of([("amount_not_in_context", 19, 24)]), "refused_amount_not_in_context"),
        ("", "refused_amount_not_in_context"),
    ],
)
async def test_claims_pass_only_where_they_were_marked(asked: Sending, shown: str, result: str) -> None:
    """An amount from nowhere goes out when exactly its place was shown, and not for another place or none."""
    await asked.pool.execute("UPDATE ai_draft SET content = $1, content_sha256 = $2", PRICE, sha256_of(PRICE))
    command = (await actions(asked, "ann", shown={"claims_sha256": shown}, content_sha256=sha256_of(PRICE)))[0]
    await review.handle(command, asked.rim)
    assert await asked.column("SELECT result FROM review_action") == [result]


async def test_claims_shown_in_one_text_do_not_pass_in_another(asked: Sending) -> None:
    """What was marked in a person's own text says nothing of the same places in the draft."""
    marked = {"claims_sha256": claims_sha256_of([("amount_not_in_context", 20, 24)])}
    command = (await actions(asked, "ann", "edit", shown=marked, edited_text=PRICE))[0]
    await review.handle(command, asked.rim)
    assert await asked.column("SELECT result FROM review_action") == ["refused_amount_not_in_context"]
    again = (
        await actions(asked, "ann", "edit", shown=marked | {"edited_sha256": sha256_of(PRICE)}, edited_text=PRICE)
    )[0]
    await review.handle(again, asked.rim)
    assert await asked.column("SELECT result FROM review_action ORDER BY created_at DESC LIMIT 1") == ["edited"]
