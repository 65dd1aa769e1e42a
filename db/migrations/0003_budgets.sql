-- 0003 budgets
-- when: before the new code
--
-- A workspace with a monthly limit: the worst case of each call is reserved in the statement that records the call, in
-- one row per workspace and month (UTC), and settled with what the call cost. `held_usd` is what a call still holds.

CREATE TABLE workspace_budget (
    workspace_id  text NOT NULL REFERENCES workspace ON DELETE CASCADE,
    month         date NOT NULL CHECK (extract(day FROM month) = 1),
    spent_usd     numeric(14, 8) NOT NULL DEFAULT 0 CHECK (spent_usd >= 0),
    reserved_usd  numeric(14, 8) NOT NULL DEFAULT 0 CHECK (reserved_usd >= 0),
    PRIMARY KEY (workspace_id, month)
) WITH (fillfactor = 50);

ALTER TABLE model_call ADD COLUMN held_usd numeric(14, 8) CHECK (held_usd >= 0);
CREATE INDEX model_call_held ON model_call (run_id) WHERE held_usd IS NOT NULL;

-- A limit that is set anew counts the month anew, from its calls: without a limit nobody kept the row.
CREATE FUNCTION workspace_budget_counts_anew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM workspace_budget WHERE workspace_id = NEW.workspace_id;
    RETURN NULL;
END $$;
CREATE TRIGGER workspace_budget_counts_anew AFTER UPDATE OF monthly_budget_usd ON workspace_settings
    FOR EACH ROW WHEN (OLD.monthly_budget_usd IS NULL AND NEW.monthly_budget_usd IS NOT NULL)
    EXECUTE FUNCTION workspace_budget_counts_anew();

-- Whether a draft names another lead: looked up by what stands in the draft.
CREATE INDEX lead_by_name ON lead (workspace_id, lower(name)) WHERE name IS NOT NULL;
CREATE INDEX lead_by_email ON lead (workspace_id, lower(email)) WHERE email IS NOT NULL;
CREATE INDEX lead_by_phone ON lead (workspace_id, right(regexp_replace(phone, '\D', '', 'g'), 8))
    WHERE phone IS NOT NULL;
