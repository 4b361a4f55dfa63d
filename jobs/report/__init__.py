"""Package of `nightlift report`, which writes one HTML file that loads nothing from the network.

results.py        the manifest as columns          tables.py          totals of the manifest, as rows of tables
thumbnails.py     small images, luma of videos     plots.py           plots as SVG
results_page.py   the report of a job              training_page.py   the report of a training
page.py           templates filled with escaped text
"""
