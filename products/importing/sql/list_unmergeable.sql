-- Rows of a chunk that only the catalogue can show to be wrong; the merge passes over them. Only rows
-- with their cells kept can be such, and the stager keeps those of all that might.
SELECT s.line_number,
       CASE WHEN p.id IS NOT NULL THEN 'product_exists'
            WHEN NOT %(may_create)s THEN 'product_unknown'
            ELSE 'name_missing'
       END AS code,
       s.sku,
       s.cells
  FROM ({source}) AS s
  LEFT JOIN products_product AS p ON {same_sku}
 WHERE s.cells IS NOT NULL
   AND CASE WHEN p.id IS NOT NULL THEN NOT %(may_update)s
            ELSE NOT %(may_create)s OR s.name IS NULL
       END
