"""What a reviewer sees in Slack (Block Kit). Pure.

All words of others go out as plain text, escaped: a draft must not be able to format itself, mention people or show a
link under another name. A draft that does not fit is never cut silently: without its end nobody can approve it here.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from app.review.difference import Kind, Piece, difference, shortened
from app.review.refusal import Refusal, at
from app.review.words import MAYBE_SENT
from schemas.limits import REJECT_REASON_CHARS_MAX

# Slack's limits, in characters after escaping; counted in UTF-16 units, which is never less.
SECTION_CHARS_MAX: Final = 3_000
HEADER_CHARS_MAX: Final = 150
FALLBACK_CHARS_MAX: Final = 200
VALUE_CHARS_MAX: Final = 2_000
INPUT_CHARS_MAX: Final = 3_000
DRAFT_SECTIONS_MAX: Final = 38  # of the 50 blocks a message may have
PLACES_SECTIONS_MAX: Final = 2
DIFFERENCE_CHARS_MAX: Final = 2_500
CHANGES_MAX: Final = 15

APPROVE, EDIT, REJECT, RESEND = "approve", "edit", "reject", "confirm_resend"
INPUT_ID: Final = "text"
_USER: Final = re.compile(r"[UW][A-Z0-9]{1,30}")

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

    `reason` and `places` (what rules object to, with the words of the text) are in words. `confidence` is None when the
    evaluator gave no usable answer. `forbidden`: a rule that nobody can pass. `maybe_sent`: a send ended without an
    answer, so the question is whether to send again.
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
    places: tuple[str, ...] = ()
    forbidden: bool = False
    maybe_sent: bool = False


@dataclass(frozen=True)
class Decided:
    """Who ended a review, how and when; `actor` is a Slack user id or a name."""

    what: str
    actor: str | None = None
    when: datetime | None = None


def review_message(review: Review) -> SlackMessage:
    """The reason, the draft exactly as it is, a deep link, and the buttons."""
    pieces = list(_pieces(review.text)) or ["(the draft is empty)"]
    places = list(_pieces("\n".join(f"• {place}" for place in review.places)))
    whole = len(pieces) <= DRAFT_SECTIONS_MAX and len(places) <= PLACES_SECTIONS_MAX
    asks = "may have been sent" if review.maybe_sent else "needs a decision"
    facts = f"{review.channel} to {review.recipient or 'unknown'} · {_confidence(review)} · draft {review.draft_id}"
    reason = f"{MAYBE_SENT} {review.reason}" if review.maybe_sent else review.reason
    blocks = [
        _header(f"A reply for {review.workspace_name} {asks}"),
        _section(next(_pieces(reason), "No reason was given")),
        *(_section(piece) for piece in places[:PLACES_SECTIONS_MAX]),
        _context(facts),
        {"type": "divider"},
        *(_section(piece) for piece in pieces[:DRAFT_SECTIONS_MAX]),
        {"type": "divider"},
        *(_context(note) for note in _notes(review, whole=whole)),
        _link(review.link, review.draft_id),
        _buttons(review, whole=whole),
    ]
    return SlackMessage(f"A reply for {_short(review.workspace_name, FALLBACK_CHARS_MAX)} {asks}", tuple(blocks))


def short_review_message(review: Review) -> SlackMessage:
    """For a draft that Slack refuses to show: that somebody is asked, and where."""
    words = "Slack cannot show this draft. Open it to read and decide."
    blocks = (_header(f"A reply for {review.workspace_name} needs a decision"), _section(words))
    return SlackMessage("A reply needs a decision", (*blocks, _link(review.link, review.draft_id)))


def _notes(review: Review, *, whole: bool) -> Iterator[str]:
    if not whole:
        yield "The draft is longer than Slack can show. Open it to read and approve all of it."
    if review.forbidden and not review.maybe_sent:
        yield "A rule forbids this text whoever sends it: edit it, or reject it."
    if not editable(review.text) and not review.maybe_sent:
        yield f"Slack takes {INPUT_CHARS_MAX:,} characters in a form and the draft has more: open it to edit it."


def editable(text: str) -> bool:
    """Whether a form of Slack takes this text."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2 <= INPUT_CHARS_MAX


def decided_message(draft_id: UUID, decided: Decided, link: str) -> SlackMessage:
    """What takes the place of a review once it is over: what happened, by whom, when; the link; no draft text."""
    who = "" if decided.actor is None else f" by {_person(decided.actor)}"
    when = "" if decided.when is None else f" · {_date(decided.when)}"
    line = {"type": "mrkdwn", "text": f"*{escape(_no_marks(decided.what))}*{who}{when}"}
    return SlackMessage(
        _short(decided.what, FALLBACK_CHARS_MAX), ({"type": "section", "text": line}, _link(link, draft_id))
    )


def expired_message(draft_id: UUID, workspace_name: str, asked_at: datetime, link: str) -> SlackMessage:
    """Tells a workspace that nobody decided."""
    what = f"Nobody decided in time on a reply for {workspace_name}, asked for at {at(asked_at)}. It was not sent."
    words = next(_pieces(what))
    return SlackMessage(_short(what, FALLBACK_CHARS_MAX), (_section(words), _link(link, draft_id)))


def told_message(words: str, draft_id: UUID | None, link: str) -> SlackMessage:
    """A word to whoever clicked, seen by nobody else."""
    shown = (_section(next(_pieces(words), "-")),)
    return SlackMessage(
        _short(words, FALLBACK_CHARS_MAX), shown if draft_id is None else (*shown, _link(link, draft_id))
    )


