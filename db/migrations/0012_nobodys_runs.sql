-- 0012 nobody's runs
-- when: before the new code
--
-- A run that was given back or handed over has no owner. One whose lease ended although it has an owner was left behind
-- by a worker that died: any worker takes it over, without waiting for Kafka to notice.

ALTER TABLE draft_pipeline_run ALTER COLUMN lease_owner DROP NOT NULL;
