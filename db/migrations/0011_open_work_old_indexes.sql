-- 0011 open work, old indexes
-- when: after the new code
--
-- Replaced by those of 0010; `ai_draft_lead` finds the open drafts of a lead as well.

DROP INDEX draft_pipeline_run_running;
DROP INDEX draft_pipeline_run_unsettled;
DROP INDEX draft_claim_open;
DROP INDEX message_waiting;
DROP INDEX ai_draft_lead_open;
