-- name: open_review_if_absent(review_id, draft_id, workspace_id, reason, content_sha256, review_s)
-- A person is asked, once per draft; asked again when the old request was closed.
INSERT INTO review_request AS r (id, draft_id, workspace_id, reason, content_sha256, expires_at)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
ON CONFLICT (draft_id) DO UPDATE SET reason = excluded.reason, content_sha256 = excluded.content_sha256,
    status = 'open', closed_at = NULL, expires_at = excluded.expires_at
RETURNING id;

-- name: close_reviews(draft_ids, status)
-- The question is settled.
UPDATE review_request SET status = $2, closed_at = now() WHERE draft_id = ANY ($1::uuid[]) AND status = 'open';

-- name: add_review_action(action_id, draft_id, workspace_id, actor, via, action, content_sha256, edited_text, reject_reason, binding)
-- What a person did, append-only, before anything follows from it.
INSERT INTO review_action (id, draft_id, workspace_id, actor, via, action, content_sha256, edited_text, reject_reason,
                           binding)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
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
