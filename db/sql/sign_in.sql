-- name: add_token(token_id, name, sha256, role, workspace_id, expires_at, one_time, created_by)
-- A token; only its hash is kept.
INSERT INTO api_token (id, name, sha256, role, workspace_id, expires_at, one_time, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: token_list(all)
-- The tokens, newest first: those that work, or all.
SELECT id, name, role, workspace_id, created_at, created_by, expires_at, revoked_at, used_at, one_time,
       CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired'
            WHEN one_time AND used_at IS NOT NULL THEN 'used' ELSE 'works' END AS state,
       (SELECT count(*) FROM web_session s WHERE s.token_id = t.id AND s.ended_at IS NULL AND s.expires_at > now())
           AS sessions
FROM api_token t
WHERE $1 OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AND NOT (one_time AND used_at IS NOT NULL))
ORDER BY created_at DESC, id;

-- name: revoke_token(token_id)
-- From now on neither the token nor a session it started is accepted; no row when there was nothing to revoke.
UPDATE api_token SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id, name, role, workspace_id;

-- name: tokens_named(name)
-- The ids of the tokens of this name, or of this id, that are not revoked.
SELECT id FROM api_token WHERE (name = $1 OR id::text = $1) AND revoked_at IS NULL;

-- name: bearer(sha256)
-- Whose token this is; when it was used last is noted once a minute.
WITH found AS (
    SELECT id, name, role, workspace_id, used_at FROM api_token
    WHERE sha256 = $1 AND NOT one_time AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
), noted AS (
    UPDATE api_token t SET used_at = now() FROM found
    WHERE t.id = found.id AND (found.used_at IS NULL OR found.used_at < now() - interval '1 minute')
)
SELECT id, name, role, workspace_id FROM found;

-- name: start_session_if_token_works(session_id, sha256, session_s)
-- A session of whoever holds the token; a one-time token starts one only.
WITH token AS (
    UPDATE api_token SET used_at = now()
    WHERE sha256 = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
      AND NOT (one_time AND used_at IS NOT NULL)
    RETURNING id, name, role, workspace_id
)
INSERT INTO web_session (id, token_id, subject, role, workspace_id, expires_at)
SELECT $1, id, 'token:' || name, role, workspace_id, now() + make_interval(secs => $3) FROM token
RETURNING subject, role, workspace_id;

-- name: start_session(session_id, subject, role, workspace_id, session_s)
-- A session of somebody whom the identity provider knows.
INSERT INTO web_session (id, subject, role, workspace_id, expires_at)
VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5));

-- name: session(session_id)
-- Who a session belongs to, while it and the token that started it are good.
SELECT s.subject, s.role, s.workspace_id FROM web_session s LEFT JOIN api_token t ON t.id = s.token_id
WHERE s.id = $1 AND s.ended_at IS NULL AND s.expires_at > now()
  AND (t.id IS NULL OR (t.revoked_at IS NULL AND (t.one_time OR t.expires_at IS NULL OR t.expires_at > now())));

-- name: end_session(session_id)
-- Signed out: the cookie is worth nothing from now on.
UPDATE web_session SET ended_at = now() WHERE id = $1 AND ended_at IS NULL;

-- name: signed_in()
-- Who is signed in with a browser, newest first.
SELECT s.subject, s.role, s.workspace_id, count(*) AS sessions, max(s.created_at) AS since
FROM web_session s LEFT JOIN api_token t ON t.id = s.token_id
WHERE s.ended_at IS NULL AND s.expires_at > now()
  AND (t.id IS NULL OR (t.revoked_at IS NULL AND (t.one_time OR t.expires_at IS NULL OR t.expires_at > now())))
GROUP BY s.subject, s.role, s.workspace_id ORDER BY since DESC, s.subject;

-- name: end_sessions_of(subject)
-- Every session of one person, however it was started, is worth nothing from now on.
UPDATE web_session SET ended_at = now() WHERE subject = $1 AND ended_at IS NULL AND expires_at > now() RETURNING role;

-- name: forget_old_sessions(days)
-- Sessions that ended long ago.
DELETE FROM web_session WHERE expires_at < now() - make_interval(days => $1);

-- name: workspace_exists(workspace_id)
-- Whether there is such a workspace.
SELECT EXISTS (SELECT 1 FROM workspace WHERE id = $1);

-- name: anybody_may_sign_in()
-- Whether any token works that starts a session.
SELECT EXISTS (SELECT 1 FROM api_token WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
               AND NOT (one_time AND used_at IS NOT NULL));
