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

-- name: lead_of_draft(draft_id, workspace_id)
-- Whose draft it is, and the trace of the message it answers; no row for another workspace's, or of an erased lead.
SELECT d.lead_id, m.traceparent FROM ai_draft d
JOIN lead l ON l.workspace_id = d.workspace_id AND l.lead_id = d.lead_id AND l.erased_at IS NULL
LEFT JOIN message m ON m.workspace_id = d.workspace_id AND m.message_id = d.trigger_message_id
WHERE d.id = $1 AND d.workspace_id = $2;

-- name: add_review_action(action_id, draft_id, workspace_id, actor, via, action, content_sha256, edited_text, reject_reason, binding)
-- What a person did, append-only, before anything follows from it. Nothing about a lead who was erased: the lead's row is
-- locked against an erasure under way.
INSERT INTO review_action (id, draft_id, workspace_id, actor, via, action, content_sha256, edited_text, reject_reason,
                           binding)
SELECT $1, d.id, $3, $4, $5, $6, $7, $8, $9, $10
FROM ai_draft d JOIN lead l ON l.workspace_id = d.workspace_id AND l.lead_id = d.lead_id
WHERE d.id = $2 AND l.erased_at IS NULL FOR KEY SHARE OF l
ON CONFLICT (id) DO NOTHING RETURNING id;

-- name: keep_response_url(action_id, response_url)
-- Where Slack takes an answer to a click, for half an hour.
UPDATE review_action SET response_url = $2 WHERE id = $1;

-- name: review_action_by_id(action_id)
-- One action, locked so that two workers do not both carry it out.
SELECT * FROM review_action WHERE id = $1 FOR UPDATE;

-- name: finish_review_action(action_id, result)
-- What came of it.
UPDATE review_action SET result = $2, done_at = now() WHERE id = $1 AND done_at IS NULL;

-- name: keep_passed_blocks(action_id, passed)
-- The hard blocks of the text that a person sent all the same.
UPDATE review_action SET passed = $2 WHERE id = $1;

-- name: lock_send_under_way(draft_id)
-- The delivery of a draft that is to go out or may be going out, locked; the lead's row is locked before.
SELECT id, status, automatic, approved_by, scheduled_for FROM delivery
WHERE draft_id = $1 AND status IN ('scheduled', 'claimed') ORDER BY status, created_at DESC LIMIT 1 FOR UPDATE;

-- name: check_context(draft_id)
-- What hard blocks are checked against: what the run pinned, and what its strategy said. No row past retention.
SELECT c.snapshot, c.context_pack, d.language, d.scheduling
FROM ai_draft d JOIN draft_run_context c ON c.run_id = d.run_id WHERE d.id = $1;

-- name: take_unposted_reviews(limit, taken_s)
-- Requests that Slack has not seen; taken for a while so that one worker posts each.
UPDATE review_request SET posted_at = now(), slack_retry_at = now() + make_interval(secs => $2),
       slack_attempts = slack_attempts + 1
