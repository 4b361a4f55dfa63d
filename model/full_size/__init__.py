"""Work on every pixel: loops that numba compiles for CPUs, and one Triton kernel for GPUs.

cpu.py          entry points; cpu_kernels.py, plane_kernels.py: loops over an image, and over the planes of a frame;
                tiles.py, clean_tiles.py: over a tile
reduce.py       the reduced copy that the network sees; means and mean squares of cells
cells.py        the coefficients that clean cells; cell_loops.py: their loops
color_loops.py  photos between their own colour space and that of the curve
over_time.py    averages of a video's frames where nothing moves
gpu_kernel.py   cleaning and the curve on a GPU; gpu_transfer.py: images to it and back
"""
