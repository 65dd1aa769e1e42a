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
--                      owns it by `lease_epoch` until `lease_until`; every write of a run compares the epoch. What is
--                      given back has no `lease_owner`; what still has one when the lease ends, its worker left behind.
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
CREATE INDEX message_not_begun ON message (ingested_at) WHERE direction = 'inbound' AND disposition = 'waiting';

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
    lease_owner           text,
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
-- Who knows an id must not be offered an index over what is open: after statistics of a quiet night it looks smaller than
-- the primary key, and every write by id would walk through all that is open. So such an index has a condition that only
-- the readers of lists state: `finished_at IS NULL` is the same as RUNNING, and `attempt >= 1` is always true.
CREATE INDEX draft_pipeline_run_open ON draft_pipeline_run (workspace_id, lead_id) WHERE finished_at IS NULL;
-- `attempt >= 1` is always true. A list over all workspaces says it, that of one workspace does not: so no plan walks
-- through everybody's runs to find those of a small workspace.
CREATE INDEX draft_pipeline_run_newest ON draft_pipeline_run (created_at, id) WHERE attempt >= 1;
CREATE INDEX draft_pipeline_run_not_well ON draft_pipeline_run (created_at, id)
    WHERE attempt >= 1 AND status IN ('RUNNING', 'FAILED');

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
CREATE INDEX ai_draft_recent ON ai_draft (workspace_id, created_at DESC);
CREATE INDEX ai_draft_run ON ai_draft (run_id);
CREATE INDEX ai_draft_unknown ON ai_draft (workspace_id) WHERE status = 'unknown';

-- A sent draft stays sent, and its action one that sends, whatever a retry or a backfill thinks.
CREATE FUNCTION ai_draft_never_downgraded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'sent' AND (NEW.status <> 'sent' OR (OLD.auto_send_action IN ('send_immediate', 'send_delayed')
       AND coalesce(NEW.auto_send_action, '') NOT IN ('send_immediate', 'send_delayed'))) THEN
        RAISE EXCEPTION 'draft is sent' USING ERRCODE = 'check_violation', CONSTRAINT = 'draft_sent_stays_sent';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ai_draft_never_downgraded BEFORE UPDATE OF status, auto_send_action ON ai_draft
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
CREATE INDEX draft_claim_unsettled ON draft_claim (lease_until) WHERE outcome IS NULL;

