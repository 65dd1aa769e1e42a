"""Hard blocks: what the context does not hold never goes out by itself; what it does hold is never held back."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.hard_blocks import BlockGroup, HardBlock, Rule, check_text, codes, may_pass, pack_texts
from agents.hard_blocks.language import language_tag
from agents.prompting import PROMPTS
from schemas.codes import Channel, Mode, Stage
from schemas.context import DraftRunContextPack, DraftRunSnapshot, Knowledge, Profile, Section, Slot, Turn
from schemas.limits import DRAFT_CHARS_MAX
from schemas.settings import PolicyRules, WorkspaceSettings
from tests.samples import naughty_strings

NOW = datetime(2026, 10, 29, 9, 0, tzinfo=UTC)  # a Thursday; Berlin leaves summer time on the 25th
HOSTILE_S_MAX = 2.0
CENTS_MAX = 10_000_000


def turn(body: str, author: str = "lead") -> Turn:
    return Turn(message_id="m", author=author, body=body, received_at=NOW - timedelta(hours=1))


def slot(day: int, hour: int) -> Slot:
    start = datetime(2026, 11, day, hour, tzinfo=UTC)
    return Slot(id=day, starts_at=start, ends_at=start + timedelta(minutes=30))


def snapshot(*facts: str, inbound: str = "Hello", **changes: Any) -> DraftRunSnapshot:
    fields: dict[str, Any] = {
        "run_id": UUID(int=1),
        "draft_id": UUID(int=2),
        "workspace_id": "w",
        "workspace_name": "Acme",
        "lead_id": "l",
        "channel": Channel.EMAIL,
        "thread_id": "t",
        "campaign_id": None,
        "mode": Mode.AI_AUTO_SEND,
        "campaign_instructions": "",
        "settings": WorkspaceSettings(timezone="Europe/London"),
        "policy": PolicyRules(revision=1),
        "now": NOW,
        "trigger": turn(inbound),
        "trigger_ingest_seq": 1,
        "recipient": "ann@example.com",
        "profile": Profile(name="Ann", timezone="Europe/Berlin"),
        "conversation": [],
        "knowledge": [Knowledge(id=n, title="Fact", text=fact, verified=True) for n, fact in enumerate(facts)],
        "free_slots": [],
        "bundle_enabled": False,
    }
    return DraftRunSnapshot(**(fields | changes))


def rules(text: str, run: DraftRunSnapshot | None = None, **more: Any) -> list[str]:
    return codes(check_text(text, run or snapshot(), **more))


@pytest.mark.parametrize(
    ("said", "tag"),
    [("en", "en"), (" de_AT ", "de-AT"), ("zh-Hant-TW", "zh-Hant-TW"), ("es-419", "es-419"), ("en\n", "en"),
     ("English", None), ("Ann lives in Bonn", None), ("de-ann@example.com", None), ("", None)],
)  # fmt: skip
def test_only_a_language_tag_leaves_for_a_topic(said: str, tag: str | None) -> None:
    """What a model calls a language may be a text of its own; then nothing is told."""
    assert language_tag(said) == tag


# ---- claims: the same fact in other words


def money(cents: int) -> list[str]:
    amount, whole = Decimal(cents) / 100, cents // 100
    german = f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))
    forms = [f"${amount:,.2f}", f"{amount:.2f} USD", f"USD {amount:,.2f}", f"{german} $", f"{amount:.2f} dollars"]
    return [*forms, f"${whole:,}", f"{whole} US$"] if cents % 100 == 0 else forms


def dates(day: date) -> list[str]:
    names = f"{day:%B} {day.day}, {day.year}", f"{day.day} {day:%b} {day.year}", f"{day:%A}, {day:%B} {day.day}"
    return [day.isoformat(), f"{day.day}.{day.month}.{day.year}", *names, f"{day.day}. {day:%B} {day.year}"]


def times(minute: int) -> list[str]:
    hour, rest, half = minute // 60, minute % 60, "pm" if minute >= 720 else "am"
    return [f"{hour}:{rest:02}", f"{hour:02}:{rest:02} Uhr", f"{hour % 12 or 12}:{rest:02} {half}", f"{hour}h{rest:02}"]


def percentages(tenths: int) -> list[str]:
    value = f"{tenths / 10:g}"
    return [f"{value}%", f"{value} percent", f"{value.replace('.', ',')} Prozent", f"{value} %"]


def links(path: str) -> list[str]:
    return [f"https://acme.com/{path}", f"http://www.acme.com/{path}/", f"(ACME.com/{path})"]


def phones(number: int) -> list[str]:
    digits = f"{number:08}"
    return [f"+49 30 {digits}", f"030/{digits}", f"004930 {digits}", f"(030) {digits[:4]}-{digits[4:]}"]


def identifiers(number: int) -> list[str]:
    return [f"order #AB-{number}", f"order AB{number}", f"AB-{number}", f"ab_{number}".upper()]


def emails(name: str) -> list[str]:
    return [f"{name}@example.org", f"{name.upper()}@Example.org", f"<{name}@example.org>", f"mailto:{name}@example.org"]


words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=12)
FORMS: dict[Rule, st.SearchStrategy[list[str]]] = {
    Rule.AMOUNT: st.integers(1, CENTS_MAX).map(money),
    Rule.DATE: st.dates(date(2026, 11, 10), date(2027, 4, 20)).map(dates),
    Rule.TIME: st.integers(0, 24 * 60 - 1).map(times),
    Rule.PERCENTAGE: st.integers(1, 999).map(percentages),
    Rule.LINK: words.map(links),
    Rule.PHONE: st.integers(10_000_000, 99_999_999).map(phones),
    Rule.IDENTIFIER: st.integers(10_000, 99_999_999).map(identifiers),
    Rule.EMAIL: words.map(emails),
}
claim = st.sampled_from(sorted(FORMS)).flatmap(lambda rule: st.tuples(st.just(rule), FORMS[rule]))
written_twice = claim.flatmap(lambda c: st.tuples(st.just(c[0]), st.sampled_from(c[1]), st.sampled_from(c[1])))


@settings(deadline=None)
@given(claim.flatmap(lambda c: st.tuples(st.just(c[0]), st.sampled_from(c[1]))))
def test_a_claim_from_nowhere_always_blocks(found: tuple[Rule, str]) -> None:
    """What is not in the context blocks, whatever it is and however it is written, and the span shows it."""
    rule, form = found
    text = f"Hello Ann,\nit is {form} as far as we know.\nBye"
    blocks = [block for block in check_text(text, snapshot()) if block.group is BlockGroup.CLAIMS]
    assert {block.rule for block in blocks} & {rule, Rule.MEETING, Rule.IDENTIFIER, Rule.PHONE}
    assert all(0 <= block.start < block.end <= len(text) for block in blocks)
    assert any(text[block.start : block.end] in f" {form}" or form in text[block.start : block.end] for block in blocks)


@settings(deadline=None)
@given(st.lists(written_twice, min_size=1, max_size=6))
def test_claims_of_the_context_never_block(claims: list[tuple[Rule, str, str]]) -> None:
    """A text made only of claims that the context holds passes, also where it writes them in another way."""
    run = snapshot(*[f"It is {known} there." for _, known, _ in claims])
    text = "\n".join(["Hello Ann,", *[f"it is {said} there." for _, _, said in claims], "Bye"])
    assert rules(text, run) == []


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ("$1,000.00", "1000 USD, 1.000,00 $, USD 1'000, $1k, one thousand dollars, ＄１,０００"),
        ("1.5 million EUR", "€1,500,000 and 1,5 Mio. Euro"),
        ("from $5 to $10", "$5-10 or 5–10 $"),
        ("49 per month", "49/month"),
        ("10:00 CET", "9:00 UTC, 10:00 (Europe/Berlin), 10 am your time"),
        ("15 Uhr", "3 pm"),
        ("+49 (0)30 1234567", "030 1234567"),
        ("3 November 2027", "November 3rd, 2027, 03.11.2027, 2027-11-03"),
        ("15 %", "fifteen percent"),
        ("<p><a href='https://acme.com/a'>this</a>, 10&nbsp;000&nbsp;&euro;</p>", "https://acme.com/a, 10,000 EUR"),
    ],
)
def test_the_same_fact_in_other_words_is_the_same_fact(known: str, said: str) -> None:
    """Separators, symbols, scripts, zones and country codes do not make a new claim."""
    assert rules(f"It is {said}.", snapshot(known)) == []


@pytest.mark.parametrize(
    "pair",
    "50 % is not $50|50 EUR is not 50 USD|10:00 UTC is not 10:00 CET|1000 EUR is not 10,000 EUR|$5 to $10 is not $6"
    "|acme.com/a is not acme.com/b|acme.com is not acme.com.evil.io|3 November 2027 is not 3 November 2028".split("|"),
)
def test_a_similar_fact_is_another_fact(pair: str) -> None:
    """Neither a currency, nor a zone, nor a domain may be exchanged."""
    known, said = pair.split(" is not ")
    assert rules(f"It is {said}.", snapshot(known)) != []


HARMLESS = (
    "Hello Ann, thank you for your message!|We answer 24/7, within 2 minutes.|1. First\n2. Second\n3. Third"
    "|Have a nice Sunday!|I am 100% sure.|You may 3 times try.|The top 5 may be late."
    "|It takes 30 days, or 2-3 weeks.|Use Node.js, ASP, e.g. UTF-8."
    "|COVID-19, B2B, 4K, MP3, 5GB and iPhone 15 are words.|See page 12, room 7.|1/2 of it; version 2.3"
    "|Good morning! 😀👨‍👩‍👧|We cannot guarantee that.|The guarantee terms are on our page.|Is there anything else?"
    "|Today is fine.|Sun and sat on a bench|I'd be glad to help; tell me more about your team of 20 people."
    "|Q3 was good, 2026 will be better.|Feel free to ask."
).split("|")


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_sentences_do_not_block(text: str) -> None:
    """Greetings, lists, durations and names with digits are no claims."""
    assert rules(text) == []


def test_unverified_knowledge_supports_nothing() -> None:
    """A price that nobody verified is a price from nowhere."""
    rumour = Knowledge(id=9, title="Blog", text="It costs 77 EUR.", verified=False)
    assert rules("It costs 77 EUR.", snapshot(knowledge=[rumour])) == [Rule.AMOUNT]


def test_every_part_of_the_stored_context_supports_claims() -> None:
    """Conversation, trigger, profile, recipient, instructions and the lead's bundle count."""
    run = snapshot(
        inbound="My order is #A-99812",
        conversation=[turn("You paid 20 EUR", "reviewer"), turn("You get 5 %", "other")],
        campaign_instructions="Point to https://acme.com/spring",
        profile=Profile(phone="+49 30 1234567", timezone="Europe/Berlin"),
    )
    text = "Order A-99812, 20 EUR, 5 %, acme.com/spring, 030 1234567, ann@example.com, ticket 77123."
    assert rules(text, run) == [Rule.IDENTIFIER]
    assert rules(text, run, pack_texts=["They mentioned ticket 77123"]) == []


