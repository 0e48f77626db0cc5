-- Mode sync: products that the file lacks become inactive.
WITH changed AS (
    UPDATE products_product AS p
       SET status = 'inactive', version = version + 1, updated_at = now()
     WHERE {missing}
    RETURNING p.id, p.sku, p.version
), history AS (
    INSERT INTO products_productchange (product_id, sku, action, version, previous, import_id, actor_id, changed_at)
    SELECT id, sku, 'updated', version, '{"status": "active"}', %(import_id)s, %(actor_id)s, now()
      FROM changed
)
SELECT (SELECT count(*) FROM changed) AS deactivated,
       (SELECT count(*) FROM products_product WHERE status = 'active') AS active
