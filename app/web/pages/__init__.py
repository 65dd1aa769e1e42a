"""The pages, in the order of the navigation: one module, one template, one line each.

A page module has `PAGE`, what the navigation needs, and `router`, whose dependency is `require(*PAGE.roles)`.
"""

from typing import Final

from app.web.pages import ai_ops, control, dead_letters, lag, overview, quality, review, runs

PAGES: Final = (
    overview,
    review,
    lag,
    runs,
    dead_letters,
    ai_ops,
    quality,
    control,
)
