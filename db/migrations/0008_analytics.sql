-- 0008 analytics
-- when: before the new code
--
-- What analysts may read (schema analytics: ids, codes and figures, never a text), and what retention and the erasure
-- of a lead need. The comments on views and columns are the data dictionary: "meaning | unit | range".

-- Deleting a run must not search whole tables for what points at it; erasing a lead must find its rows.
CREATE INDEX draft_pipeline_run_retries ON draft_pipeline_run (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX draft_pipeline_run_lead ON draft_pipeline_run (workspace_id, lead_id);
CREATE INDEX ai_draft_lead ON ai_draft (workspace_id, lead_id);
CREATE INDEX meeting_overseer_decision_run ON meeting_overseer_decision (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX followup_task_of_lead ON followup_task (workspace_id, lead_id);
CREATE INDEX lead_erased ON lead (workspace_id) WHERE erased_at IS NOT NULL;

-- Imported, or completed by a backfill: its times say nothing about the pipeline.
ALTER TABLE ai_draft ADD COLUMN backfilled boolean NOT NULL DEFAULT false;

-- As told on the topics, kept for when the run is gone.
ALTER TABLE ai_draft ADD COLUMN evaluation_latency_ms integer, ADD COLUMN revision_latency_ms integer;

-- What takes the place of an id of an erased lead: who knows the id finds the row again, nobody reads the id from it.
CREATE FUNCTION erased_id(workspace_id text, id text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN 'erased:' || encode(sha256(convert_to(workspace_id || chr(10) || id, 'UTF8')), 'hex');

-- Append-only, but for the texts, which may go and never change.
CREATE FUNCTION review_action_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.draft_id, NEW.actor, NEW.via, NEW.action, NEW.content_sha256, NEW.binding, NEW.created_at)
       IS DISTINCT FROM
       (OLD.id, OLD.draft_id, OLD.actor, OLD.via, OLD.action, OLD.content_sha256, OLD.binding, OLD.created_at)
       OR NEW.edited_text IS DISTINCT FROM OLD.edited_text AND NEW.edited_text IS NOT NULL
       OR NEW.reject_reason IS DISTINCT FROM OLD.reject_reason AND NEW.reject_reason IS NOT NULL THEN
        RAISE EXCEPTION 'append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'review_action_append_only';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER review_action_append_only ON review_action;
CREATE TRIGGER review_action_append_only
    BEFORE UPDATE OF id, draft_id, actor, via, action, content_sha256, edited_text, reject_reason, binding, created_at
    ON review_action FOR EACH ROW EXECUTE FUNCTION review_action_append_only();

COMMENT ON SCHEMA analytics IS 'What analysts may read: ids, codes and figures. Never a text, a name or an address.';

-- ---- one row per draft

CREATE VIEW analytics.drafts AS
SELECT d.id AS draft_id, (d.created_at AT TIME ZONE 'UTC')::date AS day, d.workspace_id, d.campaign_id, d.channel,
       d.mode, d.language, d.created_at, d.auto_send_evaluated_at AS evaluated_at, d.status,
       d.auto_send_action AS action, d.auto_send_reason AS reason,
       ARRAY(SELECT DISTINCT block ->> 'rule' FROM jsonb_array_elements(d.hard_blocks) block ORDER BY 1) AS hard_blocks,
       d.auto_send_threshold AS threshold, d.policy_revision, d.auto_send_confidence AS confidence,
       d.auto_send_original_confidence AS original_confidence,
       d.auto_send_revision_confidence AS revision_confidence,
       d.auto_send_revision_confidence - d.auto_send_original_confidence AS confidence_delta,
       d.revision_outcome, d.auto_send_revision_attempted_at IS NOT NULL AS revision_attempted,
       d.auto_send_revision_applied AS revision_applied, d.auto_send_revision_iterations AS revision_iterations,
       q.id IS NOT NULL AS needs_review, x.finished_at AS sent_at, x.automatic AS sent_by_itself,
       coalesce(x.edited, false) AS sent_edited, d.outcome_sequence AS outcomes,
       d.evaluation_latency_ms AS latency_ms, d.backfilled
FROM public.ai_draft d
LEFT JOIN public.review_request q ON q.draft_id = d.id
LEFT JOIN public.delivery x ON x.draft_id = d.id AND x.status = 'sent';
COMMENT ON VIEW analytics.drafts IS 'One row per draft: what was decided about it and what became of it.';
COMMENT ON COLUMN analytics.drafts.draft_id IS 'The draft, as on every topic';
COMMENT ON COLUMN analytics.drafts.day IS 'Day on which the draft was begun | UTC';
COMMENT ON COLUMN analytics.drafts.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.drafts.campaign_id IS 'The campaign of the message, null without one';
COMMENT ON COLUMN analytics.drafts.channel IS 'Where the message came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.drafts.mode IS 'The mode in force for the message | | AI_AUTO_SEND, LEGACY_AUTO_REPLY, DRAFT_ONLY';
COMMENT ON COLUMN analytics.drafts.language IS 'Language of the lead as the strategy names it, null before it | BCP 47';
COMMENT ON COLUMN analytics.drafts.created_at IS 'When the draft was begun | UTC';
COMMENT ON COLUMN analytics.drafts.evaluated_at IS 'When the first text was judged, null when none was | UTC';
COMMENT ON COLUMN analytics.drafts.status IS 'The draft''s fate now | | pending, scheduled, sent, rejected, superseded, suppressed, expired, unknown';
COMMENT ON COLUMN analytics.drafts.action IS 'The last decision, null before the first | | send_immediate, send_delayed, needs_review, none';
COMMENT ON COLUMN analytics.drafts.reason IS 'Code of the last decision''s reason';
COMMENT ON COLUMN analytics.drafts.hard_blocks IS 'Rules that forbid sending the present text, each once';
COMMENT ON COLUMN analytics.drafts.threshold IS 'Confidence that the policy asks for | | 0 to 1';
COMMENT ON COLUMN analytics.drafts.policy_revision IS 'Policy revision that decided | | 1 and up';
COMMENT ON COLUMN analytics.drafts.confidence IS 'Confidence that drove the decision, null when the evaluator had no usable answer | | 0 to 1';
COMMENT ON COLUMN analytics.drafts.original_confidence IS 'Confidence of the first text | | 0 to 1';
COMMENT ON COLUMN analytics.drafts.revision_confidence IS 'Best confidence of a revised text, null without one | | 0 to 1';
COMMENT ON COLUMN analytics.drafts.confidence_delta IS 'revision_confidence minus original_confidence | | -1 to 1';
COMMENT ON COLUMN analytics.drafts.revision_outcome IS 'What became of the one revision, as on revision-result; null before it';
COMMENT ON COLUMN analytics.drafts.revision_attempted IS 'The revision was claimed';
COMMENT ON COLUMN analytics.drafts.revision_applied IS 'A revised text took the place of the first';
COMMENT ON COLUMN analytics.drafts.revision_iterations IS 'Iterations that were judged | | 0 to 3';
COMMENT ON COLUMN analytics.drafts.needs_review IS 'A person was asked, whatever came of it';
COMMENT ON COLUMN analytics.drafts.sent_at IS 'When the provider had it, null when it has not | UTC';
COMMENT ON COLUMN analytics.drafts.sent_by_itself IS 'Sent by the policy (true) or by a person (false); null when not sent';
COMMENT ON COLUMN analytics.drafts.sent_edited IS 'What was sent is a person''s text';
COMMENT ON COLUMN analytics.drafts.outcomes IS 'Events on draft-outcome so far; the sequence of the last | | 0 and up';
COMMENT ON COLUMN analytics.drafts.latency_ms IS 'From the start of the run to the judgement of the first text, null before it | ms | 0 and up';
COMMENT ON COLUMN analytics.drafts.backfilled IS 'Imported, or completed by a backfill: its times say nothing about the pipeline';

CREATE VIEW analytics.revisions AS
SELECT d.id AS draft_id, (d.auto_send_evaluated_at AT TIME ZONE 'UTC')::date AS day, d.workspace_id, d.campaign_id,
       d.channel, d.revision_outcome AS outcome, d.auto_send_revision_applied AS applied,
       d.auto_send_revision_iterations AS iterations, d.auto_send_original_confidence AS original_confidence,
       d.auto_send_revision_confidence AS revision_confidence,
       d.auto_send_revision_confidence - d.auto_send_original_confidence AS confidence_delta,
       d.auto_send_threshold AS threshold,
       d.auto_send_revision_confidence >= d.auto_send_threshold AS reached_threshold,
       c.claimed_at, c.settled_at,
       d.revision_latency_ms AS latency_ms,
       d.status = 'sent' AND d.auto_send_revision_applied AS revised_then_sent
FROM public.ai_draft d
LEFT JOIN public.draft_claim c ON c.draft_id = d.id AND c.purpose = 'revision'
WHERE d.auto_send_revision_attempted_at IS NOT NULL;
COMMENT ON VIEW analytics.revisions IS 'One row per draft whose revision was claimed.';
COMMENT ON COLUMN analytics.revisions.draft_id IS 'The draft';
COMMENT ON COLUMN analytics.revisions.day IS 'Day on which the first text was judged | UTC';
COMMENT ON COLUMN analytics.revisions.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.revisions.campaign_id IS 'The campaign, null without one';
COMMENT ON COLUMN analytics.revisions.channel IS 'Where the message came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.revisions.outcome IS 'What became of it, as on revision-result; null while it runs';
COMMENT ON COLUMN analytics.revisions.applied IS 'A revised text took the place of the first';
COMMENT ON COLUMN analytics.revisions.iterations IS 'Iterations that were judged | | 0 to 3';
COMMENT ON COLUMN analytics.revisions.original_confidence IS 'Confidence of the first text | | 0 to 1';
COMMENT ON COLUMN analytics.revisions.revision_confidence IS 'Best confidence of a revised text, null without one | | 0 to 1';
COMMENT ON COLUMN analytics.revisions.confidence_delta IS 'revision_confidence minus original_confidence | | -1 to 1';
COMMENT ON COLUMN analytics.revisions.threshold IS 'Confidence that the policy asks for | | 0 to 1';
COMMENT ON COLUMN analytics.revisions.reached_threshold IS 'The best revised text reached the threshold';
COMMENT ON COLUMN analytics.revisions.claimed_at IS 'When the revision was claimed | UTC';
COMMENT ON COLUMN analytics.revisions.settled_at IS 'When its result was written, null while it runs | UTC';
COMMENT ON COLUMN analytics.revisions.latency_ms IS 'From the judgement of the first text to the result, waiting included | ms | 0 and up';
COMMENT ON COLUMN analytics.revisions.revised_then_sent IS 'The revised text was sent';

CREATE VIEW analytics.reviews AS
SELECT q.draft_id, (q.created_at AT TIME ZONE 'UTC')::date AS day, q.workspace_id, d.campaign_id, d.channel, q.reason,
       q.status, a.result, q.created_at AS asked_at, a.created_at AS decided_at,
       extract(epoch FROM a.created_at - q.created_at)::float8 AS decision_s, d.auto_send_confidence AS confidence,
       d.auto_send_threshold AS threshold
FROM public.review_request q JOIN public.ai_draft d ON d.id = q.draft_id AND NOT d.backfilled
LEFT JOIN LATERAL (
    SELECT a.result, a.created_at FROM public.review_action a
    WHERE a.draft_id = q.draft_id AND a.result IN ('approved', 'edited', 'rejected', 'confirmed_resend')
    ORDER BY a.done_at DESC LIMIT 1) a ON true;
COMMENT ON VIEW analytics.reviews IS 'One row per draft that was put to a person, with what they made of it.';
COMMENT ON COLUMN analytics.reviews.draft_id IS 'The draft';
COMMENT ON COLUMN analytics.reviews.day IS 'Day of the question | UTC';
COMMENT ON COLUMN analytics.reviews.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.reviews.campaign_id IS 'The campaign, null without one';
COMMENT ON COLUMN analytics.reviews.channel IS 'Where the message came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.reviews.reason IS 'Code of why a person was asked';
COMMENT ON COLUMN analytics.reviews.status IS 'What the question is now | | open, decided, expired, superseded';
COMMENT ON COLUMN analytics.reviews.result IS 'What the person decided, null when nobody did | | approved, edited, rejected, confirmed_resend';
COMMENT ON COLUMN analytics.reviews.asked_at IS 'When the question was put | UTC';
COMMENT ON COLUMN analytics.reviews.decided_at IS 'When it was decided, null when it was not | UTC';
COMMENT ON COLUMN analytics.reviews.decision_s IS 'From the question to the decision | s | 0 and up';
COMMENT ON COLUMN analytics.reviews.confidence IS 'Confidence that drove the decision to ask, null without a usable answer | | 0 to 1';
COMMENT ON COLUMN analytics.reviews.threshold IS 'Confidence that the policy asked for | | 0 to 1';

-- ---- per day: what was decided

CREATE VIEW analytics.decisions AS
SELECT day, workspace_id, campaign_id, channel, mode, action, count(*) AS drafts,
       count(*) FILTER (WHERE sent_at IS NOT NULL) AS sent,
       count(*) FILTER (WHERE sent_by_itself) AS sent_by_itself,
       count(*) FILTER (WHERE needs_review) AS needs_review
FROM analytics.drafts WHERE NOT backfilled GROUP BY day, workspace_id, campaign_id, channel, mode, action;
COMMENT ON VIEW analytics.decisions IS 'Drafts by their last decision. Like all counts below, without imported and backfilled ones.';
COMMENT ON COLUMN analytics.decisions.day IS 'Day on which the drafts were begun | UTC';
COMMENT ON COLUMN analytics.decisions.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.decisions.campaign_id IS 'The campaign, null without one';
COMMENT ON COLUMN analytics.decisions.channel IS 'Where the messages came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.decisions.mode IS 'The mode in force | | AI_AUTO_SEND, LEGACY_AUTO_REPLY, DRAFT_ONLY';
COMMENT ON COLUMN analytics.decisions.action IS 'The last decision, null before the first | | send_immediate, send_delayed, needs_review, none';
COMMENT ON COLUMN analytics.decisions.drafts IS 'Drafts | count | 1 and up';
COMMENT ON COLUMN analytics.decisions.sent IS 'Of these, sent | count';
COMMENT ON COLUMN analytics.decisions.sent_by_itself IS 'Of these, sent by the policy | count';
COMMENT ON COLUMN analytics.decisions.needs_review IS 'Of these, a person was asked | count';

CREATE VIEW analytics.needs_review_rate AS
SELECT day, workspace_id, count(*) AS decided, count(*) FILTER (WHERE needs_review) AS needs_review,
       count(*) FILTER (WHERE needs_review)::float8 / count(*) AS rate
FROM analytics.drafts
WHERE mode = 'AI_AUTO_SEND' AND action IS NOT NULL AND (action <> 'none' OR needs_review) AND NOT backfilled
GROUP BY day, workspace_id;
COMMENT ON VIEW analytics.needs_review_rate IS 'How often a person was asked where the policy may send by itself. Drafts that ended as none (superseded, suppressed) without a question do not count.';
COMMENT ON COLUMN analytics.needs_review_rate.day IS 'Day on which the drafts were begun | UTC';
COMMENT ON COLUMN analytics.needs_review_rate.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.needs_review_rate.decided IS 'Drafts of mode AI_AUTO_SEND that were decided | count | 1 and up';
COMMENT ON COLUMN analytics.needs_review_rate.needs_review IS 'Of these, a person was asked | count';
COMMENT ON COLUMN analytics.needs_review_rate.rate IS 'needs_review / decided | | 0 to 1';

CREATE VIEW analytics.applied_rate AS
SELECT (d.auto_send_evaluated_at AT TIME ZONE 'UTC')::date AS day, d.workspace_id, d.campaign_id, d.channel,
       count(*) AS evaluated,
       count(*) FILTER (WHERE d.auto_send_revision_attempted_at IS NOT NULL) AS attempted,
       count(*) FILTER (WHERE d.auto_send_revision_applied) AS applied,
       count(*) FILTER (WHERE d.auto_send_revision_applied AND d.status = 'sent') AS revised_then_sent,
       count(*) FILTER (WHERE d.auto_send_revision_applied)::float8
           / nullif(count(*) FILTER (WHERE d.auto_send_revision_attempted_at IS NOT NULL), 0) AS rate
FROM public.ai_draft d WHERE d.auto_send_evaluated_at IS NOT NULL AND NOT d.backfilled
GROUP BY 1, d.workspace_id, d.campaign_id, d.channel;
COMMENT ON VIEW analytics.applied_rate IS 'How often a revision beat the first text, by channel and campaign.';
COMMENT ON COLUMN analytics.applied_rate.day IS 'Day on which the first text was judged | UTC';
COMMENT ON COLUMN analytics.applied_rate.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.applied_rate.campaign_id IS 'The campaign, null without one';
COMMENT ON COLUMN analytics.applied_rate.channel IS 'Where the messages came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.applied_rate.evaluated IS 'Drafts that were judged | count | 1 and up';
COMMENT ON COLUMN analytics.applied_rate.attempted IS 'Of these, the revision was claimed | count';
COMMENT ON COLUMN analytics.applied_rate.applied IS 'Of these, a revised text took the place of the first | count';
COMMENT ON COLUMN analytics.applied_rate.revised_then_sent IS 'Of these, the revised text was sent | count';
COMMENT ON COLUMN analytics.applied_rate.rate IS 'applied / attempted, null when none was attempted | | 0 to 1';

CREATE VIEW analytics.revision_outcomes AS
SELECT (d.auto_send_evaluated_at AT TIME ZONE 'UTC')::date AS day, d.workspace_id, d.revision_outcome AS outcome,
       count(*) AS drafts
FROM public.ai_draft d WHERE d.revision_outcome IS NOT NULL AND d.auto_send_evaluated_at IS NOT NULL
GROUP BY 1, d.workspace_id, d.revision_outcome;
COMMENT ON VIEW analytics.revision_outcomes IS 'Results on revision-result by outcome.';
COMMENT ON COLUMN analytics.revision_outcomes.day IS 'Day on which the first text was judged | UTC';
COMMENT ON COLUMN analytics.revision_outcomes.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.revision_outcomes.outcome IS 'As on revision-result';
COMMENT ON COLUMN analytics.revision_outcomes.drafts IS 'Drafts | count | 1 and up';

-- ---- per day: time, money, confidence

CREATE VIEW analytics.latency AS
SELECT day, workspace_id, step, count(*) AS drafts,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS p50_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) AS p95_ms
FROM (SELECT (auto_send_evaluated_at AT TIME ZONE 'UTC')::date AS day, workspace_id, 'draft' AS step,
             evaluation_latency_ms AS ms
      FROM public.ai_draft WHERE evaluation_latency_ms IS NOT NULL
      UNION ALL
      SELECT day, workspace_id, 'revision', latency_ms FROM analytics.revisions WHERE latency_ms IS NOT NULL) steps
GROUP BY day, workspace_id, step;
COMMENT ON VIEW analytics.latency IS 'How long drafts and revisions took.';
COMMENT ON COLUMN analytics.latency.day IS 'Day on which the first text was judged | UTC';
COMMENT ON COLUMN analytics.latency.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.latency.step IS 'draft: from the run''s start to the judgement of the first text; revision: from there to the result | | draft, revision';
COMMENT ON COLUMN analytics.latency.drafts IS 'Drafts that took the step | count | 1 and up';
COMMENT ON COLUMN analytics.latency.p50_ms IS 'Half of them were faster, interpolated | ms | 0 and up';
COMMENT ON COLUMN analytics.latency.p95_ms IS '95 of 100 were faster, interpolated | ms | 0 and up';

CREATE VIEW analytics.model_costs AS
SELECT (started_at AT TIME ZONE 'UTC')::date AS day, workspace_id, stage, iteration > 0 AS revision, model,
       count(*) AS calls,
       count(*) FILTER (WHERE status = 'answered') AS answered,
       count(*) FILTER (WHERE status = 'refused') AS refused,
       count(*) FILTER (WHERE status IN ('failed', 'unusable')) AS failed,
       coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
       coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
       coalesce(sum(cost_usd), 0)::float8 AS cost_usd,
       count(*) FILTER (WHERE status = 'answered' AND cost_usd IS NULL) AS cost_unknown,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE status = 'answered') AS p50_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE status = 'answered') AS p95_ms
