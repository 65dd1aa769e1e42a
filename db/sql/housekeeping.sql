-- name: retention_start(days)
-- Everything that ended before this moment may go.
SELECT now() - make_interval(days => $1);

-- name: prune_runs(workspace_id, before, after_at, after_id, limit)
-- One page of a workspace's old runs: those that ended before go, with artifacts and context. One whose draft still waits
-- for a person or a send stays, and one that another prune has in hand. Drafts, claims, deliveries, calls stay.
WITH page AS (
    SELECT id, created_at FROM draft_pipeline_run
    WHERE workspace_id = $1 AND created_at < $2 AND (created_at, id) > ($3, $4) ORDER BY created_at, id LIMIT $5
), old AS (
    SELECT r.id FROM draft_pipeline_run r JOIN page ON page.id = r.id
    WHERE r.status <> 'RUNNING' AND r.finished_at < $2
      AND NOT EXISTS (SELECT 1 FROM review_request q WHERE q.draft_id = r.draft_id AND q.status = 'open')
      AND NOT EXISTS (SELECT 1 FROM ai_draft d WHERE d.id = r.draft_id AND d.status IN ('scheduled', 'unknown'))
    FOR UPDATE OF r SKIP LOCKED
), artifacts AS (
    DELETE FROM draft_pipeline_artifact a USING old WHERE a.run_id = old.id RETURNING 1
), contexts AS (
    DELETE FROM draft_run_context c USING old WHERE c.run_id = old.id RETURNING 1
), drafts AS (
    UPDATE ai_draft d SET run_id = NULL FROM old WHERE d.run_id = old.id
), runs AS (
    DELETE FROM draft_pipeline_run r USING old WHERE r.id = old.id RETURNING 1
)
SELECT (SELECT count(*) FROM page) AS seen, (SELECT count(*) FROM runs) AS runs,
       (SELECT count(*) FROM artifacts) AS artifacts, (SELECT count(*) FROM contexts) AS contexts,
       last.created_at AS after_at, last.id AS after_id
FROM (SELECT 1) one LEFT JOIN (SELECT created_at, id FROM page ORDER BY created_at DESC, id DESC LIMIT 1) last ON true;

