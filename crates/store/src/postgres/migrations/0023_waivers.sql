-- Violations that are lived with. The state tells what of a row was seen to: 1 nothing, 2 that it was made, 3 that it was
-- removed is not seen to yet, 4 that it ended.
CREATE TABLE waivers (
    organization_id text     NOT NULL,
    id              text     NOT NULL,
    policy          text     NOT NULL,
    finding         text     NOT NULL,
    subject         text     NOT NULL,
    reason          text     NOT NULL,
    created_by      text     NOT NULL,
    created_at      bigint   NOT NULL,
    expires_at      bigint,
    state           smallint NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX waivers_to_see_to ON waivers (state, expires_at);
