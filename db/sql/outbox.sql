-- name: add_event(event_id, topic, key, value, headers, workspace_id, taken_s)
-- Write an event into the outbox, taken for this process to publish at once; a crash leaves it to the sweep.
INSERT INTO outbox (event_id, topic, key, value, headers, workspace_id, taken_until)
VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
ON CONFLICT (topic, event_id) DO NOTHING
RETURNING id;

-- name: add_events(event_ids, topics, keys, values, headers, workspace_ids, taken_s)
-- The same for many.
INSERT INTO outbox (event_id, topic, key, value, headers, workspace_id, taken_until)
SELECT event_id, topic, key, value, headers, workspace_id, now() + make_interval(secs => $7)
FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[], $5::jsonb[], $6::text[])
     AS g (event_id, topic, key, value, headers, workspace_id)
ON CONFLICT (topic, event_id) DO NOTHING
RETURNING id, event_id, topic;

-- name: take_unpublished(taken_s, limit, bytes)
-- Rows that a crash left, as many as fit into `bytes`, taken by one relay at a time.
UPDATE outbox SET taken_until = now() + make_interval(secs => $1)
WHERE id IN (SELECT id FROM outbox
             WHERE id IN (SELECT id FROM (
                   SELECT id, sum(octet_length(value)) OVER (ORDER BY not_before, id) AS bytes, row_number() OVER
                          (ORDER BY not_before, id) AS position
                   FROM outbox WHERE published_at IS NULL AND conversation IS NULL AND not_before <= now()
                                 AND (taken_until IS NULL OR taken_until < now())
                   ORDER BY not_before, id LIMIT $2) sized WHERE position = 1 OR coalesce(bytes, 0) <= $3)
               AND published_at IS NULL AND (taken_until IS NULL OR taken_until < now())
             FOR UPDATE SKIP LOCKED)
RETURNING id, topic, key, value, headers;

-- name: take_admitted_requests(taken_s, limit)
-- Due waiting requests, per workspace as many as its limit on RUNNING runs leaves room for, oldest first. Runs and
-- requests already published are counted anew each time; one relay admits at a time.
SELECT id, topic, key, value, headers FROM admit_requests($1, $2);

-- name: mark_published(ids)
-- The broker has acknowledged these rows.
UPDATE outbox SET published_at = now() WHERE id = ANY ($1::bigint[]) AND published_at IS NULL;

-- name: events_by_id(topics, event_ids)
-- Events as they were written, those that retention has left.
SELECT o.topic, o.event_id, o.key, o.value, o.headers, extract(epoch FROM o.created_at)::float8 AS created_s
FROM unnest($1::text[], $2::uuid[]) AS wanted (topic, event_id)
JOIN outbox o ON o.topic = wanted.topic AND o.event_id = wanted.event_id;

-- name: requests_lost(age_s, limit)
-- Messages that wait although no request was ever written for them: what a bug or a hand in the tables would leave. At
-- most one of a conversation, its newest: a request for an older one would take the place of a newer one's.
SELECT m.workspace_id, m.lead_id, m.channel, m.thread_id, m.message_id, m.traceparent FROM message m
WHERE m.direction = 'inbound' AND m.disposition = 'waiting' AND m.ingested_at < now() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.workspace_id = m.workspace_id AND o.message_id = m.message_id
                  AND o.topic = 'draft-requested')
  AND NOT EXISTS (SELECT 1 FROM message n WHERE n.workspace_id = m.workspace_id AND n.lead_id = m.lead_id
                  AND n.channel = m.channel AND n.thread_id = m.thread_id AND n.direction = 'inbound' AND n.human
                  AND n.ingest_seq > m.ingest_seq)
ORDER BY m.ingested_at LIMIT $2;

-- name: join_lost_messages(age_s, limit)
-- Such messages that a newer one of their conversation has overtaken: its request answers them, too.
UPDATE message SET disposition = 'joined_later_message' WHERE id IN (
    SELECT m.id FROM message m
    WHERE m.direction = 'inbound' AND m.disposition = 'waiting' AND m.ingested_at < now() - make_interval(secs => $1)
      AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.workspace_id = m.workspace_id AND o.message_id = m.message_id
                      AND o.topic = 'draft-requested')
      AND EXISTS (SELECT 1 FROM message n WHERE n.workspace_id = m.workspace_id AND n.lead_id = m.lead_id
                  AND n.channel = m.channel AND n.thread_id = m.thread_id AND n.direction = 'inbound' AND n.human
                  AND n.ingest_seq > m.ingest_seq)
    ORDER BY m.ingested_at LIMIT $2)
  AND disposition = 'waiting';
