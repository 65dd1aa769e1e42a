-- name: workspaces(search, limit)
-- Workspaces with their settings, modes of their campaigns, policy in force and what this month cost, by id.
SELECT w.id, w.name, w.default_mode, to_jsonb(s) - 'workspace_id' - 'channels' AS settings,
       coalesce((SELECT array_agg(c.mode ORDER BY c.campaign_id) FROM campaign c WHERE c.workspace_id = w.id), '{}')
           AS campaign_modes,
       p.auto_send_threshold, p.booking_threshold, p.revision AS policy, p.scope AS policy_scope,
       (SELECT sum(coalesce(m.cost_usd, m.reserved_usd))::float8 FROM model_call m WHERE m.workspace_id = w.id
        AND m.started_at >= date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') AS month_usd
FROM workspace w JOIN workspace_settings s ON s.workspace_id = w.id
CROSS JOIN LATERAL (
    SELECT auto_send_threshold, booking_threshold, revision, scope FROM confidence_policy_revision q
    WHERE (q.scope = 'workspace' AND q.workspace_id = w.id) OR q.scope = 'global'
    ORDER BY q.scope = 'global', q.revision DESC LIMIT 1) p
WHERE $1::text IS NULL OR w.id ILIKE '%' || $1 || '%' OR w.name ILIKE '%' || $1 || '%'
ORDER BY w.id LIMIT $2;

-- name: workspace(workspace_id)
-- One workspace of the same kind.
SELECT w.id, w.name, w.default_mode, to_jsonb(s) - 'workspace_id' - 'channels' AS settings,
       coalesce((SELECT array_agg(c.mode ORDER BY c.campaign_id) FROM campaign c WHERE c.workspace_id = w.id), '{}')
           AS campaign_modes,
       p.auto_send_threshold, p.booking_threshold, p.revision AS policy, p.scope AS policy_scope
FROM workspace w JOIN workspace_settings s ON s.workspace_id = w.id
CROSS JOIN LATERAL (
    SELECT auto_send_threshold, booking_threshold, revision, scope FROM confidence_policy_revision q
    WHERE (q.scope = 'workspace' AND q.workspace_id = w.id) OR q.scope = 'global'
    ORDER BY q.scope = 'global', q.revision DESC LIMIT 1) p
WHERE w.id = $1;

-- name: campaigns(workspace_id)
-- The campaigns of a workspace.
SELECT campaign_id, name, mode FROM campaign WHERE workspace_id = $1 ORDER BY campaign_id;

-- name: changes(workspace_id, subject, limit)
-- Who changed what, newest first; null for any workspace or field. `newest`: nothing changed it since.
SELECT a.id, a.actor, a.via, a.action, a.workspace_id, a.subject, a.before, a.after, a.reason, a.created_at,
       NOT EXISTS (SELECT 1 FROM admin_audit n WHERE n.subject = a.subject AND n.id > a.id
                   AND n.workspace_id IS NOT DISTINCT FROM a.workspace_id) AS newest
FROM admin_audit a
WHERE ($1::text IS NULL OR a.workspace_id = $1) AND ($2::text IS NULL OR a.subject = $2)
ORDER BY a.id DESC LIMIT $3;

-- name: flips_since(since, limit)
-- Kill switches that were turned, the newest first.
SELECT created_at AS at, subject AS switch, action = 'switch-off' AS off FROM admin_audit
WHERE workspace_id IS NULL AND subject IN (SELECT name FROM kill_switch) AND action IN ('switch-off', 'switch-on')
  AND created_at > $1
ORDER BY id DESC LIMIT $2;

-- name: change_by_id(audit_id)
-- One change.
SELECT id, actor, via, action, workspace_id, subject, before, after, reason, created_at FROM admin_audit WHERE id = $1;

-- name: lock_switch(name)
-- A switch that somebody is about to turn.
SELECT name, disabled, changed_at, changed_by, reason FROM kill_switch WHERE name = $1 FOR UPDATE;

-- name: canary(workspace_id, hours)
-- One workspace beside all others, over the last hours: what became of their drafts, how sure, how fast, how dear.
SELECT coalesce(w.id = $1, false) AS canary, count(DISTINCT w.id) AS workspaces, count(d.id) AS drafts,
       count(d.id) FILTER (WHERE d.status = 'sent') AS sent,
       count(d.id) FILTER (WHERE x.automatic) AS sent_by_itself, count(q.id) AS asked,
       count(d.id) FILTER (WHERE jsonb_array_length(d.hard_blocks) > 0) AS hard_blocked,
       count(d.id) FILTER (WHERE d.auto_send_revision_attempted_at IS NOT NULL) AS attempted,
       count(d.id) FILTER (WHERE d.auto_send_revision_applied) AS applied,
       count(d.id) FILTER (WHERE d.revision_outcome IN ('claim_failed', 'deadline_exceeded', 'error', 'interrupted'))
           AS revision_failed,
       count(d.id) FILTER (WHERE d.status = 'rejected') AS rejected,
       count(d.id) FILTER (WHERE x.edited) AS edited,
       count(d.id) FILTER (WHERE r.status = 'FAILED') AS failed,
       avg(d.auto_send_confidence) AS confidence,
       avg(d.auto_send_revision_confidence - d.auto_send_original_confidence)
           FILTER (WHERE d.auto_send_revision_attempted_at IS NOT NULL) AS gain,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM r.finished_at - r.created_at)::float8) AS p50_s,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM r.finished_at - r.created_at)::float8) AS p95_s,
       avg(c.cost_usd)::float8 AS cost_usd
FROM workspace w CROSS JOIN LATERAL (
    SELECT * FROM ai_draft n WHERE n.workspace_id = w.id AND n.created_at > now() - make_interval(hours => $2)
    AND NOT n.backfilled) d
LEFT JOIN draft_pipeline_run r ON r.id = d.run_id
LEFT JOIN review_request q ON q.draft_id = d.id
LEFT JOIN LATERAL (  -- by the lead, of whom there is an index
    SELECT bool_or(automatic) AS automatic, bool_or(edited) AS edited FROM delivery
    WHERE workspace_id = d.workspace_id AND lead_id = d.lead_id AND draft_id = d.id AND status = 'sent') x ON true
LEFT JOIN LATERAL (SELECT sum(m.cost_usd) AS cost_usd FROM model_call m WHERE m.run_id = d.run_id) c ON true
GROUP BY 1 ORDER BY 1 DESC;
