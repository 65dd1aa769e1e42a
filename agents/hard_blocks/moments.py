"""Dates and times of day, as people write them. What they mean for a meeting is decided in `meetings.py`."""

import re
from typing import Final

from agents.hard_blocks.block import Rule
from agents.hard_blocks.source import Claim, Source
from agents.hard_blocks.vocabulary import (
    CLOCK_WORDS,
    LEAD_TIME,
    MONTHS,
    OFFSETS,
    RELATIVE_DAYS,
    SHORT_WEEKDAYS,
    WEEKDAYS,
    WORKSPACE_TIME,
)

BEFORE_CHARS: Final = 32
MONTHS_A_YEAR: Final = 12
DAYS_A_MONTH: Final = 31
HOURS_A_DAY: Final = 24
NOON_H: Final = 12
MINUTES_AN_HOUR: Final = 60
CENTURY: Final = 2_000

_YEAR_FIRST: Final = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?!\d)")
_NUMERIC: Final = re.compile(r"(\d{1,2})([./-])(\d{1,2})(?:\2(\d{4}|\d{2}))?(?![\d%])")
_DAY_FIRST: Final = re.compile(
    r"(\d{1,2})(?:st|nd|rd|th|er|º|ª|\.)?[\s-](?:of |de |d')?([^\W\d_]{3,12})\b\.?(?:,?[\s-](?:de |del )?(\d{4})(?!\d))?"
)
_MONTH_BEFORE: Final = re.compile(r"(?<![^\W\d_])([^\W\d_]{3,10})\.?\s(?:the )?$")
_DAY_AFTER_MONTH: Final = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?(?![\d%]|[:.,]\d|\s?(?:am|pm|uhr)\b)(?:,?\s(\d{4})(?!\d))?")
_GOES_ON: Final = re.compile(r"\s(?!(?:at|in|on|or|and|for|to|till|until|from|between|is|works)\b)[a-z]")
_WEEKDAY_BEFORE: Final = re.compile(
    r"(?<![^\W\d_-])([^\W\d_]{2,13}(?:-feira)?)\.?,?\s(?:(?:the|den|dem|der|le|el|il|dia|op|de) )?$"
)
_WEEKDAY_AFTER: Final = re.compile(r",?\s?\(?(?:a |un |ein )?([^\W\d_]{3,13}(?:-feira)?)\b")
_DATE_PREPOSITION: Final = re.compile(
    r"(?<![^\W\d_])(?:on|by|until|till|from|since|before|after|am|vom|zum|bis|dem|den|der|ab|seit|le|du|au|el|del|il|dal|al|dia|op"
    r"|tot|dnia|do|od|due|date[d:]?|datum:?),?\s$"
)

_MERIDIEM: Final = r"(?:\s?(am|pm|a\.m\.?|p\.m\.?)(?![^\W\d_]))"
_CLOCK: Final = re.compile(rf"(\d{{1,2}}):(\d{{2}})(?::\d{{2}}(?:\.\d+)?)?(?![:\d]){_MERIDIEM}?(?:\s?(?:uhr|hrs?|h)(?![^\W\d_]))?")
_DOTTED: Final = re.compile(rf"(\d{{1,2}})[.h](\d{{2}})(?!\d)(?:{_MERIDIEM}|\s?(uhr|hrs?|h)(?![^\W\d_]))?")
_HOUR: Final = re.compile(rf"(\d{{1,2}})(?:{_MERIDIEM}|\s?(uhr|o'clock)(?![^\W\d_])|\s?(?:h|heures?|hrs?|ore|uur|horas?)(?![^\W\d_]))?")
_HALF_DAY_LATER: Final = re.compile(
    rf"\d{{1,2}}(?:[:.]\d\d)?\s?(?:-|to|bis|and|or|und|oder)\s?\d{{1,2}}(?:[:.]\d\d)?(?:{_MERIDIEM}|\s?(uhr)(?![^\W\d_]))"
)
_TIME_PREPOSITION: Final = re.compile(r"(?<![^\W\d_])(?:at|um|gegen|à|vers|a las|a la|alle|às|ore|om|o|kl\.?)\s$")
_HOUR_ENDS: Final = re.compile(r"\s?(?:$|[.,;!?)\n]|(?:on|or|and|tomorrow|today|next|this|your|my|our|am|oder|morgen|le|el|il)\b|\(?[A-Z]{2,4}\b)")
_ZONE: Final = re.compile(
    rf"\s?[(,]?\s?(?:(?:({'|'.join(sorted(OFFSETS, key=len, reverse=True))}|ET|PT|CT|MT)(?:([+-])(\d{{1,2}})(?::?(\d{{2}}))?)?(?![^\W_])"
    r"|([+-])(\d{2}):?(\d{2})(?!\d))|([A-Z][A-Za-z]+/[A-Z][A-Za-z_/]+)|((?:[A-Z][a-z]+ ){1,3})[Tt]ime\b"
    r"|(your (?:local )?time|(?:in )?your time ?zone|local time|deiner zeit|ihrer zeit|ihre zeit|votre heure|su hora|tua ora)"
    r"|(our time|my time|unserer zeit|unsere zeit))"
)  # fmt: skip
_RANGE_TO: Final = re.compile(r"\s?(?:-|to|bis|until|till)\s?")
_WORD: Final = re.compile(r"[^\W\d_]{4,}(?:[-'][^\W\d_]{4,})?")
_WISH: Final = re.compile(
    r"(?:happy|nice|great|good|lovely|wonderful|pleasant|enjoy (?:your|the)|schönen|guten|bon|bonne|buen|buon|buona|bom|boa|fijne|miłego)\s$"
)
_DAY_WORDS: Final = {**WEEKDAYS, **RELATIVE_DAYS, **CLOCK_WORDS}
