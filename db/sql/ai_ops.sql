-- name: features(workspace_id, model, source, hours)
-- Model calls of the last hours by feature id, errors first. `refused` ones did no work: the server was full or away.
SELECT feature_id, count(*) FILTER (WHERE status <> 'refused') AS calls,
       count(*) FILTER (WHERE status IN ('failed', 'unusable')) AS errors,
       count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'unusable') AS unusable,
       count(*) FILTER (WHERE status = 'refused') AS refused,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE status = 'answered') AS p50_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE status = 'answered') AS p95_ms,
       sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,
       sum(cost_usd)::float8 AS cost_usd, count(*) FILTER (WHERE cost_usd IS NULL AND status = 'answered') AS unpriced,
       max(created_at) AS newest, max(created_at) FILTER (WHERE status IN ('failed', 'unusable')) AS newest_error
FROM ai_interaction
WHERE created_at > now() - make_interval(hours => $4) AND ($1::text IS NULL OR workspace_id = $1)
  AND ($2::text IS NULL OR model = $2) AND ($3::text IS NULL OR source = $3)
GROUP BY feature_id ORDER BY 3 DESC, 2 DESC, 1;

-- name: features_by_hour(workspace_id, model, source, hours)
-- The same over time: how many calls and errors in each hour, hours without any included.
SELECT h.hour, count(i.id) FILTER (WHERE i.status <> 'refused') AS calls,
       count(i.id) FILTER (WHERE i.status IN ('failed', 'unusable')) AS errors,
       count(i.id) FILTER (WHERE i.status = 'refused') AS refused
FROM generate_series(date_trunc('hour', now()) - make_interval(hours => $4 - 1), date_trunc('hour', now()),
                     interval '1 hour') AS h (hour)
LEFT JOIN ai_interaction i ON i.created_at >= h.hour AND i.created_at < h.hour + interval '1 hour'
     AND ($1::text IS NULL OR i.workspace_id = $1) AND ($2::text IS NULL OR i.model = $2)
     AND ($3::text IS NULL OR i.source = $3)
GROUP BY h.hour ORDER BY h.hour;

-- name: models(workspace_id, source, hours)
-- The same by model, the dearest first.
SELECT model, count(*) FILTER (WHERE status <> 'refused') AS calls,
       count(*) FILTER (WHERE status IN ('failed', 'unusable')) AS errors,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE status = 'answered') AS p95_ms,
       sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,
       sum(cost_usd)::float8 AS cost_usd
FROM ai_interaction
WHERE created_at > now() - make_interval(hours => $3) AND ($1::text IS NULL OR workspace_id = $1)
  AND ($2::text IS NULL OR source = $2)
GROUP BY model ORDER BY sum(cost_usd) DESC NULLS LAST, model;

-- name: failures(workspace_id, model, source, hours)
-- Why calls gave nothing usable, or were refused: by feature and code, the most frequent first.
SELECT i.feature_id, i.status, coalesce(c.failure, '-') AS code, count(*) AS calls, max(i.created_at) AS newest
FROM ai_interaction i LEFT JOIN model_call c ON c.id = i.id
WHERE i.status <> 'answered' AND i.created_at > now() - make_interval(hours => $4)
  AND ($1::text IS NULL OR i.workspace_id = $1) AND ($2::text IS NULL OR i.model = $2)
  AND ($3::text IS NULL OR i.source = $3)
GROUP BY 1, 2, 3 ORDER BY i.status = 'refused', count(*) DESC, 1 LIMIT 50;

-- name: errors_newest(workspace_id, model, source, hours, limit)
-- The newest calls that gave nothing usable, with the run they belong to.
SELECT i.id, i.created_at, i.workspace_id, i.run_id, i.feature_id, i.model, i.status, c.failure, c.attempt, i.latency_ms
FROM ai_interaction i LEFT JOIN model_call c ON c.id = i.id
WHERE i.status IN ('failed', 'unusable') AND i.created_at > now() - make_interval(hours => $4)
  AND ($1::text IS NULL OR i.workspace_id = $1) AND ($2::text IS NULL OR i.model = $2)
  AND ($3::text IS NULL OR i.source = $3)
ORDER BY i.created_at DESC LIMIT $5;
