-- name: left_to_do()
-- What waits in the outbox, what runs and what is due. A send that is delayed on purpose is not yet due; one that is
-- tried again is.
SELECT (SELECT count(*) FROM outbox WHERE published_at IS NULL AND conversation IS NOT NULL) AS waiting_requests,
       (SELECT count(*) FROM outbox WHERE published_at IS NULL AND conversation IS NULL) AS unpublished_events,
       (SELECT count(*) FROM message WHERE direction = 'inbound' AND disposition = 'waiting') AS waiting_messages,
       (SELECT count(*) FROM draft_pipeline_run WHERE finished_at IS NULL) AS running_runs,
       (SELECT count(*) FROM delivery WHERE status = 'claimed' OR (status = 'scheduled' AND scheduled_for <= now()))
           AS due_sends;

-- name: effective_switches()
-- Every switch with what the environments of living processes say; the web process does nothing that one forbids.
SELECT k.name, k.disabled, k.reason, k.changed_by, k.changed_at,
       coalesce((SELECT array_agg(h.process_id ORDER BY h.process_id) FROM process_heartbeat h
                 WHERE h.beat_at > now() - interval '10 seconds' AND (h.switches ->> k.name) = 'true'
                   AND h.role <> 'web'), '{}') AS off_in
FROM kill_switch k ORDER BY k.name;

-- name: runs_recent(workspace_id, status, limit, fate)
-- Runs, newest first; `fate` is a column of `draft_fate` that must hold. `attempt >= 1` names the index.
SELECT r.id, r.workspace_id, r.lead_id, r.channel, r.status, r.phase, r.reason, r.attempt, r.draft_id, r.created_at,
       r.finished_at, d.auto_send_action AS action, d.auto_send_confidence AS confidence
FROM draft_pipeline_run r LEFT JOIN ai_draft d ON d.id = r.draft_id
WHERE r.attempt >= 1 AND ($1::text IS NULL OR r.workspace_id = $1) AND ($2::text IS NULL OR r.status = $2)
  AND ($4::text IS NULL OR EXISTS (SELECT 1 FROM draft_fate f WHERE f.draft_id = r.draft_id AND CASE $4
       WHEN 'ai_sent' THEN f.ai_sent WHEN 'ai_review' THEN f.ai_review WHEN 'revised_then_sent' THEN f.revised_then_sent
       END))
ORDER BY r.created_at DESC LIMIT $3;

-- name: fate_counts(workspace_id, since)
-- Drafts by what became of them, of one workspace or of all, made since a moment.
SELECT count(*) FILTER (WHERE ai_sent) AS ai_sent, count(*) FILTER (WHERE ai_review) AS ai_review,
       count(*) FILTER (WHERE revised_then_sent) AS revised_then_sent
FROM draft_fate WHERE ($1::text IS NULL OR workspace_id = $1) AND ($2::timestamptz IS NULL OR created_at >= $2);

-- name: run_counts(workspace_id)
-- Runs by status.
SELECT status, count(*) AS runs FROM draft_pipeline_run
WHERE $1::text IS NULL OR workspace_id = $1 GROUP BY status ORDER BY status;

-- name: run_by_id(run_id)
-- One run.
SELECT * FROM draft_pipeline_run WHERE id = $1;

-- name: lock_run(run_id)
-- A run that somebody is about to try again, with whether its revision was settled and its newest attempt.
SELECT r.*, d.revision_outcome, d.auto_send_action, d.status AS draft_status,
       (SELECT max(n.attempt) FROM draft_pipeline_run n WHERE n.workspace_id = r.workspace_id
        AND n.trigger_message_id = r.trigger_message_id AND n.channel = r.channel) AS attempt_newest,
       m.id IS NOT NULL AS has_message, m.traceparent AS message_traceparent, m.received_at
FROM draft_pipeline_run r
LEFT JOIN ai_draft d ON d.id = r.draft_id
LEFT JOIN message m ON m.workspace_id = r.workspace_id AND m.message_id = r.trigger_message_id
WHERE r.id = $1 FOR UPDATE OF r;

-- name: draft_explained(draft_id)
-- A draft with the run, policy and message behind it.
SELECT d.*, r.status AS run_status, r.phase, r.reason AS run_reason, r.attempt, r.retry_of, r.created_at AS run_created_at,
       r.finished_at, m.disposition, m.received_at, m.ingested_at, p.scope AS policy_scope, p.rules AS policy_rules,
       p.booking_threshold, p.created_by AS policy_by, p.reason AS policy_reason, w.name AS workspace_name
