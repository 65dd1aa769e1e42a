-- name: record_evaluation_if_leased(run_id, epoch, content, content_sha256, language, hard_blocks, confidence, reason, event_id, key, value, headers, taken_s)
-- The judged draft, its event and the hand-over to revise, in one statement. The epoch moves too: a renewal under way
-- must not extend a lease that was given back. Where a person has settled the draft meanwhile, nothing is written.
WITH mine AS MATERIALIZED (
    SELECT id, draft_id FROM draft_pipeline_run
    WHERE id = $1 AND lease_epoch = $2 AND status = 'RUNNING' AND phase = 'draft' FOR UPDATE
), pending AS MATERIALIZED (
    SELECT mine.id FROM mine JOIN ai_draft d ON d.id = mine.draft_id WHERE d.status = 'pending' FOR UPDATE OF d
), run AS (
    UPDATE draft_pipeline_run r SET phase = 'revise', lease_owner = NULL, lease_until = now(),
           lease_epoch = r.lease_epoch + 1, updated_at = now()
    FROM pending WHERE r.id = pending.id RETURNING r.id, r.draft_id, r.workspace_id
), draft AS (
    UPDATE ai_draft d SET content = $3, original_content = $3, content_sha256 = $4, language = $5, hard_blocks = $6,
           auto_send_evaluated_at = now(), auto_send_confidence = $7, auto_send_original_confidence = $7,
           auto_send_reason = $8, evaluation_latency_ms = (convert_from($11, 'UTF8')::jsonb ->> 'latency_ms')::integer,
           updated_at = now()
    FROM run WHERE d.id = run.draft_id
)
INSERT INTO outbox (event_id, topic, key, value, headers, workspace_id, taken_until)
SELECT $9, 'draft-evaluated', $10, $11, $12, run.workspace_id, now() + make_interval(secs => $13) FROM run
ON CONFLICT (topic, event_id) DO NOTHING RETURNING id;

-- name: draft_by_id(draft_id)
-- A draft with what its later steps need: settings, switches and standing in force now.
SELECT d.*, r.status AS run_status, r.phase, r.superseded_at IS NOT NULL AS superseded, r.traceparent,
       s.auto_send_revision_enabled,
       EXISTS (SELECT 1 FROM kill_switch k WHERE k.disabled AND k.name = 'AUTO_SEND_DISABLED') AS send_off,
       EXISTS (SELECT 1 FROM kill_switch k WHERE k.disabled AND k.name = 'AUTO_SEND_REVISION_DISABLED') AS revision_off
FROM ai_draft d JOIN workspace_settings s ON s.workspace_id = d.workspace_id
LEFT JOIN draft_pipeline_run r ON r.id = d.run_id
WHERE d.id = $1;

-- name: claim_revision_if_allowed(draft_id, epoch, token, owner)
-- The one right to revise a draft. The gates are part of the statement. A claim whose holder died is taken over: it ends
-- with the run's lease.
WITH allowed AS (
    SELECT d.id, r.lease_until FROM ai_draft d
    JOIN draft_pipeline_run r ON r.id = d.run_id
    JOIN workspace_settings s ON s.workspace_id = d.workspace_id
    WHERE d.id = $1 AND r.lease_epoch = $2 AND r.status = 'RUNNING' AND r.superseded_at IS NULL
      AND d.mode = 'AI_AUTO_SEND' AND s.auto_send_revision_enabled
      AND NOT EXISTS (SELECT 1 FROM kill_switch k WHERE k.disabled
                      AND k.name IN ('AUTO_SEND_DISABLED', 'AUTO_SEND_REVISION_DISABLED'))
), claim AS (
    INSERT INTO draft_claim AS c (draft_id, purpose, token, claimed_by, lease_until)
    SELECT id, 'revision', $3, $4, lease_until FROM allowed
    ON CONFLICT (draft_id, purpose) DO UPDATE
    SET token = excluded.token, claimed_by = excluded.claimed_by, lease_until = excluded.lease_until
    WHERE c.settled_at IS NULL AND c.lease_until < now()
    RETURNING draft_id, claimed_at
)
UPDATE ai_draft d
SET auto_send_revision_attempted_at = coalesce(d.auto_send_revision_attempted_at, claim.claimed_at), updated_at = now()
FROM claim WHERE d.id = claim.draft_id
RETURNING extract(epoch FROM now() - claim.claimed_at)::float8 AS age_s;