@pytest.mark.parametrize("author", ["lead", "ai"])
def test_what_a_lead_says_of_money_is_no_fact(author: str) -> None:
    """Who names a discount and a price of their own gets neither confirmed; what a colleague wrote stands."""
    said = "As a VIP I have a 50% discount and my price is $10 a month, please confirm. I have 3 seats, paid 20."
    reply = "Yes, your 50% discount applies: you pay $10 a month from now on, 20 dollars in all."
    bundle = [f"history: {said}"]
    for run in (snapshot(inbound=said), snapshot(conversation=[turn(said, author)])):
        assert rules(reply, run, pack_texts=bundle) == [Rule.PERCENTAGE, Rule.AMOUNT]
    colleague = turn("You have a 50% discount: $10 a month, $20 for two.", "reviewer")
    assert rules(reply, snapshot(inbound=said, conversation=[colleague])) == []


def test_a_bundle_supports_claims_but_not_with_rumours() -> None:
    """Of the bundle, memory, history and profile support claims; its knowledge is what nobody verified."""
    sections = [Section(name=name, weight=1, text=name, chars=1, tokens=1) for name in ("memory", "knowledge")]
    assert pack_texts(DraftRunContextPack(sections={"draft": sections, "overseer": sections})) == ("memory",)


# ---- meetings

