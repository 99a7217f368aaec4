-- Processes that move an organization are numbered: each one that gets the right to do it takes the next number in the
-- directory, and writes it into both cells. A step of a process with a smaller number is refused, so that one that has lost
-- its right without knowing it does no harm.
ALTER TABLE organization_cells ADD COLUMN mover bigint NOT NULL DEFAULT 0;
ALTER TABLE organizations_elsewhere ADD COLUMN mover bigint NOT NULL DEFAULT 0;
