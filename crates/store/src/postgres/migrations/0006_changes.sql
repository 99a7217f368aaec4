-- The feed of changes: every transition and removal of an operation, in commit order, one row a statement that made some. Appended in
-- the transaction of the rows that changed, never updated; servers forget what is older than the feed is kept.
--
-- Readers take rows below the oldest transaction under way, in the order of (xid, n): nothing can still be committed
-- before what they have seen, so that a reader misses nothing and sees nothing twice.
CREATE TABLE changes (
    organization_id text     NOT NULL,
    xid             xid8     NOT NULL DEFAULT pg_current_xact_id(),
    -- The statement's place in its transaction: a setting that lives as long as the transaction, as in the inbox.
    n               integer  NOT NULL DEFAULT set_config('longrun.change',
                        (coalesce(nullif(current_setting('longrun.change', true), ''), '0')::integer + 1)::text,
                        true)::integer,
    at              bigint   NOT NULL,
    status          smallint NOT NULL,             -- what the operations became, all of them; 0: removed
    ids             uuid[]   NOT NULL,
    PRIMARY KEY (organization_id, xid, n)
) WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
-- Ids are random: to try to compress them is in vain.
ALTER TABLE changes ALTER COLUMN ids SET STORAGE EXTERNAL;

-- The last change of an organisation that was forgotten: who has not seen that far has missed something.
CREATE TABLE change_floors (
    organization_id text    NOT NULL PRIMARY KEY,
    xid             xid8    NOT NULL,
    n               integer NOT NULL,
    entries         integer NOT NULL               -- operations of that row
) WITH (fillfactor = 50);

-- Who reads every feed for the servers' own purposes, one of them at a time. What was not read is not forgotten.
CREATE TABLE change_readers (
    reader          text    NOT NULL PRIMARY KEY,
    xid             xid8    NOT NULL,              -- where every feed stood when it began
    holder          text    NOT NULL DEFAULT '',   -- whose turn it is
    held_until      bigint  NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Up to where a reader has read an organisation's feed; without a row, from where it began.
CREATE TABLE change_marks (
    reader          text    NOT NULL,
    organization_id text    NOT NULL,
    xid             xid8    NOT NULL,
    n               integer NOT NULL,
    seen            integer NOT NULL,              -- operations of that row
    PRIMARY KEY (reader, organization_id)
) WITH (fillfactor = 50);

-- Has a statement fail that another transaction got in the way of, so that it is tried again.
CREATE FUNCTION overtaken() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'another transaction was faster' USING ERRCODE = 'serialization_failure';
END
$$;

-- Who made the last attempt; empty when there was none.
ALTER TABLE settled ADD COLUMN worker text NOT NULL DEFAULT '';

-- What happened to an operation and cannot be told from its row: attempts that ended without ending it, what workers
-- said, wishes to stop it, ends before a retry. A life without trouble leaves nothing here.
CREATE TABLE events (
    organization_id text     NOT NULL,
    seq             bigint   NOT NULL,
    at              bigint   NOT NULL,
    kind            smallint NOT NULL,             -- 1 failed, 2 lost, 3 released, 4 progress, 5 cancel, 6 retry, 7 end
    attempt         integer  NOT NULL,
    worker          text     NOT NULL,
    started_at      bigint,                        -- of the attempt that ended
    message         text     NOT NULL
);
CREATE INDEX events_by_operation ON events (organization_id, seq);
