"""Promises of the circuit breaker."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.model.breaker import OPEN_S_MAX, PROBE_S_MAX, Breaker, Circuit, State, Verdict
from schemas.limits import BREAKER_FAILURES, BREAKER_OPEN_S, MODEL_CALL_S_MAX

MODEL = "gpt-5.2"
NO_JITTER, FULL_JITTER = 0.0, 1.0
SHORT_S = 0.05


def fail(circuit: Circuit, now: float, times: int = 1, chance: float = NO_JITTER) -> None:
    for _ in range(times):
        circuit.end(circuit.begin(now, MODEL), Verdict.OUTAGE, now, chance)


def opened(now: float = 0.0) -> Circuit:
    circuit = Circuit()
    fail(circuit, now, BREAKER_FAILURES)
    return circuit


def test_opens_after_enough_outages_in_a_row() -> None:
    """One outage less than the limit leaves it closed, the next opens it."""
    circuit = Circuit()
    fail(circuit, 0.0, BREAKER_FAILURES - 1)
    assert circuit.admit(0.0) == 0.0
    fail(circuit, 0.0)
    assert circuit.state is State.OPEN
    assert circuit.admit(0.0) == BREAKER_OPEN_S


def test_a_success_starts_the_count_again() -> None:
    """Outages that are not in a row do not open it."""
    circuit = Circuit()
    for _ in range(3):
        fail(circuit, 0.0, BREAKER_FAILURES - 1)
        circuit.end(circuit.begin(0.0, MODEL), Verdict.UP, 0.0, NO_JITTER)
    assert circuit.state is State.CLOSED


def test_half_open_lets_one_probe_through() -> None:
    """When the time is over one call goes, and everybody else waits for what it tells."""
    circuit = opened()
    assert circuit.admit(BREAKER_OPEN_S) == 0.0
    assert circuit.admit(BREAKER_OPEN_S) == PROBE_S_MAX
    circuit.begin(BREAKER_OPEN_S, MODEL)
    assert circuit.admit(BREAKER_OPEN_S + PROBE_S_MAX) == MODEL_CALL_S_MAX - PROBE_S_MAX


def test_a_probe_that_never_calls_loses_its_slot() -> None:
    """Whoever was let through and was then cancelled does not keep the model shut for ever."""
    circuit = opened()
    circuit.admit(BREAKER_OPEN_S)
    assert circuit.admit(BREAKER_OPEN_S + PROBE_S_MAX) == 0.0


def test_a_cancelled_probe_frees_its_slot_at_once() -> None:
    """A probe that tells nothing hands its slot to the next."""
    circuit = opened()
    circuit.admit(BREAKER_OPEN_S)
    probe = circuit.begin(BREAKER_OPEN_S, MODEL)
    assert circuit.end(probe, Verdict.UNKNOWN, BREAKER_OPEN_S, NO_JITTER)
    assert circuit.admit(BREAKER_OPEN_S) == 0.0


@pytest.mark.parametrize("chance", [NO_JITTER, FULL_JITTER])
def test_open_times_grow_up_to_their_limit(chance: float) -> None:
    """Each failed probe doubles the wait, less some jitter, never beyond the limit."""
    circuit, now, waits = Circuit(), 0.0, []
    fail(circuit, now, BREAKER_FAILURES, chance)
    for _ in range(8):
        waits.append(circuit.until - now)
        now = circuit.until
        assert circuit.admit(now) == 0.0
        fail(circuit, now, 1, chance)
        assert circuit.state is State.OPEN
    assert waits == sorted(waits)
    assert waits[-1] <= OPEN_S_MAX
    assert waits[-1] == waits[-2]


def test_closing_forgets_the_growth() -> None:
    """After a success the next outage waits the short time again."""
    circuit = opened()
    circuit.admit(BREAKER_OPEN_S)
    fail(circuit, BREAKER_OPEN_S)
    now = circuit.until
    circuit.admit(now)
    assert circuit.end(circuit.begin(now, MODEL), Verdict.UP, now, NO_JITTER)
    fail(circuit, now, BREAKER_FAILURES)
    assert circuit.until - now == BREAKER_OPEN_S


def test_the_servers_own_wish_is_honoured() -> None:
    """A Retry-After longer than the open time is waited for, within the limit."""
    for wish, expected in ((10.0, 10.0), (1000.0, OPEN_S_MAX), (0.1, BREAKER_OPEN_S)):
        circuit = Circuit(failures_max=1)
        circuit.end(circuit.begin(0.0, MODEL), Verdict.OUTAGE, 0.0, NO_JITTER, wish)
        assert circuit.until == expected


def test_calls_from_before_the_opening_tell_nothing() -> None:
    """A slow success that began while all was well must not let everybody onto a server that is down."""
    circuit = Circuit()
    slow = circuit.begin(0.0, MODEL)
    fail(circuit, 0.0, BREAKER_FAILURES)
    assert not circuit.end(slow, Verdict.UP, 1.0, NO_JITTER)
    assert circuit.state is State.OPEN
    until = circuit.until
    circuit.end(slow, Verdict.OUTAGE, 1.0, NO_JITTER)
    assert circuit.until == until


@given(st.lists(st.sampled_from(["admit", "up", "outage", "unknown", "wait"]), max_size=60))
def test_nothing_ever_gets_stuck(steps: list[str]) -> None:
    """Whatever happens, a call is let through after the longest call and the longest wait."""
    circuit, now = Circuit(failures_max=2), 0.0
    for step in steps:
        match step:
            case "admit":
                circuit.admit(now)
            case "wait":
                now += 1.0
            case verdict:
                circuit.end(circuit.begin(now, MODEL), Verdict(verdict), now, NO_JITTER)
    assert circuit.admit(now + MODEL_CALL_S_MAX + OPEN_S_MAX) == 0.0


def broken(breaker: Breaker, model: str = MODEL) -> None:
    breaker.end(breaker.begin(model), Verdict.OUTAGE)


async def test_waiters_wake_when_the_probe_succeeds() -> None:
    """Of many that wait one probes; its success lets all the others go at once."""
    breaker = Breaker(open_s=SHORT_S, failures_max=1)
    broken(breaker)
    through: list[int] = []

    async def work(number: int) -> None:
        await breaker.available(MODEL)
        through.append(number)
        if len(through) == 1:
            ticket = breaker.begin(MODEL)
            await asyncio.sleep(SHORT_S)
            assert through == [number]
            breaker.end(ticket, Verdict.UP)

    await asyncio.wait_for(asyncio.gather(*(work(number) for number in range(200))), 2.0)
    assert len(through) == 200
    assert not breaker.is_down(MODEL)


async def test_cancelled_waiters_lose_no_slot() -> None:
    """Waiters that are cancelled, at any moment, leave the slot to who is left."""
    breaker = Breaker(open_s=SHORT_S, failures_max=1)
    broken(breaker)
    waiting = [asyncio.create_task(breaker.available(MODEL)) for _ in range(50)]
    await asyncio.sleep(SHORT_S / 2)
    for task in waiting[:-1]:
        task.cancel()
    await asyncio.wait_for(waiting[-1], 1.0)
    assert sum(task.cancelled() for task in waiting) == 49


async def test_a_cancelled_probe_lets_the_next_waiter_try() -> None:
    """When the probe's call is cancelled the next waiter is woken, not left to a time-out."""
    breaker = Breaker(open_s=SHORT_S, failures_max=1)
    broken(breaker)
    await breaker.available(MODEL)
    probe = breaker.begin(MODEL)
    waiting = asyncio.create_task(breaker.available(MODEL))
    await asyncio.sleep(SHORT_S)
    assert not waiting.done()
    breaker.end(probe, Verdict.UNKNOWN)
    await asyncio.wait_for(waiting, 0.5)


async def test_models_do_not_share_a_breaker() -> None:
    """One model's outage leaves the others alone, and a closed breaker does not wait."""
    breaker = Breaker(failures_max=1)
    broken(breaker, "a")
    assert breaker.is_down("a")
    assert not breaker.is_down("b")
    await asyncio.wait_for(breaker.available("b"), SHORT_S)
    assert breaker.states()["a"] is State.OPEN


def test_opening_and_closing_are_logged_once_each() -> None:
    """A line when it opens, with how long it waits, and one when it closes; nothing for the outages between."""
    now = [0.0]
    breaker = Breaker(clock=lambda: now[0], chance=lambda: NO_JITTER, failures_max=2)
    with capture_logs() as lines:
        for _ in range(4):
            breaker.end(breaker.begin(MODEL), Verdict.OUTAGE)
        now[0] = BREAKER_OPEN_S
        breaker._circuit(MODEL).admit(now[0])
        breaker.end(breaker.begin(MODEL), Verdict.UP)
    assert [(line["event"], line["model"]) for line in lines] == [("breaker_opened", MODEL), ("breaker_closed", MODEL)]
    assert lines[0]["delay_s"] == BREAKER_OPEN_S
    assert breaker.openings() == {MODEL: 1}
