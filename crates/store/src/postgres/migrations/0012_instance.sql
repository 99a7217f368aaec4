-- Tokens that belong to the instance and to no organisation, and limits of organisations that were set by a call.

-- A token of the instance has the empty name as its organisation. The row of that name is made with the first of them,
-- as deleted (2), so that nothing is ever created in it.
-- The organisations that such a token reaches; NULL: all.
ALTER TABLE tokens ADD COLUMN organizations text[];
CREATE INDEX tokens_by_age ON tokens (created_at, id);

-- What one organisation may have, as JSON; it goes before what the servers' configuration says.
CREATE TABLE organization_limits (
    organization_id text   NOT NULL PRIMARY KEY,
    limits          text   NOT NULL,
    updated_at      bigint NOT NULL
);
