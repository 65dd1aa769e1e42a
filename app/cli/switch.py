"""`switch`: the kill switches that bind all processes. `off` always means that the feature stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.shell import OK, AsJson, EnvFile, WrongUse, actor, connection_to, emit, run, say, show_table, stamp

if TYPE_CHECKING:
    import asyncpg

    from app.config import Config

group = typer.Typer(
    name="switch", help="Kill switches: stop or resume a feature for all, at once.", no_args_is_help=True
)

VIA: Final = "cli"
_SUFFIX: Final = "_DISABLED"
_STOPS: Final = {
    "AUTO_SEND": "no automatic send is claimed, scheduled ones neither; people may still send",
    "AUTO_SEND_REVISION": "no draft is revised",
    "LEAD_CONTEXT_BUNDLE": "runs start with the base context only",
}

Name = Annotated[str, typer.Argument(metavar="NAME", help=f"{', '.join(_STOPS)}; with or without {_SUFFIX}.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; required, kept in the audit.")]


@group.command("list", epilog="Example: draft-pipeline switch list --json")
def list_(env_file: EnvFile = None, as_json: AsJson = False) -> None:
    """What is on and what is off, since when, by whom and why; and which processes' environments say off."""

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection:
            rows = await sql.ops.effective_switches.rows(connection)
        if as_json:
            emit([{**dict(row), "feature": _feature(row["name"]), "state": _state(row)} for row in rows])
            return OK
        table = [
            (_feature(row["name"]), _state(row), stamp(row["changed_at"]), row["changed_by"], row["reason"])
            for row in rows
        ]
        show_table(("feature", "state", "since", "by", "reason"), table)
        return OK

    run(env_file, "database", work)


def _feature(name: str) -> str:
    return name.removesuffix(_SUFFIX)


def _state(row: asyncpg.Record) -> str:
    if row["disabled"]:
        return "OFF for all"
    return f"OFF in {len(row['off_in'])} process(es) by their environment" if row["off_in"] else "on"


@group.command(epilog='Example: draft-pipeline switch off AUTO_SEND --reason "incident 4711"')
def off(name: Name, reason: Reason, env_file: EnvFile = None, as_json: AsJson = False) -> None:
    """Stop a feature for all workspaces and processes, within 2 s; nothing is claimed once this has returned."""
    _flip(name, reason, env_file, as_json, disabled=True)


@group.command(epilog='Example: draft-pipeline switch on AUTO_SEND --reason "incident 4711 is over"')
def on(name: Name, reason: Reason, env_file: EnvFile = None, as_json: AsJson = False) -> None:
    """Let a feature work again, where neither its workspace nor a process's environment says off."""
    _flip(name, reason, env_file, as_json, disabled=False)


def _flip(name: str, reason: str, env_file: EnvFile, as_json: bool, *, disabled: bool) -> None:
    switch = switch_named(name)
    if not reason.strip():
        raise WrongUse("--reason is empty: say why, it is kept in the audit")

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection:
            before = await flip(connection, switch, disabled=disabled, reason=reason, actor=actor())
            rows = await sql.ops.effective_switches.rows(connection)
        row = next(row for row in rows if row["name"] == switch)
        if as_json:
            emit({"feature": _feature(switch), "was_off": before, **dict(row), "state": _state(row)})
            return OK
        feature, word = _feature(switch), "OFF" if disabled else "ON"
        print(
            f"{feature} {'was already' if before == disabled else 'is now'} {word} for all ({switch} = {int(disabled)})"
        )
        if disabled:
            print(f"from now on {_STOPS[feature]}")
        elif row["off_in"]:
            say(f"still off by the environment of {', '.join(row['off_in'])}: clear {switch} there and restart")
        return OK

    run(env_file, "database", work)


def switch_named(name: str) -> str:
    """The switch of a feature; `AUTO_SEND`, `auto-send` and `AUTO_SEND_DISABLED` are the same one."""
    feature = name.strip().upper().replace("-", "_").removesuffix(_SUFFIX)
    if feature not in _STOPS:
        raise WrongUse(f"no switch is called {name}; they are {', '.join(_STOPS)}")
    return feature + _SUFFIX


async def flip(
    connection: asyncpg.Connection, switch: str, *, disabled: bool, reason: str, actor: str, via: str = VIA
) -> bool:
    """Turn a switch; returns whether the feature was off. No claim commits after this has."""
    from db import sql

    async with connection.transaction():
        await sql.draft.own_kill_switch_lock.value(connection)
        before: bool = await sql.draft.flip_kill_switch.value(
            connection, name=switch, disabled=disabled, reason=reason, actor=actor
        )
        await sql.admin.add_audit.value(
            connection,
            actor=actor,
            via=via,
            action="switch-off" if disabled else "switch-on",
            workspace_id=None,
            subject=switch,
            before=before,
            after=disabled,
            reason=reason,
        )
    return before