FROM ai_draft d JOIN workspace w ON w.id = d.workspace_id
LEFT JOIN draft_pipeline_run r ON r.id = d.run_id
LEFT JOIN message m ON m.workspace_id = d.workspace_id AND m.message_id = d.trigger_message_id
LEFT JOIN confidence_policy_revision p ON p.revision = d.policy_revision
WHERE d.id = $1;

-- name: snapshot_of_run(run_id)
-- What a run pinned when it started.
SELECT snapshot FROM draft_run_context WHERE run_id = $1;

-- name: artifacts_explained(run_id)
-- The artifacts of a run with their answers.
SELECT stage, iteration, prompt_key, model, payload, text, input_sha256, input_tokens, output_tokens, latency_ms,
       created_at
FROM draft_pipeline_artifact WHERE run_id = $1 ORDER BY created_at, iteration;

-- name: calls_of_draft(draft_id)
-- Every model call for a draft, over all its runs.
SELECT run_id, stage, iteration, attempt, status, failure, model, effort, input_tokens, output_tokens, latency_ms,
       cost_usd, started_at
FROM model_call WHERE draft_id = $1 ORDER BY started_at, attempt;

-- name: claims_of_draft(draft_id)
-- Who had the right to do what.
SELECT purpose, claimed_by, claimed_at, settled_at, outcome FROM draft_claim WHERE draft_id = $1 ORDER BY claimed_at;

-- name: deliveries_of_draft(draft_id)
-- Every attempt to hand the draft to its channel.
SELECT id, status, reason, automatic, delayed, attempts, scheduled_for, claimed_at, finished_at, provider_message_id,
       approved_by, approved_via, edited, confirmed_by
FROM delivery WHERE draft_id = $1 ORDER BY created_at;

-- name: reviews_of_draft(draft_id)
-- What a person was asked, and did.
SELECT q.reason, q.status, q.created_at, q.expires_at, q.closed_at, q.slack_ts IS NOT NULL AS on_slack,
       (SELECT jsonb_agg(jsonb_build_object('actor', a.actor, 'via', a.via, 'action', a.action, 'result', a.result,
                         'at', a.created_at) ORDER BY a.created_at)
        FROM review_action a WHERE a.draft_id = q.draft_id) AS actions
FROM review_request q WHERE q.draft_id = $1;

-- name: meeting_of_draft(draft_id)
-- The overseer's word, what the booking rules made of it, and what came of that.
SELECT o.decision, o.outcome, o.outcome_reason, o.accepted_at, o.created_at, b.status AS booking,
       b.reason AS booking_reason, f.outcome AS followup, f.reason AS followup_reason
FROM meeting_overseer_decision o LEFT JOIN booking b ON b.draft_id = o.draft_id
LEFT JOIN followup_task f ON f.draft_id = o.draft_id WHERE o.draft_id = $1;

-- name: outcomes_by_workspace(workspace_ids)
-- What became of every inbound message of these workspaces, in one word each, with figures of its draft.
SELECT m.workspace_id, m.message_id, m.disposition, m.direction, d.id AS draft_id, d.status AS draft_status,
       d.auto_send_action AS action, d.auto_send_reason AS reason, d.revision_outcome, d.hard_blocks, d.mode,
       d.auto_send_original_confidence::float8 AS before, d.auto_send_confidence::float8 AS after,
       d.auto_send_revision_applied AS revised, r.status AS run_status,
       o.decision AS meeting, f.outcome AS meeting_outcome, b.status AS booking,
       extract(epoch FROM coalesce(x.finished_at, r.finished_at) - m.ingested_at)::float8 AS latency_s
FROM message m
LEFT JOIN ai_draft d ON d.workspace_id = m.workspace_id AND d.trigger_message_id = m.message_id
LEFT JOIN draft_pipeline_run r ON r.id = d.run_id
LEFT JOIN delivery x ON x.draft_id = d.id AND x.status = 'sent'
LEFT JOIN meeting_overseer_decision o ON o.draft_id = d.id
LEFT JOIN followup_task f ON f.draft_id = d.id
LEFT JOIN booking b ON b.draft_id = d.id
WHERE m.workspace_id = ANY ($1::text[]) AND m.source IS DISTINCT FROM 'draft-pipeline' ORDER BY m.ingest_seq;

