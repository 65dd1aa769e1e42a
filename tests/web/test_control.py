"""Control: every change has a reason, is seen before it is made, meets no other unseen, is on record, and goes back."""

from __future__ import annotations

import asyncio
import json
import re
from html import unescape
from typing import Any

import httpx2
import pytest

from app.cli.applying import apply_document
from app.cli.documents import WorkspaceDocument
from app.control.changing import values_of
from app.control.fields import FIELDS
from db import sql
from db.pool import connect
from schemas.codes import KillSwitch, Role
from tests.web.conftest import Site, csrf_of
from tests.web.seeding import OWN

SWITCH = "AUTO_SEND_DISABLED"
PAGE = f"/control/workspaces/{OWN}"


def form_of(page: httpx2.Response, **wanted: str) -> dict[str, str]:
    """What a browser would send of a workspace's form, with some fields changed by hand."""
    seen = dict(re.findall(r"name=\"(seen\.\w+)\"\s+value='([^']*)'", page.text))
    assert len(seen) == len(FIELDS)
    form = {name: unescape(value) for name, value in seen.items()}
    for name, field in FIELDS.items():
        form[f"want.{name}"] = wanted.get(name, field.write(json.loads(form[f"seen.{name}"])))
    return {**form, "csrf": csrf_of(page)}


def confirmed(difference: httpx2.Response, reason: str) -> dict[str, str]:
    """What a browser sends when the difference is confirmed."""
    changes = re.search(r'name="changes" value="([^"]*)"', difference.text)
    assert changes is not None, difference.text
    return {"changes": unescape(changes[1]), "reason": reason, "csrf": csrf_of(difference)}


async def made(browser: httpx2.AsyncClient, reason: str = "test", **wanted: str) -> httpx2.Response:
    """A change, the whole way."""
    difference = await browser.post(f"{PAGE}/preview", data=form_of(await browser.get(PAGE), **wanted))
    assert difference.status_code == 200, difference.text
    return await browser.post(f"{PAGE}/apply", data=confirmed(difference, reason))


async def audited(site: Site, subject: str) -> dict[str, Any]:
    row = await site.db.fetchrow("SELECT * FROM admin_audit WHERE subject = $1 ORDER BY id DESC LIMIT 1", subject)
    assert row is not None
    return dict(row)


# ---- fields of a workspace


async def test_a_change_is_shown_then_made_and_kept_on_record(site: Site) -> None:
    """The difference names from and to and writes nothing; the change writes the field and who, how, why."""
    async with site.browser(Role.SUPER_ADMIN) as browser:
        page = await browser.get(PAGE)
        difference = await browser.post(f"{PAGE}/preview", data=form_of(page, auto_send_revision_enabled="on"))
        assert "<del>off</del>" in difference.text
        assert "<ins>on</ins>" in difference.text
        assert await site.db.fetchval(
            f"SELECT NOT auto_send_revision_enabled FROM workspace_settings WHERE workspace_id = '{OWN}'"
        )

        saved = await browser.post(f"{PAGE}/apply", data=confirmed(difference, "  canary   of the week "))
        assert (saved.status_code, saved.headers["location"]) == (303, f"{PAGE}?saved=1")
        assert await site.db.fetchval(
            f"SELECT auto_send_revision_enabled FROM workspace_settings WHERE workspace_id = '{OWN}'"
        )
    row = await audited(site, "auto_send_revision_enabled")
    assert (row["actor"], row["via"], row["before"], row["after"], row["reason"]) == (
        "token:super_admin-all", "web", False, True, "canary of the week",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["acme/eu", "a?b", "a#b", "ä %2F", "a&b=c+d", "/preview", "a/../b", "x" * 200])
