-- How many lines of the file name a sku that another line names too, less one for each such sku.
SELECT count(*) - (SELECT count(*) FROM (SELECT FROM {staging} GROUP BY key COLLATE "C") AS skus)
  FROM {staging}