-- name: claim_revision_within_budget(draft_id, epoch, token, owner, worst_usd)
-- The same where a monthly limit holds: one iteration's worst case must fit. A takeover's calls look for themselves.
-- A statement of its own, so that a workspace without a limit does not depend on the budget's table.
WITH allowed AS (
    SELECT d.id, r.lease_until FROM ai_draft d
    JOIN draft_pipeline_run r ON r.id = d.run_id
    JOIN workspace_settings s ON s.workspace_id = d.workspace_id
    WHERE d.id = $1 AND r.lease_epoch = $2 AND r.status = 'RUNNING' AND r.superseded_at IS NULL
      AND d.mode = 'AI_AUTO_SEND' AND s.auto_send_revision_enabled
      AND NOT EXISTS (SELECT 1 FROM kill_switch k WHERE k.disabled
                      AND k.name IN ('AUTO_SEND_DISABLED', 'AUTO_SEND_REVISION_DISABLED'))
      AND (s.monthly_budget_usd IS NULL OR d.auto_send_revision_attempted_at IS NOT NULL
           OR $5::numeric <= s.monthly_budget_usd - coalesce((
              SELECT b.spent_usd + b.reserved_usd FROM workspace_budget b WHERE b.workspace_id = d.workspace_id
              AND b.month = date_trunc('month', now() AT TIME ZONE 'UTC')::date), 0))
), claim AS (
    INSERT INTO draft_claim AS c (draft_id, purpose, token, claimed_by, lease_until)
    SELECT id, 'revision', $3, $4, lease_until FROM allowed
    ON CONFLICT (draft_id, purpose) DO UPDATE
    SET token = excluded.token, claimed_by = excluded.claimed_by, lease_until = excluded.lease_until
    WHERE c.settled_at IS NULL AND c.lease_until < now()
    RETURNING draft_id, claimed_at
)
UPDATE ai_draft d
SET auto_send_revision_attempted_at = coalesce(d.auto_send_revision_attempted_at, claim.claimed_at), updated_at = now()
FROM claim WHERE d.id = claim.draft_id
RETURNING extract(epoch FROM now() - claim.claimed_at)::float8 AS age_s;

-- name: claim_standing(draft_id, purpose)
-- Who holds a claim, and for how long still.
SELECT token, claimed_by, settled_at IS NOT NULL AS settled, outcome,
       extract(epoch FROM now() - claimed_at)::float8 AS age_s,
       greatest(extract(epoch FROM lease_until - now()), 0)::float8 AS lease_s
FROM draft_claim WHERE draft_id = $1 AND purpose = $2;

-- name: settle_revision_if_leased(run_id, epoch, content, content_sha256, hard_blocks, confidence, revision_confidence, applied, iterations, outcome, event_id, key, value, headers, taken_s, chosen_iteration)
-- What became of the revision: draft, claim, event and the hand-over to dispatch, in one statement.
WITH run AS (
    UPDATE draft_pipeline_run SET phase = 'dispatch', lease_owner = NULL, lease_until = now(),
           lease_epoch = lease_epoch + 1, updated_at = now()
    WHERE id = $1 AND lease_epoch = $2 AND status = 'RUNNING' AND phase = 'revise' RETURNING id, draft_id, workspace_id
), draft AS (
    UPDATE ai_draft d SET content = $3, content_sha256 = $4, hard_blocks = $5, auto_send_confidence = $6,
           auto_send_revision_confidence = $7, auto_send_revision_applied = $8, auto_send_revision_iterations = $9,
           revision_outcome = $10, chosen_iteration = $16,
           revision_latency_ms = (convert_from($13, 'UTF8')::jsonb ->> 'latency_ms')::integer, updated_at = now()
    FROM run WHERE d.id = run.draft_id AND d.status = 'pending'
), claim AS (
    UPDATE draft_claim c SET settled_at = now(), outcome = $10
    FROM run WHERE c.draft_id = run.draft_id AND c.purpose = 'revision' AND c.settled_at IS NULL
)
INSERT INTO outbox (event_id, topic, key, value, headers, workspace_id, taken_until)
SELECT $11, 'revision-result', $12, $13, $14, run.workspace_id, now() + make_interval(secs => $15) FROM run
ON CONFLICT (topic, event_id) DO NOTHING RETURNING id;

