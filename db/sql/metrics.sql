-- name: standing(rows_max, past_lease_s, workspaces_max)
-- How the pipeline stands, for gauges: one row, each value from a partial index, no count beyond `rows_max`. Runs, claims
-- and deliveries count as past their lease `past_lease_s` seconds after it ended.
WITH unpublished AS (
    SELECT topic, created_at FROM outbox WHERE published_at IS NULL AND conversation IS NULL
    ORDER BY not_before, id LIMIT $1
), waiting AS (
    SELECT not_before FROM outbox WHERE published_at IS NULL AND conversation IS NOT NULL LIMIT $1
), running AS (
    SELECT phase, lease_until FROM draft_pipeline_run WHERE finished_at IS NULL LIMIT $1
), claim AS (
    SELECT purpose FROM draft_claim
    WHERE outcome IS NULL AND lease_until < now() - make_interval(secs => $2) LIMIT $1
), send AS (
    SELECT CASE WHEN status = 'claimed' AND lease_until < now() - make_interval(secs => $2) THEN 'past_lease'
                WHEN status = 'claimed' THEN 'claimed'
                WHEN greatest(scheduled_for, retry_at) <= now() THEN 'due' ELSE 'later' END AS state,
           greatest(scheduled_for, retry_at) AS due_at
    FROM delivery WHERE status IN ('scheduled', 'claimed') LIMIT $1
), review AS (
    SELECT draft_id, created_at FROM review_request WHERE status = 'open' LIMIT $1
), followup AS (
    SELECT workspace_id, outcome FROM followup_task WHERE created_at > now() - interval '1 day' LIMIT $1
), busiest AS (
    SELECT workspace_id FROM followup GROUP BY workspace_id ORDER BY count(*) DESC, workspace_id LIMIT $3
)
SELECT
    (SELECT coalesce(jsonb_object_agg(topic, n), '{}') FROM (SELECT topic, count(*) AS n FROM unpublished GROUP BY 1) t)
        AS unpublished,
    (SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM unpublished) AS outbox_age_s,
    (SELECT count(*) FROM waiting WHERE not_before > now()) AS waiting_quiet,
    (SELECT count(*) FROM waiting WHERE not_before <= now()) AS waiting_due,
    (SELECT coalesce(greatest(extract(epoch FROM now() - min(not_before)), 0), 0)::float8 FROM waiting) AS waiting_age_s,
    (SELECT coalesce(jsonb_object_agg(phase, n), '{}') FROM (SELECT phase, count(*) AS n FROM running GROUP BY 1) t)
        AS running,
    (SELECT count(*) FROM running WHERE lease_until < now() - make_interval(secs => $2)) AS runs_past_lease,
    (SELECT coalesce(jsonb_object_agg(purpose, n), '{}') FROM (SELECT purpose, count(*) AS n FROM claim GROUP BY 1) t)
        AS claims_past_lease,
    (SELECT coalesce(jsonb_object_agg(state, n), '{}') FROM (SELECT state, count(*) AS n FROM send GROUP BY 1) t)
        AS deliveries,
    (SELECT coalesce(extract(epoch FROM now() - min(due_at)), 0)::float8 FROM send WHERE state = 'due') AS overdue_s,
    (SELECT count(*) FROM review JOIN ai_draft d ON d.id = review.draft_id WHERE d.status = 'unknown') AS unknown,
    (SELECT count(*) FROM review) AS reviews,
    (SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM review) AS review_age_s,
    (SELECT coalesce(jsonb_agg(jsonb_build_array(workspace, outcome, n)), '[]') FROM (
        SELECT coalesce(b.workspace_id, '(other)') AS workspace, f.outcome, count(*) AS n
        FROM followup f LEFT JOIN busiest b USING (workspace_id) GROUP BY 1, 2) t) AS bookings,
    (SELECT jsonb_agg(jsonb_build_array(name, disabled, extract(epoch FROM changed_at))) FROM kill_switch) AS switches,
    (SELECT coalesce(jsonb_agg(DISTINCT each.key), '[]') FROM process_heartbeat h, jsonb_each(h.switches) AS each
     WHERE h.beat_at > now() - interval '10 seconds' AND each.value = 'true') AS off_in_environment,
    (SELECT coalesce(jsonb_agg(jsonb_build_array(role, version, n)), '[]') FROM (
        SELECT role, version, count(*) AS n FROM process_heartbeat
        WHERE beat_at > now() - interval '10 seconds' GROUP BY 1, 2) t) AS processes,
    (SELECT count(*) FROM workspace_settings WHERE auto_send_revision_enabled) AS revised_workspaces,
    (SELECT count(*) FROM workspace_settings WHERE NOT auto_send_revision_enabled) AS other_workspaces;

-- name: sending(past_lease_s)
-- Whether what is due is sent: what is open, by state, and who lives to do it.
SELECT count(*) FILTER (WHERE status = 'scheduled' AND greatest(scheduled_for, retry_at) <= now()) AS due,
       count(*) FILTER (WHERE status = 'scheduled' AND greatest(scheduled_for, retry_at) > now()) AS later,
       count(*) FILTER (WHERE status = 'claimed') AS claimed,
       count(*) FILTER (WHERE status = 'claimed' AND lease_until < now() - make_interval(secs => $1)) AS past_lease,
       coalesce(extract(epoch FROM now() - min(greatest(scheduled_for, retry_at))
                FILTER (WHERE status = 'scheduled' AND greatest(scheduled_for, retry_at) <= now())), 0)::float8
           AS overdue_s,
       (SELECT count(*) FROM process_heartbeat WHERE role = 'worker' AND beat_at > now() - interval '10 seconds')
           AS workers
FROM delivery WHERE status IN ('scheduled', 'claimed');

-- name: drifted()
-- Every monitor of every workspace, and whether the last day differs from the seven before.
SELECT workspace_id, monitor, recent_value, baseline_value, difference, drifted FROM analytics.drift
ORDER BY workspace_id, monitor;
