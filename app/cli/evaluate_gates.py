"""`evaluate-gates`: both error rates of the gates on the way in, on mails and messages whose authors are known."""

from __future__ import annotations

import json
import mailbox
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.shell import OK, PROBLEM, AsJson, EnvFile, Problem, WrongUse, emit, show_table

if TYPE_CHECKING:
    from app.mail_in.reading import Unusable
    from schemas.events import InboundMessage

group = typer.Typer()

SHOWN_MAX: Final = 20
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_RETURN_PATH: Final = re.compile(rb"^Return-Path:[ \t]*<([^<>\r\n]*)>", re.IGNORECASE | re.MULTILINE)
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_SOMEBODY: Final = "somebody@example.invalid"

_Paths = list[Path] | None
Machines = Annotated[_Paths, typer.Option(metavar="PATH", exists=True, help="What machines wrote.")]
People = Annotated[_Paths, typer.Option(metavar="PATH", exists=True, help="What people wrote.")]


@dataclass(frozen=True)
class Rate:
    """What the gates did to messages of one kind. `wrong` names them: machines that would be answered, or people who
    would not. `unusable` names mails that `mail-in` refuses, which answers nobody."""

    authors: str
    messages: int
    wrong: list[str]
    unusable: list[str]
    by_gate: dict[str, int]

    @property
    def rate(self) -> float:
        return len(self.wrong) / self.messages if self.messages else 0.0


@group.command(
    "evaluate-gates",
    epilog="Example: draft-pipeline evaluate-gates --machines bounces/ --people chats.jsonl",
    rich_help_panel="Judge",
)
def evaluate_gates(
    machines: Machines = None,
    people: People = None,
    own: Annotated[list[str] | None, typer.Option(metavar="ADDRESS", help="An address of ours.")] = None,
    max_answered: Annotated[float, typer.Option(min=0, max=1, help="Share of machine mail that may pass.")] = 0.02,
    max_refused: Annotated[float, typer.Option(min=0, max=1, help="Share of people that may be refused.")] = 0.0,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """How many machines would be answered, how many people refused. Needs no system; texts are not shown.

    A PATH is a folder of .eml files, an .eml, an mbox, or JSON Lines of inbound messages; both options may be repeated.
    Exit code 1 when a share is exceeded.
    """
    if not machines and not people:
        raise WrongUse("give --machines PATH, --people PATH, or both")
    ours = frozenset(address.lower() for address in own or ())
    rates = [measure("machines", machines or (), ours), measure("people", people or (), ours)]
    ok = rates[0].rate <= max_answered and rates[1].rate <= max_refused
    if as_json:
        emit({"ok": ok, "rates": [{**asdict(each), "rate": each.rate} for each in rates if each.messages]})
    else:
        _tell([each for each in rates if each.messages])
    raise typer.Exit(OK if ok else PROBLEM)


def measure(authors: str, paths: Sequence[Path], own: frozenset[str]) -> Rate:
    """Ask every gate about every message. Raises Problem for a file that cannot be read."""
    from agents.gates import first_gate
    from app.mail_in.reading import Unusable
    from schemas.codes import Mode

    wrong, unusable, gates = list[str](), list[str](), Counter[str]()
    for name, message in (found for path in paths for found in read(path)):
        gate: str | None
        if isinstance(message, Unusable):
            unusable.append(name)
            gate = f"unusable ({message.code})"
        elif message.direction == "outbound":
            continue
        else:
            gate = first_gate(message, own, suppressed=False, mode=Mode.AI_AUTO_SEND)
        gates[gate or "none"] += 1
        if (gate is None) is (authors == "machines"):
            wrong.append(name)
    if paths and not gates:
        raise Problem(f"--{authors}: no message in {', '.join(map(str, paths))}")
    return Rate(authors, gates.total(), wrong, unusable, dict(gates.most_common()))


def read(path: Path) -> Iterator[tuple[str, InboundMessage | Unusable]]:
    """The messages of a path, with a name each: the file, or the message's id. A mail may be unusable."""
    if path.is_dir():
        for file in sorted(path.rglob("*.eml")):
            yield from read(file)
    elif path.suffix == ".eml":
        yield path.name, _message(path.read_bytes())
    elif path.suffix in (".jsonl", ".ndjson"):
        yield from _lines(path)
    else:
        with closing(mailbox.mbox(path, create=False)) as box:
            for key in box.iterkeys():
                yield f"{path.name}:{key}", _message(box.get_bytes(key))


def _message(content: bytes) -> InboundMessage | Unusable:
    from app.mail_in.reading import Unusable

    try:
        return of_mail(content)
    except Unusable as error:
        return error


def _lines(path: Path) -> Iterator[tuple[str, InboundMessage]]:
    from pydantic import ValidationError

    from schemas.events import InboundMessage

    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            message = InboundMessage.model_validate(json.loads(line))
        except ValidationError as error:
            place = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
            raise Problem(f"{path}, line {number}: {place} breaks the contract of inbound-message") from None
        except ValueError:
            raise Problem(f"{path}, line {number}: no JSON") from None
        yield message.message_id, message


def of_mail(content: bytes) -> InboundMessage:
    """A stored mail as `mail-in` publishes it. Raises Unusable.

    Whoever stored it kept its MAIL FROM as Return-Path; without one it is taken as somebody's, not as a bounce's.
    """
    from app.mail_in.reading import read_mail
    from schemas.codes import Channel
    from schemas.events import InboundMessage

    kept = _RETURN_PATH.search(_HEAD_END.split(content, maxsplit=1)[0])
    mail = read_mail(content, kept[1].decode("ascii", "replace") if kept else _SOMEBODY)
    return InboundMessage(
        schema_version=1,
        message_id=mail.message_id,
        workspace_id="w",
        lead_id="l",
        channel=Channel.EMAIL,
        received_at=_NOW,
        body=mail.body,
        subject=mail.subject,
        from_address=mail.from_address,
        to_address=mail.to_address,
        headers=mail.headers,
    )


def _tell(rates: Sequence[Rate]) -> None:
    words = {"machines": "answered", "people": "refused"}
    rows = [
        (each.authors, each.messages, f"{len(each.wrong)} {words[each.authors]}", f"{each.rate:.2%}",
         ", ".join(f"{gate} {count}" for gate, count in each.by_gate.items()))
        for each in rates
    ]  # fmt: skip
    show_table(("written by", "messages#", "wrong#", "rate#", "gates"), rows)
    for each in rates:
        for name in each.wrong[:SHOWN_MAX]:
            print(f"{words[each.authors]}: {name}")
        for name in each.unusable[:SHOWN_MAX]:
            print(f"unusable: {name}")
