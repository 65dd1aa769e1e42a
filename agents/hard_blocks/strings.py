"""Links, e-mail addresses, phone numbers and identifiers."""

import re
from typing import Final

from agents.hard_blocks.block import Rule
from agents.hard_blocks.numbers import NUMBER
from agents.hard_blocks.source import Claim, Source

TOKEN_CHARS_MAX: Final = 40
BEFORE_CHARS: Final = 40
LINK_CHARS_MAX: Final = 2_048
PHONE_DIGITS_MIN: Final = 7
PHONE_DIGITS_MAX: Final = 15
GROUPED_DIGITS_MAX: Final = 8
BARE_DIGITS_MIN: Final = 5
LABELLED_DIGITS_MIN: Final = 3
HASH_DIGITS_MIN: Final = 2
CODE_DIGITS_MIN: Final = 3
CODE_CHARS_MIN: Final = 5
MIXED_CHARS_MIN: Final = 8

_LINKISH: Final = re.compile(r"[:@.](?=[/\w])")
_DELIMITERS: Final = frozenset(" \t\n\r\x0b\x0c\x00<>\"'()[]{}|\\^*,;")
_TRAILING: Final = ".,;:!?_~"
_EMAIL: Final = re.compile(r"(?:mailto:)?([\w.%+-]+@[\w-]+(?:\.[\w-]+)+)(?:\?\S*)?")
_HOST: Final = re.compile(
    r"(?:www\.\S+|(?:[\w-]+\.)+(?:com|org|net|edu|gov|info|biz|io|ai|app|dev|co|uk|us|ca|au|eu|de|at|ch|fr|be|es|it"
    r"|pt|br|nl|pl"
    r"|se|no|dk|fi|cz|ru|jp|cn|in|mx|me|tv|ly|gl|cc|to|sh|link|shop|store|online|site|xyz|club|tech|cloud|page|top"
    r"|blog|news)"
    r"(?:[:/?#]\S*)?|(?:[\w-]+\.)+[a-z]{2,24}/\S*|(?:\d{1,3}\.){3}\d{1,3}(?:[:/]\S*)?)"
)
# Addresses that are written so that no program should see them: example[.]com, example dot com, me (at) example.
_DISGUISED: Final = re.compile(
    r"[\w-]+ ?[\[({] ?(?:dot|\.|at|@|punkt|point) ?[\])}] ?[\w-]+"
    r"|[\w-]+ (?:dot|punkt|point) (?:com|net|org|io|de|co|info)(?!\w)"
)
_DISGUISES: Final = (" dot ", "dot]", "dot)", "[.", "(.", "[at", "(at", "[@", "(@", "punkt", " point ")
_WEB: Final = re.compile(r"(?:https?://)?(?:www\.)?([^/?#]+)(.*)", re.IGNORECASE | re.DOTALL)

_PHONE: Final = re.compile(r"\d(?:[ ().\-/]{0,3}\d){6,23}(?!\d)")
_PHONE_PREFIX: Final = re.compile(r"[+(]{1,2}$")
_LABEL: Final = re.compile(
    r"(?:order|ticket|case|invoice|reference|ref|booking|confirmation|reservation|policy|account|customer|contract"
    r"|tracking"
    r"|claim|flight|member(?:ship)?|serial|pin|code|id|bestell\w*|auftrags?\w*|rechnungs?\w*|vertrags?\w*|kunden\w*"
    r"|vorgangs?\w*"
    r"|commande|facture|référence|dossier|pedido|factura|referencia|ordine|fattura|pratica|encomenda|fatura"
    r"|bestelling|factuur"
    r"|zamówieni\w+|faktur\w+|numer)\s?(?:no\.?|nr\.?|number|num|id|n[°ºo]\.?|code)?\s?(?:is|lautet|est|es"
    r"|:)?\s?[:#]?\s?$"
)
_UNIT: Final = re.compile(
    r"\d+(?:st|nd|rd|th|am|pm|h|min|s|ms|x|k|kg|g|mg|km|m|cm|mm|ml|l|gb|mb|tb|kb|mbps|gbps|hz|mhz|ghz|px|pt|w|kw|kwh"
    r"|v|d|p|er|e"
    r"|eme|ème|bit|fps|mah)"
)
_RANGE: Final = re.compile(r"\d{1,4}-\d{1,4}")
_INTERLEAVED: Final = re.compile(r"\d[a-z].*\d|[a-z]\d.*[a-z]|\d[a-z].*[a-z]\d", re.IGNORECASE)
_STANDARD: Final = re.compile(r"(?<![^\W_])(?:iso(?:/iec)?|iec|din|en|rfc|ieee|ansi)[\s-]?$")
_SEPARATORS: Final = re.compile(r"[\W_]+")


