-- name: workspaces_for_ingest(workspace_ids)
-- What ingest must know of each workspace: modes by campaign, quiet window, own addresses, whether leads were erased.
SELECT w.id, w.default_mode, s.quiet_window_s, s.channels,
       coalesce((SELECT jsonb_object_agg(c.campaign_id, c.mode) FROM campaign c WHERE c.workspace_id = w.id), '{}') AS modes,
       EXISTS (SELECT 1 FROM lead l WHERE l.workspace_id = w.id AND l.erased_at IS NOT NULL) AS has_erased
FROM workspace w JOIN workspace_settings s ON s.workspace_id = w.id
WHERE w.id = ANY ($1::text[]);

-- name: lock_leads(workspace_ids, lead_ids, names, emails, phones, timezones, locales)
-- Insert or lock every lead of a batch, in key order so that two batches never wait for each other in a circle. Who
-- opted out stays so after an erasure, under the hashed id.
WITH given AS (
    SELECT DISTINCT ON (workspace_id, lead_id) *
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
         WITH ORDINALITY AS g (workspace_id, lead_id, name, email, phone, timezone, locale, position)
    ORDER BY workspace_id, lead_id, position DESC
)
INSERT INTO lead AS l (workspace_id, lead_id, name, email, phone, timezone, locale)
SELECT workspace_id, lead_id, name, email, phone, timezone, locale FROM given ORDER BY workspace_id, lead_id
ON CONFLICT (workspace_id, lead_id) DO UPDATE
SET name = coalesce(excluded.name, l.name), email = coalesce(excluded.email, l.email),
    phone = coalesce(excluded.phone, l.phone), timezone = coalesce(excluded.timezone, l.timezone),
    locale = coalesce(excluded.locale, l.locale), updated_at = now()
RETURNING l.workspace_id, l.lead_id,
          EXISTS (SELECT 1 FROM suppression s WHERE s.workspace_id = l.workspace_id
                  AND s.lead_id IN (l.lead_id, erased_id(l.workspace_id, l.lead_id))) AS suppressed;

-- name: insert_messages_if_new(ids, workspace_ids, lead_ids, channels, thread_ids, message_ids, directions, humans, sent_bys, sources, campaign_ids, modes, bodies, subjects, from_addresses, to_addresses, headers, dispositions, traceparents, received_ats)
-- Store the messages not seen before, in order; returns those, with the sequence they got under the lead's lock.
INSERT INTO message (id, workspace_id, lead_id, channel, thread_id, message_id, direction, human, sent_by, source,
                     campaign_id, mode, body, subject, from_address, to_address, headers, disposition, traceparent,
                     received_at)
SELECT id, workspace_id, lead_id, channel, thread_id, message_id, direction, human, sent_by, source, campaign_id, mode,
       body, subject, from_address, to_address, headers, disposition, traceparent, received_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bool[], $9::text[],
            $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::jsonb[],
            $18::text[], $19::text[], $20::timestamptz[])
     WITH ORDINALITY AS g (id, workspace_id, lead_id, channel, thread_id, message_id, direction, human, sent_by, source,
                           campaign_id, mode, body, subject, from_address, to_address, headers, disposition,
                           traceparent, received_at, position)
ORDER BY position
ON CONFLICT (workspace_id, message_id) DO NOTHING
RETURNING id, ingest_seq;

-- name: join_older_waiting_messages(workspace_ids, lead_ids, channels, thread_ids, ingest_seqs)
-- An older message of the conversation that still waited joins the newer one's run.
UPDATE message m SET disposition = 'joined_later_message'
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
     AS g (workspace_id, lead_id, channel, thread_id, ingest_seq)
WHERE m.workspace_id = g.workspace_id AND m.lead_id = g.lead_id AND m.channel = g.channel
  AND m.thread_id = g.thread_id AND m.ingest_seq < g.ingest_seq AND m.disposition = 'waiting';

