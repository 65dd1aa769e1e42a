-- name: record_call_if_leased(run_id, epoch, call_id, stage, iteration, attempt, model, effort, input_sha256, reserved_usd)
-- Written before the request is made. No row back: the lease is lost, the run is superseded, or the call was made before.
INSERT INTO model_call (id, run_id, draft_id, workspace_id, stage, iteration, attempt, model, effort, input_sha256,
                        reserved_usd)
SELECT $3, r.id, r.draft_id, r.workspace_id, $4, $5, $6, $7, $8, $9, $10
FROM draft_pipeline_run r
WHERE r.id = $1 AND r.lease_epoch = $2 AND r.status = 'RUNNING' AND r.superseded_at IS NULL
ON CONFLICT DO NOTHING
RETURNING id;

-- name: record_revision_call_if_allowed(run_id, epoch, call_id, stage, iteration, attempt, model, effort, input_sha256, reserved_usd)
-- The same for a call of the revision: also only while nobody has switched revision off.
INSERT INTO model_call (id, run_id, draft_id, workspace_id, stage, iteration, attempt, model, effort, input_sha256,
                        reserved_usd)
SELECT $3, r.id, r.draft_id, r.workspace_id, $4, $5, $6, $7, $8, $9, $10
FROM draft_pipeline_run r JOIN workspace_settings s ON s.workspace_id = r.workspace_id
WHERE r.id = $1 AND r.lease_epoch = $2 AND r.status = 'RUNNING' AND r.superseded_at IS NULL
  AND s.auto_send_revision_enabled
  AND NOT EXISTS (SELECT 1 FROM kill_switch k WHERE k.disabled
                  AND k.name IN ('AUTO_SEND_DISABLED', 'AUTO_SEND_REVISION_DISABLED'))
ON CONFLICT DO NOTHING
RETURNING id;

-- name: settle_call(call_id, status, failure, during_outage, cost_usd, input_tokens, output_tokens, latency_ms, feature_id, source, metadata)
-- What came of a call. The call's own row, so no lease is needed: it was made, whoever owns the run now.
WITH settled AS (
    UPDATE model_call SET status = $2, failure = $3, during_outage = $4, cost_usd = $5, input_tokens = $6,
           output_tokens = $7, latency_ms = $8, finished_at = now()
    WHERE id = $1 AND status = 'started' RETURNING id, run_id, workspace_id, model
)
INSERT INTO ai_interaction (id, workspace_id, run_id, feature_id, source, model, status, input_tokens, output_tokens,
                            latency_ms, cost_usd, metadata)
SELECT id, workspace_id, run_id, $9, $10, model, $2, coalesce($6, 0), coalesce($7, 0), coalesce($8, 0), $5, $11
FROM settled ON CONFLICT DO NOTHING;

-- name: settle_call_with_artifact_if_leased(run_id, epoch, call_id, cost_usd, input_tokens, output_tokens, latency_ms, feature_id, source, metadata, artifact_id, stage, iteration, prompt_key, input_sha256, model, payload, text, next_id, next_stage, next_model, next_effort, next_input_sha256)
-- Answer, artifact, telemetry and the next call's record in one statement. Artifact and next call only while the
-- lease is ours; `next_id` null records no next call.
WITH leased AS (
    SELECT id, draft_id, workspace_id, superseded_at FROM draft_pipeline_run
    WHERE id = $1 AND lease_epoch = $2 AND status = 'RUNNING'
), settled AS (
    UPDATE model_call SET status = 'answered', cost_usd = $4, input_tokens = $5, output_tokens = $6, latency_ms = $7,
           finished_at = now()
    WHERE id = $3 AND status = 'started' RETURNING id, run_id, workspace_id, model
), telemetry AS (
    INSERT INTO ai_interaction (id, workspace_id, run_id, feature_id, source, model, status, input_tokens,
                                output_tokens, latency_ms, cost_usd, metadata)
    SELECT id, workspace_id, run_id, $8, $9, model, 'answered', $5, $6, $7, $4, $10 FROM settled
    ON CONFLICT DO NOTHING
), next_call AS (
    INSERT INTO model_call (id, run_id, draft_id, workspace_id, stage, iteration, attempt, model, effort, input_sha256)
    SELECT $19, leased.id, leased.draft_id, leased.workspace_id, $20, 0, 1, $21, $22, $23
    FROM leased WHERE $19::uuid IS NOT NULL AND leased.superseded_at IS NULL
    ON CONFLICT DO NOTHING RETURNING id
), artifact AS (
    INSERT INTO draft_pipeline_artifact (id, run_id, stage, iteration, prompt_key, input_sha256, model, payload, text,
                                         input_tokens, output_tokens, latency_ms)
    SELECT $11, leased.id, $12, $13, $14, $15, $16, $17, $18, $5, $6, $7 FROM leased
    ON CONFLICT (run_id, stage, iteration) DO NOTHING RETURNING id
)
SELECT (SELECT id FROM artifact) AS artifact_id, (SELECT id FROM next_call) AS next_id;

