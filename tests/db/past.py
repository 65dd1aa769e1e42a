"""Finished runs as the pipeline leaves them, as many and as old as a test wants; written by SQL, not by workers."""

from __future__ import annotations

from db.pool import Executor

WORKSPACE = "ws-past"
ARTIFACTS = 8

_TENANT = """
INSERT INTO workspace (id, default_mode) VALUES ($1, 'AI_AUTO_SEND') ON CONFLICT DO NOTHING
"""
_SETTINGS = "INSERT INTO workspace_settings (workspace_id) VALUES ($1) ON CONFLICT DO NOTHING"
_LEADS = """
INSERT INTO lead (workspace_id, lead_id) SELECT $1, 'past-' || n FROM generate_series($2::int, $3::int) n
"""
_MESSAGES = """
INSERT INTO message (id, workspace_id, lead_id, channel, thread_id, message_id, direction, mode, body, disposition,
                     received_at, ingested_at)
SELECT gen_random_uuid(), $1, 'past-' || n, 'chat', 't', 'past-' || n, 'inbound', 'AI_AUTO_SEND', 'a question', 'run',
       now() - $4::interval, now() - $4::interval
FROM generate_series($2::int, $3::int) n
"""
_RUNS = """
INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, thread_id, status,
                                phase, reason, policy_revision, lease_owner, lease_until, created_at, updated_at,
                                finished_at)
SELECT md5('run ' || $1 || n)::uuid, $1, 'past-' || n, 'past-' || n, md5('draft ' || $1 || n)::uuid, 'chat', 't',
       'COMPLETED', 'done', 'confident', 1, 'w', at, at, at, at
FROM generate_series($2::int, $3::int) n, LATERAL (SELECT now() - $4::interval - n * interval '1 ms' AS at) moment
"""
_CONTEXTS = """
INSERT INTO draft_run_context (run_id, snapshot, context_pack)
SELECT md5('run ' || $1 || n)::uuid, jsonb_build_object('conversation', repeat('a turn of the conversation ', 40)), '{}'
FROM generate_series($2::int, $3::int) n
"""
_ARTIFACTS = """
INSERT INTO draft_pipeline_artifact (id, run_id, stage, iteration, prompt_key, input_sha256, model, payload, text,
                                     created_at)
SELECT gen_random_uuid(), md5('run ' || $1 || n)::uuid, 'stage_' || stage, 0, 'key', repeat('0', 64), 'gpt-5.2',
       jsonb_build_object('text', repeat('what the model answered ', 10)), repeat('what the model wrote ', 10),
       now() - $4::interval
FROM generate_series($2::int, $3::int) n, generate_series(1, 8) stage
"""
_DRAFTS = """
INSERT INTO ai_draft (id, run_id, workspace_id, lead_id, trigger_message_id, trigger_ingest_seq, thread_id, mode,
                      channel, content, original_content, status, policy_revision, auto_send_evaluated_at,
                      auto_send_confidence, auto_send_original_confidence, auto_send_threshold, auto_send_action,
                      auto_send_reason, revision_outcome, evaluation_latency_ms, created_at)
SELECT md5('draft ' || $1 || n)::uuid, md5('run ' || $1 || n)::uuid, $1, 'past-' || n, 'past-' || n, n, 't',
       'AI_AUTO_SEND', 'chat', 'an answer', 'an answer', 'sent', 1, now() - $4::interval, 0.95, 0.95, 0.9,
       'send_immediate', 'confident', 'not_needed', 900 + n % 100, now() - $4::interval
FROM generate_series($2::int, $3::int) n
"""


async def past_runs(connection: Executor, first: int, last: int, age: str, workspace: str = WORKSPACE) -> None:
    """Runs number `first` to `last` that ended `age` (a Postgres interval) ago, ARTIFACTS artifacts each, all sent."""
    await connection.execute(_TENANT, workspace)
    await connection.execute(_SETTINGS, workspace)
    await connection.execute(_LEADS, workspace, first, last)
    for statement in (_MESSAGES, _RUNS, _ARTIFACTS, _DRAFTS):
        await connection.execute(statement.replace("$4", f"'{age}'"), workspace, first, last)
    await connection.execute(_CONTEXTS, workspace, first, last)