-- name: cases_decided(workspace_ids, message_ids)
-- What became of these messages, with every code that was given as a reason, cost and time of the draft.
SELECT m.message_id, m.disposition, d.id AS draft_id, d.status AS draft_status, d.auto_send_action AS action,
       d.auto_send_reason AS reason, r.reason AS run_reason, d.revision_outcome,
       d.auto_send_confidence AS confidence,
       coalesce((SELECT array_agg(DISTINCT b ->> 'rule') FROM jsonb_array_elements(d.hard_blocks) b), '{}') AS blocks,
       coalesce((SELECT array_agg(e) FROM draft_pipeline_artifact a, jsonb_array_elements_text(a.payload -> 'reasons') e
                 WHERE a.run_id = d.run_id AND a.stage = 'final_draft'), '{}') AS reasons,
       (SELECT sum(c.cost_usd)::float8 FROM model_call c WHERE c.run_id = d.run_id) AS cost_usd,
       (SELECT count(*) FROM model_call c WHERE c.run_id = d.run_id AND c.status <> 'refused') AS calls,
       extract(epoch FROM r.finished_at - m.ingested_at)::float8 AS latency_s
FROM message m
LEFT JOIN ai_draft d ON d.workspace_id = m.workspace_id AND d.trigger_message_id = m.message_id
LEFT JOIN draft_pipeline_run r ON r.id = d.run_id
WHERE m.workspace_id = ANY ($1::text[]) AND m.message_id = ANY ($2::text[]);

-- name: clear_calendar(workspace_id)
-- A reserved workspace begins anew: nothing is free, nothing is booked.
WITH booked AS (DELETE FROM booking WHERE workspace_id = $1)
DELETE FROM availability_slot WHERE workspace_id = $1;

-- name: messages_stored(workspace_ids, message_ids)
-- How many of these messages ingest has written.
SELECT count(*) FROM message WHERE workspace_id = ANY ($1::text[]) AND message_id = ANY ($2::text[]);

-- name: spent_by_workspace(workspace_ids)
-- Calls, tokens and cost.
SELECT workspace_id, count(*) AS calls, coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
       coalesce(sum(output_tokens), 0)::bigint AS output_tokens, sum(cost_usd)::float8 AS cost_usd
FROM model_call WHERE workspace_id = ANY ($1::text[]) GROUP BY workspace_id ORDER BY workspace_id;

-- name: add_slot(workspace_id, starts_at, ends_at)
-- A free appointment; one that exists stays.
INSERT INTO availability_slot (workspace_id, starts_at, ends_at, source) VALUES ($1, $2, $3, 'cli')
ON CONFLICT DO NOTHING;

-- name: add_knowledge(workspace_id, title, text, verified)
-- A knowledge entry; the same title again replaces its text.
INSERT INTO knowledge_entry (workspace_id, title, text, source, verified) VALUES ($1, $2, $3, 'cli', $4)
ON CONFLICT (workspace_id, source, title) DO UPDATE
SET text = excluded.text, verified = excluded.verified, updated_at = now();

-- name: columns_of(schema)
-- Every column of a schema's tables: type, nullability, default.
SELECT c.relname AS table, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
       pg_get_expr(d.adbin, d.adrelid) AS default
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE n.nspname = $1 AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, a.attname;

-- name: constraints_of(schema)
-- Every constraint: checks, keys, foreign keys.
SELECT c.relname AS table, k.conname AS name, pg_get_constraintdef(k.oid) AS definition
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND k.contype <> 'n' ORDER BY 1, 2;

-- name: indexes_of(schema)
-- Every index, and whether it may be used.
SELECT t.relname AS table, c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition, i.indisvalid AS valid
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 ORDER BY 1, 2;

-- name: triggers_of(schema)
-- Every trigger of ours, and whether it fires.
SELECT c.relname AS table, t.tgname AS name, t.tgenabled <> 'D' AS enabled
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND NOT t.tgisinternal ORDER BY 1, 2;

-- name: functions_of(schema)
-- What every function of ours does: arguments and body.
SELECT p.proname AS name, pg_get_function_identity_arguments(p.oid) || ' ' || p.prosrc AS definition
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = $1 AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') ORDER BY 1;

