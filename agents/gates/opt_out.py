"""Whether the author asks to be left alone, read from the top reply. In doubt it is none: a model reads it next.

Two ways to say it: a keyword that is all there is ("STOP", "Unsubscribe, please"), or a sentence that names us and our
messages ("stop e-mailing me", "nehmen Sie mich vom Verteiler"). "Stop my payment" and "stop by tomorrow" are neither.
"""

import re
from typing import Final

from agents.gates.phrases import CHANNEL_KEYWORDS, COURTESY, GREETINGS, KEYWORDS, PHRASES, STEMS, WEAK_KEYWORDS
from agents.gates.reply_text import strip_quoted
from schemas.codes import Channel

OPT_OUT_CHARS_MAX: Final = 4_000
KEYWORD_CLAUSES_MAX: Final = 3  # further down it is the footer of a letter
GREETING_WORDS_MAX: Final = 4
SIGNATURE_WORDS_MAX: Final = 12

_DOT_OF_I: Final = "\u0307"  # what the Turkish capital I leaves behind in lower case
_STEMS: Final = {channel: tuple(sorted({*STEMS, *CHANNEL_KEYWORDS.get(channel, ())})) for channel in Channel}
_WORD: Final = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_CLAUSE_END: Final = re.compile(r"[.!?;,:…]+(?:\s|$)|\s[-–—]\s")
_SENTENCE_END: Final = re.compile(r"[.!?;\n…]+(?:\s+|$)|\n")
# What stands right before the phrase and turns it round: "don't unsubscribe me", "why did you opt me out".
_NOT_MEANT: Final = re.compile(
    r"(?:\b(?:don'?t|do not|never|not|didn'?t|cannot|can'?t|nicht|não|niet|nie|did you|have you|you|they"
    r"|who|i did|i have|(?:i|we|they|he|she) (?:(?!you)\w+ ){0,2}to)"
    r"|\b(?:my|our|his|her|their|the|a|an|mein|meine|unser|mon|ma|mi|nuestro|il mio|mijn) (?!please)\w+"
    r"|\b(?:if|when|unless|before|wenn|falls|si|se|als|jeśli)\b[^,]{0,60})\s+$"
)
# What comes after it: "don't write to my old address any more" is about the address.
_ONE_WAY_ONLY: Final = re.compile(
    r"[^.!?]{0,40}\b(?:old|previous|former|alten?|frühere[nr]?|ancienne?|anterior|antigu[ao]|antig[ao]|viej[ao]"
    r"|vecchi[ao]|oude"
    r"|star[ye]|gamla) (?:e-?mail |mail |postal )?(?:address|adres\w*|indirizzo|dirección|correo|endereço|number"
    r"|nummer|numéro"
    r"|numero|número|e-?mail|mail|konto|account)"
)


def opts_out(body: str, channel: Channel) -> bool:
    """Whether the top reply of `body` is an opt-out."""
    lowered = body.lower().replace(_DOT_OF_I, "")
    if not any(stem in lowered for stem in _STEMS[channel]):
        return False
    reply = strip_quoted(body)[:OPT_OUT_CHARS_MAX].lower().replace(_DOT_OF_I, "").replace("’", "'")
    return _is_keyword(reply, channel) or any(_asks(sentence) for sentence in _SENTENCE_END.split(reply) if sentence)


def _asks(sentence: str) -> bool:
    found = PHRASES.search(sentence)
    if found is None or _NOT_MEANT.search(sentence[: found.start()]):
        return False
    return not _ONE_WAY_ONLY.match(sentence[found.end() :])


def _is_keyword(reply: str, channel: Channel) -> bool:
    """Whether the reply, or its beginning, says nothing but a keyword and courtesies."""
    clauses = [_without_courtesy(clause) for line in reply.splitlines() for clause in _CLAUSE_END.split(line)]
    said = [clause for clause in clauses if clause]
    if not said:
        return False
    first, rest = said[0], sum(len(clause.split()) for clause in said[1:])
    if any(clause in KEYWORDS for clause in said[:KEYWORD_CLAUSES_MAX]):
        return True
    weak = first in WEAK_KEYWORDS or first in CHANNEL_KEYWORDS.get(channel, ())
    return weak and (rest == 0 or (_stands_alone(reply, first) and rest <= SIGNATURE_WORDS_MAX))


def _stands_alone(reply: str, keyword: str) -> bool:
    """Whether the keyword has a line of its own: what follows is a name, not the rest of a sentence."""
    return any(_without_courtesy(line) == keyword for line in reply.splitlines())


def _without_courtesy(clause: str) -> str:
    """The words of a clause without courtesies and repetitions; empty for a greeting."""
    words = _WORD.findall(clause)
    if words and words[0] in GREETINGS and len(words) <= GREETING_WORDS_MAX:
        words = [word for word in words[1:] if word in _ONE_WORD_KEYWORDS]
    return " ".join(dict.fromkeys(word for word in words if word not in COURTESY))


_ONE_WORD_KEYWORDS: Final = frozenset(word for word in KEYWORDS | WEAK_KEYWORDS if " " not in word)
