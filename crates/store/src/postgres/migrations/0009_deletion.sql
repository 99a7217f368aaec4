-- What longrun makes for itself is refused when it is put into the inbox, and not only when a server comes to it: an id
-- that the application was told would never be an operation.

-- Rows that are there stay as servers leave them: refused, for `longrun doctor` to tell.
UPDATE inbox SET refused = 'kind: is reserved: longrun itself makes the operations of this kind'
WHERE kind = 'notice' AND refused IS NULL;
ALTER TABLE inbox ADD CONSTRAINT "kind notice is reserved: longrun makes its operations itself"
    CHECK (kind <> 'notice') NOT VALID;

-- Organisations are deleted in bounded parts: 0 it is there; 1 it is being deleted, and nothing is created in it any more;
-- 2 it is deleted, and only its name is left, so that a call which began before creates nothing in it either.
ALTER TABLE organizations ADD COLUMN deleted smallint NOT NULL DEFAULT 0;

-- As before, and an organisation that is deleted is none.
CREATE OR REPLACE FUNCTION create_operation(
    organization       text,
    kind               text,
    input              jsonb       DEFAULT NULL,
    resource_type      text        DEFAULT '',
    resource_id        text        DEFAULT '',
    project_id         text        DEFAULT '',
    project_version_id text        DEFAULT '',
    priority           integer     DEFAULT 0,
    run_after          timestamptz DEFAULT NULL,
    timeout            interval    DEFAULT NULL,
    max_attempts       integer     DEFAULT 5,
    retain_for         interval    DEFAULT NULL,
    idempotency_key    text        DEFAULT NULL
) RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = longrun, pg_temp AS $$
#variable_conflict use_column
DECLARE
    wanted  inbox;
    made    uuid;
    earlier record;
BEGIN
    IF NOT EXISTS (SELECT FROM organizations o WHERE o.organization_id = create_operation.organization AND o.deleted = 0) THEN
        RAISE EXCEPTION 'there is no organization %', quote_nullable(organization) USING
            ERRCODE = 'foreign_key_violation',
            HINT = 'longrun token create --create-organization makes one, together with its first token.';
    END IF;
    wanted.kind := kind;
    wanted.input := coalesce(input::text, '');
    wanted.resource_type := resource_type;
    wanted.resource_id := resource_id;
    wanted.project_id := project_id;
    wanted.project_version_id := project_version_id;
    wanted.priority := priority;
    wanted.run_after := run_after;
    wanted.timeout := timeout;
    wanted.max_attempts := max_attempts;
    wanted.retain_for := retain_for;
    INSERT INTO inbox (organization_id, kind, input, resource_type, resource_id, project_id, project_version_id,
        priority, run_after, timeout, max_attempts, retain_for, idempotency_key)
    VALUES (organization, wanted.kind, wanted.input, wanted.resource_type, wanted.resource_id, wanted.project_id,
        wanted.project_version_id, wanted.priority, wanted.run_after, wanted.timeout, wanted.max_attempts,
        wanted.retain_for, create_operation.idempotency_key)
    ON CONFLICT (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id INTO made;
    IF create_operation.idempotency_key IS NULL THEN
        RETURN made;
    END IF;
    -- An earlier use that is an operation by now, or that waits in the inbox. Looked for after the insertion: what a
    -- server took from the inbox until then is found among the keys.
    SELECT use.id, use.fingerprint INTO earlier FROM (
        SELECT k.ids[1], k.fingerprint FROM idempotency_keys k
        WHERE k.organization_id = create_operation.organization AND k.key = create_operation.idempotency_key
            AND k.created_at > extract(epoch FROM clock_timestamp() - interval '24 hours') * 1000
        UNION ALL
        SELECT i.id, inbox_fingerprint(i) FROM inbox i
        WHERE i.organization_id = create_operation.organization
            AND i.idempotency_key = create_operation.idempotency_key AND i.id IS DISTINCT FROM made
    ) use (id, fingerprint) LIMIT 1;
    IF NOT FOUND AND made IS NULL THEN
        RAISE EXCEPTION 'the idempotency key was being used by another transaction' USING
            ERRCODE = 'serialization_failure', HINT = 'Repeat the transaction.';
    ELSIF NOT FOUND THEN
        RETURN made;
    END IF;
    IF earlier.fingerprint <> inbox_fingerprint(wanted) THEN
        RAISE EXCEPTION 'the idempotency key was used for another request within the last 24 hours' USING
            ERRCODE = 'unique_violation', HINT = 'Use a new key.';
    END IF;
    DELETE FROM inbox i WHERE i.organization_id = create_operation.organization AND i.id = made;
    RETURN earlier.id;
END $$;
