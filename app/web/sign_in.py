"""Signing in and out: with a token, with a one-time link, or at an identity provider (OpenID Connect)."""

import uuid
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from app.web.access import Who, charge_sign_in, check_origin, public, require
from app.web.identity import Via, fits, identify, token_hash
from app.web.oidc import Claimed, SignInRefused
from app.web.rendering import render
from db import sql
from schemas.limits import SESSION_S_MAX

if TYPE_CHECKING:
    from app.web.server import Web

log = structlog.get_logger()

router: Final = APIRouter(include_in_schema=False)

_PAGE: Final = "/sign-in"
_SESSIONS_KEPT_DAYS: Final = 30
_TOKEN_CHARS_MAX: Final = 200
_FLOW_S: Final = 600
_NO_GOOD: Final = "This token is unknown, used up, expired or revoked."


def sign_in_address(back: str) -> str:
    """Where to sign in, and then go on to `back`."""
    return _PAGE if back in ("", "/") else f"{_PAGE}?next={quote(back, safe='')}"


def local_path(address: str) -> str:
    """`address` if it leads to a page of ours, else the overview: no sign-in sends anybody elsewhere."""
    harmless = address.startswith("/") and not address.startswith(("//", "/\\", _PAGE)) and address.isprintable()
    return address if harmless else "/"


@router.get(_PAGE, dependencies=[public("one must get in first")])
async def sign_in_page(request: Request, next: str = "/", link: str = "") -> Response:
    """The form. With `link`, from a one-time link, one button: a scanner that follows links uses nothing up."""
    if await identify(request) is not None:
        return RedirectResponse(local_path(next), 303)
    web: Web = request.app.state.web
    return _form(request, next, link, first=not await sql.sign_in.anybody_may_sign_in.value(web.pool))


def _form(
    request: Request, back: str, link: str = "", problem: str = "", status: int = 200, *, first: bool = False
) -> Response:
    """`first`: no token works yet, so the page says how the first one is made."""
    web: Web = request.app.state.web
    data = {"next": local_path(back), "link": link[:_TOKEN_CHARS_MAX], "problem": problem, "oidc": web.oidc is not None}
    return render(request, "sign_in.html", {**data, "first": first}, status)


@router.post(_PAGE, dependencies=[public("one must get in first")])
async def sign_in(
    request: Request, token: Annotated[str, Form(max_length=_TOKEN_CHARS_MAX)] = "", next: Annotated[str, Form()] = "/"
) -> Response:
    """A session for whoever holds the token."""
    check_origin(request)
    try:
        charge_sign_in(request)
    except HTTPException as error:
        response = _form(request, next, problem=f"{error.detail}.".capitalize(), status=error.status_code)
        response.headers.update(error.headers or {})
        return response
    web: Web = request.app.state.web
    session_id = uuid.uuid4()
    row = await sql.sign_in.start_session_if_token_works.row(
        web.pool, session_id=session_id, sha256=token_hash(token.strip()), session_s=SESSION_S_MAX
    )
    if row is None:
        log.warning("sign_in_refused", method="token")
        return _form(request, next, problem=_NO_GOOD, status=401)
    log.info("signed_in", method="token", role=row["role"], workspace_id=row["workspace_id"])
    return await _signed_in(web, session_id, next)


async def _signed_in(web: "Web", session_id: uuid.UUID, back: str) -> Response:
    await sql.sign_in.forget_old_sessions.run(web.pool, days=_SESSIONS_KEPT_DAYS)
    response = RedirectResponse(local_path(back), 303)
    _keep(web, response, web.seals.cookie, web.seals.session(session_id), int(SESSION_S_MAX))
    return response


def _keep(web: "Web", response: Response, name: str, value: str, seconds: int) -> None:
    """A cookie that no script reads and no other site sends along with a form."""
    response.set_cookie(name, value, max_age=seconds, path="/", httponly=True, samesite="lax", secure=web.seals.secure)


@router.post("/sign-out", dependencies=[require()])
async def sign_out(request: Request, who: Who) -> Response:
    """End the session, here and for every copy of its cookie."""
    web: Web = request.app.state.web
    if who.via is Via.SESSION:
        await sql.sign_in.end_session.run(web.pool, session_id=uuid.UUID(who.key.removeprefix("session:")))
    response = RedirectResponse(_PAGE, 303)
    response.delete_cookie(web.seals.cookie, path="/", secure=web.seals.secure, httponly=True, samesite="lax")
    return response


# ---- OpenID Connect


@router.get(f"{_PAGE}/oidc", dependencies=[public("one must get in first")])
async def to_provider(request: Request, next: str = "/") -> Response:
    """Off to the identity provider; what it must come back with is kept in a signed cookie."""
    web: Web = request.app.state.web
    if web.oidc is None:
        raise HTTPException(404)
    charge_sign_in(request)
    try:
        address, flow = await web.oidc.begin()
    except SignInRefused as refused:
        return _form(request, next, problem=str(refused), status=503)
    response = RedirectResponse(address, 303)
    _keep(web, response, web.seals.flow_cookie, web.seals.flow({**flow, "next": local_path(next)}), _FLOW_S)
    return response


@router.get(f"{_PAGE}/oidc/callback", dependencies=[public("one must get in first")])
async def from_provider(request: Request) -> Response:
    """Back from the identity provider: its word is checked, then a session starts."""
    web: Web = request.app.state.web
    if web.oidc is None:
        raise HTTPException(404)
    charge_sign_in(request)
    flow: dict[str, Any] = web.seals.open_flow(request.cookies.get(web.seals.flow_cookie, ""))
    back = str(flow.get("next", "/"))
    try:
        claimed = await web.oidc.finish(dict(request.query_params), flow)
        session_id = await _start(web, claimed)
    except SignInRefused as refused:
        log.warning("sign_in_refused", method="oidc")
        response = _form(request, back, problem=str(refused), status=403)
    else:
        log.info("signed_in", method="oidc", role=claimed.role, workspace_id=claimed.workspace_id)
        response = await _signed_in(web, session_id, back)
    response.delete_cookie(web.seals.flow_cookie, path="/", secure=web.seals.secure, httponly=True, samesite="lax")
    return response


async def _start(web: "Web", claimed: Claimed) -> uuid.UUID:
    workspace = claimed.workspace_id
    if not fits(claimed.role, workspace):
        raise SignInRefused("Your account's role and workspace do not go together; ask whoever manages accounts.")
    if workspace is not None and not await sql.sign_in.workspace_exists.value(web.pool, workspace_id=workspace):
        raise SignInRefused("Your account names a workspace that does not exist here.")
    session_id = uuid.uuid4()
    await sql.sign_in.start_session.run(
        web.pool,
        session_id=session_id,
        subject=f"oidc:{claimed.subject}",
        role=claimed.role,
        workspace_id=workspace,
        session_s=SESSION_S_MAX,
    )
    return session_id
