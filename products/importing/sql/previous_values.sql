-- What the history keeps of an update: the values that it changed, as they were before. For a RETURNING.
jsonb_strip_nulls(jsonb_build_object(
    'name',        nullif(old.name, new.name),
    'description', nullif(old.description, new.description),
    'status',      nullif(old.status, new.status)
)) || CASE WHEN old.attributes IS DISTINCT FROM new.attributes
           THEN jsonb_build_object('attributes', old.attributes) ELSE '{}' END
