"""What processes that tests fork should find loaded: the product, and what pyarrow loads when it is first used."""

import pandas  # noqa: F401
import pyarrow.dataset  # noqa: F401

import jobs.images
import jobs.videos  # noqa: F401
from model import load_numba

load_numba()
