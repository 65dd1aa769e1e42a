"""What a reviewer sees in Slack (Block Kit). Pure.

All words go out as plain text, escaped: a draft must not be able to format itself, mention people or show a link under
another name. A draft that does not fit is never cut silently: without its end nobody can approve it here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

# Slack's limits, in characters after escaping.
SECTION_CHARS_MAX: Final = 3_000
HEADER_CHARS_MAX: Final = 150
FALLBACK_CHARS_MAX: Final = 200
VALUE_CHARS_MAX: Final = 2_000
INPUT_CHARS_MAX: Final = 3_000
DRAFT_SECTIONS_MAX: Final = 40  # of the 50 blocks a message may have

APPROVE, EDIT, REJECT = "approve", "edit", "reject"
INPUT_ID: Final = "text"

Block = dict[str, Any]


@dataclass(frozen=True)
class SlackMessage:
    """`text` is what notifications show."""

    text: str
    blocks: tuple[Block, ...]

    def fields(self) -> dict[str, Any]:
        return {"text": self.text, "blocks": list(self.blocks)}


@dataclass(frozen=True)
class Review:
    """A draft that waits for a person. `binding` is the signed, opaque word that says what was seen.

    `reason` is in words. `confidence` is None when the evaluator gave no usable answer.
    """

    draft_id: UUID
    workspace_name: str
    channel: str
    recipient: str | None
    reason: str
    confidence: float | None
    threshold: float | None
    text: str
    link: str
    binding: str


def review_message(review: Review) -> SlackMessage:
    """The reason, the draft exactly as it is, a deep link, and the buttons."""
    pieces = list(_pieces(review.text)) or ["(the draft is empty)"]
    whole = len(pieces) <= DRAFT_SECTIONS_MAX
    facts = f"{review.channel} to {review.recipient or 'unknown'} · {_confidence(review)} · draft {review.draft_id}"
    blocks = [
        _header(f"A reply for {review.workspace_name} needs a decision"),
        _section(next(_pieces(review.reason), "No reason was given")),
        _context(facts),
        {"type": "divider"},
        *({"type": "section", "text": _plain(piece)} for piece in pieces[:DRAFT_SECTIONS_MAX]),
        {"type": "divider"},
    ]
    if not whole:
        blocks.append(_context("The draft is longer than Slack can show. Open it to read and approve all of it."))
    blocks += [_link(review.link, review.draft_id), _buttons(review, whole=whole)]
    return SlackMessage(
        f"A reply for {_short(review.workspace_name, FALLBACK_CHARS_MAX)} needs a decision", tuple(blocks)
    )


def decided_message(draft_id: UUID, what: str, link: str) -> SlackMessage:
    """What takes the place of a review once it is over: `what` happened in words, and the link; no draft text."""
    words = next(_pieces(what), "Decided")
    return SlackMessage(_short(what, FALLBACK_CHARS_MAX), (_section(words), _link(link, draft_id)))


def edit_view(binding: str, text: str) -> dict[str, Any] | None:
    """The form to edit a draft; None when it is too long for Slack's input and must be edited on the page."""
    if len(text) > INPUT_CHARS_MAX:
        return None
    return _form(EDIT, "Edit the reply", "Send", binding, text, "Reply")


def reject_view(binding: str) -> dict[str, Any]:
    """The form to reject a draft with a reason."""
    return _form(REJECT, "Reject the reply", "Reject", binding, "", "Why?")


def escape(text: str) -> str:
    """Slack's three control characters as entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _pieces(text: str) -> Iterator[str]:
    """`text`, escaped, in pieces of at most `SECTION_CHARS_MAX`; no entity is cut in two."""
    piece: list[str] = []
    length = 0
    for character in text:
        escaped = escape(character)
        if length + len(escaped) > SECTION_CHARS_MAX:
            yield "".join(piece)
            piece, length = [], 0
        piece.append(escaped)
        length += len(escaped)
    if piece:
        yield "".join(piece)


def _short(text: str, chars_max: int) -> str:
    """`text` on one line, escaped, within `chars_max` characters."""
    short = ""
    for character in " ".join(text.split()):
        if len(short) + len(escape(character)) > chars_max - 1:
            return short + "…"
        short += escape(character)
    return short


def _confidence(review: Review) -> str:
    if review.confidence is None:
        return "no usable confidence"
    needed = "" if review.threshold is None else f", {review.threshold:.2f} needed"
    return f"confidence {review.confidence:.2f}{needed}"


def _plain(escaped: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": escaped, "emoji": False}


def _header(text: str) -> Block:
    return {"type": "header", "text": _plain(_short(text, HEADER_CHARS_MAX))}


def _section(escaped: str) -> Block:
    return {"type": "section", "text": _plain(escaped)}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [_plain(_short(text, SECTION_CHARS_MAX))]}


def _link(link: str, draft_id: UUID) -> Block:
    """The one formatted line: the address is ours, and percent-encoded so that it cannot end early."""
    address = quote(link, safe="%/:?#[]@!$&'()*+,;=~-._")
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": f"<{escape(address)}|Open draft {draft_id}>"}]}


def _buttons(review: Review, *, whole: bool) -> Block:
    """Approve is only there for who sees all of the draft."""
    if len(review.binding) > VALUE_CHARS_MAX:
        raise ValueError(f"a button's value holds at most {VALUE_CHARS_MAX} characters")
    shown = [(APPROVE, "Approve and send", "primary")] if whole and review.text.strip() else []
    shown += [(EDIT, "Edit", ""), (REJECT, "Reject", "danger")]
    buttons = [
        {"type": "button", "action_id": action, "text": _plain(words), "value": review.binding}
        | ({"style": style} if style else {})
        for action, words, style in shown
    ]
    return {"type": "actions", "block_id": f"review:{review.draft_id}", "elements": buttons}


def _form(callback: str, title: str, submit: str, binding: str, text: str, label: str) -> dict[str, Any]:
    field = {"type": "plain_text_input", "action_id": INPUT_ID, "multiline": True, "max_length": INPUT_CHARS_MAX}
    if text:
        field["initial_value"] = text
    block = {"type": "input", "block_id": INPUT_ID, "label": _plain(label), "element": field}
    return {
        "type": "modal",
        "callback_id": callback,
        "private_metadata": binding,
        "title": _plain(title),
        "submit": _plain(submit),
        "close": _plain("Cancel"),
        "blocks": [block],
    }
