"""Amounts of money and percentages, however they are written: "$1,000.00", "1000 USD" and "1.000,00 $" are one
claim."""

import re
from decimal import Decimal
from typing import Final

from agents.hard_blocks.block import Rule
from agents.hard_blocks.source import Claim, Source
from agents.hard_blocks.vocabulary import CURRENCIES, DOLLARS, NUMBER_WORDS, SCALES, SYMBOLS

BEFORE_CHARS: Final = 24
THOUSANDS_DIGITS: Final = 3
SUMMED_FROM: Final = 1_000


def _any(words: dict[str, int] | dict[str, str], longer_than: int = 0) -> str:
    return "|".join(sorted((word for word in words if len(word) > longer_than), key=len, reverse=True))


_NUMBER: Final = r"(?:\d{1,3}(?:[,.' ]\d{3})+(?!\d)(?:[.,]\d{1,2}(?!\d))?|\d+(?:[.,]\d+)?)"
_TO: Final = r"\s?(?:-|to|and|or|bis|und|oder|à|et|ou|a|y|o|e|do|i)\s?"
_SYMBOL: Final = "[" + "".join(SYMBOLS) + "]"
_SCALE: Final = rf"(?:[km](?![^\W\d_])|\s?(?:{_any(SCALES, 1)})(?![^\W\d_]))"
NUMBER: Final = re.compile(_NUMBER)
_SCALED: Final = re.compile(_SCALE)
_BEFORE: Final = re.compile(
    rf"(?:(?<![^\W\d_])({'|'.join(DOLLARS)})?({_SYMBOL})|(?<![^\W\d_])({_any(CURRENCIES)})\.?)\s?"
    rf"({_NUMBER}{_SCALE}?{_TO})?$"
)
_AFTER: Final = re.compile(
    rf"(?P<scale>{_SCALE})?(?:[.,]-+)?(?P<range>{_TO}{_NUMBER}(?P<range_scale>{_SCALE})?(?:[.,]-+)?)?\s?"
    rf"(?:(?P<dollar>{'|'.join(DOLLARS)})?(?P<symbol>{_SYMBOL})|-?(?P<word>{_any(CURRENCIES)})(?![^\W\d_]))"
)
_PER: Final = re.compile(
    r"\s?(?:/|per |pro |par |al |por |na |je |a )\s?(?:month|mo\b|year|yr\b|week|user|seat|person|head|monat|jahr"
    r"|nutzer|mois|an\b"
    r"|mese|anno|mes\b|año|mês|ano\b|maand|jaar|miesiąc|rok\b)"
)
_PERCENT: Final = re.compile(
    rf"(?P<range>{_TO}{_NUMBER})?\s?(?:%|(?:percent|per cent|prozent|pour cent|por ciento|por cento|per cento"
    rf"|procent|procenta)\b)"
)
_IDIOM: Final = re.compile(r"\s(?:sure|certain|right|correct|happy|agree|understand|behind|committed|sicher)\b")
_IN_WORDS: Final = re.compile(r"(?<![^\W\d_])(?:dollars?|euros?|pounds?|bucks|cents?|percent|per cent)(?![^\W\d_])")
_HALF_PRICE: Final = re.compile(
    r"(?<![^\W\d_])half[- ](?:the )?(?:price|off)(?![^\W\d_])|zum halben preis|à moitié prix"
)
_WORDS_BEFORE: Final = re.compile(rf"(?:(?<![^\W\d_])(?:{_any(NUMBER_WORDS)}|and|a)[\s-]+)+$")
WORDS_CHARS: Final = 80


def number_key(written: str) -> str:
    """`written` without separators: "1.000,00" and "1,000" give "1000". One separator before three digits groups
    them."""
    digits = written.replace(" ", "").replace("'", "")
    cut = max(digits.rfind("."), digits.rfind(","))
    whole, fraction = (digits[:cut], digits[cut + 1 :]) if cut >= 0 else (digits, "")
    if cut >= 0:
        separator, other = digits[cut], "," if digits[cut] == "." else "."
        alone = other not in whole and len(fraction) == THOUSANDS_DIGITS and whole.lstrip("0") != ""
        if separator in whole or alone:
            whole, fraction = digits, ""
    whole = whole.replace(",", "").replace(".", "").lstrip("0") or "0"
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _scaled(key: str, power: int) -> str:
    return f"{Decimal(key).scaleb(power).normalize():f}" if power else key


