-- Add attempts to what is known of their endpoints' minute.
INSERT INTO webhooks_endpointminute AS known (endpoint_id, minute, outcome, attempts, latencies)
SELECT endpoint_id, date_trunc('minute', statement_timestamp()), outcome, attempts, latencies::integer[]
  FROM unnest(%(endpoints)s::uuid[], %(outcomes)s::text[], %(attempts)s::integer[], %(latencies)s::text[])
       AS new (endpoint_id, outcome, attempts, latencies)
 ORDER BY endpoint_id, outcome
ON CONFLICT (endpoint_id, minute, outcome) DO UPDATE
   SET attempts = known.attempts + excluded.attempts,
       latencies = (
           SELECT array_agg(bucket.before + bucket.added ORDER BY bucket.number)
             FROM unnest(known.latencies, excluded.latencies) WITH ORDINALITY AS bucket (before, added, number)
       )
