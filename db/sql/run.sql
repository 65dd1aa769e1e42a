-- name: request_facts(workspace_id, message_id, attempt)
-- Everything a draft request needs to know, in one look: trigger, lead, workspace, policy, newest message, older run.
SELECT m.id AS row_id, m.message_id, m.workspace_id, m.lead_id, m.channel, m.thread_id, m.campaign_id, m.mode, m.body,
       m.subject, m.from_address, m.to_address, m.headers, m.disposition, m.ingest_seq, m.received_at, m.traceparent,
       w.name AS workspace_name, to_jsonb(s) AS settings,
       coalesce(c.instructions, '') AS campaign_instructions,
       l.name AS lead_name, l.email, l.phone, l.timezone, l.locale,
       p.revision, p.auto_send_threshold, p.booking_threshold, p.rules,
       now() AS now,
       EXISTS (SELECT 1 FROM kill_switch k WHERE k.disabled AND k.name = 'LEAD_CONTEXT_BUNDLE_DISABLED') AS bundle_off,
       EXISTS (SELECT 1 FROM message n WHERE n.workspace_id = m.workspace_id AND n.lead_id = m.lead_id
               AND n.channel = m.channel AND n.thread_id = m.thread_id AND n.direction = 'inbound' AND n.human
               AND n.ingest_seq > m.ingest_seq) AS newer_inbound,
       r.id AS run_id, r.status, r.phase
FROM message m
JOIN workspace w ON w.id = m.workspace_id
JOIN workspace_settings s ON s.workspace_id = m.workspace_id
JOIN lead l ON l.workspace_id = m.workspace_id AND l.lead_id = m.lead_id
LEFT JOIN campaign c ON c.workspace_id = m.workspace_id AND c.campaign_id = m.campaign_id
LEFT JOIN draft_pipeline_run r ON r.workspace_id = m.workspace_id AND r.trigger_message_id = m.message_id
                              AND r.channel = m.channel AND r.attempt = $3
CROSS JOIN LATERAL (
    SELECT * FROM confidence_policy_revision q
    WHERE (q.scope = 'campaign' AND q.workspace_id = m.workspace_id AND q.campaign_id = m.campaign_id)
       OR (q.scope = 'workspace' AND q.workspace_id = m.workspace_id) OR q.scope = 'global'
    ORDER BY array_position(ARRAY['campaign', 'workspace', 'global'], q.scope), q.revision DESC LIMIT 1) p
WHERE m.workspace_id = $1 AND m.message_id = $2;

-- name: context_rows(workspace_id, lead_id, channel, thread_id, ingest_seq, words, limit)
-- Everything the base context is made of, in one look: turns up to the trigger (oldest first), knowledge whose words
-- stand in the message (verified first; asked once per language that the workspace has), slots to come that nobody else
-- has. What an older message of the lead still holds is theirs.
WITH asked AS MATERIALIZED (
    SELECT language, websearch_to_tsquery(language, $6) AS query
    FROM (SELECT DISTINCT language FROM knowledge_entry WHERE workspace_id = $1) spoken
)
SELECT
    (SELECT jsonb_agg(t ORDER BY t.ingest_seq) FROM (
        SELECT message_id, direction, sent_by, draft_id, body, subject, received_at, ingest_seq FROM message
        WHERE workspace_id = $1 AND lead_id = $2 AND channel = $3 AND thread_id = $4 AND ingest_seq <= $5 AND human
        ORDER BY ingest_seq DESC LIMIT $7) t) AS turns,
    (SELECT jsonb_agg(t) FROM (
        SELECT k.id, k.title, k.text, k.verified
        FROM asked JOIN knowledge_entry k ON k.workspace_id = $1 AND k.language = asked.language AND k.search @@ asked.query
        ORDER BY k.verified DESC, ts_rank(k.search, asked.query) DESC, k.id LIMIT $7) t
    ) AS knowledge,
    (SELECT jsonb_agg(t ORDER BY t.starts_at) FROM (
        SELECT a.id, a.starts_at, a.ends_at FROM availability_slot a
        WHERE a.workspace_id = $1 AND a.starts_at > now() AND NOT EXISTS (
            SELECT 1 FROM booking b WHERE b.workspace_id = $1 AND b.status IN ('held', 'confirmed')
            AND b.ends_at > a.starts_at AND b.starts_at < a.ends_at AND NOT (b.status = 'held' AND b.lead_id = $2))
        ORDER BY a.starts_at LIMIT $7) t) AS slots;

-- name: bundle_rows(workspace_id, lead_id, channel, thread_id, limit)
-- What the lead context bundle adds: the lead's other conversations (oldest first) and what is remembered (newest first).
SELECT
    (SELECT jsonb_agg(t ORDER BY t.ingest_seq) FROM (
        SELECT message_id, direction, sent_by, draft_id, body, subject, received_at, ingest_seq FROM message
        WHERE workspace_id = $1 AND lead_id = $2 AND NOT (channel = $3 AND thread_id = $4) AND human
        ORDER BY ingest_seq DESC LIMIT $5) t) AS history,
    (SELECT jsonb_agg(t.text) FROM (
        SELECT text FROM lead_memory_entry WHERE workspace_id = $1 AND lead_id = $2
        ORDER BY created_at DESC LIMIT $5) t) AS memory;

