-- What `undo_chunk` passed over. Its own history was written after %(before)s.
SELECT h.line_number, h.sku, h.action, h.version, p.version AS seen
  FROM products_productchange AS h
  LEFT JOIN products_product AS p ON p.id BETWEEN h.product_id AND h.product_id
 WHERE h.id > %(low)s AND h.id <= %(high)s AND h.import_id = %(undoes)s
   AND NOT EXISTS (SELECT FROM products_productchange AS done
                    WHERE done.id > %(before)s AND done.import_id = %(import_id)s
                      AND done.product_id = h.product_id)
 ORDER BY h.id
