"""The odd images that developers keep beside the checkout: what becomes of each; the others are enhanced."""

ODD_ERRORS = {
    "heic_corrupted.heic": "damaged",
    "heic_empty.heic": "empty",
    "jpeg_12bit.jpg": "unsupported",
    "pil_broken_data_stream.png": "damaged",
    "pil_decompression_bomb.gif": "too_large",
    "pil_truncated_image.png": "damaged",
    "pngsuite_xc1n0g08.png": "damaged",
    "pngsuite_xcrn0g04.png": "damaged",
    "sharp_corrupt-header.jpg": "damaged",
    "sharp_truncated.jpg": "damaged",
    "text_named.jpg": "not_media",
}
