-- Violations that are lived with. The state tells what of a row was seen to: 1 nothing, 2 that it was made, 3 that it was
-- removed is not seen to yet, 4 that it ended.
CREATE TABLE waivers (
    organization_id TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    policy          TEXT    NOT NULL,
    finding         TEXT    NOT NULL,
    subject         TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    created_by      TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    state           INTEGER NOT NULL,
    PRIMARY KEY (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX waivers_to_see_to ON waivers (state, expires_at);
