//! What fills a tree: packages, Erlang/OTP, the release, libraries, the skeleton, the user's overlay.
