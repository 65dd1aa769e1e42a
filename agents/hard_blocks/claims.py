"""Claims and promises that the stored context does not cover. What is found blocks, with the place where it stands."""

from collections.abc import Sequence
from datetime import tzinfo

from agents.hard_blocks.block import BlockGroup, HardBlock, Rule
from agents.hard_blocks.context_claims import ContextClaims, day_keys
from agents.hard_blocks.meetings import Refusals, days_of_times, is_free, is_past
from agents.hard_blocks.reading import read_claims
from agents.hard_blocks.source import Claim
from agents.hard_blocks.zones import lead_zone, zone_of


def check_claims(text: str, context: ContextClaims, *, scheduling: bool = False) -> list[HardBlock]:
    """Blocks for every claim of `text` that the context does not hold. `scheduling`: a meeting is being arranged, so
    that a time without a day is a meeting time too."""
    source, claims = read_claims(text)
    blocks = [_block(Rule.WEEKDAY, claim) for claim in claims if _wrong_weekday(claim, context)]
    settled: set[Claim] = set()
    refusals = Refusals(source)
    zone = _only_zone(claims, context)
    for time, day in days_of_times(source, claims):
        if day is None and not scheduling:
            continue
        rule = _meeting_rule(refusals, time, day, context, zone)
        if rule is None:
            continue
        settled.update((time, day) if day is not None else (time,))
        if rule is Rule.MEETING:
            first, last = min(time, day or time, key=_start), max(time, day or time, key=_start)
            blocks.append(HardBlock(BlockGroup.CLAIMS, rule, first.start, last.end))
    blocks += [_block(claim.rule, claim) for claim in claims if claim not in settled and not context.holds(claim)]
    return sorted(blocks, key=lambda block: block.span)


def _start(claim: Claim) -> int:
    return claim.start


def _block(rule: Rule, claim: Claim) -> HardBlock:
    return HardBlock(BlockGroup.CLAIMS, rule, claim.start, claim.end)


def _wrong_weekday(claim: Claim, context: ContextClaims) -> bool:
    """Whether a date and the weekday beside it disagree, whichever of its meanings the date has."""
    if not claim.days or claim.weekday is None:
        return False
    return all(day.weekday() != claim.weekday for day in context.meanings(claim))


def _only_zone(claims: Sequence[Claim], context: ContextClaims) -> tzinfo:
    """The zone of times that name none: the one zone that the text names elsewhere, or else the lead's."""
    named = {claim.zone for claim in claims if claim.zone}
    zone = zone_of(named.pop(), context.snapshot) if len(named) == 1 else None
    return zone or lead_zone(context.snapshot)


def _meeting_rule(
    refusals: Refusals, time: Claim, day: Claim | None, context: ContextClaims, default: tzinfo
) -> Rule | None:
    """`Rule.TIME` when the time is fine as it is, `Rule.MEETING` when it is no free slot, None when it is no
    meeting."""
    snapshot = context.snapshot
    zone = zone_of(time.zone, snapshot) if time.zone else default
    if zone is None:
        return Rule.MEETING
    if is_free(snapshot.free_slots, day, time.minute, zone, snapshot.now):
        return Rule.TIME
    if any((key, time.minute) in context.facts for key in day_keys(day, snapshot.now)):
        return Rule.TIME
    if day is not None and is_past(day, time.minute, snapshot.now.astimezone(zone)):
        return None
    return None if refusals.declines(time) else Rule.MEETING
