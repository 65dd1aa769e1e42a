"""Signing in at an identity provider: its word counts only when all of it checks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from joserfc.jwk import RSAKey

from app.config import ConfigError, load_config
from app.web.oidc import Provider, SignInRefused, claimed
from schemas.codes import Role
from tests.web.conftest import Site
from tests.web.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider, identity_provider
from tests.web.seeding import OWN

NORA = {"sub": "nora-1", "draft_pipeline_role": "reviewer", "draft_pipeline_workspace": OWN}


@pytest.fixture
async def provider(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IdentityProvider]:
    """The site, with sign-in at this provider."""
    async with identity_provider() as running:
        running.person = dict(NORA)
        more = {"oidc_issuer": running.url, "oidc_client_id": CLIENT_ID, "oidc_client_secret": CLIENT_SECRET}
        config = site.web.config.model_copy(update=more)
        monkeypatch.setattr(site.web, "oidc", Provider(config))
        yield running


async def _come_back(browser: httpx2.AsyncClient, provider: IdentityProvider, **changed: str) -> httpx2.Response:
    """The whole way: off to the provider, signed in there, back again."""
    away = await browser.get("/sign-in/oidc", params={"next": "/ai-ops"})
    assert away.status_code == 303, away.text
    return await browser.get("/sign-in/oidc/callback", params=provider.authorize(away.headers["location"]) | changed)


async def test_somebody_whom_the_provider_knows_is_signed_in(site: Site, provider: IdentityProvider) -> None:
    """With the role and workspace of the claims, and back at the page that asked for it."""
    async with site.visitor() as browser:
        assert "Sign in with your organisation" in (await browser.get("/sign-in")).text
        answer = await _come_back(browser, provider)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ai-ops")
        page = await browser.get("/")
        assert "nora-1" in page.text
        assert OWN in page.text
        assert (await browser.get("/control")).status_code == 403


@pytest.mark.parametrize(
    "spoil",
    [
        {"iss": "https://elsewhere.example"},
        {"aud": "another-client"},
        {"nonce": "of-another-sign-in"},
        {"exp": 1_700_000_000},
        {"draft_pipeline_role": "king"},
        {"draft_pipeline_role": None},
        {"draft_pipeline_workspace": "ws-of-nobody"},
        {"draft_pipeline_role": "workspace_admin", "draft_pipeline_workspace": None},
        {"draft_pipeline_role": "super_admin"},
        {"sub": ""},
    ],
    ids=str,
)
async def test_a_word_that_does_not_check_lets_nobody_in(
    site: Site, provider: IdentityProvider, spoil: dict[str, Any]
) -> None:
    """Issuer, audience, nonce, time, role and workspace: each alone is enough to be refused."""
    provider.spoil = spoil
    async with site.visitor() as browser:
        answer = await _come_back(browser, provider)
        assert answer.status_code == 403
        assert site.web.seals.cookie not in browser.cookies


async def test_a_foreign_signature_lets_nobody_in(site: Site, provider: IdentityProvider) -> None:
    """The key that signed must be the one that the provider publishes."""
    provider.published = RSAKey.generate_key(2048, {"kid": "1"})
    async with site.visitor() as browser:
        assert (await _come_back(browser, provider)).status_code == 403


async def test_an_answer_to_no_question_of_this_browser_is_refused(site: Site, provider: IdentityProvider) -> None:
    """Another browser's state, or none, or the same code twice."""
    async with site.visitor() as browser, site.visitor() as other:
        assert (await _come_back(browser, provider, state="forged")).status_code == 403
        away = await browser.get("/sign-in/oidc")
        back = provider.authorize(away.headers["location"])
        assert (await other.get("/sign-in/oidc/callback", params=back)).status_code == 403
        assert (await browser.get("/sign-in/oidc/callback", params=back)).status_code == 303
        assert (await browser.get("/sign-in/oidc/callback", params=back)).status_code == 403


async def test_a_provider_that_is_away_leaves_the_token(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says so, and still offers the form."""
    more = {"oidc_issuer": "http://127.0.0.1:9", "oidc_client_id": "c", "oidc_client_secret": "s"}
    monkeypatch.setattr(site.web, "oidc", Provider(site.web.config.model_copy(update=more)))
    async with site.visitor() as browser:
        answer = await browser.get("/sign-in/oidc")
    assert answer.status_code == 503
    assert 'name="token"' in answer.text


async def test_without_an_issuer_there_is_no_such_way_in(site: Site) -> None:
    """Neither the button nor the route."""
    async with site.visitor() as browser:
        assert "organisation" not in (await browser.get("/sign-in")).text
        assert (await browser.get("/sign-in/oidc")).status_code == 404


def test_of_several_roles_the_strongest_counts(site: Site) -> None:
    """A claim may be a list, as identity providers send groups."""
    claims = {"sub": "x", "draft_pipeline_role": ["everybody", "analyst", "super_admin", "reviewer"]}
    assert claimed(claims, site.web.config).role is Role.SUPER_ADMIN
    with pytest.raises(SignInRefused, match="draft_pipeline_role"):
        claimed({"sub": "x", "draft_pipeline_role": ["everybody"]}, site.web.config)


def test_an_issuer_without_a_registration_stops_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The line names the variable that is missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OIDC_ISSUER", "https://id.example.com")
    monkeypatch.delenv("OIDC_CLIENT_ID", raising=False)
    with pytest.raises(ConfigError, match="OIDC_CLIENT_ID is not set"):
        load_config()
