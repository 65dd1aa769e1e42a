-- name: lock_bookings(workspace_id)
-- One change at a time of what is taken in a workspace's calendar. Must be a statement of its own: what follows needs a
-- snapshot taken after the wait.
SELECT pg_advisory_xact_lock(hashtextextended('draft-pipeline:booking:' || $1::text, 0));

-- name: release_superseded_holds(run_id)
-- What older drafts of this run's lead hold, of which nothing can be sent any more: their run was superseded.
UPDATE booking b SET status = 'released', reason = 'superseded', updated_at = now()
FROM draft_pipeline_run mine, ai_draft d JOIN draft_pipeline_run r ON r.id = d.run_id
WHERE mine.id = $1 AND b.workspace_id = mine.workspace_id AND b.lead_id = mine.lead_id AND b.status = 'held'
  AND d.id = b.draft_id AND d.id <> mine.draft_id AND r.superseded_at IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM delivery x WHERE x.draft_id = d.id AND x.status IN ('claimed', 'unknown'));

-- name: hold_slot_if_leased(booking_id, run_id, epoch, slot_id, starts_at, ends_at)
-- Hold a slot for a run's draft, unless a person has settled it. Where it is over, not in the calendar any more, or
-- something overlaps it, the row is `released`, and says so. Again for the same draft: its own hold is no obstacle. Under
-- `lock_bookings`.
WITH mine AS (
    UPDATE ai_draft d SET scheduling = true FROM draft_pipeline_run r
    WHERE r.id = $2 AND r.lease_epoch = $3 AND r.status = 'RUNNING' AND d.id = r.draft_id AND d.status = 'pending'
    RETURNING d.id, d.workspace_id, d.lead_id
), slot AS (
    SELECT a.id FROM availability_slot a, mine
    WHERE a.id = $4 AND a.workspace_id = mine.workspace_id AND a.starts_at = $5 AND a.ends_at = $6 AND $5 > now()
      AND NOT EXISTS (SELECT 1 FROM booking o WHERE o.workspace_id = mine.workspace_id
                      AND o.status IN ('held', 'confirmed') AND o.ends_at > $5 AND o.starts_at < $6
                      AND o.draft_id IS DISTINCT FROM mine.id)
)
INSERT INTO booking AS b (id, workspace_id, lead_id, draft_id, slot_id, starts_at, ends_at, status, reason)
SELECT $1, mine.workspace_id, mine.lead_id, mine.id, (SELECT id FROM slot), $5, $6,
       CASE WHEN EXISTS (SELECT 1 FROM slot) THEN 'held' ELSE 'released' END,
       CASE WHEN EXISTS (SELECT 1 FROM slot) THEN '' ELSE 'slot_taken' END
FROM mine
ON CONFLICT (draft_id) WHERE draft_id IS NOT NULL DO UPDATE
SET slot_id = excluded.slot_id, starts_at = excluded.starts_at, ends_at = excluded.ends_at, status = excluded.status,
    reason = excluded.reason, updated_at = now()
WHERE b.status <> 'confirmed'
RETURNING b.status;

-- name: hold_again_if_free(draft_id)
-- A person sends what was written when its time was held: hold it again. Under `lock_bookings`.
UPDATE booking b SET status = 'held', slot_id = a.id, reason = '', updated_at = now()
FROM availability_slot a
WHERE b.draft_id = $1 AND b.status = 'released' AND b.starts_at > now() AND a.workspace_id = b.workspace_id
  AND a.starts_at = b.starts_at AND a.ends_at = b.ends_at
  AND NOT EXISTS (SELECT 1 FROM booking o WHERE o.workspace_id = b.workspace_id AND o.status IN ('held', 'confirmed')
                  AND o.ends_at > b.starts_at AND o.starts_at < b.ends_at AND o.id <> b.id)
RETURNING b.id;

-- name: lock_hold(draft_id)
-- Whether the draft's hold stands; it does until this transaction ends.
SELECT status = 'held' AND slot_id IS NOT NULL AND starts_at > now() FROM booking WHERE draft_id = $1 FOR UPDATE;

-- name: drop_booking(draft_id)
-- The draft's text does not agree to that time any more.
DELETE FROM booking WHERE draft_id = $1 AND status <> 'confirmed';

-- name: record_meeting_if_leased(decision_id, run_id, epoch, decision, reason, outcome, outcome_reason, accepted_at, keeps_booking)
-- The overseer's word on a draft and what the booking rules make of it. A retried run's takes the place of the first; a
-- draft whose text does not agree to a time gives it up.
WITH mine AS (
    UPDATE ai_draft d SET scheduling = true FROM draft_pipeline_run r
    WHERE r.id = $2 AND r.lease_epoch = $3 AND r.status = 'RUNNING' AND d.id = r.draft_id AND d.status = 'pending'
    RETURNING d.id
), given_up AS (
    DELETE FROM booking b USING mine WHERE NOT $9::boolean AND b.draft_id = mine.id AND b.status <> 'confirmed'
)
INSERT INTO meeting_overseer_decision (id, run_id, draft_id, decision, reason, outcome, outcome_reason, accepted_at)
SELECT $1, $2, mine.id, $4, $5, $6, $7, $8 FROM mine
ON CONFLICT (draft_id) DO UPDATE
SET run_id = excluded.run_id, decision = excluded.decision, reason = excluded.reason, outcome = excluded.outcome,
    outcome_reason = excluded.outcome_reason, accepted_at = excluded.accepted_at;

