"""Local disks and buckets, by fsspec: listing, reading, whole-or-nothing writing, credentials, and their errors."""