-- name: supersede_running_runs(workspace_ids, lead_ids, channels, thread_ids)
-- Tell the RUNNING runs of these conversations that they are superseded; their workers learn it at the next renewal.
UPDATE draft_pipeline_run r SET superseded_at = now()
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS g (workspace_id, lead_id, channel, thread_id)
WHERE r.workspace_id = g.workspace_id AND r.lead_id = g.lead_id AND r.channel = g.channel
  AND r.thread_id = g.thread_id AND r.finished_at IS NULL AND r.superseded_at IS NULL;

-- name: supersede_running_runs_of_leads(workspace_ids, lead_ids)
-- Somebody else answered, or the lead opted out: every RUNNING run of the lead is superseded.
UPDATE draft_pipeline_run r SET superseded_at = now()
FROM unnest($1::text[], $2::text[]) AS g (workspace_id, lead_id)
WHERE r.workspace_id = g.workspace_id AND r.lead_id = g.lead_id AND r.finished_at IS NULL AND r.superseded_at IS NULL;

-- name: open_drafts_of_conversations(workspace_ids, lead_ids, channels, thread_ids)
-- Decided drafts of these conversations that nobody has sent yet.
SELECT d.*, coalesce(d.run_id, d.id) AS decided_run_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS g (workspace_id, lead_id, channel, thread_id)
JOIN ai_draft d ON d.workspace_id = g.workspace_id AND d.lead_id = g.lead_id AND d.channel = g.channel
               AND d.thread_id = g.thread_id
WHERE d.status IN ('pending', 'scheduled') AND d.auto_send_action <> 'none'
  AND NOT EXISTS (SELECT 1 FROM delivery x WHERE x.draft_id = d.id AND x.status = 'claimed')
ORDER BY d.id FOR UPDATE OF d;

-- name: open_drafts_of_leads(workspace_ids, lead_ids)
-- The same for every conversation of these leads.
SELECT d.*, coalesce(d.run_id, d.id) AS decided_run_id
FROM unnest($1::text[], $2::text[]) AS g (workspace_id, lead_id)
JOIN ai_draft d ON d.workspace_id = g.workspace_id AND d.lead_id = g.lead_id
WHERE d.status IN ('pending', 'scheduled') AND d.auto_send_action <> 'none'
  AND NOT EXISTS (SELECT 1 FROM delivery x WHERE x.draft_id = d.id AND x.status = 'claimed')
ORDER BY d.id FOR UPDATE OF d;

-- name: suppress_leads(workspace_ids, lead_ids, reason)
-- Put leads on the suppression list; a second time changes nothing.
INSERT INTO suppression (workspace_id, lead_id, reason)
SELECT DISTINCT workspace_id, lead_id, $3 FROM unnest($1::text[], $2::text[]) AS g (workspace_id, lead_id)
ON CONFLICT DO NOTHING;

-- name: replace_waiting_requests(event_ids, keys, values, headers, workspace_ids, conversations, message_ids, quiet_windows_s)
-- One waiting `draft-requested` row per conversation: an untaken older one goes, the newest comes.
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::jsonb[], $5::text[], $6::text[], $7::text[],
                         $8::float8[])
         AS g (event_id, key, value, headers, workspace_id, conversation, message_id, quiet_window_s)
), gone AS (
    DELETE FROM outbox o USING given g
    WHERE o.workspace_id = g.workspace_id AND o.conversation = g.conversation
      AND o.taken_until IS NULL AND o.published_at IS NULL
    RETURNING o.id
)
INSERT INTO outbox (event_id, topic, key, value, headers, workspace_id, conversation, message_id, not_before)
SELECT event_id, 'draft-requested', key, value, headers, workspace_id, conversation, message_id,
       now() + make_interval(secs => quiet_window_s)
FROM given WHERE (SELECT count(*) FROM gone) >= 0
ON CONFLICT (topic, event_id) DO NOTHING;

