"""What went wrong, for people and programs: what happened and what the reader can do. Never what was sent."""

from collections.abc import Mapping
from urllib.parse import quote

import asyncpg
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from agents.persist import TRANSIENT
from app.web.access import NotSignedIn
from app.web.headers import ALWAYS
from app.web.rendering import as_json, render, wants_json

log = structlog.get_logger()

_TITLES = {
    400: "This request makes no sense",
    401: "Sign in first",
    403: "Not for your role",
    404: "Nothing here",
    405: "Not this way",
    409: "Changed meanwhile",
    413: "Too large",
    422: "A field is wrong",
    429: "Too many requests",
    503: "Not available now",
}
_REMEDIES = {
    401: "Your session may have ended: sign in again.",
    403: "Ask somebody whose role may do it, or sign in with another token.",
    404: "It may have been deleted, or belong to another workspace. Look for it from the overview.",
    429: "Wait a moment, then reload.",
    503: "Wait a moment, then reload; `draft-pipeline doctor` says what is away.",
}


def add_handlers(app: FastAPI) -> None:
    """Answer every error of the application."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    for kind in TRANSIENT:
        app.add_exception_handler(kind, _database_away)
    app.add_exception_handler(asyncpg.CharacterNotInRepertoireError, _unstorable)
    app.add_exception_handler(asyncpg.UntranslatableCharacterError, _unstorable)
    app.add_exception_handler(asyncpg.PostgresError, _unexpected)
    app.add_exception_handler(Exception, _unexpected)


def answer(request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The error as JSON or as a page."""
    if wants_json(request):
        response = as_json(
            {"error": {"status": status, "title": _TITLES.get(status, "Error"), "detail": detail}}, status
        )
    else:
        data = {"status": status, "title": _TITLES.get(status, "Something went wrong"), "detail": detail}
        response = render(request, "error.html", data | {"remedy": _REMEDIES.get(status, "")}, status)
    response.headers.update(headers or {})
    return response


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    if isinstance(error, NotSignedIn) and not wants_json(request):
        return _to_sign_in(request)
    detail = error.detail if error.detail != _default_phrase(error.status_code) else ""
    return answer(request, error.status_code, detail, dict(error.headers or {}))


def _default_phrase(status: int) -> str:
    return HTTPException(status).detail


def _to_sign_in(request: Request) -> Response:
    """Back to what was asked for, once signed in."""
    from app.web.sign_in import sign_in_address

    back = quote(request.scope["path"]) + (f"?{request.url.query}" if request.url.query else "")
    address = sign_in_address(back if request.method == "GET" else "/")
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Redirect": address})
    return RedirectResponse(address, 303)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    fields = sorted({".".join(str(part) for part in each["loc"][1:]) or "body" for each in error.errors()})
    return answer(request, 422, f"not understood: {', '.join(fields)}")


async def _unstorable(request: Request, error: Exception) -> Response:
    """Postgres takes no NUL, wherever in the request it stood."""
    given = (*request.query_params.multi_items(), *request.path_params.items())
    fields = sorted({name for name, value in given if "\x00" in str(value)})
    return answer(request, 422, f"not understood: {', '.join(fields) or 'a text'} holds NUL")


async def _database_away(request: Request, error: Exception) -> Response:
    log.warning("web_database_away", error_class=type(error).__name__)
    return answer(request, 503, "Postgres does not answer", {"Retry-After": "5"})


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("web_request_failed", route=request.url.path, method=request.method, exc_info=error)
    return answer(request, 500, "a defect of this program; its log has the place", ALWAYS)  # outside all middleware
