-- Deliveries whose dispatcher did not say in time what came of them: it is dead, and they are due as before.
UPDATE webhooks_delivery_pending AS delivery
   SET claim = NULL, claimed_until = NULL
  FROM (
           SELECT id FROM webhooks_delivery_pending
            WHERE claim IS NOT NULL AND claimed_until < statement_timestamp()
            ORDER BY id
              FOR UPDATE SKIP LOCKED
       ) AS lost
 WHERE delivery.id = lost.id
