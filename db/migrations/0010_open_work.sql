-- 0010 open work
-- when: before the new code
--
-- Indexes over the little that is open among much that is done. Who knows an id must not be offered one of them: when
-- statistics were taken on a quiet night it looks smaller than the primary key, and every write by id then walks through
-- all that is open. So their conditions are ones that only the readers of such lists state (see schema.sql).
-- Building them locks out writers for about a second per million rows.

CREATE INDEX draft_pipeline_run_open ON draft_pipeline_run (workspace_id, lead_id) WHERE finished_at IS NULL;
CREATE INDEX draft_pipeline_run_not_well ON draft_pipeline_run (created_at, id)
    WHERE attempt >= 1 AND status IN ('RUNNING', 'FAILED');
CREATE INDEX draft_claim_unsettled ON draft_claim (lease_until) WHERE outcome IS NULL;
CREATE INDEX message_not_begun ON message (ingested_at) WHERE direction = 'inbound' AND disposition = 'waiting';