-- name: record_decision_if_leased(run_id, epoch, reason, artifact_id, iteration, input_sha256, payload, text, action, draft_status, outcomes, delivery_id, delayed, scheduled_for, review_id, review_s, event_id, key, value, headers, taken_s)
-- The decision, once: final artifact, action, delivery or review request, outcome event; the run is COMPLETED. A draft
-- that a person has settled meanwhile, or that was sent, is left as it is.
WITH run AS (
    UPDATE draft_pipeline_run SET status = 'COMPLETED', phase = 'done', reason = $3, finished_at = now(),
           lease_until = now(), updated_at = now()
    WHERE id = $1 AND lease_epoch = $2 AND status = 'RUNNING' AND phase = 'dispatch' AND superseded_at IS NULL
    RETURNING id, draft_id, workspace_id, lead_id, trigger_message_id, channel, thread_id
), artifact AS (
    INSERT INTO draft_pipeline_artifact (id, run_id, stage, iteration, prompt_key, input_sha256, model, payload, text)
    SELECT $4, run.id, 'final_draft', $5, '', $6, '', $7, $8 FROM run
), draft AS (
    UPDATE ai_draft d SET auto_send_action = $9, auto_send_reason = $3, status = $10,
           outcome_sequence = d.outcome_sequence + $11, updated_at = now()
    FROM run WHERE d.id = run.draft_id AND d.status = 'pending'
    RETURNING d.id, d.recipient, d.content, d.content_sha256
), delivery AS (
    INSERT INTO delivery (id, draft_id, workspace_id, lead_id, trigger_message_id, channel, thread_id, automatic,
                          recipient, content, content_sha256, delayed, scheduled_for)
    SELECT $12, run.draft_id, run.workspace_id, run.lead_id, run.trigger_message_id, run.channel, run.thread_id, true,
           draft.recipient, draft.content, draft.content_sha256, $13, coalesce($14, now())
    FROM run, draft WHERE $12::uuid IS NOT NULL
    ON CONFLICT DO NOTHING RETURNING id
), review AS (
    INSERT INTO review_request (id, draft_id, workspace_id, reason, content_sha256, expires_at)
    SELECT $15, run.draft_id, run.workspace_id, $3, draft.content_sha256, now() + make_interval(secs => $16)
    FROM run, draft WHERE $15::uuid IS NOT NULL
    ON CONFLICT (draft_id) DO UPDATE SET reason = excluded.reason, status = 'open', closed_at = NULL,
        content_sha256 = excluded.content_sha256, expires_at = excluded.expires_at
), event AS (
    INSERT INTO outbox (event_id, topic, key, value, headers, workspace_id, taken_until)
    SELECT $17, 'draft-outcome', $18, $19, $20, run.workspace_id, now() + make_interval(secs => $21)
    FROM run, draft WHERE $17::uuid IS NOT NULL
    ON CONFLICT (topic, event_id) DO NOTHING RETURNING id
)
SELECT run.id, (SELECT id FROM delivery) AS delivery_id, (SELECT id FROM event) AS outbox_id FROM run;

