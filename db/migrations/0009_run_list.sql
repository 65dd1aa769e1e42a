-- 0009 run list
-- when: before the new code
--
-- The list of runs, newest first, over all workspaces; and those that are looked for among many, wherever they are.
-- Building both locks out writers for about a second per million runs.

-- `attempt >= 1` is always true. A list over all workspaces says it, that of one workspace does not: so no plan walks
-- through everybody's runs to find those of a small workspace.
CREATE INDEX draft_pipeline_run_newest ON draft_pipeline_run (created_at, id) WHERE attempt >= 1;
CREATE INDEX draft_pipeline_run_unsettled ON draft_pipeline_run (created_at, id) WHERE status IN ('RUNNING', 'FAILED');