async def test_a_workspace_of_any_name_is_opened_changed_and_changed_back(site: Site, name: str) -> None:
    """By the links, forms and redirects of the pages: an id is any text of 1 to 200 characters."""
    await sql.admin.create_workspace_if_absent.run(site.db, workspace_id=name)
    async with site.browser(Role.SUPER_ADMIN) as browser:
        listed = await browser.get("/control", params={"search": name})
        [link] = re.findall(r'<th scope="row"><a href="(/control/workspaces/[^"]*)"', listed.text)
        page = await browser.get(unescape(link))
        difference = await browser.post(_form_action(page), data=form_of(page, auto_send_revision_enabled="on"))
        saved = await browser.post(_form_action(difference), data=confirmed(difference, "canary"))
        assert saved.status_code == 303, saved.text
        again = await browser.get(saved.headers["location"])
        assert "Saved: 1 field" in again.text
        assert json.loads(unescape(form_of(again)["seen.auto_send_revision_enabled"])) is True
        [undo] = re.findall(r'action="(/control/undo/\d+)"', again.text)
        back = await browser.post(undo, data={"csrf": csrf_of(again)})
        assert (await browser.post(_form_action(back), data=confirmed(back, "back"))).status_code == 303
    assert not await site.db.fetchval(
        "SELECT auto_send_revision_enabled FROM workspace_settings WHERE workspace_id = $1", name
    )
    await site.db.execute("DELETE FROM workspace WHERE id = $1", name)


def _form_action(page: httpx2.Response) -> str:
    """Where the form about a workspace goes."""
    [action] = re.findall(r'action="(/control/workspaces/[^"]*)"', page.text)
    return unescape(action)


async def test_a_form_that_was_not_touched_changes_nothing(site: Site) -> None:
    """Whatever is stored, also what makes no sense, comes back as it is."""
    await site.db.execute(
        "UPDATE workspace_settings SET auto_send_revision_max_iterations = 9, monthly_budget_usd = 12.5"
    )
    async with site.browser(Role.SUPER_ADMIN) as browser:
        difference = await browser.post(f"{PAGE}/preview", data=form_of(await browser.get(PAGE)))
    assert "Nothing differs" in difference.text
    await site.db.execute("UPDATE workspace_settings SET auto_send_revision_max_iterations = 3")


async def test_a_value_that_makes_no_sense_is_told(site: Site) -> None:
    """In the control plane and of the workspace: what is stored, and that the default is used."""
    await site.db.execute(
        "UPDATE workspace_settings SET auto_send_revision_model = 'gpt-99' WHERE workspace_id = $1", OWN
    )
    async with site.program(Role.SUPER_ADMIN) as client:
        standing = (await client.get(f"/api{PAGE}")).json()["standing"]
        assert "makes no sense" in (await client.get("/control")).text
    assert standing["model"] == "gpt-5.2"
    assert "auto_send_revision_model" in standing["coerced"]
    await site.db.execute("UPDATE workspace_settings SET auto_send_revision_model = 'gpt-5.2'")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("auto_send_threshold", "1.01"), ("auto_send_threshold", "nan"), ("auto_send_threshold", "x"),
        ("auto_send_revision_max_iterations", "0"), ("auto_send_revision_max_iterations", "4"),
        ("auto_send_revision_max_iterations", "1.5"), ("auto_send_revision_reasoning_effort", "huge"),
        ("default_mode", "ON"), ("monthly_budget_usd", "-1"), ("running_runs_max", ""), ("running_runs_max", "1e400"),
        ("lead_context_bundle_budgets", "[]"), ("lead_context_bundle_budgets", "{"), ("draft_model", "a b"),
    ],
)  # fmt: skip
async def test_a_value_out_of_its_bounds_is_refused_by_name(site: Site, name: str, text: str) -> None:
    """422 with the field and what it takes; neither the difference nor a forged confirmation writes it."""
    before = await values_of(site.db, OWN)
    assert before is not None
    async with site.browser(Role.SUPER_ADMIN) as browser:
        page = await browser.get(PAGE)
        shown = await browser.post(f"{PAGE}/preview", data=form_of(page, **{name: text}))
        assert shown.status_code == 422
        assert FIELDS[name].label in unescape(shown.text)
        forged = {"changes": json.dumps({name: [before[name], text]}), "reason": "r", "csrf": csrf_of(page)}
        assert (await browser.post(f"{PAGE}/apply", data=forged)).status_code == 422
    assert await values_of(site.db, OWN) == before


