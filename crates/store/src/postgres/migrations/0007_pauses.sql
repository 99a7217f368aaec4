-- What is not started for the time being: an organisation (kind ''), a kind everywhere (organization_id ''), or a kind
-- within an organisation. Few rows, which every claim looks at; replicated, not distributed, where the others are.
CREATE TABLE pauses (
    organization_id text   NOT NULL,
    kind            text   NOT NULL,
    paused_at       bigint NOT NULL,
    PRIMARY KEY (organization_id, kind),
    CHECK (organization_id <> '' OR kind <> '')
);
