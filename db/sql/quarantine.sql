-- name: add_quarantine(actor, reason)
-- From now on nothing is sent by itself for a message received until now.
INSERT INTO restore_quarantine (until, actor, reason) VALUES (now(), $1, $2) RETURNING until;

-- name: unfinished()
-- What a restored database believes to be unfinished.
SELECT (SELECT count(*) FROM delivery WHERE status = 'scheduled') AS scheduled_sends,
       (SELECT count(*) FROM delivery WHERE status = 'claimed') AS claimed_sends,
       (SELECT count(*) FROM draft_pipeline_run WHERE finished_at IS NULL) AS running_runs;

-- name: scheduled_drafts(after, limit)
-- Drafts with a scheduled send, in the order of their ids.
SELECT DISTINCT draft_id, workspace_id, lead_id FROM delivery
WHERE status = 'scheduled' AND ($1::uuid IS NULL OR draft_id > $1) ORDER BY draft_id LIMIT $2;

-- name: publish_open_work_again()
-- Requests that no run came of, events that a RUNNING run waits for, commands that nobody has carried out: whoever consumed
-- them has forgotten it, and the broker has not. The relay takes them as it takes what a crash left.
UPDATE outbox o SET published_at = NULL, taken_until = now() - interval '1 second'
WHERE o.published_at IS NOT NULL
  AND ((o.topic = 'draft-requested' AND o.consumed_at IS NULL)
    OR (o.topic IN ('draft-requested', 'draft-evaluated', 'revision-result') AND EXISTS (
        SELECT 1 FROM draft_pipeline_run r WHERE r.finished_at IS NULL AND r.workspace_id = o.workspace_id
        AND o.topic = CASE r.phase WHEN 'draft' THEN 'draft-requested' WHEN 'revise' THEN 'draft-evaluated'
                      ELSE 'revision-result' END
        AND r.draft_id = (convert_from(o.value, 'UTF8')::jsonb ->> 'draft_id')::uuid))
    OR (o.topic = 'review-command' AND EXISTS (
        SELECT 1 FROM review_action a WHERE a.done_at IS NULL
        AND a.id = (convert_from(o.value, 'UTF8')::jsonb ->> 'review_action_id')::uuid)));
