-- 0002 bookings
-- when: before the new code
--
-- A booking has times of its own: the slot it took may leave the calendar, and one made outside may be no slot of ours.
-- It follows its draft: sent confirms a hold, any other end releases it.

ALTER TABLE ai_draft ADD COLUMN scheduling boolean NOT NULL DEFAULT false;

ALTER TABLE meeting_overseer_decision
    ADD COLUMN outcome text NOT NULL DEFAULT 'error'
        CHECK (outcome IN ('booked', 'task_created', 'clarification', 'error')),
    ADD COLUMN outcome_reason text NOT NULL DEFAULT '',
    ADD COLUMN accepted_at timestamptz;

ALTER TABLE booking
    ALTER COLUMN slot_id DROP NOT NULL,
    DROP CONSTRAINT booking_slot_id_fkey,
    ADD CONSTRAINT booking_slot_id_fkey FOREIGN KEY (slot_id) REFERENCES availability_slot ON DELETE SET NULL,
    ADD COLUMN starts_at timestamptz,
    ADD COLUMN ends_at timestamptz,
    ADD COLUMN external_id text,
    ADD COLUMN reason text NOT NULL DEFAULT '';
UPDATE booking b SET starts_at = a.starts_at, ends_at = a.ends_at FROM availability_slot a WHERE a.id = b.slot_id;
ALTER TABLE booking
    ALTER COLUMN starts_at SET NOT NULL,
    ALTER COLUMN ends_at SET NOT NULL,
    ADD CONSTRAINT booking_ends_after_start CHECK (ends_at > starts_at),
    ADD CONSTRAINT booking_external_id_length CHECK (length(external_id) BETWEEN 1 AND 200),
    ADD CONSTRAINT booking_external_means_outside CHECK ((external_id IS NULL) = (source = 'draft-pipeline'));
CREATE UNIQUE INDEX booking_one_per_draft ON booking (draft_id) WHERE draft_id IS NOT NULL;
CREATE UNIQUE INDEX booking_external_once ON booking (workspace_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX booking_to_come ON booking (workspace_id, ends_at) WHERE status IN ('held', 'confirmed');
CREATE INDEX booking_lead ON booking (workspace_id, lead_id);

CREATE UNIQUE INDEX followup_task_one_per_draft ON followup_task (draft_id) WHERE draft_id IS NOT NULL;

-- A hold lives as long as its draft is undecided. While a send is under way, or may have gone out, it stays.
CREATE FUNCTION ai_draft_settles_booking() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    settled booking%ROWTYPE;
BEGIN
    IF NEW.status = 'sent' THEN
        UPDATE booking SET status = 'confirmed', reason = 'sent', updated_at = now()
        WHERE draft_id = NEW.id AND status = 'held' RETURNING * INTO settled;
    ELSIF NEW.status IN ('rejected', 'superseded', 'suppressed', 'expired') THEN
        UPDATE booking b SET status = 'released', reason = NEW.status, updated_at = now()
        WHERE b.draft_id = NEW.id AND b.status = 'held' AND NOT EXISTS (
            SELECT 1 FROM delivery d WHERE d.draft_id = NEW.id AND d.status IN ('claimed', 'unknown'))
        RETURNING * INTO settled;
    END IF;
    -- Whoever was superseded or suppressed is owed nothing by this draft; the others a meeting, or a person.
    IF settled.id IS NOT NULL AND NEW.status IN ('sent', 'rejected', 'expired') THEN
        INSERT INTO followup_task AS f (id, workspace_id, lead_id, draft_id, outcome, reason, due_at, done_at)
        SELECT md5('followup:' || NEW.id)::uuid, NEW.workspace_id, NEW.lead_id, NEW.id,
               CASE WHEN NEW.status = 'sent' THEN 'booked' ELSE 'task_created' END, NEW.status, settled.starts_at,
               CASE WHEN NEW.status = 'sent' THEN now() END
        ON CONFLICT (draft_id) WHERE draft_id IS NOT NULL DO UPDATE
        SET outcome = excluded.outcome, reason = excluded.reason, due_at = excluded.due_at, done_at = excluded.done_at;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ai_draft_settles_booking AFTER UPDATE OF status ON ai_draft
    FOR EACH ROW WHEN (NEW.scheduling AND NEW.status IS DISTINCT FROM OLD.status)
    EXECUTE FUNCTION ai_draft_settles_booking();

CREATE INDEX knowledge_entry_language ON knowledge_entry (workspace_id, language);
