"""The checks of `doctor`: one function per dependency, each says what it found and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import asyncpg

from app.cli.comparing import schema_differences
from app.cli.migrating import refuse_two_databases
from app.cli.pooling import look
from app.cli.shell import Problem, connection_to, place_of
from app.config import NEEDS, Config, ConfigError
from db import migrate, sql
from schemas.settings import MODEL_DEFAULT

if TYPE_CHECKING:
    import aiohttp

POSTGRES_MIN: Final = 15
ASK_S_MAX: Final = 10.0
_VERSION_UNIT: Final = 10_000
_DIFFERENCES_SHOWN_MAX: Final = 8
# What every process reads and writes, where there is anything yet.
_RIGHTS: Final = """SELECT CASE WHEN to_regclass('schema_migration') IS NULL OR to_regclass('outbox') IS NULL THEN true
    ELSE has_table_privilege('schema_migration', 'SELECT') AND has_table_privilege('outbox', 'INSERT') END"""
_SLACK_URL: Final = "https://slack.com/api/"
_UNAUTHORISED: Final = frozenset({401, 403})
_NOT_FOUND: Final = 404


class State(StrEnum):
    """`problem` makes doctor fail, `remark` does not."""

    OK = "ok"
    REMARK = "remark"
    PROBLEM = "PROBLEM"


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what to do about it."""

    name: str
    state: State
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> Check:
    return Check(name, State.OK, found)


def problem(name: str, found: str, remedy: str) -> Check:
    return Check(name, State.PROBLEM, found, remedy)


def remark(name: str, found: str, remedy: str = "") -> Check:
    return Check(name, State.REMARK, found, remedy)


async def check_all(config: Config) -> AsyncIterator[Check]:
    """Every check, as it is done. What a failed one makes pointless is left out."""
    for check in check_environment(config):
        yield check
    for part in (check_postgres, check_kafka, check_model, check_smtp, check_slack):
        async for check in part(config):
            yield check


def check_environment(config: Config) -> list[Check]:
    """What a worker and the web cannot do without; a shipped kill switch is worth a remark."""
    found = []
    for who in ("worker", "web", "migrate"):
        try:
            config.require(NEEDS[who])
        except ConfigError as error:
            found.append(problem(f"environment of {who}", str(error), "set it, or give --env-file"))
    off = [switch.value for switch, is_off in config.switches().items() if is_off]
    if off:
        found.append(remark("switches in the environment", f"off: {', '.join(off)}", "clear them to switch on"))
    return found or [ok("environment", f"set: {', '.join(config.set_variables()) or 'nothing'}")]


# ---- Postgres


async def check_postgres(config: Config) -> AsyncIterator[Check]:
    if not config.database_url:
        return
    try:
        async with connection_to(config.database_url) as connection:
            async for check in _server(connection, config):
                yield check
        async for check in _paths(config):
            yield check
        await refuse_two_databases(config)
        url = config.migration_url
        async with connection_to(url, "DIRECT_URL" if config.direct_url else "DATABASE_URL") as direct:
            yield await _schema(direct)
    except Problem as error:
        yield problem("postgres", str(error), "start it, or correct the address")


async def _server(connection: asyncpg.Connection, config: Config) -> AsyncIterator[Check]:
    number = int(await connection.fetchval("SELECT current_setting('server_version_num')::int"))
    version = f"version {number // _VERSION_UNIT} at {place_of(config.database_url)}"
    if number // _VERSION_UNIT < POSTGRES_MIN:
        yield problem("postgres", version, f"version {POSTGRES_MIN} or newer is needed")
    else:
        yield ok("postgres", version)
    for name in ("fsync", "synchronous_commit"):
        if await connection.fetchval("SELECT current_setting($1)", name) == "off":
            yield problem("durability", f"{name} is off: a crash would forget claims", f"set {name} = on")
    if await connection.fetchval("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"):
        yield problem("writing", "this server takes no writes (a standby?)", "let DATABASE_URL lead to the primary")
    if not await connection.fetchval(_RIGHTS):
        found = f"the role {await connection.fetchval('SELECT current_user')} may not work here"
        yield problem("rights", found, "apply deploy/postgres/grants.sql as the owner, after each migration")
        return
    applied = await migrate.schema_number(connection)
    if lacks := await migrate.missing(connection, "before"):
        found = f"{applied}, this version needs {lacks[-1]}"
        yield problem("schema number", found, "run `draft-pipeline migrate`")
        return
    if due := await migrate.missing(connection, "after"):
        remedy = "when every process has this version, run `draft-pipeline migrate --when after`"
        yield problem("schema number", f"{applied}, and {due[-1]} is meant for after the new code", remedy)
        return
    yield ok("schema number", str(applied))
    rows = await sql.ops.living_processes.rows(connection)
    yield _processes(rows)
    several = [row for row in rows if row["role"] == "web"]
    if len(several) > 1 and not all("WEB_SECRET" in row["figures"].get("variables", []) for row in several):
        found = f"{len(several)} web processes, not all with WEB_SECRET: each signs out whom another signed in"
        yield problem("sign-in", found, "give all of them the same WEB_SECRET")


