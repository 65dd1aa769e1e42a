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

-- name: month_spent_usd(workspace_id)
-- What a workspace has spent and reserved this month.
SELECT coalesce(sum(coalesce(cost_usd, reserved_usd)), 0)::float8 FROM model_call
WHERE workspace_id = $1 AND started_at >= date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
