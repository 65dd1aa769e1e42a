-- name: lock_knowledge(workspace_id)
-- One import into a workspace's knowledge at a time.
SELECT pg_advisory_xact_lock(hashtextextended('draft-pipeline:knowledge:' || $1::text, 0));

-- name: entries_of_import(workspace_id, prefix)
-- What an earlier import of the same folder left: sources that begin with its name.
SELECT id, source, title, text, language::text AS language, verified FROM knowledge_entry
WHERE workspace_id = $1 AND starts_with(source, $2) ORDER BY source, title;

-- name: put_entries(workspace_id, sources, titles, texts, languages, verified)
-- Entries, new or changed.
INSERT INTO knowledge_entry AS k (workspace_id, source, title, text, language, verified)
SELECT $1, source, title, text, language::regconfig, v
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bool[]) AS g (source, title, text, language, v)
ON CONFLICT (workspace_id, source, title) DO UPDATE
SET text = excluded.text, language = excluded.language, verified = excluded.verified, updated_at = now();

-- name: remove_entries(workspace_id, ids)
-- Entries that are no longer wanted.
DELETE FROM knowledge_entry WHERE workspace_id = $1 AND id = ANY ($2::bigint[]);

-- name: entry_list(workspace_id, prefix)
-- A workspace's entries without their text, those whose source begins with `prefix`.
SELECT id, source, title, language::text AS language, verified, length(text) AS chars, updated_at FROM knowledge_entry
WHERE workspace_id = $1 AND starts_with(source, $2) ORDER BY source, title, id;