FROM public.model_call GROUP BY 1, workspace_id, stage, iteration > 0, model;
COMMENT ON VIEW analytics.model_costs IS 'Model calls with tokens, cost and latency.';
COMMENT ON COLUMN analytics.model_costs.day IS 'Day of the call | UTC';
COMMENT ON COLUMN analytics.model_costs.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.model_costs.stage IS 'The stage that asked';
COMMENT ON COLUMN analytics.model_costs.revision IS 'The call belongs to the revision';
COMMENT ON COLUMN analytics.model_costs.model IS 'The model that was asked';
COMMENT ON COLUMN analytics.model_costs.calls IS 'Calls, of whatever end | count | 1 and up';
COMMENT ON COLUMN analytics.model_costs.answered IS 'Calls with a usable answer | count';
COMMENT ON COLUMN analytics.model_costs.refused IS 'Calls for which the server surely did no work | count';
COMMENT ON COLUMN analytics.model_costs.failed IS 'Calls that failed or whose answer was none | count';
COMMENT ON COLUMN analytics.model_costs.input_tokens IS 'Tokens read, as the provider counts | tokens | 0 and up';
COMMENT ON COLUMN analytics.model_costs.output_tokens IS 'Tokens written, as the provider counts | tokens | 0 and up';
COMMENT ON COLUMN analytics.model_costs.cost_usd IS 'Sum of the known costs | USD | 0 and up';
COMMENT ON COLUMN analytics.model_costs.cost_unknown IS 'Answered calls whose price is unknown and not in the sum | count';
COMMENT ON COLUMN analytics.model_costs.p50_ms IS 'Half of the answers came faster | ms | 0 and up';
COMMENT ON COLUMN analytics.model_costs.p95_ms IS '95 of 100 answers came faster | ms | 0 and up';