def _power(scale: re.Match[str] | None) -> int:
    return SCALES[scale.group().strip()] if scale else 0


def money_key(amount: str, currency: str) -> str:
    """Cents and pence are hundredths of what they belong to."""
    if currency in ("cent", "penny"):
        return f"{_scaled(amount, -2)} {'GBP' if currency == 'penny' else 'cent'}"
    return f"{amount} {currency}"


def read_amount(source: Source, start: int) -> Claim | None:
    """The amount of money or the percentage whose first digit is at `start`. Each end of a range is a claim of its
    own."""
    number = NUMBER.match(source.lower, start)
    if number is None:
        return None
    key, end = number_key(number.group()), number.end()
    return (
        _percentage(source, start, end, key)
        or _symbol_before(source, start, end, key)
        or _symbol_after(source, start, end, key)
        or _rate(source, start, end, key)
    )


def _percentage(source: Source, start: int, end: int, key: str) -> Claim | None:
    percent = _PERCENT.match(source.lower, end)
    if percent is None:
        return None
    idiom = key == "100" and _IDIOM.match(source.lower, percent.end())
    return Claim(Rule.PERCENTAGE, start, end if percent["range"] else percent.end(), "" if idiom else key)


def _symbol_before(source: Source, start: int, end: int, key: str) -> Claim | None:
    before = _BEFORE.search(source.before(start, BEFORE_CHARS)) if start else None
    if before is None:
        return None
    dollar, symbol, word, is_second = before.groups()
    scale = _SCALED.match(source.lower, end)
    begin, end = start if is_second else start - len(before.group()), scale.end() if scale else end
    return Claim(Rule.AMOUNT, begin, end, money_key(_scaled(key, _power(scale)), _currency(dollar, symbol, word)))


def _symbol_after(source: Source, start: int, end: int, key: str) -> Claim | None:
    after = _AFTER.match(source.lower, end)
    if after is None:
        return None
    power = SCALES[(after["scale"] or after["range_scale"]).strip()] if after["scale"] or after["range_scale"] else 0
    currency = _currency(after["dollar"], after["symbol"], after["word"])
    end = end if after["range"] else after.end()
    return Claim(Rule.AMOUNT, start, end, money_key(_scaled(key, power), currency))


def _rate(source: Source, start: int, end: int, key: str) -> Claim | None:
    """ "49 per month": an amount that leaves its currency open."""
    rate = _PER.match(source.lower, end)
    return Claim(Rule.AMOUNT, start, rate.end(), money_key(key, "")) if rate else None


def _currency(dollar: str | None, symbol: str | None, word: str | None) -> str:
    if word:
        return CURRENCIES[word]
    return DOLLARS[dollar] if dollar and symbol == "$" else SYMBOLS[symbol or "$"]


def amounts_in_words(source: Source) -> list[Claim]:
    """English amounts and percentages in words: "fifty dollars", "ten percent"."""
    halves = _HALF_PRICE.finditer(source.lower)
    claims = [Claim(Rule.PERCENTAGE, half.start(), half.end(), "50") for half in halves]
    for unit in _IN_WORDS.finditer(source.lower):
        spoken = _WORDS_BEFORE.search(source.before(unit.start(), WORDS_CHARS))
        if spoken is None or not (value := _spoken_value(spoken.group())):
            continue
        start = unit.start() - len(spoken.group())
        if unit.group().startswith("per"):
            claims.append(Claim(Rule.PERCENTAGE, start, unit.end(), str(value)))
        else:
            claims.append(Claim(Rule.AMOUNT, start, unit.end(), money_key(str(value), CURRENCIES[unit.group()])))
    return claims


def _spoken_value(words: str) -> int:
    """The value of English number words; 0 when none of them is a number."""
    total = current = 0
    for word in re.findall(r"[a-z]+", words):
        value = NUMBER_WORDS.get(word, 0)
        if value >= SUMMED_FROM:
            total, current = total + (current or 1) * value, 0
        elif value == NUMBER_WORDS["hundred"]:
            current = (current or 1) * value
        else:
            current += value
    return total + current