-- name: calls_of_run(run_id)
-- Every call of a run, in order.
SELECT id, stage, iteration, attempt, status, failure, during_outage, model, effort, input_tokens, output_tokens,
       latency_ms, cost_usd, started_at, finished_at
FROM model_call WHERE run_id = $1 ORDER BY started_at, attempt;

-- name: revision_calls_of_draft(draft_id)
-- The calls that belong to a draft's one revision, over all its runs.
SELECT id, run_id, stage, iteration, attempt, status, failure FROM model_call
WHERE draft_id = $1 AND (stage IN ('auto_send_revision_selector', 'auto_send_revision_reviser')
                         OR (stage = 'auto_send_evaluation' AND iteration > 0))
ORDER BY started_at;

-- name: record_call_within_budget(run_id, epoch, call_id, stage, iteration, attempt, model, effort, input_sha256, worst_usd, revision)
-- The same where the workspace has a monthly limit: the worst case is reserved in the statement that records the call,
-- under the lock of the month's one row. Earlier attempts of the same call share what they still hold. The month's
-- first call counts what was spent before there was a row. No row back: not allowed, as above; `id` null: over budget.
-- A call that was made before raises, so that nothing stays reserved for it.
WITH call AS (
    SELECT r.id AS run_id, r.draft_id, r.workspace_id, s.monthly_budget_usd AS limit_usd, m.month,
           greatest($10::numeric - coalesce((
               SELECT sum(c.held_usd) FROM model_call c WHERE c.run_id = r.id AND c.stage = $4 AND c.iteration = $5
               AND c.started_at >= m.month::timestamp AT TIME ZONE 'UTC'), 0), 0) AS usd
    FROM draft_pipeline_run r JOIN workspace_settings s ON s.workspace_id = r.workspace_id
    CROSS JOIN (SELECT date_trunc('month', now() AT TIME ZONE 'UTC')::date AS month) m
    WHERE r.id = $1 AND r.lease_epoch = $2 AND r.status = 'RUNNING' AND r.superseded_at IS NULL
      AND (NOT $11::boolean OR (s.auto_send_revision_enabled AND NOT EXISTS (
           SELECT 1 FROM kill_switch k WHERE k.disabled
           AND k.name IN ('AUTO_SEND_DISABLED', 'AUTO_SEND_REVISION_DISABLED'))))
), reserved AS (
    INSERT INTO workspace_budget AS b (workspace_id, month, spent_usd, reserved_usd)
    SELECT call.workspace_id, call.month, before.spent_usd, before.held_usd + call.usd
    FROM call CROSS JOIN LATERAL (
        SELECT coalesce(sum(c.cost_usd) FILTER (WHERE c.held_usd IS NULL), 0) AS spent_usd,
               coalesce(sum(c.held_usd), 0) AS held_usd
        FROM model_call c
        WHERE c.workspace_id = call.workspace_id AND c.started_at >= call.month::timestamp AT TIME ZONE 'UTC'
          AND NOT EXISTS (SELECT 1 FROM workspace_budget e WHERE e.workspace_id = call.workspace_id
                          AND e.month = call.month)) before
    WHERE call.usd = 0 OR call.limit_usd IS NULL OR before.spent_usd + before.held_usd + call.usd <= call.limit_usd
    ON CONFLICT (workspace_id, month) DO UPDATE SET reserved_usd = b.reserved_usd + (SELECT usd FROM call)
    WHERE (SELECT call.usd = 0 OR call.limit_usd IS NULL OR b.spent_usd + b.reserved_usd + call.usd <= call.limit_usd
           FROM call)
    RETURNING b.month
), recorded AS (
    INSERT INTO model_call (id, run_id, draft_id, workspace_id, stage, iteration, attempt, model, effort, input_sha256,
                            reserved_usd, held_usd)
    SELECT $3, call.run_id, call.draft_id, call.workspace_id, $4, $5, $6, $7, $8, $9, $10, call.usd
    FROM call WHERE EXISTS (SELECT 1 FROM reserved)
    RETURNING id
)
SELECT (SELECT id FROM recorded) AS id FROM call;

