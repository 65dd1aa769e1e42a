-- 0009 run list
-- when: before the new code
--
-- The list of runs, newest first, over all workspaces; and those that are looked for among many, wherever they are.
-- Building both locks out writers for about a second per million runs.

CREATE INDEX draft_pipeline_run_newest ON draft_pipeline_run (created_at, id);
CREATE INDEX draft_pipeline_run_unsettled ON draft_pipeline_run (created_at, id) WHERE status IN ('RUNNING', 'FAILED');
