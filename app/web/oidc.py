"""OpenID Connect: authorization code with PKCE, state and nonce; the ID token's signature, issuer, audience and times
are checked by authlib. Role and workspace are claims of the ID token.
"""

import secrets
from dataclasses import dataclass
from typing import Any, Final

import structlog
from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth
from authlib.oauth2 import OAuth2Error
from httpx2 import HTTPError
from joserfc.errors import JoseError

from app.config import Config
from schemas.codes import Role

log = structlog.get_logger()

_NAME: Final = "provider"
_TIMEOUT_S: Final = 10.0
_SUBJECT_CHARS_MAX: Final = 200
_CALLBACK: Final = "/sign-in/oidc/callback"
_FAILURES: Final = (OAuthError, OAuth2Error, HTTPError, JoseError, ValueError, KeyError, TypeError, RuntimeError)
# Of several roles in the claim the one that may do most counts.
_BY_WEIGHT: Final = (Role.SUPER_ADMIN, Role.WORKSPACE_ADMIN, Role.OPS, Role.REVIEWER, Role.ANALYST)


class SignInRefused(Exception):
    """One sentence for the person: why, and what to do."""


@dataclass(frozen=True)
class Claimed:
    """What the identity provider says of a person."""

    subject: str
    role: Role
    workspace_id: str | None


class Provider:
    """One identity provider. What a flow needs to remember travels in the browser's signed cookie, not here."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._redirect = config.public_url.rstrip("/") + _CALLBACK
        issuer = (config.oidc_issuer or "").rstrip("/")
        self._client: Any = OAuth().register(
            _NAME,
            client_id=config.oidc_client_id,
            client_secret=config.oidc_client_secret,
            server_metadata_url=f"{issuer}/.well-known/openid-configuration",
            client_kwargs={"scope": "openid profile", "code_challenge_method": "S256", "timeout": _TIMEOUT_S},
        )

    async def begin(self) -> tuple[str, dict[str, object]]:
        """Where to send the browser, and what it must bring back. Raises SignInRefused when the provider is away."""
        try:
            made = await self._client.create_authorization_url(self._redirect, nonce=secrets.token_urlsafe(16))
        except _FAILURES as error:
            raise _away(error) from None
        return str(made["url"]), {name: made[name] for name in ("state", "nonce", "code_verifier")}

    async def finish(self, answer: dict[str, str], flow: dict[str, Any]) -> Claimed:
        """Who came back. Raises SignInRefused for an answer to no question of ours, or one that does not check."""
        state = flow.get("state")
        if not state or not secrets.compare_digest(str(state), answer.get("state", "")):
            raise SignInRefused("This sign-in was not started here, or took too long: start it again.")
        if "code" not in answer:
            raise SignInRefused("The identity provider did not let you in.")
        try:
            token = await self._client.fetch_access_token(
                redirect_uri=self._redirect, code=answer["code"], code_verifier=flow["code_verifier"]
            )
            claims = await self._client.parse_id_token(token, nonce=flow["nonce"])
        except _FAILURES as error:
            raise _away(error) from None
        if claims is None:
            raise SignInRefused("The identity provider sent no ID token.")
        return claimed(dict(claims), self._config)


def claimed(claims: dict[str, Any], config: Config) -> Claimed:
    """Subject, role and workspace of checked claims. Raises SignInRefused when no role of ours is among them."""
    found = claims.get(config.oidc_role_claim)
    roles = found if isinstance(found, list) else [found]
    role = next((role for role in _BY_WEIGHT if role.value in roles), None)
    subject, workspace = str(claims.get("sub") or ""), claims.get(config.oidc_workspace_claim) or None
    if role is None or not subject:
        raise SignInRefused(
            f"Your account has no role here: its claim {config.oidc_role_claim} must be one of {', '.join(Role)}."
        )
    if workspace is not None and not isinstance(workspace, str):
        raise SignInRefused(f"Your account's claim {config.oidc_workspace_claim} must be one workspace.")
    return Claimed(subject[:_SUBJECT_CHARS_MAX], role, workspace)


def _away(error: BaseException) -> SignInRefused:
    log.warning("oidc_failed", error_class=type(error).__name__)
    return SignInRefused("The identity provider does not answer as it should: try again, or sign in with a token.")
