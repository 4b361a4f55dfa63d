"""Local disks and buckets, over fsspec: listing, reading, whole-or-nothing writing, credentials, and their errors."""