WHERE id IN (SELECT id FROM review_request WHERE status = 'open' AND slack_ts IS NULL
             AND workspace_id NOT LIKE 'ws-evaluate%'  -- nobody is asked about made-up messages
             AND (slack_retry_at IS NULL OR slack_retry_at < now())
             ORDER BY slack_retry_at NULLS FIRST, created_at LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING *;

-- name: set_slack_message(review_id, slack_channel, slack_ts, slack_team_id)
-- Where the Slack message of a request stands.
UPDATE review_request SET slack_channel = $2, slack_ts = $3, slack_team_id = $4, slack_retry_at = NULL, slack_attempts = 0,
       slack_previous_ts = NULL
WHERE id = $1;

-- name: postpone_slack(review_id, retry_s)
-- Slack did not take it: not again before then.
UPDATE review_request SET slack_retry_at = now() + make_interval(secs => $2) WHERE id = $1;

-- name: take_expired_reviews(limit)
-- Requests nobody answered in time.
UPDATE review_request SET status = 'expired', closed_at = now()
WHERE id IN (SELECT id FROM review_request WHERE status = 'open' AND expires_at < now() LIMIT $1
             FOR UPDATE SKIP LOCKED)
RETURNING draft_id, workspace_id;

-- name: review_standing(draft_id)
-- A draft as a reviewer is shown it, with what binds an approval: newest inbound message, policy in force, expiry.
SELECT d.id, d.workspace_id, d.lead_id, d.content, d.content_sha256, d.recipient, d.channel, d.status, d.hard_blocks,
       d.auto_send_action, d.auto_send_confidence, d.auto_send_threshold,
       w.name AS workspace_name, s.slack_channel, s.slack_approver_ids, s.slack_team_id,
       q.id AS review_id, q.status AS review_status, q.reason, q.slack_team_id AS posted_team_id,
       q.slack_channel AS posted_channel, coalesce(q.expires_at, now()) AS expires_at,
       (SELECT max(m.ingest_seq) FROM message m WHERE m.workspace_id = d.workspace_id AND m.lead_id = d.lead_id
        AND m.channel = d.channel AND m.thread_id = d.thread_id AND m.direction = 'inbound' AND m.human) AS newest_seq,
       p.revision AS policy_now, p.auto_send_threshold AS threshold_now
FROM ai_draft d JOIN workspace w ON w.id = d.workspace_id JOIN workspace_settings s ON s.workspace_id = d.workspace_id
LEFT JOIN review_request q ON q.draft_id = d.id
CROSS JOIN LATERAL (
    SELECT q.revision, q.auto_send_threshold FROM confidence_policy_revision q
    WHERE (q.scope = 'campaign' AND q.workspace_id = d.workspace_id AND q.campaign_id = d.campaign_id)
       OR (q.scope = 'workspace' AND q.workspace_id = d.workspace_id) OR q.scope = 'global'
    ORDER BY array_position(ARRAY['campaign', 'workspace', 'global'], q.scope), q.revision DESC LIMIT 1) p
WHERE d.id = $1;

-- name: review_outcome(draft_id)
-- How a draft stands after what people did: its last action that was carried out, its last delivery, its request.
SELECT d.status, d.workspace_id, d.auto_send_reason AS reason, act.action, act.actor, act.via, act.result, act.done_at,
       act.created_at AS acted_at, send.status AS send_status, send.scheduled_for, send.finished_at AS send_ended_at,
       send.automatic, q.status AS review_status, q.expires_at, q.closed_at
FROM ai_draft d
LEFT JOIN review_request q ON q.draft_id = d.id
LEFT JOIN LATERAL (SELECT * FROM review_action a WHERE a.draft_id = d.id AND a.done_at IS NOT NULL
                   AND a.result NOT LIKE 'refused%' ORDER BY a.done_at DESC LIMIT 1) act ON true
LEFT JOIN LATERAL (SELECT * FROM delivery x WHERE x.draft_id = d.id AND x.status <> 'cancelled'
                   ORDER BY x.created_at DESC LIMIT 1) send ON true
WHERE d.id = $1;

-- name: text_by_hash(draft_id, content_sha256)
-- A text that this draft had at some time, found by its hash.
SELECT text FROM (
    SELECT d.content AS text FROM ai_draft d WHERE d.id = $1
    UNION ALL SELECT d.original_content FROM ai_draft d WHERE d.id = $1
    UNION ALL SELECT a.text FROM draft_pipeline_artifact a JOIN draft_pipeline_run r ON r.id = a.run_id
              WHERE r.draft_id = $1
    UNION ALL SELECT e.edited_text FROM review_action e WHERE e.draft_id = $1) known
WHERE text IS NOT NULL AND encode(sha256(convert_to(text, 'UTF8')), 'hex') = $2 LIMIT 1;

-- name: messages_since_trigger(draft_id, limit)
-- What was written in a draft's conversation after the message it answers, oldest first; an answer elsewhere counts too.
SELECT m.direction, m.body, m.sent_by, m.source, m.received_at
FROM ai_draft d JOIN message m ON m.workspace_id = d.workspace_id AND m.lead_id = d.lead_id
WHERE d.id = $1 AND m.ingest_seq > d.trigger_ingest_seq AND m.draft_id IS DISTINCT FROM d.id AND m.human
  AND (m.direction = 'outbound' OR (m.channel = d.channel AND m.thread_id = d.thread_id))
ORDER BY m.ingest_seq LIMIT $2;

-- name: take_closed_reviews(limit, taken_s, response_s)
-- Closed requests whose Slack message still shows buttons, with who closed them and how; taken for a while. A click's
-- `response_url` is good for so many seconds.
WITH closed AS (
    SELECT id FROM review_request
    WHERE status <> 'open' AND coalesce(slack_ts, slack_previous_ts) IS NOT NULL AND slack_updated_at IS NULL
    AND (slack_retry_at IS NULL OR slack_retry_at < now()) ORDER BY closed_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE review_request q SET slack_retry_at = now() + make_interval(secs => $2), slack_attempts = slack_attempts + 1
FROM closed, ai_draft d
LEFT JOIN LATERAL (SELECT actor, via, result, created_at FROM review_action a WHERE a.draft_id = d.id
                   AND a.done_at IS NOT NULL AND a.result NOT LIKE 'refused%' ORDER BY a.done_at DESC LIMIT 1) act ON true
LEFT JOIN LATERAL (SELECT response_url FROM review_action a WHERE a.draft_id = d.id AND a.response_url IS NOT NULL
                   AND a.created_at > now() - make_interval(secs => $3) ORDER BY a.created_at DESC LIMIT 1) click ON true
WHERE q.id = closed.id AND d.id = q.draft_id
RETURNING q.id, q.draft_id, q.slack_channel, coalesce(q.slack_ts, q.slack_previous_ts) AS slack_ts, q.slack_attempts, q.status, q.closed_at,
          d.status AS draft_status, act.actor, act.via, act.result, act.created_at AS acted_at, click.response_url;

-- name: mark_slack_updated(review_id, draft_id)
-- The message of a closed request says so, or never can. No answer to its clicks is due any more.
WITH answered AS (UPDATE review_action SET response_url = NULL WHERE draft_id = $2 AND response_url IS NOT NULL)
UPDATE review_request SET slack_updated_at = now(), slack_retry_at = NULL, slack_attempts = 0 WHERE id = $1;

-- name: take_untold_expiries(limit, taken_s)
-- Expired requests whose workspace was not told; taken for a while.
UPDATE review_request q SET slack_retry_at = now() + make_interval(secs => $2), slack_attempts = slack_attempts + 1
FROM workspace w
WHERE w.id = q.workspace_id AND q.id IN (
    SELECT id FROM review_request WHERE status = 'expired' AND slack_ts IS NOT NULL AND expiry_told_at IS NULL
    AND slack_updated_at IS NOT NULL AND (slack_retry_at IS NULL OR slack_retry_at < now())
    ORDER BY closed_at LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING q.id, q.draft_id, q.workspace_id, q.slack_channel, q.slack_attempts, q.created_at, w.name AS workspace_name;

-- name: mark_expiry_told(review_id)
-- The workspace knows that nobody decided.
UPDATE review_request SET expiry_told_at = now(), slack_retry_at = NULL, slack_attempts = 0 WHERE id = $1;

-- name: take_untold_refusals(limit, told_s)
-- Clicks in Slack that were refused and not yet explained to whoever clicked; an old one is not worth it. Taken once.
UPDATE review_action a SET told_at = now()
FROM ai_draft d LEFT JOIN review_request q ON q.draft_id = d.id
WHERE d.id = a.draft_id AND a.id IN (
    SELECT id FROM review_action WHERE via = 'slack' AND told_at IS NULL AND result LIKE 'refused%'
    AND done_at > now() - make_interval(secs => $2) ORDER BY done_at LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING a.*, q.slack_channel;

-- name: action_of_draft(action_id, draft_id)
-- One action of a draft, with what came of it.
SELECT * FROM review_action WHERE id = $1 AND draft_id = $2;
