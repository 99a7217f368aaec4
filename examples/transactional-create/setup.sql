-- Once, as the owner of the database: a role for the application, with tables of its own, that may create operations
-- and has no other right on longrun.
--
--     psql postgres://owner@host/database -f setup.sql

\set ON_ERROR_STOP on

CREATE ROLE shop LOGIN;
CREATE SCHEMA shop AUTHORIZATION shop;
CREATE TABLE shop.orders (
    id      bigint PRIMARY KEY,
    article text   NOT NULL,
    -- The operation that ships it: what the application asks GET /v1/operations/{id} for.
    shipping uuid  NOT NULL
);
ALTER TABLE shop.orders OWNER TO shop;

GRANT USAGE ON SCHEMA longrun TO shop;
GRANT EXECUTE ON FUNCTION longrun.create_operation TO shop;
