-- name: lock_slots(workspace_id)
-- One import into a workspace's calendar at a time, and no hold meanwhile.
SELECT pg_advisory_xact_lock(hashtextextended('draft-pipeline:booking:' || $1::text, 0));

-- name: slots_of_source(workspace_id, source)
-- The slots to come that an earlier import of this source left.
SELECT id, starts_at, ends_at FROM availability_slot WHERE workspace_id = $1 AND source = $2 AND starts_at > now()
ORDER BY starts_at, ends_at;

-- name: add_slots(workspace_id, source, starts, ends)
-- Free appointments; one that is there already, from whatever source, stays. Returns the new ones.
INSERT INTO availability_slot (workspace_id, source, starts_at, ends_at)
SELECT $1, $2, s, e FROM unnest($3::timestamptz[], $4::timestamptz[]) AS g (s, e)
ON CONFLICT DO NOTHING RETURNING id;

-- name: remove_slots(slot_ids)
-- Slots that left the calendar. A booking keeps its own times; a hold on such a slot no longer stands.
DELETE FROM availability_slot WHERE id = ANY ($1::bigint[]);

-- name: holds_on(slot_ids)
-- How many of these slots a draft holds.
SELECT count(*) FROM booking WHERE slot_id = ANY ($1::bigint[]) AND status = 'held';

-- name: slot_list(workspace_id, days)
-- A workspace's slots to come, each with what stands in it.
SELECT a.id, a.starts_at, a.ends_at, a.source, coalesce(b.status, 'free') AS state, b.lead_id, b.draft_id, b.external_id
FROM availability_slot a LEFT JOIN LATERAL (
    SELECT * FROM booking o WHERE o.workspace_id = a.workspace_id AND o.status IN ('held', 'confirmed')
    AND o.ends_at > a.starts_at AND o.starts_at < a.ends_at ORDER BY o.status, o.starts_at LIMIT 1) b ON true
WHERE a.workspace_id = $1 AND a.starts_at > now() AND a.starts_at < now() + make_interval(days => $2)
ORDER BY a.starts_at, a.ends_at;