MEETING = snapshot(
    "Open on Monday 9:00.", inbound="Would Tuesday at 11:00 suit you?", free_slots=[slot(3, 9), slot(4, 13)]
)


@pytest.mark.parametrize(
    "text",
    "Tuesday, November 3 at 10:00 CET works.|Tuesday at 10:00 works.|Tuesday at 9:00 our time|On Tuesday, 10:00-10:30"
    "|Wednesday at 14:00 (Europe/Berlin) or Tuesday at 10:00?|10:00 on Tuesday or 2 pm on Wednesday?"
    "|See you on Monday at 9:00."
    "|- Tue, 3 Nov, 10:00-10:30 CET\n- Wed, 4 Nov, 14:00-14:30 CET|Am Dienstag, 3.11., um 10 Uhr?"
    "|3 November 2026, 9:00 UTC"
    "|Unfortunately Tuesday at 11:00 is not free, how about Tuesday at 10:00?".split("|"),
)
def test_free_slots_may_be_offered(text: str) -> None:
    """A slot may be named by weekday, date and time, in the lead's zone or one that is named."""
    blocks = check_text(text, MEETING, scheduling=True)
    assert [block for block in blocks if block.rule == Rule.MEETING] == []


@pytest.mark.parametrize(
    "text",
    "Tuesday at 11:00 works.|Tuesday at 9:00 works.|Tuesday at 9:00 your time|Tuesday at 10:00 EST|Tomorrow at 10:00?"
    "|Wednesday at 10:00|November 4 at 10:00|11:00 works.|10:00 or 11:00 on Tuesday"
    "|Tuesday at 10:00 Nowhere time".split("|"),
)
def test_what_is_not_free_is_not_offered(text: str) -> None:
    """A time that the lead proposed, or that is right in another zone only, blocks when it is no free slot."""
    assert Rule.MEETING in rules(text, MEETING, scheduling=True)


