-- name: insert_leads_if_absent(workspace_ids, lead_ids, names, emails, phones, timezones, locales)
-- Leads of imported messages; one that is known keeps what is known.
INSERT INTO lead (workspace_id, lead_id, name, email, phone, timezone, locale)
SELECT DISTINCT ON (workspace_id, lead_id) *
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
     AS g (workspace_id, lead_id, name, email, phone, timezone, locale)
ORDER BY workspace_id, lead_id
ON CONFLICT DO NOTHING;

-- name: insert_history_if_absent(ids, workspace_ids, lead_ids, channels, thread_ids, message_ids, directions, humans, sent_bys, sources, campaign_ids, modes, bodies, subjects, from_addresses, to_addresses, headers, received_ats)
-- Imported messages. They start nothing. Their sequence follows their time and is below that of every message that the
-- pipeline ingests, so that none of them is ever newer than a live one.
INSERT INTO message (id, workspace_id, lead_id, channel, thread_id, message_id, direction, human, sent_by, source,
                     campaign_id, mode, body, subject, from_address, to_address, headers, disposition, ingest_seq,
                     received_at, ingested_at)
SELECT id, workspace_id, lead_id, channel, thread_id, message_id, direction, human, sent_by, source, campaign_id, mode,
       body, subject, from_address, to_address, headers,
       CASE direction WHEN 'outbound' THEN 'outbound' ELSE 'joined_later_message' END,
       (extract(epoch FROM received_at) * 1000)::bigint - 10000000000000000, received_at, received_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bool[], $9::text[],
            $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::jsonb[],
            $18::timestamptz[])
     AS g (id, workspace_id, lead_id, channel, thread_id, message_id, direction, human, sent_by, source, campaign_id,
           mode, body, subject, from_address, to_address, headers, received_at)
ON CONFLICT DO NOTHING RETURNING id;

-- name: triggers_of_history(ids)
-- The messages that imported drafts belong to.
SELECT m.id, m.workspace_id, m.message_id, m.lead_id, m.channel, m.thread_id, m.campaign_id, m.from_address, m.ingest_seq
FROM message m WHERE m.id = ANY ($1::uuid[]) AND m.direction = 'inbound';

-- name: insert_draft_if_absent(draft_id, workspace_id, trigger_message_id, mode, recipient, content, content_sha256, language, status, created_at)
-- An imported draft of a message; a draft that the pipeline made for it stays as it is.
WITH draft AS (
    INSERT INTO ai_draft (id, workspace_id, lead_id, campaign_id, trigger_message_id, trigger_ingest_seq, thread_id, mode,
                          channel, recipient, content, original_content, content_sha256, language, status, backfilled,
                          created_at)
    SELECT $1, m.workspace_id, m.lead_id, m.campaign_id, m.message_id, m.ingest_seq, m.thread_id, $4, m.channel,
           coalesce($5, m.from_address), $6, $6, $7, $8, $9, true, $10
    FROM message m WHERE m.workspace_id = $2 AND m.message_id = $3 AND m.direction = 'inbound'
    ON CONFLICT (id) DO NOTHING RETURNING id
), trigger_message AS (
    UPDATE message SET disposition = 'run' WHERE workspace_id = $2 AND message_id = $3
      AND disposition = 'joined_later_message' AND ingest_seq < 0 AND EXISTS (SELECT 1 FROM draft)
)
SELECT id FROM draft;

-- name: tie_sent_message(draft_id, delivery_id, workspace_id, message_id, sent_by, delayed)
-- The outbound message by which an imported draft was sent, and the delivery that this was.
WITH message AS (
    UPDATE message SET draft_id = $1, sent_by = $5, source = 'draft-pipeline', mode = d.mode
    FROM ai_draft d WHERE d.id = $1 AND message.workspace_id = $3 AND message.message_id = $4
      AND message.direction = 'outbound' AND message.draft_id IS NULL
    RETURNING message.body, message.received_at, message.to_address, message.approved_by
)
INSERT INTO delivery (id, draft_id, workspace_id, lead_id, trigger_message_id, channel, thread_id, automatic, recipient,
                      content, content_sha256, status, delayed, scheduled_for, attempts, claimed_at, finished_at,
                      approved_by, edited, created_at)
SELECT $2, d.id, d.workspace_id, d.lead_id, d.trigger_message_id, d.channel, d.thread_id, $5 = 'ai',
       coalesce(m.to_address, d.recipient), m.body, encode(sha256(convert_to(m.body, 'UTF8')), 'hex'), 'sent', $6,
       m.received_at, 1, m.received_at, m.received_at, CASE $5 WHEN 'ai' THEN NULL ELSE 'imported' END, $5 <> 'ai',
       m.received_at
FROM ai_draft d, message m WHERE d.id = $1
ON CONFLICT DO NOTHING RETURNING id;

