-- 0001 initial
-- when: before the new code
--
-- How a message becomes a reply, and who moves what:
--
--   message            written by ingest, once per (workspace, message id); `ingest_seq` orders a lead's messages, taken
--                      under the lead's row lock. `disposition` says what became of it.
--   outbox             every event of ours, written in the transaction that made it true, published by the relay.
--                      A `draft-requested` row with `not_before` waits there for the quiet window and for admission.
--   draft_pipeline_run one per trigger message, channel and attempt. `phase` says which agent it waits for. A worker
--                      owns it by `lease_epoch` until `lease_until`; every write of a run compares the epoch.
--   model_call         one per request, written before the request is made; where a monthly limit holds, its worst case
--                      is reserved with it, in workspace_budget.
--   draft_claim        the right to do one thing for a draft: revise, deliver, ask a person.
--   delivery           one attempt to hand a draft to a channel: scheduled -> claimed -> sent | refused | unknown.
--   booking            held when a run finds that a lead accepted a free time -> confirmed when its reply is sent |
--                      released when the draft comes to any other end. The draft's status moves it, in one transaction.
--   draft_pipeline_run RUNNING -> COMPLETED | FAILED | ABORTED, never back.

CREATE SEQUENCE message_ingest_seq;

CREATE TABLE workspace (
    id            text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 200),
    name          text NOT NULL DEFAULT '',
    default_mode  text NOT NULL DEFAULT 'DRAFT_ONLY'
                  CHECK (default_mode IN ('AI_AUTO_SEND', 'LEGACY_AUTO_REPLY', 'DRAFT_ONLY', 'OFF')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE workspace_settings (
    workspace_id                          text PRIMARY KEY REFERENCES workspace ON DELETE CASCADE,
    auto_send_revision_enabled            boolean NOT NULL DEFAULT false,
    auto_send_revision_model              text DEFAULT 'gpt-5.2',
    auto_send_revision_reasoning_effort   text DEFAULT 'high',
    auto_send_revision_max_iterations     integer DEFAULT 3,
    draft_model                           text DEFAULT 'gpt-5.2',
    draft_reasoning_effort                text DEFAULT 'low',
    draft_verification_model              text DEFAULT 'gpt-5.2',
    draft_verification_reasoning_effort   text DEFAULT 'low',
    overseer_model                        text DEFAULT 'gpt-5.2',
    overseer_reasoning_effort             text DEFAULT 'medium',
    evaluation_model                      text DEFAULT 'gpt-5.2',
    evaluation_reasoning_effort           text DEFAULT 'medium',
    cheaper_model                         text,
    lead_context_bundle_enabled           boolean NOT NULL DEFAULT false,
    lead_context_bundle_budgets           jsonb NOT NULL DEFAULT '{}',
    followup_booking_gate_enabled         boolean NOT NULL DEFAULT false,
    instructions                          text NOT NULL DEFAULT '',
    quiet_window_s                        double precision NOT NULL DEFAULT 5 CHECK (quiet_window_s BETWEEN 0 AND 3600),
    running_runs_max                      integer NOT NULL DEFAULT 200 CHECK (running_runs_max > 0),
    message_age_s_max                     double precision NOT NULL DEFAULT 86400 CHECK (message_age_s_max > 0),
    auto_replies_per_hour_max             integer NOT NULL DEFAULT 3 CHECK (auto_replies_per_hour_max >= 0),
    auto_replies_per_day_max              integer NOT NULL DEFAULT 10 CHECK (auto_replies_per_day_max >= 0),
    sends_per_s_max                       double precision CHECK (sends_per_s_max > 0),
    send_delay_s                          double precision NOT NULL DEFAULT 0 CHECK (send_delay_s >= 0),
    business_hours                        jsonb,
    timezone                              text NOT NULL DEFAULT 'UTC',
    language                              text,
    always_ask_topics                     text[] NOT NULL DEFAULT '{refund,legal,password}',
    forbidden_phrases                     text[] NOT NULL DEFAULT '{}',
    allowed_promises                      text[] NOT NULL DEFAULT '{}',
    monthly_budget_usd                    numeric(12, 4) CHECK (monthly_budget_usd >= 0),
    review_s_max                          double precision NOT NULL DEFAULT 604800 CHECK (review_s_max > 0),
    channels                              jsonb NOT NULL DEFAULT '{}',
    slack_channel                         text,
    slack_approver_ids                    text[] NOT NULL DEFAULT '{}',
    slack_team_id                         text,
    updated_at                            timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE campaign (
    workspace_id  text NOT NULL REFERENCES workspace ON DELETE CASCADE,
    campaign_id   text NOT NULL CHECK (length(campaign_id) BETWEEN 1 AND 200),
    name          text NOT NULL DEFAULT '',
    mode          text NOT NULL CHECK (mode IN ('AI_AUTO_SEND', 'LEGACY_AUTO_REPLY', 'DRAFT_ONLY', 'OFF')),
    instructions  text NOT NULL DEFAULT '',
    PRIMARY KEY (workspace_id, campaign_id)
);

-- Append-only. The policy in force is the newest row of the narrowest scope: campaign, workspace, global.
CREATE TABLE confidence_policy_revision (
    revision             integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope                text NOT NULL CHECK (scope IN ('global', 'workspace', 'campaign')),
    workspace_id         text REFERENCES workspace ON DELETE CASCADE,
    campaign_id          text,
    auto_send_threshold  double precision NOT NULL DEFAULT 0.90 CHECK (auto_send_threshold BETWEEN 0 AND 1),
    booking_threshold    double precision NOT NULL DEFAULT 0.80 CHECK (booking_threshold BETWEEN 0 AND 1),
    rules                jsonb NOT NULL DEFAULT '{}',
    rolled_back_to       integer REFERENCES confidence_policy_revision,
    created_by           text NOT NULL,
    reason               text NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    CHECK ((scope = 'global') = (workspace_id IS NULL)),
    CHECK ((scope = 'campaign') = (campaign_id IS NOT NULL))
);
INSERT INTO confidence_policy_revision (scope, created_by, reason) VALUES ('global', 'migration', 'defaults');
CREATE INDEX confidence_policy_revision_scope ON confidence_policy_revision (workspace_id, campaign_id, revision DESC);

-- Ingest and send both lock this row: whoever comes second sees what the first one wrote.
CREATE TABLE lead (
    workspace_id  text NOT NULL REFERENCES workspace ON DELETE CASCADE,
    lead_id       text NOT NULL CHECK (length(lead_id) BETWEEN 1 AND 200),
    name          text,
    email         text,
    phone         text,
    timezone      text,
    locale        text,
    erased_at     timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, lead_id)
) WITH (fillfactor = 80);
-- Whether a draft names another lead: looked up by what stands in the draft.
CREATE INDEX lead_by_name ON lead (workspace_id, lower(name)) WHERE name IS NOT NULL;
CREATE INDEX lead_by_email ON lead (workspace_id, lower(email)) WHERE email IS NOT NULL;
CREATE INDEX lead_by_phone ON lead (workspace_id, right(regexp_replace(phone, '\D', '', 'g'), 8))
    WHERE phone IS NOT NULL;

CREATE TABLE lead_memory_entry (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id  text NOT NULL,
    lead_id       text NOT NULL,
    text          text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (workspace_id, lead_id) REFERENCES lead ON DELETE CASCADE
);
CREATE INDEX lead_memory_entry_lead ON lead_memory_entry (workspace_id, lead_id, created_at DESC);

CREATE TABLE knowledge_entry (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id  text NOT NULL REFERENCES workspace ON DELETE CASCADE,
    title         text NOT NULL,
    text          text NOT NULL,
    source        text NOT NULL DEFAULT '',
    language      regconfig NOT NULL DEFAULT 'simple',
    verified      boolean NOT NULL DEFAULT false,
    search        tsvector GENERATED ALWAYS AS
                  (setweight(to_tsvector(language, title), 'A') || to_tsvector(language, text)) STORED,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workspace_id, source, title)
);
CREATE INDEX knowledge_entry_search ON knowledge_entry USING gin (search);
CREATE INDEX knowledge_entry_language ON knowledge_entry (workspace_id, language);

