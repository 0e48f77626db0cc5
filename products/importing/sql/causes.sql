-- What is said of the first reported rows of an import, by cause: how many rows, the first of them, and the words for one.
WITH looked_at AS (
    SELECT line_number, errors
      FROM products_reportedrow
     WHERE import_id = %(import_id)s AND outcome = %(outcome)s
     ORDER BY line_number
     LIMIT %(rows)s
), found AS (
    SELECT error ->> 'code' AS code, coalesce(error ->> 'column', '') AS about, error ->> 'message' AS message, line_number,
           row_number() OVER (PARTITION BY error ->> 'code', error ->> 'column' ORDER BY line_number) AS place
      FROM looked_at, jsonb_array_elements(errors) AS error
)
SELECT code, about, count(DISTINCT line_number),
       array_agg(line_number ORDER BY line_number) FILTER (WHERE place <= %(lines)s),
       min(message) FILTER (WHERE place = 1)
  FROM found
 GROUP BY code, about
 ORDER BY 3 DESC, min(line_number)
 LIMIT %(causes)s
