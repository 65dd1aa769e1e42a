"""What the navigation knows of a page."""

from dataclasses import dataclass

from schemas.codes import Role


@dataclass(frozen=True)
class Page:
    """Where a page is, what it is called, and which roles it is offered to."""

    path: str
    title: str
    roles: frozenset[Role]