async def test_every_field_can_be_changed_and_comes_back(site: Site) -> None:
    """Each field of the table, over the whole way, is stored as typed, and undone by its undo."""
    other = {
        "switch": "on",
        "choice": "",
        "model": "gpt-5.4",
        "integer": "2",
        "number": "0.5",
        "money": "7.25",
        "json": '{"draft": {"profile": 10}}',
    }
    async with site.browser(Role.SUPER_ADMIN) as browser:
        for name, field in FIELDS.items():
            before = (await values_of(site.db, OWN) or {})[name]
            typed = field.choices[1] if field.kind == "choice" else other[field.kind]
            if field.kind == "switch":
                typed = "off" if before else "on"
            if field.low is not None and float(other["number"]) < field.low and field.kind == "number":
                typed = str(field.low + 5)
            assert (await made(browser, **{name: typed})).status_code == 303, name
            row = await audited(site, name)
            assert (row["before"], (await values_of(site.db, OWN) or {})[name]) == (before, row["after"]), name
            assert row["after"] == field.read(typed), name

            undo = await browser.post(f"/control/undo/{row['id']}", data={"csrf": csrf_of(await browser.get(PAGE))})
            assert (await browser.post(f"{PAGE}/apply", data=confirmed(undo, "back"))).status_code == 303, name
            assert (await values_of(site.db, OWN) or {})[name] == before, name


async def test_a_threshold_becomes_a_policy_revision_of_the_workspace(site: Site) -> None:
    """Numbered, with the reason; the other threshold is taken along."""
    async with site.browser(Role.SUPER_ADMIN) as browser:
        await made(browser, "too many edits", auto_send_threshold="0.93")
    row = await sql.admin.policy_in_force.one(site.db, workspace_id=OWN, campaign_id=None)
    assert (row["scope"], row["auto_send_threshold"], row["booking_threshold"]) == ("workspace", 0.93, 0.8)
    assert (row["created_by"], row["reason"]) == ("token:super_admin-all", "too many edits")


async def test_a_change_that_somebody_else_made_meanwhile_stops_it(site: Site) -> None:
    """409 with what was seen, what is, what was wanted and who it was; nothing of the change is written."""
    async with site.browser(Role.SUPER_ADMIN) as browser:
        page, before = await browser.get(PAGE), await values_of(site.db, OWN) or {}
        wanted = form_of(page, running_runs_max="77", send_delay_s="3.5")
        difference = await browser.post(f"{PAGE}/preview", data=wanted)
        await made(browser, "the other one", running_runs_max="55")

        refused = await browser.post(f"{PAGE}/apply", data=confirmed(difference, "mine"))
        assert refused.status_code == 409
        assert all(shown in refused.text for shown in ("200", "55", "77", "token:super_admin-all"))
        late = await browser.post(f"{PAGE}/preview", data=wanted)
        assert "changed meanwhile" in late.text
        now = await values_of(site.db, OWN) or {}
        assert (now["running_runs_max"], now["send_delay_s"]) == (55, before["send_delay_s"])
        await made(browser, running_runs_max="200")


async def test_two_at_the_same_moment_do_not_both_win(site: Site) -> None:
    """Both saw the same value; one is written, the other told."""
    async with site.browser(Role.SUPER_ADMIN) as browser:
        page = await browser.get(PAGE)
        first, second = [
            confirmed(await browser.post(f"{PAGE}/preview", data=form_of(page, running_runs_max=value)), "race")
            for value in ("301", "302")
        ]
        answers = await asyncio.gather(*(browser.post(f"{PAGE}/apply", data=data) for data in (first, second)))
        assert sorted(answer.status_code for answer in answers) == [303, 409]
        await made(browser, running_runs_max="200")


