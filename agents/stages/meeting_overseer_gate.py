"""Gate: whether what the draft says about the meeting may stand. May fail; its text, if any, replaces the draft."""

from dataclasses import replace

from agents.errors import expect
from agents.prompting import build_ask, draft, extract, is_blank, lead_timezone, meeting_context, memory_context
from agents.state import Ask, RunState
from schemas.answers import Answer, MeetingGate
from schemas.codes import Stage

STAGE = Stage.MEETING_GATE


def ask(state: RunState) -> Ask:
    return build_ask(
        STAGE,
        state,
        context=meeting_context(state, STAGE),
        memory_context=memory_context(state, STAGE),
        lead_timezone=lead_timezone(state),
        extract=extract(state),
        draft=draft(state),
    )


def decide(state: RunState, answer: Answer) -> RunState:
    """`revise` without a text is an objection: it is recorded and the draft stays."""
    gate = expect(MeetingGate, answer)
    replacement = gate.text if gate.decision == "revise" and not is_blank(gate.text or "") else None
    return replace(state, gate=gate, text=state.text if replacement is None else replacement)