-- `claim_seq` orders the reply among the lead's messages (as `message.ingest_seq`, taken under the lead's row lock).
-- `claim_to_call_ms`: from the check of everything that could stand against a send to the provider call.
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
    claim_seq            bigint,
    claim_to_call_ms     integer,
    route_sha256         text,
    CHECK ((status IN ('sent', 'refused', 'unknown', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (automatic OR approved_by IS NOT NULL)
);
-- I1: one unconfirmed delivery per draft, one automatic reply per trigger message and channel.
CREATE UNIQUE INDEX delivery_one_per_draft ON delivery (draft_id)
    WHERE confirmed_by IS NULL AND status NOT IN ('refused', 'cancelled');
CREATE UNIQUE INDEX delivery_one_automatic_reply ON delivery (workspace_id, trigger_message_id, channel)
    WHERE automatic AND status NOT IN ('refused', 'cancelled');
CREATE INDEX delivery_due ON delivery ((coalesce(retry_at, scheduled_for))) WHERE status IN ('scheduled', 'claimed');
CREATE INDEX delivery_lead ON delivery (workspace_id, lead_id, created_at DESC);

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
    WHERE status <> 'open' AND coalesce(slack_ts, slack_previous_ts) IS NOT NULL AND slack_updated_at IS NULL;
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

-- Which waiting requests may start a run. A statement counts what was there when it began; within a function the count
-- comes after the lock, and sees what whoever had the lock before let in.
CREATE FUNCTION admit_requests(taken_s float8, at_most bigint)
RETURNS TABLE (id bigint, topic text, key bytea, value bytea, headers jsonb) LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('draft-pipeline:admission')) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH due AS (
        SELECT DISTINCT o.workspace_id FROM outbox o
        WHERE o.conversation IS NOT NULL AND o.published_at IS NULL AND o.not_before <= now()
          AND (o.taken_until IS NULL OR o.taken_until < now())
    ), room AS (
        SELECT due.workspace_id, s.running_runs_max
               - (SELECT count(*) FROM draft_pipeline_run r
                  WHERE r.workspace_id = due.workspace_id AND r.finished_at IS NULL)
               - (SELECT count(*) FROM outbox a WHERE a.workspace_id = due.workspace_id AND a.conversation IS NOT NULL
                  AND a.taken_until IS NOT NULL AND a.consumed_at IS NULL
                  AND NOT (a.published_at IS NULL AND a.taken_until < now())) AS free
        FROM due JOIN workspace_settings s ON s.workspace_id = due.workspace_id
    ), chosen AS (
        SELECT picked.id FROM room CROSS JOIN LATERAL (
            SELECT o.id FROM outbox o
            WHERE o.workspace_id = room.workspace_id AND o.conversation IS NOT NULL AND o.published_at IS NULL
              AND o.not_before <= now() AND (o.taken_until IS NULL OR o.taken_until < now())
            ORDER BY o.not_before, o.id LIMIT greatest(room.free, 0) FOR UPDATE SKIP LOCKED) picked
        LIMIT at_most
    )
    UPDATE outbox u SET taken_until = now() + make_interval(secs => taken_s)
    FROM chosen WHERE u.id = chosen.id
    RETURNING u.id, u.topic, u.key, u.value, u.headers;
END $$;

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

CREATE SCHEMA analytics;

-- ---- 0008 analytics
--
-- What analysts may read (schema analytics: ids, codes and figures, never a text), and what retention and the erasure
-- of a lead need. The comments on views and columns are the data dictionary: "meaning | unit | range".

-- Deleting a run must not search whole tables for what points at it; erasing a lead must find its rows.
CREATE INDEX draft_pipeline_run_retries ON draft_pipeline_run (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX draft_pipeline_run_lead ON draft_pipeline_run (workspace_id, lead_id);
CREATE INDEX ai_draft_lead ON ai_draft (workspace_id, lead_id);
CREATE INDEX meeting_overseer_decision_run ON meeting_overseer_decision (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX followup_task_of_lead ON followup_task (workspace_id, lead_id);
CREATE INDEX lead_erased ON lead (workspace_id) WHERE erased_at IS NOT NULL;

-- Imported, or completed by a backfill: its times say nothing about the pipeline.
ALTER TABLE ai_draft ADD COLUMN backfilled boolean NOT NULL DEFAULT false;

-- As told on the topics, kept for when the run is gone.
ALTER TABLE ai_draft ADD COLUMN evaluation_latency_ms integer, ADD COLUMN revision_latency_ms integer;

-- What takes the place of an id of an erased lead: who knows the id finds the row again, nobody reads the id from it.
CREATE FUNCTION erased_id(workspace_id text, id text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN 'erased:' || encode(sha256(convert_to(workspace_id || chr(10) || id, 'UTF8')), 'hex');

-- Append-only, but for the texts, which may go and never change.
CREATE FUNCTION review_action_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.draft_id, NEW.actor, NEW.via, NEW.action, NEW.content_sha256, NEW.binding, NEW.created_at)
       IS DISTINCT FROM
       (OLD.id, OLD.draft_id, OLD.actor, OLD.via, OLD.action, OLD.content_sha256, OLD.binding, OLD.created_at)
       OR NEW.edited_text IS DISTINCT FROM OLD.edited_text AND NEW.edited_text IS NOT NULL
       OR NEW.reject_reason IS DISTINCT FROM OLD.reject_reason AND NEW.reject_reason IS NOT NULL THEN
        RAISE EXCEPTION 'append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'review_action_append_only';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER review_action_append_only ON review_action;
CREATE TRIGGER review_action_append_only
    BEFORE UPDATE OF id, draft_id, actor, via, action, content_sha256, edited_text, reject_reason, binding, created_at
    ON review_action FOR EACH ROW EXECUTE FUNCTION review_action_append_only();

COMMENT ON SCHEMA analytics IS 'What analysts may read: ids, codes and figures. Never a text, a name or an address.';

-- ---- one row per draft

CREATE VIEW analytics.drafts AS
SELECT d.id AS draft_id, (d.created_at AT TIME ZONE 'UTC')::date AS day, d.workspace_id, d.campaign_id, d.channel,
       d.mode, d.language, d.created_at, d.auto_send_evaluated_at AS evaluated_at, d.status,
       d.auto_send_action AS action, d.auto_send_reason AS reason,
       ARRAY(SELECT DISTINCT block ->> 'rule' FROM jsonb_array_elements(d.hard_blocks) block ORDER BY 1) AS hard_blocks,
       d.auto_send_threshold AS threshold, d.policy_revision, d.auto_send_confidence AS confidence,
       d.auto_send_original_confidence AS original_confidence,
       d.auto_send_revision_confidence AS revision_confidence,
       d.auto_send_revision_confidence - d.auto_send_original_confidence AS confidence_delta,
       d.revision_outcome, d.auto_send_revision_attempted_at IS NOT NULL AS revision_attempted,
       d.auto_send_revision_applied AS revision_applied, d.auto_send_revision_iterations AS revision_iterations,
       q.id IS NOT NULL AS needs_review, x.finished_at AS sent_at, x.automatic AS sent_by_itself,
       coalesce(x.edited, false) AS sent_edited, d.outcome_sequence AS outcomes,
       d.evaluation_latency_ms AS latency_ms, d.backfilled
FROM public.ai_draft d
LEFT JOIN public.review_request q ON q.draft_id = d.id
LEFT JOIN public.delivery x ON x.draft_id = d.id AND x.status = 'sent';
COMMENT ON VIEW analytics.drafts IS 'One row per draft: what was decided about it and what became of it.';
COMMENT ON COLUMN analytics.drafts.draft_id IS 'The draft, as on every topic';
COMMENT ON COLUMN analytics.drafts.day IS 'Day on which the draft was begun | UTC';
COMMENT ON COLUMN analytics.drafts.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.drafts.campaign_id IS 'The campaign of the message, null without one';
COMMENT ON COLUMN analytics.drafts.channel IS 'Where the message came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.drafts.mode IS 'The mode in force for the message | | AI_AUTO_SEND, LEGACY_AUTO_REPLY, DRAFT_ONLY';
COMMENT ON COLUMN analytics.drafts.language IS 'Language of the lead as the strategy names it, null before it | BCP 47';
COMMENT ON COLUMN analytics.drafts.created_at IS 'When the draft was begun | UTC';
COMMENT ON COLUMN analytics.drafts.evaluated_at IS 'When the first text was judged, null when none was | UTC';
COMMENT ON COLUMN analytics.drafts.status IS 'The draft''s fate now | | pending, scheduled, sent, rejected, superseded, suppressed, expired, unknown';
COMMENT ON COLUMN analytics.drafts.action IS 'The last decision, null before the first | | send_immediate, send_delayed, needs_review, none';
COMMENT ON COLUMN analytics.drafts.reason IS 'Code of the last decision''s reason';
COMMENT ON COLUMN analytics.drafts.hard_blocks IS 'Rules that forbid sending the present text, each once';
COMMENT ON COLUMN analytics.drafts.threshold IS 'Confidence that the policy asks for | | 0 to 1';
COMMENT ON COLUMN analytics.drafts.policy_revision IS 'Policy revision that decided | | 1 and up';
COMMENT ON COLUMN analytics.drafts.confidence IS 'Confidence that drove the decision, null when the evaluator had no usable answer | | 0 to 1';
COMMENT ON COLUMN analytics.drafts.original_confidence IS 'Confidence of the first text | | 0 to 1';
COMMENT ON COLUMN analytics.drafts.revision_confidence IS 'Best confidence of a revised text, null without one | | 0 to 1';
COMMENT ON COLUMN analytics.drafts.confidence_delta IS 'revision_confidence minus original_confidence | | -1 to 1';
COMMENT ON COLUMN analytics.drafts.revision_outcome IS 'What became of the one revision, as on revision-result; null before it';
COMMENT ON COLUMN analytics.drafts.revision_attempted IS 'The revision was claimed';
COMMENT ON COLUMN analytics.drafts.revision_applied IS 'A revised text took the place of the first';
COMMENT ON COLUMN analytics.drafts.revision_iterations IS 'Iterations that were judged | | 0 to 3';
COMMENT ON COLUMN analytics.drafts.needs_review IS 'A person was asked, whatever came of it';
COMMENT ON COLUMN analytics.drafts.sent_at IS 'When the provider had it, null when it has not | UTC';
COMMENT ON COLUMN analytics.drafts.sent_by_itself IS 'Sent by the policy (true) or by a person (false); null when not sent';
COMMENT ON COLUMN analytics.drafts.sent_edited IS 'What was sent is a person''s text';
COMMENT ON COLUMN analytics.drafts.outcomes IS 'Events on draft-outcome so far; the sequence of the last | | 0 and up';
COMMENT ON COLUMN analytics.drafts.latency_ms IS 'From the start of the run to the judgement of the first text, null before it | ms | 0 and up';
COMMENT ON COLUMN analytics.drafts.backfilled IS 'Imported, or completed by a backfill: its times say nothing about the pipeline';

CREATE VIEW analytics.revisions AS
SELECT d.id AS draft_id, (d.auto_send_evaluated_at AT TIME ZONE 'UTC')::date AS day, d.workspace_id, d.campaign_id,
       d.channel, d.revision_outcome AS outcome, d.auto_send_revision_applied AS applied,
       d.auto_send_revision_iterations AS iterations, d.auto_send_original_confidence AS original_confidence,
       d.auto_send_revision_confidence AS revision_confidence,
       d.auto_send_revision_confidence - d.auto_send_original_confidence AS confidence_delta,
       d.auto_send_threshold AS threshold,
       d.auto_send_revision_confidence >= d.auto_send_threshold AS reached_threshold,
       c.claimed_at, c.settled_at,
       d.revision_latency_ms AS latency_ms,
       d.status = 'sent' AND d.auto_send_revision_applied AS revised_then_sent
FROM public.ai_draft d
LEFT JOIN public.draft_claim c ON c.draft_id = d.id AND c.purpose = 'revision'
WHERE d.auto_send_revision_attempted_at IS NOT NULL;
COMMENT ON VIEW analytics.revisions IS 'One row per draft whose revision was claimed.';
COMMENT ON COLUMN analytics.revisions.draft_id IS 'The draft';
COMMENT ON COLUMN analytics.revisions.day IS 'Day on which the first text was judged | UTC';
COMMENT ON COLUMN analytics.revisions.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.revisions.campaign_id IS 'The campaign, null without one';
COMMENT ON COLUMN analytics.revisions.channel IS 'Where the message came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.revisions.outcome IS 'What became of it, as on revision-result; null while it runs';
COMMENT ON COLUMN analytics.revisions.applied IS 'A revised text took the place of the first';
COMMENT ON COLUMN analytics.revisions.iterations IS 'Iterations that were judged | | 0 to 3';
COMMENT ON COLUMN analytics.revisions.original_confidence IS 'Confidence of the first text | | 0 to 1';
COMMENT ON COLUMN analytics.revisions.revision_confidence IS 'Best confidence of a revised text, null without one | | 0 to 1';
COMMENT ON COLUMN analytics.revisions.confidence_delta IS 'revision_confidence minus original_confidence | | -1 to 1';
COMMENT ON COLUMN analytics.revisions.threshold IS 'Confidence that the policy asks for | | 0 to 1';
COMMENT ON COLUMN analytics.revisions.reached_threshold IS 'The best revised text reached the threshold';
COMMENT ON COLUMN analytics.revisions.claimed_at IS 'When the revision was claimed | UTC';
COMMENT ON COLUMN analytics.revisions.settled_at IS 'When its result was written, null while it runs | UTC';
COMMENT ON COLUMN analytics.revisions.latency_ms IS 'From the judgement of the first text to the result, waiting included | ms | 0 and up';
COMMENT ON COLUMN analytics.revisions.revised_then_sent IS 'The revised text was sent';

CREATE VIEW analytics.reviews AS
SELECT q.draft_id, (q.created_at AT TIME ZONE 'UTC')::date AS day, q.workspace_id, d.campaign_id, d.channel, q.reason,
       q.status, a.result, q.created_at AS asked_at, a.created_at AS decided_at,
       extract(epoch FROM a.created_at - q.created_at)::float8 AS decision_s, d.auto_send_confidence AS confidence,
       d.auto_send_threshold AS threshold
FROM public.review_request q JOIN public.ai_draft d ON d.id = q.draft_id AND NOT d.backfilled
LEFT JOIN LATERAL (
    SELECT a.result, a.created_at FROM public.review_action a
    WHERE a.draft_id = q.draft_id AND a.result IN ('approved', 'edited', 'rejected', 'confirmed_resend')
    ORDER BY a.done_at DESC LIMIT 1) a ON true;
COMMENT ON VIEW analytics.reviews IS 'One row per draft that was put to a person, with what they made of it.';
COMMENT ON COLUMN analytics.reviews.draft_id IS 'The draft';
COMMENT ON COLUMN analytics.reviews.day IS 'Day of the question | UTC';
COMMENT ON COLUMN analytics.reviews.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.reviews.campaign_id IS 'The campaign, null without one';
COMMENT ON COLUMN analytics.reviews.channel IS 'Where the message came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.reviews.reason IS 'Code of why a person was asked';
COMMENT ON COLUMN analytics.reviews.status IS 'What the question is now | | open, decided, expired, superseded';
COMMENT ON COLUMN analytics.reviews.result IS 'What the person decided, null when nobody did | | approved, edited, rejected, confirmed_resend';
COMMENT ON COLUMN analytics.reviews.asked_at IS 'When the question was put | UTC';
COMMENT ON COLUMN analytics.reviews.decided_at IS 'When it was decided, null when it was not | UTC';
COMMENT ON COLUMN analytics.reviews.decision_s IS 'From the question to the decision | s | 0 and up';
COMMENT ON COLUMN analytics.reviews.confidence IS 'Confidence that drove the decision to ask, null without a usable answer | | 0 to 1';
COMMENT ON COLUMN analytics.reviews.threshold IS 'Confidence that the policy asked for | | 0 to 1';

-- ---- per day: what was decided

CREATE VIEW analytics.decisions AS
SELECT day, workspace_id, campaign_id, channel, mode, action, count(*) AS drafts,
       count(*) FILTER (WHERE sent_at IS NOT NULL) AS sent,
       count(*) FILTER (WHERE sent_by_itself) AS sent_by_itself,
       count(*) FILTER (WHERE needs_review) AS needs_review
FROM analytics.drafts WHERE NOT backfilled GROUP BY day, workspace_id, campaign_id, channel, mode, action;
COMMENT ON VIEW analytics.decisions IS 'Drafts by their last decision. Like all counts below, without imported and backfilled ones.';
COMMENT ON COLUMN analytics.decisions.day IS 'Day on which the drafts were begun | UTC';
COMMENT ON COLUMN analytics.decisions.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.decisions.campaign_id IS 'The campaign, null without one';
COMMENT ON COLUMN analytics.decisions.channel IS 'Where the messages came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.decisions.mode IS 'The mode in force | | AI_AUTO_SEND, LEGACY_AUTO_REPLY, DRAFT_ONLY';
COMMENT ON COLUMN analytics.decisions.action IS 'The last decision, null before the first | | send_immediate, send_delayed, needs_review, none';
COMMENT ON COLUMN analytics.decisions.drafts IS 'Drafts | count | 1 and up';
COMMENT ON COLUMN analytics.decisions.sent IS 'Of these, sent | count';
COMMENT ON COLUMN analytics.decisions.sent_by_itself IS 'Of these, sent by the policy | count';
COMMENT ON COLUMN analytics.decisions.needs_review IS 'Of these, a person was asked | count';

CREATE VIEW analytics.needs_review_rate AS
SELECT day, workspace_id, count(*) AS decided, count(*) FILTER (WHERE needs_review) AS needs_review,
       count(*) FILTER (WHERE needs_review)::float8 / count(*) AS rate
FROM analytics.drafts
WHERE mode = 'AI_AUTO_SEND' AND action IS NOT NULL AND (action <> 'none' OR needs_review) AND NOT backfilled
GROUP BY day, workspace_id;
COMMENT ON VIEW analytics.needs_review_rate IS 'How often a person was asked where the policy may send by itself. Drafts that ended as none (superseded, suppressed) without a question do not count.';
COMMENT ON COLUMN analytics.needs_review_rate.day IS 'Day on which the drafts were begun | UTC';
COMMENT ON COLUMN analytics.needs_review_rate.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.needs_review_rate.decided IS 'Drafts of mode AI_AUTO_SEND that were decided | count | 1 and up';
COMMENT ON COLUMN analytics.needs_review_rate.needs_review IS 'Of these, a person was asked | count';
COMMENT ON COLUMN analytics.needs_review_rate.rate IS 'needs_review / decided | | 0 to 1';

CREATE VIEW analytics.applied_rate AS
SELECT (d.auto_send_evaluated_at AT TIME ZONE 'UTC')::date AS day, d.workspace_id, d.campaign_id, d.channel,
       count(*) AS evaluated,
       count(*) FILTER (WHERE d.auto_send_revision_attempted_at IS NOT NULL) AS attempted,
       count(*) FILTER (WHERE d.auto_send_revision_applied) AS applied,
       count(*) FILTER (WHERE d.auto_send_revision_applied AND d.status = 'sent') AS revised_then_sent,
       count(*) FILTER (WHERE d.auto_send_revision_applied)::float8
           / nullif(count(*) FILTER (WHERE d.auto_send_revision_attempted_at IS NOT NULL), 0) AS rate
FROM public.ai_draft d WHERE d.auto_send_evaluated_at IS NOT NULL AND NOT d.backfilled
GROUP BY 1, d.workspace_id, d.campaign_id, d.channel;
COMMENT ON VIEW analytics.applied_rate IS 'How often a revision beat the first text, by channel and campaign.';
COMMENT ON COLUMN analytics.applied_rate.day IS 'Day on which the first text was judged | UTC';
COMMENT ON COLUMN analytics.applied_rate.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.applied_rate.campaign_id IS 'The campaign, null without one';
COMMENT ON COLUMN analytics.applied_rate.channel IS 'Where the messages came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.applied_rate.evaluated IS 'Drafts that were judged | count | 1 and up';
COMMENT ON COLUMN analytics.applied_rate.attempted IS 'Of these, the revision was claimed | count';
COMMENT ON COLUMN analytics.applied_rate.applied IS 'Of these, a revised text took the place of the first | count';
COMMENT ON COLUMN analytics.applied_rate.revised_then_sent IS 'Of these, the revised text was sent | count';
COMMENT ON COLUMN analytics.applied_rate.rate IS 'applied / attempted, null when none was attempted | | 0 to 1';

CREATE VIEW analytics.revision_outcomes AS
SELECT (d.auto_send_evaluated_at AT TIME ZONE 'UTC')::date AS day, d.workspace_id, d.revision_outcome AS outcome,
       count(*) AS drafts
FROM public.ai_draft d WHERE d.revision_outcome IS NOT NULL AND d.auto_send_evaluated_at IS NOT NULL
GROUP BY 1, d.workspace_id, d.revision_outcome;
COMMENT ON VIEW analytics.revision_outcomes IS 'Results on revision-result by outcome.';
COMMENT ON COLUMN analytics.revision_outcomes.day IS 'Day on which the first text was judged | UTC';
COMMENT ON COLUMN analytics.revision_outcomes.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.revision_outcomes.outcome IS 'As on revision-result';
COMMENT ON COLUMN analytics.revision_outcomes.drafts IS 'Drafts | count | 1 and up';

-- ---- per day: time, money, confidence

CREATE VIEW analytics.latency AS
SELECT day, workspace_id, step, count(*) AS drafts,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS p50_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) AS p95_ms
FROM (SELECT (auto_send_evaluated_at AT TIME ZONE 'UTC')::date AS day, workspace_id, 'draft' AS step,
             evaluation_latency_ms AS ms
      FROM public.ai_draft WHERE evaluation_latency_ms IS NOT NULL
      UNION ALL
      SELECT day, workspace_id, 'revision', latency_ms FROM analytics.revisions WHERE latency_ms IS NOT NULL) steps
GROUP BY day, workspace_id, step;
COMMENT ON VIEW analytics.latency IS 'How long drafts and revisions took.';
COMMENT ON COLUMN analytics.latency.day IS 'Day on which the first text was judged | UTC';
COMMENT ON COLUMN analytics.latency.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.latency.step IS 'draft: from the run''s start to the judgement of the first text; revision: from there to the result | | draft, revision';
COMMENT ON COLUMN analytics.latency.drafts IS 'Drafts that took the step | count | 1 and up';
COMMENT ON COLUMN analytics.latency.p50_ms IS 'Half of them were faster, interpolated | ms | 0 and up';
COMMENT ON COLUMN analytics.latency.p95_ms IS '95 of 100 were faster, interpolated | ms | 0 and up';

CREATE VIEW analytics.model_costs AS
SELECT (started_at AT TIME ZONE 'UTC')::date AS day, workspace_id, stage, iteration > 0 AS revision, model,
       count(*) AS calls,
       count(*) FILTER (WHERE status = 'answered') AS answered,
       count(*) FILTER (WHERE status = 'refused') AS refused,
       count(*) FILTER (WHERE status IN ('failed', 'unusable')) AS failed,
       coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
       coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
       coalesce(sum(cost_usd), 0)::float8 AS cost_usd,
       count(*) FILTER (WHERE status = 'answered' AND cost_usd IS NULL) AS cost_unknown,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE status = 'answered') AS p50_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE status = 'answered') AS p95_ms
