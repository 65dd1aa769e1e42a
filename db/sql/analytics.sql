-- name: view_columns()
-- Every column of every view for analysts, with what its comment says: meaning | unit | range.
SELECT c.relname AS view, obj_description(c.oid) AS about, a.attname AS column,
       format_type(a.atttypid, a.atttypmod) AS type, col_description(c.oid, a.attnum) AS comment
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE n.nspname = 'analytics' AND c.relkind IN ('v', 'm') ORDER BY c.relname, a.attnum;

-- name: revised_drafts(workspace_id, since, applied, seed, limit)
-- Drafts whose revision was judged, drawn by chance; the same seed draws the same ones. Texts, for people only.
SELECT d.id AS draft_id, d.workspace_id, d.channel, d.campaign_id, d.language, d.created_at, d.status,
       d.revision_outcome AS outcome, d.auto_send_revision_applied AS applied,
       d.auto_send_revision_iterations AS iterations, d.auto_send_original_confidence AS confidence_before,
       d.auto_send_revision_confidence AS confidence_after, d.auto_send_threshold AS threshold,
       m.body AS message, d.original_content AS before,
       coalesce((SELECT a.text FROM draft_pipeline_artifact a
                 WHERE a.run_id = d.run_id AND a.stage = 'auto_send_revision_reviser' AND a.text IS NOT NULL
                 ORDER BY a.iteration = d.chosen_iteration DESC, a.iteration DESC LIMIT 1),
                CASE WHEN d.auto_send_revision_applied THEN d.content END) AS after
FROM ai_draft d JOIN message m ON m.workspace_id = d.workspace_id AND m.message_id = d.trigger_message_id
WHERE d.auto_send_revision_confidence IS NOT NULL AND d.original_content IS NOT NULL
  AND ($1::text IS NULL OR d.workspace_id = $1) AND ($2::timestamptz IS NULL OR d.created_at >= $2)
  AND ($3::boolean IS NULL OR d.auto_send_revision_applied = $3)
ORDER BY md5($4::text || d.id::text) LIMIT $5;
