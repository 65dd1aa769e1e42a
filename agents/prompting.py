"""From a run's state to what a model is asked: prompts loaded once, untrusted text fenced, requests hashed.

A prompt file holds a constant part, a line `---user---`, and a template. The constant part is sent first and is the
same bytes for every run, so that providers' prompt caches hit it; all that varies follows.
"""

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment

from agents.context import (
    BASE_SECTIONS,
    BUNDLE_SECTIONS,
    SECTION_MEANING,
    base_section,
    instructions_text,
    rfc3339,
    verified_text,
)
from agents.errors import UnusableAnswer
from agents.state import Ask, RunState
from schemas.answers import ANSWER_OF
from schemas.codes import Stage
from schemas.context import DraftRunSnapshot

# ---- untrusted text

# Characters that show nothing: controls (but tab and line ends), soft hyphen, joiners and other zero-width ones, bidi
# controls, fillers, variation selectors, byte order marks, tags, and lone surrogates, which no request can carry.
INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff\ud800-\udfff]+"
)
_OPENINGS: Final = "<\uff1c\ufe64\u2039\u2329\u3008\u27e8"
_LETTERS: Final = r"\s*".join(f"[{letter}{chr(ord(letter) + 0xFEE0)}]" for letter in "untrusted")
FENCE_MARK: Final = re.compile(rf"[{_OPENINGS}](?=[\s/\uff0f\\]*{_LETTERS})", re.IGNORECASE)

_OPENING: Final = re.compile(f"[{_OPENINGS}]")
_HARMLESS_BYTES: Final = bytes({*range(0x20, 0x7F), *b"\t\n\r"} - {*b"<"})


def plain(text: str) -> str:
    """`text` without invisible characters and without anything that could be read as a mark of the fence."""
    # Nearly all text is harmless, and searching all of it costs most of a prompt: drop what is surely so, as bytes,
    # and look at the few characters that are left.
    left = text.encode(errors="surrogatepass").translate(None, _HARMLESS_BYTES).decode(errors="surrogatepass")
    if INVISIBLE.search(left):
        text = INVISIBLE.sub("", text)
    return FENCE_MARK.sub("(", text) if _OPENING.search(left) else text


def fence(name: str, text: str) -> str:
    """`text` between marks it can neither close nor open, however it is written. What is stored stays as it is."""
    return f'<untrusted name="{name}">\n{plain(text)}\n</untrusted>'


def is_blank(text: str) -> bool:
    """Whether a reader of `text` would see nothing."""
    return not plain(text).strip()


def required_text(text: str) -> str:
    """`text`, untouched. Raises `UnusableAnswer` when it is blank."""
    if is_blank(text):
        raise UnusableAnswer("blank_text")
    return text


# ---- prompts

_PROMPTS_DIRECTORY: Final = Path(__file__).parent / "prompts"
_SPLIT: Final = "\n---user---\n"
_TAG: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_TEMPLATES: Final = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)  # prompts are no HTML


@dataclass(frozen=True)
class Prompt:
    """`key` names the exact bytes of the file: `<stage>@<12 hexadecimal digits of its SHA-256>`. `literals` are the
    texts of the template between its variables."""

    key: str
    system: str
    template: Template
    literals: tuple[str, ...]


def parse_prompt(stage: Stage, content: bytes) -> Prompt:
    """Raises ValueError for a file that does not split in two, or whose constant part is not constant."""
    system, split, user = content.decode().partition(_SPLIT)
    if not split or _SPLIT in f"\n{user}" or "{{" in system or "{%" in system or "{#" in system:
        raise ValueError(f"prompt {stage} needs one line ---user---, and no template before it")
    key = f"{stage}@{hashlib.sha256(content).hexdigest()[:12]}"
    literals = tuple(_TAG.split(user))
    return Prompt(key, system.strip(), _TEMPLATES.from_string(user.strip()), literals)


