-- Sessions of people who signed in at a provider, so that they can be listed and ended. The cookie holds a secret of
-- which the id is a hash.
CREATE TABLE sessions (
    organization_id text    NOT NULL,
    id              text    NOT NULL,
    subject         text    NOT NULL,              -- the provider's name for the person
    name            text    NOT NULL,              -- a name to be shown
    begun_at        bigint  NOT NULL,
    expires_at      bigint  NOT NULL,
    revoked_at      bigint,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX sessions_by_age ON sessions (organization_id, begun_at, id);
CREATE INDEX sessions_by_end ON sessions (expires_at);
