"""The stages: each asks with its own prompt and folds its answer; what is no answer never changes a run."""

import re
from dataclasses import replace
from typing import Any

import pytest

from agents.context import build_pack
from agents.errors import UnusableAnswer
from agents.prompting import PROMPTS
from agents.stages import DRAFT_ORDER, STAGES, next_draft_stage, skip
from agents.state import RunState
from schemas.answers import (
    ANSWER_OF,
    Answer,
    Evaluation,
    Generation,
    MeetingExtract,
    MeetingGate,
    Revision,
    Selection,
    Strategy,
    Verification,
)
from schemas.codes import Stage
from tests.unit.runs import snapshot, turn


def state(**changes: Any) -> RunState:
    """A run whose bundle is on and holds every section."""
    taken = snapshot()
    return replace(RunState(snapshot=taken, pack=build_pack(taken, ["likes tea"], [turn(-1, "an old one")])), **changes)


def plan(scheduling: bool) -> Strategy:
    return Strategy(intent="price", goals=["answer"], must_avoid=[], scheduling=scheduling, language="en")


def evaluation(confidence: float) -> Evaluation:
    return Evaluation(confidence=confidence, reasons=["the price has no currency"], categories=["pricing"])


def decide(run: RunState, stage: Stage, answer: Answer) -> RunState:
    return STAGES[stage].decide(run, answer)


def stages_of(run: RunState) -> list[Stage]:
    done: list[Stage] = []
    while (stage := next_draft_stage(run, frozenset(done))) is not None:
        done.append(stage)
    return done


# ---- the table


def test_every_stage_has_its_module_prompt_and_answer() -> None:
    """The table is complete, and each module stands under its own name."""
    assert set(STAGES) == set(Stage) == set(PROMPTS) == set(ANSWER_OF)
    for stage, module in STAGES.items():
        assert module.STAGE is stage
        assert str(module).rpartition("/")[2].startswith(f"{stage}.py")


@pytest.mark.parametrize("stage", list(Stage))
def test_an_ask_says_what_it_is(stage: Stage) -> None:
    """Stage, prompt key and answer class belong together, and asking twice asks the same."""
    ask = STAGES[stage].ask(state(iteration=1))
    assert (ask.stage, ask.prompt_key, ask.answer) == (stage, PROMPTS[stage].key, ANSWER_OF[stage])
    assert ask == STAGES[stage].ask(state(iteration=1))


@pytest.mark.parametrize("stage", list(Stage))
def test_the_answer_of_another_stage_is_no_answer(stage: Stage) -> None:
    """A recorded answer under the wrong stage is refused, not folded in."""

    class Unknown(Answer):
        pass

    with pytest.raises(UnusableAnswer, match=r"^wrong_answer_type$"):
        decide(state(), stage, Unknown())


def test_iterations_are_those_of_the_contract() -> None:
    """Drafts are iteration 0, the selector 1, reviser and evaluation that of the loop."""
    at = {stage: STAGES[stage].ask(state(iteration=3)).iteration for stage in Stage}
    assert at == dict.fromkeys(Stage, 0) | {Stage.SELECTOR: 1, Stage.REVISER: 3, Stage.EVALUATION: 3}


# ---- the order


def test_without_scheduling_the_overseer_is_not_asked() -> None:
    """Four stages for a message that is not about a meeting."""
    assert stages_of(state(strategy=plan(False))) == [
        Stage.STRATEGY,
        Stage.GENERATION,
        Stage.VERIFIER,
        Stage.EVALUATION,
    ]


def test_with_scheduling_the_overseer_comes_before_the_evaluation() -> None:
    """Six stages, the evaluation last, so that it judges the text that may go out."""
    assert tuple(stages_of(state(strategy=plan(True)))) == DRAFT_ORDER
    assert DRAFT_ORDER[-1] is Stage.EVALUATION


def test_a_takeover_goes_on_at_the_next_stage() -> None:
    """What is recorded is not asked again, in whatever order it was recorded."""
    done = frozenset({Stage.STRATEGY, Stage.GENERATION})
    assert next_draft_stage(state(strategy=plan(True)), done) is Stage.VERIFIER
    assert next_draft_stage(state(), frozenset()) is Stage.STRATEGY