CREATE VIEW analytics.draft_costs AS
SELECT draft_id, (min(started_at) AT TIME ZONE 'UTC')::date AS day, workspace_id, count(*) AS calls,
       coalesce(sum(input_tokens) FILTER (WHERE NOT revision), 0)::bigint AS draft_input_tokens,
       coalesce(sum(output_tokens) FILTER (WHERE NOT revision), 0)::bigint AS draft_output_tokens,
       coalesce(sum(cost_usd) FILTER (WHERE NOT revision), 0)::float8 AS draft_cost_usd,
       coalesce(sum(input_tokens) FILTER (WHERE revision), 0)::bigint AS revision_input_tokens,
       coalesce(sum(output_tokens) FILTER (WHERE revision), 0)::bigint AS revision_output_tokens,
       coalesce(sum(cost_usd) FILTER (WHERE revision), 0)::float8 AS revision_cost_usd
FROM (SELECT draft_id, started_at, workspace_id, input_tokens, output_tokens, cost_usd, iteration > 0 AS revision
      FROM public.model_call) calls
GROUP BY draft_id, workspace_id;
COMMENT ON VIEW analytics.draft_costs IS 'What each draft used, over all its runs.';
COMMENT ON COLUMN analytics.draft_costs.draft_id IS 'The draft';
COMMENT ON COLUMN analytics.draft_costs.day IS 'Day of its first call | UTC';
COMMENT ON COLUMN analytics.draft_costs.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.draft_costs.calls IS 'Model calls, of whatever end | count | 1 and up';
COMMENT ON COLUMN analytics.draft_costs.draft_input_tokens IS 'Tokens read for the draft | tokens | 0 and up';
COMMENT ON COLUMN analytics.draft_costs.draft_output_tokens IS 'Tokens written for the draft | tokens | 0 and up';
COMMENT ON COLUMN analytics.draft_costs.draft_cost_usd IS 'Known cost of the draft | USD | 0 and up';
COMMENT ON COLUMN analytics.draft_costs.revision_input_tokens IS 'Tokens read for the revision | tokens | 0 and up';
COMMENT ON COLUMN analytics.draft_costs.revision_output_tokens IS 'Tokens written for the revision | tokens | 0 and up';
COMMENT ON COLUMN analytics.draft_costs.revision_cost_usd IS 'Known cost of the revision | USD | 0 and up';

