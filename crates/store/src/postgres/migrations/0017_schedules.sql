-- Operations that are created again and again, at times. A due time and what it creates are one transaction: the row
-- says which due time comes next, and whoever has locked it creates.
CREATE TABLE schedules (
    organization_id text    NOT NULL,
    seq             bigint  NOT NULL,              -- of the organization's schedules; for walks
    name            text    NOT NULL,
    id              uuid    NOT NULL,              -- what its texts are sealed for, and its delays are made of
    project_id      text    NOT NULL,
    definition      text    NOT NULL,              -- JSON
    input           text    NOT NULL,
    paused          boolean NOT NULL,
    revision        bigint  NOT NULL,              -- grows with each change by a caller
    anchor          bigint  NOT NULL,              -- what `every` is counted from
    created_at      bigint  NOT NULL,
    updated_at      bigint  NOT NULL,
    next_due        bigint,                        -- the first due time that nothing was done about
    fire_at         bigint,                        -- when that is done; NULL: never, as long as it is paused
    last_time       bigint,                        -- the last due time that has created
    last_operation  uuid,
    passed_over     bigint,                        -- the last due time that has not
    last_error      text    NOT NULL DEFAULT '',
    last_error_at   bigint,
    PRIMARY KEY (organization_id, name)
);
CREATE UNIQUE INDEX schedules_by_seq ON schedules (organization_id, seq);
-- Of one organization, and of all.
CREATE INDEX schedules_due_by_organization ON schedules (organization_id, fire_at) WHERE fire_at IS NOT NULL;
CREATE INDEX schedules_due ON schedules (fire_at) WHERE fire_at IS NOT NULL;
