-- The role that analysts sign in with: it reads schema analytics and nothing else. Run it after `migrate`, as the owner
-- of the database, and again after each new version: psql "$DIRECT_URL" -f analyst.sql
-- Give it a password or another way in yourself: ALTER ROLE draft_pipeline_analyst PASSWORD '...'.

DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'draft_pipeline_analyst') THEN
        CREATE ROLE draft_pipeline_analyst LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION CONNECTION LIMIT 10;
    END IF;
END $$;
ALTER ROLE draft_pipeline_analyst SET default_transaction_read_only = on;
ALTER ROLE draft_pipeline_analyst SET statement_timeout = '60s';
ALTER ROLE draft_pipeline_analyst SET search_path = analytics;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM draft_pipeline_analyst;
GRANT USAGE ON SCHEMA analytics TO draft_pipeline_analyst;
GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO draft_pipeline_analyst;
