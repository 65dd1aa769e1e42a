-- name: open_review_if_absent(review_id, draft_id, workspace_id, reason, content_sha256, review_s)
-- A person is asked, once per draft; asked again when the old request was closed.
INSERT INTO review_request AS r (id, draft_id, workspace_id, reason, content_sha256, expires_at)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
ON CONFLICT (draft_id) DO UPDATE SET reason = excluded.reason, content_sha256 = excluded.content_sha256,
    status = 'open', closed_at = NULL, expires_at = excluded.expires_at, slack_ts = NULL, posted_at = NULL,
    slack_updated_at = NULL
RETURNING id;

-- name: close_reviews(draft_ids, status)
-- The question is settled.
UPDATE review_request SET status = $2, closed_at = now() WHERE draft_id = ANY ($1::uuid[]) AND status = 'open';

-- name: add_review_action(action_id, draft_id, workspace_id, actor, via, action, content_sha256, edited_text, reject_reason, binding)
-- What a person did, append-only, before anything follows from it. Nothing about a lead who was erased: the lead's row is
-- locked against an erasure under way.
INSERT INTO review_action (id, draft_id, workspace_id, actor, via, action, content_sha256, edited_text, reject_reason,
                           binding)
SELECT $1, d.id, $3, $4, $5, $6, $7, $8, $9, $10
FROM ai_draft d JOIN lead l ON l.workspace_id = d.workspace_id AND l.lead_id = d.lead_id
WHERE d.id = $2 AND l.erased_at IS NULL FOR KEY SHARE OF l
ON CONFLICT (id) DO NOTHING RETURNING id;

-- name: review_action_by_id(action_id)
-- One action, locked so that two workers do not both carry it out.
SELECT * FROM review_action WHERE id = $1 FOR UPDATE;

-- name: finish_review_action(action_id, result)
-- What came of it.
UPDATE review_action SET result = $2, done_at = now() WHERE id = $1 AND done_at IS NULL;

-- name: open_reviews(workspace_id, limit)
-- The queue, oldest first.
SELECT q.*, d.content, d.lead_id, d.channel, d.auto_send_confidence, d.auto_send_threshold, d.hard_blocks, d.status
       AS draft_status, d.trigger_message_id
FROM review_request q JOIN ai_draft d ON d.id = q.draft_id
WHERE q.status = 'open' AND ($1::text IS NULL OR q.workspace_id = $1) ORDER BY q.created_at LIMIT $2;

-- name: take_unposted_reviews(limit)
-- Requests that Slack has not seen; taken for a while so that one worker posts each.
UPDATE review_request SET posted_at = now()
WHERE id IN (SELECT id FROM review_request WHERE status = 'open' AND slack_ts IS NULL
             AND workspace_id NOT LIKE 'ws-evaluate%'  -- nobody is asked about made-up messages
             AND (posted_at IS NULL OR posted_at < now() - interval '60 seconds')
             ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING *;

-- name: set_slack_message(review_id, slack_channel, slack_ts)
-- Where the Slack message of a request stands.
UPDATE review_request SET slack_channel = $2, slack_ts = $3 WHERE id = $1;

-- name: take_expired_reviews(limit)
-- Requests nobody answered in time.
UPDATE review_request SET status = 'expired', closed_at = now()
WHERE id IN (SELECT id FROM review_request WHERE status = 'open' AND expires_at < now() LIMIT $1
             FOR UPDATE SKIP LOCKED)
RETURNING draft_id, workspace_id;

-- name: review_standing(draft_id)
-- A draft as a reviewer is shown it, with what binds an approval: newest inbound message and policy in force.
SELECT d.content, d.content_sha256, d.recipient, d.channel, d.status, d.hard_blocks, d.auto_send_confidence,
       d.auto_send_threshold, d.lead_id,
       (SELECT m.traceparent FROM message m WHERE m.workspace_id = d.workspace_id
        AND m.message_id = d.trigger_message_id) AS traceparent,
       w.name AS workspace_name, s.slack_channel, s.slack_approver_ids, s.slack_team_id,
       (SELECT max(m.ingest_seq) FROM message m WHERE m.workspace_id = d.workspace_id AND m.lead_id = d.lead_id
        AND m.channel = d.channel AND m.thread_id = d.thread_id AND m.direction = 'inbound' AND m.human) AS newest_seq,
       p.revision AS policy_now
FROM ai_draft d JOIN workspace w ON w.id = d.workspace_id JOIN workspace_settings s ON s.workspace_id = d.workspace_id
CROSS JOIN LATERAL (
    SELECT q.revision FROM confidence_policy_revision q
    WHERE (q.scope = 'campaign' AND q.workspace_id = d.workspace_id AND q.campaign_id = d.campaign_id)
       OR (q.scope = 'workspace' AND q.workspace_id = d.workspace_id) OR q.scope = 'global'
    ORDER BY array_position(ARRAY['campaign', 'workspace', 'global'], q.scope), q.revision DESC LIMIT 1) p
WHERE d.id = $1;

-- name: take_closed_reviews(limit)
-- Closed requests whose Slack message still shows buttons; each is taken once.
WITH closed AS (
    SELECT id FROM review_request WHERE status <> 'open' AND slack_ts IS NOT NULL AND slack_updated_at IS NULL
    ORDER BY closed_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE review_request q SET slack_updated_at = now()
FROM closed, ai_draft d
LEFT JOIN LATERAL (SELECT actor, via, result FROM review_action a WHERE a.draft_id = d.id AND a.done_at IS NOT NULL
                   ORDER BY a.done_at DESC LIMIT 1) act ON true
WHERE q.id = closed.id AND d.id = q.draft_id
RETURNING q.draft_id, q.slack_channel, q.slack_ts, q.status, d.status AS draft_status, act.actor, act.via, act.result;
