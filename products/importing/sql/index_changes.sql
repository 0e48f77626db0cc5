-- For pages in the order of the file. Made when the rows are there, which is far quicker.
ALTER TABLE {changes} ADD PRIMARY KEY (line_number)
