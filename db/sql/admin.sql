-- name: create_workspace_if_absent(workspace_id)
-- A workspace with the defaults of every column; one that exists stays as it is.
WITH made AS (INSERT INTO workspace (id) VALUES ($1) ON CONFLICT DO NOTHING)
INSERT INTO workspace_settings (workspace_id) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: lock_workspace(workspace_id)
-- One change of a workspace at a time.
SELECT id, name, default_mode FROM workspace WHERE id = $1 FOR UPDATE;

-- name: workspace_standing(workspace_id)
-- A workspace with its settings, campaigns and the policy of its own scope.
SELECT w.id, w.name, w.default_mode, w.created_at, w.updated_at, to_jsonb(s) - 'workspace_id' - 'updated_at' AS settings,
       coalesce((SELECT jsonb_object_agg(c.campaign_id, jsonb_build_object('name', c.name, 'mode', c.mode,
                 'instructions', c.instructions)) FROM campaign c WHERE c.workspace_id = w.id), '{}') AS campaigns,
       (SELECT to_jsonb(p) FROM confidence_policy_revision p WHERE p.scope = 'workspace' AND p.workspace_id = w.id
        ORDER BY p.revision DESC LIMIT 1) AS policy
FROM workspace w JOIN workspace_settings s ON s.workspace_id = w.id WHERE w.id = $1;

-- name: workspace_list()
-- Every workspace with what one wants to see of all at once.
SELECT w.id, w.name, w.default_mode, s.auto_send_revision_enabled AS revision, s.lead_context_bundle_enabled AS bundle,
       s.followup_booking_gate_enabled AS booking_gate, p.auto_send_threshold AS threshold, p.revision AS policy,
       (SELECT count(*) FROM campaign c WHERE c.workspace_id = w.id) AS campaigns
FROM workspace w JOIN workspace_settings s ON s.workspace_id = w.id
CROSS JOIN LATERAL (
    SELECT auto_send_threshold, revision FROM confidence_policy_revision q
    WHERE (q.scope = 'workspace' AND q.workspace_id = w.id) OR q.scope = 'global'
    ORDER BY q.scope = 'global', q.revision DESC LIMIT 1) p
ORDER BY w.id;

-- name: last_changes(workspace_id, subjects)
-- Who changed each of these fields last, and how.
SELECT DISTINCT ON (subject) subject, actor, via, created_at FROM admin_audit
WHERE workspace_id IS NOT DISTINCT FROM $1 AND subject = ANY ($2::text[]) ORDER BY subject, id DESC;

-- name: change_workspace(workspace_id, name, default_mode)
-- Name and default mode; null leaves what is.
UPDATE workspace SET name = coalesce($2, name), default_mode = coalesce($3, default_mode), updated_at = now()
WHERE id = $1;

-- name: put_campaign(workspace_id, campaign_id, name, mode, instructions)
-- A campaign, new or changed; null leaves what is.
INSERT INTO campaign AS c (workspace_id, campaign_id, name, mode, instructions)
VALUES ($1, $2, coalesce($3, ''), $4, coalesce($5, ''))
ON CONFLICT (workspace_id, campaign_id) DO UPDATE
SET name = coalesce($3, c.name), mode = coalesce($4, c.mode), instructions = coalesce($5, c.instructions);

