"""What a run has so far. Stages fold their answers into it; a takeover rebuilds it from the recorded artifacts."""

from dataclasses import dataclass, field, replace

from schemas.answers import Answer, Evaluation, MeetingExtract, MeetingGate, Selection, Strategy
from schemas.codes import Stage
from schemas.context import DraftRunContextPack, DraftRunSnapshot


@dataclass(frozen=True)
class Judged:
    """A text with what was thought of it. Iteration 0 is the draft, 1..3 the revisions."""

    iteration: int
    text: str
    evaluation: Evaluation | None


@dataclass(frozen=True)
class RunState:
    """`text` is the current text; `judged` holds every evaluated text in order."""

    snapshot: DraftRunSnapshot
    pack: DraftRunContextPack = field(default_factory=DraftRunContextPack)
    strategy: Strategy | None = None
    text: str = ""
    extract: MeetingExtract | None = None
    gate: MeetingGate | None = None
    selection: Selection | None = None
    judged: tuple[Judged, ...] = ()
    iteration: int = 0

    def with_text(self, text: str) -> "RunState":
        return replace(self, text=text)

    def with_judgement(self, evaluation: Evaluation | None) -> "RunState":
        return replace(self, judged=(*self.judged, Judged(self.iteration, self.text, evaluation)))


@dataclass(frozen=True)
class Ask:
    """One model request: a stable `system` part first (provider caches hit it), then the `user` part."""

    stage: Stage
    iteration: int
    prompt_key: str
    system: str
    user: str
    answer: type[Answer]
