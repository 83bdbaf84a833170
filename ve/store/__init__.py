"""The history file: one DuckDB file, one writer, migrations, views. Knows rows, no units and no stream.

rows.py     what is written: entries, unit states, the board, grouped into batches
columns.py  one table: each column of `transitions`, its type, and where the JSON text has it
file.py     opens, migrates and restores; a file that does not open is left as it is
writer.py   one transaction a batch, no hole, nothing twice
query.py    one SELECT under limits, for people
repair.py   copies what can be read into a new file
sql/        migrations, views, named queries
"""
