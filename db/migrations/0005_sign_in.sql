-- 0005 sign in
-- when: before the new code

-- A one-time token is a sign-in link: it starts one session and is no bearer.
ALTER TABLE api_token
    ADD COLUMN one_time boolean NOT NULL DEFAULT false,
    ADD COLUMN created_by text NOT NULL DEFAULT '',
    ADD COLUMN used_at timestamptz,
    ADD CONSTRAINT api_token_workspace_fits_role CHECK (CASE role WHEN 'super_admin' THEN workspace_id IS NULL
                                                       WHEN 'workspace_admin' THEN workspace_id IS NOT NULL
                                                       ELSE true END),
    ADD CONSTRAINT api_token_one_time_expires CHECK (NOT one_time OR expires_at IS NOT NULL);

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

-- Drafts of which nobody knows whether they were sent: few, and looked for all the time.
CREATE INDEX ai_draft_unknown ON ai_draft (workspace_id) WHERE status = 'unknown';
