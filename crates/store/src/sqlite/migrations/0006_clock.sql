-- By how many milliseconds the clock of the machine was set forward since the attempt began.
ALTER TABLE leases ADD COLUMN clock_set_by INTEGER NOT NULL DEFAULT 0;