-- name: drop_waiting_requests_of_leads(workspace_ids, conversations)
-- The lead opted out or somebody answered: what waited for a draft is not drafted.
DELETE FROM outbox o USING unnest($1::text[], $2::text[]) AS g (workspace_id, conversation)
WHERE o.workspace_id = g.workspace_id AND o.conversation = g.conversation
  AND o.taken_until IS NULL AND o.published_at IS NULL;

-- name: settle_waiting_messages_of_leads(workspace_ids, lead_ids, ingest_seqs, disposition)
-- Messages that waited when somebody answered, or the lead opted out, take the reason. Later ones are not touched.
UPDATE message m SET disposition = $4
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS g (workspace_id, lead_id, ingest_seq)
WHERE m.workspace_id = g.workspace_id AND m.lead_id = g.lead_id AND m.disposition = 'waiting'
  AND m.ingest_seq < g.ingest_seq
RETURNING m.workspace_id, m.lead_id, m.channel, m.thread_id;

-- name: advance_watermarks(topic, partitions, next_offsets)
-- Everything before `next_offset` is in the database. Never back, while the topic is the same.
INSERT INTO ingest_watermark AS w (topic, partition, next_offset)
SELECT $1, partition, next_offset FROM unnest($2::int[], $3::bigint[]) AS g (partition, next_offset)
ORDER BY partition
ON CONFLICT (topic, partition) DO UPDATE
SET next_offset = excluded.next_offset, updated_at = now() WHERE w.next_offset < excluded.next_offset;

-- name: lower_watermarks_beyond_end(topic, partitions, next_offsets, ends)
-- A watermark beyond the end of its partition is of a topic that was lost: it goes back to what ingest has of this one.
UPDATE ingest_watermark w SET next_offset = g.next_offset, updated_at = now()
FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS g (partition, next_offset, "end")
WHERE w.topic = $1 AND w.partition = g.partition AND w.next_offset > g."end"
RETURNING w.partition, w.next_offset;

-- name: watermarks(topic)
-- How far ingest is, per partition.
SELECT partition, next_offset FROM ingest_watermark WHERE topic = $1;

-- name: known_workspaces(workspace_ids)
-- Which of these workspaces exist.
SELECT id FROM workspace WHERE id = ANY ($1::text[]);

-- name: workspaces_of_addresses(addresses)
-- Whose mail an address (lower case) is: the sender of a workspace's replies, or one of `inbound` of its e-mail channel.
SELECT a.address, array_agg(DISTINCT s.workspace_id ORDER BY s.workspace_id) AS workspaces
FROM workspace_settings s CROSS JOIN LATERAL (
    SELECT lower(coalesce(substring(given.address from '<([^<>]+)>'), given.address)) AS address
    FROM (SELECT s.channels -> 'email' ->> 'from' AS address
          UNION ALL SELECT e FROM jsonb_array_elements_text(
              CASE jsonb_typeof(s.channels -> 'email' -> 'inbound') WHEN 'array' THEN s.channels -> 'email' -> 'inbound'
              ELSE '[]' END) e) given) a
WHERE a.address = ANY ($1::text[]) GROUP BY a.address;

-- name: mail_standing(workspace_id, address, message_ids, draft_ids)
-- The lead that has an address (the oldest of several), and the thread of a message or reply that a mail names.
SELECT (SELECT l.lead_id FROM lead l WHERE l.workspace_id = $1 AND lower(l.email) = $2 AND l.erased_at IS NULL
        ORDER BY l.created_at, l.lead_id LIMIT 1) AS lead_id,
       coalesce((SELECT d.thread_id FROM ai_draft d WHERE d.workspace_id = $1 AND d.id = ANY ($4::uuid[]) LIMIT 1),
                (SELECT m.thread_id FROM message m WHERE m.workspace_id = $1 AND m.message_id = ANY ($3::text[])
                 AND m.channel = 'email' ORDER BY m.ingest_seq LIMIT 1)) AS thread_id;
