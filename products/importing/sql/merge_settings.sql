-- One plan for the merge, whatever the statistics say: rows in the order of their keys, each looked up
-- in the index of the catalogue. It costs the same in a catalogue of ten million as in one of none.
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SET LOCAL enable_material = off;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL jit = off;
-- A chunk is sorted in memory.
SET LOCAL work_mem = '64MB';
-- Somebody edits one of the products: wait for it longer than a page would.
SET LOCAL lock_timeout = '30s';
-- The merge waits for the reader of a slow file store, but not for a process that hangs.
SET LOCAL idle_in_transaction_session_timeout = '120s'
