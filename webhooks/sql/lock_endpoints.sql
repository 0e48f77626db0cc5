-- The endpoints that a dispatcher may claim deliveries of now, locked until it has.
--
-- One that another dispatcher has locked is its alone for these milliseconds. What this finds is looked at again by
-- `claim.sql`, after the lock, so that concurrency and rate are held exactly.
SELECT state.endpoint_id
  FROM webhooks_endpointstate AS state
  JOIN webhooks_webhookendpoint AS endpoint ON endpoint.id = state.endpoint_id
 WHERE endpoint.enabled
   AND (state.open_until IS NULL OR state.open_until <= statement_timestamp())
   AND EXISTS (
           SELECT
             FROM (VALUES (0, false), (0, true), (1, false), (1, true)) AS class (lane, again)
            WHERE EXISTS (
                      SELECT FROM webhooks_delivery_pending AS delivery
                       WHERE delivery.endpoint_id = state.endpoint_id AND delivery.lane = class.lane
                         AND (delivery.attempts > 0) = class.again AND delivery.due_at <= statement_timestamp()
                         AND delivery.claim IS NULL
                  )
       )
   FOR NO KEY UPDATE OF state SKIP LOCKED
