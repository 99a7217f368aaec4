-- Run this once, as the owner of the database and of longrun's schema: it creates tables for an application that may create
-- operations and has no other right on longrun.
--
--     psql postgres://owner@host/database -f setup.sql
--
-- Creating the application's role requires CREATEROLE. If the owner does not have it, an administrator creates the role
-- first:
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
    -- The operation that ships the order, for GET /v1/operations/{id}.
    shipping uuid  NOT NULL
);
-- The rights are granted, and the owner stays the same: making another role the owner would require membership in it.
GRANT USAGE ON SCHEMA shop TO shop;
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.orders TO shop;

GRANT USAGE ON SCHEMA longrun TO shop;
GRANT EXECUTE ON FUNCTION longrun.create_operation TO shop;