CREATE TABLE availability_slot (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id  text NOT NULL REFERENCES workspace ON DELETE CASCADE,
    starts_at     timestamptz NOT NULL,
    ends_at       timestamptz NOT NULL,
    source        text NOT NULL DEFAULT '',
    CHECK (ends_at > starts_at),
    UNIQUE (workspace_id, starts_at, ends_at)
);

CREATE TABLE message (
    id               uuid PRIMARY KEY,
    workspace_id     text NOT NULL,
    lead_id          text NOT NULL,
    channel          text NOT NULL CHECK (channel IN ('email', 'sms', 'linkedin', 'chat')),
    thread_id        text NOT NULL DEFAULT '',
    message_id       text NOT NULL CHECK (length(message_id) BETWEEN 1 AND 200),
    direction        text NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    human            boolean NOT NULL DEFAULT true,
    sent_by          text,
    source           text,
    draft_id         uuid,
    campaign_id      text,
    mode             text NOT NULL CHECK (mode IN ('AI_AUTO_SEND', 'LEGACY_AUTO_REPLY', 'DRAFT_ONLY', 'OFF')),
    body             text NOT NULL,
    subject          text,
    from_address     text,
    to_address       text,
    headers          jsonb NOT NULL DEFAULT '{}',
    disposition      text NOT NULL CHECK (disposition IN ('waiting', 'run', 'joined_later_message', 'outbound',
                     'machine_mail', 'opt_out', 'lead_suppressed', 'mode_off', 'draft_failed')),
    ingest_seq       bigint NOT NULL DEFAULT nextval('message_ingest_seq'),
    approved_by      text,
    approved_via     text,
    traceparent      text,
    received_at      timestamptz NOT NULL,
    ingested_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workspace_id, message_id),
    FOREIGN KEY (workspace_id, lead_id) REFERENCES lead ON DELETE CASCADE,
    CHECK ((direction = 'outbound') = (disposition = 'outbound'))
);
ALTER SEQUENCE message_ingest_seq OWNED BY message.ingest_seq;
CREATE INDEX message_conversation ON message (workspace_id, lead_id, channel, thread_id, ingest_seq DESC);
CREATE INDEX message_draft ON message (draft_id) WHERE draft_id IS NOT NULL;
CREATE INDEX message_waiting ON message (ingested_at) WHERE disposition = 'waiting';

