-- One import's own table for the rows of its file that can be products. UNLOGGED: a crash empties it,
-- and then the file is read again. The database makes the key, so that it can't differ from the index.
CREATE UNLOGGED TABLE {staging} (
    line_number bigint PRIMARY KEY,
    sku         text NOT NULL,
    name        text,
    description text,
    status      text,
    attributes  jsonb,  -- those that the file has; null takes one away
    cells       jsonb,  -- the row as it stood in the file, where the merge may yet reject it
    key         text GENERATED ALWAYS AS (lower(sku)) STORED
) WITH (autovacuum_enabled = false)
