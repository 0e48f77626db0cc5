-- The rows of a chunk; of lines with the same sku the one that counts, as {order} has it.
SELECT DISTINCT ON (key COLLATE "C") line_number, key, sku, name, description, status, attributes, cells
  FROM {staging}
 WHERE line_number BETWEEN %(first_line)s AND %(last_line)s
 ORDER BY key COLLATE "C", line_number {order}
