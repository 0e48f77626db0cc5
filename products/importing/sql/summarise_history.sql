-- Let the BRIN indexes know of the history just written; what they don't know of is read in vain. Vacuum
-- would do it later. (autosummarize asks for it once a range of pages, and floods the log where an
-- import writes thousands.)
SELECT brin_summarize_new_values('change_by_id'), brin_summarize_new_values('change_creating_product')
