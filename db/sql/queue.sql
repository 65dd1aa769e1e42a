-- name: open_queue(workspace_id, unknown, reason, older_s, confidence_min, confidence_below, unjudged, after, limit)
-- What waits for a person, oldest first; with `unknown`, what may have been sent. Null filters take everything, `after` a
-- draft what follows it, also when it has been decided.
SELECT q.draft_id, q.workspace_id, w.name AS workspace_name, q.reason, q.created_at, q.expires_at, d.status, d.channel,
       d.lead_id, l.name AS lead_name, left(d.content, 200) AS excerpt, d.auto_send_confidence AS confidence,
       d.auto_send_threshold AS threshold, jsonb_array_length(d.hard_blocks) AS blocks
FROM review_request q JOIN ai_draft d ON d.id = q.draft_id JOIN workspace w ON w.id = q.workspace_id
LEFT JOIN lead l ON l.workspace_id = d.workspace_id AND l.lead_id = d.lead_id
WHERE q.status = 'open' AND (d.status = 'unknown') = $2
  AND ($1::text IS NULL OR q.workspace_id = $1) AND ($3::text IS NULL OR q.reason = $3)
  AND q.created_at <= now() - make_interval(secs => $4)
  AND ($5::float8 IS NULL OR d.auto_send_confidence >= $5) AND ($6::float8 IS NULL OR d.auto_send_confidence < $6)
  AND (NOT $7 OR d.auto_send_confidence IS NULL)
  AND ($8::uuid IS NULL OR (q.created_at, q.draft_id) >
       (SELECT created_at, draft_id FROM review_request WHERE draft_id = $8))
ORDER BY q.created_at, q.draft_id LIMIT $9;

-- name: closed_queue(workspace_id, status, lately_s, reason, older_s, confidence_min, confidence_below, unjudged, after, limit)
-- What was decided lately, or expired, newest first, with what the person did who closed it.
SELECT q.draft_id, q.workspace_id, w.name AS workspace_name, q.reason, q.created_at, q.expires_at, q.closed_at, d.status,
       d.channel, d.lead_id, l.name AS lead_name, left(d.content, 200) AS excerpt, d.auto_send_confidence AS confidence,
       d.auto_send_threshold AS threshold, jsonb_array_length(d.hard_blocks) AS blocks, act.actor, act.result, act.via
FROM review_request q JOIN ai_draft d ON d.id = q.draft_id JOIN workspace w ON w.id = q.workspace_id
LEFT JOIN lead l ON l.workspace_id = d.workspace_id AND l.lead_id = d.lead_id
LEFT JOIN LATERAL (SELECT a.actor, a.result, a.via FROM review_action a WHERE a.draft_id = d.id
                   AND a.done_at IS NOT NULL AND a.result NOT LIKE 'refused%' ORDER BY a.done_at DESC LIMIT 1) act ON true
WHERE q.status <> 'open' AND q.status = $2 AND q.closed_at > now() - make_interval(secs => $3)
  AND ($1::text IS NULL OR q.workspace_id = $1) AND ($4::text IS NULL OR q.reason = $4)
  AND q.created_at <= now() - make_interval(secs => $5)
  AND ($6::float8 IS NULL OR d.auto_send_confidence >= $6) AND ($7::float8 IS NULL OR d.auto_send_confidence < $7)
  AND (NOT $8 OR d.auto_send_confidence IS NULL)
  AND ($9::uuid IS NULL OR (q.closed_at, q.draft_id) <
       (SELECT closed_at, draft_id FROM review_request WHERE draft_id = $9))
ORDER BY q.closed_at DESC, q.draft_id DESC LIMIT $10;

-- name: scheduled_queue(workspace_id, reason, older_s, confidence_min, confidence_below, unjudged, after, limit)
-- Sends that are to go out later, soonest first: a person may still take them back.
SELECT x.draft_id, x.workspace_id, w.name AS workspace_name, d.auto_send_reason AS reason, x.created_at,
       x.scheduled_for AS due_at, x.automatic, x.approved_by AS actor, d.status, d.channel, d.lead_id, l.name AS lead_name,
       left(x.content, 200) AS excerpt, d.auto_send_confidence AS confidence, d.auto_send_threshold AS threshold,
       jsonb_array_length(d.hard_blocks) AS blocks
FROM delivery x JOIN ai_draft d ON d.id = x.draft_id JOIN workspace w ON w.id = x.workspace_id
LEFT JOIN lead l ON l.workspace_id = d.workspace_id AND l.lead_id = d.lead_id
WHERE x.status = 'scheduled' AND ($1::text IS NULL OR x.workspace_id = $1)
  AND ($2::text IS NULL OR d.auto_send_reason = $2) AND x.created_at <= now() - make_interval(secs => $3)
  AND ($4::float8 IS NULL OR d.auto_send_confidence >= $4) AND ($5::float8 IS NULL OR d.auto_send_confidence < $5)
  AND (NOT $6 OR d.auto_send_confidence IS NULL)
  AND ($7::uuid IS NULL OR (x.scheduled_for, x.draft_id) >
       (SELECT scheduled_for, draft_id FROM delivery WHERE draft_id = $7 ORDER BY created_at DESC LIMIT 1))