def test_weekday_and_date_must_agree() -> None:
    """Monday the 3rd is no day when the 3rd is a Tuesday, free or not."""
    assert rules("Monday, November 3 at 10:00 works.", MEETING) == [Rule.WEEKDAY]
    assert rules("30 February 2027", snapshot("30 February 2027")) == [Rule.DATE]
    assert rules("Do., 3.11.2026", MEETING) == [Rule.WEEKDAY]
    assert rules("We could do November 3. So November 3 then.", MEETING) == []


def test_a_past_time_is_no_meeting() -> None:
    """When the order came is a fact to check, not an appointment to offer."""
    assert rules("You ordered on November 2, 2025 at 10:31.", snapshot("Ordered 2025-11-02 10:31")) == []


# ---- promises, safety, policy


def test_only_allowed_promises_are_made() -> None:
    """Guarantees and refunds block unless the workspace allows them; refusing one is no promise."""
    promise = "We guarantee delivery. You will receive a full refund."
    assert [block.rule for block in check_text(promise, snapshot())] == [Rule.PROMISE, Rule.PROMISE, Rule.TOPIC]
    chosen = WorkspaceSettings(allowed_promises=["guarantee delivery", "full refund"], always_ask_topics=[])
    assert rules(promise, snapshot(settings=chosen)) == []
    assert rules("We can't promise anything. Wir können nichts garantieren.") == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", Rule.EMPTY),
        (" \n\u200b", Rule.EMPTY),
        ("a " * DRAFT_CHARS_MAX, Rule.OVER_LONG),
        ('Hi <untrusted name="x">', Rule.FENCE_MARK),
        ("See verified_context_instructions", Rule.FENCE_MARK),
        ("pay\u202elap", Rule.CONTROL_CHARACTER),
        ("a\x00b", Rule.CONTROL_CHARACTER),
        ("exam\u200bple", Rule.CONTROL_CHARACTER),
        ("Hi [Your Name],", Rule.PLACEHOLDER),
        ("Hi {{ first_name }},", Rule.PLACEHOLDER),
    ],
)
def test_nobody_passes_an_unsafe_text(text: str, rule: Rule) -> None:
    """Empty, endless, leaking, hiding or unfinished texts are stopped, and no reviewer can pass them."""
    blocks = [block for block in check_text(text, snapshot()) if block.group is BlockGroup.SAFETY]
    assert rule in codes(blocks)
    assert not any(may_pass(block, automatic=False, shown_spans=[block.span]) for block in blocks)


@pytest.mark.parametrize("stage", list(Stage))
def test_a_prompt_is_not_repeated(stage: Stage) -> None:
    """A part of any prompt in a reply blocks, whatever line ends and capitals it has."""
    part = " ".join(PROMPTS[stage].system.split()[20:50]).upper()
    assert Rule.PROMPT_REPEATED in rules(f"Sure! {part}")


@pytest.mark.parametrize("stage", list(Stage))
def test_what_stands_between_the_parts_of_a_prompt_is_not_repeated(stage: Stage) -> None:
    """The sentences of the varying part are ours, too; what is put between them is not."""
    said = "the workspace has verified the entries of this section, and only these. Statements they support are facts"
    assert said.lower() in " ".join(PROMPTS[stage].literals).replace("\n", " ").lower()
    assert Rule.PROMPT_REPEATED in rules(f"Sure! {said}.")
    assert not any("{" in literal or "workspace }}" in literal for literal in PROMPTS[stage].literals)


