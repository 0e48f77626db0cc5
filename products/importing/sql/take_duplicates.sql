-- The lines that another line of the same sku makes void: listed, and taken out of the staging table.
WITH ranked AS (
    SELECT line_number, min(line_number) OVER same AS first, max(line_number) OVER same AS last
      FROM {staging}
    WINDOW same AS (PARTITION BY key COLLATE "C")
), void AS (
    SELECT line_number, {counting_line} AS counts FROM ranked WHERE {is_void}
), gone AS (
    DELETE FROM {staging} AS t USING void AS v WHERE t.line_number = v.line_number
    RETURNING t.line_number, v.counts, t.sku, t.name, t.description, t.status, t.attributes, t.cells
)
SELECT gone.line_number, gone.counts, other.sku, gone.cells, gone.attributes,
       gone.sku, gone.name, gone.description, gone.status
  FROM gone
  JOIN {staging} AS other ON other.line_number = gone.counts
 ORDER BY gone.line_number
