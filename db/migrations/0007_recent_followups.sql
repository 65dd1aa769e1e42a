-- 0007 recent followups
-- when: before the new code
-- no transaction

CREATE INDEX CONCURRENTLY followup_task_recent ON followup_task (created_at);
