"""Inbound gates: why a message starts no run. Pure, microseconds, asked for every message that arrives."""

from typing import Final

from agents.gates.machine_mail import MachineSign, hands_on, machine_mail
from agents.gates.opt_out import opts_out
from agents.gates.reply_text import readable, strip_quoted
from schemas.codes import Gate, Mode
from schemas.events import InboundMessage

__all__ = ["MachineSign", "first_gate", "hands_on", "machine_mail", "opts_out", "readable", "strip_quoted"]

_OWN_WORDS_ONLY: Final = ("re:", "fw:", "fwd:", "aw:", "wg:", "tr:", "rv:")


def first_gate(message: InboundMessage, own_addresses: frozenset[str], suppressed: bool, mode: Mode) -> Gate | None:
    """The first gate that holds `message` back, None when it may start a run.

    One exception to the order: the mail that a mail program sends for a reader who pressed "unsubscribe" is marked as
    automatic, and still says what the reader wants.
    """
    if message.direction == "outbound":
        return Gate.OUTBOUND
    unsubscribes = _subject_opts_out(message)
    sign = machine_mail(
        message.headers, message.from_address, message.to_address, message.subject, message.body, own_addresses
    )
    if sign is not None and not (unsubscribes and sign == MachineSign.AUTO_SUBMITTED):
        return Gate.MACHINE_MAIL
    if unsubscribes or opts_out(message.body, message.channel):
        return Gate.OPT_OUT
    if suppressed:
        return Gate.SUPPRESSED
    return Gate.MODE_OFF if mode is Mode.OFF else None


def _subject_opts_out(message: InboundMessage) -> bool:
    """A subject written by the lead that asks to be left alone; one that merely answers ours says nothing."""
    subject = message.subject
    if not subject or subject.lower().startswith(_OWN_WORDS_ONLY):
        return False
    return opts_out(subject, message.channel)
