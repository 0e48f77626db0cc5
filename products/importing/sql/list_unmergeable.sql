-- Rows of a chunk that only the catalogue can show to be wrong; the merge passes over them. Only rows
-- with their cells kept can be such, and the stager keeps those of all that might.
SELECT s.line_number,
       CASE WHEN p.id IS NOT NULL THEN 'product_exists'
            WHEN NOT %(may_create)s THEN 'product_unknown'
            ELSE 'name_missing'
       END AS code,
       s.sku,
       s.cells
  FROM (
       SELECT DISTINCT ON (key COLLATE "C") line_number, key, sku, name, cells
         FROM {staging}
        WHERE line_number BETWEEN %(first_line)s AND %(last_line)s
        ORDER BY key COLLATE "C", line_number DESC
       ) AS s
  LEFT JOIN products_product AS p ON lower(p.sku) = s.key
 WHERE s.cells IS NOT NULL
   AND CASE WHEN p.id IS NOT NULL THEN NOT %(may_update)s
            ELSE NOT %(may_create)s OR s.name IS NULL
       END