@pytest.mark.parametrize("stage", [Stage.MEETING_EXTRACT, Stage.MEETING_GATE])
def test_a_failing_overseer_is_not_fatal(stage: Stage) -> None:
    """Skipping it changes nothing; the run goes on with the next stage."""
    run = state(strategy=plan(True), text="Hi")
    assert skip(run, stage) == run
    done = frozenset(DRAFT_ORDER[: DRAFT_ORDER.index(stage) + 1])
    assert next_draft_stage(run, done) is DRAFT_ORDER[DRAFT_ORDER.index(stage) + 1]


def test_an_evaluation_without_an_answer_has_no_confidence() -> None:
    """It is recorded as judged without a judgement: then a person decides."""
    judged = skip(state(text="Hi"), Stage.EVALUATION).judged
    assert [(j.iteration, j.text, j.evaluation) for j in judged] == [(0, "Hi", None)]


@pytest.mark.parametrize("stage", sorted(set(Stage) - {Stage.MEETING_EXTRACT, Stage.MEETING_GATE, Stage.EVALUATION}))
def test_no_other_stage_can_be_skipped(stage: Stage) -> None:
    """A run without its text, or a revision without its reviser, does not go on."""
    with pytest.raises(ValueError, match=stage):
        skip(state(), stage)


# ---- the folds


def test_each_text_replaces_the_one_before() -> None:
    """Generation, verifier, gate and reviser: the last one's text is the draft, byte for byte."""
    run = decide(state(), Stage.STRATEGY, plan(True))
    assert run.strategy == plan(True)
    run = decide(run, Stage.GENERATION, Generation(text=" one\n"))
    assert run.text == " one\n"
    run = decide(run, Stage.VERIFIER, Verification(text="two", changes=[]))
    run = decide(run, Stage.MEETING_GATE, MeetingGate(decision="revise", text="three", reason="r"))
    assert run.text == "three"
    assert decide(run, Stage.REVISER, Revision(text="four", changes=[])).text == "four"


@pytest.mark.parametrize("blank", ["", " \n\t", "\u200b\u2060", "\U000e0041", "\u3164\ufeff \xad"])
def test_a_text_in_which_nothing_can_be_seen_is_no_answer(blank: str) -> None:
    """An empty reply never becomes the draft, also when it is made of invisible characters."""
    answers: list[tuple[Stage, Answer]] = [
        (Stage.GENERATION, Generation(text=blank)),
        (Stage.VERIFIER, Verification(text=blank, changes=[])),
        (Stage.REVISER, Revision(text=blank, changes=[])),
    ]
    for stage, answer in answers:
        with pytest.raises(UnusableAnswer) as raised:
            decide(state(text="Hi"), stage, answer)
        assert raised.value.code == str(raised.value) == "blank_text"


@pytest.mark.parametrize(("decision", "text"), [("approve", "other"), ("revise", None), ("revise", " \u200b")])
def test_the_gate_changes_the_draft_only_with_a_text_of_its_own(decision: Any, text: str | None) -> None:
    """An approval, or an objection without a text, is recorded and leaves the draft as it is."""
    gate = MeetingGate(decision=decision, text=text, reason="r")
    run = decide(state(text="Hi"), Stage.MEETING_GATE, gate)
    assert (run.text, run.gate) == ("Hi", gate)


def test_times_that_name_no_moment_are_no_answer() -> None:
    """Booking never guesses: each time has a date, a time and an offset."""
    good = MeetingExtract(proposed_times=["2026-03-03T10:00:00+01:00"], timezone=None, accepted_time=None)
    assert decide(state(), Stage.MEETING_EXTRACT, good).extract == good
    for bad in ("tomorrow", "2026-03-03", "2026-03-03T10:00:00", "10:00", ""):
        for change in ({"proposed_times": [bad]}, {"accepted_time": bad}):
            with pytest.raises(UnusableAnswer, match=r"^not_a_time$"):
                decide(state(), Stage.MEETING_EXTRACT, good.model_copy(update=change))