-- name: backfill_page(workspace_id, after_id, limit)
-- Drafts that lack a decision, with what stands for or against each: neither decided nor judged, or sent and lacking
-- either. One that was judged and left to the normal path is not looked at again.
SELECT d.id, d.workspace_id, d.lead_id, d.channel, d.trigger_message_id, d.mode, d.status, d.content, d.language,
       d.auto_send_action AS action, d.auto_send_evaluated_at AS evaluated_at, d.auto_send_confidence AS confidence,
       sent.received_at AS sent_at, sent.id IS NOT NULL AS ai_sent,
       EXISTS (SELECT 1 FROM delivery x WHERE x.draft_id = d.id AND x.delayed AND x.status = 'sent') AS sent_delayed,
       (SELECT (a.payload ->> 'confidence')::float8 FROM draft_pipeline_artifact a
        WHERE a.run_id = d.run_id AND a.stage = 'auto_send_evaluation' AND a.iteration = d.chosen_iteration
          AND jsonb_typeof(a.payload -> 'confidence') = 'number') AS recorded_confidence,
       EXISTS (SELECT 1 FROM message t WHERE t.workspace_id = d.workspace_id AND t.message_id = d.trigger_message_id)
           AS has_trigger,
       EXISTS (SELECT 1 FROM lead l WHERE l.workspace_id = d.workspace_id AND l.lead_id = d.lead_id
               AND l.erased_at IS NOT NULL) AS erased,
       EXISTS (SELECT 1 FROM suppression s WHERE s.workspace_id = d.workspace_id AND s.lead_id = d.lead_id)
           AS suppressed,
       EXISTS (SELECT 1 FROM message n WHERE n.workspace_id = d.workspace_id AND n.lead_id = d.lead_id
               AND n.channel = d.channel AND n.thread_id = d.thread_id AND n.direction = 'inbound' AND n.human
               AND n.ingest_seq > d.trigger_ingest_seq) AS newer_inbound,
       EXISTS (SELECT 1 FROM message n WHERE n.workspace_id = d.workspace_id AND n.lead_id = d.lead_id
               AND n.direction = 'outbound' AND n.ingest_seq > d.trigger_ingest_seq
               AND n.draft_id IS DISTINCT FROM d.id
               AND (n.draft_id IS NULL OR (n.channel = d.channel AND n.thread_id = d.thread_id))) AS answered,
       EXISTS (SELECT 1 FROM booking b WHERE b.workspace_id = d.workspace_id AND b.lead_id = d.lead_id
               AND b.draft_id IS DISTINCT FROM d.id AND b.status IN ('held', 'confirmed')
               AND b.created_at > d.created_at) AS booked,
       (SELECT coalesce(max(r.attempt), 0) + 1 FROM draft_pipeline_run r WHERE r.workspace_id = d.workspace_id
        AND r.trigger_message_id = d.trigger_message_id AND r.channel = d.channel) AS attempt
FROM ai_draft d
LEFT JOIN LATERAL (
    SELECT m.id, m.received_at FROM message m
    WHERE m.draft_id = d.id AND m.direction = 'outbound' AND m.sent_by = 'ai' AND m.source = 'draft-pipeline'
      AND m.mode = 'AI_AUTO_SEND' ORDER BY m.received_at LIMIT 1) sent ON true
WHERE d.id > $2 AND ($1::text IS NULL OR d.workspace_id = $1)
  AND ((d.auto_send_action IS NULL AND d.auto_send_evaluated_at IS NULL)
       OR ((d.auto_send_action IS NULL OR d.auto_send_evaluated_at IS NULL) AND sent.id IS NOT NULL))
  AND NOT EXISTS (SELECT 1 FROM draft_pipeline_run r WHERE r.id = d.run_id AND r.status = 'RUNNING')
ORDER BY d.id LIMIT $3;

-- name: backfill_sent_if_undecided(draft_id, action, evaluated_at, confidence)
-- A draft that was sent gets the decision it must have had; what is recorded stays.
UPDATE ai_draft SET auto_send_action = coalesce(auto_send_action, $2),
       auto_send_evaluated_at = coalesce(auto_send_evaluated_at, $3, now()),
       auto_send_confidence = coalesce(auto_send_confidence, $4), backfilled = true, updated_at = now()
WHERE id = $1 AND (auto_send_action IS NULL OR auto_send_evaluated_at IS NULL);

