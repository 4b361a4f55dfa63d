"""What is done to every pixel: loops that numba compiles for CPUs, and one kernel of Triton's for GPUs.

cpu.py          called from outside; cpu_kernels.py: loops over an image or frame; tiles.py, clean_tiles.py: over a tile
reduce.py       the reduced copy that the network sees
moments.py      means and variances of cells; cells.py, cell_loops.py: the coefficients that clean them
over_time.py    frames of a video averaged where nothing moves
gpu_kernel.py   all of it on a GPU; gpu_transfer.py: images to it and back
"""
