-- Every later change of the product was made by an import that was undone since, or by such an undo.
NOT EXISTS (SELECT FROM products_productchange AS later
             WHERE later.product_id = u.product_id
               AND NOT later.action = 'created'
               AND later.id > u.id
               AND (later.import_id IS NULL OR NOT later.import_id = ANY(%(taken_back)s)))