-- name: views_of(schema)
-- Every view, as the server reads it.
SELECT c.relname AS name, pg_get_viewdef(c.oid) AS definition
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'v' ORDER BY 1;

-- name: living_processes()
-- Processes whose heart beat lately.
SELECT process_id, role, version, started_at, extract(epoch FROM now() - beat_at)::float8 AS age_s, switches, figures
FROM process_heartbeat WHERE beat_at > now() - interval '10 seconds' ORDER BY role, process_id;

-- name: subjects_of_action(action, undone)
-- What an action was done to. It is written before it is done; `undone` is the action of a row that says of an earlier one,
-- by the id in its `before`, that it came to nothing.
SELECT DISTINCT subject FROM admin_audit a WHERE action = $1
  AND NOT EXISTS (SELECT 1 FROM admin_audit u WHERE u.action = $2 AND u.before = to_jsonb(a.id));

-- name: newest_of_action(action, undone, limit)
-- When an action was done to what, by whom and why; the newest first.
SELECT subject, after, actor, via, reason, created_at FROM admin_audit a WHERE action = $1
  AND NOT EXISTS (SELECT 1 FROM admin_audit u WHERE u.action = $2 AND u.before = to_jsonb(a.id))
ORDER BY id DESC LIMIT $3;

-- name: events_on(topic)
-- How many events of ours went to a topic, or wait for it.
SELECT count(*) FROM outbox WHERE topic = $1;

-- name: tables_that_hold(pattern, workspace_id)
-- Where a text stands that must stand nowhere but in messages, drafts and their artifacts.
SELECT 'ai_interaction' AS place FROM ai_interaction t WHERE workspace_id = $2 AND t::text LIKE $1
UNION SELECT 'model_call' FROM model_call t WHERE workspace_id = $2 AND t::text LIKE $1
UNION SELECT 'outbox, topic ' || topic FROM outbox t
      WHERE workspace_id = $2 AND convert_from(value, 'UTF8') || headers::text LIKE $1
UNION SELECT 'draft_pipeline_run' FROM draft_pipeline_run t WHERE workspace_id = $2 AND t::text LIKE $1
UNION SELECT 'admin_audit' FROM admin_audit t WHERE workspace_id = $2 AND t::text LIKE $1
UNION SELECT 'process_heartbeat' FROM process_heartbeat t WHERE t::text LIKE $1;

-- name: drafts_to_replay(workspace_id, since)
-- Decided drafts that could be sent by themselves, with all that the decision rested on. Context where it is still kept.
SELECT d.id, d.workspace_id, d.language, d.scheduling, d.content, d.original_content, d.chosen_iteration, d.hard_blocks,
       d.auto_send_action, d.auto_send_reason, d.revision_outcome, c.snapshot, c.context_pack,
       (SELECT jsonb_object_agg(a.iteration, a.payload -> 'confidence') FROM draft_pipeline_artifact a
        WHERE a.run_id = d.run_id AND a.stage = 'auto_send_evaluation' AND a.payload ? 'confidence') AS confidences,
       (SELECT array_agg(e) FROM draft_pipeline_artifact a, jsonb_array_elements_text(a.payload -> 'reasons') e
        WHERE a.run_id = d.run_id AND a.stage = 'final_draft') AS reasons
FROM ai_draft d JOIN draft_pipeline_run r ON r.id = d.run_id LEFT JOIN draft_run_context c ON c.run_id = r.id
WHERE ($1::text IS NULL OR d.workspace_id = $1) AND d.created_at >= $2 AND d.mode = 'AI_AUTO_SEND'
  AND r.status = 'COMPLETED' AND r.source = 'pipeline' AND d.auto_send_action <> 'none'
ORDER BY d.created_at, d.id;

-- name: drafts_reviewed(workspace_id, since)
-- What people did with drafts that had a confidence: sent as they were (good), edited or rejected. A hard block says
-- nothing about the confidence.
SELECT DISTINCT ON (d.id) d.auto_send_confidence AS confidence, a.result = 'approved' AS good
FROM review_action a JOIN ai_draft d ON d.id = a.draft_id
WHERE ($1::text IS NULL OR d.workspace_id = $1) AND a.created_at >= $2 AND a.result IN ('approved', 'edited', 'rejected')
  AND d.auto_send_confidence IS NOT NULL AND d.hard_blocks = '[]' ORDER BY d.id, a.created_at DESC;
