-- Of a cell: rows that an application puts into the inbox for an organization that was moved to another cell would
-- never become operations. They are refused, in the application's transaction, for as long as the organization is
-- elsewhere. A copy, which comes before the organization may be used here, names it in a setting. The trigger is made
-- by the first move that concerns a database (postgres/moving/), so that the others have none.
CREATE FUNCTION refuse_elsewhere() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = longrun, pg_temp AS $$
BEGIN
    IF current_setting('longrun.copied', true) IS DISTINCT FROM NEW.organization_id
        AND EXISTS (SELECT FROM organizations_elsewhere e WHERE e.organization_id = NEW.organization_id)
    THEN
        RAISE EXCEPTION 'the organization % is in another cell', quote_nullable(NEW.organization_id) USING
            ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Repeat it in the database that the organization was moved to.';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION refuse_elsewhere FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM organizations_elsewhere) THEN
        CREATE TRIGGER not_here BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION refuse_elsewhere();
    END IF;
END $$;