async def _paths(config: Config) -> AsyncIterator[Check]:
    """Running processes may come through a pooler that supports prepared statements; migrations must not."""
    pooled = await look(config.database_url, "DATABASE_URL")
    if pooled.refused is not None:
        remedy = "let the pooler support prepared statements (pgbouncer: max_prepared_statements above 0)"
        yield problem("pooler", f"prepared statements do not work ({pooled.refused})", remedy)
    else:
        way = "through a pooler" if pooled.moves else "directly"
        yield ok("pooler", f"DATABASE_URL leads to Postgres {way}; prepared statements work")
    direct = await look(config.direct_url, "DIRECT_URL") if config.direct_url else pooled
    if direct.moves:
        found = f"migrations would run through a pooler ({'DIRECT_URL' if config.direct_url else 'DATABASE_URL'})"
        yield problem("direct address", found, "give DIRECT_URL an address that bypasses it: migrate holds a lock")


def _processes(rows: list[asyncpg.Record]) -> Check:
    if not rows:
        return remark("processes", "none has a heart beat", "start `draft-pipeline worker`")
    versions = {row["version"] for row in rows}
    switches = {tuple(sorted(row["switches"])) for row in rows}
    told = ", ".join(f"{row['role']} {row['process_id']}" for row in rows)
    if len(versions) > 1:
        return remark("processes", f"{told}; versions {', '.join(sorted(versions))}", "finish the roll-out")
    if len(switches) > 1:
        return remark("processes", f"{told}; their environments disagree about switches", "set them alike and restart")
    return ok("processes", told)


async def _schema(connection: asyncpg.Connection) -> Check:
    if not await migrate.schema_number(connection):
        return remark("schema", "not compared: nothing was migrated yet")
    try:
        differences = await schema_differences(connection)
    except asyncpg.InsufficientPrivilegeError:
        return remark("schema", "not compared: this role may not create a schema", "give DIRECT_URL of the owner")
    except asyncpg.ReadOnlySQLTransactionError:
        return remark("schema", "not compared: this server takes no writes", "let DIRECT_URL lead to the primary")
    if not differences:
        return ok("schema", "columns, defaults, checks, indexes, triggers, functions and views are those of schema.sql")
    more = len(differences) - _DIFFERENCES_SHOWN_MAX
    told = "; ".join(differences[:_DIFFERENCES_SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")
    return problem("schema", told, "somebody changed it by hand: put it back, or add a migration")


# ---- Kafka


async def check_kafka(config: Config) -> AsyncIterator[Check]:
    from aiokafka.errors import KafkaError

    from app.kafka.topics import check_topics

    if not config.kafka_bootstrap_servers:
        return
    try:
        states = await check_topics(config)
    except (KafkaError, OSError, TimeoutError) as error:
        found = f"no answer from KAFKA_BOOTSTRAP_SERVERS ({type(error).__name__})"
        yield problem("kafka", found, "start it, or correct address and login")
        return
    yield ok("kafka", f"answers at {config.kafka_bootstrap_servers}")
    missing = [state.name for state in states if not state.partitions]
    if missing:
        yield problem("topics", f"missing: {', '.join(missing)}", "run `draft-pipeline topics create`")
    different = [f"{state.name}: {'; '.join(state.differences)}" for state in states if state.partitions]
    different = [each for each in different if not each.endswith(": ")]
    if different:
        yield remark("topics", " | ".join(different), "change them with your broker's tools, if that was not meant")
    if not (missing or different):
        yield ok("topics", f"all {len(states)} are as expected")
    if config.database_url and not missing and (lost := await _lost(config)):
        found = f"ingest had read more of inbound-message than there is (partitions {', '.join(map(str, lost))})"
        remedy = "Kafka lost records, or the topic was made anew: RUNBOOK, After Kafka was lost"
        yield problem("watermarks", found, remedy)


async def _lost(config: Config) -> list[int]:
    """The partitions whose watermark is beyond their end; none when nobody can say."""
    from aiokafka.errors import KafkaError

    from app.kafka.lagging import group_reader, watermarks_of

    try:
        async with connection_to(config.database_url) as connection, group_reader(config) as reader:
            return [each.partition for each in await reader.lags(await watermarks_of(connection)) if each.lost]
    except (Problem, asyncpg.PostgresError, KafkaError, OSError, TimeoutError):
        return []  # what is away, or not migrated, was told above


# ---- model, mail, Slack


async def check_model(config: Config) -> AsyncIterator[Check]:
    if not config.openai_api_key:
        return
    base = config.openai_base_url or "https://api.openai.com/v1"
    host = urlsplit(base).netloc.rpartition("@")[2]
    status, _ = await _get(f"{base.rstrip('/')}/models/{MODEL_DEFAULT}", config.openai_api_key)
    if isinstance(status, str):
        yield problem("model server", f"{host} does not answer ({status})", "correct OPENAI_BASE_URL, or start it")
    elif status in _UNAUTHORISED:
        yield problem("model server", f"{host} refuses the key ({status})", "correct OPENAI_API_KEY")
    elif status == _NOT_FOUND:
        found = f"{host} answers, but does not tell of {MODEL_DEFAULT}"
        yield remark("model server", found, "choose a model it serves in workspace_settings")
    else:
        yield ok("model server", f"{host} answers and knows {MODEL_DEFAULT}")


async def _get(url: str, token: str | None, method: str = "GET") -> tuple[int | str, dict[str, Any]]:
    """Status and JSON of the answer; instead of a status the class of the error that kept us from one."""
    import aiohttp

    headers = {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=ASK_S_MAX)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, headers=headers, allow_redirects=False) as response,
        ):
            return response.status, await _json(response)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return type(error).__name__, {}