CREATE TABLE draft_pipeline_run (
    id                    uuid PRIMARY KEY,
    workspace_id          text NOT NULL,
    lead_id               text NOT NULL,
    trigger_message_id    text NOT NULL,
    draft_id              uuid NOT NULL,
    channel               text NOT NULL CHECK (channel IN ('email', 'sms', 'linkedin', 'chat')),
    thread_id             text NOT NULL DEFAULT '',
    status                text NOT NULL DEFAULT 'RUNNING'
                          CHECK (status IN ('RUNNING', 'COMPLETED', 'FAILED', 'ABORTED')),
    phase                 text NOT NULL DEFAULT 'draft' CHECK (phase IN ('draft', 'revise', 'dispatch', 'done')),
    reason                text,
    attempt               integer NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    retry_of              uuid REFERENCES draft_pipeline_run ON DELETE SET NULL,
    source                text NOT NULL DEFAULT 'pipeline'
                          CHECK (source IN ('pipeline', 'backfill', 'evaluate', 'replay')),
    policy_revision       integer NOT NULL,
    superseded_at         timestamptz,
    lease_owner           text NOT NULL,
    lease_epoch           bigint NOT NULL DEFAULT 1,
    lease_until           timestamptz NOT NULL,
    traceparent           text,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    finished_at           timestamptz,
    UNIQUE (workspace_id, trigger_message_id, channel, attempt),
    FOREIGN KEY (workspace_id, lead_id) REFERENCES lead ON DELETE CASCADE,
    CHECK ((status = 'RUNNING') = (finished_at IS NULL)),
    CHECK ((status = 'RUNNING') = (phase <> 'done')),
    CHECK (status = 'RUNNING' OR reason IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX draft_pipeline_run_draft ON draft_pipeline_run (draft_id);
CREATE INDEX draft_pipeline_run_recent ON draft_pipeline_run (workspace_id, created_at DESC);
CREATE INDEX draft_pipeline_run_running ON draft_pipeline_run (workspace_id, lead_id) WHERE status = 'RUNNING';

CREATE FUNCTION draft_pipeline_run_moves_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status <> 'RUNNING' AND (NEW.status, NEW.reason, NEW.finished_at)
       IS DISTINCT FROM (OLD.status, OLD.reason, OLD.finished_at) THEN
        RAISE EXCEPTION 'run is terminal' USING ERRCODE = 'check_violation', CONSTRAINT = 'run_status_forward_only';
    END IF;
    IF array_position(ARRAY['draft', 'revise', 'dispatch', 'done'], NEW.phase)
       < array_position(ARRAY['draft', 'revise', 'dispatch', 'done'], OLD.phase) THEN
        RAISE EXCEPTION 'phase moves forward' USING ERRCODE = 'check_violation', CONSTRAINT = 'run_phase_forward_only';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER draft_pipeline_run_moves_forward
    BEFORE UPDATE OF status, reason, finished_at, phase ON draft_pipeline_run
    FOR EACH ROW EXECUTE FUNCTION draft_pipeline_run_moves_forward();

CREATE TABLE draft_run_context (
    run_id        uuid PRIMARY KEY REFERENCES draft_pipeline_run ON DELETE CASCADE,
    snapshot      jsonb NOT NULL,
    context_pack  jsonb NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE draft_pipeline_artifact (
    id             uuid PRIMARY KEY,
    run_id         uuid NOT NULL REFERENCES draft_pipeline_run ON DELETE CASCADE,
    stage          text NOT NULL,
    iteration      integer NOT NULL CHECK (iteration BETWEEN 0 AND 3),
    prompt_key     text NOT NULL,
    input_sha256   text NOT NULL CHECK (input_sha256 ~ '^[0-9a-f]{64}$'),
    model          text NOT NULL,
    payload        jsonb NOT NULL CONSTRAINT payload_fits CHECK (octet_length(payload::text) <= 32768),
    text           text,
    input_tokens   integer NOT NULL DEFAULT 0,
    output_tokens  integer NOT NULL DEFAULT 0,
    latency_ms     integer NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (run_id, stage, iteration)
);
CREATE INDEX draft_pipeline_artifact_run ON draft_pipeline_artifact (run_id, created_at);

-- started -> answered | unusable | failed | refused. `refused`: the server definitely did no work (429, 503, no
-- connection), so the same call may be made again. An outage failure does not use up an attempt of a draft stage.
CREATE TABLE model_call (
    id             uuid PRIMARY KEY,
    run_id         uuid NOT NULL,
    draft_id       uuid NOT NULL,
    workspace_id   text NOT NULL,
    stage          text NOT NULL,
    iteration      integer NOT NULL CHECK (iteration BETWEEN 0 AND 3),
    attempt        integer NOT NULL CHECK (attempt >= 1),
    model          text NOT NULL,
    effort         text NOT NULL,
    input_sha256   text NOT NULL,
    status         text NOT NULL DEFAULT 'started'
                   CHECK (status IN ('started', 'answered', 'unusable', 'failed', 'refused')),
    failure        text,
    during_outage  boolean NOT NULL DEFAULT false,
    reserved_usd   numeric(14, 8) NOT NULL DEFAULT 0,
    cost_usd       numeric(14, 8),
    input_tokens   integer,
    output_tokens  integer,
    latency_ms     integer,
    started_at     timestamptz NOT NULL DEFAULT now(),
    finished_at    timestamptz,
    held_usd       numeric(14, 8) CHECK (held_usd >= 0),
    UNIQUE (run_id, stage, iteration, attempt),
    CHECK ((status = 'started') = (finished_at IS NULL))
);
-- The promise "at most one selector call, and one reviser call and one re-evaluation an iteration, for ever".
CREATE UNIQUE INDEX model_call_one_revision_attempt ON model_call (draft_id, stage, iteration)
    WHERE status <> 'refused' AND (stage IN ('auto_send_revision_selector', 'auto_send_revision_reviser')
                                   OR (stage = 'auto_send_evaluation' AND iteration > 0));
CREATE INDEX model_call_month ON model_call (workspace_id, started_at);
CREATE INDEX model_call_held ON model_call (run_id) WHERE held_usd IS NOT NULL;

-- A workspace with a monthly limit: the worst case of each call is reserved in the statement that records the call, in
-- one row per workspace and month (UTC), and settled with what the call cost. `held_usd` is what a call still holds.
CREATE TABLE workspace_budget (
    workspace_id  text NOT NULL REFERENCES workspace ON DELETE CASCADE,
    month         date NOT NULL CHECK (extract(day FROM month) = 1),
    spent_usd     numeric(14, 8) NOT NULL DEFAULT 0 CHECK (spent_usd >= 0),
    reserved_usd  numeric(14, 8) NOT NULL DEFAULT 0 CHECK (reserved_usd >= 0),
    PRIMARY KEY (workspace_id, month)
) WITH (fillfactor = 50);

-- A limit that is set anew counts the month anew, from its calls: without a limit nobody kept the row.
CREATE FUNCTION workspace_budget_counts_anew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM workspace_budget WHERE workspace_id = NEW.workspace_id;
    RETURN NULL;
END $$;
CREATE TRIGGER workspace_budget_counts_anew AFTER UPDATE OF monthly_budget_usd ON workspace_settings
    FOR EACH ROW WHEN (OLD.monthly_budget_usd IS NULL AND NEW.monthly_budget_usd IS NOT NULL)
    EXECUTE FUNCTION workspace_budget_counts_anew();

CREATE TABLE ai_draft (
    id                               uuid PRIMARY KEY,
    run_id                           uuid REFERENCES draft_pipeline_run ON DELETE SET NULL,
    workspace_id                     text NOT NULL,
    lead_id                          text NOT NULL,
    campaign_id                      text,
    trigger_message_id               text NOT NULL,
    trigger_ingest_seq               bigint NOT NULL,
    thread_id                        text NOT NULL DEFAULT '',
    mode                             text NOT NULL CHECK (mode IN ('AI_AUTO_SEND', 'LEGACY_AUTO_REPLY', 'DRAFT_ONLY')),
    channel                          text NOT NULL CHECK (channel IN ('email', 'sms', 'linkedin', 'chat')),
    recipient                        text,
    content                          text,
    original_content                 text,
    content_sha256                   text,
    language                         text,
    status                           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'scheduled', 'sent',
                                     'rejected', 'superseded', 'suppressed', 'expired', 'unknown')),
    hard_blocks                      jsonb NOT NULL DEFAULT '[]',
    policy_revision                  integer,
    auto_send_evaluated_at           timestamptz,
    auto_send_confidence             double precision CHECK (auto_send_confidence BETWEEN 0 AND 1),
    auto_send_threshold              double precision,
    auto_send_reason                 text,
    auto_send_action                 text CHECK (auto_send_action IN ('send_immediate', 'send_delayed',
                                     'needs_review', 'none')),
    auto_send_original_confidence    double precision,
    auto_send_revision_confidence    double precision,
    auto_send_revision_applied       boolean NOT NULL DEFAULT false,
    auto_send_revision_attempted_at  timestamptz,
    auto_send_revision_iterations    integer NOT NULL DEFAULT 0 CHECK (auto_send_revision_iterations BETWEEN 0 AND 3),
    revision_outcome                 text,
    chosen_iteration                 integer NOT NULL DEFAULT 0 CHECK (chosen_iteration BETWEEN 0 AND 3),
    outcome_sequence                 integer NOT NULL DEFAULT 0,
    created_at                       timestamptz NOT NULL DEFAULT now(),
    updated_at                       timestamptz NOT NULL DEFAULT now(),
    scheduling                       boolean NOT NULL DEFAULT false,
    FOREIGN KEY (workspace_id, lead_id) REFERENCES lead ON DELETE CASCADE
) WITH (fillfactor = 70);
CREATE INDEX ai_draft_lead_open ON ai_draft (workspace_id, lead_id) WHERE status IN ('pending', 'scheduled');
CREATE INDEX ai_draft_recent ON ai_draft (workspace_id, created_at DESC);
CREATE INDEX ai_draft_run ON ai_draft (run_id);
CREATE INDEX ai_draft_unknown ON ai_draft (workspace_id) WHERE status = 'unknown';

-- A sent draft stays sent, whatever a retry or a backfill thinks.
CREATE FUNCTION ai_draft_never_downgraded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'sent' AND NEW.status <> 'sent' THEN
        RAISE EXCEPTION 'draft is sent' USING ERRCODE = 'check_violation', CONSTRAINT = 'draft_sent_stays_sent';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ai_draft_never_downgraded BEFORE UPDATE OF status ON ai_draft
    FOR EACH ROW EXECUTE FUNCTION ai_draft_never_downgraded();

CREATE TABLE draft_claim (
    draft_id     uuid NOT NULL REFERENCES ai_draft ON DELETE CASCADE,
    purpose      text NOT NULL CHECK (purpose IN ('revision', 'delivery', 'review_request')),
    token        uuid NOT NULL,
    claimed_by   text NOT NULL,
    claimed_at   timestamptz NOT NULL DEFAULT now(),
    lease_until  timestamptz NOT NULL,
    settled_at   timestamptz,
    outcome      text,
    PRIMARY KEY (draft_id, purpose),
    CHECK ((settled_at IS NULL) = (outcome IS NULL))
);
CREATE INDEX draft_claim_open ON draft_claim (lease_until) WHERE settled_at IS NULL;

CREATE TABLE delivery (
    id                   uuid PRIMARY KEY,
    draft_id             uuid NOT NULL REFERENCES ai_draft ON DELETE CASCADE,
    workspace_id         text NOT NULL,
    lead_id              text NOT NULL,
    trigger_message_id   text NOT NULL,
    channel              text NOT NULL,
    thread_id            text NOT NULL DEFAULT '',
    automatic            boolean NOT NULL,
    recipient            text,
    content              text NOT NULL,
    content_sha256       text NOT NULL,
    status               text NOT NULL DEFAULT 'scheduled'
                         CHECK (status IN ('scheduled', 'claimed', 'sent', 'refused', 'unknown', 'cancelled')),
    reason               text,
    delayed              boolean NOT NULL DEFAULT false,
    scheduled_for        timestamptz NOT NULL DEFAULT now(),
    retry_at             timestamptz,
    attempts             integer NOT NULL DEFAULT 0,
    lease_owner          text,
    lease_epoch          bigint NOT NULL DEFAULT 0,
    lease_until          timestamptz,
    claimed_at           timestamptz,
    finished_at          timestamptz,
    provider_message_id  text,
    approved_by          text,
    approved_via         text,
    edited               boolean NOT NULL DEFAULT false,
    confirmed_by         text,
    created_at           timestamptz NOT NULL DEFAULT now(),
    CHECK ((status IN ('sent', 'refused', 'unknown', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (automatic OR approved_by IS NOT NULL)
);
-- I1: one unconfirmed delivery per draft, one automatic reply per trigger message and channel.
CREATE UNIQUE INDEX delivery_one_per_draft ON delivery (draft_id)
    WHERE confirmed_by IS NULL AND status NOT IN ('refused', 'cancelled');
CREATE UNIQUE INDEX delivery_one_automatic_reply ON delivery (workspace_id, trigger_message_id, channel)
    WHERE automatic AND status NOT IN ('refused', 'cancelled');
CREATE INDEX delivery_open ON delivery (scheduled_for) WHERE status IN ('scheduled', 'claimed');
CREATE INDEX delivery_lead ON delivery (workspace_id, lead_id, created_at DESC);

CREATE TABLE review_request (
    id              uuid PRIMARY KEY,
    draft_id        uuid NOT NULL UNIQUE REFERENCES ai_draft ON DELETE CASCADE,
    workspace_id    text NOT NULL,
    reason          text NOT NULL,
    status          text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'decided', 'expired', 'superseded')),
    content_sha256  text,
    slack_channel   text,
    slack_ts        text,
    posted_at       timestamptz,
    slack_updated_at timestamptz,
    expires_at      timestamptz NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    closed_at       timestamptz,
    slack_team_id     text,
    slack_previous_ts text,
    slack_attempts    integer NOT NULL DEFAULT 0,
    slack_retry_at    timestamptz,
    expiry_told_at    timestamptz,
    CHECK ((status = 'open') = (closed_at IS NULL))
);
CREATE INDEX review_request_open ON review_request (workspace_id, created_at) WHERE status = 'open';
CREATE INDEX review_request_closed ON review_request (workspace_id, closed_at DESC) WHERE status <> 'open';
CREATE INDEX review_request_unposted ON review_request (slack_retry_at NULLS FIRST, created_at)
    WHERE status = 'open' AND slack_ts IS NULL;
CREATE INDEX review_request_slack_stale ON review_request (closed_at)
    WHERE status <> 'open' AND slack_ts IS NOT NULL AND slack_updated_at IS NULL;
CREATE INDEX review_request_expiry_untold ON review_request (closed_at)
    WHERE status = 'expired' AND slack_ts IS NOT NULL AND expiry_told_at IS NULL;

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

-- Append-only: who, how, what, on which text. `passed`: the hard blocks of the text that went out all the same.
-- `response_url`: where Slack takes an answer to the click, gone once it was answered.
CREATE TABLE review_action (
    id              uuid PRIMARY KEY,
    draft_id        uuid NOT NULL REFERENCES ai_draft ON DELETE CASCADE,
    workspace_id    text NOT NULL,
    actor           text NOT NULL,
    via             text NOT NULL CHECK (via IN ('slack', 'web', 'cli')),
    action          text NOT NULL CHECK (action IN ('approve', 'edit', 'reject', 'confirm_resend', 'undo')),
    content_sha256  text,
    edited_text     text,
    reject_reason   text,
    binding         jsonb NOT NULL DEFAULT '{}',
    result          text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    done_at         timestamptz,
    passed          jsonb NOT NULL DEFAULT '[]',
    response_url    text,
    told_at         timestamptz
);
CREATE INDEX review_action_draft ON review_action (draft_id, created_at);
CREATE INDEX review_action_untold ON review_action (done_at)
    WHERE via = 'slack' AND told_at IS NULL AND result LIKE 'refused%';

CREATE TABLE meeting_overseer_decision (
    id          uuid PRIMARY KEY,
    run_id      uuid REFERENCES draft_pipeline_run ON DELETE SET NULL,
    draft_id    uuid NOT NULL REFERENCES ai_draft ON DELETE CASCADE,
    decision    text NOT NULL CHECK (decision IN ('approve', 'revise', 'error')),
    reason      text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- What the booking rules make of it; `booked` is a plan until the reply is sent.
    outcome     text NOT NULL DEFAULT 'error' CHECK (outcome IN ('booked', 'task_created', 'clarification', 'error')),
    outcome_reason text NOT NULL DEFAULT '',
    accepted_at timestamptz,
    UNIQUE (draft_id)
);

-- A released row of a draft that is still open says: its text agrees to a time that it does not have.
CREATE TABLE booking (
    id            uuid PRIMARY KEY,
    workspace_id  text NOT NULL,
    lead_id       text NOT NULL,
    draft_id      uuid REFERENCES ai_draft ON DELETE SET NULL,
    slot_id       bigint REFERENCES availability_slot ON DELETE SET NULL,
    status        text NOT NULL CHECK (status IN ('held', 'confirmed', 'released')),
    source        text NOT NULL DEFAULT 'draft-pipeline',
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    starts_at     timestamptz NOT NULL,
    ends_at       timestamptz NOT NULL,
    external_id   text CONSTRAINT booking_external_id_length CHECK (length(external_id) BETWEEN 1 AND 200),
    reason        text NOT NULL DEFAULT '',
    FOREIGN KEY (workspace_id, lead_id) REFERENCES lead ON DELETE CASCADE,
    CONSTRAINT booking_ends_after_start CHECK (ends_at > starts_at),
    CONSTRAINT booking_external_means_outside CHECK ((external_id IS NULL) = (source = 'draft-pipeline'))
);
CREATE UNIQUE INDEX booking_slot_once ON booking (slot_id) WHERE status IN ('held', 'confirmed');
CREATE UNIQUE INDEX booking_one_per_draft ON booking (draft_id) WHERE draft_id IS NOT NULL;
CREATE UNIQUE INDEX booking_external_once ON booking (workspace_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX booking_to_come ON booking (workspace_id, ends_at) WHERE status IN ('held', 'confirmed');
CREATE INDEX booking_lead ON booking (workspace_id, lead_id);

CREATE TABLE followup_task (
    id            uuid PRIMARY KEY,
    workspace_id  text NOT NULL,
    lead_id       text NOT NULL,
    draft_id      uuid REFERENCES ai_draft ON DELETE CASCADE,
    outcome       text NOT NULL CHECK (outcome IN ('booked', 'task_created', 'clarification', 'error')),
    reason        text NOT NULL DEFAULT '',
    due_at        timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    done_at       timestamptz,
    FOREIGN KEY (workspace_id, lead_id) REFERENCES lead ON DELETE CASCADE
);
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
CREATE INDEX followup_task_recent ON followup_task (created_at);

CREATE TABLE suppression (
    workspace_id  text NOT NULL REFERENCES workspace ON DELETE CASCADE,
    lead_id       text NOT NULL,
    reason        text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, lead_id)
);

-- Telemetry that cannot hold text: allowed keys only, numbers and booleans only.
CREATE TABLE ai_interaction (
    id             uuid PRIMARY KEY,
    workspace_id   text NOT NULL,
    run_id         uuid,
    feature_id     text NOT NULL,
    source         text NOT NULL CHECK (source IN ('pipeline', 'backfill', 'evaluate', 'replay')),
    model          text NOT NULL,
    status         text NOT NULL,
    input_tokens   integer NOT NULL DEFAULT 0,
    output_tokens  integer NOT NULL DEFAULT 0,
    latency_ms     integer NOT NULL DEFAULT 0,
    cost_usd       numeric(14, 8),
    metadata       jsonb NOT NULL DEFAULT '{}'
                   CONSTRAINT metadata_textless CHECK (
                       CASE jsonb_typeof(metadata) WHEN 'object' THEN
                           NOT metadata @? 'strict $.* ? (@.type() != "number" && @.type() != "boolean")'
                           AND metadata - ARRAY['iteration', 'attempt', 'cached_tokens', 'reasoning_tokens', 'retry',
                               'http_status', 'bundle_enabled', 'bundle_sections', 'bundle_tokens', 'bundle_chars',
                               'bundle_truncated', 'tokens_saved', 'tokens_thrown_away', 'during_outage', 'coerced']
                               = '{}'
                       ELSE false END),
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ai_interaction_recent ON ai_interaction (created_at DESC);

CREATE TABLE ingest_watermark (
    topic        text NOT NULL,
    partition    integer NOT NULL,
    next_offset  bigint NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);

-- `conversation` is set on a waiting `draft-requested` row: one per conversation that the relay has not taken yet.
CREATE TABLE outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id      uuid NOT NULL,
    topic         text NOT NULL,
    key           bytea,
    value         bytea,
    headers       jsonb NOT NULL DEFAULT '{}',
    workspace_id  text,
    conversation  text,
    message_id    text,
    not_before    timestamptz NOT NULL DEFAULT now(),
    taken_until   timestamptz,
    published_at  timestamptz,
    consumed_at   timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (topic, event_id)
) WITH (fillfactor = 80);
CREATE INDEX outbox_unpublished ON outbox (not_before, id) WHERE published_at IS NULL AND conversation IS NULL;
CREATE INDEX outbox_waiting ON outbox (workspace_id, not_before, id)
    WHERE published_at IS NULL AND conversation IS NOT NULL;
CREATE UNIQUE INDEX outbox_one_waiting ON outbox (workspace_id, conversation)
    WHERE conversation IS NOT NULL AND taken_until IS NULL AND published_at IS NULL;
CREATE INDEX outbox_admitted ON outbox (workspace_id)
    WHERE conversation IS NOT NULL AND taken_until IS NOT NULL AND consumed_at IS NULL;

CREATE TABLE kill_switch (
    name        text PRIMARY KEY CHECK (name IN ('AUTO_SEND_DISABLED', 'AUTO_SEND_REVISION_DISABLED',
                'LEAD_CONTEXT_BUNDLE_DISABLED')),
    disabled    boolean NOT NULL DEFAULT false,
    reason      text NOT NULL DEFAULT '',
    changed_by  text NOT NULL DEFAULT '',
    changed_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO kill_switch (name)
VALUES ('AUTO_SEND_DISABLED'), ('AUTO_SEND_REVISION_DISABLED'), ('LEAD_CONTEXT_BUNDLE_DISABLED');

CREATE TABLE process_heartbeat (
    process_id   text PRIMARY KEY,
    role         text NOT NULL,
    version      text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    beat_at      timestamptz NOT NULL DEFAULT now(),
    switches     jsonb NOT NULL DEFAULT '{}',
    figures      jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE admin_audit (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor         text NOT NULL,
    via           text NOT NULL,
    action        text NOT NULL,
    workspace_id  text,
    subject       text NOT NULL,
    before        jsonb,
    after         jsonb,
    reason        text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX admin_audit_subject ON admin_audit (workspace_id, subject, id DESC);

CREATE TABLE api_token (
    id            uuid PRIMARY KEY,
    name          text NOT NULL,
    sha256        text NOT NULL UNIQUE CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    role          text NOT NULL CHECK (role IN ('super_admin', 'workspace_admin', 'reviewer', 'ops', 'analyst')),
    workspace_id  text REFERENCES workspace ON DELETE CASCADE,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    one_time      boolean NOT NULL DEFAULT false,
    created_by    text NOT NULL DEFAULT '',
    used_at       timestamptz,
    CONSTRAINT api_token_workspace_fits_role CHECK (CASE role WHEN 'super_admin' THEN workspace_id IS NULL
                                                    WHEN 'workspace_admin' THEN workspace_id IS NOT NULL
                                                    ELSE true END),
    CONSTRAINT api_token_one_time_expires CHECK (NOT one_time OR expires_at IS NOT NULL)
);

-- One signed-in browser. The cookie holds the id, signed; role and workspace are read here on every request, or from
-- the token that started it, so that revoking the token ends its sessions.
CREATE TABLE web_session (
    id            uuid PRIMARY KEY,
    token_id      uuid REFERENCES api_token ON DELETE CASCADE,
    subject       text NOT NULL,
    role          text NOT NULL CHECK (role IN ('super_admin', 'workspace_admin', 'reviewer', 'ops', 'analyst')),
    workspace_id  text REFERENCES workspace ON DELETE CASCADE,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    ended_at      timestamptz,
    CONSTRAINT web_session_workspace_fits_role CHECK (CASE role WHEN 'super_admin' THEN workspace_id IS NULL
                                                      WHEN 'workspace_admin' THEN workspace_id IS NOT NULL
                                                      ELSE true END)
);
CREATE INDEX web_session_expiry ON web_session (expires_at);

CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'append-only' USING ERRCODE = 'check_violation', CONSTRAINT = TG_TABLE_NAME || '_append_only';
END $$;
CREATE TRIGGER admin_audit_append_only BEFORE UPDATE OR DELETE ON admin_audit
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER review_action_append_only
    BEFORE UPDATE OF id, draft_id, actor, via, action, content_sha256, edited_text, reject_reason, binding, created_at
    ON review_action FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER confidence_policy_revision_append_only BEFORE UPDATE ON confidence_policy_revision
    FOR EACH ROW EXECUTE FUNCTION append_only();

CREATE SCHEMA analytics;
