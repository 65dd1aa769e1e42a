-- 0006 review
-- when: before the new code
--
-- What Slack was told about a review, when to try again, and what a reviewer passed.

ALTER TABLE review_request
    ADD COLUMN slack_team_id     text,
    ADD COLUMN slack_previous_ts text,
    ADD COLUMN slack_attempts    integer NOT NULL DEFAULT 0,
    ADD COLUMN slack_retry_at    timestamptz,
    ADD COLUMN expiry_told_at    timestamptz;

-- `passed`: the hard blocks of the text that went out all the same. `response_url`: where Slack takes an answer to the
-- click, gone once it was answered.
ALTER TABLE review_action
    ADD COLUMN passed       jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN response_url text,
    ADD COLUMN told_at      timestamptz;

CREATE INDEX review_request_closed ON review_request (workspace_id, closed_at DESC) WHERE status <> 'open';
CREATE INDEX review_request_unposted ON review_request (slack_retry_at NULLS FIRST, created_at)
    WHERE status = 'open' AND slack_ts IS NULL;
CREATE INDEX review_request_slack_stale ON review_request (closed_at)
    WHERE status <> 'open' AND coalesce(slack_ts, slack_previous_ts) IS NOT NULL AND slack_updated_at IS NULL;
CREATE INDEX review_request_expiry_untold ON review_request (closed_at)
    WHERE status = 'expired' AND slack_ts IS NOT NULL AND expiry_told_at IS NULL;
CREATE INDEX review_action_untold ON review_action (done_at)
    WHERE via = 'slack' AND told_at IS NULL AND result LIKE 'refused%';

-- Asked again, with a new time to answer: Slack gets a new message, and the old one loses its buttons.
CREATE FUNCTION review_asked_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.slack_previous_ts := CASE WHEN OLD.slack_ts IS NOT NULL AND OLD.slack_updated_at IS NULL THEN OLD.slack_ts
                             ELSE OLD.slack_previous_ts END;
    NEW.slack_ts := NULL;
    NEW.posted_at := NULL;
    NEW.slack_updated_at := NULL;
    NEW.slack_attempts := 0;
    NEW.slack_retry_at := NULL;
    NEW.expiry_told_at := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER review_asked_again BEFORE UPDATE OF expires_at ON review_request
    FOR EACH ROW EXECUTE FUNCTION review_asked_again();