-- name: create_run_if_absent(run_id, workspace_id, lead_id, trigger_message_id, draft_id, channel, thread_id, attempt, retry_of, policy_revision, lease_owner, lease_s, traceparent, campaign_id, trigger_ingest_seq, mode, recipient, threshold, snapshot, context_pack, request_event_id, next_id, next_stage, next_model, next_effort, next_input_sha256, source)
-- Create run, draft and context, take the lease and record the first call; older RUNNING runs of the conversation are superseded by it.
WITH run AS (
    INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, thread_id, attempt,
                                    retry_of, policy_revision, lease_owner, lease_until, traceparent, source)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now() + make_interval(secs => $12), $13, $27)
    ON CONFLICT (workspace_id, trigger_message_id, channel, attempt) DO NOTHING
    RETURNING id, lease_epoch
), draft AS (
    INSERT INTO ai_draft AS d (id, run_id, workspace_id, lead_id, campaign_id, trigger_message_id, trigger_ingest_seq,
                               thread_id, mode, channel, recipient, policy_revision, auto_send_threshold)
    SELECT $5, run.id, $2, $3, $14, $4, $15, $7, $16, $6, $17, $10, $18 FROM run
    ON CONFLICT (id) DO UPDATE SET run_id = excluded.run_id, policy_revision = excluded.policy_revision,
        auto_send_threshold = excluded.auto_send_threshold, updated_at = now()
        WHERE d.status = 'pending' AND d.auto_send_evaluated_at IS NULL
), context AS (
    INSERT INTO draft_run_context (run_id, snapshot, context_pack) SELECT run.id, $19, $20 FROM run
), first_call AS (
    INSERT INTO model_call (id, run_id, draft_id, workspace_id, stage, iteration, attempt, model, effort, input_sha256)
    SELECT $22, run.id, $5, $2, $23, 0, 1, $24, $25, $26 FROM run WHERE $22::uuid IS NOT NULL
), trigger_message AS (
    UPDATE message SET disposition = 'run' WHERE workspace_id = $2 AND message_id = $4 AND EXISTS (SELECT 1 FROM run)
), admitted AS (
    UPDATE outbox SET consumed_at = now()
    WHERE topic = 'draft-requested' AND event_id = $21 AND consumed_at IS NULL
), older AS (
    UPDATE draft_pipeline_run SET superseded_at = now()
    WHERE workspace_id = $2 AND lead_id = $3 AND channel = $6 AND thread_id = $7 AND finished_at IS NULL
      AND superseded_at IS NULL AND id <> $1
)
SELECT lease_epoch FROM run;

-- name: settle_request(request_event_id, workspace_id, message_id, disposition)
-- A draft request that starts no run is consumed; its message says why.
WITH admitted AS (
    UPDATE outbox SET consumed_at = now()
    WHERE topic = 'draft-requested' AND event_id = $1 AND consumed_at IS NULL
)
UPDATE message SET disposition = $4 WHERE workspace_id = $2 AND message_id = $3 AND disposition = 'waiting';

-- name: copy_artifacts(run_id, retry_of)
-- A retried run begins with what the failed one already had.
INSERT INTO draft_pipeline_artifact (id, run_id, stage, iteration, prompt_key, input_sha256, model, payload, text,
                                     input_tokens, output_tokens, latency_ms, created_at)
SELECT md5($1::uuid::text || a.id::text)::uuid, $1, a.stage, a.iteration, a.prompt_key, a.input_sha256, a.model, a.payload, a.text,
       a.input_tokens, a.output_tokens, a.latency_ms, a.created_at
FROM draft_pipeline_artifact a WHERE a.run_id = $2 AND a.iteration = 0 AND a.stage <> 'final_draft'
ON CONFLICT DO NOTHING;

-- name: claim_worker_id(process_id, role, version, dead_after_s)
-- One live holder of a static id: a second one finds the row fresh and gets no row back.
INSERT INTO process_heartbeat AS h (process_id, role, version) VALUES ($1, $2, $3)
ON CONFLICT (process_id) DO UPDATE SET started_at = now(), beat_at = now(), version = excluded.version
WHERE h.beat_at < now() - make_interval(secs => $4)
RETURNING process_id;

-- name: forget_process(process_id)
-- A process that ends orderly leaves at once.
DELETE FROM process_heartbeat WHERE process_id = $1;

-- name: take_lease_if_free(run_id, owner, lease_s, phase)
-- Epoch + 1 on every taking: what an earlier holder still writes is refused.
UPDATE draft_pipeline_run
SET lease_owner = $2, lease_epoch = lease_epoch + 1, lease_until = now() + make_interval(secs => $3), updated_at = now()
WHERE id = $1 AND status = 'RUNNING' AND phase = $4 AND lease_until < now()
RETURNING draft_id, lease_epoch, superseded_at IS NOT NULL AS superseded;

