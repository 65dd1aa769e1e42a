"""Who may do what: every route states it, by one of three dependencies. A route that does not stops the start.

- `require(Role.OPS, ...)`: signed in with one of these roles; what changes something also needs the CSRF token, unless
  it came with a bearer token, which no browser sends by itself;
- `machine("cron_secret")`: the bearer of one shared secret of the environment;
- `public("why")`: everybody.
"""

import hmac
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.routing import APIRoute, iter_route_contexts

from app.web.identity import Identity, Via, address_of, bearer_of, identify
from schemas.codes import Role
from schemas.limits import MACHINE_REQUESTS_PER_MINUTE_MAX, REQUESTS_PER_MINUTE_MAX, SIGN_INS_PER_MINUTE_MAX

if TYPE_CHECKING:
    from app.web.server import Web

ALL_ROLES: Final = frozenset(Role)
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "x-csrf-token"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


class NotSignedIn(HTTPException):
    """Nobody we know asks: 401, and for a person who wants to look at a page the way to the sign-in."""

    def __init__(self) -> None:
        super().__init__(401, "sign in first", {"WWW-Authenticate": "Bearer"})


def too_often(wait_s: float) -> HTTPException:
    """429, with the seconds to wait."""
    seconds = math.ceil(wait_s)
    return HTTPException(429, f"too many requests: try again in {seconds} s", {"Retry-After": str(seconds)})


class Require:
    """Signed in, with one of `roles`; `of_all`: bound to no workspace. Use `require`."""

    def __init__(self, roles: frozenset[Role], *, bearer_only: bool, per_minute: int, of_all: bool = False) -> None:
        self.roles, self.bearer_only, self.per_minute, self.of_all = roles, bearer_only, per_minute, of_all

    async def __call__(self, request: Request) -> Identity:
        web: Web = request.app.state.web
        identity = await identify(request)
        if identity is None or (self.bearer_only and identity.via is not Via.BEARER):
            if bearer_of(request.headers) is not None:
                charge_sign_in(request)
            raise NotSignedIn
        wait_s = web.limiter.take(f"{identity.key}:{self.per_minute}", self.per_minute)
        if wait_s:
            raise too_often(wait_s)
        request.state.identity = identity
        if identity.role not in self.roles:
            raise HTTPException(403, f"the role {identity.role} may not do this")
        if self.of_all and identity.workspace_id is not None:
            raise HTTPException(403, "this is about all workspaces, and you are bound to one")
        if request.method not in _SAFE and identity.via is not Via.BEARER:
            await check_csrf(request, identity)
        return identity


class Machine:
    """The bearer of a secret of the environment. Use `machine`."""

    def __init__(self, variable: str) -> None:
        self.variable = variable

    async def __call__(self, request: Request) -> None:
        web: Web = request.app.state.web
        secret = getattr(web.config, self.variable)
        if secret is None:
            raise HTTPException(404, f"{self.variable.upper()} is not set here: this is not offered")
        given = bearer_of(request.headers) or ""
        if not hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode()):
            charge_sign_in(request)
            raise NotSignedIn


class Public:
    """Everybody. Use `public`."""

    def __init__(self, why: str) -> None:
        self.why = why

    async def __call__(self) -> None:
        return None


Access = Require | Machine | Public


def require(*roles: Role) -> Any:
    """Signed in with one of these roles; with none named, any role."""
    return Depends(Require(frozenset(roles) or ALL_ROLES, bearer_only=False, per_minute=REQUESTS_PER_MINUTE_MAX))


def require_bearer(*roles: Role, of_all: bool = False) -> Any:
    """A bearer token of one of these roles; a browser's session is not accepted. For what programs call often.

    `of_all`: what it answers is about all workspaces, so the token may not be bound to one.
    """
    limit = MACHINE_REQUESTS_PER_MINUTE_MAX
    return Depends(Require(frozenset(roles) or ALL_ROLES, bearer_only=True, per_minute=limit, of_all=of_all))


def machine(variable: str) -> Any:
    """The bearer of the secret in this variable (a field of `Config`)."""
    return Depends(Machine(variable))


def public(why: str) -> Any:
    """Everybody; `why` says why that is right."""
    return Depends(Public(why))


def _who(request: Request) -> Identity:
    identity: Identity = request.state.identity
    return identity


# In the arguments of a route that states `require(...)`: who asks.
Who = Annotated[Identity, Depends(_who)]


def _web(request: Request) -> Any:
    return request.app.state.web


# In the arguments of a route: what the routes share.
if TYPE_CHECKING:
    Here = Web
else:
    Here = Annotated[Any, Depends(_web)]


def charge_sign_in(request: Request) -> None:
    """Count an attempt to sign in from this address; raises 429 beyond the limit."""
    web: Web = request.app.state.web
    wait_s = web.limiter.take(f"sign-in:{address_of(request, web.config)}", SIGN_INS_PER_MINUTE_MAX)
    if wait_s:
        raise too_often(wait_s)


async def check_csrf(request: Request, identity: Identity) -> None:
    """Raise 403 unless the request came from a page of ours: its origin, and the token in header or form."""
    web: Web = request.app.state.web
    check_origin(request)
    token = request.headers.get(CSRF_HEADER)
    if token is None and request.headers.get("content-type", "").startswith(_FORMS):
        token = str((await request.form()).get(CSRF_FIELD, ""))
    if not token or not web.seals.is_csrf_of(identity, token):
        raise HTTPException(403, "this form is out of date: go back, reload the page and try again")


def check_origin(request: Request) -> None:
    """Raise 403 when a browser says that another site sent this."""
    web: Web = request.app.state.web
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = {request.headers.get("host"), urlsplit(web.config.public_url).netloc}
    if site not in (None, "same-origin", "none") or (origin is not None and urlsplit(origin).netloc not in ours):
        raise HTTPException(403, "this request came from another site")


# ---- what the routes state, for the start and for the tests


def routes_of(app: FastAPI) -> Iterator[tuple[str, frozenset[str], list[Access]]]:
    """Path, methods and stated access of every route."""
    for route in iter_route_contexts(app.router.routes):
        original = route.original_route
        stated = list(_stated(original.dependant)) if isinstance(original, APIRoute) else []
        yield getattr(route, "path", "") or "", frozenset(getattr(route, "methods", None) or ()), stated


def _stated(dependant: Any) -> Iterator[Access]:
    if isinstance(dependant.call, Access):
        yield dependant.call
    for each in dependant.dependencies:
        yield from _stated(each)


def refuse_unstated(app: FastAPI, but: frozenset[str]) -> None:
    """Raise RuntimeError for a route, other than these paths, that does not say who may use it."""
    for path, methods, stated in routes_of(app):
        if not stated and path not in but:
            raise RuntimeError(f"{', '.join(sorted(methods))} {path} states no access: see app/web/access.py")