@pytest.mark.parametrize("reason", ["", "  \n ", "x" * 501])
async def test_a_change_without_a_reason_is_none(site: Site, reason: str) -> None:
    """422, and the difference is still there to be confirmed."""
    before = await values_of(site.db, OWN)
    async with site.browser(Role.SUPER_ADMIN) as browser:
        difference = await browser.post(f"{PAGE}/preview", data=form_of(await browser.get(PAGE), send_delay_s="9"))
        answer = await browser.post(f"{PAGE}/apply", data=confirmed(difference, reason))
        assert answer.status_code == 422
        assert "send_delay_s" in answer.text
    assert await values_of(site.db, OWN) == before


async def test_what_was_changed_here_is_kept_by_the_next_apply(site: Site) -> None:
    """`workspace apply` leaves a field that the control plane changed, and says whose it is."""
    async with site.browser(Role.SUPER_ADMIN) as browser:
        await made(browser, quiet_window_s="11")
    document = WorkspaceDocument.model_validate({"workspace_id": OWN, "settings": {"quiet_window_s": 22}})
    async with site.db.transaction():
        applied = await apply_document(site.db, document, actor="operator", reason="apply", force=False)
    assert [change.kept_for for change in applied.kept] == ["token:super_admin-all via web"]
    assert (await values_of(site.db, OWN) or {})["quiet_window_s"] == 11


# ---- kill switches


async def test_a_switch_is_off_in_one_click_and_on_with_a_look(site: Site) -> None:
    """Off by the button as it stands; on only from the switch's own page, with a reason; both on record."""
    async with site.browser(Role.SUPER_ADMIN) as browser:
        page = await browser.get("/control")
        button = re.search(
            rf'action="/control/switches/{SWITCH}/off".*?name="reason" value="([^"]+)"', page.text, re.DOTALL
        )
        assert button is not None
        off = await browser.post(f"/control/switches/{SWITCH}/off", data={"csrf": csrf_of(page), "reason": button[1]})
        assert (off.status_code, off.headers["location"]) == (303, "/control")
        assert await site.db.fetchval("SELECT disabled FROM kill_switch WHERE name = $1", SWITCH)
        assert "Off for all processes, by token:super_admin-all" in (await browser.get("/")).text

        shown = await browser.get(f"/control/switches/{SWITCH}")
        seen = re.search(r'name="seen" value="([^"]+)"', shown.text)
        assert seen is not None
        data = {"csrf": csrf_of(shown), "seen": unescape(seen[1]), "reason": "incident is over"}
        assert (await browser.post(f"/control/switches/{SWITCH}/on", data={**data, "reason": " "})).status_code == 422
        assert (await browser.post(f"/control/switches/{SWITCH}/on", data=data)).status_code == 303
    rows = await site.db.fetch(
        "SELECT action, via, before, after FROM admin_audit WHERE subject = $1 ORDER BY id DESC LIMIT 2", SWITCH
    )
    assert [tuple(row) for row in rows] == [("switch-on", "web", True, False), ("switch-off", "web", False, True)]


async def test_switching_on_what_somebody_turned_meanwhile_is_told(site: Site) -> None:
    """The page was old: 409, and it stays as it is."""
    async with site.browser(Role.SUPER_ADMIN) as browser:
        csrf = csrf_of(await browser.get("/control"))
        address = "/control/switches/AUTO_SEND_REVISION_DISABLED"
        await browser.post(f"{address}/off", data={"csrf": csrf, "reason": "one"})
        seen = await site.db.fetchval("SELECT changed_at FROM kill_switch WHERE name = 'AUTO_SEND_REVISION_DISABLED'")
        await browser.post(f"{address}/off", data={"csrf": csrf, "reason": "two"})
        stale = await browser.post(f"{address}/on", data={"csrf": csrf, "reason": "on", "seen": seen.isoformat()})
        assert stale.status_code == 409
        assert "Nothing was changed" in stale.text
        assert await site.db.fetchval("SELECT disabled FROM kill_switch WHERE name = 'AUTO_SEND_REVISION_DISABLED'")
    await site.db.execute("UPDATE kill_switch SET disabled = false")


