"""Overview: is it healthy, and is it sending?"""

from typing import Any, Final

from fastapi import APIRouter

from app.web.access import ALL_ROLES, Who, require
from app.web.page import Page
from app.web.rendering import add_page

PAGE: Final = Page("/", "Overview", ALL_ROLES)
router: Final = APIRouter(dependencies=[require(*PAGE.roles)])


async def load(who: Who) -> dict[str, Any]:
    """Health, switches, lag, drafts and cost at a glance."""
    return {}


add_page(router, "/", "overview.html", load, api="/api/overview")
