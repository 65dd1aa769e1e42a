-- name: figures(workspace_id, channel, campaign_id, since, until)
-- Everything at once: what was decided about the drafts that were begun in this time.
SELECT count(*) AS drafts, count(*) FILTER (WHERE evaluated_at IS NOT NULL) AS evaluated,
       count(*) FILTER (WHERE mode = 'AI_AUTO_SEND' AND action IS NOT NULL AND (action <> 'none' OR needs_review)) AS decided,
       count(*) FILTER (WHERE mode = 'AI_AUTO_SEND' AND needs_review) AS needs_review,
       count(*) FILTER (WHERE sent_by_itself) AS sent_by_itself, count(*) FILTER (WHERE sent_at IS NOT NULL) AS sent,
       count(*) FILTER (WHERE revision_attempted) AS attempted, count(*) FILTER (WHERE revision_applied) AS applied,
       count(*) FILTER (WHERE revision_applied AND sent_at IS NOT NULL) AS revised_then_sent,
       avg(confidence_delta) FILTER (WHERE revision_attempted) AS gain, max(threshold) AS threshold,
       count(DISTINCT threshold) AS thresholds
FROM analytics.drafts
WHERE NOT backfilled AND ($1::text IS NULL OR workspace_id = $1) AND ($2::text IS NULL OR channel = $2)
  AND ($3::text IS NULL OR campaign_id = $3) AND created_at >= $4 AND created_at < $5;

-- name: by_day(workspace_id, channel, campaign_id, since, until)
-- The same figures for each day.
SELECT day, count(*) AS drafts, count(*) FILTER (WHERE evaluated_at IS NOT NULL) AS evaluated,
       count(*) FILTER (WHERE mode = 'AI_AUTO_SEND' AND action IS NOT NULL AND (action <> 'none' OR needs_review)) AS decided,
       count(*) FILTER (WHERE mode = 'AI_AUTO_SEND' AND needs_review) AS needs_review,
       count(*) FILTER (WHERE sent_by_itself) AS sent_by_itself,
       count(*) FILTER (WHERE revision_attempted) AS attempted, count(*) FILTER (WHERE revision_applied) AS applied,
       avg(original_confidence) AS confidence_before, avg(confidence) AS confidence_after
FROM analytics.drafts
WHERE NOT backfilled AND ($1::text IS NULL OR workspace_id = $1) AND ($2::text IS NULL OR channel = $2)
  AND ($3::text IS NULL OR campaign_id = $3) AND created_at >= $4 AND created_at < $5
GROUP BY day ORDER BY day;

-- name: by_campaign(workspace_id, channel, campaign_id, since, until)
-- How often a revision beat the first text, by workspace, channel and campaign.
SELECT workspace_id, channel, campaign_id, count(*) FILTER (WHERE evaluated_at IS NOT NULL) AS evaluated,
       count(*) FILTER (WHERE revision_attempted) AS attempted, count(*) FILTER (WHERE revision_applied) AS applied,
       count(*) FILTER (WHERE revision_applied AND sent_at IS NOT NULL) AS revised_then_sent,
       avg(confidence_delta) FILTER (WHERE revision_attempted) AS gain
FROM analytics.drafts
WHERE NOT backfilled AND ($1::text IS NULL OR workspace_id = $1) AND ($2::text IS NULL OR channel = $2)
  AND ($3::text IS NULL OR campaign_id = $3) AND created_at >= $4 AND created_at < $5
GROUP BY workspace_id, channel, campaign_id ORDER BY evaluated DESC, workspace_id, channel, campaign_id;

-- name: confidences(workspace_id, channel, campaign_id, since, until)
-- Confidences before and after revision, in steps of 0.05.
SELECT least(floor(v.confidence * 20)::integer, 19) AS bucket, count(*) FILTER (WHERE v.kind = 'before') AS before,
       count(*) FILTER (WHERE v.kind = 'after') AS after
