"""Promises that bind the workspace: guarantees, refunds, compensation, and what is said to be done already, which no
draft can know. Only those of its allowed list may be made."""

import re
from collections.abc import Sequence
from typing import Final

from agents.hard_blocks.block import BlockGroup, HardBlock, Rule
from agents.hard_blocks.source import Source

NEGATION_CHARS: Final = 24

_ADVERB: Final = r"(?: \w+ly| also| of course)?"
_WE: Final = rf"(?:we|i)(?:'ll| will| shall| can| do|'d| would|'ve| have|'re going to| are going to)?{_ADVERB}"
_CHANGED: Final = (
    r"(?:cancell?ed|changed|updated|deleted|removed|reset|activated|deactivated|upgraded|downgraded|shipped|dispatched"
    r"|booked|reserved|charged|extended|replaced|reordered|closed|unlocked)"
)
_CHANGED_DE: Final = (
    r"(?:storniert|geändert|gelöscht|entfernt|zurückgesetzt|aktiviert|deaktiviert|versandt|verschickt|gebucht|reserviert"
    r"|verlängert|ersetzt|gekündigt|freigeschaltet)"
)
_PROMISE: Final = re.compile(
    rf"\b(?:(?:we|i)(?:'ll| will) (?:definitely|certainly|surely) (?:fix|solve|resolve|deliver|send|ship|repair"
    rf"|replace)"
    rf"|(?:we|i)(?:'ve| have) (?:just |already |now )?{_CHANGED} (?:it|that|your|the)"
    rf"|your (?:\w+ ){{1,2}}(?:has|have) (?:just |already |now )?been {_CHANGED}"
    rf"|(?:wir haben|ich habe|habe ich|haben wir) (?:bereits |soeben |gerade |schon )?(?:ihre?[nm]?|deine?[nm]?"
    rf"|die|den|das|es|sie) (?:[\w-]+ ){{0,3}}?{_CHANGED_DE}"
    r"|j'ai (?:annulé|modifié|supprimé|réinitialisé|activé|désactivé|expédié|réservé|prolongé|remplacé)"
    r"|nous avons (?:annulé|modifié|supprimé|réinitialisé|activé|désactivé|expédié|réservé|prolongé|remplacé)"
    r"|(?:he|hemos) (?:cancelado|cambiado|eliminado|restablecido|activado|desactivado|enviado|reservado|reemplazado)"
    r"|(?:ho|abbiamo) (?:cancellato|annullato|modificato|eliminato|reimpostato|attivato|disattivato|spedito|prenotato)"
    rf"|{_WE} (?:guarantee|promise|warrant|commit to)|guaranteed"
    rf"|{_WE} (?:refund\w*|reimburse\w*|compensate\w*|waive\w*|credit\w*|pay you back|cover the cost\w*)"
    r"|you(?:'ll| will| can)(?: \w+)? (?:get|receive|have|be)(?: an?| your| the)?(?: full| partial| complete)?"
    r" (?:refund\w*|compensat\w+|reimburs\w+|credited)|(?:full|100 ?%|partial) refund|money[- ]back"
    r"|(?:wir|ich) (?:garantieren?|versprechen?|verspreche|erstatten?|entschädigen?|übernehmen? die kosten)|garantiert"
    r"|(?:wir|ich) werden? (?:ihnen |dir )?.{0,40}(?:erstatten|zurückzahlen|entschädigen|garantieren)"
    r"|(?:nous|je) (?:vous )?(?:garantissons|garantis|promettons|promets|rembourserons|rembourserai|dédommagerons)"
    r"|garantizamos|garantizo|prometemos|prometo|reembolsaremos|devolveremos el dinero|compensaremos"
    r"|garantiamo|garantisco|promettiamo|prometto|rimborseremo|rimborserò|risarciremo"
    r"|garantimos|garanto|reembolsarei|indenizaremos"
    r"|(?:wij|we|ik) (?:garanderen|garandeer|beloven|beloof|vergoeden|vergoed|betalen .{0,20}terug)|gegarandeerd"
    r"|gwarantujemy|gwarantuję|obiecujemy|obiecuję|zwrócimy|zwrócę pieniądze|zrekompensujemy)\b"
)
_NEGATED: Final = re.compile(
    r"\b(?:not|no|never|cannot|can't|won't|don't|isn't|aren't|unable to|nicht|nie|kein\w*|pas|ne|no|non|não|niet"
    r"|geen)\b[^.!?\n]{0,12}$"
)
_SUPPOSED: Final = re.compile(r"\b(?:once|when|after|if|until|unless|whether|wenn|sobald|nachdem|falls|ob)\s$")
_NEGATED_INSIDE: Final = re.compile(r"\b(?:not|never|cannot)\b|n't\b")


def check_promises(text: str, allowed: Sequence[str]) -> list[HardBlock]:
    """Blocks for promises that no entry of `allowed` overlaps. "We cannot guarantee" is none, nor "once we
    have shipped it"."""
    source = Source.of(text)
    found = [
        promise
        for promise in _PROMISE.finditer(source.lower)
        if not _NEGATED.search(before := source.before(promise.start(), NEGATION_CHARS))
        and not _SUPPOSED.search(before)
        and not _NEGATED_INSIDE.search(promise.group())
    ]
    if not found:
        return []
    covered = [span for phrase in allowed for span in _places(source.lower, phrase)]
    return [
        HardBlock(BlockGroup.CLAIMS, Rule.PROMISE, promise.start(), promise.end())
        for promise in found
        if not any(start < promise.end() and promise.start() < end for start, end in covered)
    ]


def _places(lower: str, phrase: str) -> list[tuple[int, int]]:
    wanted = r"\s+".join(map(re.escape, phrase.lower().split()))
    return [found.span() for found in re.finditer(wanted, lower)] if wanted else []
