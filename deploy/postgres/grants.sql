-- What each role of roles.sql may do. Applied by the owner after every migration; running it again changes nothing. A
-- test compares it with the schema: a new table must be named here, even if only to say that nobody may touch it.

-- Start from nothing, so that what is taken out here is taken away there.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM draft_pipeline_worker, draft_pipeline_web, draft_pipeline_analyst;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM draft_pipeline_worker, draft_pipeline_web, draft_pipeline_analyst;
REVOKE ALL ON SCHEMA analytics FROM PUBLIC;

-- Everybody but analysts sees which version of the schema this is.
GRANT SELECT ON schema_migration TO draft_pipeline_worker, draft_pipeline_web;

-- Settings: workers read them, people change them through `web` and commands. Policies are append-only.
GRANT SELECT ON workspace, workspace_settings, campaign, confidence_policy_revision, kill_switch, knowledge_entry,
    availability_slot, lead_memory_entry TO draft_pipeline_worker;
GRANT SELECT, INSERT, UPDATE ON workspace, workspace_settings, campaign, kill_switch, lead_memory_entry
    TO draft_pipeline_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON knowledge_entry, availability_slot TO draft_pipeline_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON workspace_budget TO draft_pipeline_web;
GRANT SELECT, INSERT ON confidence_policy_revision TO draft_pipeline_web;
GRANT SELECT, INSERT ON admin_audit TO draft_pipeline_web;

-- After a restore: an operator writes it, a send is held against it.
GRANT SELECT ON restore_quarantine TO draft_pipeline_worker;
GRANT SELECT, INSERT, UPDATE ON restore_quarantine TO draft_pipeline_web;

-- Tokens and sessions: workers have no business with them.
GRANT SELECT, INSERT, UPDATE ON api_token TO draft_pipeline_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON web_session TO draft_pipeline_web;

-- The flow. Nobody deletes but what waits (a request that a newer message replaces) and holds of meetings: the rest is
-- the owner's, for erasure, and of `web`, for retention.
GRANT SELECT, INSERT, UPDATE ON lead, message, draft_pipeline_run, ai_draft, draft_claim, delivery, review_request,
    meeting_overseer_decision, followup_task, suppression, ingest_watermark, model_call, workspace_budget, send_pace
    TO draft_pipeline_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox, booking TO draft_pipeline_worker;
GRANT SELECT, INSERT ON draft_run_context, draft_pipeline_artifact TO draft_pipeline_worker;
GRANT SELECT, INSERT, UPDATE ON ai_interaction TO draft_pipeline_worker;
GRANT SELECT, UPDATE ON review_action TO draft_pipeline_worker;
GRANT USAGE ON SEQUENCE message_ingest_seq TO draft_pipeline_worker;

-- Reviews and retries are written by `web` and commands as events; the worker carries them out. A retry locks the run,
-- which needs the right to change something of it. Bookings made outside arrive by `web`, and displace holds.
-- Retention is started through `web`, too: what ended long ago goes.
GRANT SELECT ON message, model_call, draft_claim, delivery, meeting_overseer_decision, followup_task, suppression,
    ingest_watermark, ai_interaction TO draft_pipeline_web;
GRANT SELECT, DELETE ON draft_pipeline_run, draft_run_context, draft_pipeline_artifact TO draft_pipeline_web;
GRANT UPDATE (updated_at) ON draft_pipeline_run TO draft_pipeline_web;
GRANT SELECT, INSERT, UPDATE ON lead TO draft_pipeline_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON booking TO draft_pipeline_web;
GRANT SELECT ON draft_fate TO draft_pipeline_web;
GRANT SELECT, UPDATE ON ai_draft TO draft_pipeline_web;
GRANT SELECT, INSERT, UPDATE ON review_request TO draft_pipeline_web;
GRANT SELECT, INSERT ON review_action TO draft_pipeline_web;
GRANT UPDATE (result, done_at, response_url) ON review_action TO draft_pipeline_web;
-- A person may stop a send that is not claimed yet; its text, recipient and owner are out of reach.
GRANT UPDATE (status, reason, finished_at, lease_until) ON delivery TO draft_pipeline_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO draft_pipeline_web;

-- Retention, by the cron call of `web` or by a command. Erasing a lead, importing and backfilling are the owner's.
GRANT DELETE ON draft_pipeline_run, draft_run_context, draft_pipeline_artifact TO draft_pipeline_web;

-- Each process tells that it lives, and takes its row away when it ends.
GRANT SELECT, INSERT, UPDATE, DELETE ON process_heartbeat TO draft_pipeline_worker, draft_pipeline_web;

-- Analysts: views, which hold no text. Views read with their owner's rights.
GRANT USAGE ON SCHEMA analytics TO draft_pipeline_analyst, draft_pipeline_web;
GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO draft_pipeline_analyst, draft_pipeline_web;