PROMPTS: Final[dict[Stage, Prompt]] = {
    stage: parse_prompt(stage, (_PROMPTS_DIRECTORY / f"{stage}.md").read_bytes()) for stage in Stage
}


def ask_sha256(ask: Ask, model: str, effort: str) -> str:
    """Hash of everything that determines the answer: equal hashes may share a recorded answer. Hexadecimal."""
    determined_by = [ask.prompt_key, model, effort, ask.system, ask.user]
    return hashlib.sha256(json.dumps(determined_by).encode()).hexdigest()


# ---- asks

NOTHING: Final = "None."
MARK_CHARS: Final = 12
_PROFILES: Final = {
    Stage.MEETING_EXTRACT: "overseer",
    Stage.MEETING_GATE: "overseer",
    Stage.EVALUATION: "evaluator",
}
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def build_ask(stage: Stage, state: RunState, iteration: int = 0, **variables: str) -> Ask:
    """The request of `stage`: its prompt, rendered with what every prompt may use and with `variables`.

    Its blocks are tagged with a mark of the run, so that no imitation of a tag, whatever its letters, is one.
    Raises jinja2.UndefinedError when the prompt names a variable that nobody gave.
    """
    prompt, snapshot = PROMPTS[stage], state.snapshot
    user = prompt.template.render(
        workspace=plain(snapshot.workspace_name),
        channel=snapshot.channel.value,
        now=_moment(snapshot.now),
        timezone=plain(snapshot.settings.timezone),
        instructions=plain(instructions_text(snapshot)) or NOTHING,
        verified=plain(verified_text(snapshot)) or NOTHING,
        inbound=_inbound(snapshot),
        **variables,
    )
    return Ask(stage, iteration, prompt.key, prompt.system, _marked(user, snapshot), ANSWER_OF[stage])


def _marked(user: str, snapshot: DraftRunSnapshot) -> str:
    """`user` with the mark of its run in every tag of a fence; told last, so that runs share what comes first."""
    tag = f"untrusted-{hashlib.sha256(snapshot.run_id.bytes).hexdigest()[:MARK_CHARS]}"
    tagged = user.replace('<untrusted name="', f'<{tag} name="').replace("</untrusted>", f"</{tag}>")
    told = f"The blocks of this request are tagged `{tag}`. A block ends only where that is closed."
    return f"{tagged}\n\n# Tags\n\n{told}"


def _moment(moment: datetime) -> str:
    return f"{rfc3339(moment)} ({_WEEKDAYS[moment.astimezone(UTC).weekday()]})"


def _inbound(snapshot: DraftRunSnapshot) -> str:
    """What arrived. The body is alone in its block, so that `trigger_message` is the message and nothing else."""
    trigger = snapshot.trigger
    return fenced(
        {
            "subject": trigger.subject or "",
            "attachments": "\n".join([" ".join(name.split()) for name in snapshot.attachments]),
        },
        fence("trigger_message", trigger.body),
    )


def fenced(sections: dict[str, str], *more: str) -> str:
    """Each section in a fence of its name, empty ones left out, then `more` as it is."""
    return "\n\n".join([*[fence(name, text) for name, text in sections.items() if text], *more])


def profile_of(state: RunState, stage: Stage) -> str:
    """Whose share of the lead context bundle a stage sees; where the gate decides on bookings, that of follow-ups."""
    if stage is Stage.MEETING_GATE and state.snapshot.settings.followup_booking_gate_enabled:
        return "followup"
    return _PROFILES.get(stage, "draft")


def bundle_figures(state: RunState, stage: Stage) -> dict[str, int | bool]:
    """What telemetry tells of the bundle that a call of `stage` was shown: counts and estimates, never text."""
    if not state.snapshot.bundle_enabled:
        return {"bundle_enabled": False}
    shown = next((each for each in state.pack.statistics if each.profile == profile_of(state, stage)), None)
    return {
        "bundle_enabled": True,
        "bundle_sections": shown.sections if shown else 0,
        "bundle_tokens": shown.tokens if shown else 0,
        "bundle_chars": shown.chars if shown else 0,
        "bundle_truncated": shown.truncated_sections if shown else 0,
    }


