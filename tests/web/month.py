"""A month of drafts behind a demo, so that the pictures of the quality page show what it is for; written by SQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from db.pool import Connection
from tests.db.past import past_runs

DAYS = 29
# Chance that is the same each time: a number of 0..1 from an id and a word.
_CHANCE = "(('x' || substr(md5({0} || '{1}'), 1, 6))::bit(24)::int / 16777216.0)"

_JUDGED = f"""
UPDATE ai_draft SET auto_send_original_confidence = c, auto_send_confidence = c, evaluation_latency_ms = 1400 + 2600 * slow ^ 3
FROM (SELECT id AS draft, least(0.5 + 0.5 * {_CHANCE.format("id", "judge")} ^ 0.3, 0.99)::float8 AS c,
             {_CHANCE.format("id", "slow")} AS slow FROM ai_draft) drawn
WHERE id = draft AND workspace_id = $1 AND lead_id LIKE 'past-%'
"""
_REVISED = f"""
UPDATE ai_draft SET auto_send_revision_attempted_at = created_at, auto_send_revision_iterations = 1 + (c < 0.75)::int,
       auto_send_revision_confidence = c, auto_send_revision_applied = better, revision_latency_ms = 2600 + 5200 * chance,
       auto_send_confidence = CASE WHEN better THEN c ELSE auto_send_confidence END,
       revision_outcome = CASE WHEN better THEN 'applied' ELSE 'not_improved' END
FROM (SELECT id AS draft, chance, revised AS c, revised > before AS better
      FROM (SELECT id, {_CHANCE.format("id", "revise")} AS chance, auto_send_original_confidence AS before,
                   least(auto_send_original_confidence + 0.3 * {_CHANCE.format("id", "gain")} - 0.05, 0.98) AS revised
            FROM ai_draft) one) drawn
WHERE id = draft AND workspace_id = $1 AND lead_id LIKE 'past-%' AND auto_send_original_confidence < 0.9
"""
_ASKED = """
UPDATE ai_draft SET auto_send_action = 'needs_review', auto_send_reason = 'below_threshold'
WHERE workspace_id = $1 AND lead_id LIKE 'past-%' AND auto_send_confidence < 0.9
"""
_QUESTIONS = """
INSERT INTO review_request (id, draft_id, workspace_id, reason, status, created_at, expires_at, closed_at)
SELECT md5('review ' || id)::uuid, id, workspace_id, 'below_threshold', 'decided', created_at, created_at + interval '7 days',
       created_at FROM ai_draft
WHERE workspace_id = $1 AND lead_id LIKE 'past-%' AND auto_send_action = 'needs_review'
"""
_DECISIONS = f"""
INSERT INTO review_action (id, draft_id, workspace_id, actor, via, action, result, created_at, done_at)
SELECT md5('action ' || id)::uuid, id, workspace_id, 'a reviewer', 'web', 'approve',
       CASE WHEN chance < auto_send_confidence ^ 2 THEN 'approved' WHEN chance < 0.9 THEN 'edited' ELSE 'rejected' END, at, at
FROM (SELECT *, {_CHANCE.format("id", "person")} AS chance, created_at + interval '1 hour' * {_CHANCE.format("id", "when")} AS at
      FROM ai_draft WHERE workspace_id = $1 AND lead_id LIKE 'past-%' AND auto_send_action = 'needs_review') asked
"""
_SENT = """
INSERT INTO delivery (id, draft_id, workspace_id, lead_id, trigger_message_id, channel, thread_id, automatic, recipient,
                      content, content_sha256, status, attempts, approved_by, edited, claimed_at, finished_at, created_at)
SELECT md5('delivery ' || d.id)::uuid, d.id, d.workspace_id, d.lead_id, d.trigger_message_id, d.channel, d.thread_id,
       a.id IS NULL, 'a lead', 'an answer', repeat('0', 64), 'sent', 1, a.actor, a.result IS NOT DISTINCT FROM 'edited',
       d.created_at, d.created_at, d.created_at
FROM ai_draft d LEFT JOIN review_action a ON a.draft_id = d.id
WHERE d.workspace_id = $1 AND d.lead_id LIKE 'past-%' AND a.result IS DISTINCT FROM 'rejected'
"""
_CALLS = """
INSERT INTO model_call (id, run_id, draft_id, workspace_id, stage, iteration, attempt, model, effort, input_sha256, status,
                        cost_usd, input_tokens, output_tokens, started_at, finished_at)
SELECT gen_random_uuid(), run_id, id, workspace_id, 'auto_send_evaluation', iteration, 1, 'gpt-5.2', 'low', '', 'answered',
       0.009 + 0.011 * iteration, 3800 + 2200 * iteration, 160 + 120 * iteration, created_at, created_at
FROM ai_draft, generate_series(0, auto_send_revision_iterations) iteration
WHERE workspace_id = $1 AND lead_id LIKE 'past-%'
"""


async def add_month(connection: Connection, workspace: str) -> None:
    """Drafts of the working days of DAYS days and of the last hours: judged, revised, decided on, paid for."""
    first = 1
    for days in range(DAYS):
        weekday = (datetime.now(UTC) - timedelta(days=days)).weekday()
        count = 40 if not days else (0 if weekday > 4 else 14 + 7 * days % 11)
        await past_runs(connection, first, first + count - 1, f"{days} days 1 hour", workspace)
        first += count
    async with connection.transaction():
        await connection.execute("ALTER TABLE ai_draft DISABLE TRIGGER USER")  # what was sent is never decided again
        for statement in (_JUDGED, _REVISED, _ASKED, _QUESTIONS, _DECISIONS, _SENT, _CALLS):
            await connection.execute(statement, workspace)
        await connection.execute("ALTER TABLE ai_draft ENABLE TRIGGER USER")