FROM public.model_call GROUP BY 1, workspace_id, stage, iteration > 0, model;
COMMENT ON VIEW analytics.model_costs IS 'Model calls with tokens, cost and latency.';
COMMENT ON COLUMN analytics.model_costs.day IS 'Day of the call | UTC';
COMMENT ON COLUMN analytics.model_costs.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.model_costs.stage IS 'The stage that asked';
COMMENT ON COLUMN analytics.model_costs.revision IS 'The call belongs to the revision';
COMMENT ON COLUMN analytics.model_costs.model IS 'The model that was asked';
COMMENT ON COLUMN analytics.model_costs.calls IS 'Calls, of whatever end | count | 1 and up';
COMMENT ON COLUMN analytics.model_costs.answered IS 'Calls with a usable answer | count';
COMMENT ON COLUMN analytics.model_costs.refused IS 'Calls for which the server surely did no work | count';
COMMENT ON COLUMN analytics.model_costs.failed IS 'Calls that failed or whose answer was none | count';
COMMENT ON COLUMN analytics.model_costs.input_tokens IS 'Tokens read, as the provider counts | tokens | 0 and up';
COMMENT ON COLUMN analytics.model_costs.output_tokens IS 'Tokens written, as the provider counts | tokens | 0 and up';
COMMENT ON COLUMN analytics.model_costs.cost_usd IS 'Sum of the known costs | USD | 0 and up';
COMMENT ON COLUMN analytics.model_costs.cost_unknown IS 'Answered calls whose price is unknown and not in the sum | count';
COMMENT ON COLUMN analytics.model_costs.p50_ms IS 'Half of the answers came faster | ms | 0 and up';
COMMENT ON COLUMN analytics.model_costs.p95_ms IS '95 of 100 answers came faster | ms | 0 and up';