-- name: prune_outbox(before, after_id, limit)
-- One page of the outbox from its old end: what was published before goes. Ids grow with time, so a page that is young
-- is the last.
WITH page AS (
    SELECT id, created_at, published_at FROM outbox WHERE id > $2 ORDER BY id LIMIT $3
), gone AS (
    DELETE FROM outbox o USING page WHERE o.id = page.id AND page.published_at < $1 RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS rows, max(id) AS after_id,
       coalesce(min(created_at) < $1 AND count(*) = $3, false) AS more FROM page;

-- name: prune_heartbeats(before)
-- Processes that died without a word.
DELETE FROM process_heartbeat WHERE beat_at < $1;

-- name: workspaces()
-- Every tenant.
SELECT id FROM workspace ORDER BY id;

-- name: share_erasure_lock()
-- Held by every batch of ingest until it commits; an erasure waits for them, and they for it. A statement of its own:
-- what follows needs a snapshot taken after the wait.
SELECT pg_advisory_xact_lock_shared(hashtext('draft-pipeline:erasure'));

-- name: own_erasure_lock()
-- Held by an erasure until it commits: no replay slips in between.
SELECT pg_advisory_xact_lock(hashtext('draft-pipeline:erasure'));

-- name: lock_lead_to_erase(workspace_id, lead_id)
-- The lead, locked against ingest, sends and reviews, with the id that takes the place of theirs.
SELECT l.workspace_id, l.lead_id, erased_id(l.workspace_id, l.lead_id) AS erased_id FROM lead l
WHERE l.workspace_id = $1 AND l.lead_id = $2 FOR UPDATE;

-- name: was_erased(workspace_id, lead_id)
-- Whether a lead of this id was erased before.
SELECT erased_id($1, $2) AS erased_id,
       EXISTS (SELECT 1 FROM lead WHERE workspace_id = $1 AND lead_id = erased_id($1, $2)) AS erased;

-- name: rows_of_lead(workspace_id, lead_id)
-- How much there is of a lead, by table.
SELECT (SELECT count(*) FROM message WHERE workspace_id = $1 AND lead_id = $2) AS messages,
       (SELECT count(*) FROM draft_pipeline_run WHERE workspace_id = $1 AND lead_id = $2) AS runs,
       (SELECT count(*) FROM ai_draft WHERE workspace_id = $1 AND lead_id = $2) AS drafts,
       (SELECT count(*) FROM delivery WHERE workspace_id = $1 AND lead_id = $2) AS deliveries,
       (SELECT count(*) FROM lead_memory_entry WHERE workspace_id = $1 AND lead_id = $2) AS memory_entries;

-- name: under_way_of_lead(workspace_id, lead_id)
-- What an erasure waits for: a send whose outcome is not known yet, an event that is not on its topic yet.
SELECT (SELECT count(*) FROM delivery WHERE workspace_id = $1 AND lead_id = $2 AND status = 'claimed') AS sends,
       (SELECT count(*) FROM outbox WHERE published_at IS NULL AND conversation IS NULL AND workspace_id = $1
        AND key = convert_to($2, 'UTF8')) AS events;

-- name: drop_waiting_requests_of_lead(workspace_id, lead_id)
-- What waited for a draft is not drafted.
DELETE FROM outbox WHERE published_at IS NULL AND conversation IS NOT NULL AND workspace_id = $1
  AND key = convert_to($2, 'UTF8');

-- name: open_drafts_of_lead(workspace_id, lead_id)
-- Drafts that somebody could still send.
SELECT id, coalesce(run_id, id) AS decided_run_id, coalesce(auto_send_action, 'none') AS action FROM ai_draft
WHERE workspace_id = $1 AND lead_id = $2 AND status IN ('pending', 'scheduled') ORDER BY id FOR UPDATE;

-- name: close_reviews_of_lead(workspace_id, lead_id)
-- Nobody is asked any more, and every Slack message that showed a draft is to be written anew.
UPDATE review_request q SET status = CASE q.status WHEN 'open' THEN 'superseded' ELSE q.status END,
       closed_at = coalesce(q.closed_at, now()), slack_updated_at = NULL
FROM ai_draft d WHERE d.workspace_id = $1 AND d.lead_id = $2 AND q.draft_id = d.id;

-- name: delete_runs_of_lead(workspace_id, lead_id)
-- Runs with their artifacts and context, RUNNING ones too: what their workers still write finds no run and is refused.
DELETE FROM draft_pipeline_run WHERE workspace_id = $1 AND lead_id = $2;

-- name: put_erased_lead(workspace_id, erased_id)
-- The lead without anything of theirs, under a hashed id.
INSERT INTO lead (workspace_id, lead_id, erased_at) VALUES ($1, $2, now())
ON CONFLICT (workspace_id, lead_id) DO UPDATE SET erased_at = now();

-- name: erase_messages(workspace_id, lead_id, erased_id)
-- Nothing of a message stays but its kind, its times and a hashed id, by which a replay is recognised. A reply of ours
-- keeps its own id: it names the delivery.
UPDATE message SET lead_id = $3, body = '', subject = NULL, from_address = NULL, to_address = NULL, headers = '{}',
       traceparent = NULL, sent_by = CASE WHEN sent_by IN ('ai', 'reviewer') THEN sent_by END,
       source = CASE source WHEN 'draft-pipeline' THEN source END,
       thread_id = CASE thread_id WHEN '' THEN '' ELSE erased_id(workspace_id, thread_id) END,
       message_id = CASE WHEN source = 'draft-pipeline' AND message_id ~ '^draft-pipeline:[0-9a-f-]{36}$'
                         THEN message_id ELSE erased_id(workspace_id, message_id) END,
       disposition = CASE disposition WHEN 'waiting' THEN 'lead_suppressed' ELSE disposition END
WHERE workspace_id = $1 AND lead_id = $2;

-- name: erase_drafts(workspace_id, lead_id, erased_id)
-- Decisions and figures stay; of hard blocks the rules, not the places.
UPDATE ai_draft SET lead_id = $3, content = NULL, original_content = NULL, recipient = NULL, run_id = NULL,
       trigger_message_id = erased_id(workspace_id, trigger_message_id),
       thread_id = CASE thread_id WHEN '' THEN '' ELSE erased_id(workspace_id, thread_id) END,
       hard_blocks = (SELECT coalesce(jsonb_agg(jsonb_build_object('group', block -> 'group', 'rule', block -> 'rule',
                             'start', -1, 'end', -1)), '[]') FROM jsonb_array_elements(hard_blocks) block)
WHERE workspace_id = $1 AND lead_id = $2;

-- name: erase_deliveries(workspace_id, lead_id, erased_id)
-- That something was sent, when, and the hash of its text stay.
UPDATE delivery SET lead_id = $3, content = '', recipient = NULL, provider_message_id = NULL,
       trigger_message_id = erased_id(workspace_id, trigger_message_id),
       thread_id = CASE thread_id WHEN '' THEN '' ELSE erased_id(workspace_id, thread_id) END
WHERE workspace_id = $1 AND lead_id = $2;

-- name: erase_review_texts(workspace_id, lead_id)
-- Who decided what stays; what they wrote goes.
UPDATE review_action a SET edited_text = NULL, reject_reason = NULL, passed = '[]', response_url = NULL FROM ai_draft d
WHERE d.workspace_id = $1 AND d.lead_id = $2 AND a.draft_id = d.id
  AND (a.edited_text IS NOT NULL OR a.reject_reason IS NOT NULL OR a.passed <> '[]' OR a.response_url IS NOT NULL);

-- name: erase_meeting_reasons(workspace_id, lead_id)
-- The overseer's word stays, its reasons go.
UPDATE meeting_overseer_decision m SET reason = '' FROM ai_draft d
WHERE d.workspace_id = $1 AND d.lead_id = $2 AND m.draft_id = d.id AND m.reason <> '';

-- name: erase_followups(workspace_id, lead_id, erased_id)
-- That there was a follow-up stays.
UPDATE followup_task SET lead_id = $3, reason = '' WHERE workspace_id = $1 AND lead_id = $2;

-- name: erase_bookings(workspace_id, lead_id, erased_id)
-- A slot that is taken stays taken.
UPDATE booking SET lead_id = $3, external_id = erased_id(workspace_id, external_id)
WHERE workspace_id = $1 AND lead_id = $2;

-- name: keep_suppression(workspace_id, lead_id, erased_id)
-- Who opted out stays opted out, under the hashed id.
WITH gone AS (DELETE FROM suppression WHERE workspace_id = $1 AND lead_id = $2 RETURNING reason, created_at)
INSERT INTO suppression (workspace_id, lead_id, reason, created_at) SELECT $1, $3, reason, created_at FROM gone
ON CONFLICT DO NOTHING;

-- name: delete_lead(workspace_id, lead_id)
-- The lead's own row, and with it what still hangs on it: memory entries.
DELETE FROM lead WHERE workspace_id = $1 AND lead_id = $2;

-- name: outbox_page(after_id, limit, bytes)
-- The outbox from its old end, for a search that no index helps: key and, for dead letters, the original. At most `limit`
-- rows, and as many as fit into `bytes`.
SELECT id, workspace_id, key, topic, published, letter
FROM (SELECT id, workspace_id, key, topic, published_at IS NOT NULL AS published,
             CASE topic WHEN 'dead-letter' THEN value END AS letter,
             sum(CASE topic WHEN 'dead-letter' THEN octet_length(value) END) OVER (ORDER BY id) AS bytes,
             row_number() OVER (ORDER BY id) AS position
      FROM outbox WHERE id > $1 ORDER BY id LIMIT $2) sized
WHERE position = 1 OR coalesce(bytes, 0) <= $3 ORDER BY id;

-- name: delete_outbox_rows(ids)
-- Published events, whose topics have them.
DELETE FROM outbox WHERE id = ANY ($1::bigint[]) AND published_at IS NOT NULL;

-- name: slack_messages_of_lead(workspace_id, lead_id)
-- Slack messages about drafts of this lead that were not written anew since the erasure. Without `slack_ts`: one that a
-- worker may be posting right now.
SELECT q.id, q.draft_id, q.slack_channel, coalesce(q.slack_ts, q.slack_previous_ts) AS slack_ts
FROM review_request q JOIN ai_draft d ON d.id = q.draft_id
WHERE d.workspace_id = $1 AND d.lead_id = $2 AND q.slack_updated_at IS NULL
  AND (coalesce(q.slack_ts, q.slack_previous_ts) IS NOT NULL OR q.posted_at > now() - interval '15 seconds') ORDER BY q.id;

-- name: slack_message_written(review_id)
-- A Slack message holds no draft any more.
UPDATE review_request SET slack_updated_at = now() WHERE id = $1;

-- name: erased_messages(ids)
-- Which of these messages were erased: a replay of theirs brings nothing back.
SELECT m.id FROM message m JOIN lead l ON l.workspace_id = m.workspace_id AND l.lead_id = m.lead_id
WHERE m.id = ANY ($1::uuid[]) AND l.erased_at IS NOT NULL;
