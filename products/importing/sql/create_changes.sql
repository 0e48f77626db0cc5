-- What a checked file would change, a row for each product: kept until it is applied or given up.
CREATE UNLOGGED TABLE {changes} (
    line_number bigint NOT NULL,  -- negative, made of the product's id: one that the file lacks
    action      text NOT NULL,    -- created, updated or deactivated
    product_id  bigint,
    version     bigint NOT NULL   -- of the product, after the change
) WITH (autovacuum_enabled = false)
