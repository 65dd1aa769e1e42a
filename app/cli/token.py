"""`token`: who may use the web pages and `/api`. A token is shown once; only its hash is kept."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.shell import (
    OK,
    AsJson,
    EnvFile,
    Problem,
    WrongUse,
    actor,
    connection_to,
    emit,
    run,
    say,
    show_table,
    stamp,
)
from schemas.codes import Role

if TYPE_CHECKING:
    import asyncpg

    from app.config import Config

group = typer.Typer(name="token", help="Who may use the web pages and the API.", no_args_is_help=True)

VIA: Final = "cli"
_ROLES: Final = ", ".join(Role)
_NAME_CHARS_MAX: Final = 100
_DAYS_MAX: Final = 36_500


@group.command(epilog="Example: draft-pipeline token create --name nora --role reviewer --workspace ws-1")
def create(
    name: Annotated[str, typer.Option("--name", help="Whose it is, as the audit will call them.")],
    role: Annotated[str, typer.Option("--role", help=f"One of {_ROLES}.")],
    workspace: Annotated[
        str | None, typer.Option("--workspace", metavar="WORKSPACE", help="Bind it to one workspace. [default: all]")
    ] = None,
    days: Annotated[float | None, typer.Option("--days", help="Days it works. [default: until revoked]")] = None,
    link: Annotated[bool, typer.Option("--link", help="Instead a link that signs a browser in once.")] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, once. With --link: a sign-in link, good for one browser within 15 minutes."""
    chosen = _role(role, workspace)
    if days is not None and not 0 <= days <= _DAYS_MAX:  # no number is within, and typer's bounds let it through
        raise WrongUse(f"--days {days:g}: give 0 to {_DAYS_MAX}, or leave it out for a token that works until revoked")
    if not name.strip() or len(name) > _NAME_CHARS_MAX or not name.isprintable():
        raise WrongUse(f"--name is empty, longer than {_NAME_CHARS_MAX} characters, or not printable")

    async def work(config: Config) -> int:
        from app.web.identity import sign_in_link

        expires = _expiry(days, link=link)
        async with connection_to(config.database_url) as connection:
            token = await make_token(connection, name.strip(), chosen, workspace, expires, one_time=link, by=actor())
        shown = {"link": sign_in_link(config.public_url, token)} if link else {"token": token}
        if as_json:
            emit({**shown, "name": name, "role": chosen, "workspace_id": workspace, "expires_at": expires})
            return OK
        say(f"{'link' if link else 'token'} of {name}, {chosen} of {workspace or 'all workspaces'}")
        say(f"works until {stamp(expires) if expires else 'it is revoked'}; it is not shown again")
        print(*shown.values())
        return OK

    run(env_file, "database", work)


def _expiry(days: float | None, *, link: bool) -> datetime | None:
    from schemas.limits import SIGN_IN_LINK_S_MAX

    lasts = timedelta(seconds=SIGN_IN_LINK_S_MAX) if link else timedelta(days=days) if days is not None else None
    return datetime.now(UTC) + lasts if lasts is not None else None


def _role(role: str, workspace: str | None) -> Role:
    from app.web.identity import fits

    name = role.strip().lower().replace("-", "_")
    if name not in set(Role):
        raise WrongUse(f"--role {role}: no such role; they are {_ROLES}")
    if not fits(Role(name), workspace):
        raise WrongUse(
            "--workspace is needed: a workspace_admin has one"
            if workspace is None
            else "a super_admin has all workspaces"
        )
    return Role(name)


async def make_token(
    connection: asyncpg.Connection,
    name: str,
    role: Role,
    workspace: str | None,
    expires: datetime | None,
    *,
    one_time: bool,
    by: str,
) -> str:
    """A new token; its hash and an audit row are written, it itself is only returned."""
    from app.web.identity import new_token, token_hash
    from db import sql

    token, token_id = new_token(), uuid.uuid4()
    async with connection.transaction():
        if workspace is not None and not await sql.sign_in.workspace_exists.value(connection, workspace_id=workspace):
            raise Problem(f"workspace {workspace} is unknown; `draft-pipeline workspace list` shows all")
        await sql.sign_in.add_token.run(
            connection,
            token_id=token_id,
            name=name,
            sha256=token_hash(token),
            role=role,
            workspace_id=workspace,
            expires_at=expires,
            one_time=one_time,
            created_by=by,
        )
        await _audit(
            connection, by, "token-create", workspace, token_id, {"name": name, "role": role, "link": one_time}
        )
    return token