CREATE VIEW analytics.draft_costs AS
SELECT draft_id, (min(started_at) AT TIME ZONE 'UTC')::date AS day, workspace_id, count(*) AS calls,
       coalesce(sum(input_tokens) FILTER (WHERE NOT revision), 0)::bigint AS draft_input_tokens,
       coalesce(sum(output_tokens) FILTER (WHERE NOT revision), 0)::bigint AS draft_output_tokens,
       coalesce(sum(cost_usd) FILTER (WHERE NOT revision), 0)::float8 AS draft_cost_usd,
       coalesce(sum(input_tokens) FILTER (WHERE revision), 0)::bigint AS revision_input_tokens,
       coalesce(sum(output_tokens) FILTER (WHERE revision), 0)::bigint AS revision_output_tokens,
       coalesce(sum(cost_usd) FILTER (WHERE revision), 0)::float8 AS revision_cost_usd
FROM (SELECT draft_id, started_at, workspace_id, input_tokens, output_tokens, cost_usd, iteration > 0 AS revision
      FROM public.model_call) calls
GROUP BY draft_id, workspace_id;
COMMENT ON VIEW analytics.draft_costs IS 'What each draft used, over all its runs.';
COMMENT ON COLUMN analytics.draft_costs.draft_id IS 'The draft';
COMMENT ON COLUMN analytics.draft_costs.day IS 'Day of its first call | UTC';
COMMENT ON COLUMN analytics.draft_costs.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.draft_costs.calls IS 'Model calls, of whatever end | count | 1 and up';
COMMENT ON COLUMN analytics.draft_costs.draft_input_tokens IS 'Tokens read for the draft | tokens | 0 and up';
COMMENT ON COLUMN analytics.draft_costs.draft_output_tokens IS 'Tokens written for the draft | tokens | 0 and up';
COMMENT ON COLUMN analytics.draft_costs.draft_cost_usd IS 'Known cost of the draft | USD | 0 and up';
COMMENT ON COLUMN analytics.draft_costs.revision_input_tokens IS 'Tokens read for the revision | tokens | 0 and up';
COMMENT ON COLUMN analytics.draft_costs.revision_output_tokens IS 'Tokens written for the revision | tokens | 0 and up';
COMMENT ON COLUMN analytics.draft_costs.revision_cost_usd IS 'Known cost of the revision | USD | 0 and up';

