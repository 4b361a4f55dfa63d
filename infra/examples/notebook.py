# %% [markdown]
# nightlift in a notebook. Open this file in Jupyter (with jupytext), VS Code or PyCharm, in the folder of the checkout.

# %% A photo: the last line of a cell shows it
from pathlib import Path

import nightlift
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from PIL import Image
from tqdm.auto import tqdm

photos, demo = sorted(Path("infra/samples/photos").glob("*.jpg")), Path("demo").absolute()
nightlift.enhance(photos[0])

# %% Pixels, dark and at two strengths; lossy, as they come from a JPEG
pixels = np.asarray(Image.open(photos[0]).convert("RGB"))
shown = [pixels, *(nightlift.enhance(pixels, strength=strength, lossy=True) for strength in (0.5, 1.0))]
Image.fromarray(np.hstack(shown))

# %% Files: each keeps its format, its time and its metadata
enhancer = nightlift.load(strength=0.8)
for photo in tqdm(photos, unit="photo"):
    enhancer.enhance(photo, demo / "files" / photo.name)

# %% A video, with a bar of its own
if Path("night.mp4").exists():
    nightlift.enhance_video("night.mp4", demo / "night.mp4", progress=True)

# %% A column of encoded photos, as a data set in Parquet holds them
rows = {"name": [photo.name for photo in photos], "bytes": [photo.read_bytes() for photo in photos]}
(demo / "dark").mkdir(parents=True, exist_ok=True)
pq.write_table(pa.table(rows), demo / "dark/part-0.parquet")
dark = ray.data.read_parquet(str(demo / "dark"))
bright = dark.map_batches(nightlift.EnhanceImages, fn_constructor_args=("bytes",), num_cpus=1, concurrency=1)
bright.write_parquet(str(demo / "bright"))

# %% What became of each row
table = pq.read_table(demo / "bright").drop_columns("bytes")
table.to_pandas()
