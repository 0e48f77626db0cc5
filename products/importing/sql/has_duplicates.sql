-- How many lines of the file name a sku that another line names too, less one for each such sku. Hashes are sorted in
-- half of the time that grouping the skus takes; two skus of one hash would only have the lines looked at in vain.
SELECT count(*) - count(DISTINCT hashtextextended(key COLLATE "C", 0)) FROM {staging}
