-- How endpoints are doing after a batch of results. What `claim.sql` writes is left alone.
UPDATE webhooks_endpointstate AS state
   SET rate = new.rate, rate_cut_at = to_timestamp(new.rate_cut_at),
       open_until = to_timestamp(new.open_until), openings = new.openings, timeouts_in_row = new.timeouts_in_row,
       recent = new.recent,
       failing_since = to_timestamp(new.failing_since), failed_messages = new.failed_messages,
       warned_at = to_timestamp(new.warned_at), last_success_at = to_timestamp(new.last_success_at),
       totals = new.totals, latencies = new.latencies, latency_ms = new.latency_ms
  FROM jsonb_to_recordset(%(states)s::jsonb) AS new (
           endpoint_id uuid, rate float8, rate_cut_at float8, open_until float8, openings smallint,
           timeouts_in_row integer, recent jsonb, failing_since float8, failed_messages integer, warned_at float8,
           last_success_at float8, totals jsonb, latencies bigint[], latency_ms bigint
       )
 WHERE state.endpoint_id = new.endpoint_id
