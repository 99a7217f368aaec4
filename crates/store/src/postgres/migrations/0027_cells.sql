-- Cells: organizations are spread over several databases, each with this schema. One of them, the directory, says where
-- each organization is; each of the others notes which organizations must not be used in it (postgres/cells.rs).

-- Of the directory: in which cell an organization is. A row is never removed, so that a name stays with its cell. What
-- changed since a transaction is found by the number of the transaction that changed it, as in the feed of changes.
CREATE TABLE organization_cells (
    organization_id text    NOT NULL PRIMARY KEY,
    cell            text    NOT NULL,
    moving_to       text,                              -- the cell that it is being moved to
    moves           integer NOT NULL DEFAULT 0,        -- how often it was moved: cursors of changes are of one cell
    changed         xid8    NOT NULL DEFAULT pg_current_xact_id()
) WITH (fillfactor = 80);
CREATE INDEX organization_cells_by_change ON organization_cells (changed);

-- Of the directory: up to which row the instance's part of a cell's audit log was brought here. What a call of the instance
-- changes in a cell is recorded there, by the transaction of the change.
CREATE TABLE cell_audits (
    cell text   NOT NULL PRIMARY KEY,
    seq  bigint NOT NULL
);

-- Of a cell: organizations that were moved out of it, or are just being moved out of it or into it.
CREATE TABLE organizations_elsewhere (
    organization_id text    NOT NULL PRIMARY KEY,
    since           bigint  NOT NULL,
    was_paused      boolean NOT NULL                   -- by somebody, before the move paused it
);

-- Of a cell: its name, and which directory it belongs to. One row.
CREATE TABLE cell (
    name      text NOT NULL PRIMARY KEY,
    directory text NOT NULL
);

-- While an organization is moved, its rows in the source are not written any more, by whichever server: the move puts
-- triggers with this function on the tables, for the one organization, and removes them at the end. The code is one after
-- which servers say "try again later".
CREATE FUNCTION refuse_while_moving() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the organization is being moved to another cell' USING
        ERRCODE = 'lock_not_available', HINT = 'Repeat it later, where the organization is then.';
END $$;
