-- What the merge of one chunk would change, listed instead of done.
WITH source AS MATERIALIZED (
    {source}
), listed AS (
    INSERT INTO {changes} (line_number, action, product_id, version)
    SELECT s.line_number,
           CASE WHEN p.id IS NULL THEN 'created' ELSE 'updated' END,
           p.id,
           coalesce(p.version, 0) + 1
      FROM source AS s
      LEFT JOIN products_product AS p ON {same_sku}
     WHERE CASE WHEN p.id IS NULL THEN %(may_create)s AND s.name IS NOT NULL
                ELSE %(may_update)s AND {differs}
           END
    RETURNING action
)
SELECT (SELECT count(*) FROM source) AS compared,
       count(*) FILTER (WHERE action = 'created') AS created,
       count(*) FILTER (WHERE action = 'updated') AS updated
  FROM listed
