-- What the history keeps of an update: the values that it changed, as they were before. For a RETURNING.
JSON_OBJECT(
    'name':        nullif(old.name, new.name),
    'description': nullif(old.description, new.description),
    'status':      nullif(old.status, new.status),
    'attributes':  nullif(old.attributes, new.attributes)
    ABSENT ON NULL RETURNING jsonb
)
