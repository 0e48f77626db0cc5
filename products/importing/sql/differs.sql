-- Whether the row s says something else than the product p. What is NULL in s leaves p alone.
(   s.name        IS DISTINCT FROM p.name        AND s.name        IS NOT NULL
 OR s.description IS DISTINCT FROM p.description AND s.description IS NOT NULL
 OR s.status      IS DISTINCT FROM p.status      AND s.status      IS NOT NULL
 OR s.attributes  IS NOT NULL AND NOT p.attributes @> s.attributes AND {new_attributes} IS DISTINCT FROM p.attributes)
