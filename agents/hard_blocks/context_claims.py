"""The claims a reply may make: those of the stored context. Built once per run, asked for every text of it."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from agents.gates.reply_text import is_html, readable
from agents.hard_blocks.block import Rule
from agents.hard_blocks.meetings import dates_of, days_of_times, nearest
from agents.hard_blocks.numbers import NUMBER, number_key
from agents.hard_blocks.reading import read_claims
from agents.hard_blocks.source import Claim, Source
from agents.hard_blocks.strings import PHONE_DIGITS_MIN, digits_of, identifier_key, links_and_emails, token_at
from agents.hard_blocks.zones import lead_zone, workspace_zone, zone_of
from schemas.context import DraftRunSnapshot, Turn

# Reading stops here: what is not read supports nothing, so a huge context blocks more, never less.
TEXT_CHARS_MAX: Final = 32_768
CONTEXT_CHARS_MAX: Final = 200_000
MINUTES_A_DAY: Final = 24 * 60
MINUTES_AN_HOUR: Final = 60
# So near, a date may be called by its weekday alone.
WEEKDAY_DAYS_MAX: Final = 14
_DIGITS: Final = re.compile(r"\d+")
_OPEN_CURRENCIES: Final = ("", "cent")
# What a lead says they pay, were promised or are owed is no fact about it.
_TRUSTED_ONLY: Final = frozenset({Rule.AMOUNT, Rule.PERCENTAGE})


def _minute(moment: datetime) -> int:
    return moment.hour * MINUTES_AN_HOUR + moment.minute


@dataclass(frozen=True, slots=True)
class ContextClaims:
    """Verified knowledge, conversation, profile, instructions, free slots and what is passed on top support a claim;
    knowledge that nobody verified does not. An amount of money or a percentage only what people of the workspace or
    verified knowledge state: what a lead names, a person has to look at.

    `facts` are the (day, minute) pairs that people of the workspace or verified knowledge state: opening hours, say.
    """

    snapshot: DraftRunSnapshot
    keys: Mapping[Rule, set[str]] = field(default_factory=lambda: defaultdict(set))
    amounts: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    phones: Mapping[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    days: set[tuple[int, int, int]] = field(default_factory=set)
    weekdays: set[int] = field(default_factory=set)
    relatives: set[int] = field(default_factory=lambda: {0})
    minutes: set[int] = field(default_factory=set)
    utc_minutes: set[int] = field(default_factory=set)
    facts: set[tuple[tuple[int, int] | int | None, int]] = field(default_factory=set)

    @classmethod
    def from_snapshot(cls, snapshot: DraftRunSnapshot, extra_texts: Sequence[str] = ()) -> "ContextClaims":
        """The claims of a run's stored context; `extra_texts` are the texts of its bundle (see `pack_texts`)."""
        context = cls(snapshot)
        left = CONTEXT_CHARS_MAX
        for text, trusted in _texts(snapshot, extra_texts):
            read = text[: min(left, TEXT_CHARS_MAX)]
            context._add_text(read, trusted)
            left -= len(read)
        context._add_moments()
        return context

    def holds(self, claim: Claim) -> bool:
        """Whether the context states what the claim states."""
        match claim.rule:
            case Rule.AMOUNT:
                amount, _, currency = claim.key.partition(" ")
                known = self.numbers if not currency else self.amounts
                return claim.key in self.keys[Rule.AMOUNT] or (currency in _OPEN_CURRENCIES and amount in known)
            case Rule.DATE:
                return self._holds_day(claim)
            case Rule.TIME:
                return self._holds_time(claim)
            case Rule.PHONE | Rule.IDENTIFIER:
                return claim.key in self.keys[Rule.IDENTIFIER] or self._holds_phone(claim.key)
            case _:
                return claim.key in self.keys[claim.rule]

    def meanings(self, claim: Claim) -> list[date]:
        """The days a date may mean. Without a year: those of that name in the context, or else the nearest."""
        dated = tuple(known for known in self.days if known[0] and (0, *known[1:]) in claim.days)
        return dates_of(claim._replace(days=dated or claim.days), self.snapshot.now.date())

    def _holds_day(self, claim: Claim) -> bool:
        today = self.snapshot.now.date()
        if claim.relative is not None:
            meant = today + timedelta(days=claim.relative)
            known = {(meant.year, meant.month, meant.day), (0, meant.month, meant.day)}
            return claim.relative in self.relatives or not known.isdisjoint(self.days)
        if not claim.days:
            return claim.weekday in self.weekdays
        return any(
            (meant.year, meant.month, meant.day) in self.days
            or ((0, meant.month, meant.day) in self.days and meant == nearest(meant.month, meant.day, today))
            for meant in self.meanings(claim)
        )

    def _holds_time(self, claim: Claim) -> bool:
        zone = zone_of(claim.zone, self.snapshot) if claim.zone else None
        if claim.zone:
            return zone is not None and self._utc(claim.minute, zone) in self.utc_minutes
        return claim.minute in self.minutes or self._utc(claim.minute, lead_zone(self.snapshot)) in self.utc_minutes

    def _holds_phone(self, digits: str) -> bool:
        """The same number with and without country code and trunk zero."""
        wanted = digits.lstrip("0")
        if len(wanted) < PHONE_DIGITS_MIN:
            return False
        return any(
            wanted.endswith(known) or known.endswith(wanted)
            for known in self.phones.get(wanted[-PHONE_DIGITS_MIN:], ())
        )

    def _utc(self, minute: int, zone: tzinfo) -> int:
        offset = self.snapshot.now.astimezone(zone).utcoffset()
        return (
            (minute - int(offset.total_seconds() // MINUTES_AN_HOUR)) % MINUTES_A_DAY if offset is not None else minute
        )

    def _add_text(self, text: str, trusted: bool) -> None:
        if is_html(text):
            self._add_keys(links_and_emails(Source.of(text)), trusted)
            text = readable(text)
        source, claims = read_claims(text)
        self._add_keys(claims, trusted)
        self._add_numbers(source, trusted)
        if trusted:
            for time, day in days_of_times(source, claims):
                self.facts.update((key, time.minute) for key in day_keys(day, self.snapshot.now))

    def _add_keys(self, claims: list[Claim], trusted: bool) -> None:
        today = self.snapshot.now.date()
        for claim in claims:
            if claim.rule is Rule.DATE:
                self.days.update(claim.days)
                near = (meant for meant in dates_of(claim, today) if abs((meant - today).days) <= WEEKDAY_DAYS_MAX)
                self.weekdays.update(meant.weekday() for meant in near if claim.days)
                if claim.weekday is not None:
                    self.weekdays.add(claim.weekday)
                if claim.relative is not None:
                    self.relatives.add(claim.relative)
            elif claim.rule is Rule.TIME:
                self._add_time(claim)
            elif claim.rule is Rule.PHONE:
                self._add_phone(claim.key)
            elif trusted or claim.rule not in _TRUSTED_ONLY:
                self.keys[claim.rule].add(claim.key)
                if claim.rule is Rule.AMOUNT:
                    self.amounts.add(claim.key.partition(" ")[0])

    def _add_time(self, claim: Claim) -> None:
        self.minutes.add(claim.minute)
        named = zone_of(claim.zone, self.snapshot) if claim.zone else None
        zones = [named] if named is not None else [lead_zone(self.snapshot), workspace_zone(self.snapshot)]
        self.utc_minutes.update(self._utc(claim.minute, zone) for zone in zones)

    def _add_phone(self, digits: str) -> None:
        known = digits.lstrip("0")
        if len(known) >= PHONE_DIGITS_MIN:
            self.phones[known[-PHONE_DIGITS_MIN:]].add(known)

    def _add_numbers(self, source: Source, trusted: bool) -> None:
        """Every number and every word with digits: an identifier need not be recognised as one where it comes from."""
        for digits in _DIGITS.finditer(source.lower):
            begin, end = token_at(source, digits.start())
            self.keys[Rule.IDENTIFIER].update((identifier_key(source.text[begin:end]), digits.group()))
            self._add_phone(digits_of(source.text[begin:end]))
            number = NUMBER.match(source.lower, digits.start())
            if number is not None and trusted:
                self.numbers.add(number_key(number.group()))

    def _add_moments(self) -> None:
        """Free slots, now, and when messages came, in every zone in which they may be told."""
        zones = {lead_zone(self.snapshot), workspace_zone(self.snapshot), UTC}
        slots = [moment for slot in self.snapshot.free_slots for moment in (slot.starts_at, slot.ends_at)]
        turns = [turn.received_at for turn in (*self.snapshot.conversation, self.snapshot.trigger)]
        for zone in zones:
            for moment in (local.astimezone(zone) for local in slots):
                self.minutes.add(_minute(moment))
                self.weekdays.add(moment.weekday())
                self.utc_minutes.add(self._utc(_minute(moment), zone))
            for moment in (local.astimezone(zone) for local in (*slots, *turns, self.snapshot.now)):
                self.days.add((moment.year, moment.month, moment.day))


def day_keys(day: Claim | None, now: datetime) -> Set[tuple[int, int] | int | None]:
    """What a (day, minute) pair is found by: the date, the weekday, or nothing for a time without a day."""
    if day is None:
        return {None}
    keys: set[tuple[int, int] | int | None] = {(meant.month, meant.day) for meant in dates_of(day, now.date())}
    return keys if day.weekday is None else {*keys, day.weekday}


def _turn_texts(turn: Turn) -> Iterator[tuple[str, bool]]:
    trusted = turn.author not in ("lead", "ai")
    yield turn.body, trusted
    if turn.subject:
        yield turn.subject, trusted


def _texts(snapshot: DraftRunSnapshot, extra_texts: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Every text that supports a claim, and whether it is trusted with money, opening hours and other appointments."""
    settings = snapshot.settings
    for entry in snapshot.knowledge:
        if entry.verified:
            yield f"{entry.title}\n{entry.text}", True
    yield from ((text, True) for text in (snapshot.campaign_instructions, settings.instructions) if text)
    yield from ((text, True) for text in (snapshot.workspace_name, *settings.allowed_promises))
    for turn in (snapshot.trigger, *reversed(snapshot.conversation)):
        yield from _turn_texts(turn)
    profile = snapshot.profile
    known = (profile.name, profile.email, profile.phone, snapshot.recipient, *snapshot.attachments)
    senders = (str(channel.get("from", "")) for channel in settings.channels.values())
    yield from ((text, False) for text in (*known, *senders, *extra_texts) if text)
