"""Files that hold many images, such as tars and Parquet files: what is in them, and how to enhance it by Ray Data."""
