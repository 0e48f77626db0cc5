-- Claim what is due of the locked endpoints, each its share and no more than `free` in all.
--
-- An endpoint's share is bounded by its rate (a token bucket that holds a quarter of a second), by the requests it
-- may have open, and by half of the places that are free beyond those it has: one that answers slowly takes part of
-- the dispatcher and never all of it, however many there are. Round by round each endpoint gets one more, so that
-- the shortest queue does not wait for the longest.
--
-- First tries that fill an endpoint's rate must not keep its retries waiting for ever, nor edits its imports: a tenth of
-- each share (by chance where that is no whole number) is for what has been due longest, if it is late.
WITH budget AS (
    SELECT endpoint.id, endpoint.ordered, endpoint.timeout_seconds, bucket.tokens, share.number::integer AS share,
           floor(share.number * %(late_share)s::float8 + random()) AS late_share
      FROM webhooks_endpointstate AS state
      JOIN webhooks_webhookendpoint AS endpoint ON endpoint.id = state.endpoint_id
     CROSS JOIN LATERAL (
               SELECT CASE WHEN endpoint.adaptive_rate THEN least(state.rate, endpoint.rate_per_second)
                           ELSE endpoint.rate_per_second END AS per_second
           ) AS rate
     CROSS JOIN LATERAL (
               SELECT least(
                   greatest(1, rate.per_second / 4.0),
                   state.tokens
                       + rate.per_second * extract(epoch FROM statement_timestamp() - state.refilled_at)::float8
               )::float8 AS tokens
           ) AS bucket
     CROSS JOIN LATERAL (
               SELECT count(*) AS number FROM webhooks_delivery_pending AS delivery
                WHERE delivery.endpoint_id = state.endpoint_id AND delivery.claim IS NOT NULL
           ) AS claimed
     CROSS JOIN LATERAL (
               SELECT least(
                   floor(bucket.tokens),
                   -- Half open, and one after the other: one request at a time.
                   CASE WHEN endpoint.ordered OR state.open_until IS NOT NULL THEN 1 ELSE endpoint.concurrency END
                       - claimed.number,
                   ceil((%(free)s - claimed.number) / 2.0)
               ) AS number
           ) AS share
     WHERE state.endpoint_id = ANY (%(endpoints)s)
), due AS (
    -- The order: a person's edits before imports, and of each first tries before retries. Of each class as many as could
    -- be wanted.
    SELECT budget.id AS endpoint_id, found.id, class.lane * 2 + class.again::integer AS class, found.due_at
      FROM budget
     CROSS JOIN (VALUES (0, false), (0, true), (1, false), (1, true)) AS class (lane, again)
     CROSS JOIN LATERAL (
               SELECT delivery.id, delivery.due_at FROM webhooks_delivery_pending AS delivery
                WHERE delivery.endpoint_id = budget.id AND delivery.lane = class.lane
                  AND (delivery.attempts > 0) = class.again AND delivery.due_at <= statement_timestamp()
                  AND delivery.claim IS NULL
                ORDER BY delivery.due_at
                LIMIT greatest(budget.share, 0)
                  FOR UPDATE SKIP LOCKED
           ) AS found
     WHERE NOT budget.ordered
     UNION ALL
    -- None is overtaken: the oldest goes, or nothing.
    SELECT budget.id, head.id, 0, head.due_at
      FROM budget
     CROSS JOIN LATERAL (
               SELECT delivery.id, delivery.due_at, delivery.claim FROM webhooks_delivery_pending AS delivery
                WHERE delivery.endpoint_id = budget.id
                ORDER BY delivery.id
                LIMIT 1
           ) AS head
     WHERE budget.ordered AND budget.share > 0 AND head.claim IS NULL AND head.due_at <= statement_timestamp()
), by_age AS (
    SELECT due.*,
           due.due_at < statement_timestamp() - make_interval(secs => %(late)s)
               AND row_number() OVER (PARTITION BY due.endpoint_id ORDER BY due.due_at, due.id) <= budget.late_share
               AS is_late
      FROM due
      JOIN budget ON budget.id = due.endpoint_id
), in_turn AS (
    SELECT id, endpoint_id,
           row_number() OVER (PARTITION BY endpoint_id ORDER BY NOT is_late, class, due_at, id) AS turn
      FROM by_age
), chosen AS (
    SELECT in_turn.id, in_turn.endpoint_id, in_turn.turn, budget.timeout_seconds
      FROM in_turn
      JOIN budget ON budget.id = in_turn.endpoint_id AND in_turn.turn <= budget.share
     ORDER BY in_turn.turn, in_turn.id
     LIMIT %(free)s
), spent AS (
    UPDATE webhooks_endpointstate AS state
       SET tokens = budget.tokens - (SELECT count(*) FROM chosen WHERE chosen.endpoint_id = budget.id),
           refilled_at = statement_timestamp()
      FROM budget
     WHERE state.endpoint_id = budget.id
)
UPDATE webhooks_delivery_pending AS delivery
   SET claim = %(claim)s,
       claimed_until = statement_timestamp() + make_interval(secs => chosen.timeout_seconds + %(grace)s)
  FROM chosen
 WHERE delivery.id = chosen.id
RETURNING delivery.id, delivery.endpoint_id, delivery.event_id, delivery.event_type, delivery.trigger,
          delivery.attempts, delivery.claim