def link_key(link: str) -> str:
    """Host and what follows it: scheme, `www.`, the host's case and a last slash do not matter."""
    if "://" in link and not link.lower().startswith("http"):
        return link
    parts = _WEB.fullmatch(link)
    return f"{parts[1].lower()}{parts[2].rstrip('/')}" if parts else link


def links_and_emails(source: Source) -> list[Claim]:
    claims: list[Claim] = []
    done = 0
    for mark in _LINKISH.finditer(source.text):
        if mark.start() < done:
            continue
        start = end = mark.start()
        while start > done and source.text[start - 1] not in _DELIMITERS:
            start -= 1
        while end < len(source.text) and source.text[end] not in _DELIMITERS:
            end += 1
        done = end
        token = source.text[start : min(end, start + LINK_CHARS_MAX)].rstrip(_TRAILING)
        email = _EMAIL.fullmatch(token)
        if email is not None:
            claims.append(Claim(Rule.EMAIL, start, start + len(token), email[1].lower()))
        elif "://" in token or _HOST.fullmatch(token.lower()):
            claims.append(Claim(Rule.LINK, start, start + len(token), link_key(token)))
    return claims


def disguised_links(source: Source) -> list[Claim]:
    """Links and addresses in words; each claims a link that no context holds."""
    if not any(sign in source.lower for sign in _DISGUISES):
        return []
    return [Claim(Rule.LINK, *found.span(), found.group()) for found in _DISGUISED.finditer(source.lower)]


def read_phone(source: Source, start: int) -> Claim | None:
    """The phone or other long number at `start`. Digits grouped as a quantity ("1.000.000") are none."""
    found = _PHONE.match(source.lower, start)
    if (
        found is None
        or _RANGE.fullmatch(found.group())
        or (start and (source.lower[start - 1].isalnum() or source.lower[start - 1] in "-_"))
    ):
        return None
    written, digits = found.group(), digits_of(found.group())
    prefix = _PHONE_PREFIX.search(source.before(start, 2))
    number = NUMBER.match(written)
    grouped = number is not None and number.end() == len(written) and not written.isdigit()
    if grouped and not prefix and (len(digits) <= GROUPED_DIGITS_MAX or " " not in written):
        return Claim(Rule.PHONE, start, found.end())
    phone = bool(prefix) or written.startswith("0") or not written.isdigit()
    rule = Rule.PHONE if phone and len(digits) <= PHONE_DIGITS_MAX else Rule.IDENTIFIER
    return Claim(rule, start - (len(prefix.group()) if prefix else 0), found.end(), digits)


def digits_of(written: str) -> str:
    """The digits of a phone number, without a trunk zero in brackets."""
    return _SEPARATORS.sub("", written.replace("(0)", ""))


def token_at(source: Source, start: int) -> tuple[int, int]:
    """The word of letters, digits, hyphens and underscores around `start`, `#` before it included."""
    text, end = source.text, start
    while end < len(text) and end - start < TOKEN_CHARS_MAX and (text[end].isalnum() or text[end] in "-_"):
        end += 1
    begin = start
    while begin > 0 and start - begin < TOKEN_CHARS_MAX and (text[begin - 1].isalnum() or text[begin - 1] in "-_#"):
        begin -= 1
    while end > start and text[end - 1] in "-_":
        end -= 1
    while begin < start and text[begin] in "-_":
        begin += 1
    return begin, end


def identifier_key(token: str) -> str:
    return _SEPARATORS.sub("", token).lower()


def read_identifier(source: Source, start: int) -> Claim | None:
    """The order number, code or other identifier around the digit at `start`."""
    begin, end = token_at(source, start)
    token = source.text[begin:end]
    if not _is_identifier(token.lstrip("#"), token.startswith("#"), source.before(begin, BEFORE_CHARS)):
        return None
    return Claim(Rule.IDENTIFIER, begin, end, identifier_key(token))


def _is_identifier(token: str, hashed: bool, before: str) -> bool:
    digits = sum(letter.isdigit() for letter in token)
    letters = sum(letter.isalpha() for letter in token)
    if _UNIT.fullmatch(token.lower()) or (hashed and digits < HASH_DIGITS_MIN):
        return False
    if hashed or (digits >= LABELLED_DIGITS_MIN and _LABEL.search(before)):
        return True
    if _STANDARD.search(before):
        return False
    if not letters:
        return digits >= BARE_DIGITS_MIN and not _RANGE.fullmatch(token)
    interleaved = _INTERLEAVED.search(token) is not None
    if token.upper() == token:
        return digits >= CODE_DIGITS_MIN or (interleaved and len(token) >= CODE_CHARS_MIN and digits >= HASH_DIGITS_MIN)
    return digits >= BARE_DIGITS_MIN or (interleaved and len(token) >= MIXED_CHARS_MIN and digits >= CODE_DIGITS_MIN)