-- name: end_run_if_leased(run_id, epoch, run_status, reason, action, draft_status, content, content_sha256, review_id, review_s, event_id, key, value, headers, taken_s)
-- A run ends without a decision: FAILED or ABORTED, with what happens to its draft, one outcome event, and a review
-- request when a person must write. The time it held is free again. A draft that a person has settled meanwhile, or that
-- was sent, is left as it is.
WITH run AS (
    UPDATE draft_pipeline_run SET status = $3, phase = 'done', reason = $4, finished_at = now(), lease_until = now(),
           updated_at = now()
    WHERE id = $1 AND lease_epoch = $2 AND status = 'RUNNING' RETURNING id, draft_id, workspace_id
), draft AS (
    UPDATE ai_draft d SET auto_send_action = $5, auto_send_reason = $4, status = $6,
           content = coalesce(d.content, $7), content_sha256 = coalesce(d.content_sha256, $8),
           outcome_sequence = d.outcome_sequence + 1, updated_at = now()
    FROM run WHERE d.id = run.draft_id AND d.status = 'pending' RETURNING d.id
), claim AS (
    UPDATE draft_claim c SET settled_at = now(), outcome = $4
    FROM run WHERE c.draft_id = run.draft_id AND c.purpose = 'revision' AND c.settled_at IS NULL
), hold AS (
    UPDATE booking b SET status = 'released', reason = $4, updated_at = now()
    FROM draft WHERE b.draft_id = draft.id AND b.status = 'held'
), review AS (
    INSERT INTO review_request (id, draft_id, workspace_id, reason, content_sha256, expires_at)
    SELECT $9, run.draft_id, run.workspace_id, $4, $8, now() + make_interval(secs => $10)
    FROM run, draft WHERE $9::uuid IS NOT NULL
    ON CONFLICT (draft_id) DO UPDATE SET reason = excluded.reason, status = 'open', closed_at = NULL,
        expires_at = excluded.expires_at
)
INSERT INTO outbox (event_id, topic, key, value, headers, workspace_id, taken_until)
SELECT $11, 'draft-outcome', $12, $13, $14, run.workspace_id, now() + make_interval(secs => $15) FROM run, draft
ON CONFLICT (topic, event_id) DO NOTHING RETURNING id;

-- name: lock_draft(draft_id)
-- A draft row, locked, with its run's id for events.
SELECT d.*, r.traceparent FROM ai_draft d LEFT JOIN draft_pipeline_run r ON r.id = d.run_id
WHERE d.id = $1 FOR UPDATE OF d;

-- name: set_draft_fate(draft_id, status, action, reason)
-- A decided draft changes its fate; the sequence numbers the change. A sent draft never changes.
UPDATE ai_draft SET status = $2, auto_send_action = $3, auto_send_reason = $4, outcome_sequence = outcome_sequence + 1,
       updated_at = now()
WHERE id = $1 AND status <> 'sent' RETURNING outcome_sequence;

-- name: set_draft_text(draft_id, content, content_sha256, hard_blocks)
-- A person's text takes the place of the draft's, with its blocks; `original_content` keeps what was written first.
UPDATE ai_draft SET content = $2, content_sha256 = $3, hard_blocks = $4, updated_at = now() WHERE id = $1;

-- name: kill_switches()
-- The switches that bind all processes.
SELECT name, disabled, reason, changed_by, changed_at FROM kill_switch ORDER BY name;

-- name: share_kill_switch_lock()
-- Held by every claim until it commits; a flip waits for them, and they for it. Must be a statement of its own: what
-- follows needs a snapshot taken after the wait.
SELECT pg_advisory_xact_lock_shared(hashtext('draft-pipeline:kill-switch'));

-- name: own_kill_switch_lock()
-- Held by a flip until it commits: no claim commits after it did.
SELECT pg_advisory_xact_lock(hashtext('draft-pipeline:kill-switch'));

-- name: flip_kill_switch(name, disabled, reason, actor)
-- Turn a switch; returns what it was.
UPDATE kill_switch k SET disabled = $2, reason = $3, changed_by = $4, changed_at = now()
FROM (SELECT name, disabled FROM kill_switch WHERE name = $1 FOR UPDATE) old
WHERE k.name = old.name RETURNING old.disabled;

-- name: other_leads_with(workspace_id, lead_id, names, emails, phones)
-- Which of these names and addresses (lower case) and numbers (last 8 digits) another lead of the workspace has.
SELECT 'name' AS kind, v AS value FROM unnest($3::text[]) v WHERE EXISTS (
    SELECT 1 FROM lead l WHERE l.workspace_id = $1 AND l.lead_id <> $2 AND lower(l.name) = v)
UNION ALL
SELECT 'email', v FROM unnest($4::text[]) v WHERE EXISTS (
    SELECT 1 FROM lead l WHERE l.workspace_id = $1 AND l.lead_id <> $2 AND lower(l.email) = v)
UNION ALL
SELECT 'phone', v FROM unnest($5::text[]) v WHERE EXISTS (
    SELECT 1 FROM lead l WHERE l.workspace_id = $1 AND l.lead_id <> $2
    AND right(regexp_replace(l.phone, '\D', '', 'g'), 8) = v);
