"""AI Ops"""

from typing import Any, Final

from fastapi import APIRouter

from app.web.access import Who, require
from app.web.page import Page
from app.web.rendering import add_page
from schemas.codes import Role

PAGE: Final = Page("/ai-ops", "AI Ops", frozenset({Role.SUPER_ADMIN, Role.OPS, Role.ANALYST, Role.WORKSPACE_ADMIN}))
router: Final = APIRouter(dependencies=[require(*PAGE.roles)])


async def load(who: Who) -> dict[str, Any]:
    """Health, switches, lag, drafts and cost at a glance."""
    return {}


add_page(router, "/ai-ops", "ai_ops.html", load)