FROM analytics.drafts d
CROSS JOIN LATERAL (VALUES ('before', d.original_confidence), ('after', d.confidence)) v (kind, confidence)
WHERE NOT d.backfilled AND d.evaluated_at IS NOT NULL AND v.confidence IS NOT NULL
  AND ($1::text IS NULL OR d.workspace_id = $1) AND ($2::text IS NULL OR d.channel = $2)
  AND ($3::text IS NULL OR d.campaign_id = $3) AND d.created_at >= $4 AND d.created_at < $5
GROUP BY bucket ORDER BY bucket;

-- name: reliability(workspace_id, channel, campaign_id, since, until)
-- How often people approve a draft as it is, by its confidence. Of questions that were put in this time.
SELECT least(floor(confidence * 10)::integer, 9) AS bucket, count(*) AS reviewed,
       count(*) FILTER (WHERE result = 'approved') AS approved, avg(confidence) AS mean_confidence,
       count(*) FILTER (WHERE result = 'approved')::float8 / count(*) AS approved_rate
FROM analytics.reviews
WHERE result IN ('approved', 'edited', 'rejected') AND confidence IS NOT NULL
  AND ($1::text IS NULL OR workspace_id = $1) AND ($2::text IS NULL OR channel = $2)
  AND ($3::text IS NULL OR campaign_id = $3) AND asked_at >= $4 AND asked_at < $5
GROUP BY bucket ORDER BY bucket;

-- name: reviews(workspace_id, channel, campaign_id, since, until)
-- What people made of what they were asked, by reason of the question.
SELECT reason, count(*) AS asked, count(*) FILTER (WHERE status = 'open') AS open,
       count(*) FILTER (WHERE result IN ('approved', 'confirmed_resend')) AS approved,
       count(*) FILTER (WHERE result = 'edited') AS edited, count(*) FILTER (WHERE result = 'rejected') AS rejected,
       count(*) FILTER (WHERE status = 'expired') AS expired, count(*) FILTER (WHERE status = 'superseded') AS superseded,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY decision_s) FILTER (WHERE result IS NOT NULL) AS p50_s
FROM analytics.reviews
WHERE ($1::text IS NULL OR workspace_id = $1) AND ($2::text IS NULL OR channel = $2)
  AND ($3::text IS NULL OR campaign_id = $3) AND asked_at >= $4 AND asked_at < $5
GROUP BY reason ORDER BY asked DESC, reason;

-- name: latency(workspace_id, channel, campaign_id, since, until)
-- How long drafts and revisions took, by day.
SELECT day, count(*) FILTER (WHERE step = 'draft') AS drafts, count(*) FILTER (WHERE step = 'revision') AS revisions,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FILTER (WHERE step = 'draft') AS draft_p50_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) FILTER (WHERE step = 'draft') AS draft_p95_ms,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FILTER (WHERE step = 'revision') AS revision_p50_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) FILTER (WHERE step = 'revision') AS revision_p95_ms
FROM (SELECT d.day, v.step, v.ms FROM analytics.drafts d
      LEFT JOIN analytics.revisions r ON r.draft_id = d.draft_id
      CROSS JOIN LATERAL (VALUES ('draft', d.latency_ms), ('revision', r.latency_ms)) v (step, ms)
      WHERE NOT d.backfilled AND v.ms IS NOT NULL
        AND ($1::text IS NULL OR d.workspace_id = $1) AND ($2::text IS NULL OR d.channel = $2)
        AND ($3::text IS NULL OR d.campaign_id = $3) AND d.created_at >= $4 AND d.created_at < $5) steps
GROUP BY day ORDER BY day;

-- name: costs(workspace_id, channel, campaign_id, since, until)
-- What drafts and their revisions cost, by the day on which they were begun.
SELECT d.day, count(*) AS drafts, sum(c.draft_cost_usd) AS draft_cost_usd, sum(c.revision_cost_usd) AS revision_cost_usd,
       sum(c.draft_input_tokens + c.revision_input_tokens)::bigint AS input_tokens,
       sum(c.draft_output_tokens + c.revision_output_tokens)::bigint AS output_tokens
