-- The active products that the file lacks. One whose row was rejected is in the file all the same; there its
-- sku stands as in the file, perhaps with the mark of a cell that is no formula: read as the validator does it. One that
-- was rejected for a character that nobody sees means the product without it.
p.status = 'active'
AND NOT EXISTS (SELECT FROM {staging} AS s WHERE s.key = lower(p.sku))
AND NOT EXISTS (SELECT FROM products_reportedrow AS r
                 WHERE r.import_id = %(import_id)s
                   AND r.outcome = 'rejected'
                   AND lower(normalize(btrim(regexp_replace(regexp_replace(r.cells ->> %(sku_at)s, %(mark)s, ''),
                                                            %(unseen)s, '', 'g'), {whitespace}), NFC))
                       = lower(p.sku))
