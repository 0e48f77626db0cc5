-- Take back one stretch of an import's history: remove what it created, restore what it changed, bring back
-- what it deleted. A product that was changed since is passed over, unless the later changes were themselves
-- taken back. The joins are written as in `same_sku`, for the same reason.
WITH undone AS MATERIALIZED (
    SELECT h.id, h.product_id, h.sku, h.action, h.version, h.previous, h.line_number, p.version AS seen
      FROM products_productchange AS h
      LEFT JOIN products_product AS p ON p.id BETWEEN h.product_id AND h.product_id
     WHERE h.id > %(low)s AND h.id <= %(high)s AND h.import_id = %(undoes)s
), eligible AS MATERIALIZED (
    SELECT * FROM undone AS u
     WHERE CASE WHEN u.action = 'deleted' THEN u.seen IS NULL
                ELSE u.seen = u.version OR u.seen > u.version AND {nothing_since}
           END
), removed AS (
    DELETE FROM products_product AS p USING eligible AS e
     WHERE e.action = 'created' AND p.id BETWEEN e.product_id AND e.product_id AND p.version = e.seen
    RETURNING p.*, e.line_number
), restored AS (
    UPDATE products_product AS p
       SET name        = coalesce(e.previous ->> 'name', p.name),
           description = coalesce(e.previous ->> 'description', p.description),
           status      = coalesce(e.previous ->> 'status', p.status),
           attributes  = coalesce(e.previous -> 'attributes', p.attributes),
           version     = p.version + 1,
           updated_at  = now()
      FROM eligible AS e
     WHERE e.action = 'updated' AND p.id BETWEEN e.product_id AND e.product_id AND p.version = e.seen
    RETURNING new.id, new.sku, new.version, e.line_number,
              {previous_values} AS previous
), returned AS (
    INSERT INTO products_product (id, sku, name, description, status, attributes, version, created_at, updated_at)
    SELECT e.product_id, e.previous ->> 'sku', e.previous ->> 'name', e.previous ->> 'description',
           e.previous ->> 'status', e.previous -> 'attributes', e.version + 1,
           (e.previous ->> 'created_at')::timestamptz, now()
      FROM eligible AS e
     WHERE e.action = 'deleted'
        ON CONFLICT DO NOTHING
    RETURNING id, sku, version
), history AS (
    INSERT INTO products_productchange
           (product_id, sku, action, version, previous, import_id, line_number, actor_id, changed_at)
    SELECT id, sku, 'deleted', version + 1, to_jsonb(removed) - 'id' - 'version' - 'line_number',
           %(import_id)s, line_number, %(actor_id)s::bigint, now()
      FROM removed
     UNION ALL
    SELECT id, sku, 'updated', version, previous, %(import_id)s, line_number, %(actor_id)s::bigint, now() FROM restored
     UNION ALL
    SELECT id, sku, 'created', version, NULL, %(import_id)s, NULL::bigint, %(actor_id)s::bigint, now() FROM returned
)
SELECT (SELECT count(*) FROM undone) AS looked_at,
       (SELECT count(*) FROM removed) AS removed,
       (SELECT count(*) FROM restored) AS restored,
       (SELECT count(*) FROM returned) AS returned