-- name: take_lease_with_draft(run_id, owner, lease_s, phase)
-- The same, and the draft with the settings and switches in force now, in one look.
WITH run AS (
    UPDATE draft_pipeline_run
    SET lease_owner = $2, lease_epoch = lease_epoch + 1, lease_until = now() + make_interval(secs => $3),
        updated_at = now()
    WHERE id = $1 AND status = 'RUNNING' AND phase = $4 AND lease_until < now()
    RETURNING id, draft_id, lease_epoch, superseded_at IS NOT NULL AS superseded, traceparent
)
SELECT d.*, run.lease_epoch, run.superseded, run.traceparent, s.auto_send_revision_enabled,
       EXISTS (SELECT 1 FROM kill_switch k WHERE k.disabled AND k.name = 'AUTO_SEND_DISABLED') AS send_off,
       EXISTS (SELECT 1 FROM kill_switch k WHERE k.disabled AND k.name = 'AUTO_SEND_REVISION_DISABLED') AS revision_off
FROM run JOIN ai_draft d ON d.id = run.draft_id JOIN workspace_settings s ON s.workspace_id = d.workspace_id;

-- name: run_standing(run_id)
-- Where a run stands.
SELECT status, phase, lease_owner, lease_until > now() AS leased,
       greatest(extract(epoch FROM lease_until - now()), 0)::float8 AS lease_s
FROM draft_pipeline_run WHERE id = $1;

-- name: renew_leases(run_ids, epochs, lease_s, tokens)
-- One statement renews every lease of a worker, and the claims under them, and brings back who was superseded.
-- Only leases whose epoch still matches: one that is missing in the answer is lost.
WITH held AS (
    SELECT id, epoch FROM unnest($1::uuid[], $2::bigint[]) AS h (id, epoch) ORDER BY id
), renewed AS (
    UPDATE draft_pipeline_run r SET lease_until = now() + make_interval(secs => $3)
    FROM held WHERE r.id = held.id AND r.lease_epoch = held.epoch AND r.status = 'RUNNING'
    RETURNING r.id, r.draft_id, r.superseded_at IS NOT NULL AS superseded
), claims AS (
    UPDATE draft_claim c SET lease_until = now() + make_interval(secs => $3)
    FROM renewed WHERE c.draft_id = renewed.draft_id AND c.purpose = 'revision' AND c.settled_at IS NULL
                   AND c.token = ANY ($4::uuid[])
)
SELECT id, superseded FROM renewed;

-- name: release_lease(run_id, epoch)
-- Give a lease back early, so that nobody waits for its end. Epoch + 1: a renewal under way finds nothing to renew.
UPDATE draft_pipeline_run SET lease_owner = NULL, lease_until = now(), lease_epoch = lease_epoch + 1
WHERE id = $1 AND lease_epoch = $2 AND status = 'RUNNING';

-- name: orphaned_runs(unowned_s, epoch_max, limit)
-- Runs whose worker died or cannot reach the database: it let the lease end. One that was given back has no owner, and
-- waits for its event; what nobody took for so long has lost it. The latest come first, so that some that nobody can take
-- do not stand before others. Locked, so that a standby does not answer, and a renewal under way is not overtaken.
SELECT id, draft_id, workspace_id, trigger_message_id, channel, attempt, phase FROM draft_pipeline_run
WHERE finished_at IS NULL AND lease_epoch <= $2
  AND lease_until < now() - CASE WHEN lease_owner IS NULL THEN make_interval(secs => $1) ELSE interval '0' END
ORDER BY lease_until DESC LIMIT $3 FOR UPDATE SKIP LOCKED;

-- name: run_with_context(run_id)
-- A run with what it pinned.
SELECT r.*, c.snapshot, c.context_pack FROM draft_pipeline_run r JOIN draft_run_context c ON c.run_id = r.id
WHERE r.id = $1;

-- name: artifacts_of(run_id)
-- What was recorded for a run, oldest first.
SELECT stage, iteration, prompt_key, input_sha256, model, payload, text, input_tokens, output_tokens, latency_ms
FROM draft_pipeline_artifact WHERE run_id = $1 ORDER BY created_at, iteration;

-- name: insert_artifact_if_leased(run_id, epoch, artifact_id, stage, iteration, prompt_key, input_sha256, model, payload, text)
-- An artifact that is no model answer (`final_draft`, `loop_error`). A second time changes nothing.
INSERT INTO draft_pipeline_artifact (id, run_id, stage, iteration, prompt_key, input_sha256, model, payload, text)
SELECT $3, r.id, $4, $5, $6, $7, $8, $9, $10 FROM draft_pipeline_run r WHERE r.id = $1 AND r.lease_epoch = $2
ON CONFLICT (run_id, stage, iteration) DO NOTHING;

-- name: beat(process_id, role, version, switches, figures)
-- A process lives; which switches its environment sets.
INSERT INTO process_heartbeat AS h (process_id, role, version, switches, figures) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (process_id) DO UPDATE SET beat_at = now(), switches = excluded.switches, figures = excluded.figures;
