-- Rows of a chunk that only the catalogue can show to be wrong, after the merge, which passed over them. Only rows with
-- their cells kept can be such, and the stager keeps those of all that might. Where only new products are wanted, one of
-- this very transaction was created by the row; and one that is not there was, and somebody else has deleted it since.
-- `missed` is a row whose product somebody else created while the merge ran: it still is as it was made, and not as the
-- row has it.
SELECT s.line_number,
       CASE WHEN p.id IS NOT NULL AND %(may_update)s THEN 'missed'
            WHEN NOT %(may_create)s THEN 'product_unknown'
            WHEN p.id IS NULL AND s.name IS NULL THEN 'name_missing'
            ELSE 'product_exists'
       END AS code,
       s.sku,
       s.cells
  FROM ({source}) AS s
  LEFT JOIN products_product AS p ON {same_sku}
 WHERE s.cells IS NOT NULL
   AND CASE WHEN p.id IS NULL THEN NOT %(may_create)s OR s.name IS NULL OR %(merged)s AND NOT %(may_update)s
            WHEN %(may_update)s THEN %(merged)s AND p.version = 1 AND {differs}
            ELSE p.created_at <> now()
       END
