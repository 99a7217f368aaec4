-- What is not started for the time being: an organisation (kind ''), a kind everywhere (organization_id ''), or a kind
-- within an organisation. Few rows, which every claim looks at.
CREATE TABLE pauses (
    organization_id TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    paused_at       INTEGER NOT NULL,
    PRIMARY KEY (organization_id, kind),
    CHECK (organization_id <> '' OR kind <> '')
) STRICT, WITHOUT ROWID;