def test_an_evaluation_is_kept_with_its_text_and_iteration() -> None:
    """So that the best of several texts can be chosen afterwards, and shown as it was judged."""
    run = decide(state(text="one"), Stage.EVALUATION, evaluation(0.5))
    run = decide(replace(run, text="two", iteration=1), Stage.EVALUATION, evaluation(0.95))
    assert [(j.iteration, j.text, j.evaluation and j.evaluation.confidence) for j in run.judged] == [
        (0, "one", 0.5),
        (1, "two", 0.95),
    ]


def test_a_revision_is_judged_by_the_prompt_of_a_first_draft() -> None:
    """The same text gets the same question, whatever the iteration and what was thought before."""
    first = STAGES[Stage.EVALUATION].ask(state(text="Hi"))
    run = decide(state(text="Hi"), Stage.EVALUATION, evaluation(0.5))
    run = decide(run, Stage.SELECTOR, Selection(sections=["memory"], guidance="shorter"))
    again = STAGES[Stage.EVALUATION].ask(replace(run, iteration=2))
    assert again == replace(first, iteration=2)


# ---- selector and reviser


def test_unknown_section_names_are_dropped() -> None:
    """The selector chooses from what it was offered; the rest, and repetitions, are no choice."""
    answer = Selection(sections=["memory", "secrets", "profile", "memory", "../etc"], guidance="g")
    assert decide(state(), Stage.SELECTOR, answer).selection == Selection(sections=["profile", "memory"], guidance="g")


def test_the_selector_is_told_all_names_it_may_choose() -> None:
    """With the bundle its sections and the base ones; without it the base ones only."""
    base = {"conversation", "instructions", "knowledge", "free_slots"}
    off = RunState(snapshot=snapshot(bundle_enabled=False))
    for run, names in ((state(), base | {"profile", "memory", "history"}), (off, base)):
        listed = STAGES[Stage.SELECTOR].ask(run).user.partition("# Sections\n\n")[2].partition("\n\n")[0]
        assert {line.split("`")[1] for line in listed.splitlines()} == names
        chosen = decide(run, Stage.SELECTOR, Selection(sections=sorted(base | {"memory"}), guidance="")).selection
        assert chosen is not None
        assert set(chosen.sections) == names & (base | {"memory"})


@pytest.mark.parametrize("name", ["conversation", "knowledge", "free_slots", "profile", "memory", "history"])
def test_the_reviser_sees_the_selected_sections_and_no_others(name: str) -> None:
    """Besides what it always has: instructions, verified entries, message, assessment and draft."""
    run = decide(state(text="Hi", iteration=1), Stage.SELECTOR, Selection(sections=[name], guidance="be exact"))
    user = STAGES[Stage.REVISER].ask(run).user
    context = user.partition("# Context\n")[2].partition("# Inbound message\n")[0]
    assert context.count("<untrusted") == 1
    assert re.search(rf'<untrusted-[0-9a-f]+ name="{name}">', context)
    for always in ("Be brief.", "Mention the spring offer.", "The small plan is 10 EUR.", "be exact", "How much"):
        assert always in user


def test_a_reviser_without_a_selection_has_the_base_context() -> None:
    """Nothing selected is no reason to write without knowing the conversation."""
    for sections in ([], ["nonsense"], ["instructions"]):
        run = decide(state(text="Hi", iteration=1), Stage.SELECTOR, Selection(sections=sections, guidance=""))
        context = STAGES[Stage.REVISER].ask(run).user.partition("# Context\n")[2].partition("# Inbound")[0]
        assert context.count("<untrusted") == 3
        assert "likes tea" not in context


def test_the_reviser_reads_what_was_said_about_the_text_it_revises() -> None:
    """Not what was said about another text: after going back to a better one, its own objections count."""
    run = decide(state(text="one"), Stage.EVALUATION, evaluation(0.61))
    run = decide(replace(run, text="two", iteration=1), Stage.EVALUATION, evaluation(0.42))
    two = STAGES[Stage.REVISER].ask(replace(run, iteration=2)).user
    one = STAGES[Stage.REVISER].ask(replace(run, iteration=2, text="one")).user
    assert ("confidence: 0.42" in two, "confidence: 0.61" in one) == (True, True)
    assert "the price has no currency" in one