-- name: record_backfill_call_if_undecided(draft_id, run_id, call_id, stage, attempt, model, effort, input_sha256, worst_usd)
-- Written before the request is made, with its worst case reserved where the workspace has a monthly limit. No row back:
-- the draft was decided meanwhile; `id` null: over budget. A call that was made before raises.
WITH call AS (
    SELECT d.id AS draft_id, d.workspace_id, s.monthly_budget_usd AS limit_usd,
           date_trunc('month', now() AT TIME ZONE 'UTC')::date AS month
    FROM ai_draft d JOIN workspace_settings s ON s.workspace_id = d.workspace_id
    WHERE d.id = $1 AND d.status = 'pending' AND d.auto_send_action IS NULL AND d.auto_send_evaluated_at IS NULL
), reserved AS (
    INSERT INTO workspace_budget AS b (workspace_id, month, spent_usd, reserved_usd)
    SELECT call.workspace_id, call.month, before.spent_usd, before.held_usd + $9::numeric
    FROM call CROSS JOIN LATERAL (
        SELECT coalesce(sum(c.cost_usd) FILTER (WHERE c.held_usd IS NULL), 0) AS spent_usd,
               coalesce(sum(c.held_usd), 0) AS held_usd
        FROM model_call c
        WHERE c.workspace_id = call.workspace_id AND c.started_at >= call.month::timestamp AT TIME ZONE 'UTC'
          AND NOT EXISTS (SELECT 1 FROM workspace_budget e WHERE e.workspace_id = call.workspace_id
                          AND e.month = call.month)) before
    WHERE call.limit_usd IS NOT NULL AND before.spent_usd + before.held_usd + $9 <= call.limit_usd
    ON CONFLICT (workspace_id, month) DO UPDATE SET reserved_usd = b.reserved_usd + $9
    WHERE b.spent_usd + b.reserved_usd + $9 <= (SELECT limit_usd FROM call)
    RETURNING b.month
), recorded AS (
    INSERT INTO model_call (id, run_id, draft_id, workspace_id, stage, iteration, attempt, model, effort, input_sha256,
                            reserved_usd, held_usd)
    SELECT $3, $2, call.draft_id, call.workspace_id, $4, 0, $5, $6, $7, $8, coalesce($9, 0),
           CASE WHEN call.limit_usd IS NOT NULL THEN $9 END
    FROM call WHERE call.limit_usd IS NULL OR EXISTS (SELECT 1 FROM reserved)
    RETURNING id
)
SELECT (SELECT id FROM recorded) AS id FROM call;

-- name: calls_so_far(run_id, stage)
-- How often a stage was asked under this run's id.
SELECT coalesce(max(attempt), 0) FROM model_call WHERE run_id = $1 AND stage = $2;

-- name: backfill_judged_if_undecided(draft_id, run_id, attempt, policy_revision, reason, confidence, threshold, action, hard_blocks, content_sha256, outcomes, owner, snapshot, context_pack, artifact_id, prompt_key, input_sha256, model, payload, final_id, final_payload, review_id, review_s, event_id, key, value, headers)
-- A judged draft: its run with context and artifacts, its confidence, and when a person must decide the question and the
-- event. Nothing is sent. Only a pending draft that nobody decided meanwhile.
WITH draft AS (
    UPDATE ai_draft d SET run_id = $2, policy_revision = $4, auto_send_evaluated_at = now(), auto_send_confidence = $6,
           auto_send_original_confidence = $6, auto_send_threshold = $7, auto_send_reason = $5, auto_send_action = $8,
           hard_blocks = $9, content_sha256 = $10, outcome_sequence = d.outcome_sequence + $11, backfilled = true,
           updated_at = now()
    WHERE d.id = $1 AND d.status = 'pending' AND d.auto_send_action IS NULL AND d.auto_send_evaluated_at IS NULL
    RETURNING d.id, d.workspace_id, d.lead_id, d.trigger_message_id, d.channel, d.thread_id, d.content
), run AS (
    INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, thread_id, status,
                                    phase, reason, attempt, source, policy_revision, lease_owner, lease_until, finished_at)
    SELECT $2, workspace_id, lead_id, trigger_message_id, id, channel, thread_id, 'COMPLETED', 'done', $5, $3, 'backfill',
           $4, $12, now(), now() FROM draft
    RETURNING id
), context AS (
    INSERT INTO draft_run_context (run_id, snapshot, context_pack) SELECT id, $13, $14 FROM run
), artifacts AS (
    INSERT INTO draft_pipeline_artifact (id, run_id, stage, iteration, prompt_key, input_sha256, model, payload, text)
    SELECT $15::uuid, run.id, 'auto_send_evaluation', 0, $16, $17, $18, $19::jsonb, NULL FROM run
    UNION ALL SELECT $20::uuid, run.id, 'final_draft', 0, '', $10, '', $21::jsonb, draft.content FROM run, draft
), review AS (
    INSERT INTO review_request (id, draft_id, workspace_id, reason, content_sha256, expires_at)
    SELECT $22, draft.id, draft.workspace_id, $5, $10, now() + make_interval(secs => $23)
    FROM draft WHERE $22::uuid IS NOT NULL
    ON CONFLICT (draft_id) DO NOTHING
), event AS (
    INSERT INTO outbox (event_id, topic, key, value, headers, workspace_id)
    SELECT $24, 'draft-outcome', $25, $26, $27, draft.workspace_id FROM draft WHERE $24::uuid IS NOT NULL
    ON CONFLICT (topic, event_id) DO NOTHING
)
SELECT id FROM draft;
