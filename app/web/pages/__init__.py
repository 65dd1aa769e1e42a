"""The pages, in the order of the navigation: one module, one template, one line each.

A page module has `PAGE`, what the navigation needs, and `router`, whose dependency is `require(*PAGE.roles)`.
"""

from typing import Final

from app.web.pages import ai_ops, control, overview, review

PAGES: Final = (
    overview,
    review,
    ai_ops,
    control,
)
