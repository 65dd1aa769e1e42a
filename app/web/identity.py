"""Who asks: the holder of a bearer token, a signed-in browser, or somebody whom a trusted proxy signed in.

Role and workspace come from there and from nowhere else: no path, query, form or body can widen them.
"""

import hashlib
import ipaddress
import secrets
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fastapi import HTTPException, Request
from itsdangerous import BadData, URLSafeSerializer
from starlette.datastructures import Headers

from app.config import Config
from db import sql
from schemas.codes import Role

if TYPE_CHECKING:
    from app.web.server import Web

TOKEN_PREFIX: Final = "dp_"  # noqa: S105 - so that scanners for leaked secrets recognise one
_TOKEN_BYTES: Final = 32
_SUBJECT_CHARS_MAX: Final = 200


class Via(StrEnum):
    BEARER = "bearer"
    SESSION = "session"
    PROXY = "proxy"


@dataclass(frozen=True)
class Identity:
    """Who asks. `workspace_id` None: all workspaces. `key` names the session, token or person for CSRF and limits."""

    subject: str
    role: Role
    workspace_id: str | None
    via: Via
    key: str

    def may_see(self, workspace_id: str) -> bool:
        return self.workspace_id in (None, workspace_id)

    def narrow(self, wanted: str | None) -> str | None:
        """The workspace to look at, None for all. Raises 404 for one that is not theirs: it does not exist for them."""
        if wanted and not self.may_see(wanted):
            raise HTTPException(404)
        return wanted or self.workspace_id


def fits(role: Role, workspace_id: str | None) -> bool:
    """A super-admin has all workspaces, a workspace's admin has one; the others may have either."""
    if role is Role.SUPER_ADMIN:
        return workspace_id is None
    return workspace_id is not None or role is not Role.WORKSPACE_ADMIN


# ---- tokens


def new_token() -> str:
    """256 random bits. Shown once; only `token_hash` of it is kept."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def token_hash(token: str) -> str:
    """SHA-256, in hex: no salt is needed for what nobody can guess."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def sign_in_link(public_url: str, token: str) -> str:
    """Where a browser signs in with a one-time token."""
    return f"{public_url.rstrip('/')}/sign-in?link={token}"


def bearer_of(headers: Headers) -> str | None:
    """The token in `Authorization: Bearer ...`; None when there is no such header."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


# ---- the cookie and the CSRF token


class Seals:
    """Signs session ids and CSRF tokens. Without WEB_SECRET by a key of this process alone."""

    def __init__(self, config: Config) -> None:
        self.secrets = config.web_secrets or (secrets.token_hex(32),)  # the first one signs
        keys = list(reversed(self.secrets))
        self._session = URLSafeSerializer(keys, salt="draft-pipeline.session")
        self._csrf = URLSafeSerializer(keys, salt="draft-pipeline.csrf")
        self._flow = URLSafeSerializer(keys, salt="draft-pipeline.oidc")
        self.secure = config.public_url.startswith("https://")
        prefix = "__Host-" if self.secure else ""
        self.cookie, self.flow_cookie = f"{prefix}draft_session", f"{prefix}draft_sign_in"

    def session(self, session_id: uuid.UUID) -> str:
        return str(self._session.dumps(str(session_id)))

    def open_session(self, cookie: str) -> uuid.UUID | None:
        """The id in a cookie of ours; None for anything else."""
        try:
            return uuid.UUID(self._session.loads(cookie))
        except (BadData, ValueError, TypeError, AttributeError):
            return None

    def csrf(self, identity: Identity) -> str:
        return str(self._csrf.dumps(identity.key))

    def is_csrf_of(self, identity: Identity, token: str) -> bool:
        try:
            return bool(self._csrf.loads(token) == identity.key)
        except (BadData, ValueError, TypeError):
            return False

    def flow(self, state: dict[str, object]) -> str:
        """What a browser carries while it is away at the identity provider."""
        return str(self._flow.dumps(state))

    def open_flow(self, cookie: str) -> dict[str, object]:
        try:
            state = self._flow.loads(cookie)
        except (BadData, ValueError, TypeError):
            return {}
        return state if isinstance(state, dict) else {}


# ---- from a request to an identity


async def identify(request: Request) -> Identity | None:
    """Who asks, None for nobody. A bearer token that is no good is nobody, whatever cookie came along."""
    web: Web = request.app.state.web
    token = bearer_of(request.headers)
    if token is not None:
        return await _by_token(web, token)
    if by_proxy(request, web.config):
        return by_headers(request.headers, web.config)
    cookie = request.cookies.get(web.seals.cookie)
    return await _by_cookie(web, cookie) if cookie else None


async def _by_token(web: "Web", token: str) -> Identity | None:
    row = await sql.sign_in.bearer.row(web.pool, sha256=token_hash(token))
    if row is None:
        return None
    return Identity(f"token:{row['name']}", Role(row["role"]), row["workspace_id"], Via.BEARER, f"token:{row['id']}")


async def _by_cookie(web: "Web", cookie: str) -> Identity | None:
    session_id = web.seals.open_session(cookie)
    row = await sql.sign_in.session.row(web.pool, session_id=session_id) if session_id else None
    if row is None:
        return None
    return Identity(row["subject"], Role(row["role"]), row["workspace_id"], Via.SESSION, f"session:{session_id}")


def by_headers(headers: Headers, config: Config) -> Identity | None:
    """Whom the proxy names. A header that is doubled, a role that is none of ours: nobody."""
    user, role, workspace = (
        _single(headers, name)
        for name in (config.trusted_user_header, config.trusted_role_header, config.trusted_workspace_header)
    )
    if not user or len(user) > _SUBJECT_CHARS_MAX or role not in set(Role) or workspace is None:
        return None
    if not fits(Role(role), workspace or None):
        return None
    return Identity(f"proxy:{user}", Role(role), workspace or None, Via.PROXY, f"proxy:{user}:{role}:{workspace}")


def _single(headers: Headers, name: str) -> str | None:
    """The value of a header, empty when it is absent; None when it came twice."""
    values = headers.getlist(name)
    return (values[0].strip() if values else "") if len(values) < 2 else None


def by_proxy(request: Request, config: Config) -> bool:
    """Whether a trusted proxy says who asks. One that only passes requests on (an ingress) leaves the header as the
    browser sent it: so its name has to be set, and no default counts."""
    named = bool(config.trusted_user_header) and config.trusted_user_header in request.headers
    return named and peer_is_proxy(request, config)


def peer_is_proxy(request: Request, config: Config) -> bool:
    """Whether the connection itself, not a header, comes from a trusted proxy."""
    return request.client is not None and _is_trusted(request.client.host, config)


def _is_trusted(host: str, config: Config) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in config.proxies)


def address_of(request: Request, config: Config) -> str:
    """Where a request comes from, for limits: the peer, or what trusted proxies say stood before them."""
    host = request.client.host if request.client is not None else "-"
    hops = [hop.strip() for hop in request.headers.get("x-forwarded-for", "").split(",") if hop.strip()]
    while hops and _is_trusted(host, config):
        host = hops.pop()
    return host