async def _audit(
    connection: asyncpg.Connection, by: str, action: str, workspace: str | None, token_id: uuid.UUID, what: Any
) -> None:
    from db import sql

    before, after = (None, what) if action == "token-create" else (what, None)
    await sql.admin.add_audit.value(
        connection,
        actor=by,
        via=VIA,
        action=action,
        workspace_id=workspace,
        subject=f"token:{token_id}",
        before=before,
        after=after,
        reason="",
    )


@group.command("list", epilog="Example: draft-pipeline token list --all --json")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Also those that are revoked, expired or used up.")] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """The tokens that work: whose, which role and workspace, since when, used when. Never the tokens themselves."""

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection:
            rows = [dict(row) for row in await sql.sign_in.token_list.rows(connection, all=all_)]
        if as_json:
            emit(rows)
        elif not rows:
            print("no token yet: draft-pipeline token create --name NAME --role super_admin --link")
        else:
            columns = ("id", "name", "role", "workspace", "state", "made", "expires", "used", "browsers#")
            show_table(columns, [_row(row) for row in rows])
        return OK

    run(env_file, "database", work)


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    kind = f"{row['state']} (link)" if row["one_time"] else row["state"]
    times = (stamp(row[name]) for name in ("created_at", "expires_at", "used_at"))
    return row["id"], row["name"], row["role"], row["workspace_id"] or "all", kind, *times, row["sessions"]


@group.command(epilog="Example: draft-pipeline token revoke nora")
def revoke(
    token: Annotated[str, typer.Argument(metavar="NAME|ID", help="The name or id of a token.")],
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """End every token of this name or id, and every session it started, at once."""

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection, connection.transaction():
            found = await sql.sign_in.tokens_named.rows(connection, name=token)
            if not found:
                raise Problem(f"no token is called {token}; `draft-pipeline token list` shows all")
            rows = [await sql.sign_in.revoke_token.one(connection, token_id=each["id"]) for each in found]
            for row in rows:
                what = {"name": row["name"], "role": row["role"]}
                await _audit(connection, actor(), "token-revoke", row["workspace_id"], row["id"], what)
        if as_json:
            emit([dict(row) for row in rows])
        else:
            print(f"revoked {len(rows)} token(s) of {rows[0]['name']}; their sessions have ended")
        return OK

    run(env_file, "database", work)


@group.command(epilog="Example: draft-pipeline token sessions --json")
def sessions(env_file: EnvFile = None, as_json: AsJson = False) -> None:
    """Who is signed in with a browser, whichever way: their subject, role and workspace, since when."""

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection:
            rows = [dict(row) for row in await sql.sign_in.signed_in.rows(connection)]
        if as_json:
            emit(rows)
        else:
            columns = ("subject", "role", "workspace", "browsers#", "since")
            shown = [
                (r["subject"], r["role"], r["workspace_id"] or "all", r["sessions"], stamp(r["since"])) for r in rows
            ]
            show_table(columns, shown)
        return OK

    run(env_file, "database", work)


@group.command("sign-out", epilog="Example: draft-pipeline token sign-out oidc:nora")
def sign_out(
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="Whose, as `token sessions` shows it.")],
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """End every session of one person at once, also of one whom the identity provider signed in.

    They may sign in again: take their account there, or their token (`token revoke`), away first.
    """

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection, connection.transaction():
            ended = await sql.sign_in.end_sessions_of.rows(connection, subject=subject)
            if not ended:
                raise Problem(f"{subject} is not signed in; `draft-pipeline token sessions` shows who is")
            await sql.admin.add_audit.value(
                connection,
                actor=actor(),
                via=VIA,
                action="sign-out",
                workspace_id=None,
                subject=f"session:{subject}",
                before={"sessions": len(ended), "roles": sorted({row["role"] for row in ended})},
                after=None,
                reason="",
            )
        if as_json:
            emit({"subject": subject, "sessions": len(ended)})
        else:
            print(f"ended {len(ended)} session(s) of {subject}")
        return OK

    run(env_file, "database", work)
