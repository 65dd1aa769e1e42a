-- 0004 sending
-- when: before the new code
--
-- A reply takes its place among the lead's messages when its send is claimed, not when the provider has answered. A
-- workspace's pace over all workers. A quarantine after a restore. What became of a draft, defined once.

-- `claim_seq` orders the reply among the lead's messages (as `message.ingest_seq`, taken under the lead's row lock).
-- `claim_to_call_ms`: from the check of everything that could stand against a send to the provider call.
ALTER TABLE delivery ADD COLUMN claim_seq bigint, ADD COLUMN claim_to_call_ms integer;

DROP INDEX delivery_open;
CREATE INDEX delivery_due ON delivery ((coalesce(retry_at, scheduled_for))) WHERE status IN ('scheduled', 'claimed');

-- When the next send of a workspace with `sends_per_s_max` may be made; others have no row.
CREATE TABLE send_pace (
    workspace_id  text PRIMARY KEY REFERENCES workspace ON DELETE CASCADE,
    next_at       timestamptz NOT NULL
);

-- Commits were lost: nobody knows what was sent for messages received before `until`, so people decide on them.
CREATE TABLE restore_quarantine (
    until       timestamptz PRIMARY KEY,
    actor       text NOT NULL,
    reason      text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- A sent draft stays sent, and its action one that sends, whatever a retry or a backfill thinks.
CREATE OR REPLACE FUNCTION ai_draft_never_downgraded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'sent' AND (NEW.status <> 'sent' OR (OLD.auto_send_action IN ('send_immediate', 'send_delayed')
       AND coalesce(NEW.auto_send_action, '') NOT IN ('send_immediate', 'send_delayed'))) THEN
        RAISE EXCEPTION 'draft is sent' USING ERRCODE = 'check_violation', CONSTRAINT = 'draft_sent_stays_sent';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER ai_draft_never_downgraded ON ai_draft;
CREATE TRIGGER ai_draft_never_downgraded BEFORE UPDATE OF status, auto_send_action ON ai_draft
    FOR EACH ROW EXECUTE FUNCTION ai_draft_never_downgraded();

-- What people filter and count by. `ai_sent`: an outbound message of ours, in the mode in which the policy may send.
-- `ai_review`: the policy asked a person, and nobody has decided. `revised_then_sent`: the text sent was a revised one.
CREATE VIEW draft_fate AS
SELECT draft_id, workspace_id, created_at, ai_sent, ai_review, ai_sent AND revised AS revised_then_sent
FROM (SELECT d.id AS draft_id, d.workspace_id, d.created_at, d.auto_send_revision_applied AS revised,
             EXISTS (SELECT 1 FROM message m WHERE m.draft_id = d.id AND m.direction = 'outbound' AND m.sent_by = 'ai'
                     AND m.source = 'draft-pipeline' AND m.mode = 'AI_AUTO_SEND') AS ai_sent,
             d.mode = 'AI_AUTO_SEND' AND d.auto_send_action = 'needs_review'
                 AND d.status IN ('pending', 'unknown', 'expired') AS ai_review
      FROM ai_draft d) fate;
