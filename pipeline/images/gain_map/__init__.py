"""Gain maps: small images that tell HDR screens how much brighter to show each part of a photo.

gains.py       values of a map -> factors of light, computed anew for an enhanced photo
metadata.py    the numbers beside a map, as XMP and as ISO 21496-1
ultra_hdr.py   maps behind the image in a JPEG, read and written
tone_map.py    maps beside the image in an AVIF, read and written
apple.py       maps of iPhones
reading.py     the map of a photo, in whatever form
"""
