-- name: drafts_waiting(workspace_id)
-- Drafts that are not settled, by what they wait for: how many, and since when the oldest. Those that the legacy system
-- decides about are not ours to settle.
SELECT state, count(*) AS drafts, min(since) AS oldest FROM (
    SELECT CASE WHEN d.status = 'unknown' THEN 'unknown' WHEN d.status = 'scheduled' THEN 'scheduled'
                WHEN q.draft_id IS NOT NULL THEN 'awaiting_review' ELSE 'pending' END AS state,
           CASE WHEN q.draft_id IS NOT NULL AND d.status = 'pending' THEN q.created_at ELSE d.created_at END AS since
    FROM ai_draft d LEFT JOIN review_request q ON q.draft_id = d.id AND q.status = 'open'
    WHERE d.status IN ('pending', 'scheduled', 'unknown') AND ($1::text IS NULL OR d.workspace_id = $1)
      AND d.auto_send_action IS DISTINCT FROM 'none'
) open GROUP BY state;

-- name: decided_since(workspace_id, hours)
-- What was decided about the drafts of the last hours, imported ones apart. A draft's action says who decided last: that
-- a person was asked, and who sent it, is told by the question and by the delivery, as in `analytics.drafts`.
-- Each workspace by itself, so that an index finds its newest.
SELECT coalesce(sum(drafts), 0)::bigint AS drafts, coalesce(sum(sent), 0)::bigint AS sent,
       coalesce(sum(sent_by_itself), 0)::bigint AS sent_by_itself,
       coalesce(sum(asked), 0)::bigint AS asked, coalesce(sum(attempted), 0)::bigint AS attempted,
       coalesce(sum(applied), 0)::bigint AS applied, coalesce(sum(reached), 0)::bigint AS reached, max(sent_at) AS sent_at
FROM workspace w CROSS JOIN LATERAL (
    SELECT count(*) AS drafts, count(*) FILTER (WHERE d.status = 'sent') AS sent, count(x.id) AS sent_by_itself,
           count(q.id) AS asked, count(*) FILTER (WHERE auto_send_revision_attempted_at IS NOT NULL) AS attempted,
           count(*) FILTER (WHERE auto_send_revision_applied) AS applied,
           count(*) FILTER (WHERE auto_send_revision_applied AND auto_send_revision_confidence >= auto_send_threshold)
               AS reached,
           max(d.updated_at) FILTER (WHERE d.status = 'sent') AS sent_at
    FROM ai_draft d LEFT JOIN review_request q ON q.draft_id = d.id
    LEFT JOIN delivery x ON x.draft_id = d.id AND x.status = 'sent' AND x.automatic AND x.confirmed_by IS NULL
    WHERE d.workspace_id = w.id AND d.created_at > now() - make_interval(hours => $2) AND NOT d.backfilled) each
WHERE $1::text IS NULL OR w.id = $1;

-- name: runs_since(workspace_id, hours)
-- Runs of the last hours by status.
SELECT coalesce(sum(runs), 0)::bigint AS runs, coalesce(sum(running), 0)::bigint AS running,
       coalesce(sum(completed), 0)::bigint AS completed, coalesce(sum(failed), 0)::bigint AS failed,
       coalesce(sum(aborted), 0)::bigint AS aborted
FROM workspace w CROSS JOIN LATERAL (
    SELECT count(*) AS runs, count(*) FILTER (WHERE status = 'RUNNING') AS running,
           count(*) FILTER (WHERE status = 'COMPLETED') AS completed, count(*) FILTER (WHERE status = 'FAILED') AS failed,
           count(*) FILTER (WHERE status = 'ABORTED') AS aborted
    FROM draft_pipeline_run r WHERE r.workspace_id = w.id AND r.created_at > now() - make_interval(hours => $2)) each
WHERE $1::text IS NULL OR w.id = $1;

