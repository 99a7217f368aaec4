-- The distributed trace that an operation belongs to, as a traceparent of W3C Trace Context; NULL: none.
ALTER TABLE details ADD COLUMN trace TEXT;