async def test_no_claim_commits_after_the_page_has_answered(site: Site) -> None:
    """A claim under way holds the flip up; when the answer is there the next statement finds it off."""
    claim = await connect(site.url)
    async with site.browser(Role.SUPER_ADMIN) as browser:
        csrf = csrf_of(await browser.get("/control"))
        async with claim.transaction():
            await sql.draft.share_kill_switch_lock.value(claim)
            flipping = asyncio.create_task(
                browser.post(f"/control/switches/{SWITCH}/off", data={"csrf": csrf, "reason": "r"})
            )
            await asyncio.sleep(0.2)
            assert not flipping.done()
        assert (await asyncio.wait_for(flipping, 2.0)).status_code == 303
    assert await claim.fetchval("SELECT disabled FROM kill_switch WHERE name = $1", SWITCH)
    await claim.close()
    await site.db.execute("UPDATE kill_switch SET disabled = false")


async def test_an_environment_that_says_off_is_one_answer_with_its_reason(site: Site) -> None:
    """Off in all workers is off, in some is partly; the page of the switch names each process."""
    beat = {"role": "worker", "version": "1", "figures": {}}
    for process, switches in (("worker-a", {SWITCH: True}), ("worker-b", {})):
        await sql.run.beat.run(site.db, process_id=process, switches=switches, **beat)
    async with site.program(Role.SUPER_ADMIN) as client:
        told = {each["name"]: each for each in (await client.get("/api/control")).json()["switches"]}
        assert (told[SWITCH]["state"], told[SWITCH]["off_in"]) == ("partly", ["worker-a"])
        await sql.run.beat.run(site.db, process_id="worker-b", switches={SWITCH: True}, **beat)
        told = {each["name"]: each for each in (await client.get("/api/control")).json()["switches"]}
        assert told[SWITCH]["state"] == "off"
        assert "environment of every worker" in told[SWITCH]["why"]
        assert "worker-b" in (await client.get(f"/control/switches/{SWITCH}")).text
    await site.db.execute("DELETE FROM process_heartbeat WHERE process_id LIKE 'worker-_'")


# ---- one beside the rest


async def test_one_workspace_is_set_beside_all_others(site: Site) -> None:
    """Its drafts on the one side, everybody else's on the other."""
    async with site.program(Role.SUPER_ADMIN) as client:
        told = (await client.get("/api/control/canary", params={"workspace": OWN, "hours": 24})).json()
        others = "SELECT count(*), count(DISTINCT workspace_id) FROM ai_draft WHERE workspace_id <> $1"
        assert (told["rest"]["drafts"], told["rest"]["workspaces"]) == tuple(await site.db.fetchrow(others, OWN) or ())
        assert told["canary"]["drafts"] == await site.db.fetchval(
            "SELECT count(*) FROM ai_draft WHERE workspace_id = $1", OWN
        )
        assert (told["canary"]["attempted"], told["canary"]["applied"]) == (1, 1)
        assert told["canary"]["gain"] == pytest.approx(0.14)
        assert told["canary"]["cost_usd"] == pytest.approx(0.016)
        assert told["canary"]["p95_s"] is not None
        assert (await client.get("/control/canary", params={"hours": 1000})).status_code == 422


def test_every_switch_has_its_words() -> None:
    """A new one needs a line that says what stops."""
    from app.control.switches import FEATURES
    from app.web.pages.control import STOPS

    assert set(FEATURES) == set(STOPS) == set(KillSwitch)
