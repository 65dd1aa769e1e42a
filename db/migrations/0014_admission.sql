-- 0014 admission
-- when: before the new code
--
-- A statement counts what was there when it began. One that began before another relay's admission was committed, and
-- got the lock after it, counted none of what that had let in: more runs of a workspace than its limit. Within a function
-- each statement sees what is committed when it begins, so the count comes after the lock.

CREATE FUNCTION admit_requests(taken_s float8, at_most bigint)
RETURNS TABLE (id bigint, topic text, key bytea, value bytea, headers jsonb) LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('draft-pipeline:admission')) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH due AS (
        SELECT DISTINCT o.workspace_id FROM outbox o
        WHERE o.conversation IS NOT NULL AND o.published_at IS NULL AND o.not_before <= now()
          AND (o.taken_until IS NULL OR o.taken_until < now())
    ), room AS (
        SELECT due.workspace_id, s.running_runs_max
               - (SELECT count(*) FROM draft_pipeline_run r
                  WHERE r.workspace_id = due.workspace_id AND r.finished_at IS NULL)
               - (SELECT count(*) FROM outbox a WHERE a.workspace_id = due.workspace_id AND a.conversation IS NOT NULL
                  AND a.taken_until IS NOT NULL AND a.consumed_at IS NULL
                  AND NOT (a.published_at IS NULL AND a.taken_until < now())) AS free
        FROM due JOIN workspace_settings s ON s.workspace_id = due.workspace_id
    ), chosen AS (
        SELECT picked.id FROM room CROSS JOIN LATERAL (
            SELECT o.id FROM outbox o
            WHERE o.workspace_id = room.workspace_id AND o.conversation IS NOT NULL AND o.published_at IS NULL
              AND o.not_before <= now() AND (o.taken_until IS NULL OR o.taken_until < now())
            ORDER BY o.not_before, o.id LIMIT greatest(room.free, 0) FOR UPDATE SKIP LOCKED) picked
        LIMIT at_most
    )
    UPDATE outbox u SET taken_until = now() + make_interval(secs => taken_s)
    FROM chosen WHERE u.id = chosen.id
    RETURNING u.id, u.topic, u.key, u.value, u.headers;
END $$;