ORDER BY x.scheduled_for, x.draft_id LIMIT $8;

-- name: queue_counts(workspace_id, lately_s)
-- How much there is of each: waiting and unknown now, scheduled, and what expired or was decided lately; and how long
-- the oldest has waited.
SELECT count(*) FILTER (WHERE q.status = 'open' AND d.status <> 'unknown') AS waiting,
       count(*) FILTER (WHERE q.status = 'open' AND d.status = 'unknown') AS unknown,
       count(*) FILTER (WHERE q.status = 'expired') AS expired,
       count(*) FILTER (WHERE q.status = 'decided') AS decided,
       (SELECT count(*) FROM delivery x WHERE x.status = 'scheduled' AND ($1::text IS NULL OR x.workspace_id = $1))
           AS scheduled,
       min(q.created_at) FILTER (WHERE q.status = 'open') AS oldest, now() AS now
FROM review_request q JOIN ai_draft d ON d.id = q.draft_id
WHERE ($1::text IS NULL OR q.workspace_id = $1)
  AND (q.status = 'open' OR q.closed_at > now() - make_interval(secs => $2));

-- name: open_reasons(workspace_id, unknown)
-- Why people are being asked, most frequent first; with `unknown`, about what may have been sent.
SELECT q.reason, count(*) AS count FROM review_request q JOIN ai_draft d ON d.id = q.draft_id
WHERE q.status = 'open' AND (d.status = 'unknown') = $2 AND ($1::text IS NULL OR q.workspace_id = $1)
GROUP BY q.reason ORDER BY count(*) DESC, q.reason;

-- name: closed_reasons(workspace_id, status, lately_s)
-- Why people were asked about what was decided lately, or expired, most frequent first.
SELECT reason, count(*) AS count FROM review_request
WHERE status <> 'open' AND status = $2 AND closed_at > now() - make_interval(secs => $3)
  AND ($1::text IS NULL OR workspace_id = $1)
GROUP BY reason ORDER BY count(*) DESC, reason;

-- name: scheduled_reasons(workspace_id)
-- Why sends are scheduled, most frequent first.
SELECT d.auto_send_reason AS reason, count(*) AS count FROM delivery x JOIN ai_draft d ON d.id = x.draft_id
WHERE x.status = 'scheduled' AND d.auto_send_reason IS NOT NULL AND ($1::text IS NULL OR x.workspace_id = $1)
GROUP BY d.auto_send_reason ORDER BY count(*) DESC, d.auto_send_reason;

-- name: open_workspaces()
-- Workspaces in which somebody is being asked.
SELECT w.id, w.name, count(*) AS count FROM review_request q JOIN workspace w ON w.id = q.workspace_id
WHERE q.status = 'open' GROUP BY w.id, w.name ORDER BY w.id;

-- name: conversation_of_draft(draft_id, limit)
-- The conversation that a draft belongs to, newest first; `trigger` is the message it answers.
SELECT m.direction, m.body, m.subject, m.sent_by, m.source, m.human, m.received_at, m.draft_id = d.id AS ours,
       m.message_id = d.trigger_message_id AS trigger, m.ingest_seq > d.trigger_ingest_seq AS later
FROM ai_draft d JOIN message m ON m.workspace_id = d.workspace_id AND m.lead_id = d.lead_id AND m.channel = d.channel
     AND m.thread_id = d.thread_id
WHERE d.id = $1 ORDER BY m.ingest_seq DESC LIMIT $2;

-- name: draft_reviewed(draft_id)
-- A draft with what its page tells beside its standing: lead, times, versions, and the evaluator's words.
SELECT d.original_content, d.created_at, d.auto_send_original_confidence, d.auto_send_revision_confidence,
       d.auto_send_revision_applied, d.auto_send_revision_iterations, d.revision_outcome, d.mode, d.campaign_id, d.run_id,
       d.language, l.name AS lead_name, d.recipient, q.created_at AS asked_at, q.closed_at, q.status AS review_status,
       (SELECT a.text FROM draft_pipeline_artifact a WHERE a.run_id = d.run_id AND a.stage = 'final_draft'
        ORDER BY a.iteration DESC LIMIT 1) AS decided_text,
       (SELECT a.payload -> 'reasons' FROM draft_pipeline_artifact a WHERE a.run_id = d.run_id
        AND a.stage = 'auto_send_evaluation' AND a.iteration = d.chosen_iteration) AS evaluation
FROM ai_draft d LEFT JOIN review_request q ON q.draft_id = d.id
LEFT JOIN lead l ON l.workspace_id = d.workspace_id AND l.lead_id = d.lead_id
WHERE d.id = $1;

-- name: actions_of_draft(draft_id)
-- What people did with a draft, newest first.
SELECT id, actor, via, action, result, edited_text, reject_reason, binding, passed, draft_id, created_at, done_at
FROM review_action WHERE draft_id = $1 ORDER BY created_at DESC;
