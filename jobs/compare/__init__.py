"""Package of `nightlift compare`, which shows the files of a finished job before and after.

job.py      which files, and where they go     drawing.py   two images in one
photos.py   photos, as WebP                    films.py     videos, as MP4
"""
