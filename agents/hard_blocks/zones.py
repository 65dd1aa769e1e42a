"""What a time zone in a text means. Zone data is the standard library's, read once per zone."""

import re
from datetime import UTC, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from agents.hard_blocks.vocabulary import LEAD_TIME, OFFSETS, REGIONS, WORKSPACE_TIME
from schemas.context import DraftRunSnapshot

ZONES_CACHED_MAX: Final = 1_024
ZONES_NAMED_MAX: Final = 50  # a text with more names that look like zones is no message about a time
MINUTES_AN_HOUR: Final = 60
OFFSET_MINUTES_MAX: Final = 14 * MINUTES_AN_HOUR
_WITH_OFFSET: Final = re.compile(r"(?:UTC|GMT)([+-])(\d{1,2}):?(\d{2})?")
_REGION_NAME: Final = re.compile(r"(?<![\w/])[A-Z][A-Za-z]+(?:/[A-Z][A-Za-z_]+){1,2}")
_SHORT_NAME: Final = re.compile(
    rf"(?<![\w/])(?:{'|'.join(name for name in OFFSETS if len(name) > 1)})(?:[+-]\d{{1,2}}(?::?\d\d)?)?(?!\w)"
)
_CITIES: Final = {
    city: name for city, name in REGIONS.items() if name.rpartition("/")[2].replace("_", " ").lower() == city
}
_CITY: Final = re.compile(rf"(?<!\w)(?:{'|'.join(sorted(_CITIES, key=len, reverse=True))})(?!\w)")


@lru_cache(maxsize=ZONES_CACHED_MAX)
def region(name: str | None) -> tzinfo | None:
    """The zone of an IANA name ("Europe/Berlin"), None for what is no such name."""
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):  # unknown, malformed, or the name of a folder
        return None


def workspace_zone(snapshot: DraftRunSnapshot) -> tzinfo:
    return region(snapshot.settings.timezone) or UTC


def lead_zone(snapshot: DraftRunSnapshot) -> tzinfo:
    """The zone the lead reads times in; the workspace's when nobody knows the lead's."""
    return region(snapshot.profile.timezone) or workspace_zone(snapshot)


def zone_of(said: str, snapshot: DraftRunSnapshot) -> tzinfo | None:
    """The zone a text names, None when that cannot be told. Abbreviations are offsets, as strict as they are
    written."""
    if said == LEAD_TIME:
        return lead_zone(snapshot)
    if said == WORKSPACE_TIME:
        return workspace_zone(snapshot)
    if said in OFFSETS:
        return timezone(timedelta(minutes=OFFSETS[said]))
    offset = _WITH_OFFSET.fullmatch(said)
    if offset is not None:
        minutes = int(offset[2]) * MINUTES_AN_HOUR + int(offset[3] or 0)
        return (
            timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
            if minutes <= OFFSET_MINUTES_MAX
            else None
        )
    if said.lower() in REGIONS:
        return region(REGIONS[said.lower()])
    known = (snapshot.profile.timezone, snapshot.settings.timezone)
    of_a_city = (name for name in known if name and name.rpartition("/")[2].replace("_", " ") == said)
    return region(next(of_a_city, said))


def zones_written(text: str, snapshot: DraftRunSnapshot) -> list[tzinfo]:
    """Every zone that `text` names: regions (Europe/Berlin), abbreviations (CET, UTC+2) and cities we know."""
    regions = dict.fromkeys(found.group() for found in _REGION_NAME.finditer(text))
    names = {found.group() for found in _SHORT_NAME.finditer(text)} | {*list(regions)[:ZONES_NAMED_MAX]}
    names |= {_CITIES[found.group()] for found in _CITY.finditer(text.lower())}
    return [zone for zone in (zone_of(name, snapshot) for name in sorted(names)) if zone is not None]
