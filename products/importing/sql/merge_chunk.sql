-- Merge one chunk of the staging table into the catalogue and write the history of what changed.
-- A value that is NULL in the source leaves the stored one alone; a row that changes nothing is not
-- written.
WITH source AS MATERIALIZED (
    {source}
), merged AS (
    MERGE INTO products_product AS p
    USING source AS s ON {same_sku}
     WHEN MATCHED AND %(may_update)s AND {differs}
     THEN UPDATE SET name        = coalesce(s.name, p.name),
                     description = coalesce(s.description, p.description),
                     status      = coalesce(s.status, p.status),
                     attributes  = CASE WHEN s.attributes IS NULL THEN p.attributes ELSE {new_attributes} END,
                     version     = p.version + 1,
                     updated_at  = now()
     WHEN NOT MATCHED AND %(may_create)s AND s.name IS NOT NULL
     THEN INSERT (sku, name, description, status, attributes, created_at, updated_at)
          VALUES (s.sku, s.name, coalesce(s.description, ''), coalesce(s.status, 'active'),
                  coalesce(jsonb_strip_nulls(s.attributes), '{}'), now(), now())
    RETURNING merge_action() AS action, p.id, p.sku, p.version, s.line_number,
              CASE merge_action() WHEN 'UPDATE' THEN {previous_values} END AS previous
), history AS (
    INSERT INTO products_productchange
           (product_id, sku, action, version, previous, import_id, line_number, actor_id, changed_at)
    SELECT id, sku, CASE action WHEN 'INSERT' THEN 'created' ELSE 'updated' END, version, previous,
           %(import_id)s, line_number, %(actor_id)s, now()
      FROM merged
)
SELECT (SELECT count(*) FROM source) AS compared,
       count(*) FILTER (WHERE action = 'INSERT') AS created,
       count(*) FILTER (WHERE action = 'UPDATE') AS updated
  FROM merged
