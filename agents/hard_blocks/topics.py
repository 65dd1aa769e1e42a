"""What a workspace wants a person to look at: topics, phrases, a reply in the wrong language."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from agents.gates.reply_text import strip_quoted
from agents.hard_blocks.block import BlockGroup, HardBlock, Rule
from agents.hard_blocks.language import language_of, speaks_another_language
from agents.hard_blocks.source import Source
from schemas.context import DraftRunSnapshot

TOPICS_CACHED_MAX: Final = 1_024

# Synonyms of the topics that workspaces name most, as beginnings of words; `$` marks a whole word. Other topics stand
# for themselves.
_SYNONYMS: Final = {
    "refund": "refund|reimburs|money back|chargeback|charge back|rückerstatt|erstattung|erstatten|geld zurück"
    "|rembours|reembols|devolución|devoluciones|rimbors|terugbetal|geld terug|zwrot|zwróc",
    "legal": "legal|lawyer|attorney|lawsuit|sue you|suing|litigation|solicitor|in court|to court|court order|subpoena"
    "|anwalt|anwält|rechtlich|klage$|verklag|gericht$|avocat|juridique|tribunal|plainte|abogad|demanda$|demandar"
    "|avvocat|legale|denuncia|advogad|processar|advocaat|rechtszaak|juridisch|prawnik|adwokat|pozew|sądow",
    "password": "password|passcode|passphrase|passwort|kennwort|mot de passe|contraseña|senha$|wachtwoord|hasło|hasła"
    "|hasłem|one-time code|verification code|2fa",
    "cancellation": "cancel|kündig|stornier|storno|résili|annul|disdett|disdire|opzeg|wypowiedz|rezygn",
    "complaint": "complain|complaint|unacceptable|beschwer|reklamation|réclamation|plainte|queja|reclamaci|reclamo"
    "|reclama|klacht|skarg|reklamac",
    "privacy": "privacy|gdpr|personal data|my data|data protection|dsgvo|datenschutz|rgpd|données personnelles"
    "|datos personales|dati personali|dados pessoais|avg$|rodo$|dane osobowe",
    "fraud": "fraud|scam|hacked|stolen|phishing|betrug|gehackt|gestohlen|fraude|arnaque|piraté|estafa|hackeado|truffa"
    "|frode|golpe|oplichting|gehackt|oszust",
}
_WORD_END: Final = r"(?![^\W_])"
_WORD_REST: Final = r"[^\W_]*"
# Words of people who may want to be left alone, where the gate was not sure.
_MAYBE_OPT_OUT: Final = re.compile(
    r"\b(?:unsubscrib|opt(?:ing|ed)?[ -]out\b|mailing list|spam|stop (?:contact|e-?mail|messag|text|writ|send)"
    r"|abmelden|abbestell"
    r"|newsletter|désabonn|désinscri|dar(?:me|se)? de baja|disiscri|descadastr|uitschrijven|afmelden|wypisa|avregistrer"
    r"|avprenumer|afmeld|abonelik)|配信停止|退订|取消订阅|수신 ?거부",
)

# What no reply may ask a stranger for by itself.
_ASKS_PRIVATE: Final = re.compile(
    r"\b(?:(?:credit|debit|bank) ?card (?:number|details|data)|card (?:number|details)|cvv|cvc2?|security code"
    r"|pin (?:code|number)|your pin|iban|social security number|ssn|passport number|seed phrase|recovery phrase"
    r"|private key|api key|access token|log-?in (?:details|data)|credentials|gift cards?|kreditkarten(?:nummer|daten)"
    r"|kartennummer|prüfnummer|ihre pin|zugangsdaten|numéro de carte|cryptogramme|identifiants|número de tarjeta"
    r"|credenciales|numero di carta|carta di credito|número do cartão|kaartnummer|inloggegevens|numer karty)\b",
)

_ADDRESS_CHARS: Final = 64
_IN_DOMAIN: Final = re.compile(r"@[\w.-]*$")
_IN_LOCAL_PART: Final = re.compile(r"[\w.+-]*@\w")

# One of these stands in everything that the pattern finds; looking for them first costs a tenth.
_PRIVATE_STEMS: Final = (
    "card", "cvv", "cvc", "code", "pin", "iban", "ssn", "social security", "passport", "phrase", " key", "token",
    "login", "log-in", "credential", "karte", "nummer", "zugangsdaten", "carte", "cryptogramme", "identifiants",
    "tarjeta", "credenciales", "carta", "cartão", "inloggegevens", "karty",
)  # fmt: skip


def check_topics(text: str, snapshot: DraftRunSnapshot, language: str | None) -> list[HardBlock]:
    """Policy blocks. A span points into `text`; what only the lead wrote has none."""
    asked = _asked(snapshot)
    topics = tuple(snapshot.settings.always_ask_topics)
    blocks = []
    if (span := _first_topic(text.lower(), topics)) is not None:
        blocks.append(HardBlock(BlockGroup.POLICY, Rule.TOPIC, *span))
    elif _first_topic(asked, topics) is not None:
        blocks.append(HardBlock(BlockGroup.POLICY, Rule.TOPIC))
    if _MAYBE_OPT_OUT.search(asked):
        blocks.append(HardBlock(BlockGroup.POLICY, Rule.MAYBE_OPT_OUT))
    blocks += _forbidden(text, snapshot.settings.forbidden_phrases)
    expected = snapshot.settings.language or language_of(strip_quoted(snapshot.trigger.body)) or language
    if speaks_another_language(text, expected):
        blocks.append(HardBlock(BlockGroup.POLICY, Rule.WRONG_LANGUAGE))
    lower = Source.of(text).lower
    if (secret := _asked_secret(lower)) is not None:
        blocks.append(HardBlock(BlockGroup.POLICY, Rule.ASKS_PRIVATE, *secret))
    return blocks


def _asked_secret(lower: str) -> tuple[int, int] | None:
    """Where a reply asks for what it may not; a word that is part of an address (iban@example.org) asks for nothing."""
    if not any(stem in lower for stem in _PRIVATE_STEMS):
        return None
    for found in _ASKS_PRIVATE.finditer(lower):
        before = lower[max(found.start() - _ADDRESS_CHARS, 0) : found.start()]
        after = lower[found.end() : found.end() + _ADDRESS_CHARS]
        if not (_IN_DOMAIN.search(before) or _IN_LOCAL_PART.match(after)):
            return found.span()
    return None


def _asked(snapshot: DraftRunSnapshot) -> str:
    """What the lead wrote since somebody last answered, quotes left out, in lower case. The burst counts, not its
    end."""
    since: list[str] = [snapshot.trigger.subject or "", strip_quoted(snapshot.trigger.body)]
    for turn in reversed(snapshot.conversation):
        if turn.author != "lead":
            break
        since.append(strip_quoted(turn.body))
    return "\n".join(since).lower()


def _first_topic(lower: str, topics: tuple[str, ...]) -> tuple[int, int] | None:
    """The first word of `lower` that names one of the topics. Plain look-ups first: most texts name none."""
    patterns = (pattern for stem, pattern in _topic_words(topics) if stem in lower)
    found = [match.span() for pattern in patterns if (match := pattern.search(lower))]
    return min(found, default=None)


@lru_cache(maxsize=TOPICS_CACHED_MAX)
def _topic_words(topics: tuple[str, ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    named = [_name(topic) for topic in topics if topic.strip()]
    words = [word for name in named for word in _SYNONYMS.get(name, name).split("|")]
    return tuple(
        (stem, re.compile(rf"(?<![^\W_]){re.escape(stem)}{_WORD_END if word.endswith('$') else _WORD_REST}"))
        for word in words
        if (stem := word.removesuffix("$"))
    )


def _name(topic: str) -> str:
    return " ".join(topic.lower().split())


def _forbidden(text: str, phrases: Sequence[str]) -> list[HardBlock]:
    blocks = []
    for phrase in phrases:
        words = r"\s+".join(map(re.escape, phrase.split()))
        found = re.search(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE) if words else None
        if found is not None:
            blocks.append(HardBlock(BlockGroup.POLICY, Rule.FORBIDDEN_PHRASE, *found.span()))
    return blocks
