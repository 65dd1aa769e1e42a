"""Control"""

from typing import Any, Final

from fastapi import APIRouter

from app.web.access import Who, require
from app.web.page import Page
from app.web.rendering import add_page
from schemas.codes import Role

PAGE: Final = Page("/control", "Control", frozenset({Role.SUPER_ADMIN}))
router: Final = APIRouter(dependencies=[require(*PAGE.roles)])


async def load(who: Who) -> dict[str, Any]:
    """Health, switches, lag, drafts and cost at a glance."""
    return {}


add_page(router, "/control", "control.html", load)
