-- Once, as the owner of the database and of longrun's schema: tables for an application that may create operations and has
-- no other right on longrun.
--
--     psql postgres://owner@host/database -f setup.sql
--
-- Only who has CREATEROLE can create the application's role. If the owner has not, an administrator does it before:
--
--     CREATE ROLE shop LOGIN;

\set ON_ERROR_STOP on

SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shop') AS role_is_missing \gset
\if :role_is_missing
    CREATE ROLE shop LOGIN;
\endif

CREATE SCHEMA shop;
CREATE TABLE shop.orders (
    id      bigint PRIMARY KEY,
    article text   NOT NULL,
    -- The operation that ships it: what the application asks GET /v1/operations/{id} for.
    shipping uuid  NOT NULL
);
-- Granted and not given away: to make another role the owner, one must be a member of it.
GRANT USAGE ON SCHEMA shop TO shop;
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.orders TO shop;

GRANT USAGE ON SCHEMA longrun TO shop;
GRANT EXECUTE ON FUNCTION longrun.create_operation TO shop;