CREATE VIEW analytics.confidence_distribution AS
SELECT day, workspace_id, kind, bucket, bucket / 20.0::float8 AS confidence_from, count(*) AS drafts
FROM (SELECT (d.auto_send_evaluated_at AT TIME ZONE 'UTC')::date AS day, d.workspace_id, v.kind,
             least(floor(v.confidence * 20)::integer, 19) AS bucket
      FROM public.ai_draft d CROSS JOIN LATERAL (
          VALUES ('before', d.auto_send_original_confidence), ('after', d.auto_send_confidence)) v (kind, confidence)
      WHERE d.auto_send_evaluated_at IS NOT NULL AND NOT d.backfilled AND v.confidence IS NOT NULL) confidences
GROUP BY day, workspace_id, kind, bucket;
COMMENT ON VIEW analytics.confidence_distribution IS 'Histogram of confidences before and after revision, in steps of 0.05.';
COMMENT ON COLUMN analytics.confidence_distribution.day IS 'Day on which the first text was judged | UTC';
COMMENT ON COLUMN analytics.confidence_distribution.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.confidence_distribution.kind IS 'before: of the first text; after: the one that drove the decision | | before, after';
COMMENT ON COLUMN analytics.confidence_distribution.bucket IS 'Which step: n holds n/20 up to (n+1)/20, the last one 1 as well | | 0 to 19';
COMMENT ON COLUMN analytics.confidence_distribution.confidence_from IS 'Where the step begins | | 0 to 0.95';
COMMENT ON COLUMN analytics.confidence_distribution.drafts IS 'Drafts in the step | count | 1 and up';

