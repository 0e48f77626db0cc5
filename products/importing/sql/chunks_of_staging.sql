-- The staging table in chunks of %(size)s rows: first and last line, rows, and whether some have their cells kept.
SELECT min(line_number), max(line_number), count(*), bool_or(has_cells)
  FROM (SELECT line_number, cells IS NOT NULL AS has_cells,
               (row_number() OVER (ORDER BY line_number) - 1) / %(size)s AS chunk
          FROM {staging}) AS numbered
 GROUP BY chunk
 ORDER BY chunk
