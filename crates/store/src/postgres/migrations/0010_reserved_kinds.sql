-- What longrun makes for itself is refused when it is put into the inbox, and not only when a server comes to it: an id
-- that the application was told would never be an operation.

-- Rows that are there stay as servers leave them: refused, for `longrun doctor` to tell.
UPDATE inbox SET refused = 'kind: is reserved: longrun itself makes the operations of this kind'
WHERE kind = 'notice' AND refused IS NULL;
ALTER TABLE inbox ADD CONSTRAINT "kind notice is reserved: longrun makes its operations itself"
    CHECK (kind <> 'notice') NOT VALID;