-- ---- per day: people, meetings, context

CREATE VIEW analytics.review_outcomes AS
SELECT day, workspace_id, channel, count(*) AS asked,
       count(*) FILTER (WHERE status = 'open') AS open,
       count(*) FILTER (WHERE result IN ('approved', 'confirmed_resend')) AS approved,
       count(*) FILTER (WHERE result = 'edited') AS edited,
       count(*) FILTER (WHERE result = 'rejected') AS rejected,
       count(*) FILTER (WHERE status = 'expired') AS expired,
       count(*) FILTER (WHERE status = 'superseded') AS superseded,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY decision_s) FILTER (WHERE result IS NOT NULL) AS p50_s
FROM analytics.reviews GROUP BY day, workspace_id, channel;
COMMENT ON VIEW analytics.review_outcomes IS 'What people made of what they were asked. A decision and a later supersession of the same draft count both.';
COMMENT ON COLUMN analytics.review_outcomes.day IS 'Day of the question | UTC';
COMMENT ON COLUMN analytics.review_outcomes.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.review_outcomes.channel IS 'Where the messages came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.review_outcomes.asked IS 'Drafts that were put to a person | count | 1 and up';
COMMENT ON COLUMN analytics.review_outcomes.open IS 'Of these, nobody has decided | count';
COMMENT ON COLUMN analytics.review_outcomes.approved IS 'Of these, approved as they were | count';
COMMENT ON COLUMN analytics.review_outcomes.edited IS 'Of these, sent with a person''s text | count';
COMMENT ON COLUMN analytics.review_outcomes.rejected IS 'Of these, rejected | count';
COMMENT ON COLUMN analytics.review_outcomes.expired IS 'Of these, nobody decided in time | count';
COMMENT ON COLUMN analytics.review_outcomes.superseded IS 'Of these, overtaken by a newer message, an answer or an opt-out | count';
COMMENT ON COLUMN analytics.review_outcomes.p50_s IS 'Half of the decisions came faster after the question | s | 0 and up';

CREATE VIEW analytics.reliability AS
SELECT (decided_at AT TIME ZONE 'UTC')::date AS day, workspace_id, least(floor(confidence * 10)::integer, 9) AS bucket,
       count(*) AS reviewed, count(*) FILTER (WHERE result = 'approved') AS approved,
       sum(confidence) AS confidence_sum, avg(confidence) AS mean_confidence,
       count(*) FILTER (WHERE result = 'approved')::float8 / count(*) AS approved_rate
FROM analytics.reviews WHERE result IN ('approved', 'edited', 'rejected') AND confidence IS NOT NULL
GROUP BY 1, workspace_id, bucket;
COMMENT ON VIEW analytics.reliability IS 'How often people approve a draft as it is, by confidence: what a reliability diagram shows. Only what people were asked about; the policy''s own sends are not in it.';
COMMENT ON COLUMN analytics.reliability.day IS 'Day of the decision | UTC';
COMMENT ON COLUMN analytics.reliability.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.reliability.bucket IS 'Which step: n holds n/10 up to (n+1)/10, the last one 1 as well | | 0 to 9';
COMMENT ON COLUMN analytics.reliability.reviewed IS 'Drafts a person decided on | count | 1 and up';
COMMENT ON COLUMN analytics.reliability.approved IS 'Of these, approved as they were | count';
COMMENT ON COLUMN analytics.reliability.confidence_sum IS 'Sum of their confidences, to average over several rows | | 0 and up';
COMMENT ON COLUMN analytics.reliability.mean_confidence IS 'Their mean confidence | | 0 to 1';
COMMENT ON COLUMN analytics.reliability.approved_rate IS 'approved / reviewed | | 0 to 1';

