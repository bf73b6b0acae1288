//! Formats of the BEAM, pure: external terms, `.app`, `.rel`, `.boot`, module chunks.