-- name: change_settings(workspace_id, changes)
-- Set the columns that `changes` (an object, column to value) names; the others keep their values.
UPDATE workspace_settings s SET (
    auto_send_revision_enabled, auto_send_revision_model, auto_send_revision_reasoning_effort,
    auto_send_revision_max_iterations, draft_model, draft_reasoning_effort, draft_verification_model,
    draft_verification_reasoning_effort, overseer_model, overseer_reasoning_effort, evaluation_model,
    evaluation_reasoning_effort, cheaper_model, lead_context_bundle_enabled, lead_context_bundle_budgets,
    followup_booking_gate_enabled, instructions, quiet_window_s, running_runs_max, message_age_s_max,
    auto_replies_per_hour_max, auto_replies_per_day_max, sends_per_s_max, send_delay_s, business_hours, timezone,
    language, always_ask_topics, forbidden_phrases, allowed_promises, monthly_budget_usd, review_s_max, channels,
    slack_channel, slack_approver_ids, slack_team_id, updated_at
) = (SELECT
    n.auto_send_revision_enabled, n.auto_send_revision_model, n.auto_send_revision_reasoning_effort,
    n.auto_send_revision_max_iterations, n.draft_model, n.draft_reasoning_effort, n.draft_verification_model,
    n.draft_verification_reasoning_effort, n.overseer_model, n.overseer_reasoning_effort, n.evaluation_model,
    n.evaluation_reasoning_effort, n.cheaper_model, n.lead_context_bundle_enabled, n.lead_context_bundle_budgets,
    n.followup_booking_gate_enabled, n.instructions, n.quiet_window_s, n.running_runs_max, n.message_age_s_max,
    n.auto_replies_per_hour_max, n.auto_replies_per_day_max, n.sends_per_s_max, n.send_delay_s, n.business_hours,
    n.timezone, n.language, n.always_ask_topics, n.forbidden_phrases, n.allowed_promises, n.monthly_budget_usd,
    n.review_s_max, n.channels, n.slack_channel, n.slack_approver_ids, n.slack_team_id, now()
    FROM jsonb_populate_record(s, $2) n)
WHERE s.workspace_id = $1;

-- name: add_audit(actor, via, action, workspace_id, subject, before, after, reason)
-- Who changed what from which value to which. `subject` is the field's name.
INSERT INTO admin_audit (actor, via, action, workspace_id, subject, before, after, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id;

-- name: policy_in_force(workspace_id, campaign_id)
-- The newest revision of the narrowest scope: campaign, workspace, global.
SELECT * FROM confidence_policy_revision q
WHERE (q.scope = 'campaign' AND q.workspace_id = $1 AND q.campaign_id = $2)
   OR (q.scope = 'workspace' AND q.workspace_id = $1) OR q.scope = 'global'
ORDER BY array_position(ARRAY['campaign', 'workspace', 'global'], q.scope), q.revision DESC LIMIT 1;

-- name: policy_by_revision(revision)
-- One revision.
SELECT * FROM confidence_policy_revision WHERE revision = $1;

-- name: policy_list(workspace_id, limit)
-- Revisions, newest first; of one workspace with the global ones, or of all. `in_force`: the newest of its scope.
SELECT p.*, NOT EXISTS (
           SELECT 1 FROM confidence_policy_revision n WHERE n.scope = p.scope AND n.revision > p.revision
           AND n.workspace_id IS NOT DISTINCT FROM p.workspace_id
           AND n.campaign_id IS NOT DISTINCT FROM p.campaign_id) AS in_force
FROM confidence_policy_revision p
WHERE $1::text IS NULL OR p.workspace_id = $1 OR p.scope = 'global' ORDER BY p.revision DESC LIMIT $2;

-- name: lock_policies()
-- One new revision at a time, so that "changes nothing" is decided on what is in force.
SELECT pg_advisory_xact_lock(hashtext('draft-pipeline:policy'));

-- name: add_policy(scope, workspace_id, campaign_id, auto_send_threshold, booking_threshold, rules, rolled_back_to, created_by, reason)
-- A new revision; there is no other way to change a policy.
INSERT INTO confidence_policy_revision (scope, workspace_id, campaign_id, auto_send_threshold, booking_threshold, rules,
                                        rolled_back_to, created_by, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *;

-- name: suppressions(workspace_id)
-- Who gets nothing any more, newest first.
SELECT lead_id, reason, created_at FROM suppression WHERE workspace_id = $1 ORDER BY created_at DESC, lead_id;

-- name: lift_suppression(workspace_id, lead_id)
-- Takes a lead off the list, also one that was erased; no row when it is not on it.
WITH lifted AS (
    DELETE FROM suppression WHERE workspace_id = $1 AND lead_id IN ($2, erased_id($1, $2)) RETURNING reason, created_at
)
SELECT reason, created_at, erased_id($1, $2) AS erased_id FROM lifted ORDER BY created_at LIMIT 1;