CREATE VIEW analytics.overseer_rates AS
SELECT (m.created_at AT TIME ZONE 'UTC')::date AS day, d.workspace_id, count(*) AS decisions,
       count(*) FILTER (WHERE m.decision = 'approve') AS approve,
       count(*) FILTER (WHERE m.decision = 'revise') AS revise,
       count(*) FILTER (WHERE m.decision = 'error') AS error,
       count(*) FILTER (WHERE m.decision = 'approve')::float8 / count(*) AS approve_rate,
       count(*) FILTER (WHERE m.decision = 'revise')::float8 / count(*) AS revise_rate
FROM public.meeting_overseer_decision m JOIN public.ai_draft d ON d.id = m.draft_id GROUP BY 1, d.workspace_id;
COMMENT ON VIEW analytics.overseer_rates IS 'What the meeting overseer said.';
COMMENT ON COLUMN analytics.overseer_rates.day IS 'Day of the decision | UTC';
COMMENT ON COLUMN analytics.overseer_rates.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.overseer_rates.decisions IS 'Drafts the overseer was asked about | count | 1 and up';
COMMENT ON COLUMN analytics.overseer_rates.approve IS 'Of these, left as they were | count';
COMMENT ON COLUMN analytics.overseer_rates.revise IS 'Of these, rewritten | count';
COMMENT ON COLUMN analytics.overseer_rates.error IS 'Of these, without a usable answer | count';
COMMENT ON COLUMN analytics.overseer_rates.approve_rate IS 'approve / decisions | | 0 to 1';
COMMENT ON COLUMN analytics.overseer_rates.revise_rate IS 'revise / decisions | | 0 to 1';

CREATE VIEW analytics.booking_outcomes AS
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, workspace_id, outcome, count(*) AS followups
FROM public.followup_task GROUP BY 1, workspace_id, outcome;
COMMENT ON VIEW analytics.booking_outcomes IS 'What came of messages that proposed or accepted a time.';
COMMENT ON COLUMN analytics.booking_outcomes.day IS 'Day of the outcome | UTC';
COMMENT ON COLUMN analytics.booking_outcomes.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.booking_outcomes.outcome IS 'What came of it | | booked, task_created, clarification, error';
COMMENT ON COLUMN analytics.booking_outcomes.followups IS 'Messages | count | 1 and up';

CREATE VIEW analytics.bookings AS
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, workspace_id, source, status, count(*) AS slots
FROM public.booking GROUP BY 1, workspace_id, source, status;
COMMENT ON VIEW analytics.bookings IS 'Slots that were held, confirmed or released.';
COMMENT ON COLUMN analytics.bookings.day IS 'Day on which the slot was taken | UTC';
COMMENT ON COLUMN analytics.bookings.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.bookings.source IS 'Who booked: draft-pipeline, or the name another system gave';
COMMENT ON COLUMN analytics.bookings.status IS 'What the booking is now | | held, confirmed, released';
COMMENT ON COLUMN analytics.bookings.slots IS 'Slots | count | 1 and up';

CREATE VIEW analytics.context_truncation AS
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, workspace_id, feature_id, count(*) AS calls,
       count(*) FILTER (WHERE bundle) AS bundle_calls, count(*) FILTER (WHERE bundle AND truncated) AS truncated_calls,
       count(*) FILTER (WHERE bundle AND truncated)::float8 / nullif(count(*) FILTER (WHERE bundle), 0) AS rate,
       avg(tokens) FILTER (WHERE bundle) AS mean_bundle_tokens
FROM (SELECT created_at, workspace_id, feature_id, coalesce(metadata -> 'bundle_enabled' = 'true', false) AS bundle,
             coalesce(metadata -> 'bundle_truncated', '0') NOT IN ('0', 'false') AS truncated,
             (metadata ->> 'bundle_tokens')::float8 AS tokens
      FROM public.ai_interaction WHERE source = 'pipeline') calls
GROUP BY 1, workspace_id, feature_id;
COMMENT ON VIEW analytics.context_truncation IS 'How often the lead context bundle did not fit into its budget.';
COMMENT ON COLUMN analytics.context_truncation.day IS 'Day of the call | UTC';
COMMENT ON COLUMN analytics.context_truncation.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.context_truncation.feature_id IS 'What the call was for, such as draft.generation';
COMMENT ON COLUMN analytics.context_truncation.calls IS 'Model calls | count | 1 and up';
COMMENT ON COLUMN analytics.context_truncation.bundle_calls IS 'Of these, with the bundle on | count';
COMMENT ON COLUMN analytics.context_truncation.truncated_calls IS 'Of these, something was cut | count';
COMMENT ON COLUMN analytics.context_truncation.rate IS 'truncated_calls / bundle_calls, null without any | | 0 to 1';
COMMENT ON COLUMN analytics.context_truncation.mean_bundle_tokens IS 'Size of the bundle on average, estimated | tokens | 0 and up';

CREATE VIEW analytics.message_dispositions AS
SELECT (ingested_at AT TIME ZONE 'UTC')::date AS day, workspace_id, channel, direction, disposition, count(*) AS messages
FROM public.message GROUP BY 1, workspace_id, channel, direction, disposition;
COMMENT ON VIEW analytics.message_dispositions IS 'Messages by what became of them.';
COMMENT ON COLUMN analytics.message_dispositions.day IS 'Day of arrival | UTC';
COMMENT ON COLUMN analytics.message_dispositions.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.message_dispositions.channel IS 'Where the messages came from | | email, sms, linkedin, chat';
COMMENT ON COLUMN analytics.message_dispositions.direction IS 'inbound: of a lead; outbound: to a lead, ours and others'' | | inbound, outbound';
COMMENT ON COLUMN analytics.message_dispositions.disposition IS 'What became of them: run, joined_later_message, machine_mail, opt_out, ...';
COMMENT ON COLUMN analytics.message_dispositions.messages IS 'Messages | count | 1 and up';

-- ---- drift: the last 24 hours against the 7 days before them, by workspace

