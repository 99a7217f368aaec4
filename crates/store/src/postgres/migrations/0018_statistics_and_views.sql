-- Statistics: how many operations were created, started and ended, and how long they waited and ran, by step of time. A
-- reader of the feed counts them there, so that no other write does.

-- What creates operations is told from what gives them back.
ALTER TABLE changes ADD COLUMN is_creation boolean NOT NULL DEFAULT false;

-- Each change is counted in its minute, its hour and its day; with an empty project_id for the whole organisation, and
-- once more for the project, if there is one. A kind is empty where the operation was removed before it was counted.
-- Rows are updated many times and touch no index then, for which they leave room.
CREATE TABLE statistics (
    organization_id text     NOT NULL,
    step            smallint NOT NULL,             -- 1 minute, 2 hour, 3 day
    project_id      text     NOT NULL,
    start           bigint   NOT NULL,
    kind            text     NOT NULL,
    created         bigint   NOT NULL,
    started         bigint   NOT NULL,
    completed       bigint   NOT NULL,
    failed          bigint   NOT NULL,
    waiting         bytea    NOT NULL,             -- how long, as operations::Durations writes it
    running         bytea    NOT NULL,
    PRIMARY KEY (organization_id, step, project_id, start, kind)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX statistics_by_age ON statistics (step, start);

-- Since when an organisation's changes are counted without a gap. Numbers given = those before + counted + creations
-- that the feed has behind the reader.
CREATE TABLE statistics_origins (
    organization_id text   NOT NULL PRIMARY KEY,
    since           bigint NOT NULL,
    created_before  bigint NOT NULL,
    created         bigint NOT NULL
) WITH (fillfactor = 50);

-- Saved views: a name for a filter. An empty owner: shared in the organisation; else the id of the token that it is
-- private to.
CREATE TABLE views (
    organization_id text   NOT NULL,
    id              text   NOT NULL,
    owner           text   NOT NULL,
    name            text   NOT NULL,
    filter          text   NOT NULL,
    columns         text[] NOT NULL,
    created_at      bigint NOT NULL,
    updated_at      bigint NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE UNIQUE INDEX views_by_name ON views (organization_id, owner, name);
