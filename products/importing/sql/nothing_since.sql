-- Nothing that came later stands. The imports that undid one another are a row, called by the first: where an even
-- number of a row has changed the product, the last one took it all back, and since u such a number came to nothing.
-- Creations and deletions need not be looked at: the product is there, so each of these was taken back by one of those.
-- (`updated` says so; `NOT created` beside it is the condition of the index `change_of_product`.)
NOT EXISTS (SELECT FROM products_productchange AS later
             WHERE later.product_id = u.product_id
               AND NOT later.action = 'created'
               AND later.action = 'updated'
             GROUP BY coalesce(%(rows)s::jsonb ->> later.import_id::text, later.import_id::text, later.id::text)
            HAVING count(*) %% 2 = 1
               AND count(*) FILTER (WHERE later.id > u.id) %% 2 = 1)