CREATE VIEW analytics.confidence_distribution AS
SELECT day, workspace_id, kind, bucket, bucket / 20.0::float8 AS confidence_from, count(*) AS drafts
FROM (SELECT (d.auto_send_evaluated_at AT TIME ZONE 'UTC')::date AS day, d.workspace_id, v.kind,
             least(floor(v.confidence * 20)::integer, 19) AS bucket
      FROM public.ai_draft d CROSS JOIN LATERAL (
          VALUES ('before', d.auto_send_original_confidence), ('after', d.auto_send_confidence)) v (kind, confidence)
      WHERE d.auto_send_evaluated_at IS NOT NULL AND NOT d.backfilled AND v.confidence IS NOT NULL) confidences
GROUP BY day, workspace_id, kind, bucket;
COMMENT ON VIEW analytics.confidence_distribution IS 'Histogram of confidences before and after revision, in steps of 0.05.';
COMMENT ON COLUMN analytics.confidence_distribution.day IS 'Day on which the first text was judged | UTC';
COMMENT ON COLUMN analytics.confidence_distribution.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.confidence_distribution.kind IS 'before: of the first text; after: the one that drove the decision | | before, after';
COMMENT ON COLUMN analytics.confidence_distribution.bucket IS 'Which step: n holds n/20 up to (n+1)/20, the last one 1 as well | | 0 to 19';
COMMENT ON COLUMN analytics.confidence_distribution.confidence_from IS 'Where the step begins | | 0 to 0.95';
COMMENT ON COLUMN analytics.confidence_distribution.drafts IS 'Drafts in the step | count | 1 and up';

