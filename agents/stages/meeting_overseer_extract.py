"""Extract: which times the lead proposed or accepted. Asked only when scheduling is in play; may fail."""

from dataclasses import replace
from datetime import datetime

from agents.errors import UnusableAnswer, expect
from agents.prompting import build_ask, lead_timezone, meeting_context, memory_context
from agents.state import Ask, RunState
from schemas.answers import Answer, MeetingExtract
from schemas.codes import Stage

STAGE = Stage.MEETING_EXTRACT


def ask(state: RunState) -> Ask:
    return build_ask(
        STAGE,
        state,
        context=meeting_context(state, STAGE),
        memory_context=memory_context(state, STAGE),
        lead_timezone=lead_timezone(state),
    )


def decide(state: RunState, answer: Answer) -> RunState:
    """A time that names no moment is no answer: booking would have to guess."""
    extract = expect(MeetingExtract, answer)
    accepted = [] if extract.accepted_time is None else [extract.accepted_time]
    if not all(map(_is_moment, [*extract.proposed_times, *accepted])):
        raise UnusableAnswer("not_a_time")
    return replace(state, extract=extract)


def _is_moment(text: str) -> bool:
    """Whether `text` is a date, a time and an offset from UTC (RFC 3339)."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