def refused_message(refusal: Refusal, draft_id: UUID, link: str) -> SlackMessage:
    """To whoever clicked: why nothing was done, how the draft stands now, and what differs from what was shown."""
    blocks: list[Block] = [_section(next(_pieces(f"{refusal.words} {refusal.state}")))]
    for change in refusal.changes[:CHANGES_MAX]:
        blocks.append(_section(next(_pieces(change.words), "-")))
        if change.before is not None and change.after is not None:
            blocks.append(_difference(difference(change.before, change.after)))
        elif change.after is not None:
            blocks.append(_quote(change.after))
    return SlackMessage(_short(refusal.words, FALLBACK_CHARS_MAX), (*blocks, _link(link, draft_id)))


def _difference(pieces: Iterable[Piece]) -> Block:
    """What went is struck out, what came is bold. The words of rich text are never markup."""
    styles = {Kind.SAME: {}, Kind.GONE: {"style": {"strike": True}}, Kind.NEW: {"style": {"bold": True}}}
    shown = [
        {"type": "text", "text": piece.text, **styles[piece.kind]} for piece in shortened(pieces, DIFFERENCE_CHARS_MAX)
    ]
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": shown}]}


def _quote(text: str) -> Block:
    cut = text if len(text) <= DIFFERENCE_CHARS_MAX else text[:DIFFERENCE_CHARS_MAX] + " …"
    quoted = {"type": "rich_text_quote", "elements": [{"type": "text", "text": cut or "(empty)"}]}
    return {"type": "rich_text", "elements": [quoted]}


def edit_view(metadata: str, text: str, places: Iterable[str] = ()) -> dict[str, Any]:
    """The form to edit a draft. With `places`, it asks once more: the text as it is now, and what rules object to.

    Raises ValueError for a text that is not `editable`.
    """
    if not editable(text):
        raise ValueError(f"a form takes at most {INPUT_CHARS_MAX} characters")
    told = "\n".join(f"• {place}" for place in places)
    form = _form(EDIT, "Edit the reply", "Send it like this" if told else "Send", metadata, text, "Reply")
    if told:
        asked = next(_pieces(f"Please look at these places. Send it like this only if they are right.\n{told}"))
        form["blocks"].insert(0, _section(asked))
    return form


def reject_view(metadata: str) -> dict[str, Any]:
    """The form to reject a draft with a reason."""
    return _form(REJECT, "Reject the reply", "Reject", metadata, "", "Why?", REJECT_REASON_CHARS_MAX)


def _person(actor: str) -> str:
    return f"<@{actor}>" if _USER.fullmatch(actor) else escape(_no_marks(actor))


def _date(when: datetime) -> str:
    """Slack shows each reader their own time."""
    return f"<!date^{int(when.timestamp())}^{{date_short_pretty}} {{time}}|{at(when)}>"


def _no_marks(text: str) -> str:
    """On one line and without Slack's marks, for the few lines of ours that are formatted."""
    return re.sub(r"[*_~`]", "", " ".join(text.split()))


def escape(text: str) -> str:
    """Slack's three control characters as entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _pieces(text: str) -> Iterator[str]:
    """`text`, escaped, in pieces of at most `SECTION_CHARS_MAX`; no entity is cut in two."""
    piece: list[str] = []
    length = 0
    for character in text:
        escaped = escape(character)
        units = len(escaped) + (character > "\uffff")
        if length + units > SECTION_CHARS_MAX:
            yield "".join(piece)
            piece, length = [], 0
        piece.append(escaped)
        length += units
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
    """Approve is only there for who sees all of the draft, and of what rules object to."""
    if len(review.binding) > VALUE_CHARS_MAX:
        raise ValueError(f"a button's value holds at most {VALUE_CHARS_MAX} characters")
    approvable = whole and bool(review.text.strip()) and not review.forbidden
    resend = _button(RESEND, "Send it again", review, style="danger", confirm=_SURE)
    approve = _button(APPROVE, "Approve and send", review, style="primary")
    if review.maybe_sent:
        shown = [*([resend] if approvable else []), _button(REJECT, "Leave it", review)]
    else:
        edit = [_button(EDIT, "Edit", review)] if editable(review.text) else []
        shown = [*([approve] if approvable else []), *edit, _button(REJECT, "Reject", review, style="danger")]
    return {"type": "actions", "block_id": f"review:{review.draft_id}", "elements": shown}


def _button(action: str, words: str, review: Review, **more: Any) -> Block:
    return {"type": "button", "action_id": action, "text": _plain(words), "value": review.binding, **more}


_SURE: Final = {
    "title": _plain("Send it again?"),
    "text": _plain("It may have arrived already. Whoever gets it may then have it twice."),
    "confirm": _plain("Send it again"),
    "deny": _plain("No"),
    "style": "danger",
}


def _form(
    callback: str, title: str, submit: str, metadata: str, text: str, label: str, chars_max: int = INPUT_CHARS_MAX
) -> dict[str, Any]:
    field = {"type": "plain_text_input", "action_id": INPUT_ID, "multiline": True, "max_length": chars_max}
    if text:
        field["initial_value"] = text
    block = {"type": "input", "block_id": INPUT_ID, "label": _plain(label), "element": field}
    return {
        "type": "modal",
        "callback_id": callback,
        "private_metadata": metadata,
        "title": _plain(title),
        "submit": _plain(submit),
        "close": _plain("Cancel"),
        "blocks": [block],
    }
