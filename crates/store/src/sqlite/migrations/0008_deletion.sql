-- Organisations are deleted in bounded parts: 0 it is there; 1 it is being deleted, and nothing is created in it any more;
-- 2 it is deleted, and only its name is left, so that a call which began before creates nothing in it either.
ALTER TABLE organizations ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
