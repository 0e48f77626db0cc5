-- What `deactivate_missing` would do, listed.
WITH listed AS (
    INSERT INTO {changes} (line_number, action, product_id, version)
    SELECT -p.id, 'deactivated', p.id, p.version + 1
      FROM products_product AS p
     WHERE {missing}
    RETURNING 1
)
SELECT (SELECT count(*) FROM listed) AS deactivated,
       (SELECT count(*) FROM products_product WHERE status = 'active') AS active
