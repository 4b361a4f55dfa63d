"""What `nightlift report` shows: one HTML file, which asks the network for nothing.

results.py        the manifest, by column        tables.py    its sums, in rows for a page
pictures.py       pairs and clips, made small    plots.py     curves, as SVG
results_page.py   the report of a job            training_page.py    that of a training
page.py           templates filled in, every text escaped
"""
