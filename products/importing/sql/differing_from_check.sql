-- How many changes this import made that its check had not listed, or listed otherwise. What was written
-- since %(after)s holds them all.
SELECT count(*)
  FROM {changes} AS listed
  FULL JOIN (SELECT coalesce(line_number, -product_id) AS line_number, action, product_id, version
               FROM products_productchange
              WHERE id > %(after)s AND import_id = %(import_id)s) AS made USING (line_number)
 WHERE made.version IS DISTINCT FROM listed.version
    OR made.action IS DISTINCT FROM CASE listed.action WHEN 'deactivated' THEN 'updated' ELSE listed.action END
    OR listed.product_id <> made.product_id
