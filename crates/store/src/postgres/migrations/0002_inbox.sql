-- Creation inside an application's own transaction: the application puts rows into the inbox, by the function
-- create_operation or by INSERT; servers turn committed rows into operations (see postgres/inbox.rs). A row that is
-- rolled back never existed.
--
-- The defaults and the checks call built-in functions only, so that INSERT on this table is all that an INSERT needs.
-- The names of the checks are what a caller reads when a row is refused. They say in SQL what NewOperation::violations
-- says in Rust.
CREATE TABLE inbox (
    organization_id    text        NOT NULL,
    -- The operation's future id: a UUIDv7, made of a random UUID whose first 48 bits are set to the time in milliseconds
    -- and whose version is changed from 4 to 7.
    id                 uuid        NOT NULL DEFAULT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
                           PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                           FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid,
    -- The order in which rows become operations: transactions by their number, then rows as they were inserted. The
    -- counter is a setting that lives as long as the transaction: no sequence, and nothing that others could wait for.
    xid                xid8        NOT NULL DEFAULT pg_current_xact_id(),
    position           bigint      NOT NULL DEFAULT set_config('longrun.inbox_position',
                           (coalesce(nullif(current_setting('longrun.inbox_position', true), ''), '0')::bigint + 1)::text,
                           true)::bigint,
    kind               text        NOT NULL,
    input              text        NOT NULL DEFAULT '',   -- JSON, or empty for none
    resource_type      text        NOT NULL DEFAULT '',
    resource_id        text        NOT NULL DEFAULT '',
    project_id         text        NOT NULL DEFAULT '',
    project_version_id text        NOT NULL DEFAULT '',
    priority           integer     NOT NULL DEFAULT 0,
    run_after          timestamptz,
    timeout            interval,
    max_attempts       integer     NOT NULL DEFAULT 5,
    retain_for         interval,
    idempotency_key    text,
    refused            text,                              -- why no server can make an operation of it; set by servers
    PRIMARY KEY (organization_id, id),
    CONSTRAINT "kind must be 1-128 letters, digits or _-./, alphanumeric first"
        CHECK (kind ~ '^[A-Za-z0-9][A-Za-z0-9_./-]{0,127}$'),
    CONSTRAINT "input must be a JSON text of at most 1048576 bytes"
        CHECK (octet_length(input) <= 1048576 AND (input = '' OR input::json IS NOT NULL)),
    CONSTRAINT "resource_type and resource_id: both or neither"
        CHECK ((resource_type = '') = (resource_id = '')),
    CONSTRAINT "resource_type must be at most 256 bytes of printable text"
        CHECK (octet_length(resource_type) <= 256 AND resource_type !~ '[\u0001-\u001f\u007f-\u009f]'),
    CONSTRAINT "resource_id must be at most 256 bytes of printable text"
        CHECK (octet_length(resource_id) <= 256 AND resource_id !~ '[\u0001-\u001f\u007f-\u009f]'),
    CONSTRAINT "project_id must be at most 256 bytes of printable text"
        CHECK (octet_length(project_id) <= 256 AND project_id !~ '[\u0001-\u001f\u007f-\u009f]'),
    CONSTRAINT "project_version_id must be at most 256 bytes of printable text"
        CHECK (octet_length(project_version_id) <= 256 AND project_version_id !~ '[\u0001-\u001f\u007f-\u009f]'),
    CONSTRAINT "priority must be between -100 and 100"
        CHECK (priority BETWEEN -100 AND 100),
    CONSTRAINT "run_after must be a finite time"
        CHECK (isfinite(run_after)),
    CONSTRAINT "timeout must be between 1 ms and 3650 days"
        CHECK (timeout BETWEEN '1 ms' AND '3650 days'),
    CONSTRAINT "max_attempts must be between 1 and 100"
        CHECK (max_attempts BETWEEN 1 AND 100),
    CONSTRAINT "retain_for must be between 1 ms and 3650 days"
        CHECK (retain_for BETWEEN '1 ms' AND '3650 days'),
    CONSTRAINT "idempotency_key must be 1 to 256 bytes of printable text"
        CHECK (octet_length(idempotency_key) BETWEEN 1 AND 256 AND idempotency_key !~ '[\u0001-\u001f\u007f-\u009f]')
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
-- What becomes operations, in the order in which it does.
CREATE INDEX inbox_waiting ON inbox (organization_id, xid, position) WHERE refused IS NULL;
-- Of two transactions that use a key at the same time, the second waits for the first.
CREATE UNIQUE INDEX inbox_by_key ON inbox (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Tells two uses of an idempotency key apart.
CREATE FUNCTION inbox_fingerprint(inbox) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(convert_to(jsonb_build_array('inbox', $1.kind, $1.input, $1.resource_type, $1.resource_id,
        $1.project_id, $1.project_version_id, $1.priority, extract(epoch FROM $1.run_after),
        extract(epoch FROM $1.timeout), $1.max_attempts, extract(epoch FROM $1.retain_for))::text, 'UTF8'))
$$;

-- Puts an operation into the inbox and answers its id; with an idempotency key that was used within 24 hours, the id of
-- that use. Runs with the rights of its owner, so that a caller needs no others than to call it.
CREATE FUNCTION create_operation(
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
    IF NOT EXISTS (SELECT FROM organizations o WHERE o.organization_id = create_operation.organization) THEN
        RAISE EXCEPTION 'there is no organization %', quote_nullable(organization) USING
            ERRCODE = 'foreign_key_violation',
            HINT = 'longrun token create makes an organization together with its first token.';
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
REVOKE ALL ON FUNCTION create_operation, inbox_fingerprint FROM PUBLIC;
