"""Another lead's data: what the context does not hold is looked up, what it holds and first names are not."""

import pytest

from agents.hard_blocks import check_text
from agents.hard_blocks.strangers import Suspects, suspects
from schemas.context import DraftRunContextPack, Knowledge, Profile, Section
from tests.samples import chat_bodies, naughty_strings
from tests.unit.test_hard_blocks import snapshot, turn

RUN = snapshot(
    inbound="Hello, I am Ann Lee. My colleague Bob Stone wrote to you, too.",
    conversation=[turn("Ask for Eva Maria Brandt", "reviewer")],
    profile=Profile(name="Ann Lee", email="ann@example.com", phone="+49 30 1234567", timezone="Europe/Berlin"),
    knowledge=[Knowledge(id=1, title="Team", text="Our founder is Carla Diaz.", verified=False)],
)
PACK = DraftRunContextPack(
    sections={"draft": [Section(name="memory", weight=1, text="knows Jo Kim", chars=1, tokens=1)]}
)


def found(text: str) -> Suspects:
    return suspects(text, check_text(text, RUN), RUN, PACK)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("We told Maria Huber the same.", "maria huber"),
        ("Dear Maria Huber,\nhello", "maria huber"),
        ("It is Maria Huber's order.", "maria huber"),
        ("as Ludwig van Beethoven said", "ludwig van beethoven"),
        ("Frau Anna Sophie Müller-Lüdenscheidt schrieb", "anna sophie müller-lüdenscheidt"),
        ("ask Seán O'Brien.", "seán o'brien"),
        ("ask Will Smith.", "will smith"),
        ("MARIA HUBER", "maria huber"),
        ("田中 太郎 さん", "田中 太郎"),
    ],
)
def test_a_name_from_nowhere_is_looked_up(text: str, name: str) -> None:
    """Two words with capitals, or of a script without any, are a name that somebody may have; the span shows it."""
    start, end = found(text).names[name]
    assert 0 <= start < end <= len(text)


@pytest.mark.parametrize(
    "text",
    "Hello Ann, thanks for your message!|Dear Ann Lee,|I will tell Bob Stone.|Eva Maria Brandt will call you."
    "|Carla Diaz founded us.|Jo Kim knows.|Kind Regards|Best Regards, your support team|Viele Grüße|Thank You"
    "|Maria wrote, too.|We ship on monday".split("|"),
)
def test_what_the_context_holds_is_nobody_elses(text: str) -> None:
    """Names of the conversation, the knowledge and the bundle, first names alone and courtesies need no look-up."""
    assert not found(text).names


def test_addresses_and_numbers_that_block_are_looked_up() -> None:
    """Those of the context are not; a number is compared by its last digits."""
    text = "Write to Maria.Huber@Example.org or +49 (0)89 7654 3210; yours are ann@example.com and 030 1234567."
    assert list(found(text).emails) == ["maria.huber@example.org"]
    assert list(found(text).phones) == ["76543210"]


def test_most_messages_name_nobody() -> None:
    """Of what people write in chats, hardly any would need a look-up."""
    run = snapshot()
    bodies = chat_bodies()[:5_000]
    asked = sum(bool(suspects(body, (), run, DraftRunContextPack()).names) for body in bodies)
    assert asked <= len(bodies) // 5


def test_no_text_breaks_it() -> None:
    """Any string has an answer, each place within the text."""
    for naughty in naughty_strings():
        assert all(0 <= start < end <= len(naughty) for start, end in found(naughty).names.values())