FROM analytics.drafts d JOIN analytics.draft_costs c ON c.draft_id = d.draft_id
WHERE NOT d.backfilled AND ($1::text IS NULL OR d.workspace_id = $1) AND ($2::text IS NULL OR d.channel = $2)
  AND ($3::text IS NULL OR d.campaign_id = $3) AND d.created_at >= $4 AND d.created_at < $5
GROUP BY d.day ORDER BY d.day;

-- name: revision_outcomes(workspace_id, channel, campaign_id, since, until)
-- What became of revisions.
SELECT revision_outcome AS outcome, count(*) AS drafts, avg(confidence_delta) AS gain
FROM analytics.drafts
WHERE NOT backfilled AND revision_outcome IS NOT NULL AND ($1::text IS NULL OR workspace_id = $1)
  AND ($2::text IS NULL OR channel = $2) AND ($3::text IS NULL OR campaign_id = $3)
  AND created_at >= $4 AND created_at < $5
GROUP BY revision_outcome ORDER BY drafts DESC, outcome;

-- name: meetings(workspace_id, first_day, last_day)
-- What the overseer said, and what came of meetings. A view of days: without channel and campaign.
SELECT (SELECT coalesce(sum(decisions), 0) FROM analytics.overseer_rates o
        WHERE ($1::text IS NULL OR o.workspace_id = $1) AND o.day BETWEEN $2 AND $3)::bigint AS decisions,
       (SELECT coalesce(sum(approve), 0) FROM analytics.overseer_rates o
        WHERE ($1::text IS NULL OR o.workspace_id = $1) AND o.day BETWEEN $2 AND $3)::bigint AS approve,
       (SELECT coalesce(sum(revise), 0) FROM analytics.overseer_rates o
        WHERE ($1::text IS NULL OR o.workspace_id = $1) AND o.day BETWEEN $2 AND $3)::bigint AS revise,
       (SELECT coalesce(sum(error), 0) FROM analytics.overseer_rates o
        WHERE ($1::text IS NULL OR o.workspace_id = $1) AND o.day BETWEEN $2 AND $3)::bigint AS error,
       (SELECT coalesce(jsonb_object_agg(outcome, followups), '{}') FROM (
            SELECT outcome, sum(followups) AS followups FROM analytics.booking_outcomes b
            WHERE ($1::text IS NULL OR b.workspace_id = $1) AND b.day BETWEEN $2 AND $3 GROUP BY outcome) f) AS outcomes;

-- name: context(workspace_id, first_day, last_day)
-- How often the lead context bundle did not fit. A view of days: without channel and campaign.
SELECT coalesce(sum(bundle_calls), 0)::bigint AS bundle_calls, coalesce(sum(truncated_calls), 0)::bigint AS truncated_calls,
       sum(bundle_calls * mean_bundle_tokens) / nullif(sum(bundle_calls), 0) AS mean_tokens
FROM analytics.context_truncation
WHERE ($1::text IS NULL OR workspace_id = $1) AND day BETWEEN $2 AND $3;

-- name: drift(workspace_id)
-- The last 24 hours against the 7 days before them; what drifted first. `enough`: both sides have what `drifted` asks for.
SELECT *, recent_count >= 30 AND baseline_count >= 30 AS enough FROM analytics.drift
WHERE $1::text IS NULL OR workspace_id = $1
ORDER BY drifted DESC, abs(coalesce(score, 0)) DESC, workspace_id, monitor;

-- name: choices(workspace_id)
-- What the filters offer: workspaces and campaigns.
SELECT coalesce((SELECT array_agg(id ORDER BY id) FROM workspace WHERE $1::text IS NULL OR id = $1), '{}') AS workspaces,
       coalesce((SELECT array_agg(DISTINCT campaign_id ORDER BY campaign_id) FROM campaign
                 WHERE $1::text IS NULL OR workspace_id = $1), '{}') AS campaigns;
