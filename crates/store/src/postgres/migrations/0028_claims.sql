-- Each statement that claims writes a number of its own into its leases. A server that is not answered finds by it what the
-- statement has claimed, and releases it: nobody else knows of these claims. NULL in leases from before this migration.
ALTER TABLE leases ADD COLUMN claim uuid;
