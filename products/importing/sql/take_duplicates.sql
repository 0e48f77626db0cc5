-- The lines that a later line of the same sku makes void: listed, and taken out of the staging table.
WITH ranked AS (
    SELECT line_number, max(line_number) OVER (PARTITION BY key COLLATE "C") AS counts
      FROM {staging}
), void AS (
    SELECT line_number, counts FROM ranked WHERE line_number < counts
), gone AS (
    DELETE FROM {staging} AS t USING void AS v WHERE t.line_number = v.line_number
    RETURNING t.line_number, v.counts, t.sku, t.name, t.description, t.status
)
SELECT line_number, counts, sku, name, description, status FROM gone ORDER BY line_number