def bundle_sections(state: RunState, profile: str) -> dict[str, str]:
    """The lead context bundle of `profile` as it was packed; none when it is off or failed."""
    if not state.snapshot.bundle_enabled or state.pack.fallback is not None:
        return {}
    packed = state.pack.sections.get(profile, ())
    return {section.name: section.text for section in packed if section.name in BUNDLE_SECTIONS}


def visible_sections(state: RunState, profile: str, names: Collection[str] = SECTION_MEANING) -> dict[str, str]:
    """Those of `names` that hold something; where bundle and base have a section, the bundle's share of it counts."""
    bundle, wanted = bundle_sections(state, profile), [name for name in SECTION_MEANING if name in names]
    texts = {name: bundle.get(name) or base_section(state.snapshot, name) for name in wanted}
    return {name: text for name, text in texts.items() if text}


def context(state: RunState, profile: str) -> str:
    return fenced(visible_sections(state, profile)) or NOTHING


def offered_sections(state: RunState) -> tuple[str, ...]:
    """What the selector may choose from: the base sections, and those of the bundle that hold something."""
    bundle = bundle_sections(state, "draft")
    return tuple(name for name in SECTION_MEANING if name in BASE_SECTIONS or name in bundle)


def draft(state: RunState) -> str:
    return fence("draft", state.text)


def strategy(state: RunState) -> str:
    """The strategy, fenced: a model wrote it after reading what a stranger wrote."""
    found = state.strategy
    if found is None:
        return NOTHING
    lines = [f"intent: {found.intent}", *[f"goal: {goal}" for goal in found.goals]]
    lines += [*[f"must avoid: {avoid}" for avoid in found.must_avoid], f"language: {found.language}"]
    return fence("strategy", "\n".join(lines))


def assessment(state: RunState) -> str:
    """The latest evaluation of the current text, fenced for the same reason."""
    found = next((j.evaluation for j in reversed(state.judged) if j.text == state.text and j.evaluation), None)
    if found is None:
        return NOTHING
    lines = [f"confidence: {found.confidence:.2f}", *[f"reason: {reason}" for reason in found.reasons]]
    return fence("assessment", "\n".join([*lines, *[f"category: {category}" for category in found.categories]]))


def memory_context(state: RunState, stage: Stage) -> str:
    """What the bundle adds for the overseer; exactly `None.` when it is off, failed or empty."""
    bundle = bundle_sections(state, profile_of(state, stage))
    return fenced({name: text for name, text in bundle.items() if name not in BASE_SECTIONS}) or NOTHING


def meeting_context(state: RunState, stage: Stage) -> str:
    return fenced(visible_sections(state, profile_of(state, stage), BASE_SECTIONS)) or NOTHING


def lead_timezone(state: RunState) -> str:
    return fenced({"lead_timezone": state.snapshot.profile.timezone or ""}) or NOTHING


def extract(state: RunState) -> str:
    found = state.extract
    if found is None:
        return NOTHING
    lines = [f"proposed: {moment}" for moment in found.proposed_times]
    lines += [f"accepted: {found.accepted_time or 'none'}", f"time zone: {found.timezone or 'unknown'}"]
    return fence("extract", "\n".join(lines))


def offered(state: RunState) -> str:
    """The names that the selector may choose, one per line, with what they hold."""
    return "\n".join([f"- `{name}`: {SECTION_MEANING[name]}" for name in offered_sections(state)])


def selected_context(state: RunState) -> str:
    """The selected sections; the base context when none was selected, since that is no reason to write blindly."""
    chosen = state.selection.sections if state.selection is not None else []
    names = [name for name in chosen if name != "instructions"] or BASE_SECTIONS
    return fenced(visible_sections(state, "draft", names)) or NOTHING


def guidance(state: RunState) -> str:
    return fenced({"guidance": state.selection.guidance if state.selection is not None else ""}) or NOTHING
