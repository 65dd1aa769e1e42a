"""Dead letters: what was refused, and what do I do about it?"""

import asyncio
from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.cli.relettering import ACTION, UNSENT
from app.control.changing import NotAllowed, reason_of
from app.web.access import Here, Who, require
from app.web.letters import MENDED_HERE, REMEDY, at_places, find, inside, place_of, retried, send, shown, to_send
from app.web.page import Page
from app.web.rendering import add_page, as_json, wants_json
from db import sql
from schemas.codes import Role
from schemas.limits import LETTERS_READ_MAX, LETTERS_RETRIED_MAX, LETTERS_SHOWN, REASON_CHARS_MAX

PAGE: Final = Page("/dead-letters", "Dead letters", frozenset({Role.SUPER_ADMIN, Role.OPS}))
router: Final = APIRouter(dependencies=[require(*PAGE.roles)])

_RETRIES_SHOWN: Final = 20
Code = Annotated[str, Query(max_length=60)]
Count = Annotated[int | None, Query(ge=0, le=LETTERS_RETRIED_MAX)]


async def load_list(
    who: Who, web: Here, reason: Code = "", topic: Code = "", sent: Count = None, of: Count = None
) -> dict[str, Any]:
    """Dead letters by reason and topic, the newest one by one, and what was sent once more."""
    found, done_before, audit = await asyncio.gather(
        find(web.config, who),
        retried(web.pool),
        sql.ops.newest_of_action.rows(web.pool, action=ACTION, undone=UNSENT, limit=_RETRIES_SHOWN),
    )
    counts = Counter((each.reason, each.topic) for each in found.letters)
    chosen = [each for each in found.letters if reason in ("", each.reason) and topic in ("", each.topic)]
    visible = {each.place for each in found.letters}
    return {
        "reason": reason,
        "topic": topic,
        "total": len(found.letters),
        "complete": found.complete,
        "read_max": LETTERS_READ_MAX,
        "answer": _answer(len(found.letters), counts, len(visible & done_before)),
        "by_reason": [_group(pair, count, found.letters, done_before) for pair, count in counts.most_common()],
        "letters": [{**asdict(each), "retried": each.place in done_before} for each in chosen[:LETTERS_SHOWN]],
        "matching": len(chosen),
        "retries": [dict(row) for row in audit if who.workspace_id is None or row["subject"] in visible],
        "notice": None if sent is None else {"sent": sent, "of": of},
    }


def _group(pair: tuple[str, str], count: int, letters: list[Any], done_before: set[str]) -> dict[str, Any]:
    own = [each for each in letters if (each.reason, each.topic) == pair]
    return {
        "reason": pair[0],
        "topic": pair[1],
        "letters": count,
        "retried": sum(each.place in done_before for each in own),
        "newest": own[0].at,
        "remedy": REMEDY.get(pair[0], "The log of the worker that wrote it says more."),
        "mended_here": pair[0] in MENDED_HERE,
    }


def _answer(total: int, counts: Counter[tuple[str, str]], done: int) -> dict[str, str]:
    if not total:
        return {"kind": "good", "words": "No dead letters: every record could be used."}
    (reason, _), most = counts.most_common(1)[0]
    left = "all were sent once more" if done >= total else f"{total - done:,} not retried"
    words = f"{total:,} dead letter{'s' if total > 1 else ''}, {left}; most of them {reason} ({most:,})."
    return {"kind": "warn" if done < total else "quiet", "words": words}


async def load_retry(
    who: Who, web: Here, reason: Code = "", topic: Code = "", place: Code = "", again: bool = False
) -> dict[str, Any]:
    """A dry run: which letters a retry would send, and which not. Sends nothing."""
    if bool(place) == bool(reason):
        raise HTTPException(422, "name one letter by place, or letters by reason")
    if place:
        letters = [shown(each) for each in await at_places(web.config, who, [place_of(place)])]
        if not letters:
            raise HTTPException(404, "no letter is at this place: it may be past its retention")
    else:
        found = await find(web.config, who)
        letters = [each for each in found.letters if each.reason == reason and topic in ("", each.topic)]
    done_before = await retried(web.pool)
    chosen, skipped = to_send(letters, done_before, again=again)
    return {
        "dry_run": True,
        "reason": reason,
        "topic": topic,
        "place": place,
        "again": again,
        "retried_before": sum(each.place in done_before for each in letters),
        "remedy": REMEDY.get(letters[0].reason if letters else reason, ""),
        "mended_here": (letters[0].reason if letters else reason) in MENDED_HERE,
        "letters": chosen,
        "skipped": skipped,
        "reason_chars_max": REASON_CHARS_MAX,
    }


async def load_letter(who: Who, web: Here, place: str) -> dict[str, Any]:
    """One letter: where it came from, why it was refused, and its content masked."""
    letters = await at_places(web.config, who, [place_of(place)])
    if not letters:
        raise HTTPException(404, "no letter is at this place: it may be past its retention")
    audit = await sql.ops.newest_of_action.rows(web.pool, action=ACTION, undone=UNSENT, limit=1_000)
    return {
        **inside(letters[0]),
        "remedy": REMEDY.get(letters[0].reason, "The log of the worker that wrote it says more."),
        "retries": [dict(row) for row in audit if row["subject"] == letters[0].place],
    }


@router.post("/dead-letters/retry", include_in_schema=False)
@router.post("/api/dead-letters/retry", name="dead_letters_retried")
async def retry(
    request: Request,
    who: Who,
    web: Here,
    places: Annotated[str, Form(min_length=3, max_length=20 * LETTERS_RETRIED_MAX)],
    why: Annotated[str, Form(min_length=1, max_length=REASON_CHARS_MAX)],
    again: Annotated[bool, Form()] = False,
) -> Response:
    """Send the letters at these places (separated by commas) once more: the ones that the dry run showed."""
    wanted = list(dict.fromkeys(place_of(each) for each in places.split(",") if each))[:LETTERS_RETRIED_MAX]
    try:
        reason = reason_of(why)
    except NotAllowed as error:
        raise HTTPException(422, str(error)) from None
    taken = await send(web.config, web.pool, who, wanted, reason=reason, again=again)
    if wants_json(request):
        return as_json({"asked": len(wanted), "sent": [each.place for each in taken]})
    return RedirectResponse(f"/dead-letters?{urlencode({'sent': len(taken), 'of': len(wanted)})}", 303)


add_page(router, "/dead-letters", "dead_letters.html", load_list)
add_page(router, "/dead-letters/retry", "dead_letters_retry.html", load_retry)
add_page(router, "/dead-letters/{place}", "dead_letter.html", load_letter)
