-- How these endpoints are doing, locked in the one order that everybody keeps to. Times are seconds since 1970.
SELECT endpoint_id, extract(epoch FROM clock_timestamp())::float8 AS now,
       rate, extract(epoch FROM rate_cut_at)::float8 AS rate_cut_at,
       extract(epoch FROM open_until)::float8 AS open_until, openings, timeouts_in_row, recent,
       extract(epoch FROM failing_since)::float8 AS failing_since, failed_messages,
       extract(epoch FROM warned_at)::float8 AS warned_at,
       extract(epoch FROM last_success_at)::float8 AS last_success_at,
       totals, latencies, latency_ms
  FROM webhooks_endpointstate
 WHERE endpoint_id = ANY (%(endpoints)s)
 ORDER BY endpoint_id
   FOR NO KEY UPDATE
