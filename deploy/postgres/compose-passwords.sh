#!/bin/sh
# For compose.yaml only: one password for all four roles. Elsewhere give each its own.
set -eu
psql -v ON_ERROR_STOP=1 -U postgres -d draft_pipeline -v password="$POSTGRES_PASSWORD" <<'SQL'
ALTER ROLE draft_pipeline_owner PASSWORD :'password';
ALTER ROLE draft_pipeline_worker PASSWORD :'password';
ALTER ROLE draft_pipeline_web PASSWORD :'password';
ALTER ROLE draft_pipeline_analyst PASSWORD :'password';
SQL