-- ---- per day: people, meetings, context

CREATE VIEW analytics.review_outcomes AS
SELECT day, workspace_id, channel, count(*) AS asked,
       count(*) FILTER (WHERE status = 'open') AS open,
       count(*) FILTER (WHERE result IN ('approved', 'confirmed_resend')) AS approved,
       count(*) FILTER (WHERE result = 'edited') AS edited,
       count(*) FILTER (WHERE result = 'rejected') AS rejected,
       count(*) FILTER (WHERE status = 'expired') AS expired,
       count(*) FILTER (WHERE status = 'superseded') AS superseded,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY decision_s) FILTER (WHERE result IS NOT NULL) AS p50_s
FROM analytics.reviews GROUP BY day, workspace_id, channel;
COMMENT ON VIEW analytics.review_outcomes IS 'What people made of what they were asked. A decision and a later supersession of the same draft count both.';
COMMENT ON COLUMN analytics.review_outcomes.day IS 'Day of the question | UTC';
COMMENT ON COLUMN analytics.review_outcomes.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.review_outcomes.channel IS 'Where the messages came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.review_outcomes.asked IS 'Drafts that were put to a person | count | 1 and up';
COMMENT ON COLUMN analytics.review_outcomes.open IS 'Of these, nobody has decided | count';
COMMENT ON COLUMN analytics.review_outcomes.approved IS 'Of these, approved as they were | count';
COMMENT ON COLUMN analytics.review_outcomes.edited IS 'Of these, sent with a person''s text | count';
COMMENT ON COLUMN analytics.review_outcomes.rejected IS 'Of these, rejected | count';
COMMENT ON COLUMN analytics.review_outcomes.expired IS 'Of these, nobody decided in time | count';
COMMENT ON COLUMN analytics.review_outcomes.superseded IS 'Of these, overtaken by a newer message, an answer or an opt-out | count';
COMMENT ON COLUMN analytics.review_outcomes.p50_s IS 'Half of the decisions came faster after the question | s | 0 and up';

