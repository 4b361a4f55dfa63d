"""JPEG XL (ISO/IEC 18181), read and written by libjxl."""
