-- What is said of the first reported rows of an import, by cause: how many rows, the first of them, and the words for one.
WITH looked_at AS (
    SELECT line_number, errors
      FROM products_reportedrow
     WHERE import_id = %(import_id)s AND outcome = %(outcome)s AND NOT (outcome = 'repaired' AND EXISTS (
           SELECT FROM products_reportedrow AS other  -- rejected or duplicate all the same
            WHERE other.import_id = %(import_id)s AND other.line_number = products_reportedrow.line_number
              AND other.outcome <> 'repaired'))
     ORDER BY line_number
     LIMIT %(rows)s
), causes AS (
    SELECT error ->> 'code' AS code, error ->> 'column' AS about, count(*) AS number,
           min(line_number) AS first_line, array_agg(line_number) AS lines
      FROM looked_at, jsonb_array_elements(errors) AS error
     GROUP BY 1, 2
     ORDER BY number DESC, first_line
     LIMIT %(causes)s
)
SELECT c.code, coalesce(c.about, ''), c.number, first_lines.found, example.message
  FROM causes AS c
 CROSS JOIN LATERAL (
       SELECT array_agg(line) AS found
         FROM (SELECT line FROM unnest(c.lines) AS line ORDER BY line LIMIT %(lines)s) AS first_ones
       ) AS first_lines
 CROSS JOIN LATERAL (
       SELECT error ->> 'message' AS message
         FROM products_reportedrow, jsonb_array_elements(errors) AS error
        WHERE import_id = %(import_id)s AND outcome = %(outcome)s AND line_number = c.first_line
          AND error ->> 'code' = c.code AND error ->> 'column' IS NOT DISTINCT FROM c.about
        LIMIT 1
       ) AS example
 ORDER BY c.number DESC, c.first_line
