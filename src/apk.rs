//! Alpine's package formats, pure: bytes in, values out, and back.