-- Shares are compared by the two-proportion z-test with pooled variance, means by Welch's statistic. `drifted` asks for
-- three standard errors, a difference that matters, and enough on both sides; so one odd draft raises no alert.
CREATE VIEW analytics.drift AS
WITH recent AS (
    SELECT w.id AS workspace, d.created_at > now() - interval '1 day' AS is_recent, d.mode, d.auto_send_action,
           d.auto_send_evaluated_at, d.auto_send_original_confidence, d.auto_send_revision_attempted_at,
           d.auto_send_revision_applied, d.revision_outcome, d.hard_blocks,
           EXISTS (SELECT 1 FROM public.review_request q WHERE q.draft_id = d.id) AS asked
    FROM public.workspace w JOIN public.ai_draft d ON d.workspace_id = w.id
     AND d.created_at > now() - interval '8 days' AND d.created_at <= now() AND NOT d.backfilled
), shares AS (
    SELECT workspace, 'needs_review' AS monitor, 0.10 AS matters, is_recent, asked AS hit
    FROM recent WHERE mode = 'AI_AUTO_SEND' AND auto_send_action IS NOT NULL AND (auto_send_action <> 'none' OR asked)
    UNION ALL
    SELECT workspace, 'revision_applied', 0.15, is_recent, auto_send_revision_applied
    FROM recent WHERE auto_send_revision_attempted_at IS NOT NULL AND revision_outcome IS NOT NULL
    UNION ALL
    SELECT workspace, 'revision_failed', 0.05, is_recent,
           revision_outcome IN ('error', 'claim_failed', 'deadline_exceeded', 'interrupted')
    FROM recent WHERE auto_send_revision_attempted_at IS NOT NULL AND revision_outcome IS NOT NULL
    UNION ALL
    SELECT workspace, 'hard_blocked', 0.10, is_recent, hard_blocks <> '[]'
    FROM recent WHERE auto_send_evaluated_at IS NOT NULL
    UNION ALL
    SELECT workspace, 'no_confidence', 0.05, is_recent, auto_send_original_confidence IS NULL
    FROM recent WHERE auto_send_evaluated_at IS NOT NULL
    UNION ALL
    SELECT i.workspace_id, 'context_truncated', 0.15, i.created_at > now() - interval '1 day',
           coalesce(i.metadata -> 'bundle_truncated', '0') NOT IN ('0', 'false')
    FROM public.ai_interaction i
    WHERE i.created_at > now() - interval '8 days' AND i.source = 'pipeline' AND i.metadata -> 'bundle_enabled' = 'true'
), compared AS (
    SELECT workspace AS workspace_id, monitor, matters,
           count(*) FILTER (WHERE is_recent) AS recent_count,
           count(*) FILTER (WHERE NOT is_recent) AS baseline_count,
           avg(hit::integer) FILTER (WHERE is_recent)::float8 AS recent_value,
           avg(hit::integer) FILTER (WHERE NOT is_recent)::float8 AS baseline_value,
           avg(hit::integer)::float8 * (1 - avg(hit::integer)::float8)
               * (1.0 / nullif(count(*) FILTER (WHERE is_recent), 0)
                  + 1.0 / nullif(count(*) FILTER (WHERE NOT is_recent), 0)) AS variance
    FROM shares GROUP BY workspace, monitor, matters
    UNION ALL
    SELECT workspace, 'confidence', 0.05, count(*) FILTER (WHERE is_recent), count(*) FILTER (WHERE NOT is_recent),
           avg(auto_send_original_confidence) FILTER (WHERE is_recent),
           avg(auto_send_original_confidence) FILTER (WHERE NOT is_recent),
           var_samp(auto_send_original_confidence) FILTER (WHERE is_recent)
               / nullif(count(*) FILTER (WHERE is_recent), 0)
           + var_samp(auto_send_original_confidence) FILTER (WHERE NOT is_recent)
               / nullif(count(*) FILTER (WHERE NOT is_recent), 0)
    FROM recent WHERE auto_send_original_confidence IS NOT NULL GROUP BY workspace
)
SELECT workspace_id, monitor, recent_count, baseline_count, recent_value, baseline_value,
       recent_value - baseline_value AS difference,
       CASE WHEN variance > 1e-12 THEN (recent_value - baseline_value) / sqrt(variance) END AS score,
       coalesce(recent_count >= 30 AND baseline_count >= 30 AND abs(recent_value - baseline_value) >= matters
                AND (variance <= 1e-12 OR abs(recent_value - baseline_value) >= 3 * sqrt(variance)), false) AS drifted
FROM compared;
COMMENT ON VIEW analytics.drift IS 'Whether the last 24 hours of a workspace differ from the 7 days before them. Alerts are made of it.';
COMMENT ON COLUMN analytics.drift.workspace_id IS 'The tenant';
COMMENT ON COLUMN analytics.drift.monitor IS 'What is watched: a share of drafts or calls, or for confidence the mean of the first texts | | needs_review, revision_applied, revision_failed, hard_blocked, no_confidence, context_truncated, confidence';
COMMENT ON COLUMN analytics.drift.recent_count IS 'Drafts or calls of the last 24 hours | count | 0 and up';
COMMENT ON COLUMN analytics.drift.baseline_count IS 'Drafts or calls of the 7 days before | count | 0 and up';
COMMENT ON COLUMN analytics.drift.recent_value IS 'Share or mean of the last 24 hours, null without any | | 0 to 1';
COMMENT ON COLUMN analytics.drift.baseline_value IS 'Share or mean of the 7 days before, null without any | | 0 to 1';
COMMENT ON COLUMN analytics.drift.difference IS 'recent_value minus baseline_value | | -1 to 1';
COMMENT ON COLUMN analytics.drift.score IS 'The difference in standard errors (two-proportion z, Welch for confidence); null when it cannot be said';
COMMENT ON COLUMN analytics.drift.drifted IS '30 or more on both sides, at least 3 standard errors, and a difference that matters (0.05 to 0.15, by monitor)';

-- ---- who may read: a role that deploy makes. Not there yet: nothing happens, and deploy grants the same.

DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'draft_pipeline_analyst') THEN
        GRANT USAGE ON SCHEMA analytics TO draft_pipeline_analyst;
        GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO draft_pipeline_analyst;
    END IF;
END $$;