CREATE VIEW analytics.reliability AS
SELECT (decided_at AT TIME ZONE 'UTC')::date AS day, workspace_id, least(floor(confidence * 10)::integer, 9) AS bucket,
       count(*) AS reviewed, count(*) FILTER (WHERE result = 'approved') AS approved,
       sum(confidence) AS confidence_sum, avg(confidence) AS mean_confidence,
       count(*) FILTER (WHERE result = 'approved')::float8 / count(*) AS approved_rate
FROM analytics.reviews WHERE result IN ('approved', 'edited', 'rejected') AND confidence IS NOT NULL
GROUP BY 1, workspace_id, bucket;
COMMENT ON VIEW analytics.reliability IS 'How often people approve a draft as it is, by confidence: what a reliability diagram shows. Only what people were asked about; the policy''s own sends are not in it.';
COMMENT ON COLUMN analytics.reliability.day IS 'Day of the decision | UTC';
COMMENT ON COLUMN analytics.reliability.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.reliability.bucket IS 'Which step: n holds n/10 up to (n+1)/10, the last one 1 as well | | 0 to 9';
COMMENT ON COLUMN analytics.reliability.reviewed IS 'Drafts a person decided on | count | 1 and up';
COMMENT ON COLUMN analytics.reliability.approved IS 'Of these, approved as they were | count';
COMMENT ON COLUMN analytics.reliability.confidence_sum IS 'Sum of their confidences, to average over several rows | | 0 and up';
COMMENT ON COLUMN analytics.reliability.mean_confidence IS 'Their mean confidence | | 0 to 1';
COMMENT ON COLUMN analytics.reliability.approved_rate IS 'approved / reviewed | | 0 to 1';

CREATE VIEW analytics.overseer_rates AS
SELECT (m.created_at AT TIME ZONE 'UTC')::date AS day, d.workspace_id, count(*) AS decisions,
       count(*) FILTER (WHERE m.decision = 'approve') AS approve,
       count(*) FILTER (WHERE m.decision = 'revise') AS revise,
       count(*) FILTER (WHERE m.decision = 'error') AS error,
       count(*) FILTER (WHERE m.decision = 'approve')::float8 / count(*) AS approve_rate,
       count(*) FILTER (WHERE m.decision = 'revise')::float8 / count(*) AS revise_rate
FROM public.meeting_overseer_decision m JOIN public.ai_draft d ON d.id = m.draft_id GROUP BY 1, d.workspace_id;
COMMENT ON VIEW analytics.overseer_rates IS 'What the meeting overseer said.';
COMMENT ON COLUMN analytics.overseer_rates.day IS 'Day of the decision | UTC';
COMMENT ON COLUMN analytics.overseer_rates.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.overseer_rates.decisions IS 'Drafts the overseer was asked about | count | 1 and up';
COMMENT ON COLUMN analytics.overseer_rates.approve IS 'Of these, left as they were | count';
COMMENT ON COLUMN analytics.overseer_rates.revise IS 'Of these, rewritten | count';
COMMENT ON COLUMN analytics.overseer_rates.error IS 'Of these, without a usable answer | count';
COMMENT ON COLUMN analytics.overseer_rates.approve_rate IS 'approve / decisions | | 0 to 1';
COMMENT ON COLUMN analytics.overseer_rates.revise_rate IS 'revise / decisions | | 0 to 1';

