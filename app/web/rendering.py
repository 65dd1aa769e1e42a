"""From the data of a page to HTML, or to JSON: the same data, made once.

A page is a function `load` (a FastAPI dependency: its arguments are the identity and the filters of the URL) that gives
a dictionary, and a template. `add_page` offers it at its path as HTML and at `/api` + path as JSON.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from app import __version__
from app.web import charts, words

if TYPE_CHECKING:
    from app.web.identity import Identity
    from app.web.server import Web

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"


def _static(name: str) -> str:
    """The address of a static file; it changes with the file, so that browsers may keep it."""
    return f"/static/{name}?{sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(words.FILTERS)
    environment.globals.update(
        static={path.name: _static(str(path.relative_to(STATIC))) for path in STATIC.rglob("*.*")},
        charts=charts,
        version=__version__,
    )
    return environment


TEMPLATES: Final = _environment()


def render(request: Request, template: str, data: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """A page. `me`, `csrf`, `nav` and `now` are there in every template."""
    web: Web = request.app.state.web
    identity: Identity | None = getattr(request.state, "identity", None)
    common = {
        "me": identity,
        "csrf": web.seals.csrf(identity) if identity is not None else "",
        "nav": [page for page in web.pages if identity is not None and identity.role in page.roles],
        "here": request.url.path,
        "query": request.query_params,
        "now": datetime.now(UTC),
    }
    return HTMLResponse(TEMPLATES.get_template(template).render({**common, **data}), status)


def as_json(data: Any, status: int = 200) -> Response:
    """The same data for a program."""
    return Response(orjson.dumps(plain(data), option=orjson.OPT_UTC_Z), status, media_type="application/json")


def plain(value: Any) -> Any:
    """What JSON knows: rows and dataclasses as objects, decimals as numbers, sets sorted. Drawings are left out."""
    if isinstance(value, Mapping | asyncpg.Record):
        return {str(key): plain(each) for key, each in value.items() if not isinstance(each, Markup)}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, set | frozenset):
        return sorted(plain(each) for each in value)
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bool | int | float | str | datetime | date) or value is None:
        return value
    return str(value)  # also a UUID, of whatever class


def wants_json(request: Request) -> bool:
    """Whether a program asks: under `/api`, for `/metrics`, or by its Accept header."""
    accept = request.headers.get("accept", "")
    return request.url.path.startswith(("/api/", "/metrics")) or (
        "application/json" in accept and "text/html" not in accept
    )


Load = Callable[..., Any]


def add_page(router: APIRouter, path: str, template: str, load: Load, api: str | None = None) -> None:
    """Offer what `load` gives at `path` as a page, and at `/api` + path (or `api`) as JSON."""

    async def page(request: Request, data: dict[str, Any] = Depends(load)) -> Response:
        return render(request, template, data)

    async def sibling(data: dict[str, Any] = Depends(load)) -> Response:
        return as_json(data)

    name = template.removesuffix(".html")
    router.add_api_route(path, page, name=name, include_in_schema=False)
    summary = (load.__doc__ or name).strip().partition("\n")[0]
    router.add_api_route(api or f"/api{path}", sibling, name=f"{name}_json", summary=summary)