async def _json(response: aiohttp.ClientResponse) -> dict[str, Any]:
    import aiohttp

    try:
        body = await response.json(content_type=None)
    except (ValueError, aiohttp.ClientError):
        return {}
    return body if isinstance(body, dict) else {}


async def check_smtp(config: Config) -> AsyncIterator[Check]:
    """Connect, greet and log in; no mail is sent."""
    import aiosmtplib

    if not config.smtp_url:
        yield remark("mail", "SMTP_URL is not set", "needed when a workspace sends e-mail without a webhook")
        return
    address = urlsplit(config.smtp_url)
    tls = address.scheme == "smtps"
    port = address.port or (465 if tls else 25)
    client = aiosmtplib.SMTP(
        hostname=address.hostname, port=port, use_tls=tls, timeout=ASK_S_MAX, local_hostname="doctor"
    )
    try:
        async with asyncio.timeout(ASK_S_MAX):
            await client.connect()
            if address.username and (tls or client.get_transport_info("sslcontext")):
                await client.login(unquote(address.username), unquote(address.password or ""))
            await client.noop()
        yield ok("mail", f"{address.hostname}:{port} answers")
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        found = f"{address.hostname}:{port}: {type(error).__name__}"
        yield problem("mail", found, "correct SMTP_URL, or let this machine reach it")
    finally:
        client.close()
    if not config.smtp_from:
        yield remark("mail", "SMTP_FROM is not set", "each workspace must then name channels.email.from")


async def check_slack(config: Config) -> AsyncIterator[Check]:
    if not config.slack_bot_token:
        yield remark("slack", "off: SLACK_BOT_TOKEN is not set", "reviews are then found on the web page only")
        return
    base = (config.slack_api_url or _SLACK_URL).rstrip("/")
    status, body = await _get(f"{base}/auth.test", config.slack_bot_token, "POST")
    if isinstance(status, str):
        yield problem("slack", f"no answer ({status})", "let this machine reach Slack, or correct SLACK_API_URL")
    elif not body.get("ok"):
        yield problem("slack", f"auth.test says {body.get('error', status)}", "correct SLACK_BOT_TOKEN")
    else:
        yield ok("slack", f"signed in as {body.get('user', '?')} of {body.get('team', '?')}")
    if not config.slack_signing_secrets:
        yield problem("slack", "SLACK_SIGNING_SECRET is not set: no click can be trusted", "set it")
    if not config.slack_approvers:
        yield remark("slack", "SLACK_APPROVER_IDS is empty", "then only each workspace's own approvers may approve")
