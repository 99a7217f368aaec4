-- Sessions of people who signed in at a provider, so that they can be listed and ended. The cookie holds a secret of
-- which the id is a hash.
CREATE TABLE sessions (
    organization_id TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    subject         TEXT    NOT NULL,              -- the provider's name for the person
    name            TEXT    NOT NULL,              -- a name to be shown
    begun_at        INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    revoked_at      INTEGER,
    PRIMARY KEY (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_age ON sessions (organization_id, begun_at, id);
CREATE INDEX sessions_by_end ON sessions (expires_at);
