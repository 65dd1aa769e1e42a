-- name: newest(before_at, before_id, since, limit)
-- Runs older than a place in the list, newest first. Row comparison, so that each page costs as much as the first.
-- `attempt >= 1` names the index.
SELECT id, created_at FROM draft_pipeline_run
WHERE attempt >= 1 AND (created_at, id) < (coalesce($1, 'infinity'::timestamptz), $2::uuid)
      AND created_at >= coalesce($3, '-infinity'::timestamptz)
ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: newest_of_workspace(workspace_id, before_at, before_id, since, limit)
-- The same for one workspace.
SELECT id, created_at FROM draft_pipeline_run
WHERE workspace_id = $1 AND (created_at, id) < (coalesce($2, 'infinity'::timestamptz), $3::uuid)
      AND created_at >= coalesce($4, '-infinity'::timestamptz)
ORDER BY created_at DESC, id DESC LIMIT $5;

-- name: newest_unsettled(workspace_id, before_at, before_id, since, status, limit)
-- Runs that are RUNNING or FAILED: few among many, so they have an index of their own.
SELECT id, created_at FROM draft_pipeline_run
WHERE attempt >= 1 AND status IN ('RUNNING', 'FAILED') AND status = $5 AND ($1::text IS NULL OR workspace_id = $1)
      AND (created_at, id) < (coalesce($2, 'infinity'::timestamptz), $3::uuid)
      AND created_at >= coalesce($4, '-infinity'::timestamptz)
ORDER BY created_at DESC, id DESC LIMIT $6;

-- name: with_id(workspace_id, text, uuid, before_at, before_id, since, limit)
-- Runs that bear an id: their own, their draft's, their trigger message's or their lead's.
SELECT id, created_at FROM (
    SELECT id, created_at, workspace_id FROM draft_pipeline_run WHERE id = $3
    UNION SELECT id, created_at, workspace_id FROM draft_pipeline_run WHERE draft_id = $3
    UNION SELECT r.id, r.created_at, r.workspace_id
    FROM workspace w JOIN draft_pipeline_run r ON r.workspace_id = w.id AND r.trigger_message_id = $2
    UNION SELECT r.id, r.created_at, r.workspace_id
    FROM workspace w JOIN draft_pipeline_run r ON r.workspace_id = w.id AND r.lead_id = $2
) found
WHERE ($1::text IS NULL OR workspace_id = $1)
      AND (created_at, id) < (coalesce($4, 'infinity'::timestamptz), $5::uuid)
      AND created_at >= coalesce($6, '-infinity'::timestamptz)
ORDER BY created_at DESC, id DESC LIMIT $7;

-- name: shown(ids, status, action, outcome, revision, limit)
-- Those of these runs that fit, with what was decided about their drafts and what their calls cost.
SELECT fits.*, calls.* FROM (
    SELECT r.id, r.workspace_id, r.lead_id, r.trigger_message_id, r.channel, r.status, r.phase, r.reason, r.attempt,
           r.draft_id, r.superseded_at IS NOT NULL AS superseded, r.created_at, r.finished_at,
           extract(epoch FROM coalesce(r.finished_at, now()) - r.created_at)::float8 AS took_s,
           d.auto_send_action AS action, d.status AS outcome, d.auto_send_confidence AS confidence,
           d.auto_send_threshold AS threshold, d.revision_outcome AS revision, d.auto_send_revision_iterations AS iterations
    FROM draft_pipeline_run r LEFT JOIN ai_draft d ON d.id = r.draft_id
    WHERE r.id = ANY ($1::uuid[]) AND ($2::text IS NULL OR r.status = $2)
          AND ($3::text IS NULL OR d.auto_send_action = $3) AND ($4::text IS NULL OR d.status = $4)
          AND ($5::text IS NULL OR d.revision_outcome = $5)
    ORDER BY r.created_at DESC, r.id DESC LIMIT $6
) fits CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE c.status <> 'refused') AS calls, sum(c.cost_usd)::float8 AS cost_usd
    FROM model_call c WHERE c.run_id = fits.id
) calls ORDER BY fits.created_at DESC, fits.id DESC;

-- name: counts(since, until, limit)
-- Runs by status, among the newest so many of a time.
SELECT status, count(*) AS runs FROM (
    SELECT status FROM draft_pipeline_run WHERE attempt >= 1 AND created_at >= coalesce($1, '-infinity'::timestamptz)
    AND created_at < coalesce($2, 'infinity'::timestamptz) ORDER BY created_at DESC LIMIT $3) newest
GROUP BY status;

-- name: counts_of_workspace(workspace_id, since, until, limit)
-- The same for one workspace.
SELECT status, count(*) AS runs FROM (
    SELECT status FROM draft_pipeline_run WHERE workspace_id = $1 AND created_at >= coalesce($2, '-infinity'::timestamptz)
    AND created_at < coalesce($3, 'infinity'::timestamptz) ORDER BY created_at DESC LIMIT $4) newest
GROUP BY status;

-- name: messages_with_id(workspace_id, message_id)
-- What became of a message: not every one has a run.
SELECT m.workspace_id, m.message_id, m.lead_id, m.direction, m.disposition, m.ingested_at
FROM workspace w JOIN message m ON m.workspace_id = w.id AND m.message_id = $2
WHERE $1::text IS NULL OR w.id = $1 ORDER BY m.ingested_at DESC LIMIT 5;

-- name: attempts_of_draft(draft_id)
-- Every run for a draft, the newest first.
SELECT id, workspace_id, attempt, status, reason, created_at FROM draft_pipeline_run WHERE draft_id = $1
ORDER BY attempt DESC, created_at DESC;

-- name: workspace_of_draft(draft_id)
-- Whose draft it is.
SELECT workspace_id FROM ai_draft WHERE id = $1;

-- name: trigger_text(workspace_id, message_id)
-- What the lead wrote; for those who may read it.
SELECT subject, body FROM message WHERE workspace_id = $1 AND message_id = $2;

-- name: waiting_by_workspace(workspace_id)
-- Draft requests that wait in the outbox, not on Kafka: for their quiet window, or until their workspace has room.
SELECT o.workspace_id, count(*) AS waiting, count(*) FILTER (WHERE o.not_before <= now()) AS due,
       extract(epoch FROM now() - min(o.not_before) FILTER (WHERE o.not_before <= now()))::float8 AS oldest_due_s,
       s.running_runs_max, (SELECT count(*) FROM draft_pipeline_run r
                            WHERE r.workspace_id = o.workspace_id AND r.finished_at IS NULL) AS running
FROM outbox o JOIN workspace_settings s USING (workspace_id)
WHERE o.conversation IS NOT NULL AND o.published_at IS NULL AND ($1::text IS NULL OR o.workspace_id = $1)
GROUP BY o.workspace_id, s.running_runs_max ORDER BY count(*) FILTER (WHERE o.not_before <= now()) DESC, count(*) DESC
LIMIT 100;

-- name: events_waiting()
-- Events that are written and that the broker has not got, by topic.
SELECT topic, count(*) AS events, extract(epoch FROM now() - min(created_at))::float8 AS oldest_s FROM outbox
WHERE published_at IS NULL AND conversation IS NULL GROUP BY topic ORDER BY count(*) DESC;
