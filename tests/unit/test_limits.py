"""Limits that only hold together."""

from schemas.limits import (
    CLAIM_TO_CALL_S_MAX,
    DELIVERY_CALL_S_MAX,
    DELIVERY_LEASE_S,
    FENCE_S_MAX,
    LOOK_UP_CALL_S_MAX,
)


def test_a_delivery_is_leased_for_longer_than_its_holder_may_take() -> None:
    """A receiver that hangs: nobody recovers a send while who claimed it still asks, or looks it up."""
    assert CLAIM_TO_CALL_S_MAX + DELIVERY_CALL_S_MAX + LOOK_UP_CALL_S_MAX < DELIVERY_LEASE_S
    assert FENCE_S_MAX + LOOK_UP_CALL_S_MAX + DELIVERY_CALL_S_MAX < DELIVERY_LEASE_S
