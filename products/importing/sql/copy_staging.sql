-- The way in: text format, each value escaped by psycopg.
COPY {staging} (line_number, sku, name, description, status, attributes, cells) FROM STDIN
