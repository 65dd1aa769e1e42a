-- name: take_due_deliveries(owner, lease_s, limit, workspace_limit)
-- Due sends, and claimed ones whose worker died, by any worker; epoch + 1 on every taking. A workspace has at most so many
-- at a time, one with a pace no more than a second's worth: whose receiver hangs, or who must wait, holds up no other.
WITH due AS (
    SELECT id FROM delivery
    WHERE id IN (SELECT id FROM (
          SELECT id, open.workspace_id, row_number() OVER (PARTITION BY open.workspace_id ORDER BY scheduled_for) + (
                     SELECT count(*) FROM delivery busy WHERE busy.workspace_id = open.workspace_id
                     AND busy.status IN ('scheduled', 'claimed') AND busy.lease_until > now()) AS place
          FROM delivery open
          WHERE status IN ('scheduled', 'claimed') AND coalesce(retry_at, scheduled_for) <= now()
            AND (lease_until IS NULL OR lease_until < now())) queued
          JOIN workspace_settings p ON p.workspace_id = queued.workspace_id
          WHERE place <= least($4, ceil(p.sends_per_s_max)))
      AND (lease_until IS NULL OR lease_until < now())
    ORDER BY scheduled_for LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE delivery d
SET lease_owner = $1, lease_epoch = lease_epoch + 1, lease_until = now() + make_interval(secs => $2)
FROM due, workspace_settings s, workspace w, ai_draft a
LEFT JOIN campaign c ON c.workspace_id = a.workspace_id AND c.campaign_id = a.campaign_id
WHERE d.id = due.id AND s.workspace_id = d.workspace_id AND w.id = d.workspace_id AND a.id = d.draft_id
RETURNING d.*, s.channels, coalesce(c.mode, w.default_mode) AS mode_now,
          extract(epoch FROM now() - d.created_at)::float8 AS waited_s,
          EXISTS (SELECT 1 FROM kill_switch k WHERE k.disabled AND k.name = 'AUTO_SEND_DISABLED') AS send_off;

-- name: delivery_by_id(delivery_id)
-- One delivery.
SELECT * FROM delivery WHERE id = $1;

-- name: lock_lead(workspace_id, lead_id)
-- Ingest and send lock the same row: whoever is second sees what the first wrote.
SELECT erased_at IS NOT NULL AS erased FROM lead WHERE workspace_id = $1 AND lead_id = $2 FOR NO KEY UPDATE;

-- name: send_standing(draft_id)
-- Whatever could stand against this send, as it is now; read after the lead's row is locked.
SELECT d.*, now() AS now, m.subject, m.headers, m.traceparent,
       coalesce(c.mode, w.default_mode) AS mode_now, s.channels, s.auto_replies_per_hour_max,
       s.auto_replies_per_day_max, s.sends_per_s_max, s.review_s_max, p.revision AS policy_now, p.auto_send_threshold AS threshold_now,
       EXISTS (SELECT 1 FROM kill_switch k WHERE k.disabled AND k.name = 'AUTO_SEND_DISABLED') AS send_off,
       EXISTS (SELECT 1 FROM suppression x WHERE x.workspace_id = d.workspace_id AND x.lead_id = d.lead_id)
           AS suppressed,
       EXISTS (SELECT 1 FROM message n WHERE n.workspace_id = d.workspace_id AND n.lead_id = d.lead_id
               AND n.channel = d.channel AND n.thread_id = d.thread_id AND n.direction = 'inbound' AND n.human
               AND n.ingest_seq > d.trigger_ingest_seq) AS newer_inbound,
       EXISTS (SELECT 1 FROM message n WHERE n.workspace_id = d.workspace_id AND n.lead_id = d.lead_id
               AND n.direction = 'outbound' AND n.ingest_seq > d.trigger_ingest_seq
               AND n.draft_id IS DISTINCT FROM d.id
               AND (n.draft_id IS NULL OR (n.channel = d.channel AND n.thread_id = d.thread_id))) AS answered,
       EXISTS (SELECT 1 FROM message n WHERE n.workspace_id = d.workspace_id AND n.lead_id = d.lead_id
               AND NOT (n.channel = d.channel AND n.thread_id = d.thread_id) AND n.direction = 'inbound' AND n.human
               AND n.ingest_seq > d.trigger_ingest_seq) AS newer_elsewhere,
       EXISTS (SELECT 1 FROM message n WHERE n.draft_id = d.id AND n.direction = 'outbound') AS already_sent,
       EXISTS (SELECT 1 FROM restore_quarantine z WHERE m.received_at < z.until) AS quarantined,
       replies.last_hour AS replies_last_hour, replies.last_day AS replies_last_day,
       b.status AS booking_status, b.starts_at AS booking_starts_at, o.outcome AS meeting_outcome,
       o.outcome_reason AS meeting_reason,
       CASE WHEN NOT d.scheduling THEN NULL
            WHEN EXISTS (SELECT 1 FROM booking x WHERE x.workspace_id = d.workspace_id
                         AND x.status IN ('held', 'confirmed') AND x.ends_at > b.starts_at AND x.starts_at < b.ends_at
                         AND x.id <> b.id)
              OR EXISTS (SELECT 1 FROM booking x WHERE x.workspace_id = d.workspace_id AND x.lead_id = d.lead_id
                         AND x.status = 'confirmed' AND x.draft_id IS DISTINCT FROM d.id AND x.ends_at > now()
                         AND x.updated_at > d.created_at) THEN 'meeting_already_booked'
            WHEN b.status = 'held' AND (b.slot_id IS NULL OR b.starts_at <= now()) THEN 'meeting_time_gone'
       END AS meeting_obstacle
FROM ai_draft d
JOIN workspace w ON w.id = d.workspace_id
JOIN workspace_settings s ON s.workspace_id = d.workspace_id
JOIN message m ON m.workspace_id = d.workspace_id AND m.message_id = d.trigger_message_id
LEFT JOIN campaign c ON c.workspace_id = d.workspace_id AND c.campaign_id = d.campaign_id
LEFT JOIN booking b ON d.scheduling AND b.draft_id = d.id
LEFT JOIN meeting_overseer_decision o ON d.scheduling AND o.draft_id = d.id
CROSS JOIN LATERAL (
    SELECT * FROM confidence_policy_revision q
    WHERE (q.scope = 'campaign' AND q.workspace_id = d.workspace_id AND q.campaign_id = d.campaign_id)
       OR (q.scope = 'workspace' AND q.workspace_id = d.workspace_id) OR q.scope = 'global'
    ORDER BY array_position(ARRAY['campaign', 'workspace', 'global'], q.scope), q.revision DESC LIMIT 1) p
CROSS JOIN LATERAL (  -- what was claimed counts: it may have been sent, whatever is known of it
    SELECT count(*) FILTER (WHERE x.claimed_at > now() - interval '1 hour') AS last_hour, count(*) AS last_day
    FROM delivery x WHERE x.workspace_id = d.workspace_id AND x.lead_id = d.lead_id AND x.channel = d.channel
      AND x.thread_id = d.thread_id AND x.automatic AND x.status IN ('claimed', 'sent', 'unknown')
      AND x.claimed_at > now() - interval '1 day') replies
WHERE d.id = $1;

-- name: claim_delivery_if_leased(delivery_id, epoch, token, owner, lease_s, route_sha256)
-- The right to call the provider. A claim left by a refused attempt is taken again; a settled one never. The reply's
-- place among the lead's messages is the one at which it was checked: a message that comes later is not answered by it.
WITH mine AS (
    UPDATE delivery SET status = 'claimed', claimed_at = now(), attempts = attempts + 1, retry_at = NULL,
           claim_seq = nextval('message_ingest_seq'), route_sha256 = $6
    WHERE id = $1 AND lease_epoch = $2 AND status = 'scheduled' RETURNING draft_id, confirmed_by
)
INSERT INTO draft_claim AS c (draft_id, purpose, token, claimed_by, lease_until)
SELECT draft_id, 'delivery', $3, $4, now() + make_interval(secs => $5) FROM mine
ON CONFLICT (draft_id, purpose) DO UPDATE
SET token = excluded.token, claimed_by = excluded.claimed_by, claimed_at = now(), lease_until = excluded.lease_until,
    settled_at = NULL, outcome = NULL
WHERE c.outcome IS NULL OR c.outcome = 'refused' OR (SELECT confirmed_by FROM mine) IS NOT NULL
RETURNING c.draft_id;

-- name: take_send_turn(workspace_id, sends_per_s, ahead_s)
-- The workspace's next turn to send, over all workers; returns the seconds until it comes. No row: all turns within
-- `ahead_s` seconds are taken.
INSERT INTO send_pace AS p (workspace_id, next_at) VALUES ($1, clock_timestamp() + make_interval(secs => 1 / $2::float8))
ON CONFLICT (workspace_id) DO UPDATE
SET next_at = greatest(p.next_at, clock_timestamp()) + make_interval(secs => 1 / $2::float8)
WHERE p.next_at <= clock_timestamp() + make_interval(secs => $3)
RETURNING greatest(extract(epoch FROM next_at - clock_timestamp())::float8 - 1 / $2::float8, 0);

-- name: finish_delivery(delivery_id, epoch, status, reason, claim_to_call_ms)
-- scheduled or claimed -> a final status; only the lease holder.
UPDATE delivery SET status = $3, reason = $4, claim_to_call_ms = $5, finished_at = now(), lease_until = NULL
WHERE id = $1 AND lease_epoch = $2 AND status IN ('scheduled', 'claimed') RETURNING id;

-- name: put_delivery_back(delivery_id, epoch, reason, retry_s)
-- A temporary refusal: try again later, taking the claim again.
UPDATE delivery SET status = 'scheduled', reason = $3, retry_at = now() + make_interval(secs => $4), lease_until = NULL
WHERE id = $1 AND lease_epoch = $2 AND status IN ('scheduled', 'claimed') RETURNING id;

-- name: ask_provider_later(delivery_id, epoch, reason, retry_s)
-- Claimed, and the provider cannot be asked now what became of it: ask again later. Nobody sends it meanwhile.
WITH asked AS (
    UPDATE delivery SET reason = $3, retry_at = now() + make_interval(secs => $4), lease_until = NULL
    WHERE id = $1 AND lease_epoch = $2 AND status = 'claimed' RETURNING draft_id
)
UPDATE draft_claim c SET lease_until = now() + make_interval(secs => $4)
FROM asked WHERE c.draft_id = asked.draft_id AND c.purpose = 'delivery' AND c.settled_at IS NULL;

-- name: settle_delivery_claim(draft_id, outcome)
-- The delivery's claim ends with the delivery.
UPDATE draft_claim SET settled_at = now(), outcome = $2
WHERE draft_id = $1 AND purpose = 'delivery' AND settled_at IS NULL;

-- name: cancel_scheduled_deliveries(draft_ids, reason)
-- Not yet claimed sends of these drafts die.
UPDATE delivery SET status = 'cancelled', reason = $2, finished_at = now(), lease_until = NULL
WHERE draft_id = ANY ($1::uuid[]) AND status = 'scheduled' RETURNING draft_id;

-- name: record_sent(delivery_id, epoch, provider_message_id, draft_id, sequence, action, reason, message_row_id, message_id, sent_by, subject, event_id, key, value, headers, taken_s, claim_to_call_ms)
-- AI Sent, in one statement: delivery, draft, outbound message, claim, review request and event. Compare and set: only the
-- lease holder, only while the draft's sequence is the one the event was made for. Both rows are locked, in everybody's
-- order, before one is written: a condition on a row that is only read does not notice who changes it in this moment.
WITH draft_held AS (
    SELECT id FROM ai_draft WHERE id = $4 AND outcome_sequence = $5 - 1 FOR UPDATE
), held AS (
    SELECT id FROM delivery WHERE id = $1 AND lease_epoch = $2 AND status IN ('scheduled', 'claimed')
      AND EXISTS (SELECT 1 FROM draft_held) FOR UPDATE
), draft AS (
    UPDATE ai_draft SET status = 'sent', auto_send_action = $6, auto_send_reason = $7, outcome_sequence = $5,
           updated_at = now()
    WHERE id = $4 AND EXISTS (SELECT 1 FROM held) RETURNING *
), sent AS (
    UPDATE delivery SET status = 'sent', provider_message_id = $3, claim_to_call_ms = $17, reason = NULL,
           finished_at = now(), lease_until = NULL
    WHERE id = $1 AND EXISTS (SELECT 1 FROM held) RETURNING *
), message AS (
    INSERT INTO message (id, workspace_id, lead_id, channel, thread_id, message_id, direction, sent_by, source, draft_id,
                         campaign_id, mode, body, subject, to_address, disposition, ingest_seq, approved_by,
                         approved_via, received_at)
    SELECT $8, d.workspace_id, d.lead_id, d.channel, d.thread_id, $9, 'outbound', $10, 'draft-pipeline', d.id,
           d.campaign_id, d.mode, s.content, $11, s.recipient, 'outbound',
           coalesce(s.claim_seq, nextval('message_ingest_seq')), s.approved_by, s.approved_via, now()
    FROM draft d, sent s
    ON CONFLICT (workspace_id, message_id) DO NOTHING
), claim AS (
    UPDATE draft_claim c SET settled_at = now(), outcome = 'sent'
    FROM sent WHERE c.draft_id = sent.draft_id AND c.purpose = 'delivery' AND c.settled_at IS NULL
), review AS (
    UPDATE review_request q SET status = 'decided', closed_at = now()
    FROM sent WHERE q.draft_id = sent.draft_id AND q.status = 'open'
)
INSERT INTO outbox (event_id, topic, key, value, headers, workspace_id, taken_until)
SELECT $12, 'draft-outcome', $13, $14, $15, sent.workspace_id, now() + make_interval(secs => $16) FROM sent
ON CONFLICT (topic, event_id) DO NOTHING RETURNING id;

-- name: insert_delivery(delivery_id, draft_id, workspace_id, lead_id, trigger_message_id, channel, thread_id, recipient, content, content_sha256, approved_by, approved_via, edited, confirmed_by)
-- A person's send, or a confirmed second one.
INSERT INTO delivery (id, draft_id, workspace_id, lead_id, trigger_message_id, channel, thread_id, automatic, recipient,
                      content, content_sha256, approved_by, approved_via, edited, confirmed_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, false, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT DO NOTHING RETURNING id;

-- name: is_past_age_limit(delivery_id)
-- Whether a delivery has been tried for longer than its workspace lets a message wait. A delay asked for is not waiting.
SELECT now() - greatest(d.scheduled_for, d.created_at) > make_interval(secs => s.message_age_s_max)
FROM delivery d JOIN workspace_settings s ON s.workspace_id = d.workspace_id WHERE d.id = $1;

-- name: text_was_edited(draft_id)
-- Whether the text that may have been sent was a person's.
SELECT edited FROM delivery WHERE draft_id = $1 AND status = 'unknown' ORDER BY created_at DESC LIMIT 1;

-- name: texts_for_recheck(draft_id)
-- A text that waited to be sent, with the context it was judged against, and settings and policy in force now.
SELECT d.language, d.scheduling, c.snapshot, c.context_pack, to_jsonb(s) AS settings, p.rules
FROM ai_draft d JOIN workspace_settings s ON s.workspace_id = d.workspace_id
LEFT JOIN draft_run_context c ON c.run_id = d.run_id
CROSS JOIN LATERAL (
    SELECT q.rules FROM confidence_policy_revision q
    WHERE (q.scope = 'campaign' AND q.workspace_id = d.workspace_id AND q.campaign_id = d.campaign_id)
       OR (q.scope = 'workspace' AND q.workspace_id = d.workspace_id) OR q.scope = 'global'
    ORDER BY array_position(ARRAY['campaign', 'workspace', 'global'], q.scope), q.revision DESC LIMIT 1) p
WHERE d.id = $1;

-- name: set_hard_blocks(draft_id, hard_blocks)
-- What the rules found when they looked again, for the person who is asked.
UPDATE ai_draft SET hard_blocks = $2, updated_at = now() WHERE id = $1;

-- name: lock_deliveries_of_draft(draft_id)
-- Wait for whoever is working on a delivery of this draft.
SELECT id FROM delivery WHERE draft_id = $1 ORDER BY id FOR UPDATE;
