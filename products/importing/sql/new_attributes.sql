-- The attributes of p after those of s: set, or taken away where s has null. A cell that says what is stored, as an
-- export writes it, leaves the value as it is, whatever its type; another one is read as a value of the same type
-- if it can be, else as text. An import trims its cells, so the stored text is trimmed as Python does it.
(SELECT (p.attributes || coalesce(jsonb_object_agg(key, CASE
            WHEN jsonb_typeof(p.attributes -> key) NOT IN ('string', 'null') AND pg_input_is_valid(cell, 'jsonb')
            THEN CASE jsonb_typeof(cell::jsonb) WHEN jsonb_typeof(p.attributes -> key) THEN cell::jsonb ELSE value END
            ELSE value
        END) FILTER (WHERE cell IS NOT NULL), '{}'))
        - coalesce(array_agg(key) FILTER (WHERE cell IS NULL), '{}')
   FROM jsonb_each(s.attributes), LATERAL (SELECT value #>> '{}' AS cell) AS text_of
  WHERE coalesce(cell, '') <> coalesce(btrim(p.attributes ->> key, {whitespace}), ''))
