-- What the application does: either both the order and the operation that ships it are created, or neither is.
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

-- Order 2 is rolled back: the customer leaves at the last moment, and no operation for its shipping ever exists.
BEGIN;
INSERT INTO shop.orders (id, article, shipping) VALUES (2, 'chair', longrun.create_operation(
    :'organization', 'ship_order',
    input         => jsonb_build_object('order', 2, 'article', 'chair'),
    resource_type => 'order',
    resource_id   => '2'));
ROLLBACK;

SELECT id, article, shipping FROM shop.orders ORDER BY id;
