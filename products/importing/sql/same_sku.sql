-- lower(p.sku) = s.key, as only the index on lower(sku) can answer it. By "=" the planner may also join the two
-- by reading that index from end to end for each row: it does so where statistics say that the catalogue is
-- empty, as they do when it was analysed while its first import was running.
lower(p.sku) ~>=~ s.key AND lower(p.sku) ~<=~ s.key
