-- What `undo_chunk` passed over. Its own history was written after %(before)s: NOT IN has that read once and hashed,
-- where NOT EXISTS, which the settings of the merge keep from a hash join, would read it for each product anew.
SELECT h.line_number, h.sku, h.action, h.version, p.version AS seen
  FROM products_productchange AS h
  LEFT JOIN products_product AS p ON p.id BETWEEN h.product_id AND h.product_id
 WHERE h.id > %(low)s AND h.id <= %(high)s AND h.import_id = %(undoes)s
   AND h.product_id NOT IN (SELECT done.product_id FROM products_productchange AS done
                             WHERE done.id > %(before)s AND done.import_id = %(import_id)s)
 ORDER BY h.id
