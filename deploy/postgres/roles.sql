-- Four roles, each with no more than it needs. Once per database, as a superuser (or a role that may create roles), before
-- the first `migrate`; running it again changes nothing. Then give them passwords (ALTER ROLE ... PASSWORD), migrate as
-- the owner, and apply grants.sql as the owner, now and after every later migration:
--   draft-pipeline migrate --then grants.sql
--
--   draft_pipeline_owner    DIRECT_URL of `migrate` and `doctor`, and DATABASE_URL of the commands that take a lead away or
--                           bring history in (`erase-lead`, `backfill`, `import-history`), or take an opt-out back
--                           (`suppression lift`): owns everything, is used by no running process
--   draft_pipeline_worker   DATABASE_URL of workers: reads and writes the flow; changes no setting, switch or audit
--   draft_pipeline_web      DATABASE_URL of `web` and of the other commands: settings, switches, tokens, reviews
--   draft_pipeline_analyst  views in schema `analytics`, read-only; no table, so no text
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['draft_pipeline_owner', 'draft_pipeline_worker', 'draft_pipeline_web',
                                'draft_pipeline_analyst'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', role);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
    END LOOP;
    -- CREATE on the database is for the schema `analytics`, and for doctor's comparison with schema.sql.
    EXECUTE format('GRANT CREATE ON DATABASE %I TO draft_pipeline_owner', current_database());
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO draft_pipeline_owner;
GRANT USAGE ON SCHEMA public TO draft_pipeline_worker, draft_pipeline_web;

ALTER ROLE draft_pipeline_analyst SET default_transaction_read_only = on;
ALTER ROLE draft_pipeline_analyst SET statement_timeout = '60s';
ALTER ROLE draft_pipeline_analyst SET search_path = analytics;