CREATE VIEW analytics.booking_outcomes AS
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, workspace_id, outcome, count(*) AS followups
FROM public.followup_task GROUP BY 1, workspace_id, outcome;
COMMENT ON VIEW analytics.booking_outcomes IS 'What came of messages that proposed or accepted a time.';
COMMENT ON COLUMN analytics.booking_outcomes.day IS 'Day of the outcome | UTC';
COMMENT ON COLUMN analytics.booking_outcomes.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.booking_outcomes.outcome IS 'What came of it | | booked, task_created, clarification, error';
COMMENT ON COLUMN analytics.booking_outcomes.followups IS 'Messages | count | 1 and up';

CREATE VIEW analytics.bookings AS
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, workspace_id, source, status, count(*) AS slots
FROM public.booking GROUP BY 1, workspace_id, source, status;
COMMENT ON VIEW analytics.bookings IS 'Slots that were held, confirmed or released.';
COMMENT ON COLUMN analytics.bookings.day IS 'Day on which the slot was taken | UTC';
COMMENT ON COLUMN analytics.bookings.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.bookings.source IS 'Who booked: draft-pipeline, or the name another system gave';
COMMENT ON COLUMN analytics.bookings.status IS 'What the booking is now | | held, confirmed, released';
COMMENT ON COLUMN analytics.bookings.slots IS 'Slots | count | 1 and up';

CREATE VIEW analytics.context_truncation AS
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, workspace_id, feature_id, count(*) AS calls,
       count(*) FILTER (WHERE bundle) AS bundle_calls, count(*) FILTER (WHERE bundle AND truncated) AS truncated_calls,
       count(*) FILTER (WHERE bundle AND truncated)::float8 / nullif(count(*) FILTER (WHERE bundle), 0) AS rate,
       avg(tokens) FILTER (WHERE bundle) AS mean_bundle_tokens
FROM (SELECT created_at, workspace_id, feature_id, coalesce(metadata -> 'bundle_enabled' = 'true', false) AS bundle,
             coalesce(metadata -> 'bundle_truncated', '0') NOT IN ('0', 'false') AS truncated,
             (metadata ->> 'bundle_tokens')::float8 AS tokens
      FROM public.ai_interaction WHERE source = 'pipeline') calls
GROUP BY 1, workspace_id, feature_id;
COMMENT ON VIEW analytics.context_truncation IS 'How often the lead context bundle did not fit into its budget.';
COMMENT ON COLUMN analytics.context_truncation.day IS 'Day of the call | UTC';
COMMENT ON COLUMN analytics.context_truncation.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.context_truncation.feature_id IS 'What the call was for, such as draft.generation';
COMMENT ON COLUMN analytics.context_truncation.calls IS 'Model calls | count | 1 and up';
COMMENT ON COLUMN analytics.context_truncation.bundle_calls IS 'Of these, with the bundle on | count';
COMMENT ON COLUMN analytics.context_truncation.truncated_calls IS 'Of these, something was cut | count';
COMMENT ON COLUMN analytics.context_truncation.rate IS 'truncated_calls / bundle_calls, null without any | | 0 to 1';
COMMENT ON COLUMN analytics.context_truncation.mean_bundle_tokens IS 'Size of the bundle on average, estimated | tokens | 0 and up';

CREATE VIEW analytics.message_dispositions AS
SELECT (ingested_at AT TIME ZONE 'UTC')::date AS day, workspace_id, channel, direction, disposition, count(*) AS messages
FROM public.message GROUP BY 1, workspace_id, channel, direction, disposition;
COMMENT ON VIEW analytics.message_dispositions IS 'Messages by what became of them.';
COMMENT ON COLUMN analytics.message_dispositions.day IS 'Day of arrival | UTC';
COMMENT ON COLUMN analytics.message_dispositions.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.message_dispositions.channel IS 'Where the messages came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.message_dispositions.direction IS 'inbound: of a lead; outbound: to a lead, ours and others'' | | inbound, outbound';
COMMENT ON COLUMN analytics.message_dispositions.disposition IS 'What became of them: run, joined_later_message, machine_mail, opt_out, ...';
COMMENT ON COLUMN analytics.message_dispositions.messages IS 'Messages | count | 1 and up';

-- ---- drift: the last 24 hours against the 7 days before them, by workspace