-- name: record_followup(draft_id, outcome, reason)
-- What became of the meeting, once per draft; due when the time comes that the lead accepted.
INSERT INTO followup_task AS f (id, workspace_id, lead_id, draft_id, outcome, reason, due_at)
SELECT md5('followup:' || d.id)::uuid, d.workspace_id, d.lead_id, d.id, $2, $3, m.accepted_at
FROM ai_draft d LEFT JOIN meeting_overseer_decision m ON m.draft_id = d.id WHERE d.id = $1
ON CONFLICT (draft_id) WHERE draft_id IS NOT NULL DO UPDATE
SET outcome = excluded.outcome, reason = excluded.reason, due_at = excluded.due_at;

-- name: slots_still_free(workspace_id, draft_id, slot_ids)
-- Those of the slots that this draft may still offer or agree to.
SELECT a.id FROM availability_slot a
WHERE a.workspace_id = $1 AND a.id = ANY ($3::bigint[]) AND a.starts_at > now()
  AND NOT EXISTS (SELECT 1 FROM booking o WHERE o.workspace_id = a.workspace_id AND o.status IN ('held', 'confirmed')
                  AND o.ends_at > a.starts_at AND o.starts_at < a.ends_at AND o.draft_id IS DISTINCT FROM $2);

-- name: known_workspace(workspace_id)
-- Whether there is such a workspace.
SELECT EXISTS (SELECT 1 FROM workspace WHERE id = $1);

-- name: insert_or_lock_lead(workspace_id, lead_id)
-- The lead of a booking made outside, who may never have written; a send to the lead waits.
INSERT INTO lead AS l (workspace_id, lead_id) VALUES ($1, $2)
ON CONFLICT (workspace_id, lead_id) DO UPDATE SET updated_at = l.updated_at;

-- name: outside_booking(workspace_id, external_id)
-- A booking made outside, by the name it has there.
SELECT * FROM booking WHERE workspace_id = $1 AND external_id = $2 FOR UPDATE;

-- name: lock_overlapping(workspace_id, external_id, starts_at, ends_at)
-- Everything that takes part of this time, but the booking itself.
SELECT id, status, starts_at, ends_at FROM booking
WHERE workspace_id = $1 AND external_id IS DISTINCT FROM $2 AND status IN ('held', 'confirmed')
  AND ends_at > $3 AND starts_at < $4 ORDER BY id FOR UPDATE;

-- name: displace_holds(booking_ids)
-- Holds give way to what is a fact outside, unless their reply may be on its way; returns those that did.
UPDATE booking b SET status = 'released', reason = 'booked_outside', updated_at = now()
WHERE b.id = ANY ($1::uuid[]) AND b.status = 'held' AND NOT EXISTS (
    SELECT 1 FROM delivery d WHERE d.draft_id = b.draft_id AND d.status IN ('claimed', 'unknown'))
RETURNING b.id;

-- name: put_outside_booking(booking_id, workspace_id, lead_id, external_id, starts_at, ends_at, status)
-- A booking made outside, new, moved or cancelled; returns whether anything changed.
INSERT INTO booking AS b (id, workspace_id, lead_id, external_id, starts_at, ends_at, status, source, slot_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'outside', CASE WHEN $7 = 'confirmed' THEN (
    SELECT a.id FROM availability_slot a WHERE a.workspace_id = $2 AND a.starts_at = $5 AND a.ends_at = $6) END)
ON CONFLICT (workspace_id, external_id) WHERE external_id IS NOT NULL DO UPDATE
SET starts_at = excluded.starts_at, ends_at = excluded.ends_at, status = excluded.status, slot_id = excluded.slot_id,
    updated_at = now()
WHERE (b.starts_at, b.ends_at, b.status) IS DISTINCT FROM (excluded.starts_at, excluded.ends_at, excluded.status)
RETURNING b.id;

-- name: meeting_outcomes(workspace_ids)
-- What became of meetings, counted by workspace and outcome.
SELECT workspace_id, outcome, count(*) AS tasks FROM followup_task
WHERE workspace_id = ANY ($1::text[]) GROUP BY 1, 2 ORDER BY 1, 2;

-- name: forget_time(workspace_id, starts_at)
-- A time of the reserved workspace of `smoke`: its slot goes, its booking is over.
WITH booked AS (
    UPDATE booking SET status = 'released', reason = 'smoke', updated_at = now()
    WHERE workspace_id = $1 AND starts_at = $2 AND status <> 'released'
)
DELETE FROM availability_slot WHERE workspace_id = $1 AND starts_at = $2;