def test_who_may_pass_which_group() -> None:
    """State and safety nobody; claims a reviewer who was shown the span; policy a reviewer."""
    nobody = [False, False, False]
    expected = {"state": nobody, "safety": nobody, "claims": [False, False, True], "policy": [False, True, True]}
    for group in BlockGroup:
        block = HardBlock(group, "rule", 1, 2)
        asked: list[tuple[bool, list[tuple[int, int]]]] = [(True, [(1, 2)]), (False, []), (False, [(1, 2)])]
        passes = [may_pass(block, automatic=automatic, shown_spans=shown) for automatic, shown in asked]
        assert passes == expected[group]


@pytest.mark.parametrize(
    "exchange",
    "I want my money back -> We see.|Hello -> Your password is safe.|Mein Anwalt meldet sich -> Gut."
    "|Je veux un remboursement -> D'accord.|the unsubscribe link is broken -> We see.".split("|"),
)
def test_some_topics_are_for_people(exchange: str) -> None:
    """Refund, legal and password matters, and a possible opt-out, are never answered by the machine alone."""
    inbound, text = exchange.split(" -> ")
    blocks = check_text(text, snapshot(inbound=inbound))
    assert [block.group for block in blocks] == [BlockGroup.POLICY]
    assert not may_pass(blocks[0], automatic=True)


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("Write to cryptogramme@example.org, please.", False),
        ("Write to ann@iban.example.org, please.", False),
        ("Send your IBAN to ann@example.org, please.", True),
        ("Send your IBAN,CVV@once, please.", True),
    ],
)
def test_a_word_within_an_address_asks_for_nothing(text: str, asks: bool) -> None:
    """Only a secret that is asked for is one: part of somebody's address is not."""
    assert (Rule.ASKS_PRIVATE in {block.rule for block in check_text(text, snapshot())}) is asks


def test_the_whole_burst_counts_for_topics() -> None:
    """A lead who asks for a refund and then says hello asked for a refund; what was answered before does not count."""
    burst = [turn("I want a refund"), turn("are you there?")]
    assert rules("Hi", snapshot(inbound="hello?", conversation=burst)) == [Rule.TOPIC]
    assert rules("Hi", snapshot(inbound="hello?", conversation=[burst[0], turn("Done.", "reviewer")])) == []


def test_workspaces_choose_topics_and_phrases() -> None:
    """A topic of one's own stands for itself; a forbidden phrase is found as a phrase."""
    topics, phrases = ["Solar  roof"], ["synergy", "at the end of the day"]
    run = snapshot(settings=WorkspaceSettings(always_ask_topics=topics, forbidden_phrases=phrases))
    assert rules("Our solar roofs shine.", run) == [Rule.TOPIC]
    assert rules("At the  end of the day it is SYNERGY, not synergyx.", run) == [Rule.FORBIDDEN_PHRASE]
    assert rules("A refund.", run) == []


def test_the_reply_is_in_the_language_it_should_be_in() -> None:
    """A sure difference blocks; a short text, an unknown language or none given does not."""
    german = "Guten Tag Ann, vielen Dank für Ihre Nachricht. Wir haben die Unterlagen für Sie."
    assert rules(german, language="en-GB") == [Rule.WRONG_LANGUAGE]
    assert [rules(german, language=tag) for tag in ("de", "de-AT", "ja", None)] == [[], [], [], []]
    assert rules("Danke!", language="en") == []


# ---- cost and hostility


@pytest.mark.parametrize(
    "piece", ["1 ", "1-", "a.", "a@", "$1", "1,", "Mon ", "at 10 ", "3 May 10:00 ", "x1", "(1", "1:1", "http://a "]
)
def test_hostile_texts_are_read_in_linear_time(piece: str) -> None:
    """A context and a draft made to be slow are read within two seconds."""
    start = time.process_time()
    check_text((piece * DRAFT_CHARS_MAX)[:DRAFT_CHARS_MAX], snapshot((piece * 65_536)[:65_536]))
    assert time.process_time() - start < HOSTILE_S_MAX


@settings(deadline=None)
@given(st.text())
def test_no_text_breaks_a_check(text: str) -> None:
    """Whatever a model or a lead writes, the checks answer, with spans inside the text."""
    blocks = check_text(text, snapshot(text, inbound=text), pack_texts=[text], language=text, scheduling=True)
    assert all(-1 <= block.start <= block.end <= len(text) for block in blocks)


@pytest.mark.parametrize("wrap", [str, lambda text: f"{text} 5 {text}", lambda text: f"on {text} at 10:{text}"])
def test_naughty_strings_break_nothing(wrap: Callable[[str], str]) -> None:
    """The list of naughty strings passes every check."""
    for naughty in naughty_strings():
        check_text(wrap(naughty), snapshot(naughty), scheduling=True)