-- Shares are compared by the two-proportion z-test with pooled variance, means by Welch's statistic. `drifted` asks for
-- three standard errors, a difference that matters, and enough on both sides; so one odd draft raises no alert.
CREATE VIEW analytics.drift AS
WITH recent AS (
    SELECT w.id AS workspace, d.created_at > now() - interval '1 day' AS is_recent, d.mode, d.auto_send_action,
           d.auto_send_evaluated_at, d.auto_send_original_confidence, d.auto_send_revision_attempted_at,
           d.auto_send_revision_applied, d.revision_outcome, d.hard_blocks,
           EXISTS (SELECT 1 FROM public.review_request q WHERE q.draft_id = d.id) AS asked
    FROM public.workspace w JOIN public.ai_draft d ON d.workspace_id = w.id
     AND d.created_at > now() - interval '8 days' AND d.created_at <= now() AND NOT d.backfilled
), shares AS (
    SELECT workspace, 'needs_review' AS monitor, 0.10 AS matters, is_recent, asked AS hit
    FROM recent WHERE mode = 'AI_AUTO_SEND' AND auto_send_action IS NOT NULL AND (auto_send_action <> 'none' OR asked)
    UNION ALL
    SELECT workspace, 'revision_applied', 0.15, is_recent, auto_send_revision_applied
    FROM recent WHERE auto_send_revision_attempted_at IS NOT NULL AND revision_outcome IS NOT NULL
    UNION ALL
    SELECT workspace, 'revision_failed', 0.05, is_recent,
           revision_outcome IN ('error', 'claim_failed', 'deadline_exceeded', 'interrupted')
    FROM recent WHERE auto_send_revision_attempted_at IS NOT NULL AND revision_outcome IS NOT NULL
    UNION ALL
    SELECT workspace, 'hard_blocked', 0.10, is_recent, hard_blocks <> '[]'
    FROM recent WHERE auto_send_evaluated_at IS NOT NULL
    UNION ALL
    SELECT workspace, 'no_confidence', 0.05, is_recent, auto_send_original_confidence IS NULL
    FROM recent WHERE auto_send_evaluated_at IS NOT NULL
    UNION ALL
    SELECT i.workspace_id, 'context_truncated', 0.15, i.created_at > now() - interval '1 day',
           coalesce(i.metadata -> 'bundle_truncated', '0') NOT IN ('0', 'false')
    FROM public.ai_interaction i
    WHERE i.created_at > now() - interval '8 days' AND i.source = 'pipeline' AND i.metadata -> 'bundle_enabled' = 'true'
), compared AS (
    SELECT workspace AS workspace_id, monitor, matters,
           count(*) FILTER (WHERE is_recent) AS recent_count,
           count(*) FILTER (WHERE NOT is_recent) AS baseline_count,
           avg(hit::integer) FILTER (WHERE is_recent)::float8 AS recent_value,
           avg(hit::integer) FILTER (WHERE NOT is_recent)::float8 AS baseline_value,
           avg(hit::integer)::float8 * (1 - avg(hit::integer)::float8)
               * (1.0 / nullif(count(*) FILTER (WHERE is_recent), 0)
                  + 1.0 / nullif(count(*) FILTER (WHERE NOT is_recent), 0)) AS variance
    FROM shares GROUP BY workspace, monitor, matters
    UNION ALL
    SELECT workspace, 'confidence', 0.05, count(*) FILTER (WHERE is_recent), count(*) FILTER (WHERE NOT is_recent),
           avg(auto_send_original_confidence) FILTER (WHERE is_recent),
           avg(auto_send_original_confidence) FILTER (WHERE NOT is_recent),
           var_samp(auto_send_original_confidence) FILTER (WHERE is_recent)
               / nullif(count(*) FILTER (WHERE is_recent), 0)
           + var_samp(auto_send_original_confidence) FILTER (WHERE NOT is_recent)
               / nullif(count(*) FILTER (WHERE NOT is_recent), 0)
    FROM recent WHERE auto_send_original_confidence IS NOT NULL GROUP BY workspace
)
SELECT workspace_id, monitor, recent_count, baseline_count, recent_value, baseline_value,
       recent_value - baseline_value AS difference,
       CASE WHEN variance > 1e-12 THEN (recent_value - baseline_value) / sqrt(variance) END AS score,
       coalesce(recent_count >= 30 AND baseline_count >= 30 AND abs(recent_value - baseline_value) >= matters
                AND (variance <= 1e-12 OR abs(recent_value - baseline_value) >= 3 * sqrt(variance)), false) AS drifted
FROM compared;
COMMENT ON VIEW analytics.drift IS 'Whether the last 24 hours of a workspace differ from the 7 days before them. Alerts are made of it.';
COMMENT ON COLUMN analytics.drift.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.drift.monitor IS 'What is watched: a share of drafts or calls, or for confidence the mean of the first texts | | needs_review, revision_applied, revision_failed, hard_blocked, no_confidence, context_truncated, confidence';
COMMENT ON COLUMN analytics.drift.recent_count IS 'Drafts or calls of the last 24 hours | count | 0 and up';
COMMENT ON COLUMN analytics.drift.baseline_count IS 'Drafts or calls of the 7 days before | count | 0 and up';
COMMENT ON COLUMN analytics.drift.recent_value IS 'Share or mean of the last 24 hours, null without any | | 0 to 1';
COMMENT ON COLUMN analytics.drift.baseline_value IS 'Share or mean of the 7 days before, null without any | | 0 to 1';
COMMENT ON COLUMN analytics.drift.difference IS 'recent_value minus baseline_value | | -1 to 1';
COMMENT ON COLUMN analytics.drift.score IS 'The difference in standard errors (two-proportion z, Welch for confidence); null when it cannot be said';
COMMENT ON COLUMN analytics.drift.drifted IS '30 or more on both sides, at least 3 standard errors, and a difference that matters (0.05 to 0.15, by monitor)';

-- ---- who may read: a role that deploy makes. Not there yet: nothing happens, and deploy grants the same.

DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'draft_pipeline_analyst') THEN
        GRANT USAGE ON SCHEMA analytics TO draft_pipeline_analyst;
        GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO draft_pipeline_analyst;
    END IF;
END $$;
