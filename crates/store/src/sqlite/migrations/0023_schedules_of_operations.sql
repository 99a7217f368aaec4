-- What a schedule has made.
CREATE INDEX details_by_schedule ON details (organization_id, schedule, seq) WHERE schedule IS NOT NULL;
