-- The way in. In the binary format nothing has to be escaped, nor to be looked for on the other side.
COPY {staging} (line_number, sku, name, description, status, attributes, cells) FROM STDIN (FORMAT binary)