-- name: stages_since(workspace_id, hours)
-- Model calls of the last hours by stage: how many, how many gave nothing usable, how long they took, what they cost.
-- `refused` ones did no work and are no error of the call.
SELECT c.stage, count(*) FILTER (WHERE c.status <> 'refused') AS calls,
       count(*) FILTER (WHERE c.status IN ('failed', 'unusable')) AS errors,
       count(*) FILTER (WHERE c.status = 'refused' AND c.failure IS DISTINCT FROM 'not_made') AS refused,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY c.latency_ms) FILTER (WHERE c.status = 'answered') AS p50_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY c.latency_ms) FILTER (WHERE c.status = 'answered') AS p95_ms,
       sum(c.cost_usd)::float8 AS cost_usd
FROM workspace w CROSS JOIN LATERAL (
    SELECT stage, status, failure, latency_ms, cost_usd FROM model_call m
    WHERE m.workspace_id = w.id AND m.started_at > now() - make_interval(hours => $2)) c
WHERE $1::text IS NULL OR w.id = $1 GROUP BY c.stage;

-- name: cost_today(workspace_id)
-- What the model calls of this day (UTC) cost, by model; `unpriced` calls have no known price and are not in it.
SELECT c.model, count(*) AS calls, sum(c.cost_usd)::float8 AS cost_usd,
       count(*) FILTER (WHERE c.cost_usd IS NULL AND c.status = 'answered') AS unpriced,
       coalesce(sum(c.input_tokens), 0)::bigint AS input_tokens, coalesce(sum(c.output_tokens), 0)::bigint AS output_tokens
FROM workspace w CROSS JOIN LATERAL (
    SELECT model, status, cost_usd, input_tokens, output_tokens FROM model_call m
    WHERE m.workspace_id = w.id AND m.started_at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') c
WHERE $1::text IS NULL OR w.id = $1 GROUP BY c.model ORDER BY sum(c.cost_usd) DESC NULLS LAST;

-- name: outbox_standing()
-- What waits in the outbox: requests in their quiet window or for admission, and events that the broker has not got.
SELECT count(*) FILTER (WHERE conversation IS NOT NULL AND not_before > now()) AS quiet,
       count(*) FILTER (WHERE conversation IS NOT NULL AND not_before <= now()) AS due,
       extract(epoch FROM now() - min(not_before) FILTER (WHERE conversation IS NOT NULL AND not_before <= now()))::float8
           AS due_s,
       count(*) FILTER (WHERE conversation IS NULL) AS events,
       extract(epoch FROM now() - min(created_at) FILTER (WHERE conversation IS NULL))::float8 AS events_s
FROM outbox WHERE published_at IS NULL;

-- name: dead_letters_since(hours)
-- Dead letters of the last hours by reason.
SELECT headers ->> 'dlq_reason' AS reason, count(*) AS letters, max(created_at) AS newest FROM outbox
WHERE topic = 'dead-letter' AND created_at > now() - make_interval(hours => $1) GROUP BY 1 ORDER BY 2 DESC, 1;

-- name: left_behind(past_lease_s)
-- What nobody owns although somebody should: claims, sends and runs past their lease.
SELECT (SELECT count(*) FROM draft_claim WHERE outcome IS NULL AND lease_until < now() - make_interval(secs => $1))
           AS claims,
       (SELECT count(*) FROM delivery WHERE status = 'claimed' AND lease_until < now() - make_interval(secs => $1))
           AS sends,
       (SELECT count(*) FROM draft_pipeline_run WHERE finished_at IS NULL
        AND lease_until < now() - make_interval(secs => $1)) AS runs;

-- name: processes()
-- Processes that beat within a day, with what they say of themselves.
SELECT process_id, role, version, started_at, beat_at, extract(epoch FROM now() - beat_at)::float8 AS silent_s, switches,
       figures
FROM process_heartbeat WHERE beat_at > now() - interval '1 day' ORDER BY role DESC, started_at;

-- name: versions_since(since)
-- Versions whose first process, of those that are known, started since then.
SELECT version, min(started_at) AS at FROM process_heartbeat GROUP BY version HAVING min(started_at) > $1;
