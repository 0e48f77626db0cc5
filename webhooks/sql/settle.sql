-- What came of claimed deliveries: each only by the claim that still has it in hand. Returns those it was so for.
UPDATE webhooks_delivery AS delivery
   SET state = result.state, attempts = delivery.attempts + 1, claim = NULL, claimed_until = NULL,
       due_at = CASE WHEN result.state = 'pending'
                     THEN statement_timestamp() + make_interval(secs => result.delay) ELSE delivery.due_at END,
       last_status = result.status, last_error = result.error,
       finished_at = CASE WHEN result.state = 'pending' THEN NULL ELSE statement_timestamp() END
  FROM unnest(
           %(ids)s::uuid[], %(claims)s::uuid[], %(states)s::text[], %(delays)s::float8[],
           %(statuses)s::smallint[], %(errors)s::text[]
       ) AS result (id, claim, state, delay, status, error)
 WHERE delivery.id = result.id AND delivery.state = 'pending' AND delivery.claim = result.claim
RETURNING delivery.id
