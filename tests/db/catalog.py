"""What a database consists of, as the catalogs tell it: two databases are equal when these dictionaries are."""

from __future__ import annotations

import asyncpg

KEPT_BY_THE_TOOL = "schema_migration"

_OF_OURS = """
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND c.relname !~ '^schema_migration'
"""

CATALOG = {
    "schemas": "SELECT nspname AS name, '' AS what FROM pg_namespace WHERE nspname !~ '^pg_'",
    "relations": f"""
        SELECT n.nspname || '.' || c.relname AS name,
               concat_ws(' ', c.relkind, c.relpersistence, array_to_string(c.reloptions, ',')) AS what
        FROM pg_class c {_OF_OURS} AND c.relkind IN ('r', 'v', 'm', 'S', 'p')""",
    "columns": f"""
        SELECT n.nspname || '.' || c.relname || '.' || a.attname AS name,
               concat_ws(' | ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                         a.attnum, pg_get_expr(d.adbin, d.adrelid)) AS what
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        {_OF_OURS} AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'v', 'm', 'p')""",
    "constraints": f"""
        SELECT n.nspname || '.' || c.relname || '.' || k.conname AS name, pg_get_constraintdef(k.oid) AS what
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid {_OF_OURS}""",
    "indexes": f"""
        SELECT n.nspname || '.' || i.relname AS name, pg_get_indexdef(x.indexrelid) AS what
        FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid {_OF_OURS}""",
    "triggers": f"""
        SELECT n.nspname || '.' || c.relname || '.' || t.tgname AS name, pg_get_triggerdef(t.oid) AS what
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid {_OF_OURS} AND NOT t.tgisinternal""",
    "functions": """
        SELECT n.nspname || '.' || p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS what
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')""",
    "views": f"""
        SELECT n.nspname || '.' || c.relname AS name, pg_get_viewdef(c.oid) AS what
        FROM pg_class c {_OF_OURS} AND c.relkind IN ('v', 'm')""",
    "comments": """
        SELECT classoid::regclass || ' ' || pg_describe_object(classoid, objoid, objsubid) AS name, description AS what
        FROM pg_description WHERE objoid >= 16384""",
}

# Rows that the migrations themselves write.
SEEDED = {
    "kill_switch": "SELECT name, disabled::text AS what FROM kill_switch",
    "confidence_policy_revision": """
        SELECT revision::text AS name, concat_ws(' ', scope, auto_send_threshold, booking_threshold, rules) AS what
        FROM confidence_policy_revision""",
}


async def describe(connection: asyncpg.Connection) -> dict[str, dict[str, str]]:
    """Everything in the database but its data, and the data that the schema brings along."""
    found: dict[str, dict[str, str]] = {}
    for kind, query in (CATALOG | SEEDED).items():
        rows = await connection.fetch(query)
        found[kind] = {row["name"]: row["what"] for row in rows}
    return found


def differences(first: dict[str, dict[str, str]], second: dict[str, dict[str, str]]) -> list[str]:
    """One line for each thing that only one side has, or that differs."""
    lines = []
    for kind in first:
        for name in sorted(first[kind].keys() | second[kind].keys()):
            one, other = first[kind].get(name), second[kind].get(name)
            if one != other:
                lines.append(f"{kind} {name}: {one!r} != {other!r}")
    return lines
