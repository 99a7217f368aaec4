-- At most so many operations of one concurrency key run at a time (postgres/concurrency.rs).

ALTER TABLE active ADD COLUMN concurrency_key text, ADD COLUMN concurrency_limit integer;
ALTER TABLE settled ADD COLUMN concurrency_key text, ADD COLUMN concurrency_limit integer;

-- The keys of operations that have not ended.
CREATE TABLE concurrency_keys (
    organization_id text    NOT NULL,
    key             text    NOT NULL,
    most            integer NOT NULL,              -- places, as the newest creation named them
    held            integer NOT NULL,              -- by what may be claimed and by what runs
    operations      bigint  NOT NULL,              -- that have not ended
    PRIMARY KEY (organization_id, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- Their operations. What waits for a place is not in the queue.
CREATE TABLE concurrency_slots (
    organization_id text     NOT NULL,
    seq             bigint   NOT NULL,
    key             text     NOT NULL,
    kind            text     NOT NULL,
    priority        smallint NOT NULL,
    state           smallint NOT NULL CHECK (state IN (0, 1, 2)), -- waits, has a place, is delayed
    PRIMARY KEY (organization_id, seq)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
-- What waits, in the order in which it gets a place.
CREATE INDEX concurrency_waiting ON concurrency_slots (organization_id, key, (-priority), seq) WHERE state = 0;

-- How far each bulk operation is, written with what it does: counts that add up whatever breaks off.
CREATE TABLE bulk_progress (
    organization_id text NOT NULL,
    id              uuid NOT NULL,
    progress        text NOT NULL,                 -- JSON
    PRIMARY KEY (organization_id, id)
) WITH (fillfactor = 50);
