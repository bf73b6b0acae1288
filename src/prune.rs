//! What leaves a tree, each with its reason.
