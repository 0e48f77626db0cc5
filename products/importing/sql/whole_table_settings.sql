-- For statements that read all of the catalogue, after those of `merge_settings`: by hashing, whatever the
-- statistics say of its size.
SET LOCAL enable_hashjoin = on;
SET LOCAL enable_nestloop = off;
SET LOCAL enable_seqscan = on
