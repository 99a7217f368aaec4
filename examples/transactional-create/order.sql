-- What the application does: the order and the operation that ships it are there together, or neither is.
--
--     psql postgres://shop@host/database -v organization=acme -f order.sql

\set ON_ERROR_STOP on

-- Order 1 is placed.
BEGIN;
INSERT INTO shop.orders (id, article, shipping) VALUES (1, 'lamp', longrun.create_operation(
    :'organization', 'ship_order',
    input           => jsonb_build_object('order', 1, 'article', 'lamp'),
    resource_type   => 'order',
    resource_id     => '1',
    timeout         => interval '10 minutes',
    idempotency_key => 'ship order 1'));
COMMIT;

-- Order 2 is not: the customer goes away at the last moment, and nobody ever hears of the shipping.
BEGIN;
INSERT INTO shop.orders (id, article, shipping) VALUES (2, 'chair', longrun.create_operation(
    :'organization', 'ship_order',
    input         => jsonb_build_object('order', 2, 'article', 'chair'),
    resource_type => 'order',
    resource_id   => '2'));
ROLLBACK;

SELECT id, article, shipping FROM shop.orders ORDER BY id;