-- name: settle_reservations(run_id, stage, iteration)
-- What calls of a run hold becomes what they cost; `stage` null: all of them. An answer settles all attempts of its
-- stage with the costs that are known. Without one, work that may have been done (a time-out, a cut, a worker that
-- died) counts with all that was held, a definite refusal with nothing.
WITH held AS (
    SELECT c.id, c.workspace_id, date_trunc('month', c.started_at AT TIME ZONE 'UTC')::date AS month, c.stage,
           c.iteration, c.status, c.failure, c.held_usd, c.cost_usd
    FROM model_call c
    WHERE c.run_id = $1 AND c.held_usd IS NOT NULL AND ($2::text IS NULL OR (c.stage = $2 AND c.iteration = $3))
    FOR UPDATE
), freed AS (
    UPDATE model_call c SET held_usd = NULL FROM held WHERE c.id = held.id
), settled AS (
    SELECT workspace_id, month, sum(held_usd) AS held_usd, coalesce(sum(cost_usd), 0) AS known_usd,
           bool_or(status = 'answered' AND cost_usd IS NOT NULL) AS answered,
           bool_or(status IN ('answered', 'started') OR (status = 'failed' AND failure !~ '^http_4')) AS maybe_done
    FROM held GROUP BY workspace_id, month, stage, iteration
), totals AS (
    SELECT workspace_id, month, sum(held_usd) AS held_usd,
           sum(CASE WHEN maybe_done AND NOT answered THEN greatest(held_usd, known_usd) ELSE known_usd END) AS usd
    FROM settled GROUP BY workspace_id, month
)
UPDATE workspace_budget b
SET spent_usd = b.spent_usd + t.usd, reserved_usd = greatest(b.reserved_usd - t.held_usd, 0)
FROM totals t WHERE b.workspace_id = t.workspace_id AND b.month = t.month;

-- name: runs_with_stale_reservations(limit)
-- Runs that ended, or are gone, while calls of theirs still hold money.
SELECT DISTINCT c.run_id FROM model_call c
WHERE c.held_usd IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM draft_pipeline_run r WHERE r.id = c.run_id AND r.status = 'RUNNING') LIMIT $1;

-- name: budget_standing(workspace_id)
-- A workspace's limit, and what of it is spent and reserved this month (UTC); nulls where no limit is kept.
SELECT s.monthly_budget_usd::float8 AS limit_usd, b.spent_usd::float8 AS spent_usd, b.reserved_usd::float8 AS reserved_usd
FROM workspace_settings s LEFT JOIN workspace_budget b ON b.workspace_id = s.workspace_id
     AND b.month = date_trunc('month', now() AT TIME ZONE 'UTC')::date
WHERE s.workspace_id = $1;

-- name: count_superseded(call_id, tokens_saved, tokens_thrown_away)
-- What a newer message saved and cost, on the last call of the run that it ended.
UPDATE ai_interaction SET metadata = metadata || jsonb_build_object('tokens_saved', $2::integer, 'tokens_thrown_away',
                                                                    $3::integer)
WHERE id = $1;
